"""Arithmetic shared by algorithms. Tensors in, tensors out; no algorithm's name appears here.

Masks may have gaps: where another speaker's tokens stand between ours, or where a row is empty.
What a tensor holds outside its mask is never read, not even if it is NaN.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

PerToken = Float[Tensor, "B T"]
PerResponse = Float[Tensor, " B"]
Mask = Bool[Tensor, "B T"]
Group = Int[Tensor, " B"]  # members of a group share a number


def masked(x: PerToken, mask: Mask) -> PerToken:
    """x on the masked tokens, zero elsewhere: before the arithmetic, so that gradients are safe."""
    return torch.where(mask, x, 0.0)


def masked_sum(x: PerToken, mask: Mask) -> PerResponse:
    """Sum over the masked tokens."""
    return masked(x, mask).sum(-1)


def masked_mean(x: PerToken, mask: Mask) -> PerResponse:
    """Mean over the masked tokens of each response; 0 where it has none."""
    return masked_sum(x, mask) / mask.sum(-1).clamp(min=1)


def suffix_sum(x: PerToken, mask: Mask) -> PerToken:
    """Sum over the masked tokens from each of them on, zero outside."""
    return masked(masked(x, mask).flip(-1).cumsum(-1).flip(-1), mask)


def whiten(x: PerToken, mask: Mask) -> PerToken:
    """(x − mean) / √(var + 1e-8) over the masked tokens of the batch; a lone token becomes 0."""
    n = mask.sum()
    centred = masked(x - masked(x, mask).sum() / n.clamp(min=1), mask)
    variance = (centred**2).sum() / (n - 1).clamp(min=1)
    return centred / (variance + 1e-8).sqrt()


def at_last_token(x: PerResponse, mask: Mask) -> PerToken:
    """Place one number per response on the last token of the response, zero elsewhere."""
    last = mask & (mask.flip(-1).cumsum(-1).flip(-1) == 1)
    return torch.where(last, x[:, None], 0.0)


# -- preferences


def bradley_terry(margin: PerResponse) -> PerResponse:
    """−log P(chosen ≻ rejected) = −log σ(margin)."""
    return -logsigmoid(margin)


def capped_exp(x: PerResponse) -> PerResponse:
    """eˣ, at most e²⁰: an infinite one has no gradient, and neither has one at the cap."""
    return x.clamp(max=20).exp()


def beats(reward: PerResponse, group: Group) -> Bool[Tensor, "B B"]:
    """Whether one item (row) was given more than another (column) of its group. Ties say nothing."""
    return (group[:, None] == group[None, :]) & (reward[:, None] > reward[None, :])


def plackett_luce(x: PerResponse, reward: PerResponse, group: Group) -> PerResponse:
    """−log P(an item of strength x is taken before all that it beats): Σ is −log P(ranking).

    An item chooses between itself and what it beats, so that a tie is no choice.
    """
    candidates = beats(reward, group) | torch.eye(len(x), dtype=torch.bool, device=x.device)
    return (x[None, :] - x[:, None]).masked_fill(~candidates, -torch.inf).logsumexp(-1)


def penalized_mean(rewards: Float[Tensor, "M B"], coef: float, ddof: int = 0) -> PerResponse:
    """Mean − coef · variance over M judges of one scale, the variance over M − ddof.

    Coste et al., 2023, https://arxiv.org/abs/2310.02743; their code has ddof 0 and coef 0.5 where it
    picks the best of n, ddof 1 and coef 0.1 where it trains.
    """
    return rewards.mean(0) - coef * rewards.var(0, correction=ddof)


# -- over a whole batch


def running_mean(
    mean: Float[Tensor, ""], count: Float[Tensor, ""], x: PerResponse
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(mean, count) of all numbers so far and x."""
    total = count + x.numel()
    return mean + (x - mean).sum() / total.clamp(min=1), total


def running_moments(
    mean: Float[Tensor, ""], squares: Float[Tensor, ""], count: Float[Tensor, ""], x: PerResponse
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """(mean, sum of squared distances from it, count) of all numbers so far and x.

    The merge of Chan, Golub and LeVeque, 1983: no large numbers are subtracted.
    """
    gap, total = x.mean() - mean, count + x.numel()
    own = ((x - x.mean()) ** 2).sum()
    share = x.numel() / total
    return mean + gap * share, squares + own + gap**2 * count * share, total


def same_rank(values: PerResponse, others: PerResponse) -> PerResponse:
    """For each of `others`, that of the values which has its rank."""
    return values.sort().values[others.argsort().argsort()]


def without_replacement(
    log_weights: PerResponse, count: int, generator: torch.Generator
) -> Int[Tensor, " N"]:
    """Indices of `count` items drawn one after the other, with these weights among those left.

    The largest of log w − log e, e exponential, which no small weight breaks.
    """
    drawn = torch.empty(len(log_weights), dtype=torch.float64, device=generator.device)
    clocks = drawn.exponential_(generator=generator).to(log_weights.device).log()
    weights = (log_weights - log_weights.max()).double()
    return (weights - clocks).topk(count).indices


# -- policy gradients


def priced_rewards(
    rewards: PerResponse, logratios: PerToken, mask: Mask, kl_coef: float | Float[Tensor, ""]
) -> PerToken:
    """The reward of a response on its last token, less β k1 of the policy that sampled on each."""
    return at_last_token(rewards, mask) - kl_coef * k1(logratios)


def clipped_surrogate(
    ratio: Float[Tensor, "*shape"],
    advantages: Float[Tensor, "*#shape"],
    clip: float,
    clip_high: float | None = None,
) -> Float[Tensor, "*shape"]:
    """−min(r A, clip(r, 1 − ε, 1 + ε′) A), without a second clip for A < 0; ε′ is ε if not given.

    Schulman et al., 2017, https://arxiv.org/abs/1707.06347, eq. 7
    """
    high = clip if clip_high is None else clip_high
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + high) * advantages)


def clipped_value(values: PerToken, old: PerToken, returns: PerToken, clip: float) -> PerToken:
    """½ max[(V − R)², (V′ − R)²], where V′ is V kept within ε of the value at sampling time."""
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2)


def gae(
    rewards: PerToken, values: PerToken, mask: Mask, discounts: PerToken, lam: float
) -> PerToken:
    """Generalized advantage estimation over each response, which ends without bootstrap.

    Schulman et al., 2016, https://arxiv.org/abs/1506.02438, eq. 16:
        A_t = δ_t + γ_t λ A_u,  δ_t = r_t + γ_t V_u − V_t,
    where u is the next response token after t, past any gap, and V = A = 0 beyond the last. γ_t is
    the price of the one step from t to u: γ everywhere, or 1 inside a turn and γ at its last token.
    """
    advantages = torch.zeros_like(values)
    next_value = next_advantage = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + discounts[:, t] * next_value - values[:, t]
        advantage = delta + discounts[:, t] * lam * next_advantage
        ours = mask[:, t]
        next_value = torch.where(ours, values[:, t], next_value)
        next_advantage = torch.where(ours, advantage, next_advantage)
        advantages[:, t] = torch.where(ours, advantage, 0.0)
    return advantages


def group_mean(x: PerResponse, group: Group) -> PerResponse:
    """Mean of x over the members of each item's group."""
    same = (group[:, None] == group[None, :]).to(x.dtype)
    return same @ x / same.sum(-1)


def group_std(x: PerResponse, group: Group) -> PerResponse:
    """Unbiased standard deviation of x over each item's group; 0 in a group of one."""
    same = (group[:, None] == group[None, :]).to(x.dtype)
    squares = same @ (x - group_mean(x, group)) ** 2
    return (squares / (same.sum(-1) - 1).clamp(min=1)).sqrt()


def group_centred(x: PerResponse, group: Group) -> PerResponse:
    """x − its mean over each item's group, from differences: exactly 0 where all are equal."""
    same = group[:, None] == group[None, :]
    return torch.where(same, x[:, None] - x[None, :], 0.0).sum(-1) / same.sum(-1)


def group_whitened(x: PerResponse, group: Group) -> PerResponse:
    """(x − mean) / (std + 1e-4) over each item's group; 0 where all are equal, or where it is alone."""
    return group_centred(x, group) / (group_std(x, group) + 1e-4)


def leave_one_out(x: PerResponse, group: Group) -> PerResponse:
    """x − its mean over the others of each item's group; 0 where all are equal, or it is alone."""
    size = group_size(x, group)
    return group_centred(x, group) * size / (size - 1).clamp(min=1)


def group_size(x: PerResponse, group: Group) -> PerResponse:
    """How many share each item's group, in the precision of x. Under weights of one over this,
    every group counts once.
    """
    return (group[:, None] == group[None, :]).sum(-1).to(x.dtype)


def group_log_softmax(x: PerResponse, group: Group, temperature: float = 1.0) -> PerResponse:
    """log softmax(x / τ) within each item's group, from differences: a small τ costs no digits."""
    others = group[:, None] != group[None, :]
    gaps = (x[None, :] - x[:, None]) / temperature
    return -gaps.masked_fill(others, -torch.inf).logsumexp(-1)


# -- estimates of KL(π_θ ‖ π_ref) at samples of π_θ, from log π_θ − log π_ref
# http://joschu.net/blog/kl-approx.html; as a loss, k1 pulls nowhere, k2 along the reverse KL
# and k3 along the forward KL.


def k1(logratios: PerToken) -> PerToken:
    """Unbiased; may be negative."""
    return logratios


def k2(logratios: PerToken) -> PerToken:
    """Biased; never negative."""
    return 0.5 * logratios**2


def k3(logratios: PerToken) -> PerToken:
    """Unbiased; never negative. No more than that of −20, and from there without gradient."""
    near = logratios.clamp(min=-20)
    return (-near).exp() - 1 + near
