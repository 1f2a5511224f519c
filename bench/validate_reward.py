"""`prefzoo validate-reward`: how well reward models and metrics agree with what people gave to answers.

Ratings are of several answers to each document. Judges are runs (reward models, and policies by their
implicit reward), folders or hub ids of sequence-classification models, and metrics of `judges.METRICS`;
without a name, the length of answers, and ROUGE-L where there are references. A run judges no document
that it was trained on. Several sets of ratings are several domains.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .judges import METRICS, of_metric, of_model, of_run
from .names import Unknown, config_folder, find_run, names
from .stats.agreement import kendall_pooled, kendall_within, pairwise_accuracy, told_apart
from .stats.bootstrap import Interval, paired_difference
from .tasks.example import DataError
from .tasks.ratings import Rated

USAGE = (
    "usage: prefzoo validate-reward RATINGS[,RATINGS] [JUDGE ...] [aspects=A,B] [json=FILE]: a task of "
    "ratings (summeval), TASK:FOLDER for a copy of it, or a file or folder of `document, systems`"
)


@dataclass(frozen=True)
class Judged:
    """What a judge gave to every answer, document by document; NaN where it could not or must not."""

    name: str
    scores: list[np.ndarray]
    domain: str  # the task that a run was trained on; "" for all others
    seen: int = 0  # documents among what it was trained on


def rated(word: str) -> list[Rated]:
    """The ratings that a word of the command line names."""
    from functools import partial
    from importlib import import_module

    from .tasks import ratings
    from .tune import resolved

    task, _, folder = word.partition(":")
    if task not in names("task", [config_folder()]):
        return ratings.read(word)
    told = [f"task={task}", *([f"task.path={folder}"] if folder else [])]
    how: dict[str, Any] = dict(resolved(told, config_folder())["task"]["load"])
    if how["_target_"] != "bench.tasks.ratings.load":
        raise Unknown(f"nobody rated anything in task {task}: a task of ratings is summeval")
    if row := how.get("row"):
        module, _, function = row["_target_"].rpartition(".")
        more = {key: x for key, x in row.items() if not key.startswith("_")}
        how["row"] = partial(getattr(import_module(module), function), **more)
    reads = ("path", "subset", "revision", "row", "prompt_template", "document_template")
    return ratings.read(**{key: how[key] for key in reads if key in how})


# -- judges


def judges(words: Sequence[str], them: Sequence[Rated]) -> Iterator[Judged]:
    """Those named, or those of metrics that ask for nothing else."""
    known = all(x.example.references for x in them)
    for word in words or ("length", *(["rougeL"] if known else [])):
        yield judged(word, them)


def judged(word: str, them: Sequence[Rated]) -> Judged:
    prompts = [x.example.prompt for x in them for _ in x.answers]
    answers = [answer for x in them for answer in x.answers]
    ends = np.cumsum([len(x.answers) for x in them])[:-1]
    if word in METRICS:
        references = [x.example.references for x in them for _ in x.answers]
        if word != "length" and not all(references):
            raise DataError(f"{word} needs references, and some of these documents have none")
        return Judged(word, np.split(of_metric(word, answers, references), ends), "")
    if Path(word).is_dir() or "/" in word:
        return Judged(word, np.split(of_model(word, prompts, answers), ends), "")
    path = find_run(word, Path("runs/records"))
    scores = np.split(of_run(path, prompts, answers), ends)
    domain, seen = learned_from(path, them)
    scores = [np.full(len(s), np.nan) if i in seen else s for i, s in enumerate(scores)]
    return Judged(path.stem, scores, domain, len(seen))


def learned_from(path: Path, them: Sequence[Rated]) -> tuple[str, set[int]]:
    """The task of a run, and which of the documents stand in its training prompts."""
    from .reports.record import read
    from .stages.cell import load_task

    config = read(path).config
    task = load_task(json.dumps(config["task"]["load"], sort_keys=True))
    asked = {" ".join(x.prompt.split()) for x in task.splits["train"]}
    texts = [" ".join(x.document.split()) for x in them]
    return task.name, {i for i, text in enumerate(texts) if any(text in p for p in asked)}


# -- what is said of them


def measured(judge: Judged, them: Sequence[Rated], aspects: Sequence[str]) -> dict[str, Any]:
    """The judge against the mean of the aspects, and within documents against each of them."""
    ratings = [x.mean(aspects) for x in them]
    every = aspects or [a for a in them[0].scores if all(a in x.scores for x in them)]
    return {
        "judge": judge.name,
        "accuracy": pairwise_accuracy(judge.scores, ratings),
        "tau": kendall_within(judge.scores, ratings),
        "tau_pooled": kendall_pooled(judge.scores, ratings),
        "aspects": {a: kendall_within(judge.scores, [x.scores[a] for x in them]) for a in every},
        "averaged": list(aspects),
        "not_judged": int(sum(np.isnan(s).sum() for s in judge.scores)),
        "seen": judge.seen,
        "domain": judge.domain,
    }


def lines(
    name: str, them: Sequence[Rated], found: Sequence[Judged], rows: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """The report of one set of ratings, a line at a time."""
    answers = sum(len(x.answers) for x in them)
    yield f"{name}: {len(them)} documents, {answers} rated answers"
    aspects = list(rows[0]["aspects"])
    yield (
        f"{'judge':28} {'pairs as people':22} {'tau, a document':22} {'tau, pooled':22} "
        f"{' '.join(f'{a[:12]:>12}' for a in aspects)}  not judged  domain"
    )
    order = sorted(range(len(rows)), key=lambda i: -np.nan_to_num(rows[i]["accuracy"].value))
    for row in (rows[i] for i in order):
        by_aspect = " ".join(f"{row['aspects'][a].value:12.2f}" for a in aspects)
        domain = where(row, name)
        yield (
            f"{row['judge'][-28:]:28} {told(row['accuracy']):22} {told(row['tau']):22} "
            f"{told(row['tau_pooled']):22} {by_aspect}  {row['not_judged']:10d}  {domain}"
        ).rstrip()
    if len(order) > 1:
        yield from best_two(
            *(found[i] for i in order[:2]), [x.mean(rows[0]["averaged"]) for x in them]
        )


def where(row: Mapping[str, Any], ratings: str) -> str:
    """Whether a run was trained on the task of these ratings, and on how many of their documents."""
    if not row["domain"]:
        return ""
    inside = row["domain"] == ratings.partition(":")[0] or row["seen"]
    documents = f", {row['seen']} documents left out" if row["seen"] else ""
    return f"{'in' if inside else 'across'} ({row['domain']}{documents})"


def best_two(one: Judged, other: Judged, ratings: Sequence[Sequence[float]]) -> Iterator[str]:
    """Whether the first tells answers apart better than the second, on pairs that both judged."""
    ours, documents = told_apart(one.scores, ratings)
    theirs, _ = told_apart(other.scores, ratings)
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    clusters = [d for d, there in zip(documents, both, strict=True) if there]
    if len(set(clusters)) < 2:
        yield "too few documents that both judged to compare judges"
        return
    gap = paired_difference(ours[both], theirs[both], clusters)
    yield (
        f"{one.name} over {other.name}: {gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), "
        f"p {gap.p_value:.3f} (signs of documents flipped)"
    )


def told(x: Interval) -> str:
    return f"{x.value:.2f} ({x.low:.2f} to {x.high:.2f})"


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Interval):
        return value.fields
    return {key: plain(x) for key, x in value.items()} if isinstance(value, dict) else value


def validate_reward(words: Sequence[str]) -> int:
    """Print the report; write its numbers where `json=FILE` says."""
    from .store import write_atomically

    named = dict(w.split("=", 1) for w in words if w.startswith(("aspects=", "json=")))
    others = [w for w in words if not w.startswith(("aspects=", "json="))]
    if not others:
        raise Unknown(USAGE)
    aspects = [a for a in named.get("aspects", "").split(",") if a]
    written = {}
    for word in others[0].split(","):
        them = rated(word)
        found = list(judges(others[1:], them))
        rows = [measured(judge, them, aspects) for judge in found]
        for line in lines(word, them, found, rows):
            print(line)
        print()
        written[word] = [plain(row) for row in rows]
    if path := named.get("json"):
        write_atomically(Path(path), (json.dumps(written, indent=1) + "\n").encode())
        print(path)
    return 0
