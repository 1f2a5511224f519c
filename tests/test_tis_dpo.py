"""TIS-DPO: DPO where every token counts alike."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, TISDPO
from algos.core import Pairs, Responses
from tests.samples import batch, value


def response(logratios: list[float], weights: list[float]) -> Responses:
    h = tensor([logratios])
    return Responses(
        token_logps=h - 1,
        token_ref_logps=torch.full_like(h, -1.0),
        token_weights=tensor([weights]),
        mask=torch.ones_like(h).bool(),
    )


def test_worked_by_hand():
    # ½ · 2 + 2 · (−1) = −1 against 1 · 1 + 0 · 9 = 1, β = ½: margin −1
    chosen, rejected = response([2.0, -1.0], [0.5, 2.0]), response([1.0, 9.0], [1.0, 0.0])
    loss = TISDPO(beta=0.5).loss(Pairs(chosen=chosen, rejected=rejected))
    assert_close(value(loss), tensor(math.log1p(math.e)))
    assert_close(loss.metrics, {"chosen": tensor([-0.5]), "rejected": tensor([0.5])})


def weighing(pairs: Pairs, weights: torch.Tensor) -> Pairs:
    return pairs.replace(
        chosen=pairs.chosen.replace(token_weights=weights),
        rejected=pairs.rejected.replace(token_weights=weights),
    )


def test_equal_weights_are_dpo():
    pairs = batch(DPO())
    logps = (pairs.chosen.token_logps, pairs.rejected.token_logps)
    one, two = (
        (loss := value(algo.loss(data)), *torch.autograd.grad(loss, logps))
        for algo, data in [
            (TISDPO(beta=0.3), weighing(pairs, torch.ones_like(logps[0]))),
            (DPO(beta=0.3), pairs),
        ]
    )
    assert_close(one, two)


def test_a_token_without_weight_learns_nothing():
    pairs = batch(TISDPO())
    weights = torch.rand_like(pairs.chosen.token_weights).where(
        torch.arange(pairs.chosen.mask.shape[1]) > 0, 0.0
    )
    value(TISDPO().loss(weighing(pairs, weights))).backward()
    for side in (pairs.chosen, pairs.rejected):
        assert torch.equal(side.token_logps.grad != 0, side.mask & (weights > 0))
