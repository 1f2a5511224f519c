"""Samples as whatever an algorithm learns from: pairs, rankings, labels, demonstrations, rollouts."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from algos import DPO, KTO, NCA, PPO, RTO, SFT, PPOMax, SimPO, SLiC
from algos.core import FromRollouts, Loss, Mean
from bench.models.sampling import Decoding
from bench.models.scoring import reference_logps
from bench.models.tokens import bpe, prompt_ids, response_ids
from bench.tasks.example import Example
from bench.training.batches import Models
from bench.training.choice import BestAndWorst, RejectionSampled
from bench.training.loop import TrainingError
from bench.training.online import DemonstrationsAgainstOwn, Online, learned_from
from bench.training.phases import Phases, Sampler, opponent
from tests import tiny

WORDS = bpe(["a b c d e f g"], 259)
PROMPTS = [Example(id=str(i), prompt="abcdef"[: i + 1], demonstration=" so") for i in range(6)]


def by_number(examples, answers) -> list[float]:
    """Answers are worth 3, 1, 2, 0 and again, whatever they say."""
    return [float((3, 1, 2, 0)[i % 4]) for i in range(len(answers))]


def models() -> Models:
    return Models(tiny.llama(0, len(WORDS)), tiny.llama(1, len(WORDS)))


def sampler(rewards: Any = by_number, tokens: int = 4) -> Sampler:
    return Sampler(WORDS, PROMPTS, Decoding(max_new_tokens=tokens), 0, rewards)


def online(algo: Any, rewards: Any = by_number, **how: Any) -> Online:
    settings = {
        "prompts": 3,
        "per_prompt": 4,
        "choose": BestAndWorst(),
        "micro": 8,
        "device": "cpu",
    }
    return Online(algo, sampler(rewards), **settings | how)


def drawn(policy: Any, per_prompt: int, *noise: int) -> list[tuple[Any, Any]]:
    """(prompt, response) as this file's sampler draws them in the first phase."""
    here = sampler()
    return here(policy, here.examples(0, 3), per_prompt, *noise).samples.rows


def rows(tokens: Any) -> list[tuple[list[int], list[int]]]:
    ends = tokens.start + tokens.length
    return [
        (ids[:s], ids[s:e])
        for ids, s, e in zip(tokens.ids.tolist(), tokens.start.tolist(), ends.tolist(), strict=True)
    ]


def same(found: Any, wanted: Any) -> None:
    assert found == [(list(p), list(r)) for p, r in wanted]


def test_a_pair_is_the_best_and_the_worst_answer_to_a_prompt():
    them = models()
    batch, _ = online(DPO())(0, them)
    all_rows = drawn(them.policy, 4, 0)
    same(rows(batch.tokens), [*all_rows[0::4], *all_rows[3::4]])
    assert_close(batch.labels["margin"], torch.full((3,), 3.0))
    assert_close(batch.labels["p_chosen"], torch.ones(3))


def test_win_rates_are_over_the_answers_to_the_same_prompt():
    batch, _ = online(DPO(), preference_temperature=2.0)(0, models())
    best = sum(1 / (1 + math.exp(-(3 - r) / 2)) for r in (3, 1, 2, 0)) / 4
    assert_close(batch.given["win_rate"], torch.tensor([best] * 3 + [1 - best] * 3))


def test_ties_make_no_pair():
    def some_tied(examples, answers):
        return [float(i % 4 == 0 and i != 4) for i in range(len(answers))]

    them = models()
    batch, said = online(DPO(), some_tied)(0, them)
    assert len(batch) == 2
    assert said["rollout/tied"] == pytest.approx(1 / 3)
    with pytest.raises(TrainingError, match=r"same reward: raise feed\.per_prompt"):
        online(DPO(), lambda xs, _: [0.0] * len(xs))(0, them)


def test_imitation_takes_the_best():
    them = models()
    batch, _ = online(SFT())(0, them)
    same(rows(batch.tokens), drawn(them.policy, 4, 0)[0::4])
    tied, _ = online(SFT(), lambda xs, _: [0.0] * len(xs))(0, them)
    assert len(tied) == 3


def test_a_ranking_has_all_answers_and_their_rewards():
    them = models()
    batch, _ = online(NCA())(0, them)
    same(rows(batch.tokens), drawn(them.policy, 4, 0))
    assert batch.prompt.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert_close(batch.given["reward"], torch.tensor([3.0, 1.0, 2.0, 0.0] * 3))


def test_labels_are_the_best_wanted_and_the_worst_not():
    them = models()
    batch, _ = online(KTO())(0, them)
    all_rows = drawn(them.policy, 4, 0)
    same(
        rows(batch.tokens),
        [row for i in range(3) for row in (all_rows[4 * i], all_rows[4 * i + 3])],
    )
    assert batch.desirable.tolist() == [True, False] * 3
    answered = rows(batch.mismatched)
    assert [p for p, _ in answered] == [p for p, _ in rows(batch.tokens)]
    assert all(own[1] != other[1] for own, other in zip(rows(batch.tokens), answered, strict=True))
    assert batch.weight.tolist() == [1.0] * 6


def test_a_target_is_the_demonstration():
    batch, _ = online(SLiC())(0, models())
    asked = [p for p, _ in rows(batch.tokens)][:3]
    (shown,) = response_ids(WORDS, [" so"])
    assert rows(batch.target) == [(p, shown) for p in asked]


def test_a_missing_end_is_paid_for_before_answers_are_compared():
    them = models()
    batch, _ = online(NCA(), prompts=12, missing_end_penalty=5.0)(0, them)
    ends = [r[-1] == WORDS.eos_token_id for _, r in rows(batch.tokens)]
    assert any(ends)
    assert not all(ends)
    wanted = torch.tensor([3.0, 1.0, 2.0, 0.0] * 12) - 5.0 * (~torch.tensor(ends)).float()
    assert_close(batch.given["reward"], wanted)


# -- an opponent


def test_who_wrote_an_answer_is_told_whoever_wins():
    them = models()

    def prefers_the_second_call():
        calls = iter([[0.0, 5.0, 0.0], [1.0, 1.0, 1.0]])
        return lambda *_: next(calls)

    batch, _ = online(DPO(), prefers_the_second_call(), per_prompt=1, against=1.0)(0, them)
    own, theirs = drawn(them.policy, 1, 0), drawn(them.reference, 1, 0, 1)
    same(rows(batch.tokens), [theirs[0], own[1], theirs[2], own[0], theirs[1], own[2]])
    assert batch.given["by_reference"].tolist() == [True, False, True, False, True, False]
    assert_close(batch.labels["margin"], torch.tensor([1.0, 4.0, 1.0]))


def test_the_reward_against_an_opponent_is_how_probably_one_is_preferred():
    calls = iter([[0.0, 5.0, 1.0], [1.0, 1.0, 1.0]])
    how = {"per_prompt": 1, "against": 0.5, "preference_temperature": 2.0}
    batch, said = online(PPO(), lambda *_: next(calls), **how)(0, models())
    wanted = torch.sigmoid(torch.tensor([-1.0, 4.0, 0.0]) / 2)
    assert_close(batch.rewards, wanted)
    assert said["rollout/preferred"] == pytest.approx(wanted.mean().item())
    assert len(batch) == 3


def test_who_is_sampled_at_a_temperature_is_trained_and_priced_at_it():
    hot, them = replace(sampler(by_number), decoding=Decoding(2.0, max_new_tokens=6)), models()
    batch, _ = replace(online(PPO()), sampler=hot)(0, them)
    same(rows(batch.tokens), hot(them.policy, hot.examples(0, 3), 4, 0).samples.rows)
    scored = batch.score(frozenset({"token_ref_logps"}), them, torch.arange(12), forward=True)
    assert_close(scored.token_ratios[batch.tokens.mask], torch.ones(int(batch.tokens.mask.sum())))
    known = reference_logps(them.reference, batch.tokens, 4, temperature=2.0)
    assert_close(scored.responses.token_ref_logps, known)
    plain = reference_logps(them.reference, batch.tokens, 4)
    assert not torch.allclose(known, plain, atol=1e-2)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_an_opponent_is_a_geometric_mixture(weight):
    them = models()
    ids = torch.tensor([[5, 6, 7, 8]])
    mixed = opponent(them, weight)(input_ids=ids).logits[:, -1].log_softmax(-1)
    own, theirs = (
        m(input_ids=ids).logits[:, -1].log_softmax(-1) for m in (them.policy, them.reference)
    )
    assert_close(mixed, ((1 - weight) * own + weight * theirs).log_softmax(-1), atol=1e-5, rtol=0)


# -- what a loss asks for besides


@dataclass(frozen=True)
class AboveGreedy(FromRollouts):
    needs = frozenset({"baselines"})

    def loss(self, rollouts):
        gain = (rollouts.rewards - rollouts.baselines)[:, None] * rollouts.token_ratios
        return Loss(policy=Mean.over(-gain, rollouts.responses.mask))


def test_baselines_are_the_rewards_of_greedy_answers():
    them, asked = models(), []

    def length(examples, answers):
        asked.append([a.ids for a in answers])
        return [float(len(a.ids)) for a in answers]

    batch, _ = online(AboveGreedy(), length, missing_end_penalty=10.0)(0, them)
    here = sampler()
    likeliest = here.greedy(them.policy, here.examples(0, 3)).samples
    assert [list(ids) for ids in asked[1]] == likeliest.ids
    assert likeliest.ids[0][0] == int(
        them.policy(input_ids=torch.tensor([likeliest.prompts[0]])).logits[0, -1].argmax()
    )
    paid = [
        len(x) - 10.0 * (not done)
        for x, done in zip(likeliest.ids, likeliest.finished, strict=True)
    ]
    assert batch.extra["baselines"].tolist() == [x for x in paid for _ in range(4)]
    plain, _ = online(PPO(), length)(0, them)
    assert not plain.extra


def test_a_teacher_tells_rewards_of_tokens():
    them, teacher = models(), tiny.llama(2, len(WORDS))
    batch, said = online(RTO(), teacher=teacher)(0, them)
    taught, known = (reference_logps(m, batch.tokens, 8) for m in (teacher, them.reference))
    wanted = torch.where(batch.tokens.mask, taught - known, 0.0)
    assert_close(batch.extra["token_rewards"], wanted)
    assert said["rollout/token_rewards"] == pytest.approx(wanted.sum(-1).mean().item())
    some, with_critic = torch.tensor([4, 1]), replace(batch, old_values=0 * wanted)
    scored = with_critic.score(RTO().needs | RTO().credit_needs, them, some, False)
    assert_close(scored.token_rewards, wanted[some])


def test_plain_text_comes_beside_samples_in_turn():
    them = models()
    plain = [([i], [i + 1, WORDS.eos_token_id]) for i in range(5, 10)]
    batch, _ = online(PPOMax(), plain=plain)(0, them)
    again, _ = online(PPOMax(), plain=plain)(1, them)
    texts = rows(batch.pretrain)
    assert len(texts) == len(batch) == 12
    came = Counter(str(x) for x in [*texts, *rows(again.pretrain)])
    assert came.keys() == {str(x) for x in plain}
    assert sorted(came.values()) == [4, 5, 5, 5, 5]  # 24 of 5 texts
    some = torch.tensor([2, 7])
    scored = batch.score(PPOMax().needs - {"critic"}, them, some, True).pretrain
    assert_close(scored.token_logps, reference_logps(them.policy, batch.pretrain[some], 8))
    assert batch.cost(some, them) == sum(len(p) + len(r) for i in some for p, r in
                                         (rows(batch.tokens)[i], texts[i]))  # fmt: skip
    assert (batch.responses_a_row, online(PPO())(0, them)[0].responses_a_row) == (2, 1)


def test_what_is_learned_from_of_each_prompt():
    assert [learned_from(x, 4, None) for x in (PPO(), NCA(), SFT(), SimPO(), KTO())] == [
        4,
        4,
        1,
        2,
        2,
    ]
    assert learned_from(DPO(), 3, 1.0) == 6


def test_a_phase_with_ties_still_serves_every_row_once_an_epoch():
    def some_tied(examples, answers):
        return [float(i % 4 == 0 and i != 4) for i in range(len(answers))]

    feed = Phases(online(DPO(), some_tied, prompts=6), parts=2, epochs=1, seed=0)
    them = models()
    first, second = feed(0, them), feed(1, them)
    assert (len(first.rows), len(second.rows)) == (3, 2)
    assert sorted([*first.rows.tolist(), *second.rows.tolist()]) == [0, 1, 2, 3, 4]


def test_a_phase_of_fewer_rows_than_updates_takes_them_again():
    def one_pair(examples, answers):
        return [float(i == 0) for i in range(len(answers))]

    feed, them = Phases(online(DPO(), one_pair), parts=2, epochs=1, seed=0), models()
    assert [feed(i, them).rows.tolist() for i in range(2)] == [[0], [0]]


# -- SPIN


def test_demonstrations_against_what_the_policy_says():
    them = models()
    shown = sampler(None)
    batch, said = DemonstrationsAgainstOwn(shown, 3, "cpu")(0, them)
    asked = [x.prompt for x in shown.examples(0, 3)]
    (so,) = response_ids(WORDS, [" so"])
    found = rows(batch.tokens)
    assert found[:3] == [(ids, so) for ids in prompt_ids(WORDS, asked)]
    same(found[3:], drawn(them.policy, 1, 0))
    assert batch.given["win_rate"].tolist() == [1, 1, 1, 0, 0, 0]
    assert "rollout/reward" not in said
    assert said["rollout/length"] == batch.tokens.length[3:].float().mean()


# -- choosing two of many


def test_without_temperature_rejection_keeps_the_best_two():
    rewards = torch.tensor([[0.0, 3.0, 1.0, 2.0], [5.0, 1.0, 4.0, 0.0]])
    two = RejectionSampled(beta=0.0)(rewards, torch.Generator())
    assert two.tolist() == [[1, 3], [0, 2]]
    any_two = RejectionSampled(beta=math.inf)(rewards, torch.Generator())
    assert any_two.tolist() == [[1, 0], [0, 1]]


def test_rejection_by_hand():
    """r = (0, −ln 2, −ln 2), β = 1: the first is always in, the second at once half the time; so is
    the third then, else the second comes in the next round. P(first, third) = ¼."""
    rewards = torch.tensor([[0.0, -math.log(2), -math.log(2)]]).repeat(4000, 1)
    two = RejectionSampled(beta=1.0)(rewards, torch.Generator().manual_seed(0))
    assert (two[:, 0] == 0).all()
    assert (two[:, 1] == 2).float().mean().item() == pytest.approx(0.25, abs=0.02)
