"""All pairs of a prompt: their mean, and a mean over prompts. Planted utilities: test_bandit.py."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import BradleyTerry, PairwiseK
from algos.core import Rankings
from tests.samples import batch, value
from tests.test_pl_dpo import ranked


def rankings(score: list[float], reward: list[float], prompt: list[int]) -> Rankings:
    responses = batch(PairwiseK())[: len(score)].responses
    return Rankings(
        responses=responses.replace(score=tensor(score), reward=tensor(reward)),
        prompt=tensor(prompt),
    )


def cost(*margins: float) -> torch.Tensor:
    return -torch.nn.functional.logsigmoid(tensor(margins)).mean()


def test_worked_by_hand():
    # three pairs of one prompt, one of another: every prompt counts once
    data = rankings([0.2, 1.0, -0.5, 3.0, 2.0], [2.0, 3.0, 1.0, 0.0, 1.0], [1, 1, 1, 0, 0])
    loss = PairwiseK().loss(data)
    assert_close(value(loss), (cost(0.8, 1.5, 0.7) + cost(-1.0)) / 2)
    assert loss.weights["policy"] == 2
    assert_close(loss.metrics, {"score": data.responses.score})


def test_a_tie_is_no_pair_and_a_prompt_without_pairs_does_not_count():
    data = rankings([0.3, 5.0, 1.0, 7.0, 8.0], [2.0, 2.0, 1.0, 0.0, 0.0], [0, 0, 0, 1, 1])
    loss = PairwiseK().loss(data)
    assert_close(value(loss), cost(0.3 - 1.0, 5.0 - 1.0))
    assert loss.weights["policy"] == 1
    nothing = PairwiseK().loss(rankings([1.0, 2.0], [0.0, 1.0], [0, 1]))
    assert value(nothing) == 0


def test_two_answers_are_bradley_and_terry():
    pairs = batch(BradleyTerry())
    plain = pairs.replace(p_chosen=torch.ones_like(pairs.margin), margin=0 * pairs.margin)
    assert_close(value(PairwiseK().loss(ranked(pairs))), value(BradleyTerry().loss(plain)))


def test_a_constant_per_prompt_does_not_matter():
    data = batch(PairwiseK())
    moved = data.responses.replace(score=data.responses.score + 3.0 * data.prompt)
    assert_close(
        value(PairwiseK().loss(data.replace(responses=moved))), value(PairwiseK().loss(data))
    )
