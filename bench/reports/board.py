"""The board: records in, fair tables out. Pure functions; three renderers.

Runs of one configuration with several seeds are one row. Rows are ranked together when task, data,
prompts, SFT model, judging reward models and decoding agree for every seed they share; what does
not agree gets a table of its own. No row is ranked by a signal that it was trained on.

The interval of a row with S seeds: prompts and seeds are drawn anew, independently (2000 times),
from the per-prompt values; the seeds' means are first spread by √(S/(S−1)), because resamples of S
seeds vary too little. Without per-prompt files the half-width h is √(mean h_s² + (t s/√S)²): h_s
are the half-widths of the seeds, s the spread of their values, t Student's 97.5 % quantile. Prompts
are shared by the seeds, so their part does not shrink with S.
"""

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text
from scipy.special import stdtrit

from ..stats.bootstrap import mean_interval, paired_difference
from .record import Base, Metric, Record, hash_of

if TYPE_CHECKING:
    from pandas import DataFrame

Frames = Mapping[str, "DataFrame"]  # run id -> per-prompt table
Answers = Mapping[str, Mapping[tuple[str, str], Mapping[str, float]]]  # run id -> by_prompt
Section = Literal["ranked", "trained_on", "unranked", "control", "failed"]

SIGNALS = ("gold", "win_rate", "held_out")  # the first that exists ranks
CONTROLS = (
    "reference references best_of_16_gold best_of_16 sft constant copied_prompt empty".split()
)
NOT_TRAINING = set(  # phases made once for all runs, or that judge
    "tokenizer lengths sft reward_model labels samples reference_scores evaluate cell".split()
)
BOOKKEEPING = {"seed", "overrides", "runs", "store"}  # of a config: determine no number but by seed
FROM_GOLD = {"gold", "gold_unseen"}
TRAINED_ON = {  # feedback -> the metrics that are the same signal
    "gold": FROM_GOLD,
    "reward_model": {"proxy"},
    "ensemble": {"proxy"},
    "rouge": {"rouge1", "rouge2", "rougeL", "rougeLsum"},
}
PER_PROMPT = {"win_rate": "win", "end_rate": "finished"}  # metric -> column, where names differ
SEED = 0
RESAMPLES = 2000
LONG = re.compile(r"\b[0-9a-f]{32,64}\b")  # keys and hashes


@dataclass(frozen=True)
class Column:
    """A metric on the board. `short` heads the terminal's column; without it there is none.

    The terminal has `decimals`, Markdown one more.
    """

    key: str
    title: str
    meaning: str
    short: str = ""
    decimals: int = 3
    interval: bool = False  # the terminal has room for ± here


COLUMNS = (
    Column("gold", "gold ↑", "exact reward of the task", "gold ↑", 2, True),
    Column("gold_unseen", "gold unseen ↑", "gold on prompts of a kind not trained on", "unseen", 2),
    Column("gold_peak", "gold at peak", "gold at the update that validation chose", decimals=2),
    Column("proxy", "proxy reward", "the reward model that training used", "proxy", 2),
    Column("held_out", "held-out reward ↑", "a reward model of other pairs", "held", 2),
    Column("kl", "KL", "from the SFT model, per response", "KL", 2, True),
    Column("win_rate", "win rate vs SFT ↑", "ties are half", "win rate", 2, True),
    Column("rouge1", "ROUGE-1 ↑", "unigram F1 with the references"),
    Column("rouge2", "ROUGE-2 ↑", "bigram F1 with the references"),
    Column("rougeL", "ROUGE-L ↑", "longest common subsequence, F1", "ROUGE-L", 3, True),
    Column("rougeLsum", "ROUGE-Lsum ↑", "ROUGE-L by sentence"),
    Column("bertscore", "BERTScore ↑", "F1 of matched embeddings", "BERT", 3, True),
    Column("length", "length", "tokens of a response", "length", 1, True),
    Column("end_rate", "end rate", "responses that ended by themselves", "ends", 2),
    Column("distinct2", "distinct-2", "different bigrams / bigrams"),
    Column("seconds", "seconds", "of training, without shared stages and evaluation", "sec", 0),
)


@dataclass(frozen=True)
class Cell:
    """An estimate and its 95 % bounds, over `n` items; `how` says where the bounds come from."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    how: Literal["recorded", "prompts", "prompts x seeds", "combined", "seeds", ""] = ""


@dataclass(frozen=True)
class Versus:
    """Mean difference to the SFT model of the same seed, over the same prompts."""

    seed: int
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def verdict(self) -> Literal["yes", "worse", "unclear"]:
        """Whether SFT is beaten: the interval lies above 0, below 0, or around it."""
        return "yes" if self.low > 0 else "worse" if self.high < 0 else "unclear"


@dataclass(frozen=True)
class Row:
    """One configuration, over its seeds."""

    recipe: str
    section: Section
    seeds: tuple[int, ...]
    cells: Mapping[str, Cell] = field(default_factory=dict)
    versus_sft: tuple[Versus, ...] = ()
    rank: int | None = None
    letter: str = ""  # shared with the row above when the intervals overlap
    tuned: bool = False
    error: str = ""

    @property
    def beats_sft(self) -> str:
        """'2/3': better than SFT for two of three seeds; empty where it cannot be told."""
        won = sum(v.verdict == "yes" for v in self.versus_sft)
        return f"{won}/{len(self.versus_sft)}" if self.versus_sft else ""


@dataclass(frozen=True)
class Table:
    """Rows that may be compared, and what must be said with them."""

    task: str
    about: tuple[str, ...]  # decoding, prompts, SFT: what the rows share
    signal: str | None  # the metric that ranks
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    legend: tuple[str, ...] = ()


@dataclass(frozen=True)
class Board:
    """All tables, and the reward models beside them."""

    tables: tuple[Table, ...]
    reward_models: tuple[Row, ...] = ()


# ------------------------------------------------------------------------------ grouping


@dataclass(frozen=True)
class Cohort:
    """The records of one configuration: seed -> record."""

    runs: Mapping[int, Record]

    @property
    def first(self) -> Record:
        return self.runs[min(self.runs)]

    @property
    def failed(self) -> bool:
        return self.first.status == "failed"

    @property
    def bases(self) -> dict[int, Base]:
        return {seed: run.base for seed, run in self.runs.items()}


def setting(r: Record) -> tuple[Any, ...]:
    """What runs of one row share. A control is made beside any method, whose config it carries."""
    config = {k: v for k, v in r.config.items() if k not in BOOKKEEPING}
    if r.kind == "control":
        config = {"model": r.model.name if r.model else None, "decoding": r.decoding}
    return r.kind, r.recipe, r.task.name, r.task.version, hash_of(config)


def cohorts(records: Iterable[Record]) -> list[Cohort]:
    """Records of one configuration that differ by seed alone.

    Of several records of one seed and base the newest counts, and a good one before a failed one.
    """
    groups = defaultdict[tuple, list[Record]](list)
    for r in records:
        groups[setting(r)].append(r)
    found = []
    for group in groups.values():
        good: list[dict[int, Record]] = []
        for r in sorted(group, key=lambda r: (r.created, r.run_id), reverse=True):
            if r.status == "good":
                for runs in good:
                    if r.seed not in runs or runs[r.seed].base == r.base:
                        runs.setdefault(r.seed, r)
                        break
                else:
                    good.append({r.seed: r})
        done = {seed for runs in good for seed in runs}
        failed = {r.seed: r for r in sorted(group, key=lambda r: r.created) if r.seed not in done}
        found += [Cohort(dict(sorted(runs.items()))) for runs in [*good, failed] if runs]
    return found


def joins(failed: Cohort, bases: Mapping[int, Base]) -> bool:
    """A failed run belongs to the table with which nothing that it got to know disagrees."""
    run = failed.first
    theirs = bases.get(run.seed, next(iter(bases.values())))
    pairs = dict(zip(Base._fields, zip(run.base, theirs, strict=True), strict=True))
    skipped = set() if run.decoding else {"decoding"}
    if run.seed not in bases:  # every seed may have its own models
        skipped |= {"sft", "reward_model", "held_out_reward_model"}
    return all(
        name in skipped or ours is None or ours == other for name, (ours, other) in pairs.items()
    )


def comparable(found: Iterable[Cohort]) -> list[list[Cohort]]:
    """Cohorts by what may be ranked together; the ones with most seeds decide first."""
    tables: list[tuple[dict[int, Base], list[Cohort]]] = []
    good = [c for c in found if not c.failed]
    failed = [c for c in found if c.failed]
    for cohort in sorted(good, key=lambda c: (-len(c.runs), c.first.recipe, c.first.run_id)):
        for bases, members in tables:
            common = bases.keys() & cohort.bases.keys()
            alike = set(bases.values()) & set(cohort.bases.values())
            if all(bases[s] == cohort.bases[s] for s in common) and (common or alike):
                bases |= cohort.bases
                members.append(cohort)
                break
        else:
            tables.append((cohort.bases, [cohort]))
    for cohort in failed:
        for bases, members in tables:
            if joins(cohort, bases):
                members.append(cohort)
                break
        else:
            tables.append((cohort.bases, [cohort]))
    return [members for _, members in tables]


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"algo": {"beta": 0.1}} -> ("algo.beta", 0.1)."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def names(members: Sequence[Cohort]) -> list[str]:
    """The recipe of each cohort, and where one recipe has several rows, what tells them apart."""
    configs = [
        {k: v for k, v in flat(c.first.config) if k.split(".")[0] not in BOOKKEEPING}
        if c.first.kind != "control"
        else {}
        for c in members
    ]
    result = []
    for cohort, config in zip(members, configs, strict=True):
        twins = [
            other
            for c, other in zip(members, configs, strict=True)
            if (c.first.recipe, c.first.kind) == (cohort.first.recipe, cohort.first.kind)
        ]
        differing = [
            key
            for key in sorted(set().union(*twins))
            if len({repr(twin.get(key)) for twin in twins}) > 1
        ]
        mine = [key for key in differing if key in config]
        shown = [f"{key.rpartition('.')[2]}={config[key]}" for key in mine[:3]]
        more = ["…"] if len(mine) > 3 else []
        result.append(" ".join([cohort.first.recipe, *shown, *more]))
    return result


# ----------------------------------------------------------------------------- estimates


def by_prompt(frame: "DataFrame") -> dict[tuple[str, str], dict[str, float]]:
    """(split, column) -> prompt -> value, the mean where a prompt has several samples."""
    prompts, splits = (frame[name].astype(str).tolist() for name in ("prompt_id", "split"))
    found: dict[tuple[str, str], dict[str, float]] = {}
    for column in frame.select_dtypes(["number", "bool"]):
        sums = defaultdict[tuple[str, str], list[float]](list)
        for split, prompt, value in zip(splits, prompts, frame[column].tolist(), strict=True):
            if value is not None and value == value:  # there, and not NaN
                sums[split, prompt].append(float(value))
        for (split, prompt), values in sums.items():
            found.setdefault((split, column), {})[prompt] = fmean(values)
    return found


def per_prompt(metric: str, record: Record, answers: Answers) -> Mapping[str, float] | None:
    """Prompt -> value, where the run's file holds a metric and explains its recorded value.

    `gold_unseen` is the column gold on the split test_unseen; plain names are the split test.
    """
    file, recorded = answers.get(record.run_id), record.metrics.end.get(metric)
    if file is None or recorded is None or recorded.value is None:
        return None
    stem, _, suffix = metric.rpartition("_")
    values = file.get(("test", PER_PROMPT.get(metric, metric))) or file.get(
        (f"test_{suffix}", PER_PROMPT.get(stem, stem))
    )
    if not values:
        return None
    explained = math.isclose(fmean(values.values()), recorded.value, rel_tol=1e-3, abs_tol=1e-3)
    return values if explained else None


@lru_cache(maxsize=8)
def counts(n: int, stream: int) -> np.ndarray:
    """How often each of n units is drawn, in each resample."""
    generator = np.random.default_rng([SEED, stream])
    return generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)


def crossed_interval(by_seed: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Bounds of the mean over seeds and prompts, both drawn anew (see the head of this file)."""
    prompts = sorted(set().union(*by_seed))
    values = np.array([[run.get(p, np.nan) for p in prompts] for run in by_seed])
    there = ~np.isnan(values)
    seeds = len(by_seed)
    means = np.nanmean(values, axis=1, keepdims=True)
    values = values + (means - means.mean()) * (math.sqrt(seeds / (seeds - 1)) - 1)
    on_prompts, on_seeds = counts(len(prompts), 1), counts(seeds, 2)
    sums = ((on_prompts @ np.where(there, values, 0).T) * on_seeds).sum(1)
    weights = np.full(RESAMPLES, float(there.size))
    if not there.all():
        weights = ((on_prompts @ there.T.astype(float)) * on_seeds).sum(1)
        sums, weights = sums[weights > 0], weights[weights > 0]
    low, high = np.quantile(sums / weights, [0.025, 0.975])
    return float(low), float(high)


def estimate(metric: str, runs: Sequence[Record], answers: Answers) -> Cell | None:
    """A metric of a row: mean over the seeds that have it, with the best interval there is."""
    having = [(r, m) for r in runs if (m := r.metrics.end.get(metric)) and m.value is not None]
    if not having:
        return None
    metrics = [m for _, m in having]
    each = [per_prompt(metric, r, answers) for r, _ in having]
    n = metrics[0].n
    if len(having) == 1:
        return single(metrics[0], each[0])
    value = fmean(m.value for m in metrics)
    if all(each):
        return Cell(value, *crossed_interval(each), n, "prompts x seeds")
    between = float(stdtrit(len(metrics) - 1, 0.975)) * stdev(m.value for m in metrics)
    between /= math.sqrt(len(metrics))
    within = [(m.high - m.low) / 2 for m in metrics if m.low is not None]
    if len(within) < len(metrics):
        return Cell(value, value - between, value + between, n, "seeds")
    half = math.sqrt(fmean(h * h for h in within) + between**2)
    return Cell(value, value - half, value + half, n, "combined")


def single(metric: Metric, values: Mapping[str, float] | None) -> Cell:
    """One seed: the interval of the record; where it has none, over the prompts."""
    if metric.low is not None:
        return Cell(metric.value, metric.low, metric.high, metric.n, "recorded")
    if values and len(values) > 1:
        found = mean_interval(list(values.values()), seed=SEED)
        return Cell(metric.value, found.low, found.high, metric.n, "prompts")
    return Cell(metric.value, n=metric.n)


def versus(
    runs: Sequence[Record], sft: Mapping[int, Record], signal: str, answers: Answers
) -> Iterator[Versus]:
    """Per seed, the difference to the SFT model over the prompts that both answered."""
    for run in runs:
        if run.seed not in sft or sft[run.seed] is run:
            continue
        ours = per_prompt(signal, run, answers)
        theirs = per_prompt(signal, sft[run.seed], answers)
        both = sorted((ours or {}).keys() & (theirs or {}).keys())
        if len(both) > 1:
            a, b = ([values[p] for p in both] for values in (ours, theirs))
            found = paired_difference(a, b, seed=SEED)
            yield Versus(run.seed, found.difference, found.low, found.high, found.p_value)


def cells(runs: Sequence[Record], answers: Answers) -> dict[str, Cell]:
    """Every metric of a row that exists, and what is no metric but a column."""
    wanted = sorted(set().union(*(r.metrics.end for r in runs)))
    found = {name: cell for name in wanted if (cell := estimate(name, runs, answers))}
    peaks = [m for r in runs if (m := r.metrics.peak.get("gold")) and m.value is not None]
    if peaks:
        found["gold_peak"] = Cell(fmean(m.value for m in peaks), n=peaks[0].n)
    spent = [training_seconds(r) for r in runs]
    if any(spent):
        found["seconds"] = Cell(fmean(spent))
    return found


def training_seconds(run: Record) -> float:
    """Phases are called `stage` or `stage (choices)`."""
    return sum(s for name, s in run.seconds.items() if name.split(" (")[0] not in NOT_TRAINING)


# ------------------------------------------------------------------------------- ranking


def trained_on(run: Record, signal: str) -> bool:
    """The run was trained on the very signal, by its feedback or by the reward's signature."""
    trained, judged = (run.metrics.end.get(name) for name in ("trained_reward", signal))
    same = trained and judged and trained.signature and trained.signature == judged.signature
    return bool(same) or signal in TRAINED_ON.get(run.feedback or "", ())


def place(run: Record, found: Mapping[str, Cell], signal: str | None) -> Section:
    """The part of the table that a good row belongs to."""
    if run.kind == "control":
        return "control"
    if signal is None or signal not in found:
        return "unranked"
    return "trained_on" if trained_on(run, signal) else "ranked"


def letters(number: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa."""
    return (letters(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def overlap(a: Cell, b: Cell) -> bool:
    """The intervals meet; a value without bounds is not known to differ from anything."""
    if None in (a.low, b.low):
        return True
    return a.low <= b.high and b.low <= a.high


def ranked(rows: Sequence[Row], signal: str) -> list[Row]:
    """Best first. A row whose interval meets that of the row above shares its letter."""
    result: list[Row] = []
    letter = 0
    for row in sorted(rows, key=lambda r: (-r.cells[signal].value, r.recipe)):
        if result and not overlap(result[-1].cells[signal], row.cells[signal]):
            letter += 1
        result.append(replace(row, rank=len(result) + 1, letter=letters(letter)))
    return result


def ordered(rows: Iterable[Row], signal: str | None) -> tuple[Row, ...]:
    """Ranked rows, rows trained on the signal, rows without it, controls, failures."""
    parts = defaultdict[Section, list[Row]](list)
    for row in rows:
        parts[row.section].append(row)

    def value(row: Row) -> float:
        return -row.cells[signal].value if signal in row.cells else math.inf

    def control(row: Row) -> tuple[int, str]:
        known = row.recipe in CONTROLS
        return (CONTROLS.index(row.recipe) if known else len(CONTROLS), row.recipe)

    return (
        *(ranked(parts["ranked"], signal) if signal else ()),
        *sorted(parts["trained_on"], key=lambda r: (value(r), r.recipe)),
        *sorted(parts["unranked"], key=lambda r: (value(r), r.recipe)),
        *sorted(parts["control"], key=control),
        *sorted(parts["failed"], key=lambda r: (r.recipe, r.seeds)),
    )


# --------------------------------------------------------------------------------- words


def short(key: str | None) -> str:
    return key[:8] if key else "none"


def per_seed(value: Callable[[Record], str], runs: Iterable[Record]) -> str:
    """One value where all seeds agree, else each with its seeds."""
    seeds = defaultdict[str, set[int]](set)
    for run in runs:
        seeds[value(run)].add(run.seed)
    if len(seeds) == 1:
        return next(iter(seeds))
    listed = sorted(seeds.items(), key=lambda item: min(item[1]))
    return ", ".join(f"{v} (seed {', '.join(map(str, sorted(s)))})" for v, s in listed)


def about(runs: Sequence[Record], signal: str | None) -> tuple[str, ...]:
    """What the rows of a table share."""
    good = [r for r in runs if r.status == "good"] or runs
    of_signal = [m.n or 0 for r in good for name, m in r.metrics.end.items() if name == signal]
    hashes = per_seed(lambda r: short(r.task.prompts_hash), good)
    decoding = ", ".join(f"{key} {value}" for key, value in flat(good[0].decoding))
    return (
        f"{max(of_signal, default=0) or '?'} test prompts {hashes}",
        f"decoding: {decoding or 'not recorded'}",
        f"SFT model {per_seed(lambda r: short(r.parents.sft), good)}",
    )


def listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))


def count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def notes(rows: Sequence[Row], runs: Sequence[Record], signal: str | None) -> Iterator[str]:
    top = [r for r in rows if r.section == "ranked"]
    good = [r for r in runs if r.status == "good"]
    if signal and top:
        title = next(c.title.strip(" ↑") for c in COLUMNS if c.key == signal)
        yield f"Ranked by {title} at the end of training; intervals are 95 %."
    else:
        yield "Nothing here can be ranked: no row has gold, a win rate or a held-out reward."
    if len({r.letter for r in top}) < len(top):
        yield (
            "Rows that share a letter have intervals that overlap with the row above: "
            "their order is not established."
        )
    if any(r.section == "trained_on" for r in rows):
        yield f"† trained on {signal} itself: shown, not ranked."
    if any(r.section == "unranked" for r in rows) and signal:
        yield f"Rows without a rank and without a mark lack {signal}."
    everything = max((r.seeds for r in top), key=len, default=())
    if fewer := [f"{r.recipe} on {listed(r.seeds)}" for r in top if r.seeds != everything]:
        yield (
            f"Rows rest on different seeds ({'; '.join(fewer)}; the others on "
            f"{listed(everything)}): a part of a difference may be the seed's."
        )
    elif top and len(top[0].seeds) == 1:
        yield "One seed: the intervals hold for this model and say nothing of another seed."
    used = {cell.how for r in rows for key, cell in r.cells.items() if key == signal}
    if "prompts x seeds" in used:
        yield "Intervals over seeds: prompts and seeds drawn anew from the per-prompt files."
    if "combined" in used:
        yield (
            "Without per-prompt files, intervals over seeds add the seeds' own intervals "
            "and the t interval of their means."
        )
    if "seeds" in used:
        yield "Some intervals over seeds are the t interval of the seeds' means alone."
    policies = [r for r in good if r.kind == "policy"]
    budgets = {(r.budget.updates, r.budget.responses) for r in policies}
    if len(budgets) > 1:
        each = "; ".join(
            f"{recipe} {per_seed(spent, [r for r in policies if r.recipe == recipe])}"
            for recipe in sorted({r.recipe for r in policies})
        )
        yield f"Budgets differ (updates/responses): {each}."
    commits = sorted({r.git.commit[:8] for r in good if r.git.commit})
    if len(commits) > 1:
        yield f"Rows come from {len(commits)} commits: {', '.join(commits)}."
    dirty = sorted({r.recipe for r in good if r.git.dirty})
    if dirty:
        yield f"Made with uncommitted changes: {', '.join(dirty)}."


def spent(run: Record) -> str:
    return f"{run.budget.updates}/{run.budget.responses}"


def why_apart(first: Sequence[Cohort], here: Sequence[Cohort]) -> tuple[str, ...]:
    """Why these rows are not in the first table of their task."""
    theirs = {seed: base for c in first if not c.failed for seed, base in c.bases.items()}
    ours = {seed: base for c in here if not c.failed for seed, base in c.bases.items()}
    if not theirs or not ours:
        return ()
    seed = min(theirs.keys() & ours.keys(), default=None)
    if seed is None:
        return ("Not comparable with the first table of this task: no seed in common.",)
    differing = [
        name.replace("_", " ").replace("sft", "SFT model")
        for name, x, y in zip(Base._fields, theirs[seed], ours[seed], strict=True)
        if x != y
    ]
    return (f"Not comparable with the first table of this task: other {', '.join(differing)}.",)


def legend(runs: Sequence[Record]) -> tuple[str, ...]:
    """Per metric: meaning, unit, estimator, signature; a warning where rows differ in them."""
    lines = []
    for column in COLUMNS:
        found = [
            (r.seed, m)
            for r in runs
            if (m := r.metrics.end.get(column.key)) and m.value is not None
        ]
        if found:
            traits = (trait(name, found) for name in ("unit", "estimator", "signature"))
            words = "; ".join(filter(None, [column.meaning, *traits]))
            lines.append(f"{column.title.strip(' ↑')}: {words}")
    return tuple(lines)


def trait(name: str, found: Sequence[tuple[int, Metric]]) -> str:
    """What the metrics of (seed, metric) agree on; seeds may differ, for they have own models."""
    by_seed = defaultdict[int, set[str]](set)
    for seed, metric in found:
        if said := getattr(metric, name):
            by_seed[seed].add(LONG.sub(lambda key: short(key[0]), said))
    values = sorted(set().union(*by_seed.values()))
    if any(len(said) > 1 for said in by_seed.values()):
        return f"NOT COMPARABLE, rows differ: {' / '.join(values)}"
    return " / ".join(values[:3]) + (" / …" if len(values) > 3 else "")


# --------------------------------------------------------------------------------- board


def board(records: Iterable[Record], frames: Frames | None = None) -> Board:
    """The board of some records; `frames` are their per-prompt tables by run id."""
    answers = {run_id: by_prompt(frame) for run_id, frame in (frames or {}).items()}
    found = cohorts(records)
    models = [c for c in found if c.first.kind == "reward_model"]
    runs = [c for c in found if c.first.kind != "reward_model"]
    groups = sorted(comparable(runs), key=lambda g: (g[0].first.task.name, -len(g)))
    tables = []
    for index, members in enumerate(groups):
        kin = [g for g in groups[:index] if g[0].first.task.name == members[0].first.task.name]
        found_table = table(members, answers)
        apart = why_apart(kin[0], members) if kin else ()
        tables.append(replace(found_table, notes=(*apart, *found_table.notes)))
    return Board(
        tuple(tables),
        tuple(
            Row(name, "failed" if c.failed else "unranked", tuple(c.runs), cells_, error=error)
            for c, name in zip(models, names(models), strict=True)
            for cells_ in [{} if c.failed else cells(list(c.runs.values()), answers)]
            for error in [c.first.error or ""]
        ),
    )


def table(members: Sequence[Cohort], answers: Answers) -> Table:
    """The table of cohorts that may be compared."""
    good = [c for c in members if not c.failed]
    runs = [r for c in good for r in c.runs.values()]
    judged = {
        name
        for r in runs
        for name, metric in r.metrics.end.items()
        if metric.value is not None and r.kind == "policy"
    }
    signal = next((s for s in SIGNALS if s in judged), None)
    sft = {r.seed: r for r in runs if r.kind == "control" and r.recipe == "sft" and r.metrics.end}
    rows = []
    for cohort, name in zip(members, names(members), strict=True):
        mine = list(cohort.runs.values())
        if cohort.failed:
            rows += [Row(name, "failed", (r.seed,), error=r.error or "") for r in mine]
            continue
        numbers = cells(mine, answers)
        rows.append(
            Row(
                name,
                place(cohort.first, numbers, signal),
                tuple(cohort.runs),
                numbers,
                tuple(versus(mine, sft, signal, answers)) if signal else (),
                tuned=any(r.config.get("tuned") not in (None, "", "none", False) for r in mine),
            )
        )
    rows = ordered(rows, signal)
    all_runs = runs or [r for c in members for r in c.runs.values()]
    task = all_runs[0].task
    return Table(
        task.name if task.version is None else f"{task.name} v{task.version}",
        about(all_runs, signal),
        signal,
        rows,
        tuple(notes(rows, all_runs, signal)),
        legend(runs),
    )


# ------------------------------------------------------------------------------ Markdown


def number(value: float | None, decimals: int) -> str:
    """Fixed decimals, a real minus sign, and never −0.00."""
    if value is None:
        return "-"
    said = f"{value:.{decimals}f}"
    return said.lstrip("-") if not float(said) else said.replace("-", "−")


def escaped(words: str) -> str:
    """Text that cannot break a cell, a line or the markup of Markdown."""
    words = " ".join(words.split()).replace("\\", "\\\\")
    for mark in "|`*_[]":
        words = words.replace(mark, f"\\{mark}")
    return words.replace("&", "&amp;").replace("<", "&lt;")


def code(words: str) -> str:
    """`words` in a cell, as code."""
    return f"`{' '.join(words.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def mark(row: Row) -> str:
    match row.section:
        case "ranked":
            return f"{row.rank} {row.letter}"
        case "trained_on":
            return "†"
        case "failed":
            return "failed"
    return ""


def markdown_cell(cell: Cell | None, decimals: int) -> str:
    if cell is None:
        return "-"
    decimals += 1
    value = number(cell.value, decimals)
    if cell.low is None:
        return value
    return f"{value}<br><sub>[{number(cell.low, decimals)}, {number(cell.high, decimals)}]</sub>"


def markdown_row(row: Row, columns: Sequence[Column]) -> str:
    name = code(row.recipe)
    if row.section == "control":
        name = f"*{name}*"
    seeds = f"{len(row.seeds)}<br><sub>{listed(row.seeds)}</sub>"
    if row.section == "failed":
        entries = [escaped(row.error), *["-"] * (len(columns) + 1)]
        return "| " + " | ".join([mark(row), name, f"seed {row.seeds[0]}", *entries]) + " |"
    entries = [markdown_cell(row.cells.get(c.key), c.decimals) for c in columns]
    entries.insert(1, row.beats_sft or "-")
    tuned = "yes" if row.tuned else "-" if row.section == "control" else "no"
    return "| " + " | ".join([mark(row), name, seeds, *entries, tuned]) + " |"


def present(rows: Sequence[Row], columns: Iterable[Column]) -> list[Column]:
    """Columns that some row fills; gold always, for its absence is news."""
    return [c for c in columns if c.key == "gold" or any(c.key in r.cells for r in rows)]


def to_markdown(found: Board) -> str:
    """Every table with all columns; bounds under the values."""
    parts = []
    for t in found.tables:
        columns = present(t.rows, COLUMNS)
        titles = [c.title for c in columns]
        titles.insert(1, "beats SFT")
        parts += [f"## {escaped(t.task)}", escaped(" · ".join(t.about))]
        lines = [
            "| " + " | ".join(["rank", "recipe", "seeds", *titles, "tuned"]) + " |",
            "|" + "|".join([":--", ":--", ":-:", *["--:"] * len(titles), ":-:"]) + "|",
        ]
        width = len(titles) + 4
        section = None
        for row in t.rows:
            if row.section != section and row.section in ("control", "failed"):
                title = {"control": "**controls**", "failed": "**failed**"}[row.section]
                lines.append("| | " + title + " |" + " |" * (width - 2))
            section = row.section
            lines.append(markdown_row(row, columns))
        parts += ["\n".join(lines), escaped(" ".join(t.notes))]
        parts += filter(None, [markdown_versus(t)])
        if t.legend:
            parts.append("\n".join(f"- {escaped(line)}" for line in t.legend))
    if found.reward_models:
        parts += ["## Reward models", markdown_models(found.reward_models)]
    return "\n\n".join(parts or ["No records yet."]) + "\n"


def markdown_versus(t: Table) -> str:
    """The paired differences to SFT, a column per seed."""
    rows = [r for r in t.rows if r.versus_sft]
    if not rows:
        return ""
    seeds = sorted({v.seed for r in rows for v in r.versus_sft})
    lines = [
        f"Beats SFT on {t.signal}? Mean paired difference over the same prompts, its interval "
        "(prompts drawn anew), and the answer, per seed:",
        "",
        "| recipe | " + " | ".join(f"seed {s}" for s in seeds) + " |",
        "|:--|" + "--:|" * len(seeds),
    ]
    for row in rows:
        found = {v.seed: v for v in row.versus_sft}
        entries = [said(found[s]) if s in found else "-" for s in seeds]
        lines.append("| " + " | ".join([code(row.recipe), *entries]) + " |")
    return "\n".join(lines)


def said(v: Versus) -> str:
    sign = "+" if v.difference > 0 else ""
    bounds = f"[{number(v.low, 3)}, {number(v.high, 3)}]"
    return f"{sign}{number(v.difference, 3)} {bounds} {v.verdict}"


def markdown_models(rows: Sequence[Row]) -> str:
    lines = ["| reward model | seeds | accuracy |", "|:--|:-:|--:|"]
    for row in rows:
        accuracy = markdown_cell(row.cells.get("accuracy"), 2)
        result = f"failed: {escaped(row.error)}" if row.error else accuracy
        lines.append(f"| {code(row.recipe)} | {len(row.seeds)} | {result} |")
    return "\n".join(lines)


# -------------------------------------------------------------------------------- terminal

LOOKS = {"control": "dim", "failed": "red", "trained_on": "yellow"}


def terminal_cell(cell: Cell | None, column: Column) -> Text:
    if cell is None:
        return Text("-", style="dim")
    result = Text(number(cell.value, column.decimals))
    if column.interval and cell.low is not None:
        half = number((cell.high - cell.low) / 2, column.decimals)
        result.append(f"±{half.removeprefix('0') if '.' in half else half}", style="dim")
    return result


def terminal_table(t: Table) -> Grid:
    columns = [c for c in present(t.rows, COLUMNS) if c.short]
    grid = Grid(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold"
    )
    grid.add_column("", no_wrap=True)
    grid.add_column("recipe", overflow="fold", min_width=12, max_width=24)
    grid.add_column("seeds", justify="right", no_wrap=True)
    for column in columns:
        grid.add_column(column.short, justify="right", no_wrap=True)
        if column.key == "gold":
            grid.add_column("> SFT", justify="right", no_wrap=True)
    section = None
    for row in t.rows:
        if row.section == "failed":
            continue
        if section and section != row.section:
            grid.add_section()
        section = row.section
        entries: list[Any] = []
        for column in columns:
            entries.append(terminal_cell(row.cells.get(column.key), column))
            if column.key == "gold":
                entries.append(row.beats_sft or Text("-", style="dim"))
        name = Text(row.recipe + (" (tuned)" if row.tuned else ""))
        seeds = str(len(row.seeds))
        grid.add_row(mark(row), name, seeds, *entries, style=LOOKS.get(row.section))
    return grid


def to_terminal(found: Board) -> RenderableType:
    """The tables for a terminal of 130 columns: the main metrics, ± half of the interval."""
    parts: list[RenderableType] = []
    for t in found.tables:
        parts += [Text(t.task, style="bold"), Text(" · ".join(t.about), style="dim")]
        if any(r.section != "failed" for r in t.rows):
            parts.append(terminal_table(t))
        for row in t.rows:
            if row.section == "failed":
                line = f"[red]failed[/]  {escape(row.recipe)} seed {row.seeds[0]}: "
                parts.append(Text.from_markup(line + escape(" ".join(row.error.split()))))
        if any(r.section == "failed" for r in t.rows):
            parts.append(Text())
        parts += [Text(note) for note in t.notes]
        above = f"> SFT: seeds whose paired difference to SFT on {t.signal} is above 0"
        paired = [above] if any(r.versus_sft for r in t.rows) else []
        legend_ = ["±: half of the 95 % interval", *paired, *t.legend]
        parts.append(Text(" · ".join(legend_), style="dim"))
        parts.append(Text())
    for row in found.reward_models:
        cell = row.cells.get("accuracy")
        words = f"accuracy {number(cell.value, 3)}" if cell else row.error or "no accuracy"
        parts.append(Text(f"reward model {row.recipe} ({count(len(row.seeds), 'seed')}): {words}"))
    return Group(*parts) if parts else Text("No records yet.")


# ------------------------------------------------------------------------------------- CSV


def to_csv(found: Board) -> str:
    """One line per row, every metric with its bounds, unrounded."""
    known = [c.key for c in COLUMNS]
    rows = [row for t in found.tables for row in t.rows]
    extra = sorted({key for row in rows for key in row.cells} - set(known))
    metrics = [*known, *extra]
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    bounds = [f"{m}{end}" for m in metrics for end in ("", "_low", "_high")]
    fixed = "table task about signal section rank letter recipe seeds beats_sft tuned error".split()
    writer.writerow([*fixed, *bounds])
    for index, t in enumerate(found.tables, 1):
        for row in t.rows:
            seeds = " ".join(map(str, row.seeds))
            head = [index, t.task, " · ".join(t.about), t.signal, row.section, row.rank]
            head += [row.letter, row.recipe, seeds, row.beats_sft, row.tuned, row.error]
            numbers = [row.cells.get(m, Cell(math.nan)) for m in metrics]
            writer.writerow(head + [_csv(v) for c in numbers for v in (c.value, c.low, c.high)])
    return output.getvalue()


def _csv(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))
