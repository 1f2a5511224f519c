"""SPPO: each response is drawn to its own win rate."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import SPPO
from tests.arms import ARMS, LOSE, REF, REWARD, WIN, descend, every_pair, pair
from tests.samples import value


def won(pairs, chosen, rejected):
    return pairs.replace(
        chosen=pairs.chosen.replace(win_rate=chosen),
        rejected=pairs.rejected.replace(win_rate=rejected),
    )


def test_worked_by_hand():
    # η = 4: goals 4 · ¼ = 1 and 4 · −½ = −2; missed by 2 − 1 and −1 + 2: ½ (1 + 1)
    loss = SPPO(eta=4.0).loss(won(pair(2.0, -1.0), tensor([0.75]), tensor([0.0])))
    assert_close(value(loss), tensor(1.0))
    assert_close(loss.metrics, {"chosen_miss": tensor([1.0]), "rejected_miss": tensor([1.0])})


def test_each_side_has_its_own_pull():
    h_w, h_l = (tensor([x], requires_grad=True) for x in (3.0, -1.0))
    value(SPPO(eta=4.0).loss(won(pair(h_w, h_l), tensor([0.75]), tensor([0.0])))).backward()
    assert_close(torch.cat([h_w.grad, h_l.grad]), tensor([2.0, 1.0]))  # h less its goal


def test_misses_are_shared_out_by_the_policy():
    """Log-probabilities are tied by Σ π = 1. At the optimum what is missed of η (P − ½) is in
    proportion to π: only as much as log Z asks for.
    """
    wins = torch.sigmoid(REWARD[:, None] - REWARD).mean(-1)
    algo = SPPO(eta=3.0)

    def objective(logits):
        pairs = every_pair((REF + logits).log_softmax(-1))
        return value(algo.loss(won(pairs, wins[WIN], wins[LOSE])))

    policy = (REF + descend(objective, lr=0.5, steps=400)).softmax(-1)
    miss = policy.log() - REF - 3.0 * (wins - 0.5)
    share = miss / policy
    assert_close(share, share[:1].expand(ARMS), atol=1e-8, rtol=0)
    assert policy[-1] > REF[-1].exp()
