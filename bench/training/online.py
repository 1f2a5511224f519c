"""What an algorithm learns from, made of the answers of a phase: so `feed=online` makes any loss online.

A policy gradient takes all answers as they are. Where answers are compared, two of each prompt's n
become a pair: the chosen ones, of the other's rewards or by the draw that `choose` is. Imitation
takes the better one, a loss of labels both, a ranking loss all n.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from algos.core import FromDemonstrations, FromLabels, FromRankings, FromRollouts
from algos.ops import k1, k3, masked

from ..models.scoring import reference_logps, state_values
from ..models.tokens import Tokens
from . import turns
from .batches import (
    Batch,
    DemonstrationBatch,
    LabelBatch,
    Models,
    PairBatch,
    RankingBatch,
    RolloutBatch,
    Row,
    ragged,
)
from .choice import Choice
from .feeds import Shuffled, encode, mismatched
from .loop import TrainingError
from .phases import Answers, Sampler, measured, opponent
from .timing import phase
from .transfer import Transfer

Phase = tuple[Batch, Mapping[str, float]]


def learned_from(algo: Any, per_prompt: int, against: float | None) -> int:
    """How many of the responses to one prompt are learned from."""
    match algo:
        case FromRollouts() | FromRankings():
            return per_prompt
        case FromDemonstrations():
            return 1
    return 2 if against is None else 2 * per_prompt


@dataclass(frozen=True)
class Online:
    """Collects a phase. `prompts` are drawn for it, with `per_prompt` answers of the policy to each, and
    as many of an opponent where `against` says who that is: π_θ^(1 − against) π_ref^against.

    P(a ≻ b) = σ((r_a − r_b) / preference_temperature), in units of reward, is what losses that ask for
    win rates are told, and what a policy gradient has for a reward where there is an opponent. Where a
    `turn_discount` is given, each turn of a dialogue earns its own reward, and costs that at its end.

    A `teacher` tells log π_teacher − log π_ref of every token; `plain` is text that some losses imitate
    besides.
    """

    algo: Any
    sampler: Sampler | Transfer
    prompts: int
    per_prompt: int
    choose: Choice
    micro: int
    device: Any
    against: float | None = None
    preference_temperature: float = 1.0
    missing_end_penalty: float = 0.0
    turn_discount: float | None = None
    teacher: nn.Module | None = None
    plain: Sequence[Row] = ()

    @property
    def needs(self) -> frozenset[str]:
        return self.algo.needs | getattr(self.algo, "credit_needs", frozenset())

    def __call__(self, number: int, models: Models) -> Phase:
        examples = self.sampler.examples(number, self.prompts)
        own = self.sampler(models.policy, examples, self.per_prompt, number)
        said = measured(own)
        own = own.paying(self.missing_end_penalty)
        other = None
        if self.against is not None:
            them = opponent(models, self.against)
            other = self.sampler.plain(them, examples, self.per_prompt, number, 1)
            other = other.paying(self.missing_end_penalty)
        match self.algo:
            case FromRollouts():
                batch, more = self.rollouts(own, other, models, number)
            case FromRankings():
                batch, more = self.rankings(own), {}
            case _:
                batch, more = self.compared(own, other, number)
        return batch, said | more

    def tokens(self, rows: Any) -> Tokens:
        return Tokens.collate(rows, self.sampler.words.pad_token_id).to(self.device)

    def preferred(self, rewards: Tensor, others: Tensor) -> Tensor:
        """P(a ≻ b)."""
        return torch.sigmoid((rewards - others) / self.preference_temperature)

    # -- all answers

    def rollouts(self, own: Answers, other: Answers | None, models: Models, number: int) -> Phase:
        tokens = self.tokens(own.samples.rows)
        old = ragged(own.samples.logps, tokens.width).to(self.device)
        temperature = self.sampler.plain.decoding.temperature
        given, more = {}, {}
        values = None
        with torch.no_grad(), phase("scoring"):
            if models.reference is not None:
                given["token_ref_logps"] = reference_logps(
                    models.reference, tokens, self.micro, temperature
                )
            if models.critic is not None:
                values = state_values(models.critic, tokens)
        if given:
            known = given["token_ref_logps"]
            ratios = masked(old - known, tokens.mask)
            more["rollout/kl"] = k1(ratios).sum(-1).mean().item()
            more["rollout/k3"] = k3(ratios).sum(-1).mean().item()
            more["rollout/reference_perplexity"] = known[tokens.mask].mean().neg().exp().item()
        rewards = own.rewards
        if other is not None:
            rewards = self.preferred(rewards, other.rewards)
            more["rollout/preferred"] = rewards.mean().item()
        extra = {}
        if "baselines" in self.needs:
            greedy = self.sampler.plain.greedy(models.policy, own.examples)
            baselines = greedy.paying(self.missing_end_penalty).rewards
            extra["baselines"] = baselines[own.owners].to(self.device)
        if self.turn_discount is not None:
            ends = turns.ends(tokens.mask.cpu())
            asked = [own.examples[i] for i in own.owners]
            with phase("reward"):
                earned = turns.earned(
                    ends, asked, own.samples, self.sampler.words, self.sampler.rewards
                )
            rewards = rewards - earned.sum(-1)
            extra["token_rewards"] = earned.to(self.device)
            discounts = torch.where(ends, self.turn_discount, 1.0)
            extra["token_discounts"] = discounts.to(self.device)
        if self.teacher is not None:
            with phase("scoring"):
                taught = reference_logps(self.teacher, tokens, self.micro, temperature)
            extra["token_rewards"] = masked(taught - given["token_ref_logps"], tokens.mask)
            more["rollout/token_rewards"] = extra["token_rewards"].sum(-1).mean().item()
        pretrain = None
        if "pretrain" in self.needs:
            deck = Shuffled(lambda _: None, len(self.plain), len(tokens), self.sampler.seed)
            pretrain = self.tokens([self.plain[i] for i in deck.rows(number)])
        batch = RolloutBatch(
            tokens,
            token_old_logps=old,
            rewards=rewards.to(self.device),
            prompt=torch.tensor(own.owners, device=self.device),
            finished=own.finished.to(self.device),
            given=given,
            extra=extra,
            old_values=values,
            pretrain=pretrain,
            temperature=temperature,
        )
        return batch, more

    def rankings(self, own: Answers) -> RankingBatch:
        return RankingBatch(
            self.tokens(own.samples.rows),
            prompt=torch.tensor(own.owners, device=self.device),
            given={"reward": own.rewards.to(self.device)},
        )

    # -- two of them

    def compared(self, own: Answers, other: Answers | None, number: int) -> Phase:
        """Answers in two columns, the better one first."""
        samples, rewards = own.samples.rows, own.rewards
        if other is None:
            generator = torch.Generator().manual_seed(self.sampler.seed * 1_000_003 + number)
            each = rewards.view(-1, self.per_prompt)
            two = self.choose(each, generator)
            two = two + self.per_prompt * torch.arange(len(each))[:, None]
        else:
            samples = samples + other.samples.rows
            two = torch.arange(len(samples)).view(2, -1).T
            rewards = torch.cat([rewards, other.rewards])
            swap = rewards[two[:, 0]] < rewards[two[:, 1]]
            two = torch.where(swap[:, None], two.flip(1), two)
        if isinstance(self.algo, FromDemonstrations):
            return DemonstrationBatch(self.tokens([samples[i] for i in two[:, 0]])), {}
        better, worse = rewards[two].unbind(1)
        two = two[better > worse]
        if not len(two):
            raise TrainingError(
                "all answers that were compared have the same reward: raise feed.per_prompt, or "
                "take another reward (feedback.reward)"
            )
        more = {"rollout/tied": 1 - len(two) / len(better)}
        if isinstance(self.algo, FromLabels):
            return self.labels(samples, two), more
        return self.pairs(own, samples, rewards, two), more

    def labels(self, samples: Any, two: Tensor) -> LabelBatch:
        """Each better answer wanted and each worse one not, side by side."""
        rows = [samples[i] for i in two.flatten()]
        return LabelBatch(
            self.tokens(rows),
            desirable=torch.arange(len(rows), device=self.device) % 2 == 0,
            weight=torch.ones(len(rows), device=self.device),
            mismatched=self.tokens(mismatched(rows)) if "mismatched" in self.needs else None,
        )

    def pairs(self, own: Answers, samples: Any, rewards: Tensor, two: Tensor) -> PairBatch:
        both = two.T.flatten()  # all chosen ones, then all rejected ones
        owners = torch.tensor(own.owners)
        said = rewards[: len(owners)].view(len(own.examples), -1)  # by the policy, to each prompt
        asked = owners[both % len(owners)]
        given = {
            "win_rate": self.preferred(rewards[both][:, None], said[asked]).mean(1),
            "by_reference": both >= len(owners),
        }
        better, worse = rewards[two].unbind(1)
        labels = {"p_chosen": torch.ones(len(two)), "margin": better - worse}
        target = None
        if "target" in self.needs:
            examples = [own.examples[i] for i in asked[: len(two)]]
            target = self.tokens(self.targets(examples, [samples[i] for i in two[:, 0]]))
        return PairBatch(
            self.tokens([samples[i] for i in both]),
            {name: x.to(self.device) for name, x in given.items()},
            {name: x.to(self.device) for name, x in labels.items()},
            target,
        )

    def targets(self, examples: Any, chosen: Any) -> list[Any]:
        """The demonstration of each prompt, else the chosen answer."""
        shown = [(x.prompt, x.demonstration or "") for x in examples]
        encoded = encode(self.sampler.words, shown)
        return [
            row if x.demonstration else instead
            for x, row, instead in zip(examples, encoded, chosen, strict=True)
        ]


@dataclass(frozen=True)
class DemonstrationsAgainstOwn:
    """Collects a phase of pairs: a demonstration, and what the policy says in its stead.

    SPIN, Chen et al., 2024, https://arxiv.org/abs/2401.01335, algorithm 1.
    """

    sampler: Sampler  # of prompts that have demonstrations; it needs no rewards
    prompts: int
    device: Any

    def __call__(self, number: int, models: Models) -> Phase:
        words, examples = self.sampler.words, self.sampler.examples(number, self.prompts)
        own = self.sampler(models.policy, examples, 1, number)
        shown = encode(words, [(x.prompt, x.demonstration) for x in examples])
        ones = torch.ones(len(examples), device=self.device)
        batch = PairBatch(
            Tokens.collate(shown + own.samples.rows, words.pad_token_id).to(self.device),
            {"win_rate": torch.cat([ones, 0 * ones])},
            {"p_chosen": ones, "margin": 0 * ones},
        )
        return batch, measured(own)
