"""The card of a task's data: what is counted, by hand."""

import json

import pytest

from bench.__main__ import main
from bench.tasks import card
from bench.tasks.example import Example, Task

ROWS = {
    "train": [
        {"prompt": "a b", "chosen": "one two three", "rejected": "one"},
        {"prompt": "a  b", "chosen": "one", "rejected": "one two three"},
        {"prompt": "c", "chosen": "x", "rejected": "y"},
        {"prompt": "d", "chosen": "p", "rejected": "q"},
        {"prompt": "c", "chosen": "same", "rejected": "same"},
        {"prompt": "t", "chosen": "u", "rejected": "v"},
    ],
    "validation": [{"prompt": "v", "chosen": "fresh", "rejected": "y"}],
    "test": [{"prompt": "t", "chosen": "good", "rejected": "bad"}],
}


@pytest.fixture
def told(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("PREFZOO_TRACEBACK", raising=False)
    for split, rows in ROWS.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(text)
    assert main(["card", "local", f"task.path={tmp_path}", "+task.licence=CC0"]) == 0
    return capsys.readouterr().out.splitlines()


def test_sizes_and_lengths(told):
    assert (
        "| split | rows | prompts | pairs | labels | prompt | demonstration | chosen | rejected |"
        in told
    )
    assert "| train | 4 | 3 | 4 | 0 | 1.5, 2 | 1, 1 | 1, 1 | 1, 1 |" in told
    assert "* licence: CC0" in told


def test_what_was_dropped_and_what_is_left_twice(told):
    assert "* dropped, train: identical chosen and rejected: 1" in told
    assert "* dropped, train: prompt also in test: 1" in told
    assert "* answers of validation that stand in train, too: 1 of 2" in told
    assert "* answers of test that stand in train, too: 0 of 2" in told
    assert "* pairs of train that are labelled both ways: 1" in told


def test_the_length_bias_of_pairs(told):
    (train,) = (x for x in told if x.startswith("* train: the chosen"))
    assert "in 0.500 of pairs" in train  # one longer, one shorter, one as long
    assert train.endswith("by 0 words (median)")


def test_the_length_bias_of_labels():
    words = {True: ["a b c", "a"], False: ["a b c d"]}
    rows = [
        Example(id=text, prompt="p", completion=text, desirable=wanted)
        for wanted, texts in words.items()
        for text in texts
    ]
    task = Task(name="t", version=1, splits={"train": rows})
    told = list(card.lines(task, {"load": {}}))
    assert "* train: 2 wanted answers of 2 words (median)" in told
    assert "* train: 1 unwanted answers of 4 words (median)" in told
    assert "* dropped: nothing" in told


def test_a_card_needs_a_task(capsys, monkeypatch):
    monkeypatch.delenv("PREFZOO_TRACEBACK", raising=False)
    for words, why in (([], "usage: prefzoo card TASK"), (["dijest"], "did you mean task=digest")):
        assert main(["card", *words]) == 1
        assert why in capsys.readouterr().err
