"""Two rows side by side: paired by seed and prompt, refused where the board would not rank them."""

import io

import numpy as np
import pytest
from rich.console import Console

from bench.__main__ import main
from bench.reports.compare import SILENT, Incomparable, compare, to_terminal
from bench.reports.record import Metric, Parents, write, write_per_prompt
from bench.stats.bootstrap import sign_flip
from bench.stats.crossed import crossed_mean
from tests.test_records import frame, record


def sampled(recipe, seed, gold, **changes):
    """A record, and the per-prompt table that explains it."""
    gold = np.asarray(gold, dtype=float)
    run = record(recipe, seed, end={"gold": gold.mean(), **changes.pop("end", {})}, **changes)
    return run, frame(gold, response=[f"{recipe} {seed} says {i}" for i in range(len(gold))])


def side_by_side(runs, a="a", b="b"):
    (found,) = compare([r for r, _ in runs], {r.run_id: f for r, f in runs}, a, b)
    return found


def printed(found):
    console = Console(width=140, file=io.StringIO(), color_system=None)
    console.print(to_terminal(found))
    return console.file.getvalue()


def refused(records, a="a", b="b"):
    with pytest.raises(Incomparable) as caught:
        compare(records, {}, a, b)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_seeds_and_prompts_are_paired():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2, 3, 12))
    runs = [sampled(n, s, values[i, s]) for i, n in enumerate("ab") for s in range(3)]
    found = side_by_side(runs)
    (gold,) = found.differences
    off = values[0] - values[1]
    mean = crossed_mean(off)
    assert (found.seeds, found.signal) == ((0, 1, 2), "gold")
    assert (gold.a, gold.b) == pytest.approx((values[0].mean(), values[1].mean()))
    assert (gold.low, gold.high, gold.p) == pytest.approx((*mean.bounds(), float(mean.p_value)))
    assert [s.difference for s in gold.seeds] == pytest.approx(off.mean(1).tolist())
    assert [s.p for s in gold.seeds] == [float(sign_flip(x, 9999, 0)) for x in off]
    back = side_by_side(runs, "b", "a").differences[0]
    assert (back.low, back.high, back.p) == pytest.approx((-gold.high, -gold.low, gold.p))


def test_prompts_are_paired_by_their_ids_and_not_by_their_order():
    a, b = sampled("a", 0, [1.0, 2.0, 3.0, 9.0]), sampled("b", 0, [9.0, 3.0, 2.0, 1.0])
    b = b[0], b[1].assign(prompt_id=["p3", "p2", "p1", "p0"])
    (gold,) = side_by_side([a, b]).differences
    assert (gold.low, gold.high, gold.p) == (0, 0, 1)


def test_the_prompts_that_differ_most_come_with_both_answers():
    runs = [sampled("a", s, np.arange(20.0)) for s in (0, 1)]
    runs += [sampled("b", 0, np.arange(20.0)), sampled("b", 1, np.arange(20.0))]
    runs[2][1].loc[7, "gold"] += 0.004  # the record's mean still explains it
    runs[3][1].loc[3, "gold"] -= 0.009
    found = side_by_side(runs)
    assert [(p.prompt, p.seed, p.a - p.b) for p in found.apart] == [
        ("p3", 1, pytest.approx(0.009)),
        ("p7", 0, pytest.approx(-0.004)),
    ]
    assert (found.apart[0].answer_a, found.apart[0].answer_b) == ("a 1 says 3", "b 1 says 3")
    assert "  A: a 1 says 3\n  B: b 1 says 3" in printed(found)


def test_at_most_ten_prompts_are_shown():
    found = side_by_side([sampled("a", 0, np.arange(30.0)), sampled("b", 0, np.zeros(30))])
    assert [p.prompt for p in found.apart] == [f"p{i}" for i in range(29, 19, -1)]


def test_an_answer_is_data():
    a, b = sampled("a", 0, [1.0, 2.0]), sampled("b", 0, [0.0, 2.0])
    a[1]["response"] = ["[bold]x[/] \x1b[31m red\n\nnews", ""]
    said = printed(side_by_side([a, b]))
    assert "A: [bold]x[/] �[31m red news" in said
    b = b[0], b[1].drop(columns="response")
    assert side_by_side([a, b]).apart[0].answer_b == SILENT


def test_without_files_seeds_alone_are_paired():
    values = {"a": (1.0, 3.0), "b": (0.0, 1.0)}
    runs = [record(n, s, end={"gold": v[s]}) for n, v in values.items() for s in (0, 1)]
    (found,) = compare(runs, {}, "a", "b")
    (gold,) = found.differences
    # 1 and 2: 1.5 ± 12.706 · (1/√2) / √2
    assert (gold.low, gold.high) == pytest.approx((1.5 - 6.353, 1.5 + 6.353), abs=1e-3)
    assert (gold.seeds, found.apart) == ((), ())
    (found,) = compare([r for r in runs if r.seed == 0], {}, "a", "b")
    assert (found.differences[0].low, found.differences[0].p) == (None, None)
    assert "gold" in printed(found)


def test_metrics_are_corrected_together_and_those_measured_otherwise_are_left_out():
    generator = np.random.default_rng(1)
    runs = []
    for name in "ab":
        gold, kl = generator.normal(size=(2, 30))
        judged = Metric(value=0.5, signature=f"by {name}")
        run, table = sampled(name, 0, gold, end={"kl": kl.mean(), "win_rate": judged})
        runs.append((run, table.assign(kl=kl)))
    found = side_by_side(runs)
    assert (found.left_out, [d.metric for d in found.differences]) == (
        ("win_rate",),
        ["gold", "kl"],
    )
    least, most = sorted(found.differences, key=lambda d: d.p)
    assert (least.adjusted, most.adjusted) == (min(2 * least.p, most.p), most.p)
    assert "left out: win_rate" in printed(found)


def test_only_seeds_that_both_have_are_compared():
    runs = [sampled("a", s, [s, 1.0]) for s in (0, 1)] + [sampled("b", s, [0.0, 1]) for s in (1, 2)]
    assert side_by_side(runs).seeds == (1,)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"decoding": {"max_new_tokens": 9}}, "other decoding"),
        (
            {"parents": Parents(sft="o", reward_model="rm", held_out_reward_model="rm2")},
            "SFT model",
        ),
        ({"seed": 1}, "no seed in common (0 and 1)"),
    ],
)
def test_what_the_board_would_not_rank_is_refused(change, word):
    seed = change.get("seed", 0)
    changes = {k: v for k, v in change.items() if k != "seed"}
    line = refused([record("a", end={"gold": 1}), record("b", seed, end={"gold": 1}, **changes)])
    assert line.startswith("a and b cannot be compared: ")
    assert word in line


def test_names_are_recipes_runs_or_their_beginnings():
    runs = [record("dpo", s, end={"gold": 1}) for s in (0, 1)]
    other = record("dpo_norm", end={"gold": 1})
    found = compare([*runs, other], {}, "dpo", other.run_id[:12])
    assert [(c.a, c.b, c.seeds) for c in found] == [("dpo", "dpo_norm", (0,))]
    assert "they are the same runs" in refused(runs, "dpo", "dpo")
    assert "did you mean dpo_norm?" in refused([*runs, other], "dpo", "dpo_nrom")
    assert "no good run" in refused([record("kto", status="failed", error="x")], "kto", "kto")


def test_settings_of_one_recipe_are_told_apart():
    runs = [record("dpo", end={"gold": b}, knobs={"beta": b}) for b in (0.1, 0.5)]
    titles = {(c.a, c.b) for c in compare(runs, {}, "dpo", "dpo")}
    assert titles == {("dpo beta=0.1", "dpo beta=0.5"), ("dpo beta=0.5", "dpo beta=0.1")}


def test_the_verb(tmp_path, capsys):
    for run, table in (sampled("a", 0, [1.0, 2.0]), sampled("b", 0, [0.0, 2.0])):
        named = write_per_prompt(run.run_id, table, tmp_path)
        write(run.model_copy(update={"per_prompt": named}), tmp_path)
    assert main(["compare", "a", "b", str(tmp_path)]) == 0
    assert "digest v1: A = a, B = b, seed 0" in capsys.readouterr().out
    assert main(["compare", "a"]) == 1
    assert "usage: prefzoo compare A B" in capsys.readouterr().err
    assert main(["compare", "a", "a", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err == "prefzoo: a and a cannot be compared: they are the same runs\n"
    )
