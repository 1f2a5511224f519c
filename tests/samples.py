"""Random, well-formed inputs for every kind of algorithm, with every optional field filled."""

from typing import Any

import torch

from algos.core import (
    Credits,
    Critic,
    Demonstrations,
    FromDemonstrations,
    FromLabels,
    FromPairs,
    FromRankings,
    FromRollouts,
    Labels,
    Pairs,
    Rankings,
    Responses,
    Rollouts,
)

torch.set_num_threads(1)  # nothing here is large

B, T = 6, 5


def mask() -> torch.Tensor:
    """Responses of one to T tokens, some with gaps."""
    return (torch.rand(B, T) > 0.3) | (torch.arange(T) == 0)


def responses(at_reference: bool = False, win_rate: float = 0.5) -> Responses:
    ref = -torch.rand(B, T) * 3
    logps = ref.clone() if at_reference else -torch.rand(B, T) * 3
    return Responses(
        token_logps=logps.requires_grad_(),
        mask=mask(),
        token_ref_logps=ref,
        token_ref_kl=(torch.zeros(B, T) if at_reference else torch.rand(B, T)).requires_grad_(),
        token_entropy=torch.rand(B, T).requires_grad_(),
        token_collision=-torch.rand(B, T),
        token_contrast=torch.randn(B, T),
        reward=torch.randn(B),
        win_rate=torch.full((B,), win_rate),
        score=(torch.zeros(B) if at_reference else torch.randn(B)).requires_grad_(),
        by_reference=torch.rand(B) > 0.5,
    )


def rollouts(at_reference: bool = False) -> Rollouts:
    now = responses(at_reference)
    near = 0.0 if at_reference else 0.2
    values = torch.randn(B, T)
    return Rollouts(
        responses=now,
        token_old_logps=now.token_logps.detach() + near * torch.randn(B, T),
        rewards=torch.randn(B),
        prompt=torch.arange(B) // 3,
        finished=torch.rand(B) > 0.2,
        token_rewards=torch.randn(B, T),
        token_discounts=torch.rand(B, T),
        baselines=torch.randn(B),
        critic=Critic(values=(values + torch.randn(B, T)).requires_grad_(), old_values=values),
        pretrain=responses(),
    )


def batch(algo, at_reference: bool = False) -> Any:
    match algo:
        case FromDemonstrations():
            return Demonstrations(responses=responses(at_reference))
        case FromPairs():
            return Pairs(
                chosen=responses(at_reference, win_rate=0.8),
                rejected=responses(at_reference, win_rate=0.3),
                p_chosen=0.6 + 0.4 * torch.rand(B),
                margin=torch.rand(B),
                target=responses(at_reference),
            )
        case FromLabels():
            drift = 0.0 if at_reference else 2.0
            other = responses(at_reference)
            return Labels(
                responses=responses(at_reference),
                desirable=torch.arange(B) % 2 == 0,
                weight=torch.rand(B),
                mismatched=other.replace(token_logps=other.token_logps.detach() + drift),
            )
        case FromRankings():
            reward = torch.tensor([0.3, -0.5, 1.0, 1.0001, -1.0, 0.4])  # two almost alike
            return Rankings(
                responses=responses(at_reference).replace(reward=reward),
                prompt=torch.tensor([0, 0, 1, 1, 1, 2]),
            )
        case FromRollouts():
            return rollouts(at_reference)


def credited(algo, batch: Any, batches: int = 1) -> Any:
    """The batch with the credit that the bench would attach to it when it comes so many times."""
    if not isinstance(algo, Credits):
        return batch
    state = algo.start()
    for _ in range(batches):
        credit, state = algo.credit(batch, state, torch.Generator().manual_seed(0))
    return batch.replace(credit=credit)


def value(loss) -> torch.Tensor:
    """The loss of these rows, taken as a whole batch."""
    return loss.share(loss.weights)
