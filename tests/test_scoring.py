"""Scores against the plain computation: all logits of every position, a loop over tokens."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from bench.models import scoring
from bench.models.scoring import (
    before_head,
    head_is_plain,
    in_parts,
    kl_along,
    prompt_embeddings,
    reference_logps,
    score,
)
from bench.models.tokens import Tokens
from tests import tiny

NO_ENDS = {"vocab_size": tiny.WORDS, "bos_token_id": None, "eos_token_id": tiny.EOS}
SMALL = {
    **NO_ENDS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.25,
    "pad_token_id": tiny.PAD,
}
GROUPED = {**SMALL, "num_key_value_heads": 1, "head_dim": 8}


def gpt2() -> GPT2LMHeadModel:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    return GPT2LMHeadModel(GPT2Config(**NO_ENDS, **sizes, initializer_range=0.25))


def gemma2(**changes) -> Gemma2ForCausalLM:
    return Gemma2ForCausalLM(Gemma2Config(**{**GROUPED, "final_logit_softcapping": 3.0, **changes}))


MODELS = {
    "llama": tiny.llama,
    "llama tied": lambda: tiny.llama(tie_word_embeddings=True),
    "gpt2": gpt2,
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL, num_key_value_heads=1)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**GROUPED)),
    "gemma2": gemma2,  # logits are capped behind the head
}
EVERYTHING = frozenset({"token_entropy", "token_collision", "token_ref_logps", "token_ref_kl"})
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
BATCH = tiny.rows(5)
TOKENS = Tokens.collate(BATCH, tiny.PAD)


def built(name: str, seed: int):
    torch.manual_seed(seed)
    return (MODELS[name]() if name not in ("llama", "llama tied") else tiny.llama(seed)).eval()


def everywhere(model) -> list[Tensor]:
    """log π(· | everything before) at every response token, one row and one token at a time."""
    found = []
    for prompt, response in BATCH:
        logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0].double()
        found.append(torch.stack([logits[len(prompt) + t - 1] for t in range(len(response))]))
    return [x.log_softmax(-1) for x in found]


def spelt(name: str, policy, reference) -> Tensor:
    """A quantity of every response token by its definition, responses one after the other."""
    numbers = []
    for (_, response), p, ref in zip(BATCH, everywhere(policy), everywhere(reference), strict=True):
        for t, token in enumerate(response):
            numbers.append({
                "token_logps": lambda p, ref, token: p[token],
                "token_ref_logps": lambda p, ref, token: ref[token],
                "token_entropy": lambda p, ref, token: -(p.exp() * p).sum(),
                "token_collision": lambda p, ref, token: (p.exp() ** 2).sum().log(),
                "token_ref_kl": lambda p, ref, token: (ref.exp() * (ref - p)).sum(),
                "kl": lambda p, ref, token: (p.exp() * (p - ref)).sum(),
                "k1": lambda p, ref, token: p[token] - ref[token],
            }[name](p[t], ref[t], token))  # fmt: skip
    return torch.stack(numbers).float()


def gradient(number: Tensor, model) -> list[Tensor]:
    return torch.autograd.grad(
        number, list(model.parameters()), allow_unused=True, retain_graph=True
    )


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_are_those_of_the_plain_computation(name):
    policy, reference = built(name, 0), built(name, 1)
    scored = score(TOKENS, EVERYTHING, policy, reference)
    torch.manual_seed(2)
    for quantity in ("token_logps", *sorted(EVERYTHING)):
        ours, plain = getattr(scored, quantity), spelt(quantity, policy, reference)
        assert_close(ours[TOKENS.mask], plain, **CLOSE)
        assert (ours[~TOKENS.mask] == 0).all()
        if "_ref_logps" in quantity:
            assert not ours.requires_grad
            continue
        weights = torch.randn(len(plain))  # a gradient of its own for every token
        ours = gradient((ours[TOKENS.mask] * weights).sum(), policy)
        plain = gradient((plain * weights).sum(), policy)
        for one, other in zip(ours, plain, strict=True):
            if one is not None or other is not None:
                assert (one - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize("tokens_at_a_time", [1, 3, 7])
def test_distributions_are_held_a_few_tokens_at_a_time(monkeypatch, tokens_at_a_time):
    """Values and gradients are the same, and no head is shown more at once."""
    found, seen = [], []
    for numbers in (scoring.NUMBERS, tokens_at_a_time * tiny.WORDS):
        monkeypatch.setattr(scoring, "NUMBERS", numbers)
        policy, reference = tiny.llama(0), tiny.llama(1)
        for model in (policy, reference):
            assert head_is_plain(model)
            model.lm_head.register_forward_hook(lambda head, x, out: seen.append(len(x[0])))
        seen.clear()
        scored = score(TOKENS, EVERYTHING, policy, reference)
        total = sum(getattr(scored, n).sum() for n in ("token_logps", *sorted(EVERYTHING)))
        total.backward()
        along = kl_along(policy, reference, TOKENS, TOKENS, 3)
        found.append((total.detach(), *along, *(x.grad for x in policy.parameters())))
        assert max(seen) == min(int(TOKENS.length.sum()), numbers // tiny.WORDS)
    assert_close(found[0], found[1], **CLOSE)


def test_a_cap_behind_the_head_is_noticed_however_small_the_logits_are():
    torch.manual_seed(0)
    quiet = {"initializer_range": 0.02, "final_logit_softcapping": 30.0}
    assert not head_is_plain(gemma2(**quiet))
    assert head_is_plain(gemma2(**quiet | {"final_logit_softcapping": None}))
    assert all(head_is_plain(built(name, 0)) for name in MODELS if name != "gemma2")


def calls(model) -> list[int]:
    """Grows by one with every forward of the model's trunk."""
    seen: list[int] = []
    model.base_model.register_forward_hook(lambda *_: seen.append(1))
    return seen


@pytest.mark.parametrize(
    ("needs", "given", "forwards"),
    [
        (frozenset(), (), 0),
        (frozenset({"token_entropy", "token_collision"}), (), 0),
        (frozenset({"token_ref_logps"}), (), 1),
        (frozenset({"token_ref_kl"}), (), 1),
        (EVERYTHING, (), 1),
        (frozenset({"token_ref_logps"}), ("token_ref_logps",), 0),
        (EVERYTHING, ("token_ref_logps",), 1),
    ],
    ids=lambda x: "+".join(sorted(x)) if isinstance(x, frozenset | tuple) else str(x),
)
def test_a_reference_is_called_only_for_what_is_needed_and_not_given(needs, given, forwards):
    policy, reference = tiny.llama(0), tiny.llama(1)
    head_is_plain(policy), head_is_plain(reference)  # asked once a model
    ours, theirs = calls(policy), calls(reference)
    known = {name: torch.full(TOKENS.mask.shape, 7.0) for name in given}
    scored = score(TOKENS, needs, policy, reference, **known)
    assert (len(ours), len(theirs)) == (1, forwards)
    for name in EVERYTHING:
        if name in needs:
            getattr(scored, name)
        else:
            with pytest.raises(LookupError, match=name):
                getattr(scored, name)
    assert all((getattr(scored, name) == 7).all() for name in given)


@pytest.mark.parametrize("name", ["llama tied", "gpt2", "gemma2"])
def test_of_a_reference_whose_states_are_kept_the_head_alone_is_called(name):
    policy, reference = built(name, 0), built(name, 1)
    live = score(TOKENS, EVERYTHING, policy, reference)
    with torch.no_grad():
        states = before_head(reference, TOKENS)[1]
    seen = calls(reference)
    kept = score(TOKENS, EVERYTHING, policy, reference, ref_states=states)
    assert not seen
    for quantity in EVERYTHING:
        assert torch.equal(getattr(kept, quantity), getattr(live, quantity))


def test_what_is_given_without_need_is_left_out():
    given = {"reward": torch.ones(len(TOKENS)), "win_rate": torch.zeros(len(TOKENS))}
    scored = score(TOKENS, frozenset({"win_rate"}), tiny.llama(), **given)
    assert_close(scored.win_rate, given["win_rate"])
    with pytest.raises(LookupError, match="reward"):
        _ = scored.reward


@pytest.mark.parametrize("policy", [None, tiny.llama()], ids=["weights", "forward"])
@pytest.mark.parametrize("name", ["token_ref_logps", "token_ref_kl"])
def test_a_missing_reference_is_an_error_that_says_what_to_set(policy, name):
    with pytest.raises(LookupError, match="reference=sft"):
        score(TOKENS, frozenset({name}), policy, None)
    known = {name: torch.zeros(TOKENS.mask.shape)}
    score(TOKENS, frozenset({name}), policy, None, **known)  # given: nobody is missed


def test_without_a_policy_nothing_is_called_and_everything_is_there():
    reference = tiny.llama()
    seen = calls(reference)
    scored = score(TOKENS, EVERYTHING, None, reference)
    assert not seen
    assert_close(scored.mask, TOKENS.mask)
    for name in ("token_logps", *EVERYTHING):
        assert_close(getattr(scored, name), torch.zeros(TOKENS.mask.shape))


def test_the_kl_to_the_reference_is_never_negative_and_zero_to_itself():
    policy, other = tiny.llama(0), tiny.llama(1)
    needs = frozenset({"token_ref_kl"})
    assert (score(TOKENS, needs, policy, other).token_ref_kl[TOKENS.mask] > 0).all()
    itself = score(TOKENS, needs, policy, policy).token_ref_kl
    assert_close(itself, torch.zeros(TOKENS.mask.shape), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_kl_along_is_its_definition_and_k1_sums_to_the_log_ratio(rows):
    policy, reference = tiny.llama(0), tiny.llama(1)
    exact, k1 = kl_along(policy, reference, TOKENS, TOKENS, rows)
    assert exact.shape == k1.shape == TOKENS.mask.shape
    assert_close(exact[TOKENS.mask], spelt("kl", policy, reference), **CLOSE)
    assert_close(k1[TOKENS.mask], spelt("k1", policy, reference), **CLOSE)
    assert (exact[TOKENS.mask] > 0).all()
    assert (exact[~TOKENS.mask] == 0).all()
    whole = score(TOKENS, frozenset({"token_ref_logps"}), policy, reference)
    assert_close(k1.sum(-1), whole.logratios, **CLOSE)
    assert not exact.requires_grad


def test_the_kl_of_a_model_to_itself_is_zero():
    for numbers in kl_along(tiny.llama(), tiny.llama(), TOKENS, TOKENS, 2):
        assert_close(numbers, torch.zeros(TOKENS.mask.shape), rtol=0, atol=1e-6)


def test_it_does_not_matter_how_many_rows_are_scored_at_a_time():
    model = tiny.llama()
    whole = score(TOKENS, frozenset(), model).token_logps.detach()
    for rows in (1, 2, 3, 100):
        assert_close(reference_logps(model, TOKENS, rows), whole, **CLOSE)
        assert [len(part) for part in in_parts(TOKENS, rows)] == [
            len(some) for some in torch.arange(len(TOKENS)).split(rows)
        ]


def test_a_prompt_is_the_mean_of_its_tokens_alone():
    model, prompts = tiny.llama(), [[3, 4, 5, 6], [7], [8, 9]]
    found = prompt_embeddings(model, prompts, tiny.PAD, rows=2)
    for prompt, vector in zip(prompts, found, strict=True):
        hidden = model.base_model(input_ids=torch.tensor([prompt])).last_hidden_state
        assert_close(vector, hidden[0].mean(0), **CLOSE)
