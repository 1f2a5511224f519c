"""The benchmark measures what it says; how fast anything is is no business of a test."""

import json
import sys

import pytest
import torch
from torch.testing import assert_close

from bench.models.packing import is_packed
from bench.names import Unknown
from bench.perf import __main__ as one
from bench.perf import clock, ours, report, rollouts, training, workload
from bench.perf.training import WORKLOADS, NotMeasured
from tests import tiny

NUMBERS = "ours_ms peer_ms ratio ours_gb peer_gb memory_ratio peak_share".split()


def test_rounds_are_taken_by_turns_and_the_first_is_not_counted(monkeypatch):
    order, now = [], [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

    def taking(name: str, seconds: list[float]):
        left = iter(seconds)

        def run() -> None:
            order.append(name)
            now[0] += next(left)

        return run

    ours, peer = taking("ours", [9, 1, 2, 6]), taking("peer", [9, 1, 1, 2])
    row = clock.compared("x", ours, peer, rounds=3)
    assert order == ["peer", "ours", "ours", "peer", "peer", "ours", "ours", "peer"]
    assert (row.ours_ms, row.peer_ms) == (2000, 1000)
    assert (row.ratio, row.lowest, row.highest) == (2, 1, 3)


def test_both_decode_as_many_tokens_to_the_same_prompts(monkeypatch):
    monkeypatch.setattr(rollouts, "PROMPTS", 2)
    monkeypatch.setattr(rollouts, "NEW_TOKENS", 3)
    policy = workload.model()
    steps = []
    forward = policy.forward
    monkeypatch.setattr(
        policy,
        "forward",
        lambda **read: (steps.append(tuple(read["input_ids"].shape)), forward(**read))[1],
    )
    monkeypatch.setattr(rollouts, "model", lambda: policy)
    seen = {}

    def once(name, ours, peer, rounds):
        for who, run in (("ours", ours), ("peer", peer)):
            steps.clear()
            run()
            seen[name, who] = list(steps)

    monkeypatch.setattr(rollouts, "compared", once)
    rollouts.rows(1)
    assert len(seen["rollouts", "ours"]) == len(seen["rollouts", "peer"]) == 3
    assert seen["rollouts", "ours"][1:] == seen["rollouts", "peer"][1:] == [(2, 1), (2, 1)]
    assert sorted(seen["rollouts", "ours"][0]) == sorted(seen["rollouts", "peer"][0])


def measured(**ms: list[float]):
    """A stopwatch that says, of each side, one time after the other, and what was asked of it."""
    asked, left = [], {side: iter(some) for side, some in ms.items()}

    def measure(who: str, what: str) -> dict[str, float]:
        asked.append((who, what))
        found = {"ms": next(left[who]), "gb": 1.0, "above_gb": 0.5}
        return found | ({"gflop": 6.0, "gflops": 20.0} if who == "ours" else {"gb": 4.0})

    return measure, asked


def test_a_ratio_is_the_median_of_the_rounds_which_take_turns():
    measure, asked = measured(ours=[1000, 500, 2000], peer=[3000, 2000, 4000])
    (row,) = training.rows(["dpo"], 3, measure)
    sides = [who for who, _ in asked]
    assert sides == ["peer", "ours", "ours", "peer", "peer", "ours"]
    assert (row.ours_ms, row.peer_ms) == (1000, 3000)
    assert (row.ratio, row.lowest, row.highest) == (3, 2, 4)  # of 3, 4 and 2
    assert (row.ours_gb, row.peer_gb, row.memory_ratio) == (1, 4, 0.25)
    assert_close(row.peak_share, 0.3)  # 6 GFLOP in 1 s, 0.5 s and 2 s, of 20 a second


def test_what_two_workloads_share_is_measured_once():
    measure, asked = measured(ours=[1, 1, 2, 2], peer=[3, 3, 5, 5])
    rows = list(training.rows(["dpo", "dpo-precomputed", "dpo-swept"], 2, measure))
    assert len(asked) == 8
    assert [row.ratio for row in rows] == [3, 2.5, 1.5]


def test_the_table_is_also_a_file(monkeypatch, tmp_path, capsys):
    measure, _ = measured(ours=[1000] * 5, peer=[3000] * 5)
    monkeypatch.setattr(report, "alone", lambda steps: measure)
    report.perf(["sft", "--json", str(tmp_path / "rows.json")])
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert {name: row[name] for name in ("workload", *NUMBERS)} == {
        "workload": "sft",
        **dict(zip(NUMBERS, [1000, 3000, 3, 1, 4, 0.25, 0.3], strict=True)),
    }
    said = capsys.readouterr().out
    assert "sft" in said
    assert "1000 ms   3000 ms  3.00 (3.00 to 3.00)" in said


def test_workloads_are_named():
    assert report.chosen(["dpo", "kto"]) == (["dpo", "kto"], None)
    assert report.chosen([])[0] == [*WORKLOADS, "rollouts"]
    with pytest.raises(Unknown, match="'dop' is no workload: did you mean dpo"):
        report.chosen(["dop"])
    with pytest.raises(Unknown, match="usage"):
        report.chosen(["dpo", "--json"])


def test_a_measurement_is_a_process_of_its_own_and_its_error_a_line(monkeypatch):
    monkeypatch.setattr(sys, "executable", "echo")
    with pytest.raises(json.JSONDecodeError):  # -m bench.perf ours dpo 3
        training.alone(3)("ours", "dpo")
    monkeypatch.setattr(sys, "executable", "cat")
    with pytest.raises(NotMeasured, match="peer sft: "):
        training.alone(3)("peer", "sft")


@pytest.fixture
def small(monkeypatch):
    """Two pairs an update, of a few words."""
    for module in (workload, ours):
        monkeypatch.setattr(module, "PAIRS", 2)
    monkeypatch.setattr(ours, "RESPONSES", 4)
    monkeypatch.setattr(workload, "PROMPT", (4, 6))
    monkeypatch.setattr(workload, "RESPONSE", (2, 3))


@pytest.mark.parametrize("name", ours.LOSSES)
def test_ours_trains_packed_models_by_the_products_own_loop(small, monkeypatch, name):
    run = ours.prepared(name, 2)
    trained, before = run.models.trained, {}
    for who, model in trained.items():
        assert is_packed(model)
        before[who] = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    assert (run.models.reference is not None) == (name in ("dpo", "kto"))
    run()
    for who, model in trained.items():
        after = torch.nn.utils.parameters_to_vector(model.parameters())
        assert (after != before[who]).any()


def test_what_is_necessary_counts_a_prompt_once():
    """One layer of 16 numbers: 16 · (16 + 8 + 8 + 16) in attention, 3 · 16 · 24 beside it; 23 words."""
    tokens = tiny.Tokens.collate([([2, 3, 4], [5, 1]), ([2, 3, 4], [1])], tiny.PAD)
    linear = 2 * (3 + 2 + 1) * (16 * 48 + 3 * 16 * 24)
    attention = 4 * 16 * (1 + 2 + 3 + 4 + 5 + 4)
    spoken = 2 * 3 * 16 * 23
    model = tiny.llama()
    assert ours.forward(model, tokens, head=True) == linear + attention + spoken
    assert ours.forward(model, tokens, head=False) == linear + attention


def test_a_measurement_says_time_memory_and_peak(small, monkeypatch):
    monkeypatch.setattr(one, "matmul_gflops", lambda: 7.0)
    found = one.main("ours", "rm", 1)
    assert found.keys() == {"ms", "gb", "above_gb", "gflop", "gflops"}
    assert 0 <= found["above_gb"] < found["gb"]
    assert found["gflops"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", ours.LOSSES)
def test_the_peer_trains_on_as_many_rows(small, monkeypatch, name):
    from bench.perf import peer

    monkeypatch.setattr(peer, "PAIRS", 2)
    monkeypatch.setattr(peer, "RESPONSES", 4)
    run = peer.prepared(name, 3)
    run()
    items = run.trainer.args.per_device_train_batch_size * run.trainer.state.global_step
    assert items == len(run.trainer.train_dataset) == 3 * (4 if name in ("sft", "kto") else 2)
