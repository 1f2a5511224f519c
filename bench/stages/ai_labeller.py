"""The AI labeller of a recipe, as its feedback describes it: a language model here or behind an
endpoint, or the simulated judge."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback import gold, rouge
from ..feedback.answer import Answer
from ..feedback.judge import SimulatedJudge
from ..feedback.labeller import Labeller, LabellerError, Questions, Speaker, Verdicts
from ..store import model_hash
from ..tasks.example import Example

if TYPE_CHECKING:
    from .cell import Cell

CACHE = "labeller.sqlite"  # in the store: what endpoints have answered
AT_ONCE = 64  # pairs
SENDING = ("requests", "rows")  # settings that change no answer


def settings(cell: "Cell", who: str) -> dict[str, Any]:
    """All that determines what the `labeller` or the `judge` of the recipe says."""
    return deciding(cell.config["feedback"][who])


def deciding(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that change an answer; of a language model who it is, wherever it lies."""
    said = {name: x for name, x in spec.items() if name not in SENDING}
    return said | ({"model": identity(spec)} if "model" in said else {})


def identity(spec: Mapping[str, Any]) -> str:
    """Who is asked: a server and a name, a hub id, or the hash of a folder wherever it lies."""
    model = str(spec["model"])
    if "base_url" in spec:
        return f"{model} at {spec['base_url']}"
    return model_hash(model) if Path(model).is_dir() else model


def scorer(cell: "Cell") -> str:
    """Who gives scores: `judge` or `labeller`."""
    who = cell.config["feedback"]["labels"]
    if who not in ("judge", "labeller"):
        raise LookupError(
            f"feedback.reward=judge_score, and feedback.labels={who!r} gives no scores: judge or labeller"
        )
    return who


def language_model(cell: "Cell") -> Labeller:
    """What `feedback.labeller` names."""
    return described(cell, cell.config["feedback"]["labeller"])


def described(cell: "Cell", spec: Mapping[str, Any]) -> Labeller:
    """What some settings name: behind `base_url` if there is one, else loaded here."""
    return Labeller(speaker(cell, spec), Questions.of(spec["questions"]))


def speaker(cell: "Cell", spec: Mapping[str, Any]) -> Speaker:
    tokens = spec["rationale_tokens"]
    if "base_url" in spec:
        from ..feedback.endpoint import Endpoint, Requests

        return Endpoint(
            model=spec["model"],
            base_url=spec["base_url"],
            cache=cell.store.root / CACHE,
            temperature=spec["temperature"],
            rationale_tokens=tokens,
            top_logprobs=spec["top_logprobs"],
            requests=Requests(**spec["requests"]),
        )
    from ..models.sampling import Decoding
    from ..models.speaker import LocalModel

    decoding = Decoding(temperature=spec["temperature"], max_new_tokens=tokens)
    return LocalModel.load(
        spec["model"], decoding=decoding, dtype=spec["dtype"], rows=spec["rows"],
        seed=cell.config["shared_seed"], device=cell.device,
    )  # fmt: skip


def verdicts(
    cell: "Cell", examples: Sequence[Example], first: Sequence[Answer], second: Sequence[Answer]
) -> tuple[list[float], dict[str, Any]]:
    """P(first ≻ second) for each pair, NaN where it could not be read; what the labeller is like."""
    rows = [(x.prompt, a.text, b.text) for x, a, b in zip(examples, first, second, strict=True)]
    found = asked(cell, language_model(cell), rows, "labels (labeller)")
    return found.preferences.tolist(), found.notes


def asked(
    cell: "Cell", labeller: Labeller, rows: Sequence[tuple[str, str, str]], title: str
) -> Verdicts:
    """What a labeller says of (prompt, a, b), row by row; `title` is what people see meanwhile."""
    there, back = [np.empty(0)], [np.empty(0)]
    with cell.display.stage(title, len(rows)) as bar:
        for i in range(0, len(rows), AT_ONCE):
            some = rows[i : i + AT_ONCE]
            said = labeller.verdicts(*map(list, zip(*some, strict=True)))
            there.append(said.there)
            back.append(said.back)
            bar.advance(len(some))
    return Verdicts(np.concatenate(there), np.concatenate(back))


def scores(cell: "Cell") -> Callable[[Sequence[Example], Sequence[Answer]], list[float]]:
    """(examples, answers) -> what the labeller gives each answer, in [−1, 1]."""
    if scorer(cell) == "labeller":
        labeller = language_model(cell)

        def by_language_model(
            examples: Sequence[Example], answers: Sequence[Answer]
        ) -> list[float]:
            said = labeller.scores([x.prompt for x in examples], [a.text for a in answers])
            if unread := int(np.isnan(said).sum()):
                cell.display.say(
                    f"{unread} of {len(said)} scores could not be read: the mean instead"
                )
            return filled(said)

        return by_language_model
    judge = SimulatedJudge(**cell.config["feedback"]["judge"])

    def by_judge(examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
        if cell.task.gold is None:
            quality = rouge.rewards(examples, answers)
        else:
            quality = gold.rewards(cell.task, examples, answers)
        shown = [x.prompt + a.text for x, a in zip(examples, answers, strict=True)]
        return judge.scores(quality, [len(a.text.split()) for a in answers], shown)

    return by_judge


def filled(scores: np.ndarray) -> list[float]:
    """A score that could not be read says nothing: the mean of the others, which is no advantage."""
    if np.isnan(scores).all():
        raise LabellerError(
            f"none of {len(scores)} scores of the labeller could be read: see that it answers "
            "feedback.labeller.questions with a number from 1 to 10"
        )
    return np.where(np.isnan(scores), np.nanmean(scores), scores).tolist()
