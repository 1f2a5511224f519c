"""Any data a user has: JSONL, Parquet, a folder or a hub name, read, filtered and split.

`sources` tells files from folders and from hub names; `formats`, what a row means by its columns.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from os.path import abspath, basename
from typing import Any

from .example import DataError, Example, Gold, Scorer, Task
from .filters import content_of, cut, keep, question
from .formats import Reader
from .sources import by_split, plain_name, sources

DOCUMENT = "{document}\n\nTL;DR:"
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
    revision: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    row: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    prompt_template: str = "{prompt}",
    document_template: str = DOCUMENT,
    demonstrations: Mapping[str, Any] | None = None,
    gather: bool = False,
    gold: Scorer | None = None,
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
    subset, revision: the configuration of a hub data set, and its commit, branch or tag.
    columns: {theirs: ours}; None hides a column.
    row: what a row says in columns that `columns` can name, where no renaming does (tasks.published).
    prompt_template, document_template: text around a textual prompt and around a document; any
        column with text may be named in braces. Conversations have a template of their own.
    demonstrations: another data set (path, splits, subset, revision, columns, row), which is imitated
        instead of the better answers. A pair that asks what it asks, white space aside, asks it in
        the same words and is given its answers for references.
    gather: rows of validation and test that ask the same become one, with all of their references.
    gold: the exact reward of whole texts, prompt and response.
    max_prompt_chars, max_response_chars: longer rows are dropped.
    limit: at most so many rows of each split, those with the smallest sha256(seed, id).

    The task's constant answer is the commonest demonstration, the shortest of the commonest.
    """
    _check_sizes(validation=validation, test=test, limit=limit)
    texts = {"prompt_template": prompt_template, "document_template": document_template}
    found, unusable = read(path, splits, subset, revision, columns, row, **texts)
    if demonstrations:
        shown, others = read(**demonstrations, **texts)
        found, unusable = _taught_by(shown, found), unusable + others
    if gather:
        found = {s: rows if s == "train" else _gathered(rows) for s, rows in found.items()}
    limits = {"max_prompt_chars": max_prompt_chars, "max_response_chars": max_response_chars}
    kept, dropped = divided(path, found, unusable, limits, validation, test, seed)
    if gold:  # whose rewards they are is part of what rows say
        named = {"gold": gold.name}
        kept = {s: [replace(x, about={**x.about, **named}) for x in kept[s]] for s in kept}
    return Task(
        name=name or plain_name(basename(abspath(path))),
        version=VERSION,
        splits={split: tuple(_first(rows, limit, seed)) for split, rows in kept.items()},
        gold=gold and _by(gold),
        scorer=gold,
        constant=_commonest(kept["train"]),
        dropped=dropped,
    )


def divided(
    path: str,
    found: Mapping[str, Sequence[Example]],
    unusable: Counter[str],
    limits: Mapping[str, int | None],
    validation: float,
    test: float,
    seed: int,
) -> tuple[dict[str, list[Example]], dict[str, int]]:
    """Filtered rows under ids of their own, in the splits that were found or cut, and what was dropped:
    train, validation, test, others. DataError where nothing is left."""
    kept, dropped = keep(found, **limits)
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
    return {split: whole[split] for split in order}, dict(sorted(dropped.items()))


def read(
    path: str,
    splits: Mapping[str, str] | None = None,
    subset: str | None = None,
    revision: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    row: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    prompt_template: str = "{prompt}",
    document_template: str = DOCUMENT,
) -> tuple[dict[str, list[Example]], Counter[str]]:
    """Split -> the rows that a data set has, and how many hold nothing: "train: reason" -> rows."""
    reader = Reader(dict(columns or {}), prompt_template, document_template, row)
    found: dict[str, list[Example]] = {}
    unusable: Counter[str] = Counter()
    for split, parts in by_split(path, sources(path, subset, revision), splits).items():
        found[split] = []
        for where, rows in parts:
            examples, reasons = reader.read(where, rows())
            found[split] += examples
            unusable.update({f"{split}: {reason}": n for reason, n in reasons.items()})
    return found, unusable


def _by(scorer: Scorer) -> Gold:
    """What a scorer says of one response."""
    return lambda x, said, finished: {"score": float(scorer([x.prompt + said])[0])}


def _taught_by(
    shown: Mapping[str, list[Example]], pairs: Mapping[str, list[Example]]
) -> dict[str, list[Example]]:
    """Demonstrations, and behind them pairs that show nothing themselves."""
    known: dict[str, list[Example]] = {}
    for x in (x for rows in shown.values() for x in rows):
        known.setdefault(question(x), []).append(x)

    def asked(pair: Example) -> Example:
        same = known.get(question(pair), [])
        if not same:
            return replace(pair, demonstration=None)
        references = dict.fromkeys(text for x in same for text in x.references)
        return replace(
            pair,
            prompt=same[0].prompt,
            about={**pair.about, **same[0].about},
            references=tuple(references),
            demonstration=None,
        )

    splits = dict.fromkeys([*shown, *pairs])
    return {s: [*shown.get(s, []), *map(asked, pairs.get(s, []))] for s in splits}


def _gathered(rows: Sequence[Example]) -> list[Example]:
    """One row a prompt: the first, with the references of all. Rows that compare or label stay."""
    first: dict[str, Example] = {}
    others: list[Example] = []
    for x in rows:
        if x.rejected is not None or x.completion is not None:
            others.append(x)
            continue
        seen = first.setdefault(question(x), x)
        together = dict.fromkeys((*seen.references, *x.references))
        first[question(x)] = replace(seen, references=tuple(together))
    return [*first.values(), *others]


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
