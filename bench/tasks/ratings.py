"""Answers of several systems to one prompt, each rated by people on several aspects.

A row has `document` (or `prompt`), `references` if any, and `systems`: a list of {system, summary (or
`answer`), scores}, scores being {aspect: number}. `read` gives the ratings themselves, which judges are
compared with; `load` makes a task of them, whose pairs are answers that people told apart.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import combinations
from os.path import abspath, basename
from statistics import mean
from typing import Any

from .example import DataError, Example, Task
from .formats import Reader
from .local import DOCUMENT, divided
from .sources import kind, plain_name, sources

VERSION = 1


@dataclass(frozen=True)
class Rated:
    """A prompt, and what people gave to each answer to it."""

    example: Example  # id, prompt, references
    document: str  # what the prompt was made of
    systems: tuple[str, ...]
    answers: tuple[str, ...]  # as they are appended to the prompt
    scores: Mapping[str, tuple[float, ...]]  # aspect -> a number an answer

    def mean(self, aspects: Sequence[str]) -> list[float]:
        """Over some aspects, or all where none is named; DataError for one that nobody rated."""
        for aspect in aspects:
            if aspect not in self.scores:
                raise DataError(
                    f"nobody rated {aspect!r} of {self.example.id}: there are {', '.join(self.scores)}"
                )
        chosen = [self.scores[aspect] for aspect in aspects or self.scores]
        return [mean(some) for some in zip(*chosen, strict=True)]


def read(
    path: str,
    subset: str | None = None,
    revision: str | None = None,
    row: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    prompt_template: str = "{prompt}",
    document_template: str = DOCUMENT,
) -> list[Rated]:
    """Every rated prompt, of all splits: ratings are there to measure with. DataError in one line."""
    as_said = Reader({}, prompt_template, document_template, row)
    prompts = Reader({}, prompt_template, document_template)
    found: list[Rated] = []
    for _, where, rows in sources(path, subset, revision):
        numbered, _ = as_said.converted(where, rows())
        found += [_rated(f"{where}:{number}", cells, prompts) for number, cells in numbered]
    if not found:
        raise DataError(f"{path}: nobody rated anything here; is it the right one?")
    return found


def _rated(where: str, cells: dict[str, Any], prompts: Reader) -> Rated:
    systems = cells.get("systems")
    if not isinstance(systems, list) or not systems:
        raise DataError(
            f"{where}: `systems` is {kind(systems)}; make it a list of {{system, summary, scores}}"
        )
    aspects: list[str] | None = None
    for number, one in enumerate(systems, 1):
        good = isinstance(one, dict) and isinstance(one.get("scores"), dict)
        good = good and isinstance(one.get("summary", one.get("answer")), str)
        good = good and all(isinstance(x, int | float | None) for x in one["scores"].values())
        if not good:
            raise DataError(
                f"{where}: system {number} is no {{system, summary, scores}}: {kind(one)}"
            )
        named = [aspect for aspect, score in one["scores"].items() if score is not None]
        aspects = named if aspects is None else [a for a in aspects if a in named]
    if not aspects:
        raise DataError(f"{where}: no aspect has a score for each system; remove the row")
    answers = [one.get("summary", one.get("answer")) for one in systems]
    shown = {key: x for key, x in cells.items() if key not in ("systems", "references")}
    # each text as an answer, so that it meets the prompt as answers do in every task
    column = "summary" if "document" in shown else "completion"
    texts = [*answers, *(cells.get("references") or [])]
    examples, _ = prompts.read(
        where, iter([(i, {**shown, column: x}) for i, x in enumerate(texts)])
    )
    said = [x.demonstration or "" for x in examples]
    return Rated(
        example=replace(examples[0], demonstration=None, references=tuple(said[len(answers) :])),
        document=str(cells.get("document", cells.get("prompt"))),
        systems=tuple(str(one.get("system", i)) for i, one in enumerate(systems, 1)),
        answers=tuple(said[: len(answers)]),
        scores={a: tuple(float(one["scores"][a]) for one in systems) for a in aspects},
    )


def load(
    path: str,
    *,
    name: str | None = None,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.2,
    aspects: Sequence[str] = (),
    gap: float = 0.5,
    pairs: int = 20,
    **how: Any,
) -> Task:
    """Pairs of answers whose mean ratings are at least `gap` apart, at most `pairs` to a prompt (those
    with the smallest sha256); whole prompts fall on one side of the cut. `how`: as `read` has it."""
    found: list[Example] = []
    unusable: Counter[str] = Counter()
    for rated in read(path, **how):
        scores = rated.mean(aspects)
        named: dict[str, Example] = {}
        for i, j in combinations(range(len(scores)), 2):
            better, worse = (i, j) if scores[i] > scores[j] else (j, i)
            if scores[better] - scores[worse] < gap - 1e-9:  # means are not exact
                unusable[f"train: rated less than {gap:g} apart"] += 1
                continue
            name_of = f"{rated.example.id}-{rated.systems[better]}-{rated.systems[worse]}"
            named[name_of] = replace(
                rated.example,
                id=name_of,
                chosen=rated.answers[better],
                rejected=rated.answers[worse],
                references=rated.example.references or (rated.answers[better],),
                demonstration=rated.answers[better],
                about={**rated.example.about, "margin": scores[better] - scores[worse]},
            )
        drawn = sorted(named, key=lambda one: sha256(one.encode()).digest())
        unusable[f"train: more than {pairs} pairs a prompt"] += len(drawn[pairs:])
        found += [named[one] for one in drawn[:pairs]]
    kept, dropped = divided(path, {"train": found}, +unusable, {}, validation, test, seed)
    return Task(
        name=name or plain_name(basename(abspath(path))),
        version=VERSION,
        splits={split: tuple(rows) for split, rows in kept.items()},
        dropped=dropped,
    )
