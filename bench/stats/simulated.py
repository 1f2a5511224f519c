"""Boards whose truth is known: how often what is said of methods against SFT is wrong, and how often a
difference that is there is found.

On a board every method and the SFT model answer the same prompts with the same seeds, and a method
differs from SFT by a part that a seed has on all prompts, one that a prompt has on all seeds, and one of
each answer. All have mean 0, so that no method is better; SFT's own parts are in every difference.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from .bootstrap import FLIPS, sign_flip
from .crossed import FEW, LEVEL, Mean, adjusted, cautious_p, crossed_mean, detectable

POWER = 0.8  # with which the planted difference is found, as computed


@dataclass(frozen=True)
class World:
    """Standard deviations of the parts of a difference to SFT.

    `differing` is the share of answers that differ at all: their part is then Laplace, not normal.
    """

    seed: float
    prompt: float
    answer: float
    differing: float = 1.0

    def error(self, seeds: int, prompts: int) -> Mean:
        """Of a difference, by the mean squares that are expected."""
        of_seeds = (prompts * self.seed**2 + self.answer**2) * (seeds > 1)
        of_prompts = seeds * self.prompt**2 + self.answer**2 * (seeds <= FEW)
        total = of_seeds + of_prompts
        dof = total / (of_seeds / max(seeds - 1, 1) + of_prompts / (prompts - 1))
        return Mean(0.0, np.sqrt(total / (seeds * prompts)), dof)

    def draw(
        self, generator: np.random.Generator, methods: int, seeds: int, prompts: int
    ) -> NDArray[np.float64]:
        """What the methods and, first, SFT reach, less what the prompts give to all: [M + 1, S, P]."""
        size = (methods + 1, seeds, prompts)
        noise = generator.normal(size=size)
        if self.differing < 1:
            noise = generator.laplace(scale=np.sqrt(0.5 / self.differing), size=size)
            noise *= generator.random(size) < self.differing
        of_seeds = generator.normal(size=(*size[:2], 1))
        of_prompts = generator.normal(size=(size[0], 1, prompts))
        parts = self.seed * of_seeds + self.prompt * of_prompts + self.answer * noise
        return parts / np.sqrt(2)


@dataclass(frozen=True)
class Found:
    """Shares: of methods, and in `any_false` of boards."""

    false: float  # called better or worse, each by itself
    any_false: float  # a board has a method that is called so after the correction
    held: float  # intervals of methods' own means that hold the truth; prompts differ by 1, too
    planted: float  # the difference that is found with power POWER, as computed
    found: float  # methods with that difference whose interval is above 0


def study(
    world: World, seeds: int, prompts: int, *, boards: int, methods: int, seed: int = 0
) -> Found:
    """The shares over some boards; the tests are those of bench/reports/estimates.py."""
    generator = np.random.default_rng([seed, seeds, prompts])
    truth = world.error(seeds, prompts)
    planted = detectable(float(truth.error), float(truth.dof), POWER)
    false, any_false, held, found = np.zeros((4, boards))
    for board in range(boards):
        scores = world.draw(generator, methods, seeds, prompts)
        apart = crossed_mean(scores[1:] - scores[0])
        if seeds > 1:
            each, corrected = apart.p_value, cautious_p(apart, seeds)
        else:
            each = corrected = sign_flip((scores[1:, 0] - scores[0, 0]).T, FLIPS, seed=0)
        false[board] = (each <= 1 - LEVEL).mean()
        any_false[board] = (adjusted(corrected) <= 1 - LEVEL).any()
        found[board] = (apart.bounds()[0] + planted > 0).mean()
        own = crossed_mean(scores[1:] + generator.normal(size=(methods, 1, prompts)))
        held[board] = (np.abs(own.value) <= stdtrit(own.dof, (1 + LEVEL) / 2) * own.error).mean()
    return Found(false.mean(), any_false.mean(), held.mean(), planted, found.mean())
