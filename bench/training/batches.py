"""Rows of token ids to the scored batches that losses are given: one class a kind of data.

Each is a batch of one optimizer step (or one phase of rollouts). `read(rows)` is what models read of
some of its rows. `score(needs, models, rows, forward)` calls the models on them for what `needs`
names; without `forward` it calls none and returns what masks, labels and the data say, which is all
that the weights of a loss depend on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from algos.core import (
    Critic,
    Demonstrations,
    Labels,
    Pairs,
    Rankings,
    Responses,
    Rollouts,
)

from ..models.computing import Computing, device_of, side_by_side
from ..models.packing import by_prompt, is_packed
from ..models.rewards import RewardModel
from ..models.scoring import REFERENCE, reference_logps, score, state_values
from ..models.tokens import Tokens

Row = tuple[Sequence[int], Sequence[int]]  # prompt ids, response ids


@dataclass
class Models:
    """Who takes part: the policy or the reward model is trained, the critic beside it."""

    policy: nn.Module | None = None
    reference: nn.Module | None = None
    critic: nn.Module | None = None
    reward: RewardModel | None = None
    computing: Computing = Computing()

    @property
    def trained(self) -> dict[str, nn.Module]:
        found = {"policy": self.policy, "critic": self.critic}
        found["reward"] = self.reward.model if self.reward else None
        return {name: model for name, model in found.items() if model is not None}

    @property
    def packed(self) -> bool:
        """Whether they read a prompt once for all of its responses."""
        first, *_ = self.trained.values()
        return is_packed(first)

    def autocast(self) -> torch.autocast:
        """Where they are called, if they are."""
        devices = map(device_of, self.trained.values())
        return self.computing.autocast(next(devices, torch.device("cpu")))


def respond(
    tokens: Tokens,
    needs: frozenset[str],
    models: Models,
    forward: bool,
    temperature: float = 1.0,
    ref_states: Tensor | None = None,
    **given: Tensor,
) -> Responses:
    """Responses scored by whoever the loss asks for: the policy, or a reward model in training."""
    if "score" not in needs:
        policy = models.policy if forward else None
        return score(tokens, needs, policy, models.reference, temperature, ref_states, **given)
    zeros = torch.zeros(len(tokens), device=tokens.ids.device)
    values = models.reward.raw(tokens) if forward else zeros
    return score(tokens, needs, None, **given, score=values)


def computed(tokens: Tokens, models: Models) -> int:
    """How many tokens there are."""
    prompts = tokens.start
    if models.packed:
        prompts = prompts[[members[0] for members in by_prompt(tokens)]]
    return int(prompts.sum() + tokens.length.sum())


@dataclass(frozen=True)
class Batch:
    """A row is a response, unless a kind says otherwise."""

    tokens: Tokens

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def responses_a_row(self) -> int:
        """How many, at most, are scored together: what a row costs in memory."""
        return 1

    def items(self, rows: Tensor) -> Tensor:
        """Where the responses of these rows stand among all."""
        return rows

    def credited(self, rows: Tensor) -> Tensor:
        """Which items of a credit are theirs."""
        return rows

    def arranged(self, rows: Tensor, models: Models) -> Tensor:
        """The same rows in the order in which they are cut."""
        return rows

    def read(self, rows: Tensor) -> Tokens:
        return self.tokens[self.items(rows)]

    def cost(self, rows: Tensor, models: Models) -> int:
        """How many tokens models compute when they read these rows together, once each."""
        return computed(self.read(rows), models)

    def told(self, needs: frozenset[str], models: Models, micro: int) -> "Batch":
        """With what can be known of it once and for all, if that saves work."""
        return self

    def learned(self, rows: Tensor) -> dict[str, int]:
        """How many prompts, and of pairs how many of those, these rows teach."""
        return {"prompts": len(rows)}

    def known(self, given: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """What is known of the responses of these rows."""
        items = self.items(rows)
        return {name: x[items] for name, x in given.items()}


@dataclass(frozen=True)
class DemonstrationBatch(Batch):
    """Responses to imitate."""

    def score(
        self, needs: frozenset[str], models: Models, rows: Tensor, forward: bool
    ) -> Demonstrations:
        return Demonstrations(responses=respond(self.read(rows), needs, models, forward))


@dataclass(frozen=True)
class PairBatch(Batch):
    """A row is a pair. `tokens` holds all chosen responses, then all rejected ones, and so does
    `given`; `target` is a third response to imitate, a row a pair; `ref_states` is what the reference's
    head reads of each response, Float[tokens of ours, H]."""

    given: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, Tensor] = field(default_factory=dict)  # a number a pair: p_chosen, margin
    target: Tokens | None = None
    ref_states: Sequence[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.tokens) // 2

    @property
    def responses_a_row(self) -> int:
        return 2 if self.target is None else 3

    def learned(self, rows: Tensor) -> dict[str, int]:
        return {"prompts": len(rows), "pairs": len(rows)}

    def items(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows + len(self)])

    def score(self, needs: frozenset[str], models: Models, rows: Tensor, forward: bool) -> Pairs:
        known: dict[str, Any] = self.known(self.given, rows)
        if self.ref_states is not None and forward:
            states = [self.ref_states[i] for i in self.items(rows)]
            known["ref_states"] = torch.cat(states).to(self.tokens.ids.device)
        scored = respond(self.read(rows), needs, models, forward, **known)
        labels = {name: x[rows] for name, x in self.labels.items() if name in needs}
        if "target" in needs:
            labels["target"] = respond(self.target[rows], frozenset(), models, forward)
        return Pairs(chosen=scored[: len(rows)], rejected=scored[len(rows) :], **labels)


@dataclass(frozen=True)
class LabelBatch(Batch):
    """Single responses; `mismatched` answers each prompt with a response to another,
    for losses that look at those, and `mismatched_given` is what is known of these."""

    desirable: Tensor
    weight: Tensor
    mismatched: Tokens | None
    given: Mapping[str, Tensor] = field(default_factory=dict)
    mismatched_given: Mapping[str, Tensor] = field(default_factory=dict)

    def told(self, needs: frozenset[str], models: Models, micro: int) -> "LabelBatch":
        """What the reference says of both responses to a prompt, which it reads once."""
        name, missing = "token_ref_logps", needs - self.given.keys()
        if self.mismatched is None or models.reference is None or name not in missing:
            return self

        def read(rows: Tensor) -> Tensor:
            both = self.tokens[rows] + self.mismatched[rows]
            with models.autocast():
                return reference_logps(models.reference, both, len(both)).view(2, len(rows), -1)

        cuts = torch.arange(len(self)).split(max(1, micro // 2))
        parts = list(side_by_side(read, cuts, models.computing.workers))
        own, others = torch.cat(parts, 1)
        return replace(
            self,
            given={**self.given, name: own[:, : self.tokens.width]},
            mismatched_given={name: others[:, : self.mismatched.width]},
        )

    def score(self, needs: frozenset[str], models: Models, rows: Tensor, forward: bool) -> Labels:
        extra: dict[str, Any] = {"weight": self.weight[rows]} if "weight" in needs else {}
        if "mismatched" in needs:
            extra["mismatched"] = self.others(needs, models, rows, forward)
        scored = respond(self.read(rows), needs, models, forward, **self.known(self.given, rows))
        return Labels(responses=scored, desirable=self.desirable[rows], **extra)

    def aside(self, needs: frozenset[str], models: Models, rows: Tensor) -> Labels:
        """What `score` gives, but models are called on mismatched responses alone."""
        labels = self.score(needs, models, rows, forward=False)
        return labels.replace(mismatched=self.others(needs, models, rows, forward=True))

    def others(
        self, needs: frozenset[str], models: Models, rows: Tensor, forward: bool
    ) -> Responses:
        known = self.known(self.mismatched_given, rows)
        return respond(self.mismatched[rows], needs & REFERENCE, models, forward, **known)


@dataclass(frozen=True)
class RankingBatch(Batch):
    """A row is a prompt with all of its responses, so that none is parted from the others.

    prompt: Int[R], the row that each response belongs to; `given` holds `reward`, one a response.
    """

    prompt: Tensor
    given: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.prompt.max()) + 1

    @property
    def responses_a_row(self) -> int:
        return int(self.prompt.bincount().max())

    def items(self, rows: Tensor) -> Tensor:
        return torch.isin(self.prompt, rows.to(self.prompt.device)).nonzero().squeeze(1)

    def credited(self, rows: Tensor) -> Tensor:
        return self.items(rows)

    def score(self, needs: frozenset[str], models: Models, rows: Tensor, forward: bool) -> Rankings:
        scored = respond(self.read(rows), needs, models, forward, **self.known(self.given, rows))
        return Rankings(responses=scored, prompt=self.prompt[self.items(rows)])


@dataclass(frozen=True)
class RolloutBatch(Batch):
    """Samples of the policy as it was, with what is known of them since then. The policy is what its
    model says at the temperature that they were drawn at, and so is the reference."""

    token_old_logps: Tensor
    rewards: Tensor
    prompt: Tensor
    finished: Tensor
    given: Mapping[str, Tensor] = field(default_factory=dict)  # token_ref_logps
    extra: Mapping[str, Tensor] = field(default_factory=dict)  # what else a loss may need
    old_values: Tensor | None = None
    pretrain: Tokens | None = None  # plain text, a row a response
    temperature: float = 1.0

    @property
    def responses_a_row(self) -> int:
        return 1 if self.pretrain is None else 2

    def arranged(self, rows: Tensor, models: Models) -> Tensor:
        """Where models are packed, responses to one prompt side by side."""
        return rows[self.prompt[rows].argsort(stable=True).cpu()] if models.packed else rows

    def learned(self, rows: Tensor) -> dict[str, int]:
        return {"prompts": len(self.prompt[rows].unique())}

    def cost(self, rows: Tensor, models: Models) -> int:
        more = 0 if self.pretrain is None else computed(self.pretrain[rows], models)
        return super().cost(rows, models) + more

    def score(self, needs: frozenset[str], models: Models, rows: Tensor, forward: bool) -> Rollouts:
        """Without `forward` the policy is still the one that sampled, so that nothing is missing."""
        tokens = self.read(rows)
        old = self.token_old_logps[rows]
        known = self.known(self.given, rows)
        responses = respond(tokens, needs, models, forward, self.temperature, **known)
        if not forward:
            responses = responses.replace(token_logps=old)
        extra: dict[str, Any] = {name: x[rows] for name, x in self.extra.items() if name in needs}
        if "critic" in needs:
            before = self.old_values[rows]
            now = state_values(models.critic, tokens) if forward else before
            extra["critic"] = Critic(values=now, old_values=before)
        if "pretrain" in needs:
            extra["pretrain"] = respond(self.pretrain[rows], frozenset(), models, forward)
        return Rollouts(
            responses=responses,
            token_old_logps=old,
            rewards=self.rewards[rows],
            prompt=self.prompt[rows],
            finished=self.finished[rows],
            **extra,
        )


def ragged(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    """Numbers per token, padded with zeros: Float[B, width]."""
    padded = torch.zeros(len(rows), width)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = torch.as_tensor(row)
    return padded
