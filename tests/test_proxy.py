"""Proxy tuning: the shift by hand, what cancels, and one model among three as if it were alone."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from bench.models.proxy import ProxyTuned
from bench.models.sampling import Decoding, DecodingError, Samples, draw, sample, uniforms
from bench.models.tokens import words as word_tokenizer
from tests import tiny

STEPS = 9
PROMPTS = [prompt for prompt, _ in tiny.rows(12, seed=3)]
ENDS = {"pad_id": tiny.PAD, "eos_id": tiny.EOS}
BIG, TUNED, UNTUNED = (tiny.llama(seed) for seed in (2, 4, 5))


def drawn(model: nn.Module, per_prompt: int = 1, **how) -> Samples:
    """Ends often enough that rows leave the batch."""
    noise = uniforms(5, per_prompt * len(PROMPTS), STEPS)
    decoding = Decoding(max_new_tokens=STEPS, **how)
    return sample(model, PROMPTS, decoding, noise, **ENDS, per_prompt=per_prompt, rows=20)


class Constant(nn.Module):
    """Says the same whatever it has read."""

    def __init__(self, *shares: float):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(shares).log())

    def forward(self, input_ids, past_key_values=None):
        class Read:
            logits = self.logits.expand(*input_ids.shape, -1)

        Read.past_key_values = None
        return Read


@pytest.mark.parametrize(
    ("strength", "shares"),
    # (½, ¼, ¼) · (⅕/⅖, ⅖/⅕, ⅖/⅖) ∝ (¼, ½, ¼); the ratio squared: (⅛, 1, ¼)
    [(0.0, (1 / 2, 1 / 4, 1 / 4)), (1.0, (1 / 4, 1 / 2, 1 / 4)), (2.0, (1 / 11, 8 / 11, 2 / 11))],
)
def test_a_shift_by_hand(strength, shares):
    big, tuned = Constant(1 / 2, 1 / 4, 1 / 4), Constant(1 / 5, 2 / 5, 2 / 5)
    model = ProxyTuned(big, tuned, Constant(2 / 5, 1 / 5, 2 / 5), strength)
    logits = model(input_ids=torch.zeros(2, 3, dtype=torch.long)).logits
    assert_close(logits.softmax(-1), torch.tensor(shares).expand(2, 1, 3))


def test_rows_that_pad_the_vocabulary_are_left_out():
    big = Constant(0.2, 0.1, 0.1, 0.6)  # the last is no token
    model = ProxyTuned(big, Constant(0.5, 0.5), Constant(0.5, 0.5), 1.0)
    logits = model(input_ids=torch.zeros(1, 1)).logits
    assert_close(logits.softmax(-1), torch.tensor([[[2 / 3, 1 / 3]]]))


@pytest.mark.parametrize("how", [{}, {"temperature": 0.7, "top_p": 0.8}, {"temperature": 0.0}])
@pytest.mark.parametrize("per_prompt", [1, 3])
def test_who_is_steered_away_from_itself_says_what_the_tuned_model_says(how, per_prompt):
    tuned = drawn(TUNED, per_prompt, **how)
    assert drawn(ProxyTuned(UNTUNED, TUNED, UNTUNED, 1.0), per_prompt, **how).ids == tuned.ids
    assert tuned.ids != drawn(UNTUNED, per_prompt, **how).ids


def test_without_strength_a_model_says_its_own():
    own = drawn(BIG)
    assert drawn(ProxyTuned(BIG, TUNED, UNTUNED, 0.0)).ids == own.ids
    assert drawn(ProxyTuned(BIG, TUNED, UNTUNED, 0.5)).ids != own.ids


def test_every_model_reads_the_whole_text():
    """Log-probabilities of samples, whose rows leave at different times, without any cache."""
    found = drawn(ProxyTuned(BIG, TUNED, UNTUNED, 0.5), 2)
    assert len({len(ids) for ids in found.ids}) > 3
    for (prompt, ids), logps in zip(found.rows, found.logps, strict=True):
        with torch.no_grad():
            read = torch.tensor([[*prompt, *ids]])
            big, tuned, untuned = (
                m(input_ids=read).logits[0].log_softmax(-1) for m in (BIG, TUNED, UNTUNED)
            )
        shifted = (big + 0.5 * (tuned - untuned)).log_softmax(-1)[len(prompt) - 1 : -1]
        assert_close(
            torch.tensor(logps), shifted[torch.arange(len(ids)), ids], rtol=1e-4, atol=1e-4
        )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Models of one tokenizer in folders, and `other`, of another."""
    root = tmp_path_factory.mktemp("models")
    words = word_tokenizer(["a b c d e f g"], 20)
    models = {"tuned": TUNED, "untuned": UNTUNED, "other": TUNED}
    for name, model in models.items():
        model.save_pretrained(root / name)
        used = words if name != "other" else word_tokenizer(["a b c d e f h"], 20)
        used.save_pretrained(root / name)
    return root, words


def test_a_decoding_names_the_folders_of_both(folders):
    root, words = folders
    how = Decoding(max_new_tokens=5, tuned=str(root / "tuned"), untuned=str(root / "untuned"))
    steered = draw(UNTUNED, words, ["a b", "c"], how, seed=0)
    assert steered.ids == draw(TUNED, words, ["a b", "c"], Decoding(max_new_tokens=5), seed=0).ids


@pytest.mark.parametrize("which", ["tuned", "untuned"])
def test_another_vocabulary_is_told_in_one_line(folders, which):
    root, words = folders
    paths = {"tuned": str(root / "tuned"), "untuned": str(root / "untuned")}
    paths[which] = str(root / "other")
    with pytest.raises(DecodingError, match=r"the vocabulary of .*other is not that of the policy"):
        draw(BIG, words, ["a b"], Decoding(**paths), seed=0)


def test_beams_search_with_one_model():
    with pytest.raises(DecodingError, match=r"leave out decoding\.tuned"):
        Decoding(temperature=0.0, beams=5, tuned="a", untuned="b")
