"""Rows of token ids to the scored batches that losses are given: one class a kind of data.

Each is a batch of one optimizer step (or one phase of rollouts). `read(rows)` is what models read of
some of its rows. `score(needs, models, rows, forward)` calls the models on them for what `needs`
names; without `forward` it calls none and returns what masks, labels and the data say, which is all
that the weights of a loss depend on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from algos.core import (
    Critic,
    Demonstrations,
    FromDemonstrations,
    FromPairs,
    FromRollouts,
    Pairs,
    Responses,
    Rollouts,
)

from ..models.rewards import RewardModel
from ..models.scoring import score, state_values
from ..models.tokens import Tokens

Row = tuple[Sequence[int], Sequence[int]]  # prompt ids, response ids


@dataclass
class Models:
    """Who takes part: the policy or the reward model is trained, the critic beside it."""

    policy: nn.Module | None = None
    reference: nn.Module | None = None
    critic: nn.Module | None = None
    reward: RewardModel | None = None

    @property
    def trained(self) -> dict[str, nn.Module]:
        found = {"policy": self.policy, "critic": self.critic}
        found["reward"] = self.reward.model if self.reward else None
        return {name: model for name, model in found.items() if model is not None}


def respond(
    tokens: Tokens, needs: frozenset[str], models: Models, forward: bool, **given: Tensor
) -> Responses:
    """Responses scored by whoever the loss asks for: the policy, or a reward model in training."""
    if "score" not in needs:
        return score(tokens, needs, models.policy if forward else None, models.reference, **given)
    zeros = torch.zeros(len(tokens), device=tokens.ids.device)
    values = models.reward.raw(tokens) if forward else zeros
    return score(tokens, needs, None, **given, score=values)


@dataclass(frozen=True)
class DemonstrationBatch:
    """Responses to imitate."""

    tokens: Tokens
    kind = FromDemonstrations

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, rows: Tensor) -> Tokens:
        return self.tokens[rows]

    def score(
        self, needs: frozenset[str], models: Models, rows: Tensor, forward: bool
    ) -> Demonstrations:
        return Demonstrations(responses=respond(self.read(rows), needs, models, forward))


@dataclass(frozen=True)
class PairBatch:
    """`tokens` holds the chosen responses first, then the rejected ones, and so does `given`."""

    tokens: Tokens
    given: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, Tensor] = field(default_factory=dict)  # a number a pair: p_chosen, margin
    kind = FromPairs

    def __len__(self) -> int:
        return len(self.tokens) // 2

    def both(self, rows: Tensor) -> Tensor:
        """Where the two responses of each pair stand: all chosen ones, then all rejected ones."""
        return torch.cat([rows, rows + len(self)])

    def read(self, rows: Tensor) -> Tokens:
        return self.tokens[self.both(rows)]

    def score(self, needs: frozenset[str], models: Models, rows: Tensor, forward: bool) -> Pairs:
        given = {name: x[self.both(rows)] for name, x in self.given.items()}
        scored = respond(self.read(rows), needs, models, forward, **given)
        labels = {name: x[rows] for name, x in self.labels.items() if name in needs}
        return Pairs(chosen=scored[: len(rows)], rejected=scored[len(rows) :], **labels)


@dataclass(frozen=True)
class RolloutBatch:
    """Samples of the policy as it was, with what is known of them since then."""

    tokens: Tokens
    token_old_logps: Tensor
    rewards: Tensor
    prompt: Tensor
    finished: Tensor
    given: Mapping[str, Tensor] = field(default_factory=dict)  # token_ref_logps
    old_values: Tensor | None = None
    kind = FromRollouts

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, rows: Tensor) -> Tokens:
        return self.tokens[rows]

    def score(self, needs: frozenset[str], models: Models, rows: Tensor, forward: bool) -> Rollouts:
        """Without `forward` the policy is still the one that sampled, so that nothing is missing."""
        tokens = self.read(rows)
        given = {name: x[rows] for name, x in self.given.items()}
        old = self.token_old_logps[rows]
        responses = respond(tokens, needs, models, forward, **given)
        if not forward:
            responses = responses.replace(token_logps=old)
        extra: dict[str, Any] = {}
        if "critic" in needs:
            before = self.old_values[rows]
            now = state_values(models.critic, tokens) if forward else before
            extra["critic"] = Critic(values=now, old_values=before)
        return Rollouts(
            responses=responses,
            token_old_logps=old,
            rewards=self.rewards[rows],
            prompt=self.prompt[rows],
            finished=self.finished[rows],
            **extra,
        )


Batch = DemonstrationBatch | PairBatch | RolloutBatch


def ragged(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    """Numbers per token, padded with zeros: Float[B, width]."""
    padded = torch.zeros(len(rows), width)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = torch.as_tensor(row)
    return padded
