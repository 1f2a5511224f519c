"""Reward models and metrics against people's ratings."""

import json

import pytest

from bench.__main__ import main
from bench.validate_reward import judged, measured, rated
from tests.test_end_to_end import SMALL
from tests.test_published import article, ready, saved

WORDS = "anna sold lamps . ben repaired bikes . lena moved chairs . omar counted maps .".split()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFZOO_TRACEBACK", raising=False)
    monkeypatch.setenv("PREFZOO_STORE", str(tmp_path / "store"))
    return tmp_path


def rows(documents=6, **more):
    """People like short answers: of k words, 5 - k."""
    return [
        {
            "id": f"d{i}",
            "document": f"report {i} : {' '.join(WORDS)}",
            "references": ["anna sold"],
            "systems": [
                {
                    "system": f"s{k}",
                    "summary": " ".join(WORDS[:k]),
                    "scores": {"short": 5 - k, "late": 3 * ((k + i) % 4)},
                }
                for k in (1, 2, 3, 4)
            ],
            **more,
        }
        for i in range(documents)
    ]


def write(path, them):
    path.write_text("".join(json.dumps(row) + "\n" for row in them))
    return str(path)


def line(out, name):
    """The row of a judge."""
    (found,) = [x for x in out.splitlines() if x.startswith(name) and "over" not in x]
    return found.split()


def test_length_and_rouge_are_asked_where_nobody_is_named(here, capsys):
    path = write(here / "r.jsonl", rows())
    assert main(["validate-reward", path, "aspects=short", "json=out.json"]) == 0
    out = capsys.readouterr().out
    assert "6 documents, 24 rated answers" in out
    assert line(out, "length")[1:2] == ["0.00"]
    assert "rougeL over length: +0." in out
    told = {row["judge"]: row for row in json.loads((here / "out.json").read_text())[path]}
    for tau in ("tau", "tau_pooled"):
        assert told["length"][tau]["value"] == pytest.approx(-1)
    assert told["length"]["accuracy"]["n"] == 36
    assert 0 < told["rougeL"]["accuracy"]["value"] < 1  # likest with two words, as the reference


def test_several_ratings_are_several_domains(here, capsys):
    one, other = write(here / "a.jsonl", rows(3)), write(here / "b.jsonl", rows(4))
    assert main(["validate-reward", f"{one},{other}", "length"]) == 0
    out = capsys.readouterr().out
    assert out.index("a.jsonl: 3 documents") < out.index("b.jsonl: 4 documents")


def test_aspects_are_averaged_unless_one_is_named(here):
    them = rated(write(here / "r.jsonl", rows()))
    judge = judged("length", them)
    short = measured(judge, them, ["short"])
    both = measured(judge, them, [])
    assert list(both["aspects"]) == ["short", "late"]
    assert short["accuracy"].value == 0 < both["accuracy"].value
    assert both["aspects"]["short"].value == -1


def test_ratings_of_a_ready_task(here, capsys):
    folder = saved(here / "s", test=[article(i) for i in range(4)])
    assert main(["validate-reward", f"summeval:{folder}", "length", "aspects=fluency"]) == 0
    out = capsys.readouterr().out
    assert f"summeval:{folder}: 4 documents, 16 rated answers" in out
    assert line(out, "length")[1] == "nan"  # all are equally fluent


def test_a_folder_with_a_classifier_is_a_judge(here, capsys):
    from transformers import BertConfig, BertForSequenceClassification

    from bench.models.tokens import bpe
    from tests.test_classifier import SIZES

    words = bpe([" ".join(WORDS)], 300)
    config = BertConfig(**SIZES, vocab_size=300, pad_token_id=words.pad_token_id, num_labels=1)
    BertForSequenceClassification(config).save_pretrained(here / "judge")
    words.save_pretrained(here / "judge")
    assert main(["validate-reward", write(here / "r.jsonl", rows()), "./judge", "length"]) == 0
    found = line(capsys.readouterr().out, "./judge")
    assert 0 < float(found[1]) < 1
    assert found[-1] == "0"


def test_a_run_judges_no_document_that_it_was_trained_on(here, capsys):
    assert main(["algo=bradley_terry", *SMALL]) == 0
    trained = ready("digest", *(x for x in SMALL if x.startswith("task"))).splits["train"][0]
    them = rows(4)
    them[2]["document"] = trained.prompt
    long = {**rows(1)[0], "document": "report " * 600}  # more than it can read
    capsys.readouterr()
    path = write(here / "r.jsonl", [*them, long])
    assert main(["validate-reward", path, "bradley_terry", "length"]) == 0
    found = line(capsys.readouterr().out, "bradley_terry-")
    assert found[-7:] == ["8", "in", "(digest,", "1", "documents", "left", "out)"]


def test_a_reward_model_of_the_store_is_judged_by_its_folder(here, capsys):
    assert main(["algo=bradley_terry", *SMALL]) == 0
    (folder,) = {str(p.parent) for p in (here / "store").glob("reward_model-*/reward.json")}
    capsys.readouterr()
    path = write(here / "r.jsonl", rows(3))
    assert main(["validate-reward", path, folder, "bradley_terry"]) == 0
    out = capsys.readouterr().out
    assert line(out, folder[-28:])[1:9] == line(out, "bradley_terry-")[1:9]
    assert "across (digest)" in out


def test_what_cannot_be_validated_is_one_line(here, capsys):
    good = write(here / "r.jsonl", rows(2))
    bare = write(here / "bare.jsonl", rows(2, references=[]))
    for words, why in (
        ([], "usage: prefzoo validate-reward RATINGS"),
        (["digest"], "nobody rated anything in task digest"),
        ([good, "nobody"], "holds no records"),
        ([good, "length", "aspects=style"], "nobody rated 'style' of d0"),
        ([bare, "rouge2"], "rouge2 needs references"),
        (["nowhere.jsonl"], "no such file or folder"),
    ):
        assert main(["validate-reward", *words]) == 1
        (told,) = capsys.readouterr().err.splitlines()
        assert why in told
