"""One HTML file that tells a folder of runs. It opens from disk and asks the network for nothing.

Tables are written by a template that escapes what it is given; charts and answers are drawn by
`template/page.js` from JSON in the page, as text nodes. What a model said can be neither markup nor
script: the page's own policy allows that one script and that one style, by their hashes.
"""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .board import COLUMNS, MODEL_COLUMNS, Board, Row, Table, board, count
from .carried import CURVES, SAMPLES, best_of_n, curves, few, proxy_path, rewarded, samples
from .estimates import Cell, Frames
from .judges import LIKINGS, UNREAD, Judge, judged_by
from .publish import folder_of_records
from .record import Record, RecordError, read_all, read_all_per_prompt
from .render import mark, number, p_value, present, said

if TYPE_CHECKING:
    from pandas import DataFrame

TEMPLATE = Path(__file__).parent / "template"
# Of the frontier's axis.
REWARDS = ("gold", "win_rate", "win_rate_by_judge", "held_out", "proxy", "rougeL", "bertscore")
PHASES = ("data", "rollout", "reward", "scoring", "backward", "optimizer", "evaluation", "other")
BESIDE = ("training", "token_rewards", "overoptimization")  # folders beside that of the records
STRIP = 96  # pixels of a row's interval
PICKED = 5  # rows that are coloured at first
NEVER_MARKUP = {ord(x): f"\\u{ord(x):04x}" for x in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Runs:
    """What a page is made of, by run id; `problems` is a line for each file that was left out."""

    records: Mapping[str, Record]
    frames: Frames
    logs: Mapping[str, "DataFrame"]
    rewards: Mapping[str, "DataFrame"]
    overoptimization: Mapping[str, "DataFrame"]
    problems: tuple[str, ...] = ()


def read_runs(folder: str | Path) -> Runs:
    """Records and answers in `folder` or its `records`, and what lies beside those."""
    records_folder = folder_of_records(Path(folder))
    records, problems = read_all(records_folder)
    if not records:
        raise RecordError(f"{folder} holds no records: run `python -m bench` first")
    frames, changed = read_all_per_prompt(records, records_folder)
    names = [r.run_id for r in records]
    beside = (tables(records_folder.parent / x, names) for x in BESIDE)
    return Runs({r.run_id: r for r in records}, frames, *beside, problems=(*problems, *changed))


def tables(folder: Path, names: Iterable[str]) -> dict[str, "DataFrame"]:
    """The tables of some runs, where they have one in the folder."""
    from pandas import read_parquet

    paths = {name: folder / f"{name}.parquet" for name in names}
    return {name: read_parquet(path) for name, path in paths.items() if path.exists()}


def stamps(folder: str | Path) -> dict[Path, int]:
    """The files that a page of the folder is made of, and when each was last written, in ns."""
    records = folder_of_records(Path(folder))
    places = {records: "*.json", **{records.parent / x: "*.parquet" for x in BESIDE}}
    return {x: x.stat().st_mtime_ns for place, kind in places.items() for x in place.glob(kind)}


# ---------------------------------------------------------------------------------- page


def html(runs: Runs, refresh: int | None = None) -> str:
    """The page, which reloads itself every `refresh` seconds."""
    found = board(runs.records.values(), runs.frames)
    css, js = ((TEMPLATE / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    loader = FileSystemLoader(TEMPLATE)
    writer = Environment(
        autoescape=True,
        loader=loader,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    writer.globals |= {"mark": mark, "number": number, "present": present, "said": said}
    writer.globals |= {"p_value": p_value, "times": times, "PHASES": PHASES}
    writer.globals |= {"judged": judged, "likings": LIKINGS}
    writer.globals |= {"count": count, "span": span, "strip": strip, "words": words, "STRIP": STRIP}
    carried = data(found, runs)
    return writer.get_template("page.html").render(
        board=found,
        runs=runs,
        refresh=refresh,
        carried=carried,
        kinds=kinds(runs.records.values()),
        newest=max(r.created for r in runs.records.values()),
        columns=COLUMNS,
        model_columns=MODEL_COLUMNS,
        policy=policy(css, js),
        css=Markup(css),
        js=Markup(js),
        data=Markup(embedded(carried)),
    )


def policy(css: str, js: str) -> str:
    """What the page may do: run that script, use that style; load, send and embed nothing."""
    style, script = (
        f"'sha256-{b64encode(sha256(x.encode()).digest()).decode()}'" for x in (css, js)
    )
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(tree: Any) -> str:
    """JSON that a script element can hold, whatever the strings in it say."""
    return json.dumps(tree, ensure_ascii=False, allow_nan=False).translate(NEVER_MARKUP)


def kinds(records: Iterable[Record]) -> str:
    """'3 trained policies, 7 controls, 1 failed run'."""
    found = Counter(r.kind if r.status == "good" else r.status for r in records)
    policies = "trained policies" if found["policy"] > 1 else "trained policy"
    parts = [f"{found['policy']} {policies}"] if found["policy"] else []
    others = {"control": "control", "reward_model": "reward model", "failed": "failed run"}
    return ", ".join([*parts, *(count(found[x], what) for x, what in others.items() if found[x])])


# ---------------------------------------------------------------------------- leaderboard


def span(table: Table) -> tuple[float, float] | None:
    """What ranked rows span in the metric that ranks, and half an interval more. The lowest tenth is left
    out: a policy that collapsed would leave no room for the others."""
    cells = [r.cells[table.signal] for r in table.rows if r.section == "ranked"]
    if not cells:
        return None
    low, high = np.quantile([c.value for c in cells], [0.1, 1])
    shown = [c for c in cells if c.value >= low and c.low is not None]
    half = median((c.high - c.low) / 2 for c in shown) if shown else 0.0
    return (float(low) - half, float(high) + half) if low < high or half else None


def strip(cell: Cell | None, scale: tuple[float, float] | None) -> tuple[float, ...] | None:
    """Pixels of low, value and high on a scale, cut at its ends; None where the value is not on it."""
    if not cell or not scale or not scale[0] <= cell.value <= scale[1]:
        return None
    ends = (cell.value if x is None else x for x in (cell.low, cell.value, cell.high))
    shares = ((min(max(x, scale[0]), scale[1]) - scale[0]) / (scale[1] - scale[0]) for x in ends)
    return tuple(round(4 + (STRIP - 8) * share, 1) for share in shares)


def words(row: Row, runs: Mapping[str, Record]) -> str:
    """What a row is found by."""
    first = runs[row.runs[0]]
    parts = [row.recipe, first.algorithm, first.feedback, first.feed, row.section]
    parts.append("tuned" if row.tuned else "default" if row.section != "control" else None)
    return " ".join(filter(None, parts)).lower()


@dataclass(frozen=True)
class Times:
    """Where the training of a row went, a mean over the seeds that tell it."""

    row: Row
    seconds: Mapping[str, float]  # by phase
    test: float  # seconds of the evaluation on test prompts
    memory_mb: float | None  # the most of any phase and seed
    heaviest: str  # the phase that took that

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def times(table: Table, records: Mapping[str, Record]) -> list[Times]:
    """Of the rows whose records tell the phases of training; older ones do not."""
    found = []
    for row in table.rows:
        runs = [r for r in (records[name] for name in row.runs) if of_phases(r.seconds)]
        if not runs:
            continue
        seconds = [of_phases(r.seconds) for r in runs]
        memory = [(mb, name) for r in runs for name, mb in of_phases(r.peak_memory_mb).items()]
        most, heaviest = max(memory, default=(None, ""), key=itemgetter(0))
        evaluation = [sum(of_phases(r.seconds, "evaluation").values()) for r in runs]
        found.append(
            Times(
                row,
                {name: fmean(x.get(name, 0.0) for x in seconds) for name in PHASES},
                fmean(evaluation),
                most,
                heaviest,
            )
        )
    return found


def of_phases(told: Mapping[str, float], stage: str = "training") -> dict[str, float]:
    """{"training/backward": 3} -> {"backward": 3}."""
    return {k.partition("/")[2]: x for k, x in told.items() if k.startswith(f"{stage}/")}


def judged(
    judge: Judge, table: Table, records: Mapping[str, Record]
) -> Iterator[tuple[str, Mapping[str, Cell]]]:
    """What a judge likes: on all methods together, and on each row."""
    unread = {UNREAD: Cell(judge.unread / judge.answers)} if judge.answers else {}
    yield "all methods", {**judge.likings, **unread}
    for row in table.rows:
        if row.cells and {judged_by(records[run]) for run in row.runs} == {judge.name}:
            yield row.recipe, row.cells


# ------------------------------------------------------------------------------ for page.js


def data(found: Board, runs: Runs) -> dict[str, Any]:
    """What the script draws: see `charted`, and the functions of carried.py."""
    logs = {name: lines for name, log in runs.logs.items() if (lines := curves(log))}
    paths = {name: path for name, log in runs.logs.items() if (path := proxy_path(log))}
    limit = SAMPLES // max(len(found.tables), 1)
    return {
        "boards": [charted(t, runs, limit) for t in found.tables],
        "curves": logs,
        "quantities": {
            c: title for c, title in CURVES.items() if any(c in x for x in logs.values())
        },
        "paths": paths,
        "best_of_n": {name: best_of_n(table) for name, table in runs.overoptimization.items()},
        "tokens": rewarded(runs.rewards),
        "seeds": {name: r.seed for name, r in runs.records.items()},
    }


def charted(table: Table, runs: Runs, limit: int) -> dict[str, Any]:
    """A table as points: columns, rows but for failed ones, those picked at first, and answers."""
    rows = [r for r in table.rows if r.section != "failed"]
    columns = [c for c in present(rows, COLUMNS) if c.short]
    mine = [runs.records[name] for row in rows for name in row.runs]
    return {
        "task": table.task,
        "signal": table.signal,
        "titles": {c.key: c.title.strip(" ↑") for c in columns},
        "rewards": [c.key for c in columns if c.key in REWARDS],
        "rows": [point(r, [c.key for c in columns], runs.records) for r in rows],
        "picked": [i for i, r in enumerate(rows) if r.section != "control"][:PICKED],
        "samples": samples(mine, runs.frames, limit),
    }


def point(row: Row, keys: Sequence[str], records: Mapping[str, Record]) -> dict[str, Any]:
    """A row as [value, low, high] by metric; `peak` is at the update that validation chose."""
    mine = [records[name] for name in row.runs]
    cells = {k: row.cells[k] for k in keys if k in row.cells}
    peak = {}
    for name in ("gold", "proxy"):
        values = [m.value for r in mine if (m := r.metrics.peak.get(name)) and m.value is not None]
        if len(values) == len(mine):
            peak[name] = few(fmean(values))
    return {
        "name": row.recipe,
        "section": row.section,
        "runs": list(row.runs),
        "cells": {k: [few(c.value), few(c.low), few(c.high)] for k, c in cells.items()},
        "peak": peak,
    }
