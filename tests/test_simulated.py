"""What the board may be believed: simulated where the truth is known."""

import numpy as np
import pandas as pd
import pytest

from bench.names import config_folder
from bench.reports.estimates import Scores, overall
from bench.run import run
from bench.stats.crossed import cautious_p, crossed_mean
from bench.stats.simulated import World, study
from bench.tune import resolved

WORLDS = {
    name: World(**spreads)
    for name, spreads in resolved(["experiment=simulated_boards"], config_folder())[
        "simulated_boards"
    ]["worlds"].items()
}


def test_the_parts_of_a_difference_have_their_spread():
    world = World(seed=0.5, prompt=2.0, answer=1.0, differing=0.3)
    generator = np.random.default_rng(0)
    draws = np.stack([world.draw(generator, 1, 40, 60) for _ in range(40)])
    apart = draws[:, 1] - draws[:, 0]  # boards, seeds, prompts
    assert apart.mean((1, 2)).std() < 0.5
    rows, columns = apart.mean(2, keepdims=True), apart.mean(1, keepdims=True)
    rest = apart - rows - columns + apart.mean((1, 2), keepdims=True)
    assert rest.std() == pytest.approx(1.0, rel=0.05)
    assert columns.std(2).mean() == pytest.approx(2.0, rel=0.05)
    assert rows.std(1).mean() == pytest.approx(0.5, rel=0.1)
    # of two answers with parts at a share of 0.3 both are silent in 0.49
    values = World(0.0, 0.0, 1.0, differing=0.3).draw(generator, 1, 50, 100)
    assert (values[1] == values[0]).mean() == pytest.approx(0.49, abs=0.03)


def test_the_error_that_is_expected_is_that_of_many_boards():
    world, generator = World(0.3, 0.5, 1.0), np.random.default_rng(1)
    scores = np.stack([world.draw(generator, 1, 4, 30) for _ in range(2000)])
    means = (scores[:, 1] - scores[:, 0]).mean((1, 2))
    assert world.error(4, 30).error == pytest.approx(means.std(), rel=0.05)
    # of one seed the mean squares are those of prompts: (0.5² + 1) / 30, 29 degrees of freedom
    alone = World(0.0, 0.5, 1.0).error(1, 30)
    assert (alone.error, alone.dof) == pytest.approx((np.sqrt(1.25 / 30), 29))


def test_what_is_simulated_is_what_the_board_says():
    scores = WORLDS["seeds_and_prompts"].draw(np.random.default_rng(2), 1, 3, 20)
    ids = tuple(map(str, range(20)))
    apart = [(seed, Scores(ids, x, x.mean())) for seed, x in enumerate(scores[1] - scores[0])]
    found = overall(apart)
    mean = crossed_mean(scores[1] - scores[0])
    assert (found.low, found.high) == mean.bounds()
    assert found.p_value == cautious_p(mean, 3) > mean.p_value


@pytest.mark.parametrize("name", WORLDS)
def test_errors_are_as_often_as_promised(name):
    found = study(WORLDS[name], 3, 64, boards=150, methods=8)
    assert 0.02 < found.false < 0.08
    assert found.any_false < 0.08
    assert 0.92 < found.held < 0.985
    assert found.found == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize("name", WORLDS)
def test_of_two_seeds_too_little_is_claimed_rather_than_too_much(name):
    found = study(WORLDS[name], 2, 64, boards=150, methods=8)
    assert found.false < 0.064
    assert found.any_false < 0.064
    assert found.held > 0.935


def test_one_seed_says_nothing_of_other_seeds():
    assert study(WORLDS["seeds"], 1, 64, boards=30, methods=8).false > 0.3
    assert study(WORLDS["prompts"], 1, 64, boards=150, methods=8).false < 0.08


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [20, 256])
@pytest.mark.parametrize("name", WORLDS)
def test_a_thousand_boards_of_two_seeds(name, prompts):
    found = study(WORLDS[name], 2, prompts, boards=1000, methods=10)
    assert max(found.false, found.any_false) <= 0.064
    assert found.held >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [20, 256])
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("name", WORLDS)
def test_a_thousand_boards(name, seeds, prompts):
    found = study(WORLDS[name], seeds, prompts, boards=1000, methods=10)
    assert 0.036 <= found.false <= 0.064
    assert found.any_false <= 0.064
    assert 93.5 <= round(100 * found.held, 1) <= 96.5
    assert found.found == pytest.approx(0.8, abs=0.04)


def test_the_study_makes_a_table_and_a_picture(tmp_path, capsys):
    small = ["boards=5", "methods=2", "seeds=[1,3]", "prompts=[8]"]
    words = [f"simulated_boards.{word}" for word in small]
    places = [f"runs={tmp_path}/runs", f"store={tmp_path}/store"]
    config = resolved(["experiment=simulated_boards", *words, *places], config_folder())
    assert run(config) == []  # no record: there is no task
    table = pd.read_parquet(tmp_path / "runs/simulated_boards/simulated_boards.parquet")
    assert list(table["world"].unique()) == list(WORLDS)
    assert table.groupby(["world", "seeds"]).size().eq(1).all()
    assert (
        capsys.readouterr().out.splitlines()[0].split()[:4] == "world prompts seeds false".split()
    )
    assert (tmp_path / "runs/simulated_boards/simulated_boards.png").read_bytes()[:4] == b"\x89PNG"
