"""A pilot: what judges say of a sample of people's labels."""

import json

import pytest

from bench.__main__ import main
from bench.feedback.people import verdicts
from tests.test_end_to_end import SMALL


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pair(prompt, chosen, rejected, **more):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFZOO_TRACEBACK", raising=False)
    monkeypatch.setenv("PREFZOO_STORE", str(tmp_path / "store"))
    return tmp_path


LABELLED = [
    *(pair(f"note {i}", "sold lamps today", "sold") for i in range(6)),  # people like length
    *(pair(f"note {i}", "sold", "sold lamps today") for i in range(6, 8)),
    pair("note 9", "sold", "lost a lamp"),
    pair("note 9", "lost a lamp", "sold"),
    pair("note 1", "sold lamps today", "sold"),
    pair("note 3", "same", "same"),
]


def test_the_longer_answer_is_a_judge_like_others(here, capsys):
    assert main(["pilot", write(here / "pairs.jsonl", LABELLED)]) == 0
    out = capsys.readouterr().out
    assert "9 cases, 1 of them even among people" in out
    assert "people prefer the longer answer: 0.75" in out
    assert "two people agree: 0.50" in out
    (judge,) = [line for line in out.splitlines() if line.startswith("longer")]
    assert judge.split()[1] == "0.75"
    assert "rougeL" not in out  # a preferred answer is no reference
    assert judge.split()[-4:] == ["1.00", "0.00", "1.00", "0"]


def test_references_make_rouge_a_judge_and_the_best_two_are_compared(here, capsys):
    rows = [
        pair(f"n {i}", "lamp red", "blue sky over there", references=["lamp"]) for i in range(9)
    ]
    assert main(["pilot", write(here / "pairs.jsonl", rows)]) == 0
    out = capsys.readouterr().out
    assert "rougeL over longer: +1.000" in out
    assert "this sample tells them apart" in out


def test_a_pool_is_compared_and_becomes_the_queue(here, capsys):
    more = [pair(f"another {i}", "lamps " * 30, "sold") for i in range(20)]
    words = [write(here / "a.jsonl", LABELLED), f"pool={write(here / 'b.jsonl', LABELLED + more)}"]
    assert main(["pilot", *words, "queue=next.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "length of answers" in out
    assert "NOT as in the pool" in out
    assert "20 cases, the most disputed first: next.jsonl" in out
    rows = [json.loads(line) for line in (here / "next.jsonl").read_text().splitlines()]
    assert {row["prompt"] for row in rows} == {f"another {i}" for i in range(20)}
    (here / "next.jsonl").write_text(json.dumps({**rows[0], "id": "x", "better": "a"}) + "\n")
    assert [v.better for v in verdicts(here / "next.jsonl")] == ["a"]  # feedback=people reads it


def test_reward_models_and_policies_judge(here, capsys):
    assert main(["algo=bradley_terry", *SMALL]) == 0
    assert main(["algo=dpo", *SMALL]) == 0
    capsys.readouterr()
    asked = "report : note : anna sold lamps . summary :"
    rows = [pair(asked, "anna sold .", "report lamps"), pair(asked, "anna", "sold " * 600)]
    assert main(["pilot", write(here / "pairs.jsonl", rows), "bradley_terry", "dpo"]) == 0
    out = capsys.readouterr().out
    for name in ("bradley_terry-", "dpo-"):
        (judge,) = [x for x in out.splitlines() if x.startswith(name) and "over" not in x]
        assert judge.split()[-1] == "1"  # too long for its context


def test_what_a_pilot_cannot_use_is_one_line(here, capsys):
    alone = write(here / "alone.jsonl", [{"prompt": "a", "completion": "b"}])
    pairs = write(here / "pairs.jsonl", LABELLED)
    for words, why in (
        ([], "usage: prefzoo pilot PAIRS"),
        ([alone], "a pilot needs pairs: rows of prompt, chosen, rejected"),
        ([pairs, "nobody"], "holds no records"),
        ([pairs, "feedback=judge"], "of feedback a pilot knows the labeller"),
    ):
        assert main(["pilot", *words]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert why in line
