"""Any data a user has: JSONL, Parquet, a folder or a hub name.

The formats are TRL's (https://huggingface.co/docs/trl/dataset_formats), told by their columns,
standard (text) or conversational (lists of {role, content}), and one for summaries:

    prompt, chosen, rejected      preference; the prompt may hide in the other two
    prompt, completion, label     unpaired preference
    prompt, completion            demonstrations
    document, summary             demonstrations; further `references` are kept
    messages                      a dialogue: its last assistant turn is the demonstration
    prompt                        nothing to imitate: feedback makes the pairs

Also read where present: `id`, `p_chosen`, and `margin` (kept in `about`). A conversation becomes
text in a plain template of ours ("user: ...\nassistant:"), because a model trained from scratch
has none; its prompt is kept in `about["messages"]` for a model that brings its own.
Departure from TRL: where a textual prompt is implicit it ends between words, never within one.
"""

import gzip
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from os.path import abspath, basename
from pathlib import Path
from typing import Any

from .example import DataError, Example, Task
from .filters import content_of, cut, keep

VERSION = 1  # of what this file makes of the same input

Turns = list[dict[str, str]]
Rows = Iterator[tuple[int, dict[str, Any]]]  # numbered from 1, as an editor numbers lines


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
    reader = _Reader(dict(columns or {}), prompt_template, document_template)
    found: dict[str, list[Example]] = {}
    unusable: Counter[str] = Counter()
    for split, sources in _by_split(path, _sources(path, subset), splits).items():
        found[split] = []
        for where, rows in sources:
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
        name=name or _plain_name(basename(abspath(path))),
        version=VERSION,
        splits={split: tuple(_first(whole[split], limit, seed)) for split in order},
        constant=_commonest(whole["train"]),
        dropped=dict(sorted(dropped.items())),
    )


# --- where rows come from -------------------------------------------------------------------------

# What a split is called there, how errors name it, and its rows, read when asked for.
_Source = tuple[str, str, Callable[[], Rows]]

_DATA_FILE = re.compile(r"\.(jsonl|json|jsonl\.gz|json\.gz|parquet)$")
_BESIDE_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_BLANK = re.compile(rb"^(\xef\xbb\xbf)?\s*")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)+")


def _sources(path: str, subset: str | None) -> list[_Source]:
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
        lambda: load_dataset(f"{owner}/{short}", subset, data_dir=folder),
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
        return [(_plain_name(file.name), file) for file in files]
    inner = sorted(inner for inner in folder.iterdir() if inner.is_dir())
    if files := [(one.name, file) for one in inner if _split_of(one.name) for file in within(one)]:
        return files
    names = ", ".join(one.name for one in inner)
    remedy = f"name one of its folders: {names}" if names else "put train.jsonl there"
    raise DataError(f"{folder}: no .jsonl, .json or .parquet file in this folder; {remedy}")


def _plain_name(file: str) -> str:
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


def _by_split(
    path: str, sources: Sequence[_Source], splits: Mapping[str, str] | None
) -> dict[str, list[tuple[str, Callable[[], Rows]]]]:
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
        raise DataError(f"{where}: {_kind(row)} where an object was due; write one per line")
    return row


def _array(file: Path, text: bytes) -> list[dict[str, Any]]:
    rows = _parsed(str(file), text)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{file}:{number}: {_kind(row)} where an object was due; repair it")
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


def _of_datasets(path: str, opening: Callable[[], Any], remedy: str) -> list[_Source]:
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


# --- from columns to an Example -------------------------------------------------------------------


class _Unusable(Exception):
    """A well-formed row from which nothing can be learned; the message is the reason counted."""


@dataclass(frozen=True)
class _Row:
    """The cells of one row: every question about them is answered, or an error naming the place."""

    where: str
    cells: Mapping[str, Any]
    promised: frozenset[str]  # the columns of the file

    def error(self, what: str) -> DataError:
        return DataError(f"{self.where}: {what}")

    def value(self, column: str) -> Any:
        if column not in self.cells:
            raise self.error(f"no `{column}`; add it or remove the row")
        if self.cells[column] is None:
            raise self.error(f"`{column}` is null; fill it in or remove the row")
        return self.cells[column]

    def given(self, column: str) -> bool:
        return self.cells.get(column) is not None

    def text(self, column: str) -> str:
        return self._checked(column, self.value(column))

    def texts(self, column: str) -> list[str]:
        values = self.value(column)
        if not isinstance(values, list):
            raise self.error(f"`{column}` is {_kind(values)}; make it a list of texts")
        return [self._checked(column, value) for value in values]

    def speech(self, column: str) -> str | Turns:
        """Text, or the turns of a conversation."""
        value = self.value(column)
        return self.turns(column) if isinstance(value, list) else self._checked(column, value)

    def turns(self, column: str) -> Turns:
        value = self.value(column)
        if not isinstance(value, list):
            raise self.error(f"`{column}` is {_kind(value)}; make it a list of {{role, content}}")
        turns = []
        for number, turn in enumerate(value, 1):
            if not isinstance(turn, dict):
                raise self.error(
                    f"turn {number} of `{column}` is {_kind(turn)}; make it {{role, content}}"
                )
            for part in ("role", "content"):
                if part not in turn:
                    raise self.error(f"turn {number} of `{column}` has no `{part}`; add it")
                self._checked(f"{column}[{number}].{part}", turn[part])
            turns.append({"role": turn["role"], "content": turn["content"]})
        return turns

    def label(self) -> bool:
        value = self.value("label")
        if value not in (True, False):
            raise self.error(f"`label` is {_kind(value)}; make it true (desirable) or false")
        return bool(value)

    def number(self, column: str, low: float, high: float) -> float | None:
        """A finite number within bounds, or None where there is none."""
        value = self.cells.get(column)
        if value is None:
            return None
        fit = isinstance(value, int | float) and not isinstance(value, bool)
        if not fit or not math.isfinite(value) or not low <= value <= high:
            bounds = "" if math.isinf(low) else f" from {low:g} to {high:g}"
            raise self.error(f"`{column}` is {_kind(value)}; make it a number{bounds}")
        return float(value)

    def _checked(self, column: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.error(f"`{column}` is {_kind(value)} where text was due; quote or remove it")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.error(
                f"`{column}` holds half a character (a lone surrogate) at {error.start + 1};"
                " write it anew"
            ) from error
        return value


class _Reader:
    """Rows of one file -> Examples. The file's columns decide the format, once for all rows."""

    def __init__(self, columns: dict[str, str | None], prompt: str, document: str) -> None:
        ours = {
            *("id", "prompt", "chosen", "rejected", "completion", "label", "p_chosen", "margin"),
            *("document", "summary", "references", "messages"),
        }
        if strange := [new for new in columns.values() if new and new not in ours]:
            raise DataError(
                f"columns: {strange[0]!r} is no column of ours; choose of {', '.join(sorted(ours))}"
            )
        for column, template in (("prompt", prompt), ("document", document)):
            if f"{{{column}}}" not in template:
                raise DataError(f"{column}_template has no {{{column}}}; say where it goes")
        self.columns = columns
        self.prompt_template = prompt
        self.document_template = document

    def read(self, where: str, rows: Rows) -> tuple[list[Example], Counter[str]]:
        """The examples of a file, and how many rows hold none: reason -> rows."""
        numbered = list(rows)
        if not numbered:
            raise DataError(f"{where}: the file has no rows; is it the right one?")
        found = list(dict.fromkeys(column for _, cells in numbered for column in cells))
        ours = self._names(where, found)
        promised = frozenset(new for new in ours.values() if new is not None)
        convert = self._format(where, promised)
        examples: list[Example] = []
        unusable: Counter[str] = Counter()
        for number, cells in numbered:
            renamed = {ours[old]: value for old, value in cells.items() if ours[old] is not None}
            try:
                examples.append(convert(_Row(f"{where}:{number}", renamed, promised)))
            except _Unusable as reason:
                unusable[str(reason)] += 1
        return examples, unusable

    def _names(self, where: str, found: Sequence[str]) -> dict[str, str | None]:
        """Their columns -> ours, or None for those hidden."""
        there = ", ".join(found)
        if absent := [old for old in self.columns if old not in found]:
            raise DataError(f"{where}: no column {absent[0]!r} to rename; there are {there}")
        taken = {new for new in self.columns.values() if new}
        names = {old: self.columns.get(old, None if old in taken else old) for old in found}
        if twice := [new for new, n in Counter(filter(None, names.values())).items() if n > 1]:
            raise DataError(f"{where}: two columns renamed {twice[0]!r}; choose one")
        return names

    def _format(self, where: str, columns: frozenset[str]) -> Callable[[_Row], Example]:
        for wanted, convert in (
            ({"chosen", "rejected"}, self._preference),
            ({"prompt", "completion", "label"}, self._unpaired),
            ({"prompt", "completion"}, self._completion),
            ({"document", "summary"}, self._summary),
            ({"messages"}, self._dialogue),
        ):
            if wanted <= columns:
                return convert
        for half, other in (
            ("chosen", "rejected"),
            ("rejected", "chosen"),
            ("label", "completion"),
        ):
            if half in columns and "prompt" in columns:
                raise DataError(
                    f"{where}: column `{half}` without `{other}`; add `{other}`, or hide the former"
                    f" with columns={{{half}: null}}"
                )
        if "prompt" in columns:
            return self._prompt_only
        raise DataError(
            f"{where}: columns {', '.join(sorted(columns)) or '(none)'} fit no format; wanted are"
            " [prompt,] chosen, rejected | prompt, completion[, label] | document, summary |"
            " messages | prompt; rename with columns={theirs: ours}"
        )

    def _preference(self, row: _Row) -> Example:
        chosen, rejected = row.speech("chosen"), row.speech("rejected")
        prompt = row.speech("prompt") if "prompt" in row.promised else None
        if isinstance(chosen, str) and isinstance(rejected, str):
            if prompt is None:
                prompt, chosen, rejected = _parted_text(chosen, rejected)
        elif isinstance(chosen, list) and isinstance(rejected, list):
            prompt, chosen, rejected = _parted_turns(prompt, chosen, rejected)
        else:
            raise row.error("one of `chosen` and `rejected` is text, the other turns; write alike")
        text, about = self._asked(row, prompt)
        margin = row.number("margin", -math.inf, math.inf)
        better = _answer(text, chosen)
        return Example(
            id=_given_id(row),
            prompt=text,
            references=(better,),
            demonstration=better,
            chosen=better,
            rejected=_answer(text, rejected),
            p_chosen=row.number("p_chosen", 0, 1),
            about=about if margin is None else {**about, "margin": margin},
        )

    def _unpaired(self, row: _Row) -> Example:
        label, demonstrated = row.label(), self._completion(row)
        return replace(
            demonstrated,
            completion=demonstrated.demonstration,
            desirable=label,
            references=demonstrated.references if label else (),
            demonstration=demonstrated.demonstration if label else None,
        )

    def _completion(self, row: _Row) -> Example:
        prompt, completion = row.speech("prompt"), row.speech("completion")
        if isinstance(prompt, str) and isinstance(completion, list):
            prompt = [{"role": "user", "content": prompt}]
        if isinstance(completion, list) and completion and completion[0]["role"] != "assistant":
            raise row.error("`completion` begins with no assistant turn; move it to `prompt`")
        return self._demonstrated(row, prompt, completion)

    def _summary(self, row: _Row) -> Example:
        document, summary = row.text("document"), row.text("summary")
        text = self._filled(row, self.document_template, "document", document)
        others = row.texts("references") if row.given("references") else []
        answers = [_answer(text, one) for one in (summary, *others)]
        return Example(
            id=_given_id(row),
            prompt=text,
            references=tuple(dict.fromkeys(one for one in answers if one)),
            demonstration=answers[0],
        )

    def _dialogue(self, row: _Row) -> Example:
        turns = row.turns("messages")
        answered = [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]
        if not answered:
            raise row.error("`messages` has no assistant turn to learn from; remove the row")
        return self._demonstrated(row, turns[: answered[-1]], turns[answered[-1]]["content"])

    def _prompt_only(self, row: _Row) -> Example:
        text, about = self._asked(row, row.speech("prompt"))
        return Example(id=_given_id(row), prompt=text, about=about)

    def _demonstrated(self, row: _Row, prompt: str | Turns, answer: str | Turns) -> Example:
        text, about = self._asked(row, prompt)
        response = _answer(text, answer)
        return Example(
            id=_given_id(row),
            prompt=text,
            references=(response,),
            demonstration=response,
            about=about,
        )

    def _asked(self, row: _Row, prompt: str | Turns) -> tuple[str, dict[str, Any]]:
        """The prompt as text, and what a model with a chat template needs beside it."""
        if isinstance(prompt, str):
            return self._filled(row, self.prompt_template, "prompt", prompt), {}
        if not any(turn["content"].strip() for turn in prompt):
            return "", {}
        text = _rendered(prompt)
        if prompt[-1]["role"] != "assistant":  # else the answer goes on from there
            text += "\nassistant:"
        return text, {"messages": prompt}

    def _filled(self, row: _Row, template: str, column: str, text: str) -> str:
        """The template around a text; the empty text stays empty. No blanks at the end."""
        if not text.strip():
            return ""

        def cell(match: re.Match[str]) -> str:
            return text if match[1] == column else row.text(match[1])

        return re.sub(r"\{(\w+)\}", cell, template).rstrip(" \t")


def _parted_text(chosen: str, rejected: str) -> tuple[str, str, str]:
    """(prompt, chosen, rejected), where the prompt is what both texts begin with.

    Anthropic's raw dialogues are cut after the last "\\n\\nAssistant:", others between words.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(chosen), len(rejected)))
    shared = chosen[:at]
    turn = "\n\nAssistant:"
    if turn in chosen and turn in rejected:
        at = shared.rfind(turn) + len(turn)
        rest = chosen[at:] + rejected[at:]
        if turn not in shared or turn in rest:
            raise _Unusable("chosen and rejected answer different prompts")
    elif not all((text[at:] + " ")[0].isspace() for text in (chosen, rejected)):
        while at and not chosen[at - 1].isspace():
            at -= 1  # back to the start of the word
    return chosen[:at], chosen[at:], rejected[at:]


def _parted_turns(
    prompt: str | Turns | None, chosen: Turns, rejected: Turns
) -> tuple[Turns, Turns, Turns]:
    """(prompt, chosen, rejected), where the answers may repeat the prompt or be all there is."""
    if isinstance(prompt, list):
        if len(prompt) < min(len(chosen), len(rejected)):
            at = len(prompt)
            if chosen[:at] == prompt == rejected[:at]:
                chosen, rejected = chosen[at:], rejected[at:]
    else:
        at = 0
        while at < min(len(chosen), len(rejected)) - 1 and chosen[at] == rejected[at]:
            at += 1
        asked = [] if prompt is None else [{"role": "user", "content": prompt}]
        prompt = chosen[:at] or asked  # a prompt in text beside turns repeats their first
        chosen, rejected = chosen[at:], rejected[at:]
    if any(turns and turns[0]["role"] != "assistant" for turns in (chosen, rejected)):
        raise _Unusable("chosen and rejected answer different prompts")
    return prompt, chosen, rejected


def _rendered(turns: Turns) -> str:
    return "\n".join(f"{turn['role']}: {turn['content'].strip()}" for turn in turns)


def _answer(prompt: str, answer: str | Turns) -> str:
    """A response as it is appended to the prompt: one space or the prompt's newline between them.

    The first turn of a conversation is named by the prompt's "assistant:"; later ones name theirs.
    """
    if isinstance(answer, list):
        answer = _rendered(answer).partition(":")[2] if answer else ""
    answer = answer.strip()
    return answer if not answer or prompt.endswith("\n") else " " + answer


def _given_id(row: _Row) -> str:
    """The user's id, or "" for want of one."""
    value = row.cells.get("id")
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise row.error(f"`id` is {_kind(value)}; make it text or a whole number")
    return str(value)


# --- the whole ------------------------------------------------------------------------------------


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


def _kind(value: Any) -> str:
    """A value as an error shows it: what it is, and its beginning."""
    names = {str: "text", bool: "a truth value", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "an object", type(None): "null"}
    shown = repr(value)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    kind = names.get(type(value), type(value).__name__)
    return kind if value is None else f"{kind} ({shown})"


def _line(error: BaseException) -> str:
    """An error in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
