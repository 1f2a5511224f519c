"""Diversity, lengths and win rates, by hand."""

import random

import numpy as np
import pytest
from nltk.translate.bleu_score import sentence_bleu

from bench.metrics.diversity import copied, distinct, lengths, self_bleu, self_repetition
from bench.metrics.win_rate import both_orders, wins


def test_distinct_by_hand():
    # a b a b | b a: bigrams ab ba ab | ba
    assert distinct(["a b a b", "b a"], 2) == 0.5
    assert distinct(["a b a b", "b a"], 1) == pytest.approx(1 / 3)


def test_distinct_does_not_cross_texts():
    assert distinct(["a", "b"], 2) == 0.0
    assert distinct([], 1) == 0.0
    assert distinct(["", " "], 1) == 0.0


def test_self_repetition_by_hand():
    # a a a: one different unigram of three, one bigram of two; nothing repeats across texts
    assert self_repetition(["a a a", "a b", ""], 1) == pytest.approx([2 / 3, 0, 0])
    assert self_repetition(["a a a", "a"], 2) == [0.5, 0.0]


def test_self_bleu_is_bleu_against_all_others():
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abc", k=draw.randint(4, 12))) for _ in range(30)]
    words = [text.split() for text in texts]
    for i, found in enumerate(self_bleu(texts)):
        others = words[:i] + words[i + 1 :]
        assert found == pytest.approx(sentence_bleu(others, words[i]), abs=1e-12)


def test_self_bleu_where_there_is_little_to_compare():
    assert self_bleu(["a b c d e", "a b c d e"]) == [1.0, 1.0]
    assert self_bleu(["a b c d", "w x y z", ""]) == [0.0, 0.0, 0.0]
    assert self_bleu(["a b", "a b"]) == [1.0, 1.0]  # no longer n-grams to share
    assert self_bleu(["a b c d"]) == [0.0]


def test_copied_by_hand():
    assert copied("a b c d", "x a b c", 3) == 0.5
    assert copied("a b", "a b", 3) == 0.0
    assert copied("a b c", "A b c", 3) == 0.0


def test_lengths():
    assert lengths(["", " a  b\nc ", "x"]) == [0, 3, 1]


def test_wins_by_hand():
    assert wins([1.0, 2.0, 0.1 + 0.2, 1.0], [0.0, 3.0, 0.3, 0.95], atol=0.1) == [1, 0, 0.5, 0.5]
    assert wins([0.1 + 0.2], [0.3]) == [0.5]
    with pytest.raises(ValueError, match="row 1: nan"):
        wins([0.0, float("nan")], [0.0, 0.0])
    with pytest.raises(ValueError, match="shape"):
        wins([0.0], [0.0, 1.0])


def test_both_orders_cancel_the_place():
    always_the_first = both_orders(lambda first, second: 0.9, "a", "b")
    assert always_the_first == pytest.approx(0.5)
    honest = {("good", "bad"): 0.8, ("bad", "good"): 0.3}
    assert both_orders(lambda a, b: honest[a, b], "good", "bad") == pytest.approx(0.75)
    assert both_orders(lambda a, b: honest[a, b], "bad", "good") == pytest.approx(0.25)


def test_both_orders_of_many_keep_a_lost_verdict_lost():
    got = both_orders(lambda a, b: np.array([1.0, float("nan")]), ["x", "y"], ["z", "w"])
    assert got[0] == 0.5
    assert np.isnan(got[1])
