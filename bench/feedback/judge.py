"""A simulated AI judge: it sees quality through noise, likes length, and likes what it reads first.

Lee et al., 2023, https://arxiv.org/abs/2309.00267, section 2.1: the judge says how probable it
finds "the first is better", is asked in both orders, and the two answers are averaged. What a
language model's judgement would be is drawn here from stated faults:

    P(first better) = σ((q_1 − q_2 + e_1 − e_2) / temperature + length_bias (n_1 − n_2) + position_bias)

with q the quality, e ~ N(0, noise²) drawn once an answer, and n its length in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics.win_rate import both_orders


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
