"""Ready tasks, each on a miniature of the hub's own columns, with the traps of that data in it."""

import gzip
import json

import pytest

from bench.names import config_folder
from bench.stages.cell import load_task
from bench.tasks import published, ratings
from bench.tasks.example import DataError
from bench.tasks.filters import question
from bench.tune import resolved

READY = """tldr hh_helpful hh_harmless ultrafeedback imdb xsum cnn_dailymail dialogsum samsum scitldr
summeval kto_mix""".split()


def settings(name, *words):
    return resolved([f"task={name}", *words], config_folder())["task"]


def ready(name, *words):
    """The task as a run gets it."""
    return load_task(json.dumps(settings(name, *words)["load"], sort_keys=True))


def saved(folder, **splits):
    """A folder as `datasets` writes it."""
    from datasets import Dataset, DatasetDict

    DatasetDict({s: Dataset.from_list(rows) for s, rows in splits.items()}).save_to_disk(folder)
    return str(folder)


def jsonl(folder, **splits):
    """A folder of gzipped JSON Lines, as Anthropic's is."""
    folder.mkdir()
    for split, rows in splits.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return str(folder)


def first(task, split="train"):
    return task.splits[split][0]


@pytest.mark.parametrize("name", READY)
def test_a_ready_task_says_where_its_data_is_from_and_under_what_licence(name):
    task = settings(name)
    assert task["name"] == task["load"]["name"] == name
    assert task["licence"]
    assert "/" in task["load"]["path"]
    assert "revision" in task["load"]


# --- TL;DR -----------------------------------------------------------------------------------------

POST = "SUBREDDIT: r/advice\n\nTITLE: A cat {0}\n\nPOST: It came.\n\nIt stayed {0}.\n\nTL;DR:"


def post(i):
    """trl-lib/tldr."""
    return {"prompt": POST.format(i), "completion": f" A cat stayed {i}."}


def comparison(i, batch="batch3", choice=1):
    """openai/summarize_from_feedback, comparisons."""
    news = "cnndm" in batch
    info = {
        "id": f"t3_{i}",
        "post": None if news else f"It came.\n\nIt stayed {i}.",
        "title": None if news else f"A cat {i}",
        "subreddit": None if news else "advice",
        "site": "cnn" if news else None,
        "article": "News." if news else None,
    }
    summaries = [
        {"text": " A dog came", "policy": "sup2", "note": None},
        {"text": f"Cat stayed {i}", "policy": "ref", "note": "ok"},
    ]
    return {
        "info": info,
        "summaries": summaries,
        "choice": choice,
        "worker": "w1",
        "batch": batch,
        "split": "train",
        "extra": {"confidence": 8},
    }


@pytest.fixture
def tldr(tmp_path):
    posts = saved(
        tmp_path / "posts",
        train=[post(i) for i in range(8)],
        validation=[post(20)],
        test=[post(30)],
    )
    comparisons = saved(
        tmp_path / "comparisons",
        train=[comparison(0), comparison(1, choice=0), comparison(9), comparison(30)],
        validation=[
            comparison(20),
            *(comparison(40, batch) for batch in ("cnndm0", "cnndm2", "batch0_cnndm")),
        ],
    )
    return ready("tldr", f"task.path={comparisons}", f"task.demonstrations={posts}")


def test_tldr_asks_in_pairs_what_it_asks_in_demonstrations(tldr):
    shown = {x.prompt for x in tldr.splits["train"] if x.demonstration}
    pairs = {x.prompt for x in tldr.splits["train"] if x.rejected}
    assert pairs - shown == {POST.format(9)}
    assert len(pairs & shown) == 2


def test_tldr_keeps_news_apart_and_counts_it(tldr):
    assert tldr.dropped["validation: of CNN/DailyMail, not of TL;DR"] == 3
    assert [x.rejected for x in tldr.splits["validation"]] == [None, " A dog came"]


def test_tldr_takes_the_summary_that_was_chosen(tldr):
    a, b, lone = (x for x in tldr.splits["train"] if x.rejected)
    assert (a.chosen, a.rejected) == (" Cat stayed 0", " A dog came")
    assert (b.chosen, b.rejected) == (" A dog came", " Cat stayed 1")
    assert a.references == (" A cat stayed 0.",)  # its writer's own, not a model's
    assert lone.references == (lone.chosen,)
    assert {a.demonstration, b.demonstration, lone.demonstration} == {None}


def test_tldr_learns_no_pair_of_a_test_post(tldr):
    assert tldr.dropped["train: prompt also in test"] == 1
    assert POST.format(30) not in {x.prompt for x in tldr.splits["train"]}


def test_posts_whose_blank_lines_were_halved_are_the_same_posts(tmp_path):
    """As in trl-lib/tldr-preference."""
    posts = saved(tmp_path / "posts", train=[post(0), post(1)])
    prompt = POST.format(0).replace("It came.\n\n", "It came.\n")
    pairs = saved(tmp_path / "pairs", train=[{"prompt": prompt, "chosen": "a", "rejected": "b"}])
    words = [f"task.path={pairs}", f"task.demonstrations={posts}", "task.load.row=null"]
    task = ready("tldr", *words, "+task.load.validation=0", "+task.load.test=0")
    (pair,) = (x for x in task.splits["train"] if x.rejected)
    assert pair.prompt == POST.format(0)


# --- other pairs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hh_helpful", "hh_harmless"])
def test_hh_is_parted_at_its_last_turn(tmp_path, name):
    human = "\n\nHuman: hi {}\n\nAssistant: yes\n\nHuman: and?\n\nAssistant: I am {}"
    said = [
        {"chosen": human.format(i, "well"), "rejected": human.format(i, "ill")} for i in range(9)
    ]
    strange = {"chosen": human.format(77, "well"), "rejected": human.format(78, "ill")}
    task = ready(name, f"task.path={jsonl(tmp_path / 'hh', train=[*said, strange], test=said[:1])}")
    assert first(task).prompt.endswith("\n\nHuman: and?\n\nAssistant:")
    assert (first(task).chosen, first(task).rejected) == (" I am well", " I am ill")
    assert task.dropped == {
        "train: chosen and rejected answer different prompts": 1,
        "train: prompt also in test": 1,
    }


def test_ultrafeedback_reads_the_splits_of_preferences(tmp_path):
    def row(i):
        user = {"role": "user", "content": f"Why {i}?"}
        answers = {
            side: [user, {"role": "assistant", "content": f"{side} {i}"}]
            for side in ("chosen", "rejected")
        }
        more = {"messages": answers["chosen"], "score_chosen": 8.0, "score_rejected": 8.0}
        return {"prompt": user["content"], "prompt_id": f"id{i}", **answers, **more}

    rows = [row(i) for i in range(9)]
    path = saved(
        tmp_path / "uf",
        train_prefs=rows[:8], test_prefs=rows[8:], train_sft=rows[:8], test_sft=rows[8:],
        train_gen=rows[:8], test_gen=rows[8:],
    )  # fmt: skip
    task = ready("ultrafeedback", f"task.path={path}")
    assert {s: len(rows) for s, rows in task.splits.items()} == {
        "train": 7, "validation": 1, "test": 1,
    }  # fmt: skip
    x = first(task, "test")
    assert (x.id, x.prompt) == ("id8", "user: Why 8?\nassistant:")
    assert (x.chosen, x.rejected) == (" chosen 8", " rejected 8")
    assert x.about["messages"] == [{"role": "user", "content": "Why 8?"}]


def test_kto_mix_has_labels(tmp_path):
    def row(i, label):
        asked = [{"role": "user", "content": f"Why {i}?"}]
        return {
            "prompt": asked,
            "completion": [{"role": "assistant", "content": f"so {label}"}],
            "label": label,
        }

    rows = [row(i, label) for i in range(9) for label in (True, False)]
    task = ready("kto_mix", f"task.path={saved(tmp_path / 'kto', train=rows[2:], test=rows[:2])}")
    good, bad = task.splits["test"]
    assert (good.completion, good.desirable, bad.desirable) == (" so True", True, False)
    assert (good.demonstration, bad.demonstration) == (" so True", None)


# --- summaries --------------------------------------------------------------------------------------

ROW = {
    "xsum": lambda i: {"document": f"News {i}.", "summary": f"New {i}.", "id": f"{i}"},
    "cnn_dailymail": lambda i: {"article": f"News {i}.", "highlights": f"New {i}.", "id": f"{i}"},
    "samsum": lambda i: {"id": f"{i}", "dialogue": f"News {i}.", "summary": f"New {i}."},
    "dialogsum": lambda i: {
        "id": f"{i}", "dialogue": f"News {i}.", "summary": f"New {i}.", "topic": "news",
    },
    "scitldr": lambda i: {
        "source": ["News", f"{i}. "],
        "source_labels": [1, 0],
        "rouge_scores": [0.5, 0.1],
        "paper_id": f"{i}",
        "target": [f"New {i}.", "More."],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROW)
def test_a_summary_of_each_document(tmp_path, name):
    rows = [ROW[name](i) for i in range(6)]
    path = saved(tmp_path / name, train=rows[:4], validation=rows[4:5], test=rows[5:])
    task = ready(name, f"task.path={path}")
    x = first(task)
    assert (x.id, x.prompt, x.demonstration) == ("0", "News 0.\n\nTL;DR:", " New 0.")
    assert x.references == ((" New 0.", " More.") if name == "scitldr" else (" New 0.",))
    assert [len(task.splits[s]) for s in ("train", "validation", "test")] == [4, 1, 1]


def test_three_summaries_of_a_dialogue_are_references_of_one_prompt(tmp_path):
    def said(i, k):
        return ROW["dialogsum"](i) | {"id": f"test_{i}_{k}", "summary": f"New {i}, {k}."}

    test = [said(i, k) for i in (7, 8) for k in (1, 2, 3)]
    train = [*(ROW["dialogsum"](i) for i in range(4)), ROW["dialogsum"](3) | {"summary": "Again."}]
    path = saved(tmp_path / "d", train=train, validation=[ROW["dialogsum"](6)], test=test)
    task = ready("dialogsum", f"task.path={path}")
    seven, eight = task.splits["test"]
    assert seven.references == (" New 7, 1.", " New 7, 2.", " New 7, 3.")
    assert (seven.id, eight.id) == ("test_7_1", "test_8_1")
    assert len(task.splits["train"]) == 5  # all of what may be imitated


def test_a_chat_that_is_empty_is_counted(tmp_path):
    rows = [ROW["samsum"](i) for i in range(5)]
    rows[0]["dialogue"] = ""
    path = saved(tmp_path / "s", train=rows[:3], validation=rows[3:4], test=rows[4:])
    assert ready("samsum", f"task.path={path}").dropped == {"train: empty prompt": 1}


# --- IMDb -------------------------------------------------------------------------------------------


def reviews(tmp_path, classifier="nobody/there"):
    def review(i, label):
        return {"text": f"Film {i} was<br /><br />" + "so very good to see " * 20, "label": label}

    path = saved(
        tmp_path / "imdb",
        train=[*(review(i, i % 2) for i in range(30)), {"text": "Bad!", "label": 0}],
        test=[review(i, 1) for i in range(30, 40)],
        unsupervised=[review(i, -1) for i in range(50, 60)],
    )
    return ready("imdb", f"task.path={path}", f"task.classifier={classifier}")


def test_imdb_asks_for_the_rest_of_a_review(tmp_path):
    task = reviews(tmp_path)
    rows = [x for split in task.splits.values() for x in split]
    assert {len(x.prompt.split()) for x in rows} == set(range(2, 9))
    assert all(len((x.prompt + x.demonstration).split()) == 64 for x in rows)
    assert not any("<br" in x.prompt + x.demonstration for x in rows)
    assert task.dropped["train: a review of 8 words or fewer"] == 1
    assert first(task).about == {"gold": "nobody/there"}  # another judge is another task


# --- ratings ----------------------------------------------------------------------------------------


def article(i, systems=4):
    """mteb/summeval."""
    return {
        "machine_summaries": [f"Summary {k} of {i}." for k in range(systems)],
        "human_summaries": [f"New {i}.", f"Newer {i}."],
        "relevance": [1.0 + k for k in range(systems)],
        "coherence": [1.0 + k for k in range(systems)],
        "fluency": [5.0] * systems,
        "consistency": [1.0 + k for k in range(systems)],
        "text": f"News {i}.",
        "id": f"dm-{i}",
    }


def test_summeval_keeps_what_people_gave(tmp_path):
    path = saved(tmp_path / "s", test=[article(i) for i in range(3)])
    rated = ratings.read(path, row=published.summeval)
    assert len(rated) == 3
    assert rated[0].example.prompt == "News 0.\n\nTL;DR:"
    assert rated[0].example.references == (" New 0.", " Newer 0.")
    assert rated[0].answers[3] == " Summary 3 of 0."
    assert rated[0].mean(["fluency"]) == [5.0] * 4
    assert rated[0].mean([]) == [(3 * (1 + k) + 5) / 4 for k in range(4)]
    with pytest.raises(DataError, match="nobody rated 'style' of dm-0: there are coherence"):
        rated[0].mean(["style"])


def test_summeval_makes_pairs_of_what_people_told_apart(tmp_path):
    path = saved(tmp_path / "s", test=[article(i) for i in range(10)])
    task = ready("summeval", f"task.path={path}", "+task.load.gap=1")
    # of 6 pairs of 4 systems 3 are one rank apart, of means 0.75 apart
    assert task.dropped == {"train: rated less than 1 apart": 30}
    sizes = {split: len(rows) for split, rows in task.splits.items()}
    assert sizes == {"train": 21, "validation": 3, "test": 6}
    parts = [{question(x) for x in rows} for rows in task.splits.values()]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 10
    x = next(x for x in task.splits["train"] if x.id.endswith("M3-M0"))
    assert (x.chosen[:10], x.rejected[:10]) == (" Summary 3", " Summary 0")
    assert x.about["margin"] == 3 * 3 / 4
    assert len(x.references) == 2


def test_a_gap_is_as_wide_as_it_is_said_to_be(tmp_path):
    """4.1 - 3.6 is less than 0.5 in binary."""
    systems = [{"system": x, "summary": f"S {x}", "scores": {"good": x}} for x in (3.6, 4.1, 3.7)]
    rows = [{"document": f"News {i}.", "systems": systems} for i in range(10)]
    (tmp_path / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ratings.load(str(tmp_path / "rated.jsonl"), gap=0.5)
    assert sum(map(len, task.splits.values())) == 10
    assert task.dropped == {"train: rated less than 0.5 apart": 20}


def test_pairs_of_a_prompt_can_be_capped(tmp_path):
    path = saved(tmp_path / "s", test=[article(i) for i in range(10)])
    task = ready("summeval", f"task.path={path}", "+task.load.pairs=2")
    assert sum(map(len, task.splits.values())) == 20
    assert task.dropped == {"train: more than 2 pairs a prompt": 40}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"systems": None}, ":1: `systems` is null"),
        ({"systems": [{"summary": "s"}]}, ":1: system 1 is no {system, summary, scores}"),
        ({"systems": [{"summary": "s", "scores": {"good": "very"}}]}, ":1: system 1 is no"),
        ({"systems": [{"summary": "s", "scores": {}}]}, ":1: no aspect has a score"),
    ],
)
def test_ratings_that_cannot_be_read_are_one_line(tmp_path, change, told):
    one = {"summary": "s", "scores": {"good": 1}}
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps({"document": "d", "systems": [one]} | change) + "\n")
    with pytest.raises(DataError) as error:
        ratings.read(str(path))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_another_data_set_than_the_one_named_is_one_line(tmp_path):
    path = saved(tmp_path / "x", train=[{"prompt": "a", "completion": "b"}])
    with pytest.raises(
        Exception, match=r":1: no row as `scitldr` expects it \(KeyError: 'paper_id'"
    ):
        ready("scitldr", f"task.path={path}")


def test_the_hub_is_asked_for_the_revision_that_the_task_names(monkeypatch):
    asked = []
    monkeypatch.setattr("datasets.load_dataset", lambda *a, **k: asked.append((a, k)) or {})
    for name in ("hh_helpful", "cnn_dailymail"):
        with pytest.raises(Exception, match="nothing to train on"):
            ready(name)
    (hh, hh_more), (cnn, cnn_more) = asked
    assert (hh, hh_more["data_dir"]) == (("Anthropic/hh-rlhf", None), "helpful-base")
    assert hh_more["revision"].startswith("09be8c5")
    assert (cnn, cnn_more["data_dir"]) == (("abisee/cnn_dailymail", "3.0.0"), None)
    assert cnn_more["revision"].startswith("96df5e6")


@pytest.mark.slow
def test_a_policy_learns_sentiment_from_a_classifier(tmp_path, monkeypatch):
    """Pairs by the classifier, and its reward in the record."""
    from transformers import BertConfig, BertForSequenceClassification

    from bench.models.tokens import bpe
    from bench.run import run
    from tests.test_classifier import SIZES

    monkeypatch.chdir(tmp_path)
    words = bpe(["so very good to see"], 300)
    config = BertConfig(**{**SIZES, "max_position_embeddings": 512}, vocab_size=300, pad_token_id=0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "judge")
    words.save_pretrained(tmp_path / "judge")
    reviews(tmp_path)
    small = ["budget=smoke", "model.architecture.hidden_size=32", "task.response_tokens=128"]
    where = [f"task.path={tmp_path / 'imdb'}", f"task.classifier={tmp_path / 'judge'}"]
    words = ["algo=ppo", "feedback=gold", "task=imdb", *where, *small]
    plain = resolved([*words, f"store={tmp_path / 'store'}"], config_folder())
    (record,) = (x for x in run(plain) if x.recipe == "ppo")
    assert record.status == "good"
    assert {"gold", "gold_part/score"} <= record.metrics.end.keys()
