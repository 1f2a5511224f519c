"""How varied a set of texts is, and how long. Words are what whitespace separates, case and all."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import exp, inf, log


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


def self_bleu(texts: Sequence[str], order: int = 4) -> list[float]:
    """Per text, BLEU in [0, 1] with all other texts as its references: 1 where another text has every
    n-gram of it, 0 where it shares no n-gram of some order, has none, or is alone.

    Self-BLEU of Zhu et al., 2018, https://arxiv.org/abs/1802.01886, sec. 3, without smoothing; of a text
    shorter than `order` words the n-grams that it has. Rises as the set grows: compare equal sizes.
    """
    logs = [0.0] * len(texts)
    orders = [0] * len(texts)
    for n in range(1, order + 1):
        counts = [Counter(ngrams(text, n)) for text in texts]
        most: dict[tuple[str, ...], tuple[int, int]] = {}  # the two largest counts in one text
        for each in counts:
            for gram, k in each.items():
                first, second = most.get(gram, (0, 0))
                most[gram] = (max(first, k), max(second, min(first, k)))
        for i, each in enumerate(counts):
            if not each:
                continue
            orders[i] += 1
            shared = 0
            for gram, k in each.items():
                first, second = most[gram]
                shared += min(k, second if k == first else first)
            logs[i] += log(shared / each.total()) if shared else -inf
    sizes = lengths(texts)
    return [
        exp(total / n) * brevity(i, sizes) if n and len(texts) > 1 else 0.0
        for i, (total, n) in enumerate(zip(logs, orders, strict=True))
    ]


def brevity(i: int, sizes: Sequence[int]) -> float:
    """BLEU's penalty of text i, whose reference length is the nearest of the others', the shorter of
    two."""
    nearest = min((abs(n - sizes[i]), n) for k, n in enumerate(sizes) if k != i)[1]
    return min(1.0, exp(1 - nearest / sizes[i])) if sizes[i] else 0.0


def copied(text: str, source: str, n: int = 3) -> float:
    """Share in [0, 1] of the runs of n words that stand in the source, too; 0 where there is none."""
    grams = ngrams(text, n)
    known = set(ngrams(source, n))
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0
