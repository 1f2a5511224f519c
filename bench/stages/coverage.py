"""Stage: how much of Lemma 3.1 random bandits use, where every probability is known.

Huang et al., 2025, https://arxiv.org/abs/2502.19255: a policy that lacks little of the best value
covers the best policy well (bench/stats/coverage.py). An instance has a reference, the true reward
and a mixture of up to `mixed` policies that are the optima of other rewards; all rewards lie in
[0, 1]. In a quarter of them the one other reward is the opposite of the true one, which is all or
nothing and pays for what the reference hardly ever does: the worst that there is.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..stats.coverage import coverage, coverage_bound, gap, optimum

if TYPE_CHECKING:
    from pandas import DataFrame

    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell") -> dict[str, Any]:
    return {**cell.config["coverage"], "seed": cell.config["seed"]}


def instance(
    rng: np.random.Generator, beta: float, actions: int, mixed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(π*, π), Float[A] each, A of 2 to `actions`."""
    count = int(rng.integers(2, actions + 1))
    if rng.random() < 0.25:
        rare = 10 ** rng.uniform(-9, -1)
        reference = np.append(np.full(count - 1, (1 - rare) / (count - 1)), rare)
        reward = np.eye(count)[-1]
        return optimum(reference, reward, beta), optimum(reference, 1 - reward, beta)
    reference = rng.dirichlet(np.full(count, 0.5)) + 1e-12
    best, *others = optimum(
        reference, rng.uniform(0, 1, (1 + rng.integers(1, mixed + 1), count)), beta
    )
    return best, rng.dirichlet(np.ones(len(others))) @ np.stack(others)


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """columns: beta, gap (J(π*) − J(π)), coverage, bound, used (coverage − 1 over bound − 1)."""
    import pandas as pd

    from ..reports.plot import lemma

    spec = inputs(cell)
    rows = []
    with cell.display.stage("coverage", len(spec["betas"])) as bar:
        for beta in spec["betas"]:
            rng = np.random.default_rng([spec["seed"], 29])
            for _ in range(spec["instances"]):
                best, policy = instance(rng, beta, spec["actions"], spec["mixed"])
                lacking = gap(policy, best, beta)
                rows.append((
                    beta, lacking, coverage(best, policy), coverage_bound(lacking, 1.0, beta)
                ))  # fmt: skip
            bar.advance()
    table = pd.DataFrame(rows, columns=["beta", "gap", "coverage", "bound"])
    table["used"] = (table["coverage"] - 1) / (table["bound"] - 1)
    table.to_parquet(folder / "coverage.parquet")
    (folder / "coverage.png").write_bytes(lemma(table))
    return {"lines": summary(table).splitlines()}


def summary(table: "DataFrame") -> str:
    """What the instances come to, a line a β; `broken` counts those above the bound."""
    rounding = 1 + 1e-9
    table = table.assign(broken=table["coverage"] > rounding * table["bound"])
    found = table.groupby("beta").agg(
        instances=("gap", "size"),
        gap_median=("gap", "median"),
        coverage_median=("coverage", "median"),
        coverage_most=("coverage", "max"),
        used_median=("used", "median"),
        used_most=("used", "max"),
        broken=("broken", "sum"),
    )
    return found.reset_index().to_string(index=False, float_format="{:.5g}".format)
