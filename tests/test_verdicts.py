"""The judge that a user chooses: who wins by it, what it likes, and what it may not rank."""

import shutil

import numpy as np
import pandas as pd
import pytest

from bench.metrics.win_rate import won
from bench.models.tokens import bpe
from bench.names import config_folder
from bench.reports import record as records
from bench.reports.board import board
from bench.reports.estimates import by_prompt
from bench.reports.judges import judges
from bench.reports.page import html, read_runs
from bench.reports.record import Metric, Parents
from bench.reports.render import to_markdown
from bench.run import control_record, identity, policy_record
from bench.stages import evaluate, optimize, verdicts
from bench.stages.cell import Cell
from bench.store import Store, StoreError, content_hash
from bench.tune import resolved
from tests import tiny
from tests.test_ai_labeller import shorter
from tests.test_board import control, only, row
from tests.test_end_to_end import SMALL
from tests.test_records import frame, record

pytestmark = pytest.mark.filterwarnings("ignore:ROUGE reads")  # what an untrained model babbles
WORDS = ["algo=dpo", "task=helpdesk", *SMALL, "budget.updates=2"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store that the tests of this module share."""
    return tmp_path_factory.mktemp("store")


def cell(root, *words: str) -> Cell:
    return Cell(resolved([*WORDS, *words], config_folder()), Store(root))


def behind(server, *words: str) -> list[str]:
    named = ["judge=endpoint", "judge.model=toy", f"judge.base_url={server.url}"]
    return [*named, "judge.requests.key_from=PREFZOO_KEY", *words]


def local(folder, *words: str) -> list[str]:
    short = ["preamble=Which?", "exemplars=[]", "ending=Better:"]
    asked = [f"judge.questions.{x}" for x in short]
    return ["judge=labeller", f"judge.model={folder}", *asked, *words]


def saved(folder, seed: int = 0):
    words = bpe(["Prompt: Answer 1: Answer 2: Better: Which?"], 300)
    model = tiny.llama(seed, vocab_size=len(words))
    model.config.max_position_embeddings = 2048
    for part in (model, words):
        part.save_pretrained(folder)
    return folder


# -- by hand


def pair(prompt: str, against: str, there: float, back: float, **changes) -> dict:
    told = {"prompt_id": prompt, "split": "test", "against": against, "asked": True}
    told |= {"there": there, "back": back, "p": (1 + there - back) / 2}
    for side in ("", "opponent_"):
        told |= {f"{side}words": 4, f"{side}length": 4, f"{side}gold": 0.0}
    return told | changes


TABLE = pd.DataFrame([
    # ours wins in both orders, is longer and better
    pair("x", "sft", 0.9, 0.2, words=6, gold=1.0),
    # the first wins in both orders, by more when it is ours; shorter, and worse
    pair("x", "references", 0.8, 0.6, words=3, gold=-1.0),
    # nobody was asked: the answers are one
    pair("y", "sft", np.nan, np.nan, asked=False, p=0.5),
    # one order could not be read, the other was for the second
    pair("y", "references", np.nan, 0.3, words=9, gold=1.0),
    # a place alone decides
    pair("z", "sft", 0.7, 0.7, words=5),
    pair("z", "references", 0.1, 0.9, words=5, gold=1.0),
    # nothing but the answers decides
    pair("w", "sft", 0.9, 0.1),
    pair("w", "references", 0.8, 0.3),
])  # fmt: skip


def test_what_a_judge_says_of_each_prompt_by_hand():
    nan = np.nan
    found = verdicts.columns(TABLE.sample(frac=1, random_state=0)).loc[list("xyzw")]
    expected = {
        "win_rate_by_judge": [1, 0.5, 0.5, 1],
        "win_rate_by_judge_over_references": [1, nan, 0, 1],
        # x: first, second; first, first. y: second. z: first, first; second, first
        "judge/first": [3 / 4, 0, 3 / 4, 1 / 2],
        "judge/inconsistent": [1 / 2, nan, 1 / 2, 0],
        # x: longer won; longer lost. z: a tie; longer lost
        "judge/longer": [1 / 2, nan, 1 / 4, nan],
        # x: as gold does; against it. z: gold ties the first; against it
        "judge/agrees": [1 / 2, nan, 0, nan],
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].tolist() == pytest.approx(values, nan_ok=True), name


def test_what_a_judge_is_like_is_a_mean_over_prompts_with_its_interval():
    found = verdicts.metrics(TABLE, "toy")
    first = found["judge/first"]
    assert (first["value"], first["n"]) == (0.5, 4)
    assert 0 <= first["low"] < 0.5 < first["high"] <= 0.75
    assert found["win_rate_by_judge_over_references"]["value"] == pytest.approx(2 / 3)
    assert found["win_rate_by_judge_over_references"]["n"] == 3
    assert (found["judge/unread"]["value"], found["judge/unread"]["n"]) == (1 / 14, 14)
    assert found["win_rate_by_judge_at_equal_length"]["n"] == 4
    assert {x["signature"] for x in found.values()} == {"toy"}
    unseen = verdicts.metrics(TABLE.assign(split="test_unseen"), "toy")
    assert unseen == {f"{name}_unseen": x for name, x in found.items()}


def test_without_gold_or_differences_nothing_is_said_of_either():
    plain = TABLE.drop(columns=["gold", "opponent_gold"])
    assert "judge/agrees" not in verdicts.metrics(plain, "toy")
    same = TABLE.assign(asked=False, p=0.5, there=np.nan, back=np.nan)
    found = verdicts.metrics(same, "toy")
    assert not [name for name in found if name.startswith("judge/")]
    assert found["win_rate_by_judge"]["value"] == 0.5


def test_a_preference_wins_ties_or_loses():
    assert won([0.51, 0.5, 0.5 + 1e-9, 0.2]).tolist() == [1, 0.5, 0.5, 0]
    assert np.isnan(won([np.nan])).all()


# -- in a cell


def test_a_judge_behind_an_endpoint_joins_record_and_file(root, tmp_path, serve):
    server = serve(shorter)
    asking = cell(root, *behind(server), f"runs={tmp_path}/runs")
    dpo = policy_record(asking, "dpo-1")
    sft, references = (control_record(asking, x, f"{x}-1") for x in ("sft", "references"))
    asked = len(server.asked)
    assert asked == len(set(server.prompts))
    table = pd.read_parquet(tmp_path / "runs" / "verdicts" / f"{dpo.run_id}.parquet")
    beside = records.read_per_prompt(dpo, tmp_path / "runs" / "records")
    shown = {
        name: pd.read_parquet(cell(root).make(evaluate, who=who) / "answers.parquet")["response"]
        for name, who in (("ours", "end"), ("sft", "sft"), ("references", "references"))
    }
    lengths = {name: texts.str.strip().str.len() for name, texts in shown.items()}
    unread = {
        x: (lengths["ours"] + lengths[x] + len("Answer 1: Answer 2: ")) % 5 == 0
        for x in ("sft", "references")
    }
    for against, column in verdicts.OPPONENTS.items():
        gap = lengths[against] - lengths["ours"]
        wins = (1 + np.sign(gap)) / 2
        same = shown["ours"].str.strip() == shown[against].str.strip()
        wins = wins.where(~unread[against] | same)
        assert beside[column].tolist() == pytest.approx(wins.tolist(), nan_ok=True)
        test = wins[beside["split"] == "test"].dropna()
        assert dpo.metrics.end[column].value == pytest.approx(test.mean())
        assert dpo.metrics.end[column].n == len(test)
    assert len(table) == 2 * len(beside)
    known = dpo.metrics.end["judge/unread"]
    here = table[(table["split"] == "test") & table["asked"]]
    assert known.n == 2 * len(here)
    assert known.value == here["there"].isna().mean() > 0
    assert dpo.metrics.end["judge/longer"].value < 0.5
    assert dpo.metrics.end["win_rate_by_judge"].signature.startswith(f"toy at {server.url} (")
    assert sft.metrics.end["win_rate_by_judge"].value == 0.5
    assert references.metrics.end["win_rate_by_judge_over_references"].value == 0.5
    assert dpo.parents.others["judge"] == f"toy at {server.url}"
    assert "labeller" not in dpo.parents.others

    again = policy_record(asking, "dpo-1")
    assert again.metrics == dpo.metrics
    assert len(server.asked) == asked  # nothing is asked again


def test_records_say_who_refuses_and_who_wins_over_the_references(root, tmp_path):
    plain = cell(root, f"runs={tmp_path}/runs")
    dpo = policy_record(plain, "dpo-1")
    references, empty = (control_record(plain, x, f"{x}-1") for x in ("references", "empty"))
    for suffix in ("", "_unseen"):
        ideal, silent = references.metrics.end, empty.metrics.end
        assert ideal[f"refusal_rate{suffix}"].value == 1
        assert ideal[f"refusal_rate{suffix}"].low < 1  # of a few prompts
        assert ideal[f"over_refusal_rate{suffix}"].value == 0
        assert ideal[f"win_rate_over_references{suffix}"].value == 0.5
        assert silent[f"refusal_rate{suffix}"].value == 0
        assert silent[f"win_rate_over_references{suffix}"].value == 0
    table = records.read_per_prompt(dpo, tmp_path / "runs" / "records")
    test = table[table["split"] == "test"]
    for name in ("refusal_rate", "over_refusal_rate", "win_rate_over_references"):
        assert dpo.metrics.end[name].value == pytest.approx(test[name].mean())
        assert dpo.metrics.end[name].n == test[name].count()
    counts = [dpo.metrics.end[f"{x}refusal_rate"].n for x in ("", "over_")]
    assert sum(counts) == len(test) > min(counts) > 0
    signature = dpo.metrics.end["win_rate_over_references"].signature
    assert signature == "against the references, ties count half, judge: gold"
    assert not [name for name in dpo.metrics.end if "judge" in name]


def test_who_does_not_ask_for_a_judge_has_the_artifacts_and_records_of_ever(root, tmp_path):
    plain, judged = cell(root), cell(root, "judge=endpoint", "judge.model=toy")
    assert "judge" not in plain.config
    for stage, choice in ((optimize, {}), (evaluate, {"who": "end"}), (evaluate, {"who": "sft"})):
        assert plain.key(stage, **choice) == judged.key(stage, **choice)
    assert identity(plain, "dpo") == content_hash([plain.inputs(evaluate, who="end"), "dpo"])
    assert identity(plain, "sft", True) == content_hash(plain.inputs(evaluate, who="sft"))
    assert identity(plain, "dpo") != identity(judged, "dpo")
    assert identity(plain, "sft", True) != identity(judged, "sft", True)


def test_how_the_judge_is_asked_is_no_part_of_a_key(root):
    words = ["judge=endpoint", "judge.model=toy"]
    plain = cell(root, *words).key(verdicts, who="end")
    assert plain == cell(root, *words, "judge.requests.retries=1").key(verdicts, who="end")
    for other in ("model=other", "base_url=http://x/v1", "questions.ending=Best", "temperature=1"):
        assert plain != cell(root, *words, f"judge.{other}").key(verdicts, who="end")


def test_a_local_judge_is_its_weights_wherever_they_lie(root, tmp_path):
    here = saved(tmp_path / "judge")
    shutil.copytree(here, tmp_path / "elsewhere")
    saved(tmp_path / "other", seed=1)
    keys = [
        cell(root, *local(tmp_path / x)).key(verdicts, who="end")
        for x in ("judge", "elsewhere", "other")
    ]
    assert keys[0] == keys[1] != keys[2]
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="empty holds no safetensors"):
        cell(root, *local(tmp_path / "empty")).key(verdicts, who="end")


def test_a_local_model_judges(root, tmp_path):
    judged = cell(root, *local(saved(tmp_path / "judge")))
    table = pd.read_parquet(judged.make(verdicts, who="end") / "verdicts.parquet")
    assert table["asked"].any()
    said = table.loc[table["asked"], ["there", "back"]]
    assert said.stack().between(0, 1, inclusive="neither").all()
    found = judged.notes(verdicts, who="end")["metrics"]
    assert found["judge/unread"]["value"] == 0
    assert 0 <= found["win_rate_by_judge"]["value"] <= 1
    assert found["win_rate_by_judge"]["signature"].startswith("judge (")


# -- on the board


def judged(recipe: str, value: float, judge: str = "toy", seed: int = 0, **changes):
    end = {"win_rate_by_judge": Metric(value=value, n=8, signature=judge)}
    end |= {"judge/first": Metric(value=0.6, n=8, signature=judge)}
    end |= {"judge/unread": Metric(value=0.25, n=32, signature=judge)}
    return record(recipe, seed, end=end | changes.pop("end", {}), **changes)


def test_one_judge_of_all_methods_ranks_where_there_is_no_gold():
    both = [judged("a", 0.4, end={"win_rate": 0.9}), judged("b", 0.6, end={"win_rate": 0.1})]
    table = only(both)
    assert (table.signal, table.rows[0].recipe) == ("win_rate_by_judge", "b")
    assert only([*both, record("c", end={"win_rate": 0.3})]).signal == "win_rate"
    other = judged("c", 0.9, judge="another", end={"win_rate": 0.3})
    apart = only([*both, other])
    assert apart.signal == "win_rate"
    assert any("NOT COMPARABLE" in note for note in apart.notes)
    assert only([judged("a", 0.4, end={"gold": 1.0}), *both[1:]]).signal == "gold"


def test_seeds_of_a_row_are_not_judged_by_two():
    gold = {"gold": 1.0}
    seeds = [judged("a", 0.4, seed=0, end=gold), judged("a", 0.9, seed=1, judge="other", end=gold)]
    assert any("NOT COMPARABLE" in note for note in only(seeds).notes)
    same = [judged("a", x, seed=i, end=gold) for i, x in enumerate((0.4, 0.9))]
    assert not any("NOT COMPARABLE" in note for note in only(same).notes)


def test_a_row_trained_on_its_judge_is_told_and_not_ranked():
    others = {"judge": "toy at x", "labeller": "toy at x"}
    taught = judged("rlaif", 0.9, parents=Parents(others=others))
    else_taught = judged("dpo", 0.5, parents=Parents(others=others | {"labeller": "toy at y"}))
    sft = control("sft", parents=taught.parents)  # made beside it
    table = only([taught, else_taught, sft])
    assert row(table, "rlaif").section == "trained_on"
    assert row(table, "dpo").rank == 1
    assert any(note.startswith("Trained on what their judge says: rlaif.") for note in table.notes)
    with_gold = only([judged("rlaif", 0.9, parents=taught.parents, end={"gold": 1.0})])
    assert row(with_gold, "rlaif").rank == 1
    assert any("Trained on what their judge says: rlaif." in note for note in with_gold.notes)


def test_a_run_that_was_judged_is_a_row_with_the_one_that_was_not():
    end = {"gold": Metric(value=1.0, n=8)}
    plain = record("dpo", end=end)
    asked = judged("dpo", 0.5, end=end, config={"judge": {"model": "toy"}}, run_id="dpo-judged")
    table = only([plain, asked])
    (one,) = table.rows
    assert one.recipe == "dpo"
    assert one.runs == ("dpo-judged",)
    assert one.cells["win_rate_by_judge"].value == 0.5


def test_the_board_says_what_the_judge_likes():
    two = [judged("a", 0.4, end={"gold": 1.0}), judged("b", 0.6, end={"gold": 2.0})]
    controls = [judged("sft", 0.5, kind="control", algorithm=None, feedback=None)]
    (line,) = [note for note in only([*two, *controls]).notes if note.startswith("The judge")]
    assert line == (
        "The judge toy: takes the first of two answers in 0.60 (16 prompts, each method's counted); "
        "16 of its 64 answers could not be read (25.0%)."
    )
    assert line.split(":")[0] in to_markdown(board(two))
    assert not any(note.startswith("The judge") for note in only([record(end={"gold": 1})]).notes)


def test_likings_are_pooled_with_bounds_that_know_of_shared_prompts():
    """Two runs with the very same verdicts tell no more of a judge than one."""
    values = np.r_[np.ones(30), np.zeros(20)]
    metric = Metric(value=0.6, n=50, signature="toy")
    runs = [
        record(x, end={"win_rate_by_judge": metric, "judge/first": metric}, run_id=x) for x in "ab"
    ]
    table = frame(np.zeros(50), **{"judge/first": values})
    answers = {r.run_id: by_prompt(table) for r in runs}
    (one,) = judges(runs[:1], answers)
    (both,) = judges(runs, answers)
    ours, theirs = both.likings["judge/first"], one.likings["judge/first"]
    assert ours.value == pytest.approx(0.6)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert (theirs.n, ours.n) == (50, 100)
    assert theirs.high - theirs.low == pytest.approx(2 * 1.96 * (0.24 / 50) ** 0.5, rel=0.1)


def test_the_page_shows_the_judge_and_cannot_be_broken_by_its_name(tmp_path):
    hostile = "<script>toy</script>"
    records.write(judged("dpo", 0.5, judge=hostile, end={"gold": 1.0}), tmp_path)
    page = html(read_runs(tmp_path))
    assert 'id="judge"' in page
    assert hostile not in page
    assert "&lt;script&gt;toy&lt;/script&gt;; 8 of its 32 answers" in page
    records.write(record("ipo", end={"gold": 1.0}), tmp_path / "without")
    assert 'id="judge"' not in html(read_runs(tmp_path / "without"))
