"""Packed rows give the numbers and gradients of padded ones, from fewer tokens."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from algos import DPO, GRPO, KTO, PlackettLuce
from bench.models import build
from bench.models.packing import by_prompt, is_packed, laid_out, packed, tree
from bench.models.rewards import RewardModel
from bench.models.sampling import Decoding, sample, uniforms
from bench.models.scoring import score, state_values, token_values
from bench.models.tokens import Tokens
from tests import tiny
from tests.test_scoring import EVERYTHING, GROUPED, MODELS, built
from tests.test_step import World

A, B, C = [2, 3, 4, 5], [8, 9], [5]
ROWS = {
    "pairs": [(A, [6, 7, 1]), (B, [4, 1]), (A, [9, 1]), (B, [3, 2, 6, 5, 1])],
    "alone": [(A, [6, 7, 1]), (B, [4, 1]), (C, [7, 8, 9, 1])],
    "groups of 1 to 4": [(B, [4, 1])] + [(A, [x, x + 1, 1][: 1 + x % 3]) for x in range(2, 6)],
    "cut and empty": [(A, [6, 7]), (A, []), (B, [1]), (A, [1]), (B, []), (C, []), (C, [])],
    "one the other's beginning": [(A, [6, 1]), (A[:2], [4, 1]), (A[:2], [4, 5, 1]), (C, [4, 1])],
    "another speaker": [(A, [6, 1, ~7, ~8, 9, 1]), (A, [3, 1, ~2, 4, 1]), (B, [5, 1])],
}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
PACKABLE = [name for name in MODELS if name != "gemma2"]


def both(name: str, seed: int, attention: str = "sdpa"):
    """(padded, packed) of the same numbers."""
    plain = built(name, seed)
    plain.set_attn_implementation(attention)
    ours = packed(copy.deepcopy(plain))
    assert is_packed(ours)
    return plain, ours


def gradient(number: torch.Tensor, model) -> torch.Tensor:
    found = torch.autograd.grad(number, list(model.parameters()), allow_unused=True)
    return torch.cat([x.flatten() for x in found if x is not None])


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(
    ("name", "attention"),
    [*((name, "sdpa") for name in PACKABLE), ("llama", "eager"), ("gpt2", "eager")],
)
def test_values_and_gradients_are_those_of_padded_rows(name, attention, rows):
    tokens = Tokens.collate(ROWS[rows], tiny.PAD)
    policies, references = both(name, 0, attention), both(name, 1, attention)
    weights = torch.randn(tokens.mask.shape, generator=torch.Generator().manual_seed(2))
    found = []
    for policy, reference in zip(policies, references, strict=True):
        scored = score(tokens, EVERYTHING, policy, reference)
        values = torch.stack([getattr(scored, n) for n in ("token_logps", *sorted(EVERYTHING))])
        found.append((values, gradient((weights * values).sum() / len(tokens), policy)))
    (values, slope), (ours, our_slope) = found
    assert values[:, tokens.mask].any()
    assert_close(ours, values, **CLOSE)
    assert (our_slope - slope).norm() <= 1e-5 * slope.norm()


@pytest.mark.parametrize("rows", ROWS)
def test_reward_models_and_critics_read_the_same_at_every_token(rows):
    tokens = Tokens.collate(ROWS[rows], tiny.PAD)
    for name in ("llama", "gpt2"):
        plain, ours = (build.with_value_head(x) for x in both(name, 0))
        torch.manual_seed(3)
        for head in (next(reversed(list(m.children()))) for m in (plain, ours)):
            torch.manual_seed(3)
            torch.nn.init.normal_(head.weight)
        assert is_packed(ours)
        assert not is_packed(plain)
        for read in (
            token_values,
            state_values,
            lambda m, t: RewardModel(m, "last").raw(t),
            lambda m, t: RewardModel(m, "sum").raw(t),
        ):
            assert_close(read(ours, tokens), read(plain, tokens), **CLOSE)
            steep, our_steep = (gradient(read(m, tokens).pow(2).sum(), m) for m in (plain, ours))
            assert (our_steep - steep).norm() <= 1e-5 * steep.norm()


def test_a_prompt_is_read_once_and_padding_never():
    model = packed(tiny.llama())
    tokens = Tokens.collate(ROWS["pairs"], tiny.PAD)
    read, places = laid_out(model, tokens)
    first = [*A, 6, 7, 1, 9, 1]
    assert read["input_ids"].tolist() == [[*first, *B, 4, 1, 3, 2, 6, 5, 1]]
    assert read["position_ids"].tolist() == [[*range(7), 4, 5, *range(4), *range(2, 7)]]
    for row, (prompt, response) in enumerate(ROWS["pairs"]):
        own = places[row, : len(prompt) + len(response)]
        assert read["input_ids"][0, own].tolist() == [*prompt, *response]
    assert [(g.start, g.behind, g.end) for g in read["groups"]] == [(0, 4, 9), (9, 11, 18)]


def test_a_response_sees_its_prompt_and_itself():
    yes, no = True, False
    assert tree(2, [2, 1]).tolist() == [
        [yes, yes, yes, no, no],
        [yes, yes, yes, yes, no],
        [yes, yes, no, no, yes],
    ]


def test_groups_are_found_wherever_their_rows_stand():
    assert by_prompt(Tokens.collate(ROWS["pairs"], tiny.PAD)) == [[0, 2], [1, 3]]
    assert by_prompt(Tokens.collate(ROWS["one the other's beginning"], tiny.PAD)) == [
        [0],
        [1, 2],
        [3],
    ]


@pytest.mark.parametrize("algo", [DPO(), KTO(), PlackettLuce()], ids=lambda x: type(x).__name__)
def test_losses_do_not_notice(algo):
    plain, ours = World(algo), World(algo)
    for name in ("policy", "reference"):
        assert is_packed(packed(getattr(ours.models, name)))
    assert_close(ours.step(), plain.step(), rtol=1e-5, atol=1e-5)
    assert_close(ours.parameters(), plain.parameters(), rtol=1e-5, atol=1e-5)


def test_answers_to_one_prompt_are_cut_side_by_side_where_that_saves_work():
    world = World(GRPO())
    batch = replace(world.batch, prompt=torch.tensor([0, 1, 2, 3] * 2))
    some = torch.tensor([6, 3, 5, 2, 1])
    assert batch.arranged(some, world.models) is some
    packed(world.models.policy)
    assert batch.arranged(some, world.models).tolist() == [5, 1, 6, 2, 3]


def test_a_packed_model_answers_as_before():
    """Whoever calls it without groups meets plain attention, to the bit."""
    plain, ours = both("llama", 0)
    said = [
        sample(m, [A, B, C], Decoding(max_new_tokens=5), uniforms(0, 3, 5), pad_id=0, eos_id=1)
        for m in (plain, ours)
    ]
    assert said[0].rows == said[1].rows
    attended = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    ids = torch.tensor([[0, 0, 8, 9], A])
    first, second = (m(input_ids=ids, attention_mask=attended).logits for m in (plain, ours))
    assert torch.equal(first[attended.bool()], second[attended.bool()])


def test_what_is_made_of_a_packed_model_is_packed(tmp_path):
    policy = build.as_laid_out(tiny.llama(), "packed")
    policy.save_pretrained(tmp_path / "policy")
    loaded = build.load_policy(tmp_path / "policy")
    values = build.with_value_head(loaded)
    values.save_pretrained(tmp_path / "values")
    made = [loaded, copy.deepcopy(loaded), values, build.load_values(tmp_path / "values")]
    assert all(map(is_packed, [*made, build.with_language_head(values, loaded)]))
    tiny.llama().save_pretrained(tmp_path / "plain")
    assert not is_packed(build.load_policy(tmp_path / "plain"))
    with pytest.raises(
        ValueError, match=r"model\.layout is 'dense': one of \('padded', 'packed'\)"
    ):
        build.as_laid_out(tiny.llama(), "dense")


def bloom() -> BloomForCausalLM:
    sizes = {"hidden_size": 16, "n_layer": 1, "n_head": 2}
    return BloomForCausalLM(BloomConfig(vocab_size=tiny.WORDS, **sizes, initializer_range=0.25))


def mistral() -> MistralForCausalLM:
    """Its window is wider than any row here."""
    return MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=1000))


def t5() -> T5ForConditionalGeneration:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(vocab_size=tiny.WORDS, **sizes))


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (MODELS["gemma2"], "layers of sliding_attention"),
        (mistral, "its attention has a sliding window"),
        (bloom, "position_ids|groups|other numbers"),
        (t5, "."),
    ],
    ids=["gemma2", "mistral", "bloom", "t5"],
)
def test_a_model_that_cannot_be_packed_is_padded_and_says_why(made, why):
    torch.manual_seed(0)
    model = made().eval()
    before = model.config._attn_implementation
    with pytest.warns(UserWarning, match=f"{type(model).__name__} cannot be packed, .*: .*({why})"):
        packed(model)
    assert model.config._attn_implementation == before
    assert not is_packed(model)
    build.as_saved(model)  # says nothing again
