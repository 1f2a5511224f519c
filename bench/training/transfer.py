"""Answers that a policy would seldom give by itself: those that an imperfect reward picks for it.

Huang et al., 2025, https://arxiv.org/abs/2502.19255, Alg. 3. Code:
https://github.com/jiaweihhuang/RLHF_RewardTransfer (0991483, annotate_data/Annotation.py)

For every prompt one source of such rewards is chosen, or none, by how often their picks have won so
far (arms.py). Some of the policy's answers give way to those that the source likes best among many
more of its samples: they stand in for the source's own optimal policy, whose coverage of the best one
is what transfer is after. The true reward then says which answer is best, and so who has won.

Departures from that code: equal rewards are half a win for either side, where there the policy's own
answer won; a policy as a source is log π − log π_ref, where there it is log π, which likes short answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ..feedback.answer import Answer, answers_of
from ..stats.coverage import coverage, gap, optimum
from ..tasks.example import Example
from .arms import NULL, Arms
from .phases import Answers, Rewards, Sampler
from .timing import phase

# The price of KL at which a source's picks are measured, in deviations of a reward: of normal rewards the
# optimum is then as far from the policy, 1 / 2β² = 2 nats, as the best 4 of 32 are (log 8).
BETA = 0.5


@dataclass(frozen=True)
class Transfer:
    """Draws answers as a Sampler does, the first `replaced` to a prompt perhaps picked by a source among
    `candidates` more. Whatever is said of a phase under `rollout/` is of what came of that.

    On the first `measured` prompts of a draw, all candidates are shown to the true reward and to every
    source: told is what policy each would lead to, and how well it covers the best one. Nothing is
    learned from that.
    """

    plain: Sampler  # its rewards are the true ones
    sources: Mapping[str, Rewards]
    arms: Arms  # one a source
    candidates: int
    replaced: int
    missing_end_penalty: float
    measured: int

    @property
    def words(self) -> Any:
        return self.plain.words

    @property
    def seed(self) -> int:
        return self.plain.seed

    def examples(self, number: int, count: int) -> list[Example]:
        return self.plain.examples(number, count)

    def __call__(
        self, policy: nn.Module, examples: Sequence[Example], per_prompt: int, *noise: int
    ) -> Answers:
        if not self.sources:
            return self.plain(policy, examples, per_prompt, *noise)
        unscored = replace(self.plain, rewards=None)
        own = unscored(policy, examples, per_prompt, *noise)
        more = unscored(policy, examples, self.candidates, *noise, 2)
        drawn = own.samples + more.samples
        answers = answers_of(self.words, drawn)
        wins, pulls = dict(self.arms.wins), dict(self.arms.pulls)
        shown, rewards = [], []
        for i, x in enumerate(examples):
            entries = list(range(i * per_prompt, (i + 1) * per_prompt))
            first = len(examples) * per_prompt + i * self.candidates
            arm = self.arms.choose()
            if arm != NULL:
                pool = answers[first : first + self.candidates]
                liked = np.asarray(self.sources[arm]([x] * len(pool), pool))
                best = np.argsort(-liked, kind="stable")[: self.replaced]
                entries[: self.replaced] = (first + best).tolist()
            given, paid = self.rewarded([x] * per_prompt, [answers[j] for j in entries])
            self.arms.record(arm, won(paid[: self.replaced], paid[self.replaced :]))
            shown += entries
            rewards += given
        told = {}
        for arm, n in self.arms.pulls.items():
            tried = n - pulls[arm]
            told[f"arms/share/{arm}"] = tried / len(examples)
            if tried and arm != NULL:
                told[f"arms/win_rate/{arm}"] = (self.arms.wins[arm] - wins[arm]) / tried
        told |= self.values(examples, answers[len(own.samples.ids) :])
        return Answers(examples, drawn.take(shown), torch.tensor(rewards), told)

    def rewarded(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> tuple[list[float], np.ndarray]:
        """(true rewards, the same less the price of a missing end)."""
        with phase("reward"):
            given = list(self.plain.rewards(examples, answers))
        cut = np.array([not a.finished for a in answers])
        return given, np.array(given) - self.missing_end_penalty * cut

    def values(self, examples: Sequence[Example], candidates: Sequence[Answer]) -> dict[str, float]:
        """What policies every source and NULL lead to: Cov(π* | π) and J(π*) − J(π), means over prompts.

        A prompt's candidates stand for all that the policy says, and π for its optimum under a reward;
        rewards are in their deviations over answers to one prompt, and the gap in those of the true one.
        """
        few = min(self.measured, len(examples))
        if not few:
            return {}
        asked = [x for x in examples[:few] for _ in range(self.candidates)]
        shown = candidates[: len(asked)]
        policy = np.full(self.candidates, 1 / self.candidates)

        def led_to(rewards: Sequence[float] | np.ndarray) -> np.ndarray:
            by_prompt = np.asarray(rewards, dtype=float).reshape(few, -1)
            deviation = np.sqrt(by_prompt.var(1).mean()) or 1.0
            return optimum(policy, by_prompt / deviation, BETA)

        best = led_to(self.rewarded(asked, shown)[1])
        found = {name: led_to(rewards(asked, shown)) for name, rewards in self.sources.items()}
        told = {}
        for name, there in {**found, NULL: policy}.items():
            told[f"arms/coverage/{name}"] = float(coverage(best, there).mean())
            told[f"arms/gap/{name}"] = float(gap(there, best, BETA).mean())
        return told


def won(picked: np.ndarray, own: np.ndarray) -> float:
    """1 where the best pick of a source beats the best of the policy's own, ½ where they are equal."""
    return float(np.sign(picked.max() - own.max()) + 1) / 2
