"""Training: the same bits for the same seed, killed or not; feeds that hand out every row."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.testing import assert_close

from algos import DPO, PPO, SFT, PPOMax
from algos.core import Credits, FromRollouts, Loss, Mean
from bench.models.build import with_value_head
from bench.models.sampling import Decoding
from bench.models.scoring import reference_logps, state_values
from bench.models.tokens import bpe, prompt_ids, texts_of
from bench.tasks.example import Example
from bench.training.batches import DemonstrationBatch, Models
from bench.training.choice import BestAndWorst
from bench.training.feeds import PairRows, Shuffled, demonstrations
from bench.training.loop import Following, Optimization, TrainingError, Turn, lr_of, train
from bench.training.online import Online
from bench.training.phases import Phases, Sampler, after, cut
from bench.training.progress import Bar
from tests import tiny

WORDS = bpe(["a b c d e f g"], 259)  # bytes, and three special tokens
PROMPTS = [Example(id=str(i), prompt="abcdefgh"[: i + 1]) for i in range(6)]
OPTIMIZATION = Optimization(lr=1e-2, warmup=2, schedule="linear")


def rewards(examples, answers) -> list[float]:
    """Short texts are liked, and some prompts more than others."""
    return [len(x.prompt) - 0.1 * len(a.ids) for x, a in zip(examples, answers, strict=True)]


def sampler(**changes: Any) -> Sampler:
    settings = {
        "words": WORDS,
        "prompts": PROMPTS,
        "decoding": Decoding(max_new_tokens=4),
        "seed": 0,
        "rewards": rewards,
    }
    return Sampler(**settings | changes)


def rollouts(
    algo: Any = None, epochs: int = 2, parts: int = 2, seed: int = 0, **how: Any
) -> Phases:
    """Two answers to each of four prompts, in two minibatches of four."""
    own = {f.name: how.pop(f.name) for f in fields(Sampler) if f.name in how}
    settings = {
        "prompts": 4,
        "per_prompt": 2,
        "missing_end_penalty": 1.0,
        "micro": 4,
        "device": "cpu",
        "choose": BestAndWorst(),
    }
    collect = Online(algo or PPO(), sampler(seed=seed, **own), **settings | how)
    return Phases(collect, parts, epochs, seed)


PLAIN = [([5, 6], [7, 8, WORDS.eos_token_id]), ([9], [8, WORDS.eos_token_id])]


def pairs(seed: int) -> Shuffled:
    data = PairRows(tiny.rows(10, 1), tiny.rows(10, 2), [1.0] * 10, [0.0] * 10)
    return Shuffled(lambda some: data.batch(some, tiny.PAD, "cpu"), 10, 4, seed)


def texts(seed: int) -> Shuffled:
    rows = [(x.prompt, " abc"[: i % 4 + 1]) for i, x in enumerate(PROMPTS)]
    return Shuffled(demonstrations(WORDS, rows, "cpu"), len(rows), 4, seed)


@dataclass(frozen=True)
class Moving:
    mean: torch.Tensor


@dataclass(frozen=True)
class Above(FromRollouts, Credits):
    """REINFORCE above the moving mean of all earlier rewards, plus a little noise."""

    needs = frozenset()

    def start(self):
        return Moving(torch.tensor(0.0))

    def credit(self, rollouts, state, generator):
        now = Moving(0.9 * state.mean + 0.1 * rollouts.rewards.mean())
        noise = 0.1 * torch.randn(len(rollouts.rewards), generator=generator)
        return Moving(rollouts.rewards - now.mean + noise), now

    def loss(self, rollouts):
        gain = rollouts.token_ratios * rollouts.credit.mean[:, None]
        return Loss(policy=Mean.over(-gain, rollouts.responses.mask))


CASES = {
    "sft": (SFT(), texts),
    "dpo": (DPO(), pairs),
    "ppo": (PPO(), lambda seed: rollouts(seed=seed)),
    "moving": (Above(), lambda seed: rollouts(Above(), seed=seed)),
    "ppo_max": (PPOMax(), lambda seed: rollouts(PPOMax(), seed=seed, plain=PLAIN)),
}


def participants(algo: Any) -> Models:
    vocab_size = tiny.WORDS if isinstance(algo, DPO) else len(WORDS)
    critic = with_value_head(tiny.llama(0, vocab_size)) if "critic" in algo.needs else None
    return Models(tiny.llama(0, vocab_size), tiny.llama(1, vocab_size), critic)


def liking(models: Models) -> dict[str, float]:
    """A validation that any change of the policy changes."""
    return {"score": -models.policy.get_output_embeddings().weight.abs().sum().item()}


def run(algo: Any, feed: Any, folder: Path, models: Models | None = None, **how: Any) -> Any:
    """(models, what train returned)."""
    models = models or participants(algo)
    settings = {
        "updates": 10,
        "seed": 0,
        "micro": 3,
        "accelerator": Accelerator(cpu=True),
        "checkpoints": folder,
        "bar": Bar(),
        "stage": "dpo",
        "points": 5,
        "checkpoint_every": math.inf,
    }
    optimization = how.pop("optimization", OPTIMIZATION)
    return models, train(algo, feed, models, optimization, **settings | how)


def bits(models: Models) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": x
        for name, model in models.trained.items()
        for key, x in model.state_dict().items()
    }


def untimed(log: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: x for key, x in row.items() if key != "seconds"} for row in log]


def same(one: Any, other: Any) -> bool:
    """To the last bit: parameters, log, validation and the peak."""
    (models, run), (others, rerun) = one, other
    assert bits(models).keys() == bits(others).keys()
    peaks = [{} if x.peak_state is None else x.peak_state for x in (run, rerun)]
    return (
        all(torch.equal(x, bits(others)[key]) for key, x in bits(models).items())
        and untimed(run.log) == untimed(rerun.log)
        and run.peak_update == rerun.peak_update
        and all(torch.equal(x, peaks[1][key]) for key, x in peaks[0].items())
    )


# -- the same bits


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """(algorithm, seed -> feed, how a run of seed 0 ended that nobody disturbed)."""
    algo, feed = CASES[request.param]
    return algo, feed, run(algo, feed(0), tmp_path_factory.mktemp("whole"), validate=liking)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(case, tmp_path):
    algo, feed, whole = case
    torch.manual_seed(99)  # nobody draws from the global generator
    assert same(whole, run(algo, feed(0), tmp_path, validate=liking))
    assert not same(whole, run(algo, feed(1), tmp_path, seed=1, validate=liking))


def unscored(seed: int) -> Shuffled:
    """Pairs whose reference is asked anew each time."""
    data = PairRows(tiny.rows(9, 1), tiny.rows(9, 2), p_chosen=[1.0] * 9, margin=[0.0] * 9)
    return Shuffled(lambda some: data.batch(some, tiny.PAD, "cpu"), len(data), 4, seed)


class Killed(Exception):
    pass


def until(update: int, feed: Any) -> Callable[[int, Models], Turn]:
    """A feed that is killed at an update."""

    def hand_out(now: int, models: Models) -> Turn:
        if now == update:
            raise Killed
        return feed(now, models)

    return hand_out


@pytest.mark.parametrize("deaths", [(5,), (0, 1, 9)], ids=str)
def test_a_killed_run_goes_on_to_the_bits_of_one_that_was_not(case, deaths, tmp_path):
    algo, feed, whole = case
    how = {"validate": liking, "checkpoint_every": 0.0}
    for update in deaths:
        with pytest.raises(Killed):
            run(algo, until(update, feed(0)), tmp_path, **how)
    asked: list[int] = []

    def watched(update: int, models: Models) -> Turn:
        asked.append(update)
        return rest(update, models)

    rest = feed(0)
    resumed = run(algo, watched, tmp_path, **how)
    assert same(whole, resumed)
    phase = getattr(rest, "updates_a_phase", 1)
    assert asked[0] == deaths[-1] // phase * phase  # it did not begin again
    seconds = [row["seconds"] for row in resumed[1].log]
    assert seconds == sorted(seconds)


def test_a_run_killed_after_its_last_update_is_found_complete(tmp_path):
    done = run(DPO(), pairs(0), tmp_path, checkpoint_every=0.0)
    again = run(DPO(), until(0, None), tmp_path)
    assert same(done, again)
    assert len(again[1].log) == 10


def test_a_reference_follows_the_policy(tmp_path):
    """Every third update it goes half of the way; in between it stays."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watched(update: int, models: Models) -> Turn:
        seen.append(tuple(
            torch.nn.utils.parameters_to_vector(m.parameters()).detach().clone()
            for m in (models.policy, models.reference)
        ))  # fmt: skip
        return feed(update, models)

    feed = unscored(0)
    run(DPO(), watched, tmp_path, following=Following(every=3, mix=0.5), updates=7)
    policies, references = zip(*seen, strict=True)
    for update in (1, 2, 4, 5):
        assert torch.equal(references[update], references[update - 1])
    for update in (3, 6):
        half = 0.5 * (references[update - 1] + policies[update])
        assert_close(references[update], half)
        assert not torch.equal(references[update], references[update - 1])


def test_a_killed_run_finds_its_reference_where_it_was(tmp_path):
    how = {"following": Following(every=3, mix=0.5)}
    whole = run(DPO(), unscored(0), tmp_path, **how)
    fixed = run(DPO(), unscored(0), tmp_path)
    with pytest.raises(Killed):
        run(DPO(), until(5, unscored(0)), tmp_path, checkpoint_every=0.0, **how)
    resumed = run(DPO(), unscored(0), tmp_path, **how)
    assert same(whole, resumed)
    assert not same(whole, fixed)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"mix": 1.5}], ids=str)
def test_a_reference_cannot_follow_anyhow(wrong):
    with pytest.raises(ValueError, match=r"reference\.every"):
        Following(**{"every": 1, "mix": 0.5} | wrong)


def test_checkpoints_are_as_far_apart_as_asked(tmp_path):
    run(DPO(), pairs(0), tmp_path, checkpoint_every=1e9)
    assert list(tmp_path.iterdir()) == []


# -- the log


def test_the_log_has_a_row_an_update(tmp_path):
    log = run(DPO(), pairs(0), tmp_path)[1].log
    assert [row["step"] for row in log] == list(range(1, 11))
    for row in log:
        assert {"loss", "grad_norm", "lr", "seconds", "accuracy", "DPO/chosen"} <= row.keys()


def test_a_row_holds_the_learning_rate_of_its_update(tmp_path):
    """Warm-up is at most a tenth of the run; `linear` goes down from there to zero."""
    optimization = Optimization(lr=1e-2, warmup=50, schedule="linear")
    weights: list[torch.Tensor] = []

    def watched(update: int, models: Models) -> Turn:
        weights.append(models.policy.get_output_embeddings().weight.detach().clone())
        return pairs(0)(update, models)

    _, found = run(DPO(), watched, tmp_path, updates=20, optimization=optimization)
    rates = [row["lr"] for row in found.log]
    assert rates[:3] == pytest.approx([0, 0.005, 0.01])
    assert rates[2:] == pytest.approx([0.01 * (18 - i) / 18 for i in range(18)])
    moved = [not torch.equal(a, b) for a, b in pairwise(weights)]
    assert moved == [rate > 0 for rate in rates[:-1]]


def test_training_lowers_the_loss(tmp_path):
    log = run(SFT(), texts(0), tmp_path, updates=30)[1].log
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]


def test_a_critic_may_have_a_learning_rate_of_its_own():
    assert lr_of("critic", Optimization(lr=1.0)) == lr_of("policy", Optimization(lr=1.0)) == 1.0
    both = Optimization(lr=1.0, critic_lr=2.0)
    assert (lr_of("policy", both), lr_of("critic", both)) == (1.0, 2.0)
    assert lr_of("critic", Optimization(lr=1.0, critic_lr=0.0)) == 0.0


@pytest.mark.parametrize(("rate", "spoil", "update"), [(1e30, False, 2), (1e-3, True, 1)])
def test_a_loss_that_is_no_number_is_one_line_that_says_where(tmp_path, rate, spoil, update):
    models = participants(DPO())
    if spoil:
        models.policy.get_output_embeddings().weight.data[3] = math.nan
    optimization = Optimization(lr=rate, max_norm=math.inf)
    with pytest.raises(TrainingError) as error:
        run(DPO(), pairs(0), tmp_path, models, optimization=optimization, stage="my stage")
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith("my stage: ")
    assert f"at update {update} of 10" in line
    assert f"{rate:g}" in line
    assert "lower the learning rate" in line


# -- validation


@pytest.mark.parametrize(
    ("scores", "peak"), [([1, 3, 2, 0], 4), ([1, 2, 3, 4], 8), ([4, 3, 2, 1], 2), ([1, 1, 1, 1], 2)]
)
def test_validation_is_spread_over_the_run_and_finds_the_peak(tmp_path, scores, peak):
    seen: list[torch.Tensor] = []

    def validate(models: Models) -> dict[str, float]:
        seen.append(models.policy.get_output_embeddings().weight.detach().clone())
        return {"score": float(scores[len(seen) - 1]), "kl": 0.5}

    _, found = run(DPO(), pairs(0), tmp_path, updates=8, points=4, validate=validate)
    measured = {row["step"]: row["validation/score"] for row in found.log if "validation/kl" in row}
    assert measured == dict(zip((2, 4, 6, 8), scores, strict=True))
    assert found.peak_update == peak
    assert torch.equal(found.peak_state["lm_head.weight"], seen[peak // 2 - 1])


def test_without_validation_there_is_no_peak(tmp_path):
    _, found = run(DPO(), pairs(0), tmp_path, updates=2)
    assert (found.peak_update, found.peak_state) == (None, None)


# -- rows of a data set


@pytest.mark.parametrize(("count", "size"), [(10, 4), (10, 10), (7, 3), (3, 8), (1, 2)])
def test_every_row_comes_once_an_epoch_and_batches_cross_epochs(count, size):
    feed = Shuffled(lambda some: some, count, size, seed=0)
    rows = [feed.rows(update) for update in range(3 * count)]
    assert {len(some) for some in rows} == {size}
    flat = [i for some in rows for i in some]
    epochs = [flat[i : i + count] for i in range(0, len(flat) - count + 1, count)]
    assert len(epochs) == 3 * size
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count > 3:
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)  # another order each


def test_the_rows_of_an_update_depend_on_seed_and_update_alone():
    feed, again = (Shuffled(lambda some: some, 10, 4, seed=0) for _ in range(2))
    later = again.rows(7)
    assert [feed.rows(update) for update in range(8)][7] == later
    assert Shuffled(lambda some: some, 10, 4, seed=1).rows(7) != later


def test_a_turn_holds_the_rows_as_they_were_collated():
    turn = texts(0)(0, Models())
    assert isinstance(turn.batch, DemonstrationBatch)
    assert (len(turn.batch), turn.rows, turn.last) == (4, None, True)


def test_pairs_carry_their_labels_and_cached_scores():
    chosen, rejected = tiny.rows(5, 1), tiny.rows(5, 2)
    data = PairRows(
        chosen,
        rejected,
        p_chosen=[0.5, 0.6, 0.7, 0.8, 0.9],
        margin=[0.0, 1.0, 2.0, 3.0, 4.0],
        chosen_ref_logps=[[float(i)] * len(r) for i, (_, r) in enumerate(chosen)],
        rejected_ref_logps=[[float(-i)] * len(r) for i, (_, r) in enumerate(rejected)],
    )
    some = [3, 1]
    batch = data.batch(some, tiny.PAD, "cpu")
    assert len(data) == 5
    assert len(batch) == 2
    assert_close(batch.labels["p_chosen"], torch.tensor([0.8, 0.6]))
    assert_close(batch.labels["margin"], torch.tensor([3.0, 1.0]))
    assert batch.given["win_rate"].tolist() == [1, 1, 0, 0]
    policy = tiny.llama()
    scored = batch.score(DPO.needs, Models(policy, tiny.llama()), torch.arange(2), forward=True)
    for side, rows, sign in ((scored.chosen, chosen, 1), (scored.rejected, rejected, -1)):
        assert side.lengths.tolist() == [len(rows[i][1]) for i in some]
        known = torch.where(side.mask, sign * torch.tensor([[3.0], [1.0]]), 0.0)
        assert_close(side.token_ref_logps, known)


# -- rollouts


def policies() -> Models:
    return participants(PPO())


def turns(feed: Phases, models: Models, updates: int) -> list[Turn]:
    return [feed(update, models) for update in range(updates)]


def test_a_phase_serves_all_its_minibatches_each_row_once_an_epoch():
    feed, models = rollouts(epochs=3), policies()
    assert feed.updates_a_phase == 6
    found = turns(feed, models, 12)
    assert [turn.last for turn in found] == [False] * 5 + [True] + [False] * 5 + [True]
    assert [turn.measured is not None for turn in found] == ([True] + [False] * 5) * 2
    for phase in (found[:6], found[6:]):
        assert all(turn.batch is phase[0].batch for turn in phase)
        orders = [
            torch.cat([a.rows, b.rows]).tolist()
            for a, b in zip(phase[::2], phase[1::2], strict=True)
        ]
        assert all(sorted(order) == list(range(8)) for order in orders)
        assert len({tuple(order) for order in orders}) == 3
        assert {len(turn.rows) for turn in phase} == {4}
    assert found[0].batch is not found[6].batch


def test_rollouts_are_the_same_for_the_same_seed():
    one, two, other = (rollouts(seed=seed)(0, policies()) for seed in (0, 0, 1))
    assert torch.equal(one.batch.tokens.ids, two.batch.tokens.ids)
    assert torch.equal(one.rows, two.rows)
    assert one.measured == two.measured
    assert one.batch.tokens.ids.tolist() != other.batch.tokens.ids.tolist()


def test_every_prompt_is_used_once_before_any_comes_again():
    seen = Counter()
    feed = rollouts(rewards=lambda xs, *_: (seen.update(x.id for x in xs), [0.0] * len(xs))[1])
    models = policies()
    for phase in range(3):  # 4 prompts a phase, 6 prompts in all
        feed(phase * feed.updates_a_phase, models)
    assert seen == {x.id: 2 * 2 for x in PROMPTS}  # two epochs, two responses each


def test_responses_to_one_prompt_share_its_number_and_its_tokens():
    batch = rollouts()(0, policies()).batch
    assert batch.prompt.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    starts = [batch.tokens.ids[i, : batch.tokens.start[i]].tolist() for i in range(8)]
    assert starts[::2] == starts[1::2]
    assert len({tuple(start) for start in starts}) == 4


def test_rewards_are_those_of_the_texts_less_the_price_of_a_missing_end():
    asked: list[Any] = []

    def judge(examples, answers) -> list[float]:
        asked.extend(zip(examples, answers, strict=True))
        return [float(i) for i in range(len(answers))]

    turn = rollouts(rewards=judge, missing_end_penalty=10.0, parts=8, per_prompt=8)(0, policies())
    batch = turn.batch
    assert batch.finished.any()
    assert not batch.finished.all()
    plain = torch.arange(32.0)
    assert_close(batch.rewards, plain - 10.0 * (~batch.finished).float())
    assert turn.measured["rollout/reward"] == plain.mean()
    assert turn.measured["rollout/end_rate"] == batch.finished.float().mean()
    assert turn.measured["rollout/length"] == batch.tokens.length.float().mean()
    for i, (example, answer) in enumerate(asked):
        (prompt,), ids = prompt_ids(WORDS, [example.prompt]), list(answer.ids)
        row = batch.tokens.ids[i, : len(prompt) + len(ids)].tolist()
        assert row == [*prompt, *ids]
        assert [answer.text] == texts_of(WORDS, [ids])
        assert answer.finished == batch.finished[i] == (ids[-1] == WORDS.eos_token_id)


def test_rewards_may_be_whole_numbers():
    batch = rollouts(rewards=lambda xs, *_: [1] * len(xs))(0, policies()).batch
    assert_close(batch.rewards, batch.finished.float())


def test_rollouts_bring_the_scores_of_everybody_as_they_are_now():
    models = policies()
    torch.nn.init.normal_(models.critic.score.weight)
    batch = rollouts()(0, models).batch
    mask = batch.tokens.mask
    close = {"rtol": 1e-5, "atol": 1e-5}
    assert_close(batch.token_old_logps, reference_logps(models.policy, batch.tokens, 3), **close)
    known = reference_logps(models.reference, batch.tokens, 3)
    assert_close(batch.given["token_ref_logps"], known, **close)
    assert_close(batch.old_values, state_values(models.critic, batch.tokens), **close)
    assert not batch.old_values.requires_grad
    assert (batch.token_old_logps[~mask] == 0).all()


def test_the_kl_of_a_phase_is_that_of_its_samples():
    models = policies()
    turn = rollouts()(0, models)
    k1 = turn.batch.token_old_logps - turn.batch.given["token_ref_logps"]
    assert turn.measured["rollout/kl"] == pytest.approx(k1.sum(-1).mean().item(), abs=1e-5)
    assert "rollout/kl" not in rollouts()(0, replace(models, reference=None)).measured


@pytest.mark.parametrize("sizes", [(10, 4, 2), (8, 4, 3), (8, 3, 2)])
def test_sizes_that_do_not_divide_are_an_error_that_names_the_settings(sizes):
    with pytest.raises(ValueError, match=r"feed\.rollouts=.*budget\.responses=.*feed\.per_prompt"):
        cut(*sizes)
    assert cut(8, 4, 2) == (2, 4)


# -- before the policy learns, and what is said meanwhile


def test_a_critic_that_learns_alone_leaves_the_policy_to_the_bit(tmp_path):
    models = participants(PPOMax())
    before = {key: x.clone() for key, x in bits(models).items()}
    decaying = replace(OPTIMIZATION, weight_decay=0.1)
    feed = rollouts(PPOMax(), plain=PLAIN)
    _, done = run(PPOMax(), feed, tmp_path, models, optimization=decaying, only={"value"})
    same_bits = {key: torch.equal(x, before[key]) for key, x in bits(models).items()}
    assert all(same for key, same in same_bits.items() if key.startswith("policy"))
    assert not any(same for key, same in same_bits.items() if key.startswith("critic"))
    assert [row["loss"] for row in done.log] == [row["loss/value"] for row in done.log]


def test_what_credit_remembers_is_handed_on(tmp_path):
    algo, feed = PPOMax(), rollouts(PPOMax(), plain=PLAIN)
    _, first = run(algo, feed, tmp_path / "first", updates=4)
    assert first.state.count == 8  # one phase
    _, second = run(algo, after(feed, 4), tmp_path / "second", updates=8, state=first.state)
    assert second.state.count == 24


def test_a_feed_goes_on_behind_the_phases_that_were_begun():
    models, feed = policies(), rollouts()
    assert feed.updates_a_phase == 4
    wanted = feed(8, models)
    later = after(feed, 5)
    assert later(0, models).batch.tokens.ids.equal(wanted.batch.tokens.ids)
    assert later(0, models).rows.equal(wanted.rows)
    assert after(feed, 4).first == 1


def drifting(update: int, models: Models) -> Turn:
    """Measures of a policy that leaves its reference."""
    measured = {"length": 8.0, "reference_perplexity": 1.2 + update, "kl": 2.0 * update}
    turn = pairs(0)(update, models)
    return replace(turn, measured={f"rollout/{name}": x for name, x in measured.items()})


def test_an_alarm_is_told_once_even_to_a_run_that_was_killed(tmp_path):
    said = []
    how = {"say": said.append, "checkpoint_every": 0.0}
    with pytest.raises(Killed):
        run(DPO(), until(5, drifting), tmp_path, **how)
    run(DPO(), drifting, tmp_path, **how)
    (line,) = said
    assert line.startswith("dpo: drift from update 2: ")


def test_prompts_and_pairs_that_were_learned_from_are_counted_over_updates(tmp_path):
    assert run(CASES["dpo"][0], pairs(0), tmp_path)[1].learned == {"prompts": 40, "pairs": 40}
    assert run(CASES["sft"][0], texts(0), tmp_path)[1].learned == {"prompts": 40}
    some = rollouts()(0, participants(PPO())).batch  # two answers to each of four prompts
    assert some.learned(torch.tensor([0, 1])) == {"prompts": 1}
    assert some.learned(torch.arange(len(some))) == {"prompts": 4}


def test_what_was_counted_before_a_kill_counts(tmp_path):
    algo, feed = CASES["dpo"]
    run(algo, feed(0), tmp_path, updates=4, checkpoint_every=-1.0)
    assert run(algo, feed(0), tmp_path)[1].learned == {"prompts": 40, "pairs": 40}
