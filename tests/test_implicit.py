"""Token rewards of a policy on a tree whose optimum is computed exactly: "From r to Q*", Eq. 10.

States are prefixes of a response; it ends with EOS or at the depth. The soft values by dynamic
programming, from the leaves: V*(s) = β log Σ_a π_ref(a|s) exp([r(s, a) + V*(s')]/β), V* = 0 at the
end; π*(a|s) = π_ref(a|s) exp([r(s, a) + V*(s') − V*(s)]/β).
"""

from itertools import product
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from bench.models.implicit import implicit_rewards, lowest
from bench.models.tokens import Tokens
from tests.tiny import EOS, PAD

BETA, DEPTH, ASKED, VOCABULARY = 0.7, 3, 4, 5
ACTIONS = [EOS, 2, 3]
Prefix = tuple[int, ...]
INNER: list[Prefix] = [x for n in range(DEPTH) for x in product([2, 3], repeat=n)]
RESPONSES = [(*s, a) for s in INNER for a in ACTIONS if a == EOS or len(s) == DEPTH - 1]
TOKENS = Tokens.collate([([ASKED], list(y)) for y in RESPONSES], PAD)


def numbers(seed: int) -> dict[Prefix, Tensor]:
    """One for each action in each state."""
    torch.manual_seed(seed)
    return {s: torch.randn(len(ACTIONS), dtype=torch.float64) for s in INNER}


class Tree(nn.Module):
    """A language model whose logits are looked up."""

    _prefzoo_plain_head = False

    def __init__(self, logits: dict[Prefix, Tensor]):
        super().__init__()
        self.table = logits

    def forward(self, input_ids, use_cache):
        found = torch.full((*input_ids.shape, VOCABULARY), -torch.inf)
        for i, row in enumerate(input_ids.tolist()):
            for t in range(len(row)):
                if (prefix := tuple(row[1 : t + 1])) in self.table:
                    found[i, t, ACTIONS] = self.table[prefix].float()
        return SimpleNamespace(logits=found)


REFERENCE = {s: x.log_softmax(-1) for s, x in numbers(0).items()}
REWARD = numbers(1)


def after(s: Prefix, action: int, values: dict[Prefix, Tensor]) -> Tensor:
    return values.get((*s, action), torch.zeros((), dtype=torch.float64))


def optimum(reward: dict[Prefix, Tensor]) -> tuple[dict[Prefix, Tensor], dict[Prefix, Tensor]]:
    """(log π*, V*)"""
    policy: dict[Prefix, Tensor] = {}
    values: dict[Prefix, Tensor] = {}
    for s in sorted(INNER, key=len, reverse=True):
        gain = reward[s] + torch.stack([after(s, a, values) for a in ACTIONS])
        values[s] = BETA * (REFERENCE[s] + gain / BETA).logsumexp(-1)
        policy[s] = REFERENCE[s] + (gain - values[s]) / BETA
    return policy, values


POLICY, VALUES = optimum(REWARD)


def rewards(policy: dict[Prefix, Tensor], rows: int = 100) -> Tensor:
    return implicit_rewards(Tree(policy), Tree(REFERENCE), TOKENS, TOKENS, BETA, rows)


def along(response: Prefix) -> list[tuple[Prefix, int]]:
    return [(response[:t], a) for t, a in enumerate(response)]


def logp(policy: dict[Prefix, Tensor]) -> Tensor:
    """Of every response."""
    return torch.stack([
        sum(policy[s][ACTIONS.index(a)] for s, a in along(y)) for y in RESPONSES
    ])  # fmt: skip


def test_the_tree_is_whole():
    assert len(RESPONSES) == 15  # 7 states where EOS may come, and 8 responses cut at the depth
    for policy in (REFERENCE, POLICY):
        assert float(logp(policy).exp().sum()) == pytest.approx(1.0)


def test_a_token_reward_is_the_reward_and_the_change_of_value():
    found = rewards(POLICY)
    for i, y in enumerate(RESPONSES):
        for t, (s, a) in enumerate(along(y)):
            wanted = REWARD[s][ACTIONS.index(a)] + after(s, a, VALUES) - VALUES[s]
            assert_close(found[i, t], wanted.float(), rtol=1e-4, atol=1e-5)
    assert (found[~TOKENS.mask] == 0).all()


def test_the_rewards_of_a_response_telescope():
    total = torch.stack([sum(REWARD[s][ACTIONS.index(a)] for s, a in along(y)) for y in RESPONSES])
    assert_close(rewards(POLICY).sum(-1), (total - VALUES[()]).float(), rtol=1e-4, atol=1e-5)


def test_shaping_by_a_potential_changes_neither_the_optimum_nor_its_rewards():
    """r' = r + Φ(s') − Φ(s), with Φ = 0 at the end."""
    potential = {s: x[0] for s, x in numbers(2).items()}
    shaped = {
        s: REWARD[s] + torch.stack([after(s, a, potential) for a in ACTIONS]) - potential[s]
        for s in INNER
    }
    policy, values = optimum(shaped)
    assert abs(values[()] - VALUES[()]) > 0.1  # the values do change
    assert_close(logp(policy), logp(POLICY))
    assert_close(rewards(policy), rewards(POLICY), rtol=1e-4, atol=1e-5)


def test_a_shift_of_all_logits_of_a_state_changes_nothing():
    shifts = numbers(3)
    shifted = {s: x + 3 * shifts[s][0] for s, x in POLICY.items()}
    assert_close(rewards(shifted), rewards(POLICY), rtol=1e-4, atol=1e-5)


def test_under_the_reference_the_mean_reward_is_minus_the_kl():
    """Eq. 16: E over π_ref of β log π/π_ref = −β KL(π_ref ‖ π)."""
    ours, theirs = logp(POLICY), logp(REFERENCE)
    kl = (theirs.exp() * (theirs - ours)).sum()
    mean = (theirs.exp() * rewards(POLICY).sum(-1).double()).sum()
    assert float(mean) == pytest.approx(-BETA * float(kl), abs=1e-5)
    assert mean < -0.01


@pytest.mark.parametrize("rows", [1, 4])
def test_it_does_not_matter_how_many_rows_are_scored_at_a_time(rows):
    assert_close(rewards(POLICY, rows), rewards(POLICY))


def test_the_lowest_token_is_neither_the_end_nor_behind_it():
    tokens = Tokens.collate([([4], [2, 3, EOS]), ([4], [2, EOS]), ([4], [3, 2, EOS])], PAD)
    scores = torch.tensor([[3.0, 1.0, -9.0], [2.0, -5.0, -7.0], [-1.0, 0.0, 1.0]])
    assert lowest(scores, tokens).tolist() == [1, 0, 0]
