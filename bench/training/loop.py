"""Steps in a row: schedule, log, validation, checkpoints.

Everything random is drawn from (seed, update), so that a run which was killed and goes on from its
last checkpoint ends with the bits of a run that was not.
"""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from algos.core import Credits

from ..models.build import parameters
from ..models.computing import ComputingError
from .alarms import alarms
from .batches import Batch, Models
from .progress import Bar
from .step import all_rows, assign, step
from .timing import phase, watched


class TrainingError(RuntimeError):
    """Training cannot go on, told in one line."""


@dataclass(frozen=True)
class Optimization:
    """How gradients become steps. `critic_lr` None is `lr`; `warmup` counts updates, at
    most a tenth of the run."""

    lr: float
    critic_lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    warmup: int = 0
    schedule: str = "constant"  # any name of transformers.SchedulerType
    max_norm: float = 1.0


@dataclass(frozen=True)
class Turn:
    """What one update trains on: some rows of a batch, which may serve several updates."""

    batch: Batch
    rows: Tensor | None = None  # None: all
    last: bool = True  # whether the next update starts on a new batch
    measured: Mapping[str, float] | None = None  # of a fresh batch: goes into the log


@dataclass(frozen=True)
class Following:
    """A reference that follows the policy: π_ref ← mix π_θ + (1 − mix) π_ref, parameter by parameter,
    after every so many updates.

    Gorbatovski et al., 2024, https://arxiv.org/abs/2404.09656
    """

    every: int  # updates
    mix: float  # 1 copies the policy

    def __post_init__(self):
        if self.every < 1 or not 0 <= self.mix <= 1:
            raise ValueError(
                f"reference.every={self.every} must be 1 or more, reference.mix={self.mix} in [0, 1]"
            )

    @torch.no_grad()
    def __call__(self, update: int, models: Models) -> None:
        if (update + 1) % self.every:
            return
        pairs = zip(models.reference.parameters(), models.policy.parameters(), strict=True)
        for theirs, ours in pairs:
            theirs.lerp_(ours, self.mix)


class Feed(Protocol):
    """Hands out turns; the same update gets the same turn whatever happened before, but for what a feed
    remembers."""

    def __call__(self, update: int, models: Models) -> Turn: ...


@runtime_checkable
class Remembers(Protocol):
    """What goes into checkpoints, of a feed whose next turns hang on what came of earlier ones."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None: ...


@dataclass
class Trained:
    """What a run of the loop leaves behind, beside the models in their last state."""

    log: list[dict[str, float]]  # a row an update; validation in columns `validation/...`
    peak_update: int | None = None  # by validation; None without it
    peak_state: Mapping[str, Tensor] | None = None  # the policy's parameters at the peak
    state: Any = None  # what credit remembers
    spent: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # see timing.Spent
    learned: Mapping[str, int] = field(
        default_factory=dict
    )  # of prompts and pairs, update by update


def train(
    algo: Any,
    feed: Feed,
    models: Models,
    optimization: Optimization,
    *,
    updates: int,
    seed: int,
    micro: int,  # responses whose graph is alive at one time
    accelerator: Accelerator,
    checkpoints: Path,
    bar: Bar,
    stage: str,
    only: Collection[str] | None = None,  # parts of the loss; None trains them all
    state: Any = None,  # what credit remembers of earlier training
    following: Following | None = None,  # None: the reference stays what it is
    validate: Callable[[Models], Mapping[str, float]] | None = None,
    points: int = 8,  # how often `validate` is called, the last time after the last update
    checkpoint_every: float = 10.0,  # seconds
    say: Callable[[str], None] | None = None,  # told of alarms
) -> Trained:
    """Train in place. `validate` returns numbers of which `score` (higher is better) picks the peak."""
    from transformers import get_scheduler

    place = f"{accelerator.num_processes} on {accelerator.device.type}"
    if models.computing.workers > 1 and place != "1 on cpu":
        raise ComputingError(
            f"model.workers={models.computing.workers} is for one process on a CPU, and there are "
            f"{place}: set model.workers=1"
        )
    groups, seen = [], set()
    for name, model in models.trained.items():
        own = [p for p in model.parameters() if id(p) not in seen]  # two heads may share a body
        groups.append({"params": own, "lr": lr_of(name, optimization)})
        seen |= set(map(id, own))
    optimizer = torch.optim.AdamW(
        groups,
        betas=tuple(optimization.betas),
        weight_decay=optimization.weight_decay,
        fused=True,
    )
    warmup = min(optimization.warmup, updates // 10)  # or a short run would end before it begins
    schedule = get_scheduler(optimization.schedule, optimizer, warmup, updates)
    optimizer = accelerator.prepare(optimizer)
    measure = {round((k + 1) * updates / points) for k in range(points)} if validate else set()
    if state is None and isinstance(algo, Credits):
        state = algo.start()
    changing = models.trained | ({"reference": models.reference} if following else {})

    run = Trained(log=[])
    start = 0
    if (kept := load_checkpoint(checkpoints)) is not None:
        start, state, run = kept["update"], kept["state"], kept["run"]
        for name, model in changing.items():
            model.load_state_dict(kept["models"][name])
        if remembered := kept.get("feed"):
            feed.load_state_dict(remembered)
        optimizer.load_state_dict(kept["optimizer"])
        schedule.load_state_dict(kept["schedule"])
    bar.advance(start)

    saved, began = time.perf_counter(), time.perf_counter()
    before = run.log[-1]["seconds"] if run.log else 0.0
    given, current, credit = None, None, None
    needs = algo.needs | getattr(algo, "credit_needs", frozenset())
    with watched() as spent:
        spent.add((kept or {}).get("spent", {}))
        learned = Counter((kept or {}).get("learned", {}))
        for update in range(start, updates):
            with phase("data"), models.autocast():
                turn = feed(update, models)
            if turn.batch is not given:
                given = current = turn.batch
                some = max(1, micro // current.responses_a_row)
                generator = torch.Generator().manual_seed(seed * 1_000_003 + update)
                with phase("scoring"):
                    if not following:  # else the reference says something else at the next update
                        current = current.told(needs, models, some)
                    credit, state = assign(algo, current, models, state, generator, some)
            rows = all_rows(current) if turn.rows is None else turn.rows
            rows = current.arranged(rows, models)
            numbers = step(
                algo, current, models, optimizer, accelerator,
                credit=credit, rows=rows, micro=some, only=only, max_norm=optimization.max_norm,
            )  # fmt: skip
            if not all(map(math.isfinite, (numbers["loss"], numbers["grad_norm"]))):
                raise TrainingError(
                    f"{stage}: the loss is {numbers['loss']} and its gradient's norm "
                    f"{numbers['grad_norm']} at update {update + 1} of {updates}: lower the learning "
                    f"rate (it is {optimization.lr:g}) or look for bad rows in the data"
                )
            learned.update(current.learned(rows))
            row = {
                "step": update + 1,
                "lr": schedule.get_last_lr()[0],
                "tokens": sum(current.cost(part, models) for part in rows.split(some)),
                **numbers,
            }
            schedule.step()
            if following:
                following(update, models)
            row |= turn.measured or {}
            if update + 1 in measure:
                with phase("evaluation"):
                    found = dict(validate(models))
                best = max(
                    (r.get("validation/score", -math.inf) for r in run.log), default=-math.inf
                )
                if found["score"] > best:
                    run.peak_update = update + 1
                    run.peak_state = {k: v.clone() for k, v in models.policy.state_dict().items()}
                row |= {f"validation/{name}": x for name, x in found.items()}
            run.log.append({**row, "seconds": before + time.perf_counter() - began})
            accelerator.log(run.log[-1], step=update + 1)
            bar.advance(1, **row)
            if say and turn.measured:
                for alarm in alarms(run.log):
                    if alarm.update == update + 1:
                        say(f"{stage}: {alarm.words}")
            if turn.last and time.perf_counter() - saved > checkpoint_every:
                save_checkpoint(checkpoints, {
                    "update": update + 1,
                    "state": state,
                    "run": run,
                    "feed": feed.state_dict() if isinstance(feed, Remembers) else None,
                    "models": {name: m.state_dict() for name, m in changing.items()},
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "spent": spent.fields,
                    "learned": dict(learned),
                })  # fmt: skip
                saved = time.perf_counter()
    run.spent, run.learned = spent.fields, dict(learned)
    run.state = state
    return run


def spent(
    run: Trained, learning: Iterable[nn.Module], reading: Iterable[nn.Module] = ()
) -> dict[str, float]:
    """Forward and backward: 6 a parameter and token; forward alone: 2. Sampling and references come on
    top."""
    tokens = sum(row["tokens"] for row in run.log)
    each = 6.0 * sum(map(parameters, learning)) + 2.0 * sum(map(parameters, reading))
    return {"tokens": tokens, "flops": each * tokens}


def lr_of(name: str, optimization: Optimization) -> float:
    critic_lr = optimization.lr if optimization.critic_lr is None else optimization.critic_lr
    return critic_lr if name == "critic" else optimization.lr


def save_checkpoint(folder: Path, content: Mapping[str, Any]) -> None:
    """Replaces the last one at once or not at all."""
    draft = folder / "last.pt.draft"
    with draft.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / "last.pt")


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Our own file, in our own store: pickled state of credits is read, too."""
    path = folder / "last.pt"
    return torch.load(path, weights_only=False) if path.exists() else None
