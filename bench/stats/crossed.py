"""Means over seeds and prompts where every seed answers every prompt, and what they can tell.

Both seeds and prompts stand for all others, so that both widen an interval. Of x, Float[S, P], with
row means x̄_s, column means x̄_p and mean x̄,

    M_s = P Σ (x̄_s − x̄)² / (S − 1),   M_p = S Σ (x̄_p − x̄)² / (P − 1),
    M_e = Σ (x_sp − x̄_s − x̄_p + x̄)² / (S − 1)(P − 1),   E = max(0, M_p − M_e),
    Var x̄ = (M_s + E) / SP,
    1/ν = (M_s / (S − 1) + E / (P − 1)) / (M_s + E),

and (x̄ − μ) / √Var x̄ is held against Student's t on ν degrees of freedom; of one seed M_p is all there
is, of one prompt M_s.

The variance is that of readers and cases in Hillis, Statistics in Medicine 26, 2007
(https://doi.org/10.1002/sim.2532; formula from memory). His ν, (S − 1)(M_s + E)² / M_s², has squares
where ours weighs reciprocals: it holds 92 % at three seeds where seeds and prompts both matter.

Of two seeds M_s is the square of one difference, which is often near 0 by chance, and no ν mends that: 5
to 9 % of methods were called different that were not. M_s is expected to be at least M_e, so that
max(M_s, M_e) stands for it, and E = M_p: at most 5 % are, and intervals hold 94 to 100 %. The power that
is computed is then up to 0.15 too high where seeds do not matter.
`python -m bench experiment=simulated_boards` measures ours, and the power that is computed from it.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtr, nctdtrinc, stdtr, stdtrit

FEW = 2  # seeds whose one difference may be small by chance
LEVEL = 0.95  # of intervals; a claim is one whose interval leaves out 0


@dataclass(frozen=True)
class Mean:
    """A mean, its standard error and degrees of freedom, each Float[...]."""

    value: NDArray[np.float64]
    error: NDArray[np.float64]
    dof: NDArray[np.float64]

    def bounds(self, level: float = LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        half = stdtrit(self.dof, (1 + level) / 2) * self.error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> NDArray[np.float64]:
        """Two-sided, of the hypothesis that the mean is 0; 1 where all values are 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(self.value) / self.error
        return np.where(np.isnan(t), 1.0, 2 * stdtr(self.dof, -t))


def cautious_p(mean: Mean, seeds: int) -> NDArray[np.float64]:
    """The p-value for a correction over many means, which reads far tails: on S − 1 degrees of freedom.

    Those of ν are too small there while seeds are few: of ten methods corrected together one was called
    different on 5 to 14 % of boards of three seeds; by this one on at most 3 %.
    """
    return replace(mean, dof=np.full_like(mean.dof, seeds - 1)).p_value


def adjusted(p_values: ArrayLike) -> NDArray[np.float64]:
    """P-values corrected for how many they are: min over j ≥ i of m p_(j) / j, in order of size.

    Benjamini & Hochberg, J. R. Statist. Soc. B 57, 1995. As scipy.stats.false_discovery_control, whose
    module takes longer to import than a board takes to make.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)[::-1]
    rank = np.arange(len(order), 0, -1)
    found = np.empty_like(p_values)
    found[order] = np.minimum.accumulate(np.minimum(p_values[order] * len(order) / rank, 1))
    return found


def crossed_mean(values: NDArray[np.float64]) -> Mean:
    """The mean of Float[..., S, P]; LookupError of a single value, which tells no error."""
    *_, seeds, prompts = values.shape
    if seeds * prompts < 2:
        raise LookupError("one value has no standard error")
    mean = values.mean((-2, -1))
    rows = values.mean(-1) - mean[..., None]
    columns = values.mean(-2) - mean[..., None]
    of_seeds = of_prompts = np.zeros_like(mean)
    if seeds > 1:
        of_seeds = prompts * (rows**2).sum(-1) / (seeds - 1)
    if prompts > 1:
        of_prompts = seeds * (columns**2).sum(-1) / (prompts - 1)
    if seeds > 1 and prompts > 1:
        rest = values - mean[..., None, None] - rows[..., None] - columns[..., None, :]
        noise = (rest**2).sum((-2, -1)) / ((seeds - 1) * (prompts - 1))
        if seeds > FEW:
            of_prompts = np.maximum(of_prompts - noise, 0)
        else:
            of_seeds = np.maximum(of_seeds, noise)
    total = of_seeds + of_prompts
    weighed = of_seeds / max(seeds - 1, 1) + of_prompts / max(prompts - 1, 1)
    dof = np.divide(total, weighed, out=np.full_like(total, np.inf), where=weighed > 0)
    return Mean(mean, np.sqrt(total / (seeds * prompts)), dof)


def power(difference: float, error: float, dof: float, level: float = LEVEL) -> float:
    """How often a mean that is truly `difference` has an interval which leaves out 0 on its side."""
    return float(1 - nctdtr(dof, abs(difference) / error, stdtrit(dof, (1 + level) / 2)))


def detectable(error: float, dof: float, power_wanted: float = 0.8, level: float = LEVEL) -> float:
    """The least difference that is found with that power, in the unit of the error."""
    return float(nctdtrinc(dof, 1 - power_wanted, stdtrit(dof, (1 + level) / 2))) * error
