"""Two runs or two recipes side by side: paired by seed and prompt, metric by metric.

Only what the board would rank together is compared; of the rest one line says what differs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from ..stats.bootstrap import FLIPS, sign_flip
from ..stats.crossed import adjusted, cautious_p, crossed_mean
from .board import COLUMNS, SIGNALS, listed
from .cohorts import Cohort, cohorts, differing, names
from .estimates import SEED, Answers, Frames, aligned, pairs, per_prompt
from .record import Record
from .render import number, p_value

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 10  # prompts
SILENT = "(not published)"  # where a per-prompt file has no texts


class Incomparable(LookupError):
    """Two names that no fair comparison joins; says why."""


@dataclass(frozen=True)
class Seed:
    """A − B of one seed's models over prompts, and the sign-flip test of it."""

    seed: int
    difference: float
    p: float


@dataclass(frozen=True)
class Difference:
    """A − B in one metric, over seeds and prompts; without per-prompt values over seeds alone.

    Of one seed p is that of its sign-flip test. `adjusted` is `stats.crossed.cautious_p`, or p of one
    seed, after Benjamini and Hochberg's correction over the metrics. Bounds and p are None where there
    is nothing to tell them from.
    """

    metric: str
    a: float
    b: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    adjusted: float | None = None
    seeds: tuple[Seed, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """Where A and B differ: what both said to a prompt, and what it is worth."""

    prompt: str
    seed: int
    a: float
    b: float
    answer_a: str
    answer_b: str


@dataclass(frozen=True)
class Comparison:
    """A against B on the seeds and prompts that they share."""

    task: str
    a: str
    b: str
    seeds: tuple[int, ...]
    differences: tuple[Difference, ...]
    left_out: tuple[str, ...]  # metrics that were not measured alike
    signal: str | None  # the metric that ranks, by which prompts are chosen
    apart: tuple[Prompt, ...]  # furthest apart first


def compare(records: Sequence[Record], frames: Frames, a: str, b: str) -> list[Comparison]:
    """A comparison of each two configurations called A and B that may be ranked together.

    A name is the id of a run, a recipe, or the beginning of an id. Incomparable where nothing is
    called so, or where no two may be compared.
    """
    good = [r for r in records if r.status == "good" and r.kind != "reward_model"]
    found: list[Comparison] = []
    reasons: list[str] = []
    ours, theirs = cohorts(called(good, a)), cohorts(called(good, b))
    titles = names([*ours, *theirs])
    for x, title_a in zip(ours, titles, strict=False):
        for y, title_b in zip(theirs, titles[len(ours) :], strict=True):
            if why := why_not(x, y):
                reasons.append(why)
            else:
                found.append(replace(compared(x, y, frames), a=title_a, b=title_b))
    if not found:
        raise Incomparable(f"{a} and {b} cannot be compared: {'; '.join(dict.fromkeys(reasons))}")
    return found


def called(records: Sequence[Record], name: str) -> list[Record]:
    """The records that a name means."""
    found = (
        [r for r in records if r.run_id == name]
        or [r for r in records if r.recipe == name]
        or [r for r in records if r.run_id.startswith(name)]
    )
    if not found:
        known = sorted({r.recipe for r in records} | {r.run_id for r in records})
        close = get_close_matches(name, known, 1, 0.0)
        hint = f": did you mean {close[0]}?" if close else ""
        raise Incomparable(f"no good run or recipe is called {name!r}{hint}")
    return found


def why_not(x: Cohort, y: Cohort) -> str:
    """Why two configurations may not be compared; nothing where they may."""
    if x.runs == y.runs:
        return "they are the same runs"
    if x.first.task.name != y.first.task.name:
        return f"one has task {x.first.task.name}, one {y.first.task.name}"
    shared = x.runs.keys() & y.runs.keys()
    if not shared:
        return f"no seed in common ({listed(x.runs)} and {listed(y.runs)})"
    words = {word for s in shared for word in differing(x.runs[s].base, y.runs[s].base)}
    return f"other {', '.join(sorted(words))}" if words else ""


def compared(x: Cohort, y: Cohort, frames: Frames) -> Comparison:
    """What two configurations that may be compared share."""
    seeds = sorted(x.runs.keys() & y.runs.keys())
    ours, theirs = [x.runs[s] for s in seeds], {s: y.runs[s] for s in seeds}
    runs = [*ours, *theirs.values()]
    answers = Answers({r.run_id: frames[r.run_id] for r in runs if r.run_id in frames})
    place = {c.key: i for i, c in enumerate(COLUMNS)}
    valued = [{k for k, m in r.metrics.end.items() if m.value is not None} for r in runs]
    metrics = [m for m in set.intersection(*valued) if "/" not in m]  # gold_part/..., arms/...
    metrics.sort(key=lambda m: (place.get(m, len(place)), m))
    alike = [m for m in metrics if all(same_measure(m, r, theirs[r.seed]) for r in ours)]
    signal = next((s for s in SIGNALS if s in alike), None)
    task = x.first.task
    return Comparison(
        task.name if task.version is None else f"{task.name} v{task.version}",
        x.first.recipe,
        y.first.recipe,
        tuple(seeds),
        tuple(corrected([difference(m, ours, theirs, answers) for m in alike])),
        tuple(m for m in metrics if m not in alike),
        signal,
        tuple(furthest(signal, ours, theirs, answers, frames)) if signal else (),
    )


def same_measure(metric: str, a: Record, b: Record) -> bool:
    one, other = (r.metrics.end[metric] for r in (a, b))
    return (one.signature, one.unit) == (other.signature, other.unit)


def difference(
    metric: str, ours: Sequence[Record], theirs: Mapping[int, Record], answers: Answers
) -> Difference:
    """A − B in a metric that all runs have."""
    values = np.array(
        [[r.metrics.end[metric].value for r in (run, theirs[run.seed])] for run in ours]
    )
    found = list(pairs(ours, theirs, metric, answers))
    each = tuple(Seed(s, x.mean, float(sign_flip(x.values, FLIPS, SEED))) for s, x in found)
    told = Difference(metric, *values.mean(0).tolist(), seeds=each)
    off = values[:, :1] - values[:, 1:]  # a value a seed
    if len(found) == len(ours):
        off = aligned([x for _, x in found])[1]
    if off.size < 2:
        return told
    mean = crossed_mean(off)
    p = cautious = each[0].p if each else None
    if len(ours) > 1:
        p, cautious = float(mean.p_value), float(cautious_p(mean, len(ours)))
    low, high = map(float, mean.bounds())
    return replace(told, low=low, high=high, p=p, adjusted=cautious)


def corrected(found: Sequence[Difference]) -> Iterator[Difference]:
    tested = [d.adjusted for d in found if d.adjusted is not None]
    each = iter(adjusted(tested).tolist())
    for d in found:
        yield d if d.adjusted is None else replace(d, adjusted=next(each))


def furthest(
    metric: str,
    ours: Sequence[Record],
    theirs: Mapping[int, Record],
    answers: Answers,
    frames: Frames,
) -> list[Prompt]:
    """The answers that differ most in a metric; equal differences in the order of their prompts."""
    mine = {run.seed: run for run in ours}
    found = []
    for seed, off in pairs(ours, theirs, metric, answers):
        both = [per_prompt(metric, r, answers) for r in (mine[seed], theirs[seed])]
        for prompt, (a, b) in zip(off.prompts, aligned(both)[1].T.tolist(), strict=True):
            found.append((abs(a - b), prompt, seed, a, b))
    found.sort(key=lambda item: (-item[0], item[1:]))
    return [
        Prompt(
            prompt,
            seed,
            a,
            b,
            *(said(frames[r.run_id], prompt) for r in (mine[seed], theirs[seed])),
        )
        for off, prompt, seed, a, b in found[:SHOWN]
        if off
    ]


def said(frame: "DataFrame", prompt: str) -> str:
    """The answer to a prompt, the first where there are several; what cannot be printed is �."""
    if "response" not in frame:
        return SILENT
    answer = frame.loc[frame["prompt_id"].astype(str) == prompt, "response"].iloc[0]
    return "".join(c if c.isprintable() else "�" for c in " ".join(str(answer).split()))


# ------------------------------------------------------------------------------ on a terminal


def to_terminal(found: Comparison) -> RenderableType:
    """The differences as a table, and the answers that differ most as they are."""
    titles = {c.key: (c.title.strip(" ↑"), max(c.decimals, 0) + 1) for c in COLUMNS}
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for title in ("metric", "A", "B", "A − B", "95 % interval", "p", "corrected"):
        grid.add_column(title, justify="left" if title == "metric" else "right", no_wrap=True)
    for seed in found.seeds if len(found.seeds) > 1 else ():
        grid.add_column(f"seed {seed}, p", justify="right", no_wrap=True)
    for d in found.differences:
        title, decimals = titles.get(d.metric, (d.metric, 3))
        bounds = "-"
        if d.low is not None:
            bounds = f"[{number(d.low, decimals)}, {number(d.high, decimals)}]"
        each = {s.seed: f"{number(s.difference, decimals)} {p_value(s.p)}" for s in d.seeds}
        grid.add_row(
            title,
            *(number(x, decimals) for x in (d.a, d.b, d.a - d.b)),
            bounds,
            *("-" if p is None else p_value(p) for p in (d.p, d.adjusted)),
            *(each.get(s, "-") for s in found.seeds if len(found.seeds) > 1),
        )
    seeds = f"seed{'s' * (len(found.seeds) > 1)} {listed(found.seeds)}"
    parts: list[RenderableType] = [
        Text(f"{found.task}: A = {found.a}, B = {found.b}, {seeds}", style="bold"),
        grid,
        Text(
            "Paired by seed and prompt. Over seeds: Student's t over seeds and prompts; the p of a "
            "seed's own models: sign flips over prompts. Corrected: Benjamini-Hochberg over the metrics.",
            style="dim",
        ),
    ]
    if found.left_out:
        parts.append(Text(f"Not measured alike, and left out: {', '.join(found.left_out)}."))
    if found.apart:
        title = titles[found.signal][0]
        parts += [Text(), Text(f"Where they differ most in {title}:", style="bold")]
    for p in found.apart:
        values = f"A {number(p.a, 2)}, B {number(p.b, 2)}"
        head = f"{p.prompt} (seed {p.seed}): {values}"
        parts.append(Text(f"{head}\n  A: {p.answer_a}\n  B: {p.answer_b}"))
    return Group(*parts)
