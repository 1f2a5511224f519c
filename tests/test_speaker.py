"""A local model that is asked things: the likelihood of an option is that of its spellings, no more."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from bench.feedback.labeller import SCORES, SIDES
from bench.models import tokens
from bench.models.sampling import Decoding
from bench.models.speaker import LocalModel
from tests import tiny

CORPUS = [f"question {i} : which is better ? answer : {j}" for i in range(12) for j in range(12)]
ASKED = ["question 3 : which is better ? answer :", "which ? 7 :"]


def speaker(words, seed=0, **changes) -> LocalModel:
    settings = {"decoding": Decoding(0.0, max_new_tokens=4), "context": 64, "rows": 3, **changes}
    return LocalModel(tiny.llama(seed, vocab_size=len(words)), words, **settings)


def logp(local: LocalModel, before: list[int], ids: list[int]) -> float:
    """log P(ids | before), all at once."""
    out = local.model(input_ids=torch.tensor([[*before, *ids]])).logits[0].log_softmax(-1)
    return sum(out[len(before) + i - 1, token].item() for i, token in enumerate(ids))


WORDLY = tokens.words(CORPUS, 200)
WHOLE = tokens.bpe(CORPUS, 400)
DIGITS = tokens.bpe(["a b"], 260)  # nothing merges: 10 is 1 and 0


def test_the_tokenizers_differ_as_they_should():
    spelt = [w(" 10", add_special_tokens=False).input_ids for w in (WORDLY, WHOLE, DIGITS)]
    assert [len(x) for x in spelt] == [1, 1, 3]


@pytest.mark.parametrize("words", [WORDLY, WHOLE], ids=["words", "bpe"])
def test_options_of_one_token_have_its_likelihood_with_and_without_a_space(words):
    local = speaker(words)
    found = local.choose(ASKED, SIDES)
    for prompt, row in zip(ASKED, found, strict=True):
        before = words(prompt).input_ids
        for option, value in zip(SIDES, row, strict=True):
            ways = [" " + option] if words is WORDLY else [option, " " + option]
            ids = [words(way, add_special_tokens=False).input_ids for way in ways]
            assert {len(x) for x in ids} == {1}
            expected = np.logaddexp.reduce([logp(local, before, x) for x in ids])
            assert value == pytest.approx(expected, abs=1e-5)


def test_an_option_that_begins_another_is_what_does_not_go_on():
    """1 is said where 1 comes and no 0 behind it: every continuation but one."""
    local = speaker(DIGITS)
    (row,) = local.choose(ASKED[:1], SCORES)
    before = DIGITS(ASKED[0]).input_ids
    one, zero, space = (DIGITS(x, add_special_tokens=False).input_ids[0] for x in ("1", "0", " "))
    expected = np.logaddexp.reduce([
        logp(local, before, [*pre, one, other])
        for pre in ([], [space])
        for other in range(len(DIGITS))
        if other != zero
    ])  # fmt: skip
    assert row[0] == pytest.approx(expected, abs=1e-5)
    ten = [logp(local, before, [*pre, one, zero]) for pre in ([], [space])]
    assert row[9] == pytest.approx(np.logaddexp.reduce(ten), abs=1e-5)
    assert np.exp(row).sum() < 1


def test_neighbours_in_a_batch_change_nothing():
    many = [f"question {i} : " + "better ? " * i + "answer :" for i in range(7)]
    local = speaker(WHOLE)
    together = local.choose(many, SCORES)
    apart = np.concatenate([local.choose([x], SCORES) for x in many])
    assert together == pytest.approx(apart, abs=1e-5)
    assert local.choose([], SIDES).shape == (0, 2)


def test_a_prompt_that_merges_with_the_option_is_read_again_from_before_the_merge():
    """A tokenizer for which `:1` is one token."""
    ids = {c: i for i, c in enumerate(["<pad>", "<eos>", ":", "1", "2", " ", ":1"])}
    core = Tokenizer(models.BPE(ids, [(":", "1")]))
    words = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    local = speaker(words)
    (row,) = local.choose(["2:"], SIDES)
    before, colon = [ids["2"]], ids[":"]
    one = [logp(local, before, x) for x in ([ids[":1"]], [colon, ids[" "], ids["1"]])]
    two = [logp(local, before, x) for x in ([colon, ids["2"]], [colon, ids[" "], ids["2"]])]
    assert row.tolist() == pytest.approx([np.logaddexp(*one), np.logaddexp(*two)], abs=1e-5)


def test_a_tokenizer_without_the_options_is_told():
    words = tokens.words(["which is better ?"], 50)  # 1 and 2 are <unk>
    with pytest.raises(LookupError, match="no words for '1' among 1, 2"):
        speaker(words).choose(["which ?"], SIDES)


def test_a_prompt_beyond_the_context_is_not_read():
    long = "better ? " * 40 + "answer :"
    found = speaker(WHOLE).choose([long, ASKED[0]], SIDES)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert speaker(WHOLE).generate([long, ASKED[0]]) == ["", *speaker(WHOLE).generate(ASKED[:1])]
    room = 64 - len(WHOLE(ASKED[0]).input_ids)
    for n, says in [(room, True), (room + 1, False)]:
        (said,) = speaker(WHOLE, decoding=Decoding(0.0, max_new_tokens=n)).generate(ASKED[:1])
        assert bool(said) is says


def test_it_says_the_likeliest_and_the_same_again():
    local = speaker(WHOLE)
    said = local.generate(ASKED)
    assert said == local.generate(ASKED)
    before = WHOLE(ASKED[1]).input_ids
    for _ in range(4):
        logits = local.model(input_ids=torch.tensor([before])).logits[0, -1]
        before = [*before, int(logits.argmax())]
    assert said[1] == tokens.texts_of(WHOLE, [before[-4:]])[0]


def test_a_chat_template_is_used_and_brings_its_own_begin():
    words = tokens.bpe(CORPUS, 400)
    words.chat_template = (
        "{{ bos_token }}{% for m in messages %}question {{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %} answer :{% endif %}"
    )
    local = speaker(words)
    assert local.asked("7") == "<bos>question 7 answer :"
    assert local.ids([local.asked("7")])[0].count(words.bos_token_id) == 1
    plain = speaker(WHOLE)
    assert local.choose(["7"], SIDES) == pytest.approx(plain.choose(["question 7 answer :"], SIDES))


def test_a_model_comes_from_a_folder(tmp_path):
    local = speaker(WHOLE)
    for part in (local.model, WHOLE):
        part.save_pretrained(tmp_path)
    loaded = LocalModel.load(tmp_path, decoding=Decoding(0.0, max_new_tokens=4))
    assert loaded.context == 64
    assert loaded.choose(ASKED, SIDES) == pytest.approx(local.choose(ASKED, SIDES))
