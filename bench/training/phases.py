"""A feed of phases: answers are drawn and scored, and minibatches use them up before the next are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..feedback.answer import Answer, answers_of
from ..models.proxy import ProxyTuned
from ..models.sampling import Decoding, Samples, draw
from ..tasks.example import Example
from .batches import Batch, Models
from .feeds import Shuffled
from .loop import Remembers, Turn
from .timing import phase

Reply = Callable[[int, str], str | None]  # to a response so far to the prompt of a number
Rewards = Callable[[Sequence[Example], Sequence[Answer]], Sequence[float]]


@dataclass(frozen=True)
class Phases:
    """`collect` makes the batch of a phase, of which each of `epochs` passes takes every row once, in
    so many `parts`; parts are of one size where they can be."""

    collect: Callable[[int, Models], tuple[Batch, Mapping[str, float]]]
    parts: int
    epochs: int
    seed: int
    memory: Remembers | None = None  # what `collect` keeps from one phase to the next
    first: int = 0  # the number of the phase that comes first
    _current: list[Any] = field(default_factory=list, repr=False)  # the batch of this phase

    @property
    def updates_a_phase(self) -> int:
        return self.epochs * self.parts

    def __call__(self, update: int, models: Models) -> Turn:
        number, turn = divmod(update, self.updates_a_phase)
        number += self.first
        if turn == 0:
            self._current[:] = self.collect(number, models)
        batch, measured = self._current
        epoch, part = divmod(turn, self.parts)
        order = np.random.default_rng([self.seed, number, epoch]).permutation(len(batch))
        rows = np.array_split(np.resize(order, max(len(order), self.parts)), self.parts)[part]
        last = turn + 1 == self.updates_a_phase
        return Turn(batch, torch.as_tensor(rows), last, measured if turn == 0 else None)

    def state_dict(self) -> dict[str, Any]:
        return self.memory.state_dict() if self.memory else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.memory.load_state_dict(state)


def after(feed: Phases, updates: int) -> Phases:
    """Without the phases that so many updates begin."""
    return replace(feed, first=feed.first + -(-updates // feed.updates_a_phase))


def cut(phase: int, size: int, learned: int) -> tuple[int, int]:
    """(minibatches, prompts) of a phase of so many responses, `size` an update, `learned` a prompt."""
    if phase % size or phase % learned:
        raise ValueError(
            f"feed.rollouts={phase} must be a multiple of budget.responses={size} and of the {learned} "
            "responses to each prompt that are learned from (feed.per_prompt)"
        )
    return phase // size, phase // learned


@dataclass(frozen=True)
class Answers:
    """What was said to P prompts, n answers to each side by side. rewards: Float[P · n], None where
    nobody gave any."""

    examples: Sequence[Example]
    samples: Samples
    rewards: Tensor | None = None
    told: Mapping[str, float] = field(default_factory=dict)  # how they came about, for the log

    @property
    def owners(self) -> list[int]:
        """Which prompt each answers."""
        each = len(self.samples.ids) // len(self.examples)
        return [i for i in range(len(self.examples)) for _ in range(each)]

    @property
    def finished(self) -> Tensor:
        """Bool[P · n], whether each came to its end before the length limit."""
        return torch.tensor(self.samples.finished)

    def paying(self, penalty: float) -> "Answers":
        """Less so much for each answer that the length limit cut."""
        return replace(self, rewards=self.rewards - penalty * (~self.finished).float())


@dataclass(frozen=True)
class Sampler:
    """Draws answers to prompts, each of which comes once before any comes again, and has them scored."""

    words: Any  # the tokenizer
    prompts: Sequence[Example]
    decoding: Decoding
    seed: int
    rewards: Rewards | None = None
    replies: Callable[[Sequence[Example]], Reply | None] = lambda examples: None  # nobody's

    @property
    def plain(self) -> "Sampler":
        """Itself; behind a sampler that helps the policy, the one that helps nobody."""
        return self

    def examples(self, number: int, count: int) -> list[Example]:
        """Those of a phase."""
        deck = Shuffled(lambda _: None, len(self.prompts), count, self.seed)
        return [self.prompts[i] for i in deck.rows(number)]

    def __call__(
        self, policy: nn.Module, examples: Sequence[Example], per_prompt: int, *noise: int
    ) -> Answers:
        """`noise` tells one draw of this sampler from another."""
        noise_seed = int(np.random.SeedSequence([self.seed, *noise]).generate_state(1)[0])
        prompts = [x.prompt for x in examples]
        with phase("rollout"):
            drawn = draw(
                policy,
                self.words,
                prompts,
                self.decoding,
                noise_seed,
                per_prompt=per_prompt,
                reply=self.replies(examples),
            )
        return self.scored(Answers(examples, drawn))

    def greedy(self, policy: nn.Module, examples: Sequence[Example]) -> Answers:
        """The answer that a policy finds likeliest, token by token."""
        decoding = replace(self.decoding, temperature=0.0)
        prompts, reply = [x.prompt for x in examples], self.replies(examples)
        with phase("rollout"):
            drawn = draw(policy, self.words, prompts, decoding, self.seed, reply=reply)
        return self.scored(Answers(examples, drawn))

    def scored(self, answers: Answers) -> Answers:
        if self.rewards is None:
            return answers
        asked = [answers.examples[i] for i in answers.owners]
        with phase("reward"):
            given = self.rewards(asked, answers_of(self.words, answers.samples))
        return replace(answers, rewards=torch.tensor(given, dtype=torch.float32))


def opponent(models: Models, weight: float) -> nn.Module:
    """π ∝ π_θ^(1 − weight) π_ref^weight, token by token: at 1 the reference, at 0 the policy."""
    if weight == 1:
        return models.reference
    return ProxyTuned(models.policy, models.reference, models.policy, weight)


def measured(answers: Answers) -> dict[str, float]:
    """What a phase says of its answers, before any price for a missing end."""
    own = answers.samples.own_logps
    lengths = torch.tensor([len(row) for row in own]).float()
    logps = torch.tensor([x for row in own for x in row])
    found = {
        "rollout/length": lengths.mean().item(),
        "rollout/length_p95": lengths.quantile(0.95).item(),
        "rollout/end_rate": answers.finished.float().mean().item(),
        "rollout/entropy": -logps.mean().item(),  # nats a token, of the samples
    }
    if answers.rewards is not None:
        found["rollout/reward"] = answers.rewards.mean().item()
        found["rollout/reward_std"] = answers.rewards.std(correction=0).item()
    return found | answers.told
