"""Reward models as stages make them: ensembles, reports, single labels, and what records say of them."""

import json
import random

import numpy as np
import pandas as pd
import pytest
import torch

from bench.feedback import people
from bench.feedback.answer import Answer
from bench.models.rewards import RewardModel
from bench.models.tokens import Tokens, load_tokenizer, prompt_ids, response_ids
from bench.names import config_folder
from bench.reports import record as records
from bench.run import run, trained_on
from bench.stages import (
    disagreement,
    ensemble,
    evaluate,
    feeds,
    labels,
    optimize,
    reward_model,
    reward_report,
    samples,
    tokenizer,
)
from bench.stages.cell import Cell
from bench.store import Store
from bench.tasks.example import DataError
from bench.training.feeds import LabelRows, PairRows, take
from bench.tune import resolved
from tests.test_end_to_end import SMALL

ONE = {"by": "dataset", "part": "train"}
THREE = ["feedback=ensemble", "feedback.ensemble.members=3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store that the tests of this module share."""
    return tmp_path_factory.mktemp("store")


def cell(root, *words: str) -> Cell:
    config = resolved([*SMALL, "budget.updates=2", f"store={root}", *words], config_folder())
    return Cell(config, Store(root))


def margins(made: Cell) -> pd.DataFrame:
    return pd.read_parquet(made.make(reward_report) / "margins.parquet")


# -- ensembles


def test_a_recipe_without_an_ensemble_has_one_model_and_its_key(root):
    alone = cell(root, "algo=ppo")
    assert ensemble.members(alone) == {"reward_model": ONE}
    assert ensemble.identity(alone) == alone.key(reward_model, **ONE)


def test_members_are_models_of_their_own(root):
    three = cell(root, "algo=ppo", *THREE)
    found = ensemble.members(three, "trained_on")
    assert found == {f"trained_on/{i}": {**ONE, "member": i} for i in (1, 2, 3)}
    keys = {three.key(reward_model, **x) for x in (ONE, *found.values())}
    assert len(keys) == 4
    seeds = {reward_model.inputs(three, **x)["seed"] for x in (ONE, *found.values())}
    assert len(seeds) == 4


@pytest.mark.parametrize("change", ["members=2", "combine=mean", "coef=0.5", "ddof=0"])
def test_another_ensemble_trains_and_evaluates_another_policy(root, change):
    this = cell(root, "algo=ppo", *THREE)
    other = cell(root, "algo=ppo", *THREE, f"feedback.ensemble.{change}")
    assert this.key(optimize) != other.key(optimize)
    assert this.key(evaluate, who="end") != other.key(evaluate, who="end")
    assert this.key(evaluate, who="sft") == other.key(evaluate, who="sft")


def test_taken_rows_come_in_the_order_asked_for_and_as_often():
    rows = PairRows(["a", "b", "c"], ["x", "y", "z"], [1.0, 0.9, 0.8], [0.0, 1.0, 2.0])
    drawn = take(rows, [2, 0, 2])
    assert (drawn.chosen, drawn.rejected) == (["c", "a", "c"], ["z", "x", "z"])
    assert (drawn.p_chosen, drawn.margin) == ([0.8, 1.0, 0.8], [2.0, 0.0, 2.0])
    assert drawn.target is None


def test_a_member_learns_from_as_many_pairs_drawn_with_replacement(root, tmp_path, monkeypatch):
    three = cell(root, "algo=ppo", *THREE, "budget.shared=0.02")
    words = load_tokenizer(three.make(tokenizer))
    whole = labels.pair_rows(three, words, "dataset", "train")

    def learned_from(**choice: float) -> PairRows:
        """What would be trained on."""

        class Seen(Exception):
            pass

        def compared(algo, data, *rest):
            raise Seen(data)

        with monkeypatch.context() as patch:
            patch.setattr("bench.training.feeds.compared", compared)
            with pytest.raises(Seen) as seen:
                reward_model.build(three, tmp_path, tmp_path, **ONE, **choice)
        return seen.value.args[0]

    assert learned_from() == whole
    first, second = learned_from(member=1), learned_from(member=2)
    pairs = list(zip(whole.chosen, whole.rejected, strict=True))
    for some in (first, second):
        drawn = list(zip(some.chosen, some.rejected, strict=True))
        assert len(drawn) == len(pairs)
        assert all(pair in pairs for pair in drawn)
        assert 0.5 < sum(pair in drawn for pair in pairs) / len(pairs) < 0.8  # 1 − 1/e
    assert first != second
    assert len(learned_from(member=1, share=0.1)) == round(0.1 * len(pairs))


def test_rollouts_are_rewarded_by_all_members_each_on_its_own_scale(root):
    three = cell(root, "algo=ppo", *THREE)
    words = load_tokenizer(three.make(tokenizer))
    pairs = labels.pair_rows(three, words, "dataset", "test")
    models = [
        RewardModel.load(three.make(reward_model, **x)) for x in ensemble.members(three).values()
    ]
    tokens = Tokens.collate([*pairs.chosen, *pairs.rejected], words.pad_token_id)
    each = np.array([m(tokens).tolist() for m in models])
    assert (np.ptp(each, axis=0) > 1e-4).all()  # members differ
    assert each.mean(1) == pytest.approx(np.zeros(3), abs=1e-4)
    assert each.std(1) == pytest.approx(np.ones(3), abs=1e-4)
    reward = feeds.reward_of(three, "cpu")
    table, known = labels.table(three, "dataset", "test"), labels.by_id(three)
    examples = [known[i] for i in table["example"]]
    answers = [
        Answer("", tuple(ids)) for side in ("chosen", "rejected") for ids in table[f"{side}_ids"]
    ]
    said = reward(examples * 2, answers)
    assert said == pytest.approx(each.mean(0) - 0.1 * each.var(0, ddof=1), abs=1e-5)


def test_the_critic_of_an_ensemble_starts_from_a_member(root):
    three = cell(root, "algo=ppo", *THREE)
    first = RewardModel.load(three.make(reward_model, **ONE, member=1)).model
    critic = optimize.first_critic(three, base=None)
    for ours, theirs in zip(
        critic.base_model.parameters(), first.base_model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


# -- reports


@pytest.fixture(scope="module")
def reported(root):
    """A cell of digest whose reward model is reported on helpdesk, too."""
    words = ["algo=bradley_terry", "budget.shared=0.1", "task@other=helpdesk"]
    sizes = [f"other.load.{split}={n}" for split, n in (("train", 400), ("validation", 40))]
    return cell(root, *words, *sizes)


def test_a_report_agrees_with_the_model_and_its_labels(reported):
    notes, own = reported.notes(reward_report), reported.notes(reward_model, **ONE)
    for name in ("accuracy", "accuracy_gold"):
        for part in ("value", "low", "high", "n"):
            assert notes["metrics"][name][part] == pytest.approx(own[name][part]), (name, part)
    frame = margins(reported)
    test = frame[frame["split"] == "test"]
    gap = labels.table(reported, "dataset", "test")
    assert list(test["prompt_id"]) == list(gap["example"])
    ordered = np.sign(gap["gold_chosen"] - gap["gold_rejected"]) * np.sign(test["margin"])
    assert list(test["accuracy_gold"]) == list((ordered + 1) / 2)
    assert (test["log_odds"] == test["margin"] * own["scale"]).all()
    loss = notes["metrics"]["log_loss"]
    assert loss["value"] == pytest.approx(np.log1p(np.exp(-test["log_odds"])).mean())
    assert loss["low"] < loss["value"] < loss["high"]
    assert notes["metrics"]["margin_q50"]["value"] == pytest.approx(test["margin"].median())
    assert sum(b["accuracy"]["n"] for b in notes["calibration"]) == len(test)


def test_every_set_of_pairs_has_its_prompts_and_its_metrics(reported):
    frame, found = margins(reported), reported.notes(reward_report)["metrics"]
    there = reward_report.other(reported)
    wanted = {
        "test": reported.task.splits["validation"],
        "test_unseen": reported.task.splits["test_unseen"],
        "test_other": there.task.splits["validation"],
    }
    assert set(frame["split"]) == set(wanted)
    for split, rows in wanted.items():
        some = frame[frame["split"] == split]
        assert set(some["prompt_id"]) <= {x.id for x in rows}
        metric = found["accuracy" + split.removeprefix("test")]
        assert metric["value"] == pytest.approx(some["accuracy"].mean())
        assert metric["n"] == len(some)
    assert found["accuracy_other"]["signature"].startswith("task helpdesk v")
    assert 0.2 < found["unknown_tokens_other"]["value"] < 1


def test_another_domain_is_read_by_the_tokenizer_of_the_model(reported):
    words = load_tokenizer(reported.make(tokenizer))
    there = reward_report.other(reported)
    known, rows = reward_report.foreign(reported, there, words)
    prompt, answer = rows.chosen[0]
    assert words.decode(answer[:-1]).replace("<unk>", "").split() <= known["chosen"].iloc[0].split()
    assert answer[-1] == words.eos_token_id
    assert prompt[0] == words.bos_token_id
    share = np.mean(
        [
            t == words.unk_token_id
            for i in range(len(rows))
            for p, y in rows.of(i)
            for t in [*p, *y[:-1]]
        ]
    )
    assert reward_report.unknown(rows, words)["value"] == pytest.approx(share)


def test_what_the_tokenizer_cannot_tell_apart_is_half_right(reported, monkeypatch):
    reported.make(reward_model, **ONE)
    said, rounding = RewardModel.__call__, iter((0.0, 1e-6))  # another in another batch
    monkeypatch.setattr(RewardModel, "__call__", lambda *x: said(*x) + next(rounding))
    words = load_tokenizer(reported.make(tokenizer))
    known = labels.table(reported, "dataset", "test")[:2]
    pairs = labels.pair_rows(reported, words, "dataset", "test")
    same = PairRows(
        [pairs.chosen[0], pairs.chosen[1]],
        [pairs.chosen[0], pairs.rejected[1]],
        [1.0] * 2,
        [0.0] * 2,
    )
    frame = reward_report.judged(reported, known, same, words.pad_token_id)
    assert list(frame["alike"]) == [True, False]
    assert (frame["margin"][0], frame["accuracy"][0]) == (0.0, 0.5)
    assert frame["margin"][1] != 0
    found = reward_report.measured(frame, "_here", "")
    assert found["alike_here"]["value"] == 0.5


def test_nothing_that_fits_the_model_is_one_line(reported, root):
    there = reward_report.other(reported)
    narrow = Cell(
        {**reported.config, "model": {**reported.config["model"], "context": 5}}, Store(root)
    )
    words = load_tokenizer(reported.make(tokenizer))
    with pytest.raises(DataError, match=r"task helpdesk: no answer fits into 5 tokens.*context"):
        reward_report.foreign(narrow, there, words)


def test_the_other_domain_is_no_matter_of_the_model(reported, root):
    alone = cell(root, "algo=bradley_terry", "budget.shared=0.1")
    assert "other" not in alone.config
    assert alone.key(reward_model, **ONE) == reported.key(reward_model, **ONE)
    assert alone.key(reward_report) != reported.key(reward_report)
    local = resolved(
        ["algo=bradley_terry", "task@other=local", "other.path=theirs.jsonl"], config_folder()
    )
    assert local["other"]["load"]["path"] == "theirs.jsonl"


def test_an_ensemble_is_reported_together_and_one_by_one(root, tmp_path):
    three = cell(root, "algo=bradley_terry", *THREE, f"runs={tmp_path}")
    (record,) = run(three.config)
    together = ensemble.combination(three)
    frame, found = margins(three), record.metrics.end
    assert {f"accuracy/{i}" for i in (1, 2, 3)} < set(found)
    words = load_tokenizer(three.make(tokenizer))
    pairs = labels.pair_rows(three, words, "dataset", "test")
    sides = []
    for rows in (pairs.chosen, pairs.rejected):
        tokens = Tokens.collate(rows, words.pad_token_id)
        models = ensemble.members(three).values()
        sides.append(
            together(
                [RewardModel.load(three.make(reward_model, **x))(tokens).tolist() for x in models]
            )
        )
    test = frame[frame["split"] == "test"]
    assert list(test["margin"]) == pytest.approx(np.subtract(*sides))
    assert found["accuracy"].value == pytest.approx((test["margin"] > 0).mean())
    assert "log_odds" not in frame  # a combination states no odds
    assert "calibration_error" not in found
    assert not record.calibration
    assert set(record.reward_models) == set(ensemble.members(three))
    assert records.read_per_prompt(record, tmp_path / "records").equals(frame)


# -- single labels

LABELS = ["task=local", "task.response_tokens=12", "budget.shared=0.05"]


@pytest.fixture(scope="module")
def labelled(root, tmp_path_factory) -> Cell:
    """A task of single labels, where the last word says which is which."""
    path, draw = tmp_path_factory.mktemp("data") / "labels.jsonl", random.Random(0)
    rows = []
    for i in range(300):
        good = draw.random() < 0.7
        said = " ".join(draw.choices("anna ben sold moved lamps chairs".split(), k=3))
        rows.append(
            {
                "prompt": f"report {i}",
                "completion": f"{said} {'fine' if good else 'bad'}",
                "label": good,
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [w for w in SMALL if not w.startswith("task.")]
    config = resolved(
        ["algo=pointwise", *LABELS, *words, f"task.path={path}", f"store={root}"], config_folder()
    )
    return Cell(config, Store(root))


def test_a_task_of_single_labels_teaches_them_where_the_algorithm_can_learn_from_them(labelled):
    assert labels.labeller(labelled) == "dataset"
    words = load_tokenizer(labelled.make(tokenizer))
    parts = {}
    for part in ("train", "held_out", "test"):
        rows, known = (
            labels.rows(labelled, words, "dataset", part),
            labels.table(labelled, "dataset", part),
        )
        by_id = labels.by_id(labelled)
        assert isinstance(rows, LabelRows)
        assert list(rows.desirable) == [by_id[i].desirable for i in known["example"]]
        assert [words.decode(y[:-1]) for _, y in rows.rows] == [
            by_id[i].completion for i in known["example"]
        ]
        parts[part] = set(known["example"])
    assert len(set.union(*parts.values())) == sum(map(len, parts.values()))
    assert parts["test"] <= {x.id for x in labelled.examples("validation")}


def test_single_labels_teach_a_classifier_whatever_the_recipe_says_of_pairs(labelled):
    """So that KTO on such a task has a judge without a word of its user."""
    config = resolved(["algo=kto", *labelled.config["overrides"][1:]], config_folder())
    other = Cell(config, labelled.store)
    assert config["model"]["reward_model"]["algo"]["_target_"] == "algos.BradleyTerry"
    assert labels.labeller(other) == "dataset"
    assert reward_model.learner(other, "dataset") == {"_target_": "algos.Pointwise"}
    with pytest.raises(DataError, match="single labels and no pairs"):
        labels.pair_rows(other, None, "dataset", "train")


def test_a_reward_model_of_labels_is_measured_on_labels_and_scaled_on_sft_samples(labelled):
    notes = labelled.notes(reward_model, **ONE)
    model = RewardModel.load(labelled.make(reward_model, **ONE))
    words = load_tokenizer(labelled.make(tokenizer))
    drawn = pd.read_parquet(labelled.make(samples, part="test") / "samples.parquet")
    prompts = prompt_ids(words, [labels.by_id(labelled)[i].prompt for i in drawn["example"]])
    rows = list(zip(prompts, map(list, drawn["ids"]), strict=True))
    said = model(Tokens.collate(rows, words.pad_token_id)).numpy()
    assert (said.mean(), said.std()) == pytest.approx((0, 1), abs=1e-3)
    test = labels.rows(labelled, words, "dataset", "test")
    raw = model(Tokens.collate(test.rows, words.pad_token_id)).numpy() * model.scale + model.offset
    wanted = np.array(test.desirable)
    assert notes["accuracy"]["value"] == pytest.approx(((raw > 0) == wanted).mean())
    assert notes["accuracy_commoner"]["value"] == max(wanted.mean(), 1 - wanted.mean())
    assert notes["labels"] == len(labels.table(labelled, "dataset", "train"))
    found = labelled.notes(reward_report)["metrics"]
    assert found["accuracy"]["value"] == notes["accuracy"]["value"]
    assert list(margins(labelled)["log_odds"]) == pytest.approx(
        np.where(wanted, raw, -raw), abs=1e-4
    )


# -- records


@pytest.mark.parametrize(
    ("words", "others"),
    [
        (["algo=ppo"], {}),  # the proxy itself
        (["algo=dpo"], {}),
        (["algo=dpo", *THREE], {}),  # its pairs taught directly
        (["algo=ppo", "feedback=gold"], {}),
        (["algo=rlaif"], {"trained_on": {"by": "judge", "part": "train"}}),
    ],
    ids=str,
)
def test_the_reward_model_of_training_is_named_where_it_is_another(root, words, others):
    assert trained_on(cell(root, *words)) == others


def test_a_record_says_on_what_scale_its_rewards_are(root, tmp_path):
    three = cell(root, "algo=ppo", *THREE, f"runs={tmp_path}", "seed=1")
    policy, *controls = run(three.config)
    trained = ensemble.members(three, "trained_on")
    assert set(policy.reward_models) == {"proxy", "held_out", *trained}
    for name, x in trained.items():
        model = RewardModel.load(three.make(reward_model, **x))
        said = policy.reward_models[name]
        assert (said.key, said.offset, said.scale) == (
            three.key(reward_model, **x), model.offset, model.scale,
        )  # fmt: skip
    assert policy.reward_models["proxy"].key == policy.parents.reward_model
    assert policy.reward_models["held_out"].key == policy.parents.held_out_reward_model
    for control in controls:
        assert set(control.reward_models) == {"proxy", "held_out"}
    signed = policy.metrics.end["trained_reward"].signature
    assert signed.startswith("uncertainty_weighted (coef 0.1, ddof 1) of 3 reward models")
    assert records.read(tmp_path / f"records/{policy.run_id}.json") == policy


# -- what a person should label first


def test_members_disagree_as_often_as_two_of_them_differ():
    # all alike; one of three against two; an even split of four; one that cannot tell
    three = np.array([[1.0, 2.0], [3.0, 0.1], [0.5, -1.0]])
    assert disagreement.disagreement(three) == pytest.approx([0, 2 / 3])
    four = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    assert disagreement.disagreement(four) == pytest.approx([4 / 6])
    assert disagreement.disagreement(np.array([[1.0], [0.0]])) == pytest.approx([0.5])


def test_the_most_disputed_are_told_apart_and_ties_of_gold_left_out():
    margins = np.array([1.0, -1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0])
    exact = np.array([-1.0, -1.0, 0.0, 2.0, 2.0, 2.0, 2.0, 0.0])
    found = disagreement.accuracies(margins, exact)  # a quarter of eight is two
    assert (found["accuracy_disputed"]["value"], found["accuracy_disputed"]["n"]) == (0.5, 2)
    assert (found["accuracy_undisputed"]["value"], found["accuracy_undisputed"]["n"]) == (0.75, 4)


def test_the_queue_comes_back_as_pairs(root, tmp_path):
    three = cell(root, "algo=ppo", *THREE)
    queue = three.make(disagreement) / "disagreement.jsonl"
    rows = [json.loads(line) for line in queue.read_text().splitlines()]
    shares = [row["disagreement"] for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert {row["better"] for row in rows} == {None}
    learned = set()
    for part in ("train", "held_out"):
        learned |= set(labels.table(three, "dataset", part)["example"])
    assert not learned & {row["id"] for row in rows}

    rows[0]["better"], rows[1]["better"] = "a", "b"
    filled = tmp_path / "queue.jsonl"
    filled.write_text("".join(json.dumps(row) + "\n" for row in rows))
    people = cell(root, "algo=dpo", "feedback=people", f"feedback.file={filled}")
    own, found = labels.table(three, "dataset", "train"), labels.table(people, "people", "train")
    pd.testing.assert_frame_equal(found[: len(own)], own)
    added = found[len(own) :]
    assert list(added["example"]) == [rows[0]["id"], rows[1]["id"]]
    assert list(added["chosen"]) == [rows[0]["a"], rows[1]["b"]]
    assert list(added["rejected"]) == [rows[0]["b"], rows[1]["a"]]
    assert added["gold_chosen"].notna().all()
    words = load_tokenizer(people.make(tokenizer))
    assert list(added["chosen_ids"].iloc[0]) == response_ids(words, [rows[0]["a"]])[0]
    assert labels.table(people, "people", "test").equals(labels.table(three, "dataset", "test"))
    key = people.key(labels, by="people", part="train")
    rows[2]["better"] = "a"
    filled.write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = cell(root, "algo=dpo", "feedback=people", f"feedback.file={filled}")
    assert again.key(labels, by="people", part="train") != key


def test_one_model_cannot_disagree(root):
    with pytest.raises(DataError, match="feedback=ensemble"):
        cell(root, "algo=ppo").make(disagreement)


LINE = {"id": "x", "a": "one", "b": "two", "better": "a"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: not JSON"),
        (json.dumps({"id": "x"}), "line 2: a line has `id`, `a`, `b` and `better`"),
        (json.dumps(LINE | {"better": "c"}), "line 2: `better` is 'c'"),
        (json.dumps(LINE | {"a": " "}), "line 2: .* not empty"),
    ],
)
def test_a_bad_line_of_a_queue_is_named(tmp_path, line, says):
    path = tmp_path / "queue.jsonl"
    path.write_text(json.dumps(LINE | {"better": None}) + "\n" + line + "\n")
    with pytest.raises(DataError, match=says):
        list(people.verdicts(path))
    with pytest.raises(DataError, match="there is no such file"):
        list(people.verdicts(tmp_path / "none.jsonl"))


def test_a_queue_without_verdicts_or_of_another_task_is_told(root, tmp_path):
    path = tmp_path / "queue.jsonl"
    for line, says in [(LINE | {"better": None}, "no line has a verdict"), (LINE, "has no 'x'")]:
        path.write_text(json.dumps(line) + "\n")
        told = cell(root, "algo=dpo", "feedback=people", f"feedback.file={path}")
        with pytest.raises(DataError, match=says):
            labels.table(told, "people", "train")
