"""Pairs as whatever an algorithm learns from: pairs, single labels, rankings of two."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from algos import DPO, KTO, PLDPO
from bench.training.batches import LabelBatch, Models, PairBatch, RankingBatch
from bench.training.feeds import PairRows, RankingRows, compared, mismatched
from tests import tiny

COUNT = 6
PAIRS = PairRows(
    chosen=tiny.rows(COUNT, seed=1),
    rejected=[(p, y) for (p, _), (_, y) in zip(tiny.rows(COUNT, 1), tiny.rows(COUNT, 2), strict=True)],
    p_chosen=[1.0] * COUNT,
    margin=[0.0] * COUNT,
    chosen_ref_logps=[[-1.0] * len(y) for _, y in tiny.rows(COUNT, 1)],
    rejected_ref_logps=[[-2.0] * len(y) for _, y in tiny.rows(COUNT, 2)],
)  # fmt: skip


def response(tokens, i: int) -> list[int]:
    start, length = int(tokens.start[i]), int(tokens.length[i])
    return tokens.ids[i, start : start + length].tolist()


@pytest.mark.parametrize(
    ("algo", "kind", "count", "size"),
    [
        (DPO(), PairBatch, COUNT, 2),
        (PLDPO(), RankingBatch, COUNT, 2),
        (KTO(), LabelBatch, 2 * COUNT, 4),
    ],
    ids=["pairs", "rankings", "labels"],
)
def test_everybody_sees_as_many_responses_an_update(algo, kind, count, size):
    feed = compared(algo, PAIRS, 4, seed=0, pad_id=tiny.PAD, device="cpu")
    batch = feed(0, Models()).batch
    assert isinstance(batch, kind)
    assert feed.count == count
    assert len(batch) == feed.size == size
    assert len(batch.tokens) == 4


def test_pairs_as_labels_are_wanted_and_not():
    rows = PAIRS.as_labels()
    batch = rows.batch([3, 0], tiny.PAD, "cpu")
    assert batch.desirable.tolist() == [False, True]
    assert response(batch.tokens, 0) == list(PAIRS.rejected[1][1])
    assert response(batch.tokens, 1) == list(PAIRS.chosen[0][1])
    mask = batch.tokens.mask
    assert_close(batch.given["token_ref_logps"][0], torch.where(mask[0], -2.0, 0.0))
    assert_close(batch.given["token_ref_logps"][1], torch.where(mask[1], -1.0, 0.0))
    assert batch.weight.tolist() == [1.0, 1.0]


def test_labels_weigh_what_they_are_said_to():
    rows = replace(PAIRS.as_labels(), weight=[float(i) for i in range(2 * COUNT)])
    assert rows.batch([3, 0], tiny.PAD, "cpu").weight.tolist() == [3.0, 0.0]


def test_a_mismatched_response_answers_another_prompt():
    rows = [([1], [5]), ([1], [6]), ([2], [7]), ([3], [8])]
    assert mismatched(rows) == [([1], [7]), ([1], [7]), ([2], [8]), ([3], [5])]
    with pytest.raises(ValueError, match="two different prompts"):
        mismatched(rows[:2])


def test_pairs_as_rankings_of_two():
    batch = PAIRS.as_rankings().batch([4, 1], tiny.PAD, "cpu")
    assert batch.prompt.tolist() == [0, 0, 1, 1]
    assert batch.given["reward"].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert response(batch.tokens, 2) == list(PAIRS.chosen[1][1])
    assert response(batch.tokens, 3) == list(PAIRS.rejected[1][1])


def test_a_slice_of_rankings_never_parts_a_prompt():
    answers = [tiny.rows(k, seed=k) for k in (3, 1, 2)]
    rewards = [[float(i) for i in range(len(a))] for a in answers]
    batch = RankingRows(answers, rewards).batch([0, 1, 2], tiny.PAD, "cpu")
    assert len(batch) == 3
    assert batch.responses_a_row == 3
    some = batch.score(frozenset({"reward"}), Models(), torch.tensor([2, 0]), forward=False)
    assert some.prompt.tolist() == [0, 0, 0, 2, 2]
    assert some.responses.reward.tolist() == [0.0, 1.0, 2.0, 0.0, 1.0]
