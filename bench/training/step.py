"""The step: a batch, its credit, its loss, the gradient, the optimizer."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.autograd import grad
from torch.nn.functional import pad

from algos.core import Credits, Loss, over_tensors

from ..models.computing import side_by_side
from .batches import Batch, Models
from .observed import observed
from .timing import phase


@torch.no_grad()
def assign(
    algo: Any, batch: Batch, models: Models, state: Any, generator: torch.Generator, micro: int
) -> tuple[Any, Any]:
    """(credit, next state) of a whole batch, without gradient; (None, state) where a loss has none.

    Rollouts are as the policy that sampled left them, so that no model is called for them here. Nor is
    one for the items of a batch whose credit is aside.
    """
    if not isinstance(algo, Credits):
        return None, state
    needs, cuts = algo.needs | algo.credit_needs, all_rows(batch).split(micro)
    forward = not hasattr(batch, "token_old_logps")

    def scored(rows: Tensor) -> Any:
        with models.autocast():
            if algo.credit_is_aside:
                return batch.aside(needs, models, rows)
            return batch.score(needs, models, rows, forward)

    parts = list(side_by_side(scored, cuts, models.computing.workers))
    return algo.credit(gathered(parts), state, generator)


def step(
    algo: Any,
    batch: Batch,
    models: Models,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    *,
    credit: Any = None,
    rows: Tensor | None = None,  # a minibatch of the batch; None is all of it
    micro: int = 64,  # rows whose graph is alive at one time
    only: Collection[str] | None = None,  # parts of the loss; None trains them all
    max_norm: float = 1.0,
) -> dict[str, float]:
    """One optimizer step. However the rows are cut, the gradient is that of the whole.

    Every denominator is known before the first backward, which is at its final scale: weights do
    not depend on log-probabilities, so they are learned without calling a model.
    """
    parts = (all_rows(batch) if rows is None else rows).split(micro)

    def scored(some: Tensor, forward: bool) -> Any:
        part = part_of(credit, batch.credited(some))
        with phase("scoring"), models.autocast():
            scored = batch.score(algo.needs, models, some, forward)
        return scored.replace(credit=part)

    weights: dict[str, Tensor] = {}
    with torch.no_grad():
        for some in parts:
            for name, weight in algo.loss(scored(some, forward=False)).weights.items():
                weights[name] = weights.get(name, 0) + weight

    trained = [p for group in optimizer.param_groups for p in group["params"]]
    workers = models.computing.workers

    def learned(some: Tensor) -> tuple[Any, Loss, float, Sequence[Tensor | None]]:
        """(what was scored, its loss, its share of the whole, the gradient where it is not added up)."""
        data = scored(some, forward=True)
        loss = algo.loss(data)
        share = loss.share(weights, only)
        with phase("backward"):
            if workers > 1:
                return data, loss, share.item(), grad(share, trained, allow_unused=True)
            accelerator.backward(share)
            return data, loss, share.item(), ()

    sums, counts = Counter(), Counter()
    with phase("scoring" if workers == 1 else "backward"):  # which workers do side by side
        for data, loss, share, gradient in side_by_side(learned, parts, workers):
            if gradient:
                accumulate(trained, gradient)
            sums["loss"] += share
            for name in loss.parts:
                sums[f"loss/{name}"] += loss.share(weights, {name}).item()
            inner = {f"{type(algo).__name__}/{name}": x for name, x in loss.metrics.items()}
            for name, x in (observed(data) | inner).items():
                sums[name] += x.sum().item()
                counts[name] += x.numel()

    with phase("optimizer"):
        norm = accelerator.clip_grad_norm_(trained, max_norm)
        optimizer.step()
        optimizer.zero_grad()
    means = {name: total / max(counts.get(name, 1), 1) for name, total in sums.items()}
    return {**means, "grad_norm": float(norm)}


def accumulate(parameters: Sequence[Tensor], gradient: Sequence[Tensor | None]) -> None:
    """In the order of the micro-batches, so that the sum has the same bits each time."""
    for x, some in zip(parameters, gradient, strict=True):
        if some is not None:
            x.grad = some if x.grad is None else x.grad.add_(some)


def all_rows(batch: Batch) -> Tensor:
    return torch.arange(len(batch))


def part_of(credit: Any, items: Tensor) -> Any:
    """The credit of some items; what is a single number belongs to all of them."""
    return over_tensors(lambda v: v[items] if v.ndim else v, credit)


def gathered(batches: list[Any]) -> Any:
    """Micro-batches as one batch, token columns padded to the widest."""

    def join(*xs: Tensor) -> Tensor:
        if not xs[0].ndim:
            return xs[0]
        if xs[0].ndim == 2:
            width = max(x.shape[1] for x in xs)
            xs = tuple(pad(x, (0, width - x.shape[1])) for x in xs)
        return torch.cat(xs)

    return over_tensors(join, *batches)
