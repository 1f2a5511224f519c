"""An AI labeller inside a cell: labels, rewards, what is kept of them and what is not."""

import shutil

import numpy as np
import pandas as pd
import pytest

from algos import BradleyTerry
from bench.feedback.answer import Answer
from bench.feedback.labeller import LabellerError
from bench.models.tokens import bpe, load_tokenizer
from bench.names import config_folder
from bench.stages import ai_labeller, feeds, labels, optimize, reward_model, samples, tokenizer
from bench.stages.cell import Cell
from bench.store import Store
from bench.tasks.example import Example
from bench.training.feeds import compared
from bench.tune import resolved
from tests import tiny
from tests.server import KEY, completion
from tests.test_end_to_end import SMALL

BY = {"by": "labeller", "part": "train"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store that the tests of this module share."""
    return tmp_path_factory.mktemp("store")


def cell(root, *words: str) -> Cell:
    return Cell(resolved([*SMALL, "budget.updates=2", *words], config_folder()), Store(root))


def behind(server, *words: str) -> list[str]:
    named = ["feedback.labeller.model=toy", f"feedback.labeller.base_url={server.url}"]
    return ["feedback=endpoint", "feedback.labeller.requests.key_from=PREFZOO_KEY", *named, *words]


def shorter(number: int, body: dict) -> tuple[int, dict]:
    """3 : 1 for the shorter of the two answers, and no answer about every fifth pair."""
    *_, first, second, _ = body["messages"][0]["content"].splitlines()
    if len(first + second) % 5 == 0:
        return 200, completion("Who knows?", [{"Who": -0.1, "I": -3.0}])
    side = "1" if len(first) <= len(second) else "2"
    other = "2" if side == "1" else "1"
    return 200, completion(side, [{side: np.log(0.6), other: np.log(0.2)}])


def test_labels_of_an_endpoint_are_soft_counted_and_kept(root, serve):
    server = serve(shorter)
    one = cell(root, "algo=ppo", *behind(server))
    table, notes = labels.table(one, "labeller", "train"), one.notes(labels, **BY)
    drawn = pd.read_parquet(one.make(samples, part="train") / "samples.parquet")
    couples = list(zip(drawn["text"][::2], drawn["text"][1::2], strict=True))
    different = [(a.strip(), b.strip()) for a, b in couples if a != b]
    unread = [(a, b) for a, b in different if len(f"Answer 1: {a}Answer 2: {b}") % 5 == 0]
    tied = [(a, b) for a, b in different if len(a) == len(b) and (a, b) not in unread]
    assert unread
    assert notes["dropped"]["unread"] == len(unread)
    assert notes["unread"] == len(unread) / len(different)
    assert notes["dropped"]["tied by the labeller"] == len(tied)
    assert notes["position_bias"] == len(tied) / (len(different) - len(unread))
    assert len(table) == len(different) - len(unread) - len(tied)
    assert table["p_chosen"].tolist() == pytest.approx([0.75] * len(table))
    assert (table["chosen"].str.strip().str.len() < table["rejected"].str.strip().str.len()).all()
    right = (table["gold_chosen"] > table["gold_rejected"]).mean()
    assert notes["agrees_with_gold"] == pytest.approx(right)

    asked = len(server.asked)
    assert asked == 2 * len(different)
    for file in root.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()
    shutil.rmtree(one.make(labels, **BY))
    assert labels.table(one, "labeller", "train").equals(table)
    assert len(server.asked) == asked  # nothing is asked again


def test_how_questions_are_sent_is_no_part_of_a_key(root, serve):
    server = serve(shorter)
    plain = cell(root, "algo=ppo", *behind(server))
    sent = cell(
        root, "algo=ppo", *behind(server, "feedback.labeller.requests.max_calls=7"),
        "feedback.labeller.rows=2",
    )  # fmt: skip
    assert plain.key(labels, **BY) == sent.key(labels, **BY)
    for word in ("temperature=0.5", "questions.ending='Best:'", "model=other"):
        other = cell(root, "algo=ppo", *behind(server, f"feedback.labeller.{word}"))
        assert plain.key(labels, **BY) != other.key(labels, **BY)


def test_a_local_model_labels(root, tmp_path):
    words = bpe(["Answer 1: Answer 2: Better answer: Score from 1 to 10:"], 300)
    for part in (tiny.llama(vocab_size=len(words)), words):
        part.save_pretrained(tmp_path / "model")
    short = [
        "preamble=Which?",
        "exemplars=[]",
        "ending=Better:",
        "score_preamble=",
        "score_ending=Score:",
    ]
    named = [f"feedback.labeller.questions.{x}" for x in short]
    local = cell(
        root,
        "algo=ppo",
        "feedback=labeller",
        f"feedback.labeller.model={tmp_path / 'model'}",
        *named,
    )
    examples = [Example(id="x", prompt="a b"), Example(id="y", prompt="a b " * 40)]
    found, notes = ai_labeller.verdicts(local, examples, [Answer("d")] * 2, [Answer("e f")] * 2)
    assert 0 < found[0] < 1
    assert np.isnan(found[1])  # it reads 64 tokens
    assert notes["unread"] == 0.5


# -- scores as rewards


def test_scores_of_the_simulated_judge_reward_rollouts(root):
    judged = cell(root, "algo=d_rlaif")
    examples = judged.examples("train")[:3]
    answers = [Answer(x.references[0]) for x in examples[:2]] + [Answer(" ben ben ben .")]
    rewards = feeds.reward_of(judged, "cpu")(examples, answers)
    assert all(-1 <= r <= 1 for r in rewards)
    assert min(rewards[:2]) > rewards[2]
    assert feeds.reward_of(judged, "cpu")(examples[::-1], answers[::-1]) == rewards[::-1]
    log = pd.read_parquet(judged.make(optimize) / "log.parquet")
    assert log["rollout/reward"].dropna().between(-1, 1).all()
    other = cell(root, "algo=d_rlaif", "feedback.judge.noise=0")
    assert judged.key(optimize) != other.key(optimize)


def test_scores_of_an_endpoint_reward_rollouts_and_what_was_not_read_gets_the_mean(
    root, serve, capfd
):
    said = {"good": completion("10"), "fair": completion("4"), "odd": completion("no idea")}

    def reply(number, body):
        *_, answer, _ = body["messages"][0]["content"].splitlines()
        return 200, said[answer.removeprefix("Answer: ")]

    scored = cell(root, "algo=ppo", *behind(serve(reply), "feedback.reward=judge_score"))
    rewards = feeds.reward_of(scored, "cpu")
    examples = scored.examples("train")[:3]
    found = rewards(examples, [Answer(" good"), Answer(" odd"), Answer(" fair")])
    assert found == pytest.approx([1, 1 / 3, -1 / 3])
    assert "1 of 3 scores could not be read" in capfd.readouterr().err
    with pytest.raises(LabellerError, match="none of 2 scores"):
        rewards(examples[:2], [Answer(" odd"), Answer(" odd")])


def test_scores_need_somebody_who_gives_them(root):
    with pytest.raises(
        LookupError, match=r"feedback.labels='dataset' gives no scores: judge or lab"
    ):
        cell(root, "algo=ppo", "feedback.reward=judge_score").key(optimize)


# -- rlaif: soft labels all the way


def test_labels_of_the_judge_are_soft_up_to_the_loss_of_the_reward_model(root):
    rlaif = cell(root, "algo=rlaif")
    words = load_tokenizer(rlaif.make(tokenizer))
    table = labels.table(rlaif, "judge", "train")
    assert table["p_chosen"].between(0.5, 1, inclusive="neither").all()
    rows = labels.rows(rlaif, words, "judge", "train")
    feed = compared(BradleyTerry(), rows, 2 * len(rows), 0, words.pad_token_id, "cpu")
    batch = feed.collate(range(len(rows)))
    assert batch.labels["p_chosen"].tolist() == pytest.approx(table["p_chosen"].tolist())
    assert rlaif.inputs(reward_model, by="judge", part="train")["reads"]["labels"] == rlaif.key(
        labels, by="judge", part="train"
    )
    config = rlaif.config["model"]["reward_model"]["algo"]
    assert config == {"_target_": "algos.BradleyTerry", "label_smoothing": 0.0, "centring": 0.0}
