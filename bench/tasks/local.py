"""Any data a user has: JSONL, Parquet, a folder or a hub name, read, filtered and split.

`sources` tells files from folders and from hub names; `formats`, what a row means by its columns.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from os.path import abspath, basename

from .example import DataError, Example, Task
from .filters import content_of, cut, keep
from .formats import Reader
from .sources import by_split, plain_name, sources

VERSION = 2  # of what `local`, `sources` and `formats` make of the same input


def load(
    path: str,
    *,
    name: str | None = None,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.1,
    splits: Mapping[str, str] | None = None,
    subset: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    prompt_template: str = "{prompt}",
    document_template: str = "{document}\n\nTL;DR:",
    max_prompt_chars: int | None = None,
    max_response_chars: int | None = None,
    limit: int | None = None,
) -> Task:
    """Read, filter and split a user's data; DataError, in one line, for what cannot be used.

    path: a .jsonl, .json (either may be gzipped) or .parquet file; a folder of files named by
        split; a folder written by `save_to_disk`; else a data set of the hub, `owner/name` or
        `owner/name/folder`.
    name: of the task; by default the last part of the path.
    seed: of the cut alone. Runs with other seeds should share their split.
    validation, test: size of a split that the data lacks, cut from train: a share (float) or a
        number of rows (int).
    splits: {theirs: ours}, where their names are not understood; unnamed ones are not read.
    subset: the configuration of a hub data set.
    columns: {theirs: ours}; None hides a column.
    prompt_template, document_template: text around a textual prompt and around a document; any
        column with text may be named in braces. Conversations have a template of their own.
    max_prompt_chars, max_response_chars: longer rows are dropped.
    limit: at most so many rows of each split, those with the smallest sha256(seed, id).

    The task's constant answer is the commonest demonstration, the shortest of the commonest.
    """
    _check_sizes(validation=validation, test=test, limit=limit)
    reader = Reader(dict(columns or {}), prompt_template, document_template)
    found: dict[str, list[Example]] = {}
    unusable: Counter[str] = Counter()
    for split, parts in by_split(path, sources(path, subset), splits).items():
        found[split] = []
        for where, rows in parts:
            examples, reasons = reader.read(where, rows())
            found[split] += examples
            unusable.update({f"{split}: {reason}": n for reason, n in reasons.items()})
    kept, dropped = keep(
        found, max_prompt_chars=max_prompt_chars, max_response_chars=max_response_chars
    )
    dropped.update(unusable)
    for split, rows in kept.items():
        if not rows:
            reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items()))
            raise DataError(f"{path}: no row of {split} is left ({reasons}); repair the data")
    missing = {"test": test, "validation": validation}
    missing = {split: size for split, size in missing.items() if split not in kept}
    try:
        kept["train"], made = cut(kept["train"], missing, seed=seed)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    whole = _with_ids(kept | made)
    order = ["train", "validation", "test", *sorted(whole.keys() - {"train", "validation", "test"})]
    return Task(
        name=name or plain_name(basename(abspath(path))),
        version=VERSION,
        splits={split: tuple(_first(whole[split], limit, seed)) for split in order},
        constant=_commonest(whole["train"]),
        dropped=dict(sorted(dropped.items())),
    )


def _check_sizes(*, validation: float, test: float, limit: int | None) -> None:
    for split, size in (("validation", validation), ("test", test)):
        if size < 0 or (isinstance(size, float) and not size < 1):
            raise DataError(f"{split}={size}: give a share below 1.0 or a whole number of rows")
    if limit is not None and limit < 1:
        raise DataError(f"limit={limit}: give a number of rows above 0, or null for all of them")


def _with_ids(splits: Mapping[str, Sequence[Example]]) -> dict[str, list[Example]]:
    """Every row under an id of its own: the user's, else, and where two rows share it, a hash."""
    taken: set[str] = set()
    named: dict[str, list[Example]] = {}
    for split, rows in splits.items():
        named[split] = []
        for row in rows:
            name = row.id
            if not name or name in taken:
                digest = sha256(repr(content_of(row)).encode()).hexdigest()[:16]
                name = f"{name}-{digest}" if name else digest
            if name in taken:  # one row in two test sets
                name = f"{name}-{split}"
            taken.add(name)
            named[split].append(replace(row, id=name))
    return named


def _first(rows: Sequence[Example], limit: int | None, seed: int) -> Sequence[Example]:
    if limit is None or len(rows) <= limit:
        return rows
    lot = {row.id: sha256(f"{seed}\0{row.id}".encode()).digest() for row in rows}
    drawn = set(sorted(lot, key=lot.__getitem__)[:limit])
    return [row for row in rows if row.id in drawn]


def _commonest(rows: Sequence[Example]) -> str:
    counts = Counter(row.demonstration for row in rows if row.demonstration is not None)
    return min(counts, key=lambda text: (-counts[text], len(text), text), default="")
