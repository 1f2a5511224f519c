"""BERTScore against the reference: an imperfect reward that reads meaning, not words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..metrics.bertscore import bertscore
from ..tasks.example import Example
from .answer import Answer
from .rouge import references

if TYPE_CHECKING:
    from ..metrics.bertscore import Encoder


def rewards(
    examples: Sequence[Example], answers: Sequence[Answer], encoder: "Encoder"
) -> list[float]:
    """F1 of each answer against the best of its references. LookupError without any."""
    texts = [answer.text for answer in answers]
    return bertscore(texts, references(examples, "BERTScore"), encoder)["f1"]
