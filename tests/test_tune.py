"""Learning rates are chosen by what they do on validation, on every seed that is asked for."""

import shutil

import pytest
from omegaconf import OmegaConf

from bench import tune
from bench.names import config_folder
from bench.tune import resolved
from tests.test_stages import WORDS


@pytest.fixture
def conf(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFZOO_STORE", str(tmp_path / "store"))
    return shutil.copytree(config_folder(), tmp_path / "conf")


def test_the_winner_is_written_with_its_trials_and_read_by_later_runs(conf, capsys, monkeypatch):
    scores = {(1e-4, 1): 0.5, (1e-4, 2): 0.5, (1e-3, 1): 0.9, (1e-3, 2): float("-inf")}
    monkeypatch.setattr(tune, "trial", lambda rate, seed, words, conf: scores[rate, seed])
    assert tune.tune(["algo=kto", "task=helpdesk", "lr=1e-4,1e-3", "seeds=1,2"], conf) == 0
    path = conf / "tuned/helpdesk/tiny/kto.yaml"
    assert capsys.readouterr().out.strip() == str(path)
    told = path.read_text()
    assert "lr 0.0001: 0.5000" in told
    assert "lr 0.001: -inf" in told  # it goes too far on one of them
    command = "prefzoo tune algo=kto task=helpdesk lr=0.0001,0.001 seeds=1,2"
    assert OmegaConf.load(path).tuned == command
    config = resolved(["algo=kto", "task=helpdesk"], conf)
    assert (config["model"]["optimization"]["lr"], config["tuned"]) == (1e-4, command)


def test_a_trial_is_a_run_on_a_seed_of_its_own_and_one_that_fails_loses(conf):
    words = [*WORDS, "algo=dpo"]
    first, again, other = (tune.trial(1e-4, seed, words, conf) for seed in (7, 7, 8))
    assert first == again != other
    assert tune.trial(1e9, 7, words, conf) == float("-inf")
