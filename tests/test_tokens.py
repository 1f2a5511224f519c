"""Text to ids and back; where a response stands among them."""

from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.testing import assert_close
from transformers import PreTrainedTokenizerFast

from bench.models.scoring import reference_logps
from bench.models.tokens import (
    BOS,
    EOS,
    PAD,
    Tokens,
    bpe,
    load_tokenizer,
    prompt_ids,
    response_ids,
    texts_of,
)
from bench.models.tokens import words as word_tokens
from tests import tiny

TEXTS = [
    "a plain sentence.",
    " leading and trailing ",
    "tabs\tnew\nlines\r\n\n\n",
    "don't , touch ' the . spaces !",
    "naïve 漢字 кириллица 🙂 👩‍👩‍👧 \u200b \x00 \x7f",
    "",
    f"a text that spells {BOS} and {EOS}{PAD} is a text",
]


@pytest.fixture(scope="module")
def words():
    return bpe(["a plain sentence about plain sentences", "another one"], 270)


def spelt(pattern: str | None, **special) -> PreTrainedTokenizerFast:
    """A tokenizer of single words that adds what the pattern says: `$A </s>`."""
    known = {"<unk>": 0, "</s>": 1, "a": 2, "b": 3, "<s>": 4}
    core = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    if pattern:
        core.post_processor = processors.TemplateProcessing(
            single=pattern, special_tokens=[("</s>", 1), ("<s>", 4)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", **special)


# -- text


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_any_text_comes_back_as_it_was(words, text):
    assert texts_of(words, response_ids(words, [text])) == [text]


def test_a_word_a_token():
    known = word_tokens(["note : ben sold  lamps .\n"], 100)
    assert texts_of(known, response_ids(known, [" ben sold  lamps ."])) == [" ben sold  lamps ."]
    assert len(response_ids(known, [" ben : ."])[0]) == 4  # the end included
    assert known.convert_ids_to_tokens(prompt_ids(known, ["note : emma"])[0]) == [
        BOS, "note", " :", "<unk>",
    ]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_a_response_has_no_bos_and_one_eos_at_its_end(words, text):
    (ids,) = response_ids(words, [text])
    assert ids[-1] == words.eos_token_id
    assert ids.count(words.eos_token_id) == 1
    assert words.bos_token_id not in ids


@pytest.mark.parametrize("text", TEXTS[:-1], ids=repr)
def test_a_prompt_has_one_bos_at_its_start_and_no_eos(words, text):
    (ids,) = prompt_ids(words, [text])
    assert ids[0] == words.bos_token_id
    assert ids.count(words.bos_token_id) == 1
    assert words.eos_token_id not in ids


@pytest.mark.parametrize(
    ("pattern", "prompt"),
    [(None, [2, 3]), ("<s> $A", [4, 2, 3]), ("$A </s>", [2, 3]), ("<s> $A </s>", [4, 2, 3])],
)
def test_whatever_a_tokenizer_adds_a_prompt_stays_open_and_a_response_ends_once(pattern, prompt):
    words = spelt(pattern, eos_token="</s>", bos_token="<s>")
    assert prompt_ids(words, ["a b"]) == [prompt]
    assert response_ids(words, ["b a"]) == [[3, 2, 1]]


def test_nothing_is_a_list_of_nothing(words):
    assert prompt_ids(words, []) == response_ids(words, []) == texts_of(words, []) == []


def test_a_saved_tokenizer_encodes_as_before(words, tmp_path):
    words.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert prompt_ids(loaded, TEXTS) == prompt_ids(words, TEXTS)
    assert response_ids(loaded, TEXTS) == response_ids(words, TEXTS)
    assert len({loaded.pad_token_id, loaded.eos_token_id, loaded.bos_token_id}) == 3


def test_eos_stands_in_for_a_missing_pad_token_and_nothing_for_a_missing_eos(tmp_path):
    spelt(None, eos_token="</s>").save_pretrained(tmp_path / "gpt2")
    assert load_tokenizer(tmp_path / "gpt2").pad_token_id == 1
    spelt(None).save_pretrained(tmp_path / "endless")
    with pytest.raises(LookupError, match=r"endless has no EOS"):
        load_tokenizer(tmp_path / "endless")


# -- positions

ROWS = tiny.rows(9)


def same(one: Tokens, other: Tokens) -> None:
    """What each says of its responses is the same, whatever fills the rest."""
    assert_close(one.mask, other.mask)
    assert_close(one.targets[one.mask], other.targets[other.mask])
    assert_close(one.positions[one.mask], other.positions[other.mask])


def test_mask_positions_and_targets_are_those_of_a_loop():
    tokens = Tokens.collate(ROWS, tiny.PAD)
    longest = max(len(response) for _, response in ROWS)
    assert tokens.mask.shape == tokens.positions.shape == tokens.targets.shape
    assert tokens.mask.shape == (len(ROWS), longest)
    for i, (prompt, response) in enumerate(ROWS):
        for t in range(longest):
            assert tokens.mask[i, t] == (t < len(response))
        for t, token in enumerate(response):
            before = [*prompt, *response][: len(prompt) + t]
            assert tokens.targets[i, t] == token
            assert tokens.ids[i, : tokens.positions[i, t] + 1].tolist() == before


@pytest.mark.parametrize(
    "some", [slice(2, 5), slice(0, 1), torch.tensor([7, 0, 3]), torch.arange(9) % 2 == 0], ids=str
)
def test_rows_keep_their_width_and_lose_only_padding(some):
    tokens = Tokens.collate(ROWS, tiny.PAD)
    part = tokens[some]
    numbers = torch.arange(len(ROWS))[some].tolist()
    assert part.width == tokens.width
    assert part.ids.shape[1] == max(len(ROWS[i][0]) + len(ROWS[i][1]) for i in numbers)
    assert_close(part.mask, tokens.mask[some])
    assert_close(part.targets[part.mask], tokens.targets[some][part.mask])
    assert_close(part.positions[part.mask], tokens.positions[some][part.mask])


def test_two_batches_side_by_side_are_one_batch_of_their_rows():
    few, many = Tokens.collate(ROWS[:2], tiny.PAD), Tokens.collate(ROWS[2:], tiny.PAD)
    whole = Tokens.collate(ROWS, tiny.PAD)
    same(few + many, whole)
    order = torch.tensor([*range(2, len(ROWS)), 0, 1])
    same(many + few, whole[order])
    assert (few + many).width == max(few.width, many.width)


def test_what_fills_the_padding_is_never_read():
    tokens = Tokens.collate(ROWS, tiny.PAD)
    model = tiny.llama()
    clean = reference_logps(model, tokens, rows=4)
    behind = torch.arange(tokens.ids.shape[1]) >= (tokens.start + tokens.length)[:, None]
    for filling in (tiny.EOS, 5, tiny.WORDS - 1):
        other = replace(tokens, ids=tokens.ids.masked_fill(behind, filling))
        same(other, tokens)
        assert_close(reference_logps(model, other, rows=4), clean)
    assert (clean[~tokens.mask] == 0).all()
