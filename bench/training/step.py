"""The step: a batch, its credit, its loss, the gradient, the optimizer."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import pad

from algos.core import Credits, over_tensors

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
    with models.autocast():
        if algo.credit_is_aside:
            parts = [batch.aside(needs, models, rows) for rows in cuts]
        else:
            forward = not hasattr(batch, "token_old_logps")
            parts = [batch.score(needs, models, rows, forward) for rows in cuts]
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

    sums, counts = Counter(), Counter()
    for some in parts:
        data = scored(some, forward=True)
        loss = algo.loss(data)
        share = loss.share(weights, only)
        with phase("backward"):
            accelerator.backward(share)
            sums["loss"] += share.item()
        for name in loss.parts:
            sums[f"loss/{name}"] += loss.share(weights, {name}).item()
        inner = {f"{type(algo).__name__}/{name}": x for name, x in loss.metrics.items()}
        for name, x in (observed(data) | inner).items():
            sums[name] += x.sum().item()
            counts[name] += x.numel()

    trained = [p for group in optimizer.param_groups for p in group["params"]]
    with phase("optimizer"):
        norm = accelerator.clip_grad_norm_(trained, max_norm)
        optimizer.step()
        optimizer.zero_grad()
    means = {name: total / max(counts.get(name, 1), 1) for name, total in sums.items()}
    return {**means, "grad_norm": float(norm)}


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
