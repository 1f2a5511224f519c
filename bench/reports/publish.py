"""From `runs/`, which git ignores, to `results/`, which it keeps.

Everything is prepared in memory first: a run that cannot be published stops the whole before
anything is written. Paths of this machine stay here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store import write_atomically
from .board import board
from .record import (
    PerPrompt,
    Record,
    RecordError,
    parquet,
    per_prompt_bytes,
    read_all,
    read_all_per_prompt,
    read_numbers,
    schema,
    text,
)
from .render import to_markdown

if TYPE_CHECKING:
    from pandas import DataFrame

LIMIT = 100_000  # bytes a run: its record and its per-prompt file
DIGITS = 4  # significant digits of rounded per-prompt values
SCHEMA_FILE = "record.schema.json"
KEPT = ("prompt_id", "split")  # text that the board needs
AFTER = r"(?:^|(?<=[\s'\"`=(\[{,;:|<>@]))"  # what stands before a path, never the // of a URL
PATH = re.compile(
    AFTER + r"(?:(?:file://)?/(?=[^/\s])[^\s'\"`,;|<>()\[\]{}]*/[^\s'\"`,;|<>()\[\]{}]*"
    r"|~/[^\s'\"`,;|<>()\[\]{}]*|[A-Za-z]:[\\/][^\s'\"`,;|<>()\[\]{}]*)"
)
SHORTENED = "paths outside the working tree were shortened to …/NAME: put yours in their place"
REDUCED = f"published without texts per prompt, or with {DIGITS} digits: the whole was too large"
HEAD = """# Results

This page is made from the records in [records/](records): one JSON per run, of
[this schema](record.schema.json), and beside it one row per prompt. Do not edit it.
`python -m bench publish runs` copies new records and makes it again; every record holds the command
that runs its row again. Dated notes are in `log.md`.

Values are means; their 95 % intervals stand below them. ↑ more is better.
"""


@dataclass(frozen=True)
class Published:
    """What a publication did."""

    good: int
    failed: int
    size: int  # bytes, of all records and files copied
    reduced: tuple[str, ...]  # run ids whose per-prompt files lost text or digits
    problems: tuple[str, ...]  # a line for each file that was left out


def publish(runs_folder: str | Path, results_folder: str | Path) -> Published:
    """Copy the records of `runs_folder` and make `results/README.md` again.

    A published record of the same run is replaced. RecordError (one line), and nothing written,
    where a run is too large or its per-prompt file was changed.
    """
    runs, results = folder_of_records(Path(runs_folder)), Path(results_folder)
    records, problems = read_all(runs)
    if not records:
        raise RecordError(f"no usable record in {runs}; {' '.join(problems) or 'run a cell first'}")
    prepared = [prepare(r, per_prompt_bytes(r, runs)) for r in records]
    for item in prepared:
        path = results / "records" / f"{item.record.run_id}.json"
        if item.content is None:
            path.with_suffix(".parquet").unlink(missing_ok=True)
        else:
            write_atomically(path.with_suffix(".parquet"), item.content)
        write_atomically(path, text(item.record).encode())
    write_atomically(results / SCHEMA_FILE, schema().encode())
    write_atomically(results / "README.md", page(results).encode())
    failed = sum(r.status == "failed" for r in records)
    return Published(
        len(records) - failed,
        failed,
        sum(item.size for item in prepared),
        tuple(item.record.run_id for item in prepared if item.reduced),
        tuple(problems),
    )


def stale(results_folder: str | Path) -> bool:
    """The page is not that of the committed records, or the schema not that of the code."""
    wanted = {"README.md": page(results_folder), SCHEMA_FILE: schema()}
    files = {Path(results_folder) / name: content for name, content in wanted.items()}
    return any(not p.exists() or p.read_text("utf-8") != files[p] for p in files)


def page(results_folder: str | Path) -> str:
    """The leaderboard of the records in `results/records`; a broken one is an error here."""
    folder = Path(results_folder) / "records"
    records, problems = read_all(folder)
    frames, changed = read_all_per_prompt(records, folder, read_numbers)
    if problems or changed:
        raise RecordError([*problems, *changed][0])
    return f"{HEAD}\n{to_markdown(board(records, frames))}"


def folder_of_records(runs: Path) -> Path:
    """`runs/records` where it exists, else the folder itself."""
    return runs / "records" if (runs / "records").is_dir() else runs


# ---------------------------------------------------------------------------- one run


@dataclass(frozen=True)
class Prepared:
    """A record ready to be written, and its per-prompt file."""

    record: Record
    content: bytes | None
    reduced: bool = False

    @property
    def size(self) -> int:
        return len(text(self.record).encode()) + len(self.content or b"")


def prepare(record: Record, content: bytes | None) -> Prepared:
    """The run without paths of this machine, and small enough; else RecordError."""
    record = without_paths(record)
    if record.per_prompt and content is None:
        lost = "the per-prompt file was missing when this was published"
        record = record.model_copy(update={"per_prompt": None, "notes": [*record.notes, lost]})
    whole = Prepared(record, content)
    if whole.size <= LIMIT:
        return whole
    smallest = whole.size
    for smaller in reductions(content):
        named = PerPrompt(file=f"{record.run_id}.parquet", sha256=sha256(smaller).hexdigest())
        changes = {"per_prompt": named, "notes": [*record.notes, REDUCED]}
        found = Prepared(record.model_copy(update=changes), smaller, reduced=True)
        if found.size <= LIMIT:
            return found
        smallest = min(smallest, found.size)
    raise RecordError(
        f"{record.run_id} is {smallest:,} bytes after dropping text and rounding, the limit is "
        f"{LIMIT:,}; evaluate on fewer prompts, or delete its per-prompt file to publish without"
    )


def reductions(content: bytes | None) -> Iterator[bytes]:
    """The per-prompt file without its texts; then with rounded numbers too."""
    if content is None:
        return
    from pandas import read_parquet

    table = read_parquet(BytesIO(content))
    numbers = [*(c for c in KEPT if c in table), *table.select_dtypes(["number", "bool"])]
    table = table[list(dict.fromkeys(numbers))]
    yield parquet(table)
    yield parquet(rounded(table))


def rounded(table: "DataFrame") -> "DataFrame":
    """Floats to `DIGITS` significant digits, as 32 bits."""
    floats = table.select_dtypes("float").columns
    short = {c: [float(f"{v:.{DIGITS}g}") for v in table[c]] for c in floats}
    return table.assign(**short).astype(dict.fromkeys(floats, "float32"))


# ------------------------------------------------------------------------------- paths


def without_paths(record: Record) -> Record:
    """The record with paths relative to the working tree, and others cut to their last name.

    A policy outside the working tree is dropped. The command stays, with a note where a path in it
    was cut.
    """
    before = record.model_dump(mode="json")
    policy = before.pop("policy")
    after = cleaned(before)
    inside = cleaned(policy) if policy else None
    after["policy"] = None if inside and inside.startswith("…") else inside
    if after["command"] != before["command"] and "…/" in after["command"]:
        after["notes"] = [*after["notes"], SHORTENED]
    return Record.model_validate(after)


def cleaned(value: Any) -> Any:
    """`value` with every absolute path in its strings made relative or cut."""
    match value:
        case str():
            here = Path.cwd()
            value = value if here == Path(here.anchor) else value.replace(f"{here}/", "")
            return PATH.sub(lambda found: shown(found[0]), value)
        case list():
            return [cleaned(item) for item in value]
        case dict():
            return {cleaned(key): cleaned(item) for key, item in value.items()}
    return value


def shown(path: str) -> str:
    """/home/me/data.jsonl -> …/data.jsonl."""
    name = re.split(r"[\\/]", path.rstrip("\\/"))[-1]
    return f"…/{name}"
