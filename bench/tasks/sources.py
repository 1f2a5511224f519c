"""Where rows come from: a file, a folder of files, what `save_to_disk` wrote, or the hub."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .example import DataError

Rows = Iterator[tuple[int, dict[str, Any]]]  # numbered from 1, as an editor numbers lines

# What a split is called there, how errors name it, and its rows, read when asked for.
Source = tuple[str, str, Callable[[], Rows]]

_DATA_FILE = re.compile(r"\.(jsonl|json|jsonl\.gz|json\.gz|parquet)$")
_BESIDE_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_BLANK = re.compile(rb"^(\xef\xbb\xbf)?\s*")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)+")


def sources(path: str, subset: str | None = None, revision: str | None = None) -> list[Source]:
    """What lies at a path: on this machine if anything does, else on the hub, at a revision of it."""
    if not path:
        raise DataError("no path; give a file, a folder or a hub name (task.path=...)")
    place = Path(path).expanduser()
    if place.is_file():
        if not _DATA_FILE.search(place.name):
            raise DataError(f"{path}: neither .jsonl, .json(.gz) nor .parquet; convert it to one")
        return [("train", str(place), partial(_file_rows, place))]
    if (place / "dataset_dict.json").exists() or (place / "state.json").exists():
        from datasets import load_from_disk

        return _of_datasets(path, lambda: load_from_disk(str(place)), "save it again")
    if place.is_dir():
        return [(split, str(file), partial(_file_rows, file)) for split, file in _files(place)]
    if not _HUB_NAME.fullmatch(path) or _DATA_FILE.search(path):
        raise DataError(f"{path}: no such file or folder; check it (a hub name is owner/name)")
    from datasets import load_dataset

    owner, short, *folders = path.split("/")
    folder = "/".join(folders) or None
    return _of_datasets(
        path,
        lambda: load_dataset(f"{owner}/{short}", subset, data_dir=folder, revision=revision),
        "no file or folder here has this name either: check the spelling, go online, or download"
        " the data and give their folder",
    )


def _files(folder: Path) -> list[tuple[str, Path]]:
    """(split, file) in a folder, in its `data`, or in folders named by split, in order of name."""

    def within(inner: Path) -> list[Path]:
        return sorted(
            file
            for file in (inner.iterdir() if inner.is_dir() else ())
            if file.is_file() and _DATA_FILE.search(file.name) and file.name not in _BESIDE_DATA
            if not file.name.startswith(".")
        )

    if files := within(folder) or within(folder / "data"):
        return [(plain_name(file.name), file) for file in files]
    inner = sorted(inner for inner in folder.iterdir() if inner.is_dir())
    if files := [(one.name, file) for one in inner if _split_of(one.name) for file in within(one)]:
        return files
    names = ", ".join(one.name for one in inner)
    remedy = f"name one of its folders: {names}" if names else "put train.jsonl there"
    raise DataError(f"{folder}: no .jsonl, .json or .parquet file in this folder; {remedy}")


def plain_name(file: str) -> str:
    """train-00000-of-00002.parquet -> train."""
    return re.sub(r"-\d+-of-\d+.*$", "", _DATA_FILE.sub("", file))


def _split_of(name: str) -> str | None:
    """Our word for a split: dev -> validation, test2 -> test_2; None if it is not understood."""
    name = name.lower()
    if re.fullmatch(r"train(ing)?([-_.]?\d+)?", name):
        return "train"
    if name in ("validation", "valid", "val", "dev"):
        return "validation"
    if name in ("test", "testing"):
        return "test"
    if match := re.fullmatch(r"test(\d+|[-_.].+)", name):
        return "test_" + re.sub(r"\W+", "_", match[1]).strip("_")
    return None


def by_split(
    path: str, sources: Sequence[Source], splits: Mapping[str, str] | None
) -> dict[str, list[tuple[str, Callable[[], Rows]]]]:
    """Our word for a split -> its sources; DataError unless something is left to train on."""
    names = list(dict.fromkeys(name for name, _, _ in sources))
    if splits:
        if absent := sorted(set(splits) - set(names)):
            raise DataError(f"{path}: no split {absent[0]!r}; there are {', '.join(names)}")
        ours = {theirs: _split_of(split) for theirs, split in splits.items()}
    elif len(names) == 1 and _split_of(names[0]) is None:
        ours = {names[0]: "train"}
    else:
        ours = {name: _split_of(name) for name in names}
    remedy = "say which is which with splits={theirs: train|validation|test|test_*}"
    if strange := [name for name, split in ours.items() if split is None]:
        raise DataError(f"{path}: {strange[0]!r} is no split we know of; {remedy}")
    if "train" not in ours.values():
        raise DataError(f"{path}: nothing to train on, only {', '.join(names)}; {remedy}")
    grouped: dict[str, list[tuple[str, Callable[[], Rows]]]] = {}
    for name, where, rows in sources:
        if split := ours.get(name):
            grouped.setdefault(split, []).append((where, rows))
    return grouped


def _file_rows(file: Path) -> Rows:
    if file.suffix == ".parquet":
        yield from _parquet_rows(file)
        return
    number = 0
    try:
        with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as stream:
            if ".json" in file.suffixes[-2:] and _BLANK.sub(b"", stream.read(64))[:1] == b"[":
                stream.seek(0)
                yield from enumerate(_array(file, stream.read()), 1)
                return
            stream.seek(0)
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, _record(f"{file}:{number}", line)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{file}:{number + 1}: gzip data broken or cut off ({_line(error)}); fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); check the file") from error


def _record(where: str, line: bytes) -> dict[str, Any]:
    row = _parsed(where, line)
    if not isinstance(row, dict):
        raise DataError(f"{where}: {kind(row)} where an object was due; write one per line")
    return row


def _array(file: Path, text: bytes) -> list[dict[str, Any]]:
    rows = _parsed(str(file), text)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{file}:{number}: {kind(row)} where an object was due; repair it")
    return rows


def _parsed(where: str, text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: invalid UTF-8 at byte {error.start + 1}; save the file as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: invalid JSON ({_line(error)}); repair the row") from error


def _parquet_rows(file: Path) -> Rows:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as opened:
            yield from _arrow_rows(str(file), opened.iter_batches(1024))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file}: no readable Parquet ({_line(error)}); write it again") from error


def _of_datasets(path: str, opening: Callable[[], Any], remedy: str) -> list[Source]:
    """What the datasets library opens, as sources named path[split]."""
    try:
        opened = opening()
    except Exception as error:  # what it raises is not documented
        raise DataError(f"{path}: datasets cannot load it ({_line(error)}); {remedy}") from error
    if not isinstance(opened, dict):
        opened = {"train": opened}
    return [
        (split, f"{path}[{split}]", partial(_dataset_rows, f"{path}[{split}]", rows))
        for split, rows in opened.items()
    ]


def _dataset_rows(where: str, rows: Any) -> Rows:
    return _arrow_rows(where, rows.with_format("arrow").iter(1024))  # images stay undecoded


def _arrow_rows(where: str, batches: Iterable[Any]) -> Rows:
    number = 0
    for batch in batches:
        try:
            rows = batch.to_pylist()
        except UnicodeDecodeError:
            rows = (batch.slice(at, 1).to_pylist()[0] for at in range(batch.num_rows))
        try:
            for row in rows:
                number += 1
                yield number, row
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}:{number + 1}: invalid UTF-8 at byte {error.start + 1}; write it again"
            ) from error


def kind(value: Any) -> str:
    """A value as an error shows it: what it is, and its beginning."""
    names = {str: "text", bool: "a truth value", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "an object", type(None): "null"}
    shown = repr(value)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    word = names.get(type(value), type(value).__name__)
    return word if value is None else f"{word} ({shown})"


def _line(error: BaseException) -> str:
    """An error in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
