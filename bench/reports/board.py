"""The board: records in, fair tables out. Pure functions.

Runs of one configuration with several seeds are one row; rows that may be compared are one table.
No row is ranked by a signal that it was trained on.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from statistics import median_low
from typing import Literal

from ..stats.crossed import adjusted, detectable
from .cohorts import Cohort, cohorts, comparable, flat, names, why_apart
from .estimates import (
    Answers,
    Cell,
    Frames,
    Overall,
    Remember,
    Versus,
    made_anew,
    numbers,
)
from .judges import BY_JUDGE, Judge, judges, one_judge, trained_on_judge
from .judges import notes as notes_of_judges
from .record import Record

Section = Literal["ranked", "trained_on", "unranked", "control", "failed"]

# The first that exists ranks; what a judge says, where one judged all methods.
SIGNALS = ("gold", BY_JUDGE, "win_rate", "held_out")
CONTROLS = (
    "reference references best_of_16_gold best_of_16 sft longest_of_16 constant copied_prompt empty"
).split()
SAY_NOTHING = ("constant", "copied_prompt", "empty")  # no metric may prefer one to the references
FROM_GOLD = {"gold", "gold_unseen"}
TRAINED_ON = {  # feedback -> the metrics that are the same signal
    "gold": FROM_GOLD,
    "reward_model": {"held_out"},  # it labels the pairs
    "ensemble": {"proxy"},
    "rouge": {"rouge1", "rouge2", "rougeL", "rougeLsum"},
}
LONG = re.compile(r"\b[0-9a-f]{32,64}\b")  # keys and hashes
DIFFER = "NOT COMPARABLE, rows differ: "


@dataclass(frozen=True)
class Column:
    """A metric on the board. `short` heads the terminal's column; without it there is none.

    The terminal shows `decimals`, Markdown one more.
    """

    key: str
    title: str
    meaning: str
    short: str = ""
    decimals: int = 3
    interval: bool = False  # the terminal has room for ± here


COLUMNS = (
    Column("gold", "gold ↑", "exact reward of the task", "gold ↑", 2, True),
    Column(
        "gold_iqm", "gold IQM ↑", "interquartile mean over seeds, of 4 seeds and more", decimals=2
    ),
    Column("gold_unseen", "gold unseen ↑", "gold on prompts of a kind not trained on", "unseen", 2),
    Column("gold_peak", "gold at peak", "gold at the update that validation chose", decimals=2),
    Column("proxy", "proxy reward", "the reward model that training used", "proxy", 2),
    Column("held_out", "held-out reward ↑", "a reward model of other pairs", "held", 2),
    Column("kl", "KL", "from the SFT model, per response", "KL", 2, True),
    Column("win_rate", "win rate vs SFT ↑", "ties are half", "win rate", 2, True),
    Column("win_rate_at_equal_length", "win rate, equal length ↑", "were both equally long"),
    Column("win_rate_over_references", "win rate vs references ↑", "ties are half"),
    Column(BY_JUDGE, "judged vs SFT ↑", "win rate by the model of judge=", "judged", 2),
    Column(f"{BY_JUDGE}_over_references", "judged vs references ↑", "win rate by that model"),
    Column(f"{BY_JUDGE}_at_equal_length", "judged, equal length ↑", "were both equally long"),
    Column("refusal_rate", "refused ↑", "of requests that are to be refused, those that are"),
    Column("over_refusal_rate", "over-refused ↓", "of requests that can be met, those refused"),
    Column("rouge1", "ROUGE-1 ↑", "unigram F1 with the references"),
    Column("rouge2", "ROUGE-2 ↑", "bigram F1 with the references"),
    Column("rougeL", "ROUGE-L ↑", "longest common subsequence, F1", "ROUGE-L", 3, True),
    Column("rougeLsum", "ROUGE-Lsum ↑", "ROUGE-L by sentence"),
    Column("bertscore", "BERTScore ↑", "F1 of matched embeddings", "BERT", 3, True),
    Column("length", "length", "tokens of a response", "length", 1, True),
    Column("end_rate", "end rate", "responses that ended by themselves", "ends", 2),
    Column("distinct2", "distinct-2", "different bigrams / bigrams"),
    Column(
        "planted_found",
        "planted errors found ↑",
        "errors planted in references that the lowest token reward finds",
        "planted",
        2,
    ),
    Column("planted_found_by_sft", "planted, by SFT", "by the SFT model's least likely token"),
    Column("planted_found_by_chance", "planted, by chance", "1 / tokens without EOS"),
    Column("seconds", "seconds", "of training, shared stages and evaluation apart", "sec", 0),
    Column("updates", "updates", "of the policy, a seed", decimals=-1),
    Column("responses", "responses", "scored for an update", decimals=-1),
    Column("pairs", "pairs", "learned from, a seed", decimals=-1),
    Column("prompts", "prompts", "read in all updates, a seed", decimals=-1),
    Column("tokens", "tokens", "of responses learned from, a seed", decimals=-1),
    Column("teraflops", "TFLOP", "10¹² operations of training, a seed", decimals=1),
    Column("tried", "settings tried", "on validation, by prefzoo tune; 1: not tuned", decimals=-1),
)
MODEL_COLUMNS = (  # of reward models
    Column("accuracy", "accuracy ↑", "held-out pairs ordered as their labels are", "accuracy"),
    Column("accuracy_gold", "by gold ↑", "held-out pairs ordered as gold orders them", "by gold"),
    Column("accuracy_unseen", "unseen ↑", "accuracy on prompts of a kind not trained on", "unseen"),
    Column("accuracy_other", "elsewhere ↑", "accuracy on another task's pairs", "elsewhere"),
    Column(
        "calibration_error",
        "calibration error ↓",
        "expected, of P(chosen) = σ(raw margin)",
        "error",
    ),
    Column("log_loss", "log loss ↓", "nats a pair; log 2 = 0.693 says nothing", "log loss"),
    Column("margin_q05", "margin 5 %", "reward of the chosen answer less the other's: quantiles"),
    Column("margin_q50", "50 %", "the median margin", "margin"),
    Column("margin_q95", "95 %", "the margin that 5 % exceed"),
)


@dataclass(frozen=True)
class Row:
    """One configuration, over its seeds."""

    recipe: str
    section: Section
    seeds: tuple[int, ...]
    cells: Mapping[str, Cell] = field(default_factory=dict)
    versus_sft: tuple[Versus, ...] = ()
    overall: Overall | None = None  # against SFT, over all seeds; methods alone
    rank: int | None = None
    letter: str = ""  # shared with the row above when the intervals overlap
    tuned: bool = False
    error: str = ""
    runs: tuple[str, ...] = ()  # ids of the records, in the order of the seeds

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
    judges: tuple[Judge, ...] = ()  # of `judge=`


@dataclass(frozen=True)
class Board:
    """All tables, and those of reward models, a task each."""

    tables: tuple[Table, ...]
    reward_models: tuple[Table, ...] = ()


# ------------------------------------------------------------------------------- ranking


def trained_on(run: Record, signal: str) -> bool:
    """The run was trained on the very signal, by its feedback or by the reward's signature."""
    trained, judged = (run.metrics.end.get(name) for name in ("trained_reward", signal))
    same = trained and judged and trained.signature and trained.signature == judged.signature
    if signal == BY_JUDGE:
        same = trained_on_judge(run)
    taught = TRAINED_ON.get(run.feedback or "", ())
    if signal == "win_rate" and "gold" not in run.metrics.end:  # held_out tells who wins
        signal = "held_out"
    return bool(same) or signal in taught


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


def corrected(rows: Sequence[Row]) -> list[Row]:
    """Rows whose differences to SFT are corrected for how many there are (Benjamini & Hochberg)."""
    p_values = [r.overall.p_value for r in rows if r.overall]
    each = iter(adjusted(p_values).tolist())
    return [
        replace(r, overall=replace(r.overall, adjusted=next(each))) if r.overall else r
        for r in rows
    ]


# --------------------------------------------------------------------------------- words


def short(key: str | None) -> str:
    """The first of a hash, without the stage that stands before it in a key of the store."""
    return key.rpartition("-")[2][:8] if key else "none"


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


def notes(
    rows: Sequence[Row], runs: Sequence[Record], signal: str | None, columns: "Traits"
) -> Iterator[str]:
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
    yield from gamed(rows)
    yield from against_sft(top, signal)
    if apart := [column for column, said in columns.items() if differ(said)]:
        titles = ", ".join(c.title.strip(" ↑") for c in apart)
        yield f"Rows differ in how {titles} was measured: NOT COMPARABLE there."
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
        yield (
            "Intervals over seeds: Student's t, seeds and prompts both standing for others; of two "
            "seeds they are wide on purpose, and those called 95 % hold 94 to 100 %."
        )
    if "combined" in used:
        yield (
            "Without per-prompt files, intervals over seeds add the seeds' own intervals "
            "and the t interval of their means."
        )
    if "seeds" in used:
        yield "Some intervals over seeds are the t interval of the seeds' means alone."
    policies = [r for r in good if r.kind == "policy"]
    budgets = defaultdict[str, set[str]](set)
    for r in policies:
        budgets[spent(r)].add(r.recipe)
    if len(budgets) > 1:
        usual = max(budgets, key=lambda b: (len(budgets[b]), b))
        others = "; ".join(
            f"{', '.join(sorted(budgets[b]))} {b}" for b in sorted(budgets) if b != usual
        )
        yield f"Budgets differ (updates/responses): {usual}, but {others}."
    commits = sorted({r.git.commit[:8] for r in good if r.git.commit})
    if len(commits) > 1:
        yield f"Rows come from {len(commits)} commits: {', '.join(commits)}."
    dirty = sorted({r.recipe for r in good if r.git.dirty})
    if dirty:
        yield f"Made with uncommitted changes: {', '.join(dirty)}."


def gamed(rows: Sequence[Row]) -> Iterator[str]:
    """Metrics that an answer which says nothing can win."""
    found = {r.recipe: r.cells for r in rows if r.section == "control"}
    best = found.get("references", found.get("reference", {}))
    for column in COLUMNS:
        if column.key in best and (column.title.endswith("↑") or column.key == "proxy"):
            for name in SAY_NOTHING:
                cell = found.get(name, {}).get(column.key)
                if cell and cell.value >= best[column.key].value:
                    title = column.title.strip(" ↑")
                    yield f"DO NOT TRUST {title}: the control {name} is not below the references."


def against_sft(rows: Sequence[Row], signal: str | None) -> Iterator[str]:
    """What the corrected tests say, and what they could have found."""
    tested = [r for r in rows if r.overall]
    if not tested:
        return
    said = defaultdict[str, list[str]](list)
    for row in tested:
        said[row.overall.verdict].append(row.recipe)
    words = {"yes": "better", "worse": "worse", "unclear": "not told apart"}
    found = "; ".join(
        f"{words[verdict]} {len(said[verdict])}"
        + (f" ({', '.join(sorted(said[verdict]))})" if verdict != "yes" else "")
        for verdict in words
        if said[verdict]
    )
    yield (
        f"Against SFT over all seeds and prompts, {count(len(tested), 'method')} corrected together "
        f"(Benjamini-Hochberg, 5 %): {found}."
    )
    errors = [(r.overall.error, r.overall.dof) for r in tested if r.overall.error > 0]
    if errors:
        least = detectable(*median_low(errors))
        yield (
            f"A true difference to SFT of {least:.2g} in {signal} would be found in 80 % of such "
            "studies (the median row, before correction)."
        )


def spent(run: Record) -> str:
    return f"{run.budget.updates}/{run.budget.responses}"


def legend(rows: Sequence[Row], columns: "Traits") -> tuple[str, ...]:
    """What each column is: meaning, unit, estimator, signature; a warning where rows differ.

    Metrics of one signature share a line; what most are estimated by is said once.
    """
    other = [c for c in COLUMNS if c not in columns and any(c.key in r.cells for r in rows)]
    estimators = Counter(filter(None, (said["estimator"] for said in columns.values())))
    usual, times = next(iter(estimators.most_common(1)), ("", 0))
    lines = [f"estimator, where no other is named: {usual}"] if times > 2 else []
    lines_of = defaultdict[tuple[str, ...], list[Column]](list)
    for column, said in columns.items():
        if times > 2 and said["estimator"] == usual:
            said = {**said, "estimator": ""}
        alone = "" if said["signature"] else column.key
        lines_of[(*said.values(), alone)].append(column)
    for (*said, _), alike in lines_of.items():
        titles = ", ".join(c.title.strip(" ↑") for c in alike)
        meaning = alike[0].meaning if len(alike) == 1 else ""
        lines.append(f"{titles}: {'; '.join(filter(None, [meaning, *said]))}")
    return (*lines, *(f"{c.title.strip(' ↑')}: {c.meaning}" for c in other))


TRAITS = ("unit", "estimator", "signature")
Traits = Mapping[Column, Mapping[str, str]]


def traits(runs: Sequence[Record]) -> Traits:
    """What is said of each metric that has a value: unit, estimator and signature. Seeds have models of
    their own, but no judges."""
    columns: dict[Column, dict[str, str]] = {}
    for column in COLUMNS:
        found = {
            (0 if column.key.startswith(BY_JUDGE) else r.seed, m.unit, m.estimator, m.signature)
            for r in runs
            if (m := r.metrics.end.get(column.key)) and m.value is not None
        }
        if found:
            seeds, *said = zip(*found, strict=True)
            columns[column] = {
                name: trait(zip(seeds, each, strict=True))
                for name, each in zip(TRAITS, said, strict=True)
            }
    return columns


@cache
def shortened(said: str) -> str:
    return LONG.sub(lambda key: short(key[0]), said)


def differ(said: Mapping[str, str]) -> bool:
    return any(words.startswith(DIFFER) for words in said.values())


def trait(found: Iterable[tuple[int, str | None]]) -> str:
    """What is said of a metric, where seeds may differ, for they have own models."""
    by_seed = defaultdict[int, set[str]](set)
    for seed, said in found:
        if said:
            by_seed[seed].add(shortened(said))
    values = sorted(set().union(*by_seed.values()))
    if any(len(said) > 1 for said in by_seed.values()):
        return DIFFER + " / ".join(values)
    return " / ".join(values[:3]) + (" / …" if len(values) > 3 else "")


# --------------------------------------------------------------------------------- board


def board(
    records: Iterable[Record], frames: Frames | None = None, remember: Remember = made_anew
) -> Board:
    """The board of some records; `frames` are their per-prompt tables by run id."""
    answers = Answers(frames or {})
    found = cohorts(records)
    models = [c for c in found if c.first.kind == "reward_model"]
    runs = [c for c in found if c.first.kind != "reward_model"]
    groups = sorted(comparable(runs), key=lambda g: (g[0].first.task.name, -len(g)))
    tables = []
    for index, members in enumerate(groups):
        kin = [g for g in groups[:index] if g[0].first.task.name == members[0].first.task.name]
        found_table = table(members, answers, remember)
        apart = why_apart(kin[0], members) if kin else ()
        tables.append(replace(found_table, notes=(*apart, *found_table.notes)))
    by_task = defaultdict[str, list[Cohort]](list)
    for c in sorted(models, key=lambda c: c.first.task.name):
        by_task[c.first.task.name].append(c)
    return Board(tuple(tables), tuple(model_table(c, answers, remember) for c in by_task.values()))


def model_table(members: Sequence[Cohort], answers: Answers, remember: Remember) -> Table:
    """The reward models of a task."""
    rows = []
    for cohort, name in zip(members, names(members), strict=True):
        mine = list(cohort.runs.values())
        make = partial(numbers, mine, {}, None, answers)
        rows.append(
            Row(
                name,
                "failed" if cohort.failed else "unranked",
                tuple(cohort.runs),
                {} if cohort.failed else remember(mine, {}, None, make).cells,
                error=cohort.first.error or "",
                runs=tuple(r.run_id for r in mine),
            )
        )
    return Table(members[0].first.task.name, (), None, tuple(rows))


def table(members: Sequence[Cohort], answers: Answers, remember: Remember) -> Table:
    """The table of cohorts that may be compared."""
    good = [c for c in members if not c.failed]
    runs = [r for c in good for r in c.runs.values()]
    judged = {
        name
        for r in runs
        for name, metric in r.metrics.end.items()
        if metric.value is not None and r.kind == "policy"
    }
    if not one_judge(runs):
        judged.discard(BY_JUDGE)
    signal = next((s for s in SIGNALS if s in judged), None)
    sft = {r.seed: r for r in runs if r.kind == "control" and r.recipe == "sft" and r.metrics.end}
    rows = []
    for cohort, name in zip(members, names(members), strict=True):
        mine = list(cohort.runs.values())
        if cohort.failed:
            rows += [
                Row(name, "failed", (r.seed,), error=r.error or "", runs=(r.run_id,)) for r in mine
            ]
            continue
        found = remember(mine, sft, signal, partial(numbers, mine, sft, signal, answers))
        rows.append(
            Row(
                name,
                place(cohort.first, found.cells, signal),
                tuple(cohort.runs),
                found.cells,
                found.versus_sft,
                found.overall,
                tuned=any(r.kind != "control" and bool(r.config.get("tuned")) for r in mine),
                runs=tuple(r.run_id for r in mine),
            )
        )
    rows = ordered(corrected(rows), signal)
    all_runs = runs or [r for c in members for r in c.runs.values()]
    task, said, asked = all_runs[0].task, traits(runs), judges(runs, answers)
    return Table(
        task.name if task.version is None else f"{task.name} v{task.version}",
        about(all_runs, signal),
        signal,
        rows,
        (*notes(rows, all_runs, signal, said), *notes_of_judges(runs, asked)),
        legend(rows, said),
        asked,
    )
