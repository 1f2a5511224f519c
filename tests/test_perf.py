"""The benchmark measures what it says; how fast anything is is no business of a test."""

import json
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from bench.models.packing import is_packed
from bench.names import Unknown
from bench.perf import __main__ as one
from bench.perf import clock, ours, report, rollouts, training, workload
from bench.perf.training import CONTESTS, SCALING, NotMeasured
from bench.perf.workload import Workload
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
    policy = workload.model(rollouts.WORKLOAD)
    steps = []
    forward = policy.forward
    monkeypatch.setattr(
        policy,
        "forward",
        lambda **read: (steps.append(tuple(read["input_ids"].shape)), forward(**read))[1],
    )
    monkeypatch.setattr(rollouts, "model", lambda of: policy)
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

    def measure(who: str, what: Workload) -> dict[str, float]:
        asked.append((who, what))
        found = {"ms": next(left[who]), "gb": 1.0, "above_gb": 0.5}
        return found | ({"gflop": 6.0, "gflops": 20.0} if who == "ours" else {"gb": 4.0})

    return measure, asked


def test_a_ratio_is_the_median_of_the_rounds_which_take_turns():
    measure, asked = measured(ours=[1000, 500, 2000], peer=[3000, 2000, 4000])
    (row,) = training.rows({"dpo": CONTESTS["dpo"]}, 3, measure)
    sides = [who for who, _ in asked]
    assert sides == ["peer", "ours", "ours", "peer", "peer", "ours"]
    assert (row.ours_ms, row.peer_ms) == (1000, 3000)
    assert (row.ratio, row.lowest, row.highest) == (3, 2, 4)  # of 3, 4 and 2
    assert (row.ours_gb, row.peer_gb, row.memory_ratio) == (1, 4, 0.25)
    assert_close(row.peak_share, 0.3)  # 6 GFLOP in 1 s, 0.5 s and 2 s, of 20 a second


def test_what_two_workloads_share_is_measured_once():
    measure, asked = measured(ours=[1, 1, 2, 2], peer=[3, 3, 5, 5])
    names = ["dpo", "dpo-precomputed", "dpo-swept"]
    rows = list(training.rows({x: CONTESTS[x] for x in names}, 2, measure))
    assert len(asked) == 8
    assert [row.ratio for row in rows] == [3, 2.5, 1.5]


def test_a_workload_may_stand_against_another_of_ours():
    left = iter([{"ms": 3.0, "gb": 2.0, "above_gb": 1, "gflop": 1, "gflops": 1}] * 2)
    (row,) = training.rows({"x": CONTESTS["tdpo2"]}, 1, lambda who, what: next(left))
    assert CONTESTS["tdpo2"].against == "ours"
    assert (row.ratio, row.memory_ratio) == (1, 1)


def test_a_scaling_changes_one_size():
    for name, contest in SCALING.items():
        size, _, number = name.partition("=")
        assert contest.ours == contest.peer
        base = training.GRPO if size == "per_prompt" else training.STORED
        value = (int(number),) * 2 if size == "prompt" else int(number)
        assert contest.ours == replace(base, **{size: value})
    assert len(report.contests(["scaling", "dpo"])) == len(SCALING) + 1


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
    assert report.chosen([])[0] == [*CONTESTS, "rollouts"]
    with pytest.raises(Unknown, match="'dop' is no workload: did you mean dpo"):
        report.chosen(["dop"])
    with pytest.raises(Unknown, match="usage"):
        report.chosen(["dpo", "--json"])


def test_a_measurement_is_a_process_of_its_own_and_its_error_a_line(monkeypatch):
    monkeypatch.setattr(sys, "executable", "echo")
    with pytest.raises(json.JSONDecodeError):  # -m bench.perf ours ... 3
        training.alone(3)("ours", Workload("dpo"))
    monkeypatch.setattr(sys, "executable", "cat")
    with pytest.raises(NotMeasured, match="peer sft: "):
        training.alone(3)("peer", Workload("sft"))


def small(loss: str, **more: Any) -> Workload:
    """Four responses an update, of a few words."""
    sizes = {"pairs": 2, "prompt": (4, 6), "response": (2, 3), "vocabulary": 64, "width": 64}
    return Workload(loss, **sizes, layers=1, **more)


SMALL = {name: small(name) for name in ours.LOSSES} | {"stored": small("dpo", precomputed=True)}


@pytest.mark.parametrize("name", SMALL)
def test_ours_trains_packed_models_by_the_products_own_loop(name):
    run = ours.prepared(SMALL[name], 2)
    trained, before = run.models.trained, {}
    for who, model in trained.items():
        assert is_packed(model)
        before[who] = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    assert (run.models.reference is None) == (name in ("sft", "rm", "stored"))
    run()
    for who, model in trained.items():
        after = torch.nn.utils.parameters_to_vector(model.parameters())
        assert (after != before[who]).any()


@pytest.mark.parametrize("name", ["dpo", "grpo"])
def test_an_update_is_of_as_many_responses_as_the_workload_says(name):
    run = ours.prepared(small(name), 2)
    turn = run.feed(0, run.models)
    assert len(turn.batch.tokens) == SMALL[name].responses
    if name == "grpo":
        assert turn.batch.prompt.bincount().tolist() == [SMALL[name].per_prompt] * 2
        assert int(turn.batch.tokens.length.max()) <= 3


def test_what_is_necessary_counts_a_prompt_once():
    """One layer of 16 numbers: 16 · (16 + 8 + 8 + 16) in attention, 3 · 16 · 24 beside it; 23 words."""
    tokens = tiny.Tokens.collate([([2, 3, 4], [5, 1]), ([2, 3, 4], [1])], tiny.PAD)
    linear = 2 * (3 + 2 + 1) * (16 * 48 + 3 * 16 * 24)
    attention = 4 * 16 * (1 + 2 + 3 + 4 + 5 + 4)
    spoken = 2 * 3 * 16 * 23
    model = tiny.llama()
    assert ours.forward(model, tokens, head=True) == linear + attention + spoken
    assert ours.forward(model, tokens, head=False) == linear + attention


def test_what_samples_cost_is_counted_once_more():
    """Who drew them, the reference, and three times who learns."""
    run = ours.prepared(small("grpo"), 1)
    batch = run.feed(0, run.models).batch
    once = ours.forward(run.models.policy, batch.tokens, head=True)
    assert ours.necessary(batch, run.models) == 5 * once


def test_a_measurement_says_time_memory_and_peak(monkeypatch):
    monkeypatch.setattr(one, "matmul_gflops", lambda bf16: 7.0)
    found = one.main("ours", small("rm"), 1)
    assert found.keys() == {"ms", "gb", "above_gb", "gflop", "gflops"}
    assert 0 <= found["above_gb"] < found["gb"]
    assert found["gflops"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL if name != "tdpo2"])
def test_the_peer_trains_on_as_many_rows(name):
    from bench.perf import peer

    of = SMALL[name]
    run = peer.prepared(of, 3)
    run()
    items = run.trainer.args.per_device_train_batch_size * run.trainer.state.global_step
    responses = 1 if name in ("sft", "kto", "rloo", "grpo") else 2
    assert items * responses == 3 * of.responses
    if not of.samples:
        assert items == len(run.trainer.train_dataset)
