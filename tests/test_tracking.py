"""Trackers follow a training, step by step, and change nothing of it."""

from pathlib import Path

import pytest
from accelerate.tracking import GeneralTracker

from algos import DPO
from bench.reports.board import board
from bench.stages import optimize
from bench.training import tracking
from bench.training.batches import Models
from bench.training.loop import train
from bench.training.progress import Bar
from bench.training.tracking import accelerated, tracked
from tests import tiny
from tests.test_loop import OPTIMIZATION, pairs
from tests.test_records import record
from tests.test_stages import cell


class Listening(GeneralTracker):
    """Keeps what it is told."""

    name = "listening"
    requires_logging_directory = False

    def __init__(self):
        super().__init__()
        self.told, self.finished = [], False

    tracker = None

    def start(self):
        self.told.clear()

    def store_init_configuration(self, values):
        raise AssertionError("settings go to the trackers that have a place for them")

    def log(self, values, step=None, **how):
        self.told.append((step, dict(values)))

    def finish(self):
        self.finished = True


def test_what_is_logged_is_told_and_the_tracker_is_closed(tmp_path):
    heard = Listening()
    accelerator = accelerated([], tmp_path)
    accelerator.log_with = [heard]
    models = Models(policy=tiny.llama(1), reference=tiny.llama(2))
    with tracked(accelerator, "dpo-1", {}):
        run = train(
            DPO(), pairs(0), models, OPTIMIZATION, updates=3, seed=0, micro=8,
            accelerator=accelerator, checkpoints=tmp_path, bar=Bar(), stage="dpo",
        )  # fmt: skip
    assert heard.told == [(row["step"], row) for row in run.log]
    assert [step for step, _ in heard.told] == [1, 2, 3]
    assert heard.finished
    accelerator.log({"loss": 0.0}, step=9)
    assert len(heard.told) == 3


def test_a_training_that_fails_closes_its_tracker(tmp_path):
    heard = Listening()
    accelerator = accelerated([], tmp_path)
    accelerator.log_with = [heard]
    with pytest.raises(ZeroDivisionError), tracked(accelerator, "dpo-1", {}):
        accelerator.log({"loss": 1 / 0})
    assert heard.finished


@pytest.mark.parametrize("name", ["tensorboard", "tensorbord"])
def test_a_tracker_that_is_not_there_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["mlflow"])
    with pytest.raises(
        LookupError, match=rf"trackers=\[{name}\] is not installed here \(mlflow is\)"
    ):
        accelerated([name], tmp_path)


def test_a_tracked_policy_is_the_same_artifact(tmp_path):
    tracked_too = cell(tmp_path, "trackers=[tensorboard]")
    assert tracked_too.key(optimize) == cell(tmp_path).key(optimize)


def test_a_tracked_run_is_in_the_row_of_the_others():
    end = {"gold": 1.0}
    runs = [record(seed=0, end=end), record(seed=1, end=end, config={"trackers": ["wandb"]})]
    (table,) = board(runs).tables
    assert [row.seeds for row in table.rows] == [(0, 1)]


@pytest.mark.slow
def test_tensorboard_has_the_curve_of_a_cell(tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard"
    )
    trained = cell(tmp_path / "store", "trackers=[tensorboard]", f"runs={tmp_path}")
    trained.make(optimize)
    (folder,) = tmp_path.glob("trackers/ppo-*/prefzoo")
    assert trained.key(optimize).endswith(folder.parent.name.removeprefix("ppo-"))
    found = events.EventAccumulator(str(folder))
    found.Reload()
    assert [x.step for x in found.Scalars("loss")] == [1, 2]
    assert {"validation/gold", "rollout/reward"} <= set(found.Tags()["scalars"])


@pytest.mark.slow
def test_wandb_keeps_a_run_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="no wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    accelerator = accelerated(["wandb"], tmp_path / "dpo-1")
    with tracked(accelerator, "dpo-1", {"beta": 0.1}):
        run = accelerator.get_tracker("wandb", unwrap=True)
        assert run.name == "dpo-1"
        assert run.config["beta"] == 0.1
        for step in (1, 2):
            accelerator.log({"loss": 1 / step}, step=step)
        files = Path(run.dir).parent
    assert files.is_relative_to(tmp_path / "dpo-1" / "wandb")
    (kept,) = (path.read_bytes() for path in files.glob("run-*.wandb"))
    assert all(word in kept for word in (b"loss", b"1.0", b"0.5"))
