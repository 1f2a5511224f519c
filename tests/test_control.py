"""Control tokens: they stand behind prompts, they are never said, and all else stays as it was."""

import pytest
import torch
from torch.testing import assert_close

from bench.models.build import load_policy
from bench.models.control import controlled
from bench.models.sampling import Decoding, draw, sample, uniforms
from bench.models.scoring import all_logps, before_head, kl_along
from bench.models.tokens import Tokens, load_tokenizer, prompt_ids, texts_of, words
from bench.training.feeds import LabelRows
from tests import tiny

TEXTS = ["note : emma sold lamps", "note : otto", "emma : lamps sold"]
GOOD, BAD = "<|good|>", "<|bad|>"


def response_logps(model, tokens: Tokens) -> torch.Tensor:
    return all_logps(*before_head(model, tokens))


@pytest.fixture
def plain(tmp_path):
    """A tokenizer's folder and a policy that knows its words."""
    tokenizer = words(TEXTS, 50)
    tokenizer.save_pretrained(tmp_path / "words")
    return tmp_path / "words", lambda: tiny.llama(vocab_size=len(tokenizer))


def test_the_good_token_ends_every_prompt_also_from_a_folder(plain, tmp_path):
    folder, policy = plain
    asked = controlled(policy(), folder, GOOD, BAD, seed=0)
    before = prompt_ids(load_tokenizer(folder), TEXTS)
    good = asked.convert_tokens_to_ids(GOOD)
    assert prompt_ids(asked, TEXTS) == [[*row, good] for row in before]
    asked.save_pretrained(tmp_path / "again")
    assert prompt_ids(load_tokenizer(tmp_path / "again"), TEXTS) == prompt_ids(asked, TEXTS)
    assert texts_of(asked, prompt_ids(asked, TEXTS)) == TEXTS


def test_behind_a_plain_prompt_the_policy_is_what_it_was(plain, tmp_path):
    """Whether in memory or from its folder; to the new tokens it gives nothing."""
    folder, policy = plain
    tokens = Tokens.collate([([4 + i, 5], [6, 4 + i, 1]) for i in range(6)], pad_id=0)
    want = response_logps(policy(), tokens)
    grown = policy()
    controlled(grown, folder, GOOD, BAD, seed=0).save_pretrained(tmp_path / "policy")
    grown.save_pretrained(tmp_path / "policy")
    for model in (grown, load_policy(tmp_path / "policy")):
        found = response_logps(model, tokens)
        assert found.shape[1] == want.shape[1] + 2
        assert_close(found[:, :-2], want, rtol=1e-5, atol=1e-5)
        assert (found[:, -2:].exp() == 0).all()


def test_control_tokens_are_never_said(plain):
    folder, policy = plain
    grown = policy()
    asked = controlled(grown, folder, GOOD, BAD, seed=0)
    with torch.no_grad():
        grown.get_output_embeddings().weight[-2:] *= 1e3  # as loud as can be
    drawn = draw(grown, asked, TEXTS * 20, Decoding(max_new_tokens=8), seed=0)
    said = {t for ids in drawn.ids for t in ids}
    assert said
    assert max(said) < len(load_tokenizer(folder))
    assert all(prompt[-1] == asked.convert_tokens_to_ids(GOOD) for prompt in drawn.prompts)


def test_the_kl_to_a_smaller_vocabulary_is_that_over_what_is_said(plain):
    folder, policy = plain
    grown, reference = policy(), policy()
    asked = controlled(grown, folder, GOOD, BAD, seed=0)
    prompts = prompt_ids(asked, TEXTS)
    noise = uniforms(0, len(prompts), 5)
    drawn = sample(grown, prompts, Decoding(max_new_tokens=5), noise, pad_id=0, eos_id=1)
    ours, theirs = (
        Tokens.collate(list(zip(p, drawn.ids, strict=True)), 0)
        for p in (prompts, [p[:-1] for p in prompts])
    )
    p, q = response_logps(grown, ours)[:, :-2], response_logps(reference, theirs)
    exact, k1 = kl_along(grown, reference, ours, theirs, rows=2)
    assert_close(exact[ours.mask], (p.exp() * (p - q)).sum(-1), rtol=1e-4, atol=1e-5)
    assert (exact[ours.mask] > 0).all()
    assert exact.isfinite().all()
    assert k1.isfinite().all()


def test_bad_answers_stand_behind_the_other_token():
    rows = LabelRows([([2, 9], [5]), ([3, 9], [6])], desirable=[True, False])
    assert rows.told(bad=8).rows == [([2, 9], [5]), ([3, 8], [6])]
