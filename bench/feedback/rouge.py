"""ROUGE-Lsum against the reference: an imperfect reward that every summarization task has."""

from collections.abc import Sequence

from ..metrics.rouge import rouge
from ..tasks.example import Example
from .answer import Answer


def rewards(examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
    """F-measure in [0, 1] of each answer against the best of its references. LookupError without any."""
    texts = [answer.text for answer in answers]
    return rouge(texts, references(examples, "ROUGE"))["rougeLsum"]


def references(examples: Sequence[Example], who: str) -> list[list[str]]:
    """Those of each example, for a reward that reads them."""
    for x in examples:
        if not x.references:
            raise LookupError(f"{who} as a reward needs references, and example {x.id} has none")
    return [list(x.references) for x in examples]
