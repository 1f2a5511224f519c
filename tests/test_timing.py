"""Where time goes: all of it to one phase or another, and nothing twice."""

import time
from contextlib import suppress

import pytest

from bench.training import timing
from bench.training.timing import ELSEWHERE, OTHER, Spent, phase, watched
from tests.test_loop import CASES, liking, run


@pytest.fixture
def clock(monkeypatch):
    """Seconds, moved by hand."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


def test_a_phase_within_another_takes_its_time_from_it(clock):
    with watched() as spent:
        clock(1)
        with phase("data"):
            clock(2)
            with phase("rollout"):
                clock(4)
            clock(8)
        with phase("rollout"):
            clock(16)
    assert spent.seconds == {OTHER: 1, "data": 10, "rollout": 20}


def test_time_is_charged_though_a_phase_ends_in_an_error(clock):
    with watched() as spent, suppress(KeyError), phase("data"):
        clock(3)
        raise KeyError
    assert spent.seconds == {OTHER: 0, "data": 3}


def test_another_stage_within_is_elsewhere_and_has_a_watch_of_its_own(clock):
    with watched() as outer:
        clock(1)
        with phase(ELSEWHERE), watched() as inner, phase("data"):
            clock(5)
    assert inner.seconds["data"] == 5
    assert outer.fields["seconds"] == {OTHER: 1}


def test_where_nobody_watches_a_phase_says_nothing(clock):
    with phase("data"):
        clock(1)
    with watched() as spent:
        pass
    assert spent.seconds == {OTHER: 0}


def test_memory_is_the_most_where_a_phase_went_beyond_it_else_what_is_taken(monkeypatch):
    told = iter([(10, 50), (12, 50), (40, 90), (20, 90), (21, 90)])
    monkeypatch.setattr(timing, "memory", lambda: next(told))
    with watched() as spent:  # (10, 50)
        with phase("data"):  # 12 before it
            pass  # 40 at its end, and 90 in between
        with phase("scoring"):  # 20 before it
            pass  # 21 at its end
        told = iter([(15, 90)])
    assert spent.memory_mb == {OTHER: 20, "data": 90, "scoring": 21}


def test_work_that_goes_on_is_added():
    spent = Spent(seconds={"data": 1.0}, memory_mb={"data": 5.0})
    spent.add({"seconds": {"data": 2.0, "reward": 3.0}, "memory_mb": {"data": 4.0, "reward": 6.0}})
    assert spent.seconds == {"data": 3.0, "reward": 3.0}
    assert spent.memory_mb == {"data": 5.0, "reward": 6.0}


def test_what_took_most_is_told_first():
    spent = Spent(seconds={"scoring": 2.0, "backward": 7.0, "data": 0.4, OTHER: 0.6})
    assert str(spent) == "backward 70%, scoring 20%, other 6%"
    assert str(Spent()) == ""


OFFLINE = {"data", "scoring", "backward", "optimizer", "evaluation", OTHER}


@pytest.mark.parametrize(
    ("name", "phases"), [("dpo", OFFLINE), ("ppo", OFFLINE | {"rollout", "reward"})]
)
def test_training_is_made_of_its_phases(name, phases, tmp_path):
    algo, feed = CASES[name]
    _, found = run(algo, feed(0), tmp_path, validate=liking)
    spent = found.spent
    assert spent["seconds"].keys() == spent["memory_mb"].keys() == phases
    assert min(spent["seconds"].values()) >= 0
    total = sum(spent["seconds"].values())
    assert total == pytest.approx(found.log[-1]["seconds"], rel=0.1, abs=0.02)
    assert min(spent["memory_mb"].values()) > 50  # torch alone takes more


def test_a_run_that_goes_on_counts_what_it_took_before(tmp_path):
    algo, feed = CASES["dpo"]
    _, first = run(algo, feed(0), tmp_path, checkpoint_every=-1.0)
    _, again = run(algo, feed(0), tmp_path)  # nothing is left to do
    for name, seconds in first.spent["seconds"].items():
        assert again.spent["seconds"][name] == pytest.approx(seconds, abs=0.05)
    assert first.spent["seconds"]["backward"] == again.spent["seconds"]["backward"] > 0
