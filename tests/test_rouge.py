"""ROUGE by hand, against published values, and where it is commonly got wrong."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.metrics.rouge import VARIANTS, rouge, sentences, signature, tokenless


def values(prediction, *references):
    return {variant: x for variant, (x,) in rouge([prediction], [references]).items()}


def test_by_hand():
    # cat, sat of 3 and 4 words; one bigram of 2 and 3; the subsequence the … cat sat is 3 long
    got = values("the cat sat", "the big cat sat")
    assert got == pytest.approx(
        {"rouge1": 6 / 7, "rouge2": 2 / 5, "rougeL": 6 / 7, "rougeLsum": 6 / 7}
    )


def test_words_are_stemmed():
    assert values("jumping foxes", "jumped fox")["rouge2"] == 1.0


def test_sentences_of_one_line_and_of_several():
    assert sentences("a b . c d .") == ["a b .", "c d ."]
    assert sentences("Is it? Yes! v1.5 is out.") == ["Is it?", "Yes!", "v1.5 is out."]
    assert sentences("one. two\nthree") == ["one. two", "three"]
    assert sentences("one. two.\n") == ["one.", "two."]  # a newline at the end changes nothing


@pytest.mark.parametrize("between", [" . ", ".\n", ". "])
def test_sentences_may_change_places_in_lsum_alone(between):
    got = values(f"red fox ran{between}blue owl sat", f"blue owl sat{between}red fox ran")
    assert got["rougeLsum"] == 1.0
    assert got["rougeL"] == 0.5


def test_the_best_reference_of_each_variant():
    # the first shares the words, the second a bigram
    got = values("a b c", "c b a", "a b d e f")
    assert got["rouge1"] == 1.0
    assert got["rouge2"] == pytest.approx(1 / 3)
    assert got == values("a b c", "a b d e f", "c b a")


@pytest.mark.parametrize(
    ("prediction", "reference"), [("", "a"), ("a", ""), ("", ""), (" \n", "a"), ("...", "a")]
)
@pytest.mark.filterwarnings("ignore:ROUGE reads")
def test_nothing_scores_nothing(prediction, reference):
    assert set(values(prediction, reference).values()) == {0.0}


def test_what_rouge_cannot_read_is_counted_and_said():
    texts = ["四季の歌", "Ω", "naïve", "", "été 3"]
    assert tokenless(texts) == 2
    with pytest.warns(UserWarning, match="4 texts score 0 unread"):
        got = rouge(texts, texts)
    assert got["rouge1"] == [0.0, 0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("prediction", "reference", "value"),
    [
        ("四季の歌", "四季の夢", 3 / 4),  # signs
        ("Ωραία μέρα", "ωραία μερα", 1 / 2),  # cases fold, accents stay
        ("ﬁne naïve", "FINE naïve", 1.0),  # a ligature is its letters
        ("snake_case", "snake case", 1.0),
        ("🙂", "🙂", 0.0),
    ],
)
@pytest.mark.filterwarnings("ignore:ROUGE reads")
def test_words_of_any_script(prediction, reference, value):
    found = rouge([prediction], [reference], "unicode")
    assert found["rouge1"] == [pytest.approx(value)]
    assert signature("unicode") != signature()


def test_tokenizers_agree_on_what_both_read():
    texts = ["The cats were running, 3 of 12!", "a cat ran; e-mail it's", "x"]
    pairs = [(a, b) for a in texts for b in texts]
    latin, unicode = (rouge(*zip(*pairs, strict=True), x) for x in ("latin", "unicode"))
    assert latin == unicode
    with pytest.raises(ValueError, match=r"metrics\.rouge\.tokenizer='bpe': one of latin, unicode"):
        rouge(["a"], ["a"], "bpe")


def test_bad_rows_are_named():
    with pytest.raises(ValueError, match="row 1 has no reference"):
        rouge(["a", "b"], ["a", []])
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        rouge(["a"], ["a", "b"])
    assert rouge([], []) == {variant: [] for variant in VARIANTS}


def test_the_signature_names_what_decides():
    for part in ("stem:porter", "split:newline,else-after-[.!?]", "agg:mean", "tok:", "version:"):
        assert part in signature()


def test_it_is_a_metric_of_evaluate(tmp_path):
    from bench.metrics.rouge import Rouge

    metric = Rouge(cache_dir=str(tmp_path))
    want = rouge(["the cat", "d"], [["a cat"], ["d", "e"]])
    assert metric.compute(predictions=["the cat", "d"], references=[["a cat"], ["d", "e"]]) == want
    metric.add(prediction="the cat", reference="a cat")
    assert metric.compute()["rouge1"] == [0.5]
    assert metric.signature == signature()


def test_importing_is_cheap():
    heavy = "{'torch', 'transformers', 'evaluate', 'nltk'}"
    code = f"import sys, bench.metrics.rouge; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def golden():
    """Rows of REALSumm where Porter's stemmer is all that ROUGE-1.5.5 used."""
    if "PREFZOO_DATA" not in os.environ:
        pytest.skip("PREFZOO_DATA is not set: no published scores to compare with")
    path = Path(os.environ["PREFZOO_DATA"], "realsumm_metric_scores/test.jsonl.gz")
    if not path.exists():
        pytest.skip("PREFZOO_DATA holds no realsumm_metric_scores")
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    agreeing = [
        row
        for row in rows
        if row["reference_consistent"] and all(row["google_rouge_stem_matches"].values())
    ]
    assert len(agreeing) == 1378
    # a text of one line would be split once more
    return [
        row
        for row in agreeing
        if min(len(row["hypothesis_sentences"]), len(row["reference_sentences"])) > 1
    ][::7]


def test_published_values():
    rows = golden()
    got = rouge(
        ["\n".join(row["hypothesis_sentences"]) for row in rows],
        ["\n".join(row["reference_sentences"]) for row in rows],
    )
    assert len(rows) > 150
    for variant, name in [("rouge1", "rouge_1"), ("rouge2", "rouge_2"), ("rougeLsum", "rouge_l")]:
        want = [row["scores"][f"{name}_f_score"] for row in rows]
        assert got[variant] == pytest.approx(want, abs=1.01e-5)
