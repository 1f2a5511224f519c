"""The likelihood of rankings, by its definition. Planted utilities: test_bandit.py."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import BradleyTerry, PlackettLuce
from algos.core import Rankings
from algos.ops import beats, plackett_luce
from tests.samples import batch, value
from tests.test_pl_dpo import ranked


def test_ranking_by_definition():
    # scores 1, 0.2, −0.5 in ranked order, in another order of rows, beside another prompt
    score = tensor([-0.5, 7.0, 1.0, 0.2])
    reward, prompt = tensor([1.0, 9.0, 3.0, 2.0]), tensor([0, 5, 0, 0])
    got = plackett_luce(score, reward, prompt)
    best, second = tensor([1.0, 0.2, -0.5]), tensor([0.2, -0.5])
    want = tensor([0.0, 0.0, best.logsumexp(0) - 1.0, second.logsumexp(0) - 0.2])
    assert_close(got, want)


def test_beats():
    reward, prompt = tensor([2.0, 1.0, 2.0, 0.0]), tensor([7, 7, 7, 3])
    want = torch.zeros(4, 4).bool()
    want[0, 1] = want[2, 1] = True
    assert torch.equal(beats(reward, prompt), want)


def test_ties_are_not_ranked_but_beat_what_is_worse():
    tied = plackett_luce(tensor([0.3, 5.0, 1.0]), tensor([2.0, 2.0, 1.0]), tensor([0, 0, 0]))
    pair = -torch.nn.functional.logsigmoid(tensor([0.3 - 1.0, 5.0 - 1.0]))
    assert_close(tied, torch.cat([pair, tensor([0.0])]))


def test_two_answers_are_bradley_and_terry():
    pairs = batch(BradleyTerry())
    plain = pairs.replace(p_chosen=torch.ones_like(pairs.margin), margin=0 * pairs.margin)
    assert_close(value(PlackettLuce().loss(ranked(pairs))), value(BradleyTerry().loss(plain)))


def test_a_constant_per_prompt_does_not_matter():
    data = batch(PlackettLuce())
    moved = data.responses.replace(score=data.responses.score + 3.0 * data.prompt)
    assert_close(
        value(PlackettLuce().loss(data.replace(responses=moved))), value(PlackettLuce().loss(data))
    )


def test_a_prompt_counts_once():
    score = torch.zeros(5)
    responses = batch(PlackettLuce())[:5].responses
    responses = responses.replace(score=score, reward=tensor([3.0, 1.0, 2.0, 0.0, 1.0]))
    loss = PlackettLuce().loss(Rankings(responses=responses, prompt=tensor([4, 4, 4, 9, 9])))
    assert_close(value(loss), (tensor(6.0).log() + tensor(2.0).log()) / 2)
    assert_close(loss.metrics, {"score": score})
