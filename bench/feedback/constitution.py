"""Constitutional AI: answers are criticised and revised by principles, and compared by them.

Bai et al., 2022, https://arxiv.org/abs/2212.08073, sections 3 and 4. As in
https://github.com/anthropics/ConstitutionalHarmlessnessPaper (831f781, prompts/), a principle has a
request for a critique, one for a revision, and a question for comparisons; the words are our own, and
one file holds all three. Who answers, criticises and revises is whoever `ask` is: nothing here knows
whether that is a language model or a program.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.example import DataError, Example

SHIPPED = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class Principle:
    """`parts` are those of a task's exact reward that the principle is about, where there is one."""

    name: str
    critique: str
    revision: str
    comparison: str
    parts: tuple[str, ...] = ()


def load(path: str | Path = SHIPPED) -> tuple[Principle, ...]:
    """Principles from a YAML or JSON file: a list of mappings. DataError, in one line, for any other."""
    import yaml

    wanted = [f.name for f in fields(Principle)]
    try:
        said = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is neither YAML nor JSON: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(said, list) or not said:
        raise DataError(f"{path}: give a list of principles, each with {', '.join(wanted)}")
    found = []
    for i, entry in enumerate(said, 1):
        given = set(entry) if isinstance(entry, dict) else set()
        if not {*wanted[:-1]} <= given <= {*wanted}:
            raise DataError(
                f"{path}: principle {i} needs {', '.join(wanted[:-1])}, and may have parts"
            )
        found.append(Principle(**{**entry, "parts": tuple(entry.get("parts", ()))}))
    return tuple(found)


def sequence(seed: int, prompts: int, rounds: int, principles: int) -> np.ndarray:
    """Which principle is applied in each round of each prompt, drawn evenly: Int[prompts, rounds]."""
    return np.random.default_rng(seed).integers(principles, size=(prompts, rounds))


@dataclass(frozen=True)
class Request:
    """What is asked next: an answer, then a critique of it, then a revision after the critique."""

    example: Example
    answer: str | None = None
    principle: Principle | None = None
    critique: str | None = None

    @property
    def text(self) -> str:
        """As a language model reads it."""
        if self.answer is None:
            return self.example.prompt
        said = f"{self.example.prompt}{self.answer}\n\nCritique request: {self.principle.critique}"
        if self.critique is None:
            return f"{said}\n\nCritique:"
        return (
            f"{said}\n\nCritique: {self.critique.strip()}\n\nRevision request: "
            f"{self.principle.revision}\n\nRevision:"
        )


Ask = Callable[[Sequence[Request]], Sequence[str]]


@dataclass(frozen=True)
class Round:
    """One critique of an answer, and what became of the answer."""

    principle: str
    critique: str
    revision: str


@dataclass(frozen=True)
class Chain:
    """The first answer to a prompt, and its revisions, each of the one before."""

    example: Example
    first: str
    rounds: tuple[Round, ...] = ()

    @property
    def last(self) -> str:
        return self.rounds[-1].revision if self.rounds else self.first


def revised(
    ask: Ask, examples: Sequence[Example], principles: Sequence[Principle], rounds: int, seed: int
) -> list[Chain]:
    """1 + 2 · rounds requests a prompt, those of all prompts together."""
    answers = ask([Request(x) for x in examples])
    chains = [Chain(x, answer) for x, answer in zip(examples, answers, strict=True)]
    for drawn in sequence(seed, len(examples), rounds, len(principles)).T:
        asked = [
            Request(chain.example, chain.last, principles[i])
            for chain, i in zip(chains, drawn, strict=True)
        ]
        asked = [replace(r, critique=c) for r, c in zip(asked, ask(asked), strict=True)]
        made = [
            Round(r.principle.name, r.critique, revision)
            for r, revision in zip(asked, ask(asked), strict=True)
        ]
        chains = [
            replace(chain, rounds=(*chain.rounds, one))
            for chain, one in zip(chains, made, strict=True)
        ]
    return chains


def clamped(p: Sequence[float], bounds: Sequence[float]) -> list[float]:
    """Preferences within bounds: after a rationale a model is surer than it should be. NaN stays."""
    low, high = bounds
    return np.clip(np.asarray(p, float), low, high).tolist()


def readable(principles: Sequence[Principle], parts: set[str], where: Any) -> tuple[Principle, ...]:
    """Those that a program can read in an exact reward of these parts. DataError if there is none."""
    found = tuple(p for p in principles if parts & set(p.parts))
    if not found:
        raise DataError(
            f"{where}: no principle names a part of the task's exact reward: {', '.join(sorted(parts))}"
        )
    return found
