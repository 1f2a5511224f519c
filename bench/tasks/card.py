"""What there is to know of a task's data before training on it: a card in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ..stats.bootstrap import wilson
from .example import Example, Task
from .filters import question

COLUMNS = ("prompt", "demonstration", "chosen", "rejected", "completion")


def lines(task: Task, config: Mapping[str, Any]) -> Iterator[str]:
    """The card, a line at a time; `config` is the task's own, for where the rows are from."""
    yield f"# {task.name} v{task.version}"
    yield ""
    load = config["load"]
    if path := load.get("path"):
        hub = "" if Path(path).exists() else f", revision {load.get('revision') or 'not pinned'}"
        yield f"* from: {path}{hub}"
    if more := load.get("demonstrations"):
        yield f"* demonstrations from: {more['path']}"
    yield f"* licence: {config.get('licence', 'not stated')}"
    yield f"* hash of all rows: {task.data_hash[:16]}"
    yield ""
    yield from table(task)
    yield ""
    yield from dropped(task)
    yield from duplicates(task)
    for split, rows in task.splits.items():
        yield from length_bias(split, rows)


def table(task: Task) -> Iterator[str]:
    """Rows, what they teach, and how long it is in words: median, 95th percentile."""
    every = [x for rows in task.splits.values() for x in rows]
    shown = [c for c in COLUMNS if any(getattr(x, c) is not None for x in every)]
    yield "| split | rows | prompts | pairs | labels | " + " | ".join(shown) + " |"
    yield "|---|---|---|---|---|" + "---|" * len(shown)
    for split, rows in task.splits.items():
        pairs = sum(x.rejected is not None for x in rows)
        labels = sum(x.desirable is not None for x in rows)
        prompts = len({question(x) for x in rows})
        sizes = [spread([getattr(x, column) for x in rows]) for column in shown]
        yield f"| {split} | {len(rows)} | {prompts} | {pairs} | {labels} | {' | '.join(sizes)} |"


def spread(texts: Sequence[str | None]) -> str:
    words = sorted(len(text.split()) for text in texts if text is not None)
    return f"{median(words):g}, {words[(95 * (len(words) - 1)) // 100]}" if words else ""


def dropped(task: Task) -> Iterator[str]:
    """Rows that were left out, by why; those of a prompt in two splits are leaks that were stopped."""
    for reason, n in task.dropped.items():
        yield f"* dropped, {reason}: {n}"
    if not task.dropped:
        yield "* dropped: nothing"


def duplicates(task: Task) -> Iterator[str]:
    """What the filter leaves: answers of one split that stand in train, and pairs labelled both ways."""
    said = {split: set(answers(rows)) for split, rows in task.splits.items()}
    for split, texts in said.items():
        if split != "train" and texts:
            both = len(texts & said["train"])
            yield f"* answers of {split} that stand in train, too: {both} of {len(texts)}"
    for split, rows in task.splits.items():
        pairs = {(question(x), x.chosen, x.rejected) for x in rows if x.rejected is not None}
        if both := sum((asked, worse, better) in pairs for asked, better, worse in pairs) // 2:
            yield f"* pairs of {split} that are labelled both ways: {both}"


def answers(rows: Sequence[Example]) -> Iterator[str]:
    for x in rows:
        for text in (x.demonstration, x.chosen, x.rejected, x.completion):
            if text is not None:
                yield " ".join(text.split())


def length_bias(split: str, rows: Sequence[Example]) -> Iterator[str]:
    """How far labels follow the number of words."""
    gaps = [
        len(x.chosen.split()) - len(x.rejected.split())
        for x in rows
        if x.chosen is not None and x.rejected is not None
    ]
    if gaps:
        longer = wilson(sum((gap > 0) + (gap == 0) / 2 for gap in gaps), len(gaps))
        yield (
            f"* {split}: the chosen answer is the longer one in {longer.value:.3f} of pairs "
            f"({longer.low:.3f} to {longer.high:.3f}), by {median(gaps):g} words (median)"
        )
    for wanted, name in ((True, "wanted"), (False, "unwanted")):
        words = [len((x.completion or "").split()) for x in rows if x.desirable is wanted]
        if words:
            yield f"* {split}: {len(words)} {name} answers of {median(words):g} words (median)"
