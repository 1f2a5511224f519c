"""A bandit: prompts without words, responses of one token, every expectation a finite sum."""

from collections.abc import Callable
from itertools import permutations

import torch

from algos.core import Labels, Pairs, Rankings, Responses, Rollouts
from tests.samples import value

REF = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
REWARD = torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
ARMS = len(REF)
WIN, LOSE = torch.tensor([(i, j) for i in range(ARMS) for j in range(ARMS) if i != j]).unbind(-1)
ODDS = torch.sigmoid(REWARD[WIN] - REWARD[LOSE])  # how often WIN is preferred
ORDERS = torch.tensor(list(permutations(range(ARMS))))  # all rankings, best first
LEFT = REWARD[ORDERS].flip(-1).logcumsumexp(-1).flip(-1)  # log Σ exp r of what is not taken yet
ORDER_ODDS = (REWARD[ORDERS] - LEFT).sum(-1).exp()  # how often each ranking is given


def tokens(logp: torch.Tensor, ref: torch.Tensor, **given) -> Responses:
    """One-token responses."""
    mask = torch.ones(len(logp), 1, dtype=torch.bool)
    return Responses(token_logps=logp[:, None], token_ref_logps=ref[:, None], mask=mask, **given)


def every_pair(logp: torch.Tensor) -> Pairs:
    """All ordered pairs of arms under a policy; one state, so one KL(π_ref ‖ π_θ) for them all."""
    state = {
        "token_ref_kl": (REF.exp() * (REF - logp)).sum().expand(len(WIN), 1),
        "token_collision": (2 * logp).logsumexp(-1).expand(len(WIN), 1),
    }
    return Pairs(
        chosen=tokens(logp[WIN], REF[WIN], **state),
        rejected=tokens(logp[LOSE], REF[LOSE], **state),
    )


def pair(chosen: torch.Tensor | float, rejected: torch.Tensor | float) -> Pairs:
    """Pairs of one-token responses with these log π_θ − log π_ref."""
    sides = [x if isinstance(x, torch.Tensor) else torch.tensor([x]) for x in (chosen, rejected)]
    kind = torch.promote_types(sides[0].dtype, sides[1].dtype)
    w, l = (tokens(x.to(kind), torch.zeros_like(x, dtype=kind)) for x in sides)
    return Pairs(chosen=w, rejected=l)


def spread(logp: torch.Tensor, lengths: list[int], ref: torch.Tensor | None = None) -> Responses:
    """Responses of these lengths, their log-probabilities spread evenly over the tokens."""
    n = torch.tensor(lengths)[:, None]
    mask = torch.arange(int(n.max())) < n
    even = [(x[:, None] / n).expand(mask.shape) for x in (logp, 0 * logp if ref is None else ref)]
    return Responses(token_logps=even[0], token_ref_logps=even[1].detach(), mask=mask)


def every_ranking(logp: torch.Tensor, **given) -> Rankings:
    """All rankings of the arms under a policy, a prompt each; rewards tell the order alone."""
    rows, n = ORDERS.flatten(), len(ORDERS)
    place = -torch.arange(ARMS, dtype=logp.dtype).repeat(n)
    given = {name: x[rows] for name, x in given.items()}
    return Rankings(
        responses=tokens(logp[rows], REF[rows], reward=place, **given),
        prompt=torch.arange(n).repeat_interleave(ARMS),
    )


def every_label(logp: torch.Tensor, **given) -> Labels:
    """All arms under a policy, once called desirable and once not."""
    arms = torch.arange(ARMS).repeat(2)
    given = {name: x[arms] for name, x in given.items()}
    return Labels(
        responses=tokens(logp[arms], REF[arms], **given),
        desirable=torch.arange(2 * ARMS) < ARMS,
        weight=torch.ones(2 * ARMS, dtype=logp.dtype),
    )


def rollouts(
    logps: torch.Tensor,
    rewards: torch.Tensor,
    old: torch.Tensor | None = None,
    ref: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    prompt: torch.Tensor | None = None,
    **given,
) -> Rollouts:
    """Responses to one prompt, sampled just now by the reference, unless something else is said."""
    old = logps.detach() if old is None else old
    return Rollouts(
        responses=Responses(
            token_logps=logps,
            token_ref_logps=old if ref is None else ref,
            mask=torch.ones(logps.shape, dtype=torch.bool) if mask is None else mask,
        ),
        token_old_logps=old,
        rewards=rewards,
        prompt=torch.zeros(len(rewards), dtype=torch.long) if prompt is None else prompt,
        finished=torch.ones(len(rewards), dtype=torch.bool),
        **given,
    )


def sampled(policy: torch.Tensor, rows: int) -> torch.Tensor:
    """Row numbers: each answer in so many rows, as near to its probability as counts can be."""
    counts = (policy * rows).round().clamp(min=1).long()
    return torch.arange(len(policy)).repeat_interleave(counts)


def follow(
    algo,
    logits: torch.Tensor,
    rollouts_at: Callable[[torch.Tensor], Rollouts],
    steps: int = 120,
    lr: float = 2.0,
    decay: float = 0.93,
) -> torch.Tensor:
    """Sample, credit, step; steps are to shrink where whitening keeps advantages large."""
    logits, state = logits.clone().requires_grad_(), algo.start()
    for step in range(steps):
        data = rollouts_at(logits)
        credit, state = algo.credit(data, state, torch.Generator())
        (gradient,) = torch.autograd.grad(value(algo.loss(data.replace(credit=credit))), logits)
        with torch.no_grad():
            logits -= lr * decay**step * gradient
    return logits.detach()


def descend(
    objective: Callable[[torch.Tensor], torch.Tensor],
    lr: float,
    steps: int = 120,
    start: float = 0.0,
    momentum: float = 0.7,
) -> torch.Tensor:
    """Where gradient descent with momentum leads. A gradient need not have a potential."""
    x = torch.full((ARMS,), start, dtype=torch.float64)
    velocity = torch.zeros_like(x)
    for _ in range(steps):
        ahead = (x + momentum * velocity).requires_grad_()  # Nesterov's
        (gradient,) = torch.autograd.grad(objective(ahead), ahead)
        velocity = momentum * velocity - lr * gradient
        x = x + velocity
    return x


def minimiser(algo, odds: torch.Tensor = ODDS, lr: float = 20.0) -> torch.Tensor:
    """Where a pair loss leads, given how often the first of each pair is preferred."""

    def objective(logits):
        terms = algo.loss(every_pair((REF + logits).log_softmax(-1))).parts["policy"].terms
        return (odds * terms).sum() / len(WIN)

    return (REF + descend(objective, lr)).softmax(-1)
