"""Samples: of the stated distribution, the same whoever else is in the batch, ended where they end."""

import pytest
import torch
from scipy.stats import chisquare
from torch.testing import assert_close

from bench.models import room, sampling
from bench.models.sampling import Decoding, Samples, pick, sample, uniforms
from bench.models.scoring import score
from bench.models.tokens import Tokens
from tests import tiny

STEPS = 9
PROMPTS = [prompt for prompt, _ in tiny.rows(12, seed=3)]
NOISE = uniforms(5, len(PROMPTS), STEPS)
ENDS = {"pad_id": tiny.PAD, "eos_id": tiny.EOS}


@pytest.fixture(scope="module")
def model():
    """Ends often enough that rows leave a batch at different times."""
    return tiny.llama(seed=2)


def draw(model, prompts=PROMPTS, noise=NOISE, **how) -> Samples:
    decoding = Decoding(max_new_tokens=STEPS, **how.pop("decoding", {}))
    return sample(model, prompts, decoding, noise, **ENDS, **how)


def alone(model, row: int, prompts=PROMPTS, **how) -> tuple[list[int], list[float], bool]:
    found = draw(model, [prompts[row]], NOISE[row : row + 1], **how)
    return found.ids[0], found.logps[0], found.finished[0]


# -- one row among others


@pytest.mark.parametrize("rows", [1, 2, 5, 512])
@pytest.mark.parametrize("decoding", [{}, {"temperature": 0.7, "top_p": 0.8}, {"temperature": 0}])
def test_neither_batch_size_nor_neighbours_change_a_sample(model, rows, decoding):
    found = draw(model, rows=rows, decoding=decoding)
    assert len({len(prompt) for prompt in PROMPTS}) > 2
    for i in range(len(PROMPTS)):
        ids, logps, finished = alone(model, i, decoding=decoding)
        assert found.ids[i] == ids
        assert found.finished[i] == finished
        assert_close(torch.tensor(found.logps[i]), torch.tensor(logps), rtol=1e-5, atol=1e-5)


def test_rows_that_end_leave_the_batch_and_the_others_go_on(model):
    widths: list[int] = []
    watch = model.register_forward_hook(lambda m, args, out: widths.append(len(out.logits)))
    found = draw(model)
    watch.remove()
    lengths = sorted(map(len, found.ids))
    assert lengths[0] < lengths[-1]
    assert widths[0] == len(PROMPTS)
    assert len(widths) == lengths[-1]  # nobody waits for the limit
    assert widths[-1] < len(PROMPTS)
    for step, width in enumerate(widths):
        under_way = sum(n > step for n in lengths)
        assert under_way <= width <= max(under_way / 0.75, 1)


def test_several_responses_to_a_prompt_stand_side_by_side(model):
    noise = uniforms(6, 3 * len(PROMPTS), STEPS)
    found = draw(model, noise=noise, per_prompt=3, rows=7)
    repeated = [prompt for prompt in PROMPTS for _ in range(3)]
    each = draw(model, repeated, noise)
    assert found.ids == each.ids
    assert found.finished == each.finished
    assert len({tuple(ids) for ids in found.ids[:3]}) > 1


def test_the_first_numbers_are_the_same_however_many_rows_follow():
    for many in (1, 3, 17, 200):
        assert torch.equal(uniforms(0, 1, STEPS), uniforms(0, many, STEPS)[:1])
        assert torch.equal(uniforms(0, many, STEPS), uniforms(0, 500, STEPS)[:many])
    assert not torch.equal(uniforms(0, 3, STEPS), uniforms(1, 3, STEPS))


def test_progress_counts_every_row_once(model):
    told: list[int] = []
    draw(model, noise=NOISE.repeat(2, 1), per_prompt=2, rows=6, on_rows=told.append)
    assert told == [6, 6, 6, 6]


def test_no_prompts_no_samples(model):
    assert draw(model, [], NOISE[:0]) == Samples([], [], [], [])


@pytest.mark.parametrize("more", [0, 3, 64])
@pytest.mark.parametrize("per_prompt", [1, 3])
def test_room_for_tokens_to_come_changes_no_bit(model, monkeypatch, more, per_prompt):
    how = {"noise": uniforms(6, per_prompt * len(PROMPTS), STEPS), "per_prompt": per_prompt}
    monkeypatch.setattr(room, "MORE", more)
    roomy = draw(model, **how)
    monkeypatch.setattr(sampling, "with_room", lambda cache: cache)
    assert draw(model, **how) == roomy


# -- what is drawn


@pytest.mark.parametrize("decoding", [{}, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 2.0}])
def test_log_probabilities_are_those_of_scoring_at_the_temperature_of_drawing(model, decoding):
    found = draw(model, decoding=decoding)
    temperature = decoding.get("temperature", 1.0)
    tokens = Tokens.collate(list(zip(PROMPTS, found.ids, strict=True)), tiny.PAD)
    scored = score(tokens, frozenset(), model, temperature=temperature).token_logps[tokens.mask]
    drawn = torch.tensor([x for row in found.logps for x in row])
    assert_close(drawn, scored.detach(), rtol=1e-5, atol=1e-5)


def test_a_sample_ends_with_its_first_eos_or_at_the_limit(model):
    found = draw(model, PROMPTS * 4, uniforms(8, 4 * len(PROMPTS), STEPS))
    assert set(found.finished) == {True, False}
    for ids, logps, finished in zip(found.ids, found.logps, found.finished, strict=True):
        assert len(ids) == len(logps) <= STEPS
        assert finished == (ids[-1] == tiny.EOS)
        assert tiny.EOS not in ids[:-1]
        assert finished or len(ids) == STEPS


def test_an_eos_at_the_limit_is_an_end(model):
    found = draw(model)
    row = next(i for i, ids in enumerate(found.ids) if found.finished[i] and len(ids) > 1)
    ids = found.ids[row]
    for limit, finished in ((len(ids), True), (len(ids) - 1, False)):
        decoding = Decoding(max_new_tokens=limit)
        cut = sample(model, [PROMPTS[row]], decoding, NOISE[row : row + 1], **ENDS)
        assert cut.ids == [ids[:limit]]
        assert cut.finished == [finished]


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.7)], ids=str
)
def test_frequencies_follow_the_distribution(model, temperature, top_p):
    count, prompt = 20_000, PROMPTS[0]
    decoding = Decoding(temperature, top_p, max_new_tokens=1)
    found = sample(model, [prompt], decoding, uniforms(0, count, 1), per_prompt=count, **ENDS)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1].double()
    p = (logits / temperature).softmax(-1)
    if top_p < 1:  # the fewest likely tokens that make up top_p
        ordered = sorted(range(tiny.WORDS), key=lambda i: -p[i])
        kept = next(n for n in range(1, tiny.WORDS) if p[ordered[:n]].sum() >= top_p)
        p[ordered[kept:]] = 0
        p = p / p.sum()
    seen = torch.bincount(torch.tensor(found.ids).flatten(), minlength=tiny.WORDS)
    assert (seen[p == 0] == 0).all()
    some = p > 0
    assert chisquare(seen[some], count * p[some]).pvalue > 0.01


def test_greedy_is_the_most_likely_token_whatever_the_noise(model):
    found = draw(model, decoding={"temperature": 0})
    assert found.ids == draw(model, noise=1 - NOISE, decoding={"temperature": 0}).ids
    for prompt, ids in zip(PROMPTS, found.ids, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0]
        assert logits[len(prompt) - 1 : -1].argmax(-1).tolist() == ids


# -- one token, by hand

P = torch.tensor([[0.125, 0.5, 0.25, 0.125]])  # cumulative: 1/8, 5/8, 7/8, 1


@pytest.mark.parametrize(
    ("u", "token"),
    [(0.0, 0), (0.124, 0), (0.125, 1), (0.624, 1), (0.625, 2), (0.874, 2), (0.875, 3), (0.999, 3)],
)
def test_the_token_is_the_one_in_whose_share_the_number_falls(u, token):
    assert pick(P.log(), torch.tensor([u]), Decoding()).item() == token


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, {1}), (0.5, {1}), (0.51, {1, 2}), (0.75, {1, 2}), (1.0, {0, 1, 2, 3})]
)
def test_top_p_keeps_the_fewest_likely_tokens_that_reach_it(top_p, kept):
    u = torch.linspace(0, 1, 1001)[:-1]
    picked = pick(P.log().expand(1000, 4), u, Decoding(top_p=top_p))
    assert set(picked.tolist()) == kept
    shares = torch.bincount(picked, minlength=4) / 1000
    wanted = torch.where(torch.tensor([i in kept for i in range(4)]), P[0], 0.0)
    assert_close(shares, wanted / wanted.sum(), rtol=0, atol=2e-3)


def test_what_cannot_be_said_is_never_picked():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    ends = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert pick(logits.expand(3, 5), ends, Decoding()).tolist() == [1, 3, 3]
