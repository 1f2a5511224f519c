"""A language model as labeller: what it is asked about answers, and how what it says is read.

Lee et al., 2023, https://arxiv.org/abs/2309.00267, section 2: a question is a preamble, exemplars, the
sample and an ending. Asked which of two answers is better, P(first) is the softmax over the log-probs
of "1" and "2"; it is asked in both orders, and the two are averaged. If `reasoning` asks for it, a
rationale is generated first and stands before the ending. Asked for a score of one answer (their
d-RLAIF), s = Σ i P(i) over 1 ... 10, mapped to [−1, 1]. What cannot be read is NaN, never a coin's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import softmax

SIDES = ("1", "2")
SCORES = tuple(str(i) for i in range(1, 11))


class LabellerError(RuntimeError):
    """A labeller that cannot be asked, told in one line."""


class Speaker(Protocol):
    """A language model, wherever it runs."""

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """What it says to each."""
        ...

    def choose(self, prompts: Sequence[str], options: Sequence[str]) -> np.ndarray:
        """The log-prob of each option as what it says next: Float[n, options]; a row of NaN where
        that cannot be told."""
        ...


def read(text: str, options: Sequence[str]) -> str | None:
    """The one option that a text names as a word of its own; None where it names none or several."""
    named = {word for word in re.findall(r"\w+", text) if word in options}
    return named.pop() if len(named) == 1 else None


def expected_score(logps: np.ndarray) -> np.ndarray:
    """Σ i P(i), mapped from [1, 10] to [−1, 1]: Float[n, 10] log-probs, up to a constant -> Float[n]."""
    mean = softmax(logps, axis=-1) @ np.arange(1, 11)
    return (mean - 5.5) / 4.5


@dataclass(frozen=True)
class Exemplar:
    """A pair that somebody has judged: `preferred` is 1 or 2."""

    prompt: str
    first: str
    second: str
    preferred: int
    rationale: str = ""


@dataclass(frozen=True)
class Questions:
    """The words of a labeller's questions. `reasoning` asks for a rationale; "" does without."""

    preamble: str
    ending: str
    score_preamble: str
    score_ending: str
    reasoning: str = ""
    exemplars: tuple[Exemplar, ...] = ()

    @classmethod
    def of(cls, said: Mapping) -> "Questions":
        """From a configuration. LookupError for an exemplar that prefers neither answer."""
        exemplars = tuple(Exemplar(**x) for x in said.get("exemplars", ()))
        for i, x in enumerate(exemplars):
            if str(x.preferred) not in SIDES:
                raise LookupError(
                    f"exemplar {i} of the labeller's questions prefers {x.preferred!r}: 1 or 2"
                )
        return cls(**{**said, "exemplars": exemplars})

    def comparison(self, prompt: str, first: str, second: str) -> str:
        """All but what asks for the rationale and the choice."""
        before = [_pair(x.prompt, x.first, x.second) + self._told(x) for x in self.exemplars]
        return "\n\n".join([self.preamble, *before, _pair(prompt, first, second)])

    def _told(self, x: Exemplar) -> str:
        thought = f"\n{self.reasoning} {x.rationale}" if self.reasoning else ""
        return f"{thought}\n{self.ending} {x.preferred}"

    def score(self, prompt: str, answer: str) -> str:
        """The whole question."""
        sample = f"Prompt: {prompt.strip()}\nAnswer: {answer.strip()}"
        return "\n\n".join([self.score_preamble, f"{sample}\n{self.score_ending}"])


def _pair(prompt: str, first: str, second: str) -> str:
    return f"Prompt: {prompt.strip()}\nAnswer 1: {first.strip()}\nAnswer 2: {second.strip()}"


@dataclass(frozen=True)
class Verdicts:
    """P(the one shown first is better), asked of (a, b) and of (b, a): Float[n] each, NaN unread."""

    there: np.ndarray
    back: np.ndarray

    @property
    def preferences(self) -> np.ndarray:
        """P(a ≻ b), both orders averaged; ½ to the bit where the place alone decides; NaN where one
        order was not read."""
        return (1 + (self.there - self.back)) / 2

    @property
    def position_bias(self) -> float | None:
        """Share of the pairs read in which the same place wins in both orders; None of none."""
        read = ~np.isnan(self.preferences)
        there, back = self.there[read] - 0.5, self.back[read] - 0.5
        return float((there * back > 0).mean()) if read.any() else None

    @property
    def unread(self) -> float | None:
        """Share of the questions whose answers could not be read; None of none."""
        both = np.concatenate([self.there, self.back])
        return float(np.isnan(both).mean()) if len(both) else None

    @property
    def notes(self) -> dict[str, float | None]:
        """What they say of the labeller."""
        return {"position_bias": self.position_bias, "unread": self.unread}


@dataclass(frozen=True)
class Labeller:
    """Who is asked, and in which words."""

    speaker: Speaker
    questions: Questions

    def verdicts(self, prompts: Sequence[str], a: Sequence[str], b: Sequence[str]) -> Verdicts:
        """Which of two answers to each prompt is better."""
        there = [self.questions.comparison(*row) for row in zip(prompts, a, b, strict=True)]
        back = [self.questions.comparison(*row) for row in zip(prompts, b, a, strict=True)]
        asked = there + back
        if self.questions.reasoning:
            asked = [f"{x}\n{self.questions.reasoning}" for x in asked]
            thoughts = self.speaker.generate(asked)
            asked = [f"{x} {t.strip()}" for x, t in zip(asked, thoughts, strict=True)]
        logps = self.speaker.choose([f"{x}\n{self.questions.ending}" for x in asked], SIDES)
        first = softmax(logps, axis=-1)[:, 0]
        return Verdicts(first[: len(there)], first[len(there) :])

    def scores(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """How good each answer is, in [−1, 1]; NaN where its score could not be read: Float[n]."""
        asked = [self.questions.score(*row) for row in zip(prompts, answers, strict=True)]
        return expected_score(self.speaker.choose(asked, SCORES))
