"""A simulated AI judge: it sees quality through noise, likes length, and likes what it reads first.

Lee et al., 2023, https://arxiv.org/abs/2309.00267, section 2.1: the judge says how probable it
finds "the first is better", is asked in both orders, and the two answers are averaged. What a
language model's judgement would be is drawn here from stated faults:

    P(first better) = σ((q_1 − q_2 + e_1 − e_2) / temperature + length_bias (n_1 − n_2) + position_bias)

with q the quality, e ~ N(0, noise²) drawn once an answer, and n its length in words.

Asked for a score of one answer (d-RLAIF, section 2), it gives i = 1 ... 10 with

    P(i) ∝ exp(−(x − (i − 1) / 9)² / (2 temperature²)),  x = q + e + temperature · length_bias · n

so that the worst score stands for quality 0 (an empty answer) and the best for 1 (a reference): an
answer beyond either end gets almost that score. Here e is drawn from a hash of (prompt, answer): the
same answer is always seen alike. There is one place, and so no liking for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics.win_rate import both_orders
from .chance import chance
from .labeller import SCORES, expected_score


@dataclass(frozen=True)
class SimulatedJudge:
    """noise and temperature in units of quality, biases in log-odds (length: per word)."""

    noise: float = 0.3
    temperature: float = 0.25
    length_bias: float = 0.05
    position_bias: float = 0.5
    seed: int = 1

    def preferences(
        self,
        quality_a: Sequence[float],
        quality_b: Sequence[float],
        words_a: Sequence[int],
        words_b: Sequence[int],
    ) -> list[float]:
        """P(a ≻ b) for each of n pairs, both orders averaged."""
        rng = np.random.default_rng(self.seed)
        seen_a = np.asarray(quality_a) + self.noise * rng.standard_normal(len(quality_a))
        seen_b = np.asarray(quality_b) + self.noise * rng.standard_normal(len(quality_b))
        return [
            both_orders(self.prefers_first, a, b)
            for a, b in zip(
                zip(seen_a, words_a, strict=True), zip(seen_b, words_b, strict=True), strict=True
            )
        ]

    def prefers_first(self, first: tuple[float, int], second: tuple[float, int]) -> float:
        """What it says of one pair in one order; an answer is (quality as seen, words)."""
        odds = (first[0] - second[0]) / self.temperature
        odds += self.length_bias * (first[1] - second[1]) + self.position_bias
        return float(0.5 * (1 + np.tanh(odds / 2)))

    def scores(
        self, quality: Sequence[float], words: Sequence[int], shown: Sequence[str]
    ) -> list[float]:
        """Σ i P(i), mapped to [−1, 1]; `shown` is the text that it reads, prompt and answer."""
        blur = np.array([chance(self.seed, text).standard_normal() for text in shown])
        seen = np.asarray(quality) + self.noise * blur
        seen = seen + self.temperature * self.length_bias * np.asarray(words)
        away = seen[:, None] - np.linspace(0, 1, len(SCORES))
        return expected_score(-(away**2) / (2 * self.temperature**2)).tolist()
