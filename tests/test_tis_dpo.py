"""TIS-DPO: DPO where tokens count by what two other models make of them."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, TISDPO, TISDPOAuthorsCode
from algos.core import Pairs, Responses
from tests.samples import batch, value


def response(logratios: list[float], contrast: list[float]) -> Responses:
    h = tensor([logratios])
    return Responses(
        token_logps=h - 1,
        token_ref_logps=torch.full_like(h, -1.0),
        token_contrast=tensor([contrast]),
        mask=torch.ones_like(h).bool(),
    )


def test_worked_by_hand():
    # k = 2, μ = log 2, contrasts kept within ±1. Chosen: c = 1 (from 3) and −1 weigh 4 and 1;
    # rejected: c = 1 and 0 weigh 1 and 2. β = ¼: (4·1 − 1·2)/4 = ½ against (1·4 + 2·0)/4 = 1
    algo = TISDPO(beta=0.25, scale=2.0, sharpness=math.log(2), low=-1.0, high=1.0)
    chosen, rejected = response([1.0, -2.0], [3.0, -1.0]), response([4.0, 0.0], [1.0, 0.0])
    loss = algo.loss(Pairs(chosen=chosen, rejected=rejected))
    assert_close(value(loss), tensor(math.log1p(math.exp(0.5))))
    assert_close(loss.metrics, {"chosen": tensor([0.5]), "rejected": tensor([1.0])})


def test_ranks_worked_by_hand():
    # ranks 2, 0, 1 among three chosen tokens weigh 1.3, 0.7, 1; rejected: the same from worst to best
    contrast, h = [5.0, -7.0, 0.1], [1.0, 10.0, 100.0]
    pairs = Pairs(chosen=response(h, contrast), rejected=response(h, contrast))
    loss = TISDPOAuthorsCode(beta=1.0).loss(pairs)
    assert_close(loss.metrics, {"chosen": tensor([108.3]), "rejected": tensor([113.7])})
    alone = response([2.0], [3.0])
    loss = TISDPOAuthorsCode(beta=1.0).loss(Pairs(chosen=alone, rejected=alone))
    assert_close(loss.metrics["chosen"], tensor([2.0]))


@pytest.mark.parametrize("algo", [TISDPO(), TISDPOAuthorsCode()], ids=str)
def test_padding_takes_no_part(algo):
    """Neither do gaps: the ranks are those of the tokens alone, whatever stands between."""
    pairs = batch(algo)
    other = pairs.replace(
        **{
            side: x.replace(token_contrast=torch.where(x.mask, x.token_contrast, 9.0))
            for side, x in [("chosen", pairs.chosen), ("rejected", pairs.rejected)]
        }
    )
    assert torch.equal(value(algo.loss(pairs)), value(algo.loss(other)))
    for side, sign in [(pairs.chosen, 1), (pairs.rejected, -1)]:
        weights = algo.weights(side, sign)
        for row, mask, c in zip(weights, side.mask, side.token_contrast, strict=True):
            order = (sign * c[mask]).argsort()
            assert (row[mask][order].diff() >= 0).all(), "better tokens weigh more, or less"


@pytest.mark.parametrize(
    "algo",
    [TISDPO(beta=0.3, sharpness=0.0), TISDPOAuthorsCode(beta=0.3, low=1.0, high=1.0)],
    ids=str,
)
def test_equal_weights_are_dpo(algo):
    pairs = batch(DPO())
    logps = (pairs.chosen.token_logps, pairs.rejected.token_logps)
    one, two = (
        (loss := value(x.loss(pairs)), *torch.autograd.grad(loss, logps))
        for x in (algo, DPO(beta=0.3))
    )
    assert_close(one, two)


def test_a_token_without_weight_learns_nothing():
    algo = TISDPOAuthorsCode(low=0.0, high=1.0)  # the worst chosen token, the best rejected one
    pairs = batch(algo)
    value(algo.loss(pairs)).backward()
    for side, sign in [(pairs.chosen, 1), (pairs.rejected, -1)]:
        weights = algo.weights(side, sign)
        assert (weights[side.mask] == 0).any()
        assert torch.equal(side.token_logps.grad != 0, side.mask & (weights > 0))
