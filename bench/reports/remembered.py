"""The board of a folder without working out again what did not change.

Every file is hashed each time, so that what is kept is never out of date. Where no file changed since,
the board is the one that was kept. Else records are read and their rows compared, and of a row the cells
and differences to SFT are made again only if a record or a per-prompt file that they are made of is
another: of 5,000 runs that spares reading 5,000 tables.

It lies in the store, not beside the records: a folder that comes from elsewhere brings none. What cannot
be read or written is as if it were not there; of two that write at once the last one's stays, and what
the other kept is made again. What is published or validated is never made of it.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic_core import from_json

from ..store import write_atomically
from .board import Board, board
from .estimates import Numbers
from .publish import folder_of_records
from .record import (
    Record,
    RecordError,
    per_prompt_bytes,
    read_hashed,
    read_numbers,
    uncollected,
)

if TYPE_CHECKING:
    from pyarrow import Table

ROOMS = (Path(__file__).parent, Path(__file__).parents[1] / "stats")  # whose code makes a board
AT_ONCE = 4  # files that are hashed
KINDS = (".json", ".parquet")
BOARD, NUMBERS = TypeAdapter(Board), TypeAdapter(Numbers)


def board_of(folder: str | Path, store: str | Path) -> tuple[Board, list[str]]:
    """The board of the records in a folder, and a line for each file that was left out.

    RecordError where there is no record.
    """
    folder = folder_of_records(Path(folder))
    place = Path(store) / "boards" / digest(str(folder.resolve()))[:16]
    whole, rows = place.with_suffix(".json"), place.with_suffix(".rows.json")
    with uncollected():
        files = hashes(folder)
        of = digest(json.dumps([code(), {path.name: x for path, x in files.items()}]))
        kept = read(whole)
        if kept.get("of") == of:
            return BOARD.validate_python(kept["board"]), kept["problems"]
        made = Kept(read(rows))
        found, problems = made_with(made, folder, files)
        write(whole, {"of": of, "board": BOARD.dump_python(found), "problems": problems})
        write(rows, made.used)
        return found, problems


def made_with(kept: "Kept", folder: Path, files: Mapping[Path, str]) -> tuple[Board, list[str]]:
    """The board where not all is as it was."""
    hashed, problems = read_hashed(folder)
    if not hashed:
        raise RecordError(f"{folder} holds no records: run `python -m bench` first")
    beside = {}
    for record, of in hashed:
        if record.per_prompt and (path := folder / record.per_prompt.file) in files:
            if files[path] == record.per_prompt.sha256:
                beside[record.run_id] = record
            else:
                problems += left_out(record, folder)
        # several files may say the same run id
        kept.made_of[record.run_id] += [of, str(record.run_id in beside)]
    return board([record for record, _ in hashed], Files(beside, folder), kept), problems


def left_out(record: Record, folder: Path) -> Iterator[str]:
    """Why the file beside a record is not read."""
    try:
        per_prompt_bytes(record, folder)
    except (RecordError, OSError) as error:
        yield str(error)


def digest(content: bytes | str) -> str:
    return sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def hashes(folder: Path) -> dict[Path, str]:
    """sha256 of every file; where it cannot be read, why."""

    def of(path: Path) -> str:
        try:
            return digest(path.read_bytes())
        except OSError as error:
            return str(error)

    paths = sorted(path for path in folder.glob("*.*") if path.suffix in KINDS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(paths, pool.map(of, paths), strict=True))


@dataclass(frozen=True)
class Files(Mapping[str, "Table"]):
    """The numbers in the files beside some records by run id, read when they are asked for."""

    beside: Mapping[str, Record]
    folder: Path

    def __getitem__(self, run_id: str) -> "Table":
        return read_numbers(self.beside[run_id], self.folder)

    def __iter__(self) -> Iterator[str]:
        return iter(self.beside)

    def __len__(self) -> int:
        return len(self.beside)


@dataclass
class Kept:
    """Numbers of rows by the hash of all that they are made of: those of `before`, and those `used`."""

    before: Mapping[str, Any]
    # run id -> hash of its file, and whether what it says lies beside it
    made_of: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    used: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        runs: Sequence[Record],
        sft: Mapping[int, Record],
        signal: str | None,
        make: Callable[[], Numbers],
    ) -> Numbers:
        others = [sft[r.seed] for r in runs if r.seed in sft]
        each = [[self.made_of[r.run_id] for r in some] for some in (runs, others)]
        key = digest(json.dumps([code(), signal, *each]))
        if key in self.before:
            self.used[key] = self.before[key]
            return NUMBERS.validate_python(self.before[key])
        found = make()
        self.used[key] = NUMBERS.dump_python(found)
        return found


@cache
def code() -> str:
    """Of all that makes a board of records."""
    files = [path.read_bytes() for room in ROOMS for path in sorted(room.glob("*.py"))]
    return digest(b"".join([*files, *(version(x).encode() for x in ("numpy", "scipy"))]))


def read(path: Path) -> dict[str, Any]:
    """What was kept; nothing where the file is not there or not as it was written."""
    try:
        first, _, rest = path.read_bytes().partition(b"\n")
    except OSError:
        return {}
    return from_json(rest) if first == digest(rest).encode() else {}


def write(path: Path, kept: Mapping[str, Any]) -> None:
    """The hash of the second line, and that line; nothing where the store cannot be written."""
    content = json.dumps(kept).encode()
    with suppress(OSError):
        write_atomically(path, digest(content).encode() + b"\n" + content)
