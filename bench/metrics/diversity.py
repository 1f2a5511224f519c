"""How varied a set of texts is, and how long. Words are what whitespace separates, case and all."""

from collections.abc import Iterable, Sequence


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """The runs of n words, in order; none where the text is shorter."""
    words = text.split()
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def distinct(texts: Iterable[str], n: int) -> float:
    """distinct-n in [0, 1]: different n-grams / n-grams, over the whole set; 0 where there is none.

    Li et al., 2016, https://arxiv.org/abs/1510.03055, sec. 5.4, but divided by the n-grams rather
    than by the words. Falls as the set grows: compare sets of equal size and similar length only.
    """
    every = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(every)) / len(every) if every else 0.0


def self_repetition(texts: Sequence[str], n: int) -> list[float]:
    """Per text, the share in [0, 1) of n-grams that stood in it before; 0 where it has none.

    seq-rep-n of Welleck et al., 2020, https://arxiv.org/abs/1908.04319, sec. 6: 1 − different /
    all.
    """
    return [1 - distinct([text], n) if ngrams(text, n) else 0.0 for text in texts]


def lengths(texts: Iterable[str]) -> list[int]:
    """Per text, its length in words."""
    return [len(text.split()) for text in texts]
