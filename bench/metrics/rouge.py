"""ROUGE-1, -2, -L and -Lsum, as F-measures with Porter's stemmer, one value per example.

Lin, 2004, https://aclanthology.org/W04-1013, in rouge_score's re-implementation of ROUGE-1.5.5 -m.
What is commonly got wrong, and what is done here:

* the aggregate is the mean, which callers take; rouge_score's own is a quantile of draws from
  numpy's global generator;
* Lsum needs sentences: lines, and where a text is one line, what ends in . ! or ? before a space
  (abbreviations split too). Without any, Lsum would be L;
* of several references the best one counts, for each variant apart;
* the tokenizer keeps [a-z0-9] alone. A text that has none scores 0, is counted, and is warned
  about;
* an empty text scores 0.
"""

import re
import warnings
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

VARIANTS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def rouge(
    predictions: Sequence[str], references: Sequence[str | Sequence[str]]
) -> dict[str, list[float]]:
    """Variant -> F-measure in [0, 1] of each prediction against the best of its references."""
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    several = [[r] if isinstance(r, str) else list(r) for r in references]
    for row, them in enumerate(several):
        if not them:
            raise ValueError(f"row {row} has no reference")
    if lost := tokenless([*predictions, *(r for them in several for r in them)]):
        warnings.warn(f"ROUGE reads [a-z0-9] only: {lost} texts score 0 unread", stacklevel=2)
    scores = [
        [score(prediction, reference) for reference in them]
        for prediction, them in zip(predictions, several, strict=True)
    ]
    return {v: [max(one[v] for one in row) for row in scores] for v in VARIANTS}


def signature() -> str:
    """How the numbers were made, in the manner of sacreBLEU. Equal signatures are comparable."""
    return "|".join(
        [
            "rouge:1+2+L+Lsum",
            "value:F1",
            "stem:porter",
            "split:newline,else-after-[.!?]",
            "tok:[a-z0-9]+",
            "refs:best-per-variant",
            "agg:mean",
            f"nltk:{version('nltk')}",
            f"version:{version('rouge_score')}",
        ]
    )


def tokenless(texts: Sequence[str]) -> int:
    """How many texts are not blank and yet hold nothing that ROUGE reads: Greek, emoji."""
    return sum(bool(text.strip()) and not re.search("[a-z0-9]", text.lower()) for text in texts)


def sentences(text: str) -> list[str]:
    """The lines of a text; of a single line its sentences, which end in . ! or ?"""
    text = text.strip()
    return text.split("\n") if "\n" in text else re.split(r"(?<=[.!?])\s+", text)


def score(prediction: str, reference: str) -> dict[str, float]:
    """Variant -> F-measure of one pair."""
    # texts without their newlines score the same but for Lsum, which reads nothing else of them
    pair = ("\n".join(sentences(text)) for text in (reference, prediction))
    return {variant: float(s.fmeasure) for variant, s in scorer().score(*pair).items()}


@cache
def scorer() -> Any:
    """rouge_score's scorer on a tokenizer that remembers stems and texts: both repeat a lot."""
    from nltk.stem.porter import PorterStemmer
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenize import tokenize

    class Remembering:
        stem = staticmethod(lru_cache(1 << 16)(PorterStemmer().stem))

        @staticmethod
        @lru_cache(1 << 13)
        def tokenize(text: str) -> list[str]:
            return tokenize(text, Remembering)

    return RougeScorer(VARIANTS, tokenizer=Remembering())


@cache
def metric() -> type:
    """The class `Rouge`, made when first asked for: `import evaluate` takes seconds."""
    import datasets
    import evaluate

    class Rouge(evaluate.Metric):
        """`rouge` through the interface of `evaluate`. Needs no hub; keeps its rows in memory."""

        __module__, __qualname__ = __name__, "Rouge"

        tokenless = 0  # texts of the last `compute` that ROUGE could not read

        def __init__(self, **kwargs: Any):
            super().__init__(**{"keep_in_memory": True, **kwargs})

        @property
        def signature(self) -> str:
            return signature()

        def _info(self) -> evaluate.MetricInfo:
            text, texts = datasets.Value("string"), datasets.Sequence(datasets.Value("string"))
            return evaluate.MetricInfo(
                description=__doc__,
                citation="https://aclanthology.org/W04-1013",
                features=[
                    datasets.Features({"predictions": text, "references": texts}),
                    datasets.Features({"predictions": text, "references": text}),
                ],
            )

        def _compute(self, predictions: list[str], references: list) -> dict[str, list[float]]:
            several = [[r] if isinstance(r, str) else r for r in references]
            self.tokenless = tokenless([*predictions, *(r for them in several for r in them)])
            return rouge(predictions, several)

    return Rouge


def __getattr__(name: str) -> Any:
    if name == "Rouge":
        return metric()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
