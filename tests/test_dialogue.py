"""Responses in which another speaker has a say: as text, as ids, drawn, scored and paid turn by turn."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import PPO, PPOTurns
from bench.feedback.answer import answers_of
from bench.models.build import with_value_head
from bench.models.sampling import (
    Decoding,
    DecodingError,
    Samples,
    conversed,
    draw,
    sample,
    uniforms,
)
from bench.models.scoring import kl_along, reference_logps, state_values, token_values
from bench.models.tokens import Tokens, as_read, plain_ids, prompt_ids, response_ids, texts_of
from bench.models.tokens import words as word_tokens
from bench.stages import reference_scores
from bench.tasks.example import TURN, Example, Task
from bench.training import turns
from bench.training.batches import Models, ragged
from bench.training.choice import BestAndWorst
from bench.training.online import Online
from bench.training.phases import Sampler
from bench.training.progress import Display
from tests import tiny

WORDS = word_tokens([" a b c d ! 0 1 2 3 4 5"], 100)
EOS = WORDS.eos_token_id
ENDS = {"pad_id": WORDS.pad_token_id, "eos_id": EOS}
PROMPTS = [" a b c d"[: 2 + 2 * (i % 4)] + f" {i}" for i in range(6)]
EXAMPLES = [Example(id=str(i), prompt=prompt) for i, prompt in enumerate(PROMPTS)]
LIMIT, EACH = 26, 8
YES, NO = True, False


def number(i: int, said: str) -> str | None:
    """That of the prompt, twice at the most."""
    return f" {i} !" if said.count(TURN) < 4 else None


def talk(reply=number, limit: int = LIMIT, **how) -> Samples:
    decoding = Decoding(max_new_tokens=limit)
    policy = tiny.llama(0, len(WORDS))
    return draw(policy, WORDS, PROMPTS, decoding, 1, per_prompt=EACH, reply=reply, **how)


TALK = talk()
TOKENS = Tokens.collate(TALK.rows, WORDS.pad_token_id)


# -- text and ids


def test_our_turns_end_and_those_of_others_are_below_zero():
    (ids,) = response_ids(WORDS, [f" a b{TURN} 1 !{TURN} c"])
    a, b, one, mark, c = plain_ids(WORDS, [" a b 1 ! c"])[0]
    assert ids == [a, b, EOS, ~one, ~mark, c, EOS]
    assert as_read(ids) == [a, b, EOS, one, mark, c, EOS]


@pytest.mark.parametrize(
    "text", ["", " a", f" a{TURN} 1 !{TURN} b", f"{TURN} 1{TURN}", f" a{TURN} 1"]
)
def test_a_dialogue_comes_back_as_it_was(text):
    ids = response_ids(WORDS, [" d", text])[1]
    if text.count(TURN) == 1:  # ours came to no end
        assert ids[-1] < 0
    assert texts_of(WORDS, [ids]) == [text]


def test_who_spells_the_mark_between_turns_takes_no_turn():
    words = word_tokens([f" a {TURN} b"], 100)
    (ids,) = plain_ids(words, [f" a {TURN} b"])
    assert len(ids) == 3
    assert texts_of(words, [[*ids, words.eos_token_id]]) == [" a  b"]


def test_models_read_what_others_say_and_losses_do_not():
    for i, (prompt, ids) in enumerate(TALK.rows):
        end = len(prompt) + len(ids)
        assert TOKENS.ids[i, :end].tolist() == [*prompt, *as_read(ids)]
        assert TOKENS.mask[i, : len(ids)].tolist() == [t >= 0 for t in ids]
        assert not TOKENS.mask[i, len(ids) :].any()
        assert TOKENS.filled[i].sum() == len(ids)
    assert (TOKENS.filled & ~TOKENS.mask).any()


def test_what_others_say_stays_where_it_is():
    some = tensor([7, 0, 30])
    assert torch.equal(TOKENS[some].mask, TOKENS.mask[some])
    both = TOKENS[:5] + Tokens.collate(TALK.rows[5:], WORDS.pad_token_id)
    assert torch.equal(both.mask, TOKENS.mask)
    assert torch.equal(TOKENS.to("cpu").mask, TOKENS.mask)


# -- drawn


def test_first_turns_are_those_of_a_task_where_nobody_replies():
    plain = talk(None)
    assert any(len(ids) > len(alone) for ids, alone in zip(TALK.ids, plain.ids, strict=True))
    for ids, logps, alone, known in zip(TALK.ids, TALK.logps, plain.ids, plain.logps, strict=True):
        assert ids[: len(alone)] == alone
        assert logps[: len(alone)] == known
    silent = talk(lambda i, said: None)
    assert silent == plain


def test_whoever_ends_a_turn_is_told_what_is_said_to_it():
    seen = set()
    for i, (text, done) in enumerate(zip(texts_of(WORDS, TALK.ids), TALK.finished, strict=True)):
        heard = text.split(TURN)[1::2]
        seen.add((len(heard), done))
        assert heard == [f" {i // EACH} !"] * len(heard)
        ended = TALK.ids[i][-1] == EOS
        assert TALK.ids[i].count(EOS) == len(heard) + ended
        assert done == (ended and len(heard) == 2)  # else there was a reply, and no room for it
    assert seen == {(0, NO), (1, NO), (2, YES), (2, NO)}


def test_a_reply_sees_all_that_was_said():
    told = []

    def once(i: int, said: str) -> str | None:
        told.append((i, said))
        return " !" if TURN not in said else None

    found = talk(once)
    texts = texts_of(WORDS, found.ids)
    assert {(n // EACH, text) for n, text in enumerate(texts) if found.finished[n]} <= set(told)
    assert {said.partition(TURN)[0] for _, said in told} == {
        said for _, said in told if TURN not in said
    }


def test_a_later_turn_is_drawn_with_the_numbers_of_its_places():
    """Token t of a response, whoever said those before it, is where u_t falls."""
    policy, noise = tiny.llama(0, len(WORDS)), uniforms(1, len(TALK.ids), LIMIT)
    row = next(i for i, ids in enumerate(TALK.ids) if sum(t < 0 for t in ids) == 4)
    ids = TALK.ids[row]
    begin = max(t for t, token in enumerate(ids) if token < 0) + 1
    asked = [*TALK.prompts[row], *as_read(ids[:begin])]
    decoding = Decoding(max_new_tokens=LIMIT - begin)
    alone = sample(policy, [asked], decoding, noise[row : row + 1, begin:], **ENDS)
    assert alone.ids == [ids[begin:]]
    assert alone.finished == [TALK.finished[row]]


def test_the_limit_holds_for_all_that_is_said():
    """A response is cut at the limit, or before a reply of two words that leave no room for a third."""
    policy, noise = tiny.llama(0, len(WORDS)), uniforms(1, len(TALK.ids), LIMIT)
    asked, cases = prompt_ids(WORDS, PROMPTS), set()
    for limit in (8, 14, 20):
        decoding = Decoding(max_new_tokens=limit)
        first = sample(policy, asked, decoding, noise[:, :limit], per_prompt=EACH, **ENDS)
        found = conversed(
            policy,
            WORDS,
            first,
            decoding,
            noise[:, :limit],
            lambda i, said: number(i // EACH, said),
        )
        for short, ids, done in zip(found.ids, TALK.ids, found.finished, strict=True):
            if done:
                assert short == ids
                cases.add("whole")
                continue
            cut = len(short) < limit
            assert short == ids[: len(short)]
            assert short[-1] >= 0
            assert len(short) == limit or (short[-1] == EOS and len(short) + 2 >= limit)
            cases.add("before a reply" if cut else "at the limit")
    assert cases == {"whole", "before a reply", "at the limit"}


def test_a_search_is_for_one_turn():
    decoding = Decoding(temperature=0, beams=2, max_new_tokens=3)
    policy = tiny.llama(0, len(WORDS))
    with pytest.raises(DecodingError, match=r"decoding\.beams.*set decoding\.beams=1"):
        draw(policy, WORDS, PROMPTS, decoding, 0, reply=number)
    assert draw(policy, WORDS, PROMPTS, decoding, 0).ids


# -- scored


def test_log_probabilities_are_those_of_scoring():
    known = reference_logps(tiny.llama(0, len(WORDS)), TOKENS, rows=7)
    assert_close(ragged(TALK.logps, TOKENS.width), known, rtol=1e-4, atol=1e-5)
    assert (known[~TOKENS.mask] == 0).all()
    own = TOKENS.mask.sum(-1).tolist()
    assert [len(x) for x in TALK.own_logps] == [a.length for a in answers_of(WORDS, TALK)] == own


def test_nothing_is_said_of_the_words_of_others():
    one, other = tiny.llama(0, len(WORDS)), tiny.llama(1, len(WORDS))
    exact, k1 = kl_along(one, other, TOKENS, TOKENS, 16)
    critic = with_value_head(one)
    torch.nn.init.normal_(critic.score.weight)
    for numbers in (exact, k1, token_values(critic, TOKENS), state_values(critic, TOKENS)):
        assert (numbers[~TOKENS.mask] == 0).all()
        assert (numbers[TOKENS.mask] != 0).all()


def test_stored_scores_come_back_to_their_places():
    """A number for every position of a response, so that those behind a gap keep theirs."""
    model = tiny.llama(3, len(WORDS))
    with Display().stage("scores") as bar:
        flat = reference_scores.logps(model, TALK.rows, WORDS.pad_token_id, 5, bar)
    back = ragged(flat.split([len(ids) for ids in TALK.ids]), TOKENS.width)
    assert_close(back, reference_logps(model, TOKENS, 48), rtol=1e-5, atol=1e-6)


# -- paid


def test_turns_end_before_others_speak():
    mask = tensor([
        [YES, YES, NO, NO, YES, NO, YES, NO],
        [YES, YES, YES, NO, NO, NO, NO, NO],
        [NO, NO, NO, NO, NO, NO, NO, NO],
        [YES, NO, NO, YES, YES, YES, YES, YES],
    ])  # fmt: skip
    assert turns.ends(mask).nonzero().tolist() == [[0, 1], [0, 4], [3, 0]]


def worth(examples, answers) -> list[float]:
    """A point for each word of ours, ten for each of others."""
    return [
        float(sum(1 if t >= 0 else 10 for t in a.ids)) + 100 * len(x.prompt)
        for x, a in zip(examples, answers, strict=True)
    ]


def sampler() -> Sampler:
    task = Task(name="t", version=1, splits={}, reply=lambda x, said: number(int(x.id), said))
    return Sampler(WORDS, EXAMPLES, Decoding(max_new_tokens=LIMIT), 0, worth, task.replies)


def phase(algo, **how):
    how = {
        "choose": BestAndWorst(),
        "micro": 16,
        "device": "cpu",
        "missing_end_penalty": 5.0,
        **how,
    }
    collect = Online(algo, sampler(), prompts=6, per_prompt=EACH, **how)
    them = Models(tiny.llama(0, len(WORDS)), tiny.llama(1, len(WORDS)))
    return collect(0, them)


def test_turns_are_paid_what_they_add():
    """By hand: the first turn its words and 100 a letter of the prompt, each later one its own and 20."""
    plain, _ = phase(PPO())
    batch, said = phase(PPOTurns(), turn_discount=0.25)
    mask, earned = batch.tokens.mask, batch.extra["token_rewards"]
    assert torch.equal(mask, plain.tokens.mask)
    assert_close(batch.rewards + earned.sum(-1), plain.rewards)
    assert said["rollout/reward"] == phase(PPO())[1]["rollout/reward"]
    assert said["rollout/length"] == pytest.approx(mask.sum(-1).float().mean().item())
    old = batch.token_old_logps[mask]
    assert said["rollout/entropy"] == pytest.approx(-old.mean().item(), rel=1e-5)
    asked = sampler().examples(0, 6)
    ends = turns.ends(mask)
    assert ends.sum(-1).unique().tolist() == [0, 1, 2]
    assert torch.equal(earned != 0, ends)
    assert_close(batch.extra["token_discounts"], torch.where(ends, 0.25, 1.0))
    for i, row in enumerate(ends):
        letters, start = 100.0 * len(asked[int(batch.prompt[i])].prompt), 0
        for n, t in enumerate(row.nonzero().flatten().tolist()):
            ours = mask[i, start : t + 1].sum().item()
            assert earned[i, t] == ours + (20 if n else letters)
            start = t + 1


def test_whoever_pays_for_whole_responses_pays_no_turns():
    assert not phase(PPO())[0].extra
