"""PL-DPO: DPO for two answers. More: test_plackett_luce.py; its optimum: test_bandit.py."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, PLDPO
from algos.core import Pairs, Rankings, Responses
from tests.arms import tokens
from tests.samples import batch, value


def ranked(pairs: Pairs, order: torch.Tensor | None = None) -> Rankings:
    """Each pair as a ranking of two, chosen first, or in another order of rows."""

    def both(name: str) -> torch.Tensor:
        sides = [getattr(side, name).detach() for side in (pairs.chosen, pairs.rejected)]
        return torch.stack(sides, 1).flatten(0, 1)

    b = len(pairs.margin)
    rows = Responses(
        token_logps=both("token_logps").requires_grad_(),
        token_ref_logps=both("token_ref_logps"),
        mask=both("mask"),
        score=both("score").requires_grad_(),
        reward=tensor([1.0, 0.0]).repeat(b),
    )
    return Rankings(responses=rows, prompt=torch.arange(b).repeat_interleave(2))


def test_two_answers_are_dpo():
    pairs = batch(DPO())
    two = ranked(pairs)
    ours, theirs = PLDPO(beta=0.3).loss(two), DPO(beta=0.3).loss(pairs)
    assert_close(value(ours), value(theirs))
    value(ours).backward()
    value(theirs).backward()
    grads = [side.token_logps.grad for side in (pairs.chosen, pairs.rejected)]
    assert_close(two.responses.token_logps.grad, torch.stack(grads, 1).flatten(0, 1))


def test_only_the_order_of_rewards_counts():
    data = batch(PLDPO())
    other = data.responses.replace(reward=10 * data.responses.reward**3)
    assert_close(value(PLDPO().loss(data.replace(responses=other))), value(PLDPO().loss(data)))


def test_a_prompt_counts_once_however_many_its_answers():
    # at the reference: log K! for each prompt
    zero = torch.zeros(5)
    reward = tensor([3.0, 1.0, 2.0, 0.0, 1.0])
    loss = PLDPO().loss(
        Rankings(responses=tokens(zero, zero, reward=reward), prompt=tensor([4, 4, 4, 9, 9]))
    )
    assert_close(value(loss), (tensor(6.0).log() + tensor(2.0).log()) / 2)
    assert_close(loss.metrics, {"reward": zero})
