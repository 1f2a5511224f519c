"""Pictures: what is drawn of a training log, and how it is asked for."""

import pandas as pd
import pytest

from bench.__main__ import main
from bench.reports.plot import compared, learned, training
from bench.run import of_arms

PNG = b"\x89PNG"
LOG = pd.DataFrame({
    "step": [1, 2, 3, 4],
    "validation/score": [None, 0.5, None, 0.6],
    "validation/gold": [None, 0.5, None, 0.6],
    "validation/kl": [None, 1.0, None, 2.0],
})  # fmt: skip
ROUNDS = LOG.assign(**{
    "arms/share/rouge": [0.75, None, 0.25, None],
    "arms/share/null": [0.25, None, 0.75, None],
    "arms/win_rate/rouge": [0.6, None, None, None],
    "arms/gap/rouge": [1.0, None, 2.0, None],
})  # fmt: skip


def test_a_log_is_drawn_with_and_without_sources():
    plain, more = training(LOG), training(ROUNDS)
    assert plain.startswith(PNG)
    assert more.startswith(PNG)
    width = [int.from_bytes(x[16:20], "big") for x in (plain, more)]
    assert width[1] == 3 * width[0]


def test_several_runs_have_a_panel_for_what_any_of_them_has():
    sampled = LOG.assign(**{"rollout/reward": [0.1, None, 0.2, None]})
    offline = compared({"dpo-1": LOG, "dpo-2": LOG})
    both = compared({"dpo-1": LOG, "ppo-1": sampled})
    assert offline.startswith(PNG)
    width = [int.from_bytes(x[16:20], "big") for x in (offline, both)]
    assert width[1] == 1.5 * width[0]  # gold and KL; and the reward


def test_what_a_critic_learned_alone_is_left_out():
    log = LOG.assign(stage=["ppo_max: critic", "ppo_max", "ppo_max", "ppo_max"])
    assert learned(log)["step"].tolist() == [2, 3, 4]
    assert learned(LOG) is LOG


def test_a_record_has_what_every_round_said_of_its_sources():
    found = of_arms(ROUNDS)
    assert {name: m.value for name, m in found.items()} == {
        "arms/share/rouge/1": 0.75,
        "arms/share/rouge/2": 0.25,
        "arms/share/null/1": 0.25,
        "arms/share/null/2": 0.75,
        "arms/win_rate/rouge/1": 0.6,
        "arms/gap/rouge/1": 1.0,
        "arms/gap/rouge/2": 2.0,
    }
    assert found["arms/share/null/1"].unit == "share"
    assert all(m.estimator for m in found.values())
    assert of_arms(LOG) == {}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFZOO_TRACEBACK", raising=False)
    (tmp_path / "runs/records").mkdir(parents=True)
    (tmp_path / "runs/records/dpo-1a2b.json").write_text("{}")
    return tmp_path


def test_a_run_is_drawn_by_its_recipe(here, capsys):
    (here / "runs/training").mkdir()
    ROUNDS.to_parquet(here / "runs/training/dpo-1a2b.parquet")
    assert main(["plot", "dpo"]) == 0
    assert capsys.readouterr().out == "runs/plots/dpo-1a2b.png\n"
    assert (here / "runs/plots/dpo-1a2b.png").read_bytes().startswith(PNG)


def test_several_runs_are_drawn_together(here, capsys):
    (here / "runs/training").mkdir()
    (here / "runs/records/ppo-9f8e.json").write_text("{}")
    for run in ("dpo-1a2b", "ppo-9f8e"):
        LOG.to_parquet(here / f"runs/training/{run}.parquet")
    assert main(["plot", "dpo", "ppo"]) == 0
    assert capsys.readouterr().out == "runs/plots/dpo-ppo.png\n"


def test_distance_is_drawn_beside_where_it_was_measured(here, capsys):
    (here / "runs/training").mkdir()
    (here / "runs/overoptimization").mkdir()
    LOG.to_parquet(here / "runs/training/dpo-1a2b.parquet")
    curve = {"kl": [0.0, 1.0], "gold": [0.5, 0.7], "gained": [0.0, 0.2], "law": [0.0, 0.2]}
    table = pd.DataFrame({"who": ["best_of_n", "training"], "proxy": [0.0, None], **curve})
    table.to_parquet(here / "runs/overoptimization/dpo-1a2b.parquet")
    assert main(["plot", "dpo"]) == 0
    picture = "runs/plots/dpo-1a2b-overoptimization.png"
    assert capsys.readouterr().out.splitlines()[1] == picture
    assert (here / picture).read_bytes().startswith(PNG)


def test_what_cannot_be_drawn_is_told(here, capsys):
    assert main(["plot"]) == 1
    assert main(["plot", "dpo"]) == 1
    usage, missing = capsys.readouterr().err.splitlines()
    assert "usage: prefzoo plot RUN" in usage
    assert "runs/training/dpo-1a2b.parquet is not there" in missing
