"""Sequence-classification models as judges of whole texts, from folders in hub format."""

import json
import shutil
from math import log

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from bench.feedback import gold
from bench.feedback.answer import Answer
from bench.models.classifier import Classifier
from bench.models.tokens import bpe
from bench.stages.cell import load_task
from bench.store import model_hash

TEXTS = ["a good film", "bad", "so very good to see, and so long that it is far from over", "ok"]
SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "max_position_embeddings": 48, "initializer_range": 0.5,
}  # fmt: skip


@pytest.fixture(params=["bert", "llama", "llama without padding"])
def folder(tmp_path, request):
    """A model of one logit, and its tokenizer."""
    words = bpe(TEXTS, 300)
    torch.manual_seed(0)
    more = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "num_labels": 1}
    if request.param == "bert":
        model = BertForSequenceClassification(BertConfig(**SIZES, **more))
    else:
        model = LlamaForSequenceClassification(LlamaConfig(**SIZES, **more))
    if "without" in request.param:
        model.config.pad_token_id = None
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    return tmp_path


def test_a_text_is_judged_alike_whoever_stands_beside_it(folder):
    together = Classifier(str(folder))(TEXTS)
    alone = [Classifier(str(folder), rows=1)([text])[0] for text in TEXTS]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len({round(x, 3) for x in alone}) == len(TEXTS)


def test_a_folder_is_what_it_holds(folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(folder, copy)
    name = Classifier(str(folder)).name
    assert Classifier(str(copy)).name == name != Classifier(str(folder), label=0).name
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": "left"}))
    model_hash.cache_clear()  # of one process
    assert Classifier(str(copy)).name != name


def test_a_model_without_a_head_of_its_own_judges_nothing(tmp_path):
    words = bpe(TEXTS, 300)
    words.save_pretrained(tmp_path)
    LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=len(words))).save_pretrained(tmp_path)
    with pytest.raises(LookupError, match=r"classifies nothing: it has no weights for score"):
        Classifier(str(tmp_path))(TEXTS)


def test_of_a_text_that_is_too_long_the_end_is_read(folder):
    judge = Classifier(str(folder))
    long = "good " * 100
    assert judge([long + "bad"]) != pytest.approx(judge([long + "see"]), abs=1e-5)
    assert judge(["x" + long]) == pytest.approx(judge([long]), abs=1e-5)


def labelled(folder, names):
    """A model that says log 1, log 2, log 3, ... of its labels, whatever it reads."""
    words = bpe(TEXTS, 300)
    config = BertConfig(**SIZES, vocab_size=len(words), pad_token_id=words.pad_token_id)
    config.id2label, config.label2id = dict(enumerate(names)), {n: i for i, n in enumerate(names)}
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.arange(1.0, 1 + len(names)).log())
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("label", "odds"), [(None, 3 / 3), ("good", 3 / 3), ("bad", 1 / 5), (1, 2 / 4)]
)
def test_of_several_labels_the_log_odds_of_one(tmp_path, label, odds):
    path = labelled(tmp_path, ["bad", "so-so", "good"])
    assert Classifier(path, label=label)(["a"]) == pytest.approx([log(odds)], abs=1e-6)


def test_a_label_that_nobody_gives_is_one_line(tmp_path):
    path = labelled(tmp_path, ["NEGATIVE", "POSITIVE"])
    with pytest.raises(LookupError, match="no label 'good': one of NEGATIVE, POSITIVE"):
        Classifier(path, label="good")(["a"])


def test_a_classifier_is_the_gold_reward_of_a_task(tmp_path):
    path = labelled(tmp_path / "judge", ["bad", "good"])
    rows = [{"prompt": f"film {i}", "completion": "ok"} for i in range(9)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = {"_target_": "bench.models.classifier.Classifier", "path": path}
    load = {"_target_": "bench.tasks.local.load", "path": str(tmp_path / "data.jsonl")}
    task = load_task(json.dumps({**load, "gold": judge}))
    some = task.splits["train"][:3]
    assert task.reward(some[0], " ok") == pytest.approx(log(2), abs=1e-6)
    assert task.gold(some[0], " ok", True) == {"score": pytest.approx(log(2), abs=1e-6)}
    found = gold.rewards(task, some, [Answer(" ok")] * 3)
    assert found == pytest.approx([log(2)] * 3, abs=1e-6)
    assert task.data_hash != load_task(json.dumps(load)).data_hash


def test_a_scorer_reads_the_response_behind_its_prompt():
    from bench.tasks.example import Example, Task

    task = Task(name="t", version=1, splits={}, scorer=lambda texts: [len(t) for t in texts])
    examples = [Example(id="a", prompt="abc"), Example(id="b", prompt="")]
    assert task.parts(examples, [" d", "e"], [True, False]) == [{"score": 5.0}, {"score": 1.0}]
