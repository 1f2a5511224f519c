"""An answer, as every source of feedback is shown it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..models.sampling import Samples


@dataclass(frozen=True)
class Answer:
    """Text and token ids of one response; `finished` is False where the length limit cut it."""

    text: str
    ids: tuple[int, ...] = ()
    finished: bool = True

    @property
    def length(self) -> int:
        """Tokens of ours."""
        return sum(i >= 0 for i in self.ids)


def read(table: "DataFrame") -> list[Answer]:
    """Those of a table whose columns are text, ids and finished."""
    columns = zip(table["text"], table["ids"], table["finished"], strict=True)
    return [Answer(text, tuple(ids), bool(done)) for text, ids, done in columns]


def answers_of(words: Any, drawn: "Samples") -> list[Answer]:
    """Samples of a policy, with the text that the tokenizer reads in them."""
    from ..models.tokens import texts_of

    texts = texts_of(words, drawn.ids)
    return [
        Answer(text, tuple(ids), done)
        for text, ids, done in zip(texts, drawn.ids, drawn.finished, strict=True)
    ]
