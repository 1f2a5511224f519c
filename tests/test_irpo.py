"""IRPO: DPO that may not forget how to write the chosen."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, IRPO
from algos.core import Pairs
from tests.arms import pair, spread
from tests.samples import value


def test_worked_by_hand():
    # ℓ_w = h_w = −2 over 4 tokens, h_l = −5, β = ½, α = 2: margin 3/2, and 2 · ½
    pairs = Pairs(chosen=spread(tensor([-2.0]), [4]), rejected=spread(tensor([-5.0]), [2]))
    loss = IRPO(beta=0.5, alpha=2.0).loss(pairs)
    assert_close(loss.share(loss.weights, {"policy"}), tensor(math.log1p(math.exp(-1.5))))
    assert_close(loss.share(loss.weights, {"nll"}), tensor(1.0))
    assert_close(loss.metrics, {"chosen": tensor([-1.0]), "rejected": tensor([-2.5])})


def test_each_chosen_response_counts_once_however_long():
    h = torch.zeros(2, requires_grad=True)
    pairs = Pairs(chosen=spread(h, [2, 4]), rejected=spread(torch.zeros(2), [4, 4]))
    loss = IRPO().loss(pairs)
    loss.share(loss.weights, {"nll"}).backward()
    assert_close(h.grad, tensor([-0.25, -0.125]))  # 1 / (2 pairs · |y|)


def test_the_reference_is_no_part_of_the_likelihood():
    moved = pair(2.0, -1.0)
    moved = moved.replace(chosen=moved.chosen.replace(
        token_logps=moved.chosen.token_logps - 3, token_ref_logps=moved.chosen.token_ref_logps - 3
    ))  # fmt: skip
    dpo = value(DPO().loss(moved))
    assert_close(value(IRPO().loss(moved)) - dpo, tensor(1.0))


def test_chosen_responses_sink_under_dpo_but_not_here():
    """Chosen and rejected share what a third response does not: DPO lowers both from there."""
    common = tensor([0.0], requires_grad=True)  # weight on what both have in common

    def objective(algo, x, own):
        logits = torch.stack([x[0] + own, x[0] - own, torch.zeros(())])
        logp = logits.log_softmax(-1)
        ref = tensor([1 / 3, 1 / 3, 1 / 3]).log()
        sides = [spread(h[None], [1], ref[None, 0]) for h in logp[:2]]
        return value(algo.loss(Pairs(chosen=sides[0], rejected=sides[1])))

    slopes = [
        torch.autograd.grad(objective(algo, common, tensor(0.5)), common)[0].item()
        for algo in (DPO(), IRPO())
    ]
    assert slopes[0] == 0  # nothing holds what is common up
    assert slopes[1] < 0
