"""Beam search: the likeliest response where the beams are wide enough, greedy where there is one."""

from itertools import product

import pytest
import torch
from torch.testing import assert_close

from bench.models.beams import likeliest
from bench.models.sampling import Decoding, Samples, sample, uniforms
from bench.models.scoring import score
from bench.models.tokens import Tokens
from tests import tiny

LETTERS, STEPS = 5, 4
PROMPTS = [[3], [4, 2], [2, 2, 3, 4], [4, 4, 3], [0, 3, 2, 4, 3, 2]]
ENDS = {"pad_id": tiny.PAD, "eos_id": tiny.EOS}


@pytest.fixture(scope="module")
def model():
    """Few letters, so that every response can be listed."""
    return tiny.llama(seed=2, vocab_size=LETTERS)


def found(model, beams: int, prompts=PROMPTS, **how) -> Samples:
    decoding = Decoding(temperature=0.0, beams=beams, max_new_tokens=STEPS)
    return sample(model, prompts, decoding, uniforms(0, 3 * len(prompts), STEPS), **ENDS, **how)


def every_response() -> list[list[int]]:
    """Each that ends within STEPS tokens, and each that the limit cuts."""
    inner = [x for x in range(LETTERS) if x != tiny.EOS]
    ended = [[*x, tiny.EOS] for n in range(STEPS) for x in product(inner, repeat=n)]
    return ended + [list(x) for x in product(inner, repeat=STEPS)]


def likelihood(model, prompt: list[int], responses: list[list[int]]) -> torch.Tensor:
    tokens = Tokens.collate([(prompt, r) for r in responses], tiny.PAD)
    return score(tokens, frozenset(), model).token_logps.sum(-1).detach()


def test_beams_wide_enough_find_the_likeliest_of_all_responses(model):
    responses = every_response()
    by_hand, total = [], 0.0
    for prompt in PROMPTS:
        logps = likelihood(model, prompt, responses)
        by_hand.append(responses[int(logps.argmax())])
        total += float(logps.exp().sum())
    assert total == pytest.approx(len(PROMPTS), abs=1e-4)  # nothing is missing from the list
    samples = found(model, beams=LETTERS**STEPS)
    assert samples.ids == by_hand
    assert samples.ids != found(model, beams=1).ids  # which greedy misses
    assert len({len(ids) for ids in samples.ids}) > 1


def test_one_beam_is_greedy(model):
    rows = likeliest(model, PROMPTS, 1, STEPS, **ENDS)
    greedy = found(model, beams=1)
    assert [ids for ids, _, _ in rows] == greedy.ids
    assert [finished for _, _, finished in rows] == greedy.finished
    for (_, logps, _), others in zip(rows, greedy.logps, strict=True):
        assert_close(torch.tensor(logps), torch.tensor(others), rtol=1e-5, atol=1e-5)


def spelt(model, prompt: list[int], beams: int) -> list[int]:
    """To the limit, whatever has ended by then."""
    live, over = [(0.0, [])], []
    for _ in range(STEPS):
        longer = []
        for total, ids in live:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, -1]
            longer += [
                (total + x, [*ids, i]) for i, x in enumerate(logits.log_softmax(-1).tolist())
            ]
        longer.sort(reverse=True)
        over += [x for x in longer[:beams] if x[1][-1] == tiny.EOS]
        live = [x for x in longer if x[1][-1] != tiny.EOS][:beams]
    return max(over + live)[1]


@pytest.mark.parametrize("beams", [2, 3, 4])
def test_narrow_beams_are_the_textbook_search(beams):
    prompts = [[2], [3], [4], *map(list, product([2, 3, 4], [tiny.PAD, 2, 3, 4]))]
    for seed in (2, 4):
        model = tiny.llama(seed=seed, vocab_size=LETTERS)
        assert found(model, beams, prompts).ids == [spelt(model, p, beams) for p in prompts]


@pytest.mark.parametrize("rows", [1, 6, 512])
def test_neither_padding_nor_neighbours_change_a_response(model, rows):
    whole = found(model, 3, rows=rows)
    for i, prompt in enumerate(PROMPTS):
        alone = found(model, 3, [prompt])
        assert whole.ids[i] == alone.ids[0]
        assert whole.finished[i] == alone.finished[0]
        logps = torch.tensor(whole.logps[i])
        assert_close(logps, torch.tensor(alone.logps[0]), rtol=1e-5, atol=1e-5)


def test_log_probabilities_are_those_of_scoring(model):
    samples = found(model, 3)
    tokens = Tokens.collate(samples.rows, tiny.PAD)
    logps = score(tokens, frozenset(), model).token_logps[tokens.mask].detach()
    assert_close(torch.tensor([x for row in samples.logps for x in row]), logps, rtol=0, atol=1e-5)


def test_a_response_ends_with_its_first_eos_or_at_the_limit(model):
    samples = found(model, 3)
    assert set(samples.finished) == {True, False}
    for ids, finished in zip(samples.ids, samples.finished, strict=True):
        assert finished == (ids[-1] == tiny.EOS)
        assert tiny.EOS not in ids[:-1]
        assert finished or len(ids) == STEPS


def test_there_is_one_likeliest_response_however_many_are_asked_for(model):
    told: list[int] = []
    several = found(model, 3, per_prompt=3, rows=6, on_rows=told.append)
    assert several.ids == [ids for ids in found(model, 3).ids for _ in range(3)]
    assert told == [6, 6, 3]  # two prompts of three beams at a time


def test_what_a_model_likes_to_be_asked_with_is_left_out(model):
    """Hub models bring penalties and temperatures of their own."""
    plain = found(model, 3)
    own = model.generation_config
    model.generation_config = type(own)(repetition_penalty=9.0, length_penalty=2.0)
    try:
        assert found(model, 3) == plain
        assert model.generation_config.repetition_penalty == 9.0
    finally:
        model.generation_config = own


def test_beams_need_temperature_0():
    with pytest.raises(ValueError, match=r"set decoding\.temperature=0"):
        Decoding(beams=5)
