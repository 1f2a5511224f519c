"""Coverage and what a policy lacks: by hand, and Lemma 3.1 on random instances and where it is tight."""

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.names import config_folder
from bench.run import run
from bench.stages import coverage as coverage_stage
from bench.stages.cell import Cell
from bench.stats.coverage import coverage, coverage_bound, gap, kappa, optimum, value
from bench.store import Store
from bench.training.progress import Display
from bench.tune import resolved

REFERENCE = np.array([0.4, 0.3, 0.2, 0.1])
REWARD = np.array([0.0, 0.5, 1.0, 2.0])


def test_coverage_by_hand():
    # ½ · ½/¼ + ½ · ½/¾ = 1 + 1/3, and the other way ¼ · ¼/½ + ¾ · ¾/½ = 5/4
    even, odd = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    assert coverage(even, odd) == pytest.approx(4 / 3)
    assert coverage(odd, even) == pytest.approx(5 / 4)
    assert coverage(odd, odd) == pytest.approx(1)
    assert coverage(np.array([1.0, 0.0]), odd) == pytest.approx(4)  # a policy need not do all
    assert coverage(np.stack([even, odd]), odd) == pytest.approx([4 / 3, 1])


def test_the_optimum_and_what_a_policy_lacks():
    """ALGORITHMS of the bandit: J* = β log Z, and J* − J(π) = β KL(π ‖ π*)."""
    best = optimum(REFERENCE, REWARD, 0.5)
    assert best == pytest.approx([0.049061, 0.100021, 0.181257, 0.669660], abs=1e-6)
    assert value(best, REFERENCE, REWARD, 0.5) == pytest.approx(1.0491998, abs=1e-6)
    uniform = np.full(4, 0.25)
    lacking = value(best, REFERENCE, REWARD, 0.5) - value(uniform, REFERENCE, REWARD, 0.5)
    assert gap(uniform, best, 0.5) == pytest.approx(lacking)
    assert lacking == pytest.approx(0.2350884, abs=1e-6)


def test_kappa_by_hand():
    # z = e²: (e² − 1)² / (e² − 3); it grows like z
    assert kappa(np.exp(2)) == pytest.approx((np.e**2 - 1) ** 2 / (np.e**2 - 3))
    assert kappa(1e9) == pytest.approx(1e9, rel=1e-6)
    assert kappa(1.001) == pytest.approx(2, rel=1e-2)


def adversary(rare: float, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """(π*, π): what the reference hardly ever does is worth 1, and the other reward pays all else."""
    reference = np.array([rare, 1 - rare])
    best, worst = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    return optimum(reference, best, beta), optimum(reference, worst, beta)


@pytest.mark.parametrize("beta", [0.1, 0.3, 1.0, 3.0])
def test_the_bound_holds_for_mixtures_of_optima(beta):
    rng = np.random.default_rng(0)
    for _ in range(300):
        actions, parts = rng.integers(2, 8), rng.integers(1, 4)
        reference = rng.dirichlet(np.full(actions, 0.5)) + 1e-12
        reference /= reference.sum()
        rewards = rng.uniform(0, 1, (parts + 1, actions)).round(rng.integers(0, 3))
        best, *others = optimum(reference, rewards, beta)
        policy = rng.dirichlet(np.ones(parts)) @ np.stack(others)
        bound = coverage_bound(gap(policy, best, beta), 1.0, beta)
        assert coverage(best, policy) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("beta", [0.1, 0.3, 1.0])
def test_the_bound_is_tight(beta):
    best, policy = adversary(1e-8, beta)
    lacking = gap(policy, best, beta)
    used = (coverage(best, policy) - 1) / (coverage_bound(lacking, 1.0, beta) - 1)
    assert 0.999 < used <= 1
    # ... so that rewards that are said to spread less than they do break it
    assert coverage(best, policy) > coverage_bound(lacking, 0.9, beta)


def test_without_a_price_on_kl_a_small_gap_says_nothing_of_coverage():
    """Of two actions that are almost equally good a policy may leave out the better one."""
    best, policy = np.array([1.0, 1e-300]), np.array([1e-300, 1.0])
    reward = np.array([1.0, 0.999])
    assert (best - policy) @ reward < 0.0011
    assert coverage(best, policy) > 1e200


# -- experiment=coverage


def study(root, *words: str) -> Cell:
    small = ["coverage.instances=40", "coverage.betas=[0.1,1.0]", f"runs={root}/runs"]
    config = resolved(["experiment=coverage", *small, *words], config_folder())
    return Cell(config, Store(root / "store"), Display(Console(quiet=True)))


def test_the_study_stays_below_the_bound_and_comes_close(tmp_path, capsys):
    cell = study(tmp_path)
    assert run(cell.config) == []  # no record: there is no task
    table = pd.read_parquet(tmp_path / "runs/coverage/coverage.parquet")
    assert table["beta"].value_counts().to_dict() == {0.1: 40, 1.0: 40}
    assert (table["coverage"] <= table["bound"] * (1 + 1e-9)).all()
    assert table.groupby("beta")["used"].max().min() > 0.99
    assert (table.groupby("beta")["used"].median() < 0.9).all()
    again = 1 + kappa(np.exp(2 / table["beta"])) * table["gap"] / table["beta"]
    assert table["bound"].to_numpy() == pytest.approx(again.to_numpy())
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "beta"
    assert [line.split()[1] + line.split()[-1] for line in lines[:2]] == ["400", "400"]
    picture = (tmp_path / "runs/coverage/coverage.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_the_study_is_drawn_from_its_seed(tmp_path):
    keys = {study(tmp_path, *words).key(coverage_stage) for words in ([], ["seed=1"])}
    assert len(keys) == 2
    first, same, other = (
        pd.read_parquet(study(tmp_path / name, *words).make(coverage_stage) / "coverage.parquet")
        for name, words in (("a", []), ("b", []), ("c", ["seed=1"]))
    )
    assert first.equals(same)
    assert not first.equals(other)
