"""What every task produces: rows of text, split, and a program that judges answers where one exists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from json import dumps
from typing import Any, Protocol

TURN = "␞"  # in a response, before and behind what another speaker says between two turns of ours


class DataError(ValueError):
    """Bad input, told in one line: the file, the row, and what to do about it."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row. Text in, text out: what a tokenizer makes of it is no business of a task.

    A response is appended to the prompt as it stands, so that a space between them belongs to one
    of the two. A dialogue is one response: our turn, TURN, what is said to it, TURN, our next turn.
    """

    id: str  # unique within the task
    prompt: str
    references: tuple[str, ...] = ()  # the best known answers, for ROUGE and BERTScore
    demonstration: str | None = None  # what supervised fine-tuning imitates
    chosen: str | None = None
    rejected: str | None = None
    p_chosen: float | None = None  # P(chosen ≻ rejected) according to the labeller
    completion: str | None = None  # a single answer ...
    desirable: bool | None = None  # ... and whether it is wanted
    about: Mapping[str, Any] = field(default_factory=dict)  # what `gold` has to know; JSON


# The parts of an exact reward, which is their sum. `finished` is False where the length limit cut
# the response: (example, response, finished) -> {"coverage": 1.0, "invented": -0.5, ...}.
Gold = Callable[[Example, str, bool], dict[str, float]]

# What another speaker says to a response so far, earlier replies included; None ends it. Never empty.
Reply = Callable[[Example, str], str | None]

# A response with one of those parts mended, as far as the others let it: (example, response, part).
Repair = Callable[[Example, str, str], str]

# Of a response to an example: (its request is to be refused, the response refuses it).
Refusal = Callable[[Example, str], tuple[bool, bool]]


class Scorer(Protocol):
    """A number for each whole text, prompt and response; many at a time. The name says which one."""

    @property
    def name(self) -> str: ...

    def __call__(self, texts: Sequence[str]) -> Sequence[float]: ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples, one text filter, one split, a version and a hash."""

    name: str
    version: int
    splits: Mapping[str, Sequence[Example]]  # train, validation, test; test_* are reported apart
    gold: Gold | None = None
    scorer: Scorer | None = None  # what `gold` asks, where many texts at a time are faster
    reply: Reply | None = None
    repair: Repair | None = None
    refusal: Refusal | None = None
    # τ of annotators who follow gold: P(a ≻ b) = σ((gold_a − gold_b)/τ)
    label_noise: float | None = None
    constant: str = ""  # an answer that ignores the prompt: the zero of the scale
    dropped: Mapping[str, int] = field(default_factory=dict)  # by the text filter: reason -> rows

    def reward(self, example: Example, response: str, finished: bool = True) -> float:
        """The exact reward of a response; LookupError where the task has none."""
        (parts,) = self.parts([example], [response], [finished])
        return sum(parts.values())

    def parts(
        self, examples: Sequence[Example], responses: Sequence[str], finished: Sequence[bool]
    ) -> list[dict[str, float]]:
        """The parts of the exact reward of each response; LookupError where the task has none."""
        if self.scorer is not None:
            texts = [x.prompt + said for x, said in zip(examples, responses, strict=True)]
            return [{"score": float(score)} for score in self.scorer(texts)]
        if self.gold is None:
            raise LookupError(f"task {self.name!r} has no gold reward")
        rows = zip(examples, responses, finished, strict=True)
        return [self.gold(x, said, done) for x, said, done in rows]

    def replies(self, examples: Sequence[Example]) -> Callable[[int, str], str | None] | None:
        """`reply` to responses to these examples, by their number; None where nobody else speaks."""
        reply = self.reply
        return None if reply is None else lambda i, said: reply(examples[i], said)

    @cached_property
    def has_pairs(self) -> bool:
        """Whether rows of the training split come with a worse answer."""
        return any(x.rejected is not None for x in self.splits["train"])

    @cached_property
    def data_hash(self) -> str:
        """sha256 over every row of every split, in order."""
        digest = sha256()
        for split in sorted(self.splits):
            digest.update(split.encode())
            for row in self.splits[split]:
                digest.update(dumps(vars(row), sort_keys=True, default=dict).encode())
        return digest.hexdigest()
