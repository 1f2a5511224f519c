"""People: pairs that were labelled by hand, in the file that the stage `disagreement` writes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..tasks.example import DataError

SIDES = ("a", "b")


@dataclass(frozen=True)
class Verdict:
    """Two answers to the prompt of an example, and which one a person preferred."""

    example: str  # its id
    a: str
    b: str
    better: str  # a or b

    @property
    def chosen(self) -> str:
        return self.a if self.better == "a" else self.b

    @property
    def rejected(self) -> str:
        return self.b if self.better == "a" else self.a


def verdicts(path: Path) -> Iterator[Verdict]:
    """The lines whose `better` is a or b; those where it is null still wait. DataError names the line."""
    if not path.is_file():
        raise DataError(f"feedback.file={path}: there is no such file")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not JSON ({error.msg}): mend or remove the line") from None
        if not isinstance(row, dict) or not {"id", "better", *SIDES} <= row.keys():
            raise DataError(f"{where}: a line has `id`, `a`, `b` and `better`")
        if row["better"] is None:
            continue
        if row["better"] not in SIDES:
            raise DataError(f'{where}: `better` is {row["better"]!r}: make it "a", "b" or null')
        if not all(isinstance(row[x], str) and row[x].strip() for x in ("id", *SIDES)):
            raise DataError(f"{where}: `id`, `a` and `b` are texts that are not empty")
        yield Verdict(row["id"], row["a"], row["b"], row["better"])
