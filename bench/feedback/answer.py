"""An answer, as every source of feedback is shown it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """Text and token ids of one response; `finished` is False where the length limit cut it."""

    text: str
    ids: tuple[int, ...] = ()
    finished: bool = True
