"""From columns to an Example.

The formats are TRL's (https://huggingface.co/docs/trl/dataset_formats), told by their columns,
standard (text) or conversational (lists of {role, content}), and one for summaries:

    prompt, chosen, rejected      preference; the prompt may hide in the other two; `references` if any
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

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .example import DataError, Example
from .sources import Rows, kind

Turns = list[dict[str, str]]


class Unusable(Exception):
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
            raise self.error(f"`{column}` is {kind(values)}; make it a list of texts")
        return [self._checked(column, value) for value in values]

    def speech(self, column: str) -> str | Turns:
        """Text, or the turns of a conversation."""
        value = self.value(column)
        return self.turns(column) if isinstance(value, list) else self._checked(column, value)

    def turns(self, column: str) -> Turns:
        value = self.value(column)
        if not isinstance(value, list):
            raise self.error(f"`{column}` is {kind(value)}; make it a list of {{role, content}}")
        turns = []
        for number, turn in enumerate(value, 1):
            if not isinstance(turn, dict):
                raise self.error(
                    f"turn {number} of `{column}` is {kind(turn)}; make it {{role, content}}"
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
            raise self.error(f"`label` is {kind(value)}; make it true (desirable) or false")
        return bool(value)

    def number(self, column: str, low: float, high: float) -> float | None:
        """A finite number within bounds, or None where there is none."""
        value = self.cells.get(column)
        if value is None:
            return None
        fit = isinstance(value, int | float) and not isinstance(value, bool)
        if not fit or not math.isfinite(value) or not low <= value <= high:
            bounds = "" if math.isinf(low) else f" from {low:g} to {high:g}"
            raise self.error(f"`{column}` is {kind(value)}; make it a number{bounds}")
        return float(value)

    def _checked(self, column: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.error(f"`{column}` is {kind(value)} where text was due; quote or remove it")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.error(
                f"`{column}` holds half a character (a lone surrogate) at {error.start + 1};"
                " write it anew"
            ) from error
        return value


class Reader:
    """Rows of one file -> Examples. The file's columns decide the format, once for all rows."""

    def __init__(
        self,
        columns: dict[str, str | None],
        prompt: str,
        document: str,
        row: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
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
        self.row = row
        self.prompt_template = prompt
        self.document_template = document

    def read(self, where: str, rows: Rows) -> tuple[list[Example], Counter[str]]:
        """The examples of a file, and how many rows hold none: reason -> rows."""
        numbered, unusable = self.converted(where, rows)
        if not numbered and not unusable:
            raise DataError(f"{where}: the file has no rows; is it the right one?")
        if not numbered:
            return [], unusable
        found = list(dict.fromkeys(column for _, cells in numbered for column in cells))
        ours = self._names(where, found)
        promised = frozenset(new for new in ours.values() if new is not None)
        convert = self._format(where, promised)
        examples: list[Example] = []
        for number, cells in numbered:
            renamed = {ours[old]: value for old, value in cells.items() if ours[old] is not None}
            try:
                examples.append(convert(_Row(f"{where}:{number}", renamed, promised)))
            except Unusable as reason:
                unusable[str(reason)] += 1
        return examples, unusable

    def converted(
        self, where: str, rows: Rows
    ) -> tuple[list[tuple[int, dict[str, Any]]], Counter[str]]:
        """Numbered rows as `row` says them in columns of ours, and how many say nothing."""
        if self.row is None:
            return list(rows), Counter()
        numbered, unusable = [], Counter[str]()
        for number, cells in rows:
            try:
                numbered.append((number, self.row(cells)))
            except Unusable as reason:
                unusable[str(reason)] += 1
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                name = getattr(self.row, "func", self.row).__name__
                raise DataError(
                    f"{where}:{number}: no row as `{name}` expects it ({type(error).__name__}:"
                    f" {error}); is this the right data set?"
                ) from error
        return numbered, unusable

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
        known = row.texts("references") if row.given("references") else []
        return Example(
            id=_given_id(row),
            prompt=text,
            references=tuple(_answer(text, one) for one in known) or (better,),
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
            raise Unusable("chosen and rejected answer different prompts")
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
        raise Unusable("chosen and rejected answer different prompts")
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
        raise row.error(f"`id` is {kind(value)}; make it text or a whole number")
    return str(value)
