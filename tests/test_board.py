"""The board ranks only what may be ranked, and says what it cannot tell."""

import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from rich.console import Console

from bench.reports.board import Row, board, letters, overlap, ranked
from bench.reports.cohorts import flat, telling
from bench.reports.estimates import Cell, Versus, by_prompt
from bench.reports.latex import to_latex
from bench.reports.record import Budget, Git, Metric, Metrics, Parents, Task
from bench.reports.render import number, to_csv, to_markdown, to_terminal
from bench.stats.crossed import detectable, power
from tests.test_records import frame, record


def control(recipe="sft", seed=0, **changes):
    return record(recipe, seed, kind="control", algorithm=None, feedback=None, **changes)


def failed(recipe="kto", seed=0, error="out of memory", **changes):
    return record(recipe, seed, status="failed", error=error, **changes)


def only(records, frames=None):
    """The single table of a board."""
    (table,) = board(records, frames).tables
    return table


def row(table, recipe):
    (found,) = [r for r in table.rows if r.recipe == recipe]
    return found


def printed(found, width=140):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(to_terminal(found))
    return console.file.getvalue()


def sampled(recipe, seed, shift, n=60, **changes):
    """A record and the per-prompt table that explains it; prompts are shared by all."""
    noise = np.random.default_rng([seed, len(recipe)]).normal(0, 0.2, n)
    gold = np.random.default_rng(9).normal(0, 1, n) + shift + noise
    half = 1.96 * gold.std() / n**0.5
    there = (control if recipe == "sft" else record)(
        recipe, seed, end={"gold": (gold.mean(), gold.mean() - half, gold.mean() + half)}, **changes
    )
    return there, frame(gold)


# --------------------------------------------------------------------------------- ranking


def test_rows_are_ranked_by_gold():
    table = only([record(n, end={"gold": v}) for n, v in [("a", 1), ("b", 3), ("c", 2)]])
    assert [(r.rank, r.recipe) for r in table.rows] == [(1, "b"), (2, "c"), (3, "a")]
    assert table.signal == "gold"


@pytest.mark.parametrize(
    ("metrics", "signal", "first"),
    [
        ([{"gold": 1, "win_rate": 0.1}, {"gold": 0, "win_rate": 0.9}], "gold", "a"),
        ([{"win_rate": 0.1, "held_out": 3}, {"win_rate": 0.9, "held_out": 1}], "win_rate", "b"),
        ([{"held_out": 3, "proxy": 1}, {"held_out": 1, "proxy": 9}], "held_out", "a"),
    ],
)
def test_the_signal_is_gold_or_else_win_rate_or_held_out(metrics, signal, first):
    table = only([record(n, end=end) for n, end in zip("ab", metrics, strict=True)])
    assert table.signal == signal
    assert table.rows[0].recipe == first


def test_the_training_reward_never_ranks():
    table = only([record("a", end={"proxy": 1, "kl": 2, "rougeL": 0.3})])
    assert table.signal is None
    assert table.rows[0].rank is None
    assert any("Nothing here can be ranked" in note for note in table.notes)


def test_a_row_trained_on_gold_is_marked_and_not_ranked():
    table = only(
        [
            record("ppo_gold", feedback="gold", end={"gold": 9}),
            record("dpo", end={"gold": 1}),
            record("ppo", feedback="reward_model", end={"gold": 2, "proxy": 5}),
        ]
    )
    assert [(r.recipe, r.rank) for r in table.rows] == [("ppo", 1), ("dpo", 2), ("ppo_gold", None)]
    assert row(table, "ppo_gold").section == "trained_on"
    assert any(note.startswith("† trained on gold") for note in table.notes)
    assert "†" in to_markdown(board([record(feedback="gold", end={"gold": 9})]))


def test_a_shared_signature_tells_that_a_row_was_trained_on_the_signal():
    judge = Metric(value=0.9, signature="judge=x|seed=1")
    other = Metric(value=0.9, signature="judge=x|seed=2")
    same = record("rlaif", feedback="judge", end={"win_rate": judge, "trained_reward": judge})
    apart = record("nash", feedback="judge", end={"win_rate": judge, "trained_reward": other})
    table = only([same, apart])
    assert row(table, "rlaif").section == "trained_on"
    assert row(table, "nash").rank == 1


def test_rows_whose_intervals_overlap_share_a_letter():
    values = {"a": (5, 4.9, 5.1), "b": (4, 3.5, 4.5), "c": (3.8, 3.7, 3.9), "d": (3.6, 3.5, 3.75)}
    table = only([record(n, end={"gold": v}) for n, v in values.items()])
    assert [(r.rank, r.letter) for r in table.rows] == [(1, "a"), (2, "b"), (3, "b"), (4, "b")]
    assert any("share a letter" in note for note in table.notes)


def test_rows_well_apart_share_none():
    table = only([record(n, end={"gold": (v, v - 0.1, v + 0.1)}) for n, v in [("a", 1), ("b", 2)]])
    assert [r.letter for r in table.rows] == ["a", "b"]
    assert not any("share a letter" in note for note in table.notes)


def test_a_value_without_interval_is_not_told_from_its_neighbour():
    assert overlap(Cell(1.0), Cell(9.0, 8.9, 9.1))
    assert not overlap(Cell(1, 0.9, 1.1), Cell(9, 8.9, 9.1))
    assert overlap(Cell(1, 0.9, 1.1), Cell(1.2, 1.1, 1.3))


def test_equal_values_are_in_the_order_of_their_names():
    rows = [Row(n, "ranked", (0,), {"gold": Cell(1.0, 0.9, 1.1)}) for n in "cab"]
    assert [r.recipe for r in ranked(rows, "gold")] == ["a", "b", "c"]


def test_letters_do_not_run_out():
    assert [letters(n) for n in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]


def test_a_row_without_the_signal_is_shown_without_a_rank():
    table = only([record("a", end={"gold": 1}), record("b", end={"gold": None, "kl": 1})])
    assert row(table, "b").section == "unranked"
    assert "gold" not in row(table, "b").cells
    assert any("lack gold" in note for note in table.notes)


# ------------------------------------------------------------------- controls and failures


def test_controls_are_always_there_and_never_ranked():
    names = "empty best_of_16 sft reference copied_prompt best_of_16_gold".split()
    table = only([record("dpo", end={"gold": 0}), *(control(n, end={"gold": 5}) for n in names)])
    assert [r.recipe for r in table.rows] == [
        "dpo",
        *"reference best_of_16_gold best_of_16 sft copied_prompt empty".split(),
    ]
    assert all(r.rank is None and r.section == "control" for r in table.rows[1:])
    markdown = to_markdown(board([record(end={"gold": 0}), control(end={"gold": 1})]))
    assert markdown.index("`dpo`") < markdown.index("**controls**") < markdown.index("*`sft`*")


def test_a_metric_that_does_not_exist_is_a_dash():
    found = board([record(end={"gold": 1, "kl": 2}), control("empty", end={"gold": 0})])
    (line,) = [x for x in to_markdown(found).splitlines() if "`empty`" in x]
    assert [c.strip() for c in line.split("|")][6] == "-"
    assert "kl" not in row(found.tables[0], "empty").cells


def test_a_failed_run_is_a_row_that_says_why():
    found = board([record(end={"gold": 1}), failed(error="CUDA error:\n a | b *c* <d>")])
    assert row(found.tables[0], "kto").error == "CUDA error: a | b *c* <d>"
    (line,) = [x for x in to_markdown(found).splitlines() if "`kto`" in x]
    assert "CUDA error: a \\| b \\*c\\* &lt;d>" in line
    assert "failed  kto seed 0: CUDA error: a | b *c* <d>" in printed(found)
    assert any(r["error"] for r in csv.DictReader(io.StringIO(to_csv(found))))


def test_a_failure_that_looks_like_markup_is_printed_as_it_is():
    found = board([record(end={"gold": 1}), failed(error="bad shape [2, 3] [/red] [bold]x")])
    assert "bad shape [2, 3] [/red] [bold]x" in printed(found)


def test_every_line_of_a_markdown_table_has_as_many_cells():
    runs = [record(end={"gold": 1, "kl": 1}), control(end={"gold": 0}), failed(error="a|b\n|c")]
    lines = [x for x in to_markdown(board(runs)).splitlines() if x.startswith("|")]
    assert len({x.replace("\\|", "").count("|") for x in lines}) == 1


def test_a_failed_seed_stands_beside_the_good_ones():
    runs = [record(seed=s, end={"gold": 1}) for s in (0, 1)]
    table = only([*runs, failed("dpo", 2)])
    assert [(r.section, r.seeds) for r in table.rows] == [("ranked", (0, 1)), ("failed", (2,))]


def test_a_good_run_replaces_a_failed_one_and_the_newest_counts():
    later = datetime(2026, 2, 1, tzinfo=UTC)
    old, new = record(end={"gold": 1}), record(end={"gold": 2}, created=later, run_id="new")
    table = only([new, failed("dpo"), old])
    assert [(r.section, r.cells["gold"].value) for r in table.rows] == [("ranked", 2)]


def test_a_run_that_failed_before_it_knew_its_parents_joins_its_task():
    early = failed(task=Task(name="digest"), parents=Parents(), decoding={})
    assert len(only([record(end={"gold": 1}), early]).rows) == 2


def test_failures_alone_make_a_board():
    found = board([failed()])
    assert found.tables[0].rows[0].error == "out of memory"
    assert "out of memory" in printed(found)
    assert "out of memory" in to_markdown(found)


def test_no_records_make_a_sentence():
    assert to_markdown(board([])) == "No records yet.\n"
    assert printed(board([])) == "No records yet.\n"
    assert len(to_csv(board([])).splitlines()) == 1


# --------------------------------------------------------------------------------- bases


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"parents": Parents(sft="o", reward_model="rm", held_out_reward_model="rm2")}, "SFT"),
        ({"parents": Parents(sft="sft0", reward_model="o", held_out_reward_model="rm2")}, "reward"),
        ({"decoding": {"max_new_tokens": 9}}, "decoding"),
        ({"task": Task(name="digest", version=2, data_hash="d", prompts_hash="e")}, "version"),
    ],
)
def test_rows_with_another_base_are_in_a_table_of_their_own(change, word):
    first = [record(n, end={"gold": 1}) for n in ("dpo", "ipo")]
    found = board([*first, record("ppo", end={"gold": 9}, **change)])
    assert [[r.recipe for r in t.rows] for t in found.tables] == [["dpo", "ipo"], ["ppo"]]
    assert [t.rows[0].rank for t in found.tables] == [1, 1]
    assert found.tables[1].notes[0].startswith("Not comparable with the first table")
    assert word in found.tables[1].notes[0]


def test_headings_name_task_decoding_prompts_and_sft():
    (table,) = board([record(end={"gold": 1})]).tables
    heading = " ".join([table.task, *table.about])
    for words in ("digest v1", "8 test prompts", "max_new_tokens 48", "SFT model sft0"):
        assert words in heading
        assert words in printed(board([record(end={"gold": 1})]))


def test_seeds_with_their_own_sft_models_are_one_row():
    table = only([record(n, s, end={"gold": s}) for n in ("dpo", "ipo") for s in (0, 1, 2)])
    assert [r.seeds for r in table.rows] == [(0, 1, 2)] * 2
    assert row(table, "dpo").cells["gold"].value == 1
    assert "sft1 (seed 1)" in " ".join(table.about)


def test_one_seed_that_disagrees_parts_two_rows():
    a = [record("dpo", s, end={"gold": 1}) for s in (0, 1)]
    b = [record("ipo", s, end={"gold": 1}) for s in (0,)]
    b += [record("ipo", 1, end={"gold": 1}, parents=Parents(sft="other"))]
    assert len(board([*a, *b]).tables) == 2


def test_rows_on_fewer_seeds_are_ranked_and_the_table_says_so():
    runs = [record("dpo", s, end={"gold": 1}) for s in (0, 1)]
    table = only([*runs, record("ipo", 1, end={"gold": 2})])
    assert row(table, "ipo").rank == 1
    assert any("ipo on 1; the others on 0, 1" in note for note in table.notes)


def test_rows_without_a_seed_in_common_are_not_ranked_together_unless_they_share_all():
    assert (
        len(board([record("a", 0, end={"gold": 1}), record("b", 1, end={"gold": 1})]).tables) == 2
    )
    one = Parents(sft="one")
    runs = [record(n, s, end={"gold": 1}, parents=one) for n, s in (("a", 0), ("b", 1))]
    assert len(board(runs).tables) == 1


def test_settings_of_one_recipe_are_rows_named_by_what_differs():
    runs = [
        record("dpo", s, end={"gold": b}, knobs={"beta": b}) for s in (0, 1) for b in (0.1, 0.5)
    ]
    table = only([*runs, record("ipo", end={"gold": 0})])
    assert [r.recipe for r in table.rows] == ["dpo beta=0.5", "dpo beta=0.1", "ipo"]


def test_a_setting_that_older_records_do_not_name_is_what_it_was():
    def run(seed, **model):
        found = record("dpo", seed, end={"gold": 1})
        return found.model_copy(update={"config": {**found.config, "model": model}})

    (row,) = only([run(0), run(1, layout="padded")]).rows
    assert row.seeds == (0, 1)
    assert len(only([run(0), run(0, layout="packed")]).rows) == 2


def test_the_name_of_a_group_stands_for_the_settings_that_go_with_it():
    def at(lr, **budget):
        return {"name": "ppo", "budget": budget, "model": {"lr": lr}}

    short, long = {"name": "default", "updates": 48}, {"name": "long", "updates": 192}
    other = {"name": "long", "updates": 96}  # of that name, but not as it comes
    assert telling([dict(flat(at(1e-4, **b))) for b in (short, long)]) == ["budget.name"]
    assert telling([dict(flat(at(lr, **short))) for lr in (1e-4, 1e-3)]) == ["model.lr"]
    assert telling([dict(flat(at(1e-4, **b))) for b in (short, long, other)]) == [
        "budget.name",
        "budget.updates",
    ]
    assert telling([dict(flat(at(1e-4, **short)))]) == []


def test_differences_that_mislead_are_said():
    runs = [
        record("a", end={"gold": 1}, git=Git(commit="1" * 40), budget=Budget(updates=9)),
        record("b", end={"gold": 1}, git=Git(commit="2" * 40, dirty=True)),
    ]
    said = " ".join(only(runs).notes)
    assert "2 commits: 11111111, 22222222" in said
    assert "Made with uncommitted changes: b." in said
    assert "Budgets differ (updates/responses): None/None, but a 9/None." in said
    assert "One seed" in said


def test_the_legend_has_estimators_and_warns_where_rows_differ():
    kl = Metric(value=1, unit="nats", estimator="exact, T=1")
    rouge = [Metric(value=0.1, signature=f"rouge_score=0.1.{v}") for v in (1, 2)]
    runs = [record(n, end={"kl": kl, "rougeL": r}) for n, r in zip("ab", rouge, strict=True)]
    said = "\n".join(only(runs).legend)
    assert "KL: from the SFT model, per response; nats; exact, T=1" in said
    assert "NOT COMPARABLE, rows differ: rouge_score=0.1.1 / rouge_score=0.1.2" in said
    assert said in to_markdown(board(runs)).replace("\\_", "_").replace("- ", "")


def test_the_terminal_explains_its_columns_in_few_lines_and_still_warns():
    signed = {
        name: [replace(metric, signature=f"{name}={v}|{'long' * 50}") for v in (1, 2)]
        for name, metric in EVERYTHING.items()
    }
    ends = [{name: by_row[i] for name, by_row in signed.items()} for i in (0, 1)]
    found = board([record(n, end=end) for n, end in zip("ab", ends, strict=True)])
    said = printed(found, width=120)
    legend = said[said.index("±: half") :].splitlines()
    assert len(legend) <= 12
    assert "held: a reward model of other pairs" in " ".join(legend)
    assert "longlong" not in said
    assert "KL" in next(line for line in found.tables[0].notes if "NOT COMPARABLE" in line)
    assert "NOT COMPARABLE" in said
    assert to_markdown(found).count("long" * 50) == 2 * len(EVERYTHING)


def test_seeds_may_differ_in_the_models_that_judge():
    keys = [Metric(value=1, signature=f"rm {str(s) * 64}") for s in (1, 2)]
    runs = [record(n, s, end={"proxy": keys[s]}) for n in "ab" for s in (0, 1)]
    said, _ = only(runs).legend
    assert said.endswith("rm 11111111 / rm 22222222")
    assert "NOT COMPARABLE" not in said


# ----------------------------------------------------------------------------- intervals


def test_one_seed_keeps_the_interval_of_its_record():
    cell = only([record(end={"gold": (1, 0.5, 2)})]).rows[0].cells["gold"]
    assert cell == Cell(1, 0.5, 2, 8, "recorded")


def test_without_files_seeds_add_what_they_cannot_average_away():
    # ± 1 each, values 0 and 2: s = √2, t₁ = 12.706, h = √(1 + (12.706 √2/√2)²) = 12.745
    runs = [record(seed=s, end={"gold": (2 * s, 2 * s - 1, 2 * s + 1)}) for s in (0, 1)]
    table = only(runs)
    cell = table.rows[0].cells["gold"]
    assert (cell.value, cell.how) == (1, "combined")
    assert cell.high - 1 == pytest.approx(12.745, abs=1e-3)
    assert any("Without per-prompt files" in note for note in table.notes)


def test_without_any_interval_seeds_speak_alone():
    cell = only([record(seed=s, end={"gold": s}) for s in (0, 1, 2)]).rows[0].cells["gold"]
    # s = 1, t₂ = 4.3027, h = 4.3027/√3
    assert cell.how == "seeds"
    assert cell.high - 1 == pytest.approx(2.484, abs=1e-3)


def test_with_files_prompts_and_seeds_are_drawn():
    runs = [sampled("dpo", s, 1) for s in (0, 1, 2)]
    frames = {r.run_id: f for r, f in runs}
    cell = only([r for r, _ in runs], frames).rows[0].cells["gold"]
    assert cell.how == "prompts x seeds"
    # prompts have a spread of 1 and are the same for all seeds: 3 seeds do not shrink that part
    assert 1.5 / 60**0.5 < (cell.high - cell.low) / 2 < 2.6 / 60**0.5
    assert cell == only([r for r, _ in runs], frames).rows[0].cells["gold"]


def test_prompts_that_a_seed_lacks_are_left_out_of_the_bounds():
    runs = [record(seed=s, end={"gold": g}) for s, g in ((0, 2.0), (1, 4.0))]
    lists = [("abc", [1.0, 2.0, 3.0]), ("cbd", [4.0, 5.0, 3.0])]
    frames = {
        r.run_id: frame(gold).assign(prompt_id=list(ids))
        for r, (ids, gold) in zip(runs, lists, strict=True)
    }
    cell = only(runs, frames).rows[0].cells["gold"]
    # of b and c: 2, 3 and 5, 4; M_s = 4, M_p = 0, so that h = t₁ √(4/4)
    assert (cell.value, cell.how) == (3, "prompts x seeds")
    assert (cell.low, cell.high) == pytest.approx((3.5 - 12.706, 3.5 + 12.706), abs=1e-3)


def test_a_file_that_does_not_explain_the_number_is_not_used():
    runs = [sampled("dpo", s, 1) for s in (0, 1)]
    frames = {r.run_id: f.assign(gold=f.gold + 1) for r, f in runs}
    assert only([r for r, _ in runs], frames).rows[0].cells["gold"].how == "combined"


def test_several_samples_of_a_prompt_are_one_value_and_splits_stay_apart():
    table = frame([1.0, 3.0, 5.0, float("nan")]).assign(prompt_id=["a", "a", "b", "c"])
    table["split"] = ["test", "test", "test_unseen", "test"]
    scores = by_prompt(table)["test"].scores("gold")
    assert (scores.prompts, scores.mean) == (("a", "c"), 2.0)
    assert np.array_equal(scores.values, [2.0, np.nan], equal_nan=True)
    unseen = by_prompt(table)["test_unseen"].scores("gold")
    assert (unseen.prompts, unseen.mean) == (("b",), 5.0)
    unseen = record(end={"gold": Metric(value=2.0), "gold_unseen": Metric(value=6.0)})
    more = frame([2.0, 2.0, 5.0, 7.0]).assign(split=["test"] * 2 + ["test_unseen"] * 2)
    cells = only([unseen], {unseen.run_id: more}).rows[0].cells
    assert cells["gold_unseen"].how == "prompts"
    # 5 and 7: 6 ± 12.706 · √2 / √2
    assert cells["gold_unseen"].low == pytest.approx(6 - 12.706, abs=1e-3)


# --------------------------------------------------------------------------- against SFT


def test_methods_are_paired_with_the_sft_model_of_their_seed():
    runs = [sampled("sft", s, 0) for s in (0, 1)]
    runs += [sampled("dpo", 0, 1), sampled("dpo", 1, -1), sampled("worse", 0, 0)]
    table = only([r for r, _ in runs], {r.run_id: f for r, f in runs})
    dpo = row(table, "dpo")
    assert [(v.seed, v.verdict) for v in dpo.versus_sft] == [(0, "yes"), (1, "worse")]
    assert dpo.versus_sft[0].difference == pytest.approx(1, abs=0.15)
    assert dpo.beats_sft == "1/2"
    # the spread of prompts, 1, cancels; that of the noise, 0.2 √2, is left
    assert dpo.versus_sft[0].high - dpo.versus_sft[0].low < 0.3
    assert row(table, "worse").versus_sft[0].verdict == "unclear"
    assert row(table, "sft").versus_sft == ()
    markdown = to_markdown(board([r for r, _ in runs], {r.run_id: f for r, f in runs}))
    assert "Beats SFT on gold?" in markdown
    assert "] worse |" in markdown


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.9, "yes"), (-0.1, 0.9, "unclear"), (-0.9, 0.1, "unclear"), (-0.9, -0.1, "worse")],
)
def test_sft_is_beaten_when_the_interval_says_so(low, high, verdict):
    assert Versus(0, (low + high) / 2, low, high).verdict == verdict


def test_what_is_said_of_all_methods_is_corrected_for_how_many_there_are():
    runs = [sampled("sft", s, 0) for s in (0, 1, 2)]
    runs += [sampled("good", s, 0.5) for s in (0, 1, 2)]
    runs += [sampled(f"same{'_' * i}", s, 0) for i in range(3) for s in (0, 1, 2)]
    best = [sampled("best_of_16", s, 2) for s in (0, 1, 2)]
    runs += [(r.model_copy(update={"kind": "control"}), f) for r, f in best]
    frames = {r.run_id: f for r, f in runs}
    table = only([r for r, _ in runs], frames)
    said = {r.recipe: r.overall for r in table.rows}
    assert said["sft"] is said["best_of_16"] is None  # controls are no hypotheses
    assert said["good"].verdict == "yes"
    assert said["good"].difference == pytest.approx(0.5, abs=0.05)
    assert all(said[name].verdict == "unclear" for name in said if name.startswith("same"))
    # the least of four p-values is multiplied by four
    least = min((o for o in said.values() if o), key=lambda o: o.p_value)
    assert least.adjusted == pytest.approx(4 * least.p_value)
    notes = " ".join(table.notes)
    assert "4 methods corrected together (Benjamini-Hochberg, 5 %): better 1; not told" in notes
    assert "(same, same_, same__)" in notes
    page = to_markdown(board([r for r, _ in runs], frames))
    assert "| yes<br><sub>3/3 seeds</sub> |" in page
    assert "| recipe | all seeds | p | seed 0 | seed 1 | seed 2 |" in page
    lines = csv.DictReader(io.StringIO(to_csv(board([r for r, _ in runs], frames))))
    lines = {x["recipe"]: x for x in lines}
    assert float(lines["good"]["versus_sft_adjusted"]) == said["good"].adjusted
    assert (lines["good"]["versus_sft"], lines["sft"]["versus_sft"]) == ("yes", "")


def test_a_correction_can_take_a_claim_back():
    shift = {"a": 0.075, **{f"b{'_' * i}": 0 for i in range(11)}}
    runs = [sampled("sft", 0, 0), *(sampled(n, 0, x) for n, x in shift.items())]
    frames = {r.run_id: f for r, f in runs}
    alone = row(only([r for r, _ in runs if r.recipe in ("sft", "a")], frames), "a").overall
    among = row(only([r for r, _ in runs], frames), "a").overall
    assert (alone.verdict, among.verdict) == ("yes", "unclear")
    assert among.p_value == alone.p_value == alone.adjusted < 0.05 < among.adjusted


def test_one_seed_is_tested_by_flipping_signs():
    """All of 12 differences positive: 2 of 4096 sign patterns are as extreme."""
    a, b = (record(n, end={"gold": g}) for n, g in (("dpo", 2.0), ("sft", 1.0)))
    b = b.model_copy(update={"kind": "control"})
    frames = {a.run_id: frame([2.0] * 12), b.run_id: frame([1.0] * 12)}
    found = row(only([a, b], frames), "dpo").overall
    assert found.p_value == pytest.approx(2 / 4096, abs=4e-4)
    assert (found.difference, found.low, found.high) == (1, 1, 1)


def test_the_note_says_what_could_have_been_found():
    runs = [sampled(n, s, 0) for n in ("sft", "tdpo2") for s in (0, 1, 2)]
    frames = {r.run_id: f for r, f in runs}
    table = only([r for r, _ in runs], frames)
    found = row(table, "tdpo2").overall
    least = detectable(found.error, found.dof)
    assert power(least, found.error, found.dof) == pytest.approx(0.8)
    assert any(f"A true difference to SFT of {least:.2g} in gold" in n for n in table.notes)


@pytest.mark.parametrize(("empty", "told"), [(0.89, False), (0.9, True), (1.5, True)])
def test_a_metric_that_an_empty_answer_wins_is_named(empty, told):
    runs = [record(end={"gold": 1, "held_out": 1.0})]
    runs += [control("references", end={"gold": 1, "held_out": 0.9, "length": 5})]
    runs += [control("empty", end={"gold": 0, "held_out": empty, "length": 9})]
    said = [n for n in only(runs).notes if n.startswith("DO NOT TRUST")]
    words = "DO NOT TRUST held-out reward: the control empty is not below the references."
    assert said == ([words] if told else [])


def test_budgets_are_columns():
    spent = Budget(updates=48, responses=128, pairs=3072, tokens=281731, flops=8.04e11)
    runs = [record(end={"gold": 1}, budget=spent), control(end={"gold": 0})]
    page = to_markdown(board(runs))
    heading = next(x for x in page.splitlines() if x.startswith("| rank"))
    line = next(x for x in page.splitlines() if "`dpo`" in x)
    named = dict(zip(heading.split(" | "), line.split(" | "), strict=True))
    assert [named[x] for x in ("updates", "responses", "pairs", "tokens", "TFLOP")] == [
        *("48", "128", "3072", "281731", "0.80"),
    ]
    assert "prompts" not in named
    assert "- TFLOP: 10¹² operations" in page
    (row,) = [r for r in csv.DictReader(io.StringIO(to_csv(board(runs)))) if r["recipe"] == "dpo"]
    assert float(row["teraflops"]) == 0.804


def test_how_many_settings_were_tried_is_a_column():
    command = "prefzoo tune algo=dpo lr=3e-05,0.0001,0.0003"
    runs = [record("dpo", end={"gold": 1}, config={"tuned": command}), record("ipo")]
    rows = only([*runs, control()]).rows
    assert {r.recipe: r.cells["tried"].value for r in rows if "tried" in r.cells} == {
        "dpo": 3,
        "ipo": 1,
    }


def test_four_seeds_have_an_interquartile_mean():
    runs = [record(seed=s, end={"gold": g}) for s, g in enumerate([0.0, 1.0, 3.0, 100.0])]
    assert only(runs).rows[0].cells["gold_iqm"].value == 2
    assert "gold_iqm" not in only(runs[:3]).rows[0].cells
    runs = [sampled("dpo", s, s == 3) for s in range(4)]
    cell = only([r for r, _ in runs], {r.run_id: f for r, f in runs}).rows[0].cells["gold_iqm"]
    assert cell.low < cell.value < cell.high


def test_without_files_nothing_is_said_about_sft():
    table = only([sampled("dpo", 0, 1)[0], sampled("sft", 0, 0)[0]])
    assert row(table, "dpo").beats_sft == ""


# ------------------------------------------------------------------------------ rendering

EVERYTHING = {
    name: Metric(value=v, low=v - h, high=v + h, n=256)
    for name, v, h in [
        ("gold", -1.25, 0.1),
        ("gold_unseen", 0.62, 0.1),
        ("proxy", 11.5, 1.0),
        ("held_out", -10.5, 1.0),
        ("kl", 25.25, 1.5),
        ("win_rate", 0.625, 0.05),
        ("rouge1", 0.4, 0.01),
        ("rouge2", 0.2, 0.01),
        ("rougeL", 0.35, 0.01),
        ("rougeLsum", 0.35, 0.01),
        ("bertscore", 0.875, 0.01),
        ("length", 123.5, 10.0),
        ("end_rate", 0.95, 0.01),
        ("distinct2", 0.5, 0.01),
    ]
}


def full(name="reinforce_plus_plus_baseline"):
    peak = {"gold": Metric(value=1.5)}
    metrics = Metrics(end=EVERYTHING, peak=peak)
    spent = {
        "sft": 900.0,
        "optimize": 1300.0,
        "training": 1234.0,
        "evaluate (end)": 34.0,
        "cell": 3000.0,
    }
    return record(name, metrics=metrics, peak_update=50, seconds=spent)


def test_the_terminal_table_fits_and_loses_nothing():
    lines = printed(board([full(), full("dpo"), control(metrics=Metrics(end=EVERYTHING))]))
    assert max(map(len, lines.splitlines())) <= 140
    (line,) = [x for x in lines.splitlines() if " dpo " in x]
    for words in ("−1.25±.10", "0.62", "11.50", "−10.50", "25.25±1.50", "0.350±.010", "1234"):
        assert words in line
    heading = next(x for x in lines.splitlines() if "recipe" in x)
    for words in ("gold", "> SFT", "unseen", "proxy", "held", "KL", "win rate", "ROUGE-L", "BERT"):
        assert words in heading
    assert "…" not in line
    assert "…" not in heading


def test_markdown_has_every_column():
    heading = next(x for x in to_markdown(board([full()])).splitlines() if x.startswith("| rank"))
    assert [c.strip(" ↑") for c in heading.strip("|").split(" | ")] == [
        *"rank,recipe,seeds,gold,beats SFT,gold unseen,gold at peak,proxy reward".split(","),
        *"held-out reward,KL,win rate vs SFT,ROUGE-1,ROUGE-2,ROUGE-L,ROUGE-Lsum".split(","),
        *"BERTScore,length,end rate,distinct-2,seconds,settings tried,tuned".split(","),
    ]


def test_csv_has_bounds_and_no_rounding():
    there = record(end={"gold": (1 / 3, 0.3, 0.4), "gold_part/coverage": 0.5})
    (line,) = csv.DictReader(io.StringIO(to_csv(board([there]))))
    assert float(line["gold"]) == 1 / 3
    assert (line["gold_low"], line["gold_high"]) == ("0.3", "0.4")
    assert line["gold_part/coverage"] == "0.5"
    assert line["kl"] == ""
    assert (line["rank"], line["recipe"], line["seeds"]) == ("1", "dpo", "0")


def test_a_tuned_row_says_so():
    found = board([record(config={"tuned": "digest/tiny/dpo"}, end={"gold": 1})])
    assert "dpo (tuned)" in printed(found)
    of_a_tuned_cell = board([record("sft", kind="control", config={"tuned": "digest/tiny/dpo"})])
    assert "(tuned)" not in printed(of_a_tuned_cell)
    assert to_markdown(found).splitlines()[6].endswith("| yes |")


def test_what_a_seed_changes_in_the_config_does_not_part_a_row():
    words = [{"overrides": [f"seed={s}"], "runs": f"runs{s}", "shared_seed": s} for s in (0, 1)]
    table = only([record(seed=s, config=words[s], end={"gold": 1}) for s in (0, 1)])
    assert [r.seeds for r in table.rows] == [(0, 1)]


def test_a_control_is_one_row_whatever_run_made_it():
    runs = [control(seed=s, config={"algo": {"name": f"made by {s}"}}) for s in (0, 1)]
    table = only([record(seed=0, end={"gold": 1}), *runs])
    assert [(r.recipe, r.seeds) for r in table.rows] == [("dpo", (0,)), ("sft", (0, 1))]


def test_seconds_leave_out_what_is_shared():
    assert only([full()]).rows[0].cells["seconds"].value == 1234


def test_latex_prints_what_recipes_are_called():
    runs = [
        record("dpo", end={"gold": (v, v - 0.25, v + 0.25)}, knobs={"x": x})
        for v, x in ((1, "50%_&"), (2, "{"))
    ]
    page = to_latex(board([*runs, control(end={"gold": 0.5}), failed()]))
    lines = page.splitlines()
    assert r"1 a & dpo x=\{ & 1 & - & 2.00 {\tiny$\pm$0.25} \\" in lines
    assert any(line.startswith(r"2 b & dpo x=50\%\_\& & 1 & ") for line in lines)
    rows = [x for x in lines if x.endswith(r"\\")]
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", page)[1]
    assert {len(re.findall(r"(?<!\\)&", x)) + 1 for x in rows} == {len(columns)}
    assert lines.count(r"\midrule") == 2
    assert "kto" not in page
    assert to_latex(board([])) == "% No records yet.\n"


def test_numbers():
    assert number(-0.001, 2) == "0.00"
    assert number(-0.5, 1) == "−0.5"
    assert number(None, 2) == "-"


def test_a_recipe_cannot_break_the_table():
    runs = [record("dpo", end={"gold": v}, knobs={"x": x}) for v, x in ((1, "a|b`c"), (2, "\n"))]
    lines = [x for x in to_markdown(board(runs)).splitlines() if x.startswith("| ")]
    assert "`dpo x=a\\|b'c`" in lines[2]
    assert len({x.replace("\\|", "").count("|") for x in lines}) == 1


def test_reward_models_have_a_table_a_task():
    end = {"accuracy": (0.75, 0.7, 0.8), "log_loss": 0.5, "margin_q05": -1.0}
    model = record("reward_model", kind="reward_model", end=end)
    bad = record("other", kind="reward_model", status="failed", error="no data", end={})
    found = board([model, bad, record(end={"gold": 1})])
    assert [r.recipe for r in found.tables[0].rows] == ["dpo"]
    page = to_markdown(found)
    assert "| reward model | seeds | accuracy ↑ | log loss ↓ | margin 5 % |" in page
    assert "| `reward_model` | 1 | 0.750<br><sub>[0.700, 0.800]</sub> | 0.500 | −1.000 |" in page
    assert "| `other` | 1 | failed: no data |  |  |" in page
    assert ": reward model reward_model (1 seed): accuracy 0.750, log loss 0.500" in printed(found)


def test_a_board_is_a_function_of_its_records():
    runs = [record(n, s, end={"gold": s}) for n in ("a", "b") for s in (0, 1)]
    assert board(runs) == board(runs[::-1])
    assert replace(board(runs).tables[0], notes=()) != board(runs).tables[0]


def test_a_terminal_shows_the_best_rows_and_all_controls_and_counts_the_others(monkeypatch):
    monkeypatch.setattr("bench.reports.render.SHOWN", 2)
    runs = [record(f"m{i}", end={"gold": i}) for i in range(5)]
    runs += [record(name, kind="control", end={"gold": 0}) for name in ("sft", "empty")]
    lines = [line.rstrip() for line in printed(board(runs)).splitlines()]
    assert [line.split()[2] for line in lines if line.startswith(("1 ", "2 "))] == ["m4", "m3"]
    assert "and 3 rows more: `prefzoo board format=csv`" in lines
    assert not [line for line in lines if "m0" in line]
    assert {"sft", "empty"} <= {line.split()[0] for line in lines if line}
