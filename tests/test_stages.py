"""What the stages of a cell are keyed by, and what they make of a tiny world."""

import importlib
import json
import pkgutil
import shutil

import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from safetensors.torch import load_file

import bench.stages
from bench.metrics.diversity import copied
from bench.models.build import load_policy, load_values
from bench.models.packing import is_packed
from bench.models.tokens import load_tokenizer, prompt_ids, response_ids
from bench.names import Unknown, config_folder
from bench.reports import record as records
from bench.run import TABULAR, identity, policy_record, run
from bench.stages import (
    candidates,
    contrast,
    critique,
    disagreement,
    evaluate,
    feeds,
    labels,
    lengths,
    optimize,
    overoptimization,
    planted_errors,
    reference_scores,
    reference_states,
    revised,
    revised_samples,
    reward_model,
    reward_report,
    samples,
    sft,
    side_effects,
    teacher,
    token_rewards,
    tokenizer,
    verdicts,
)
from bench.stages.cell import Cell
from bench.stages.decoding import decoding_key, decoding_of
from bench.store import Store, content_hash
from bench.tasks.example import DataError
from bench.training import alarms
from bench.training.loop import Following
from bench.training.phases import Phases
from bench.tune import resolved
from tests import tiny
from tests.test_ai_labeller import shorter
from tests.test_end_to_end import SMALL
from tests.test_records import record

WORDS = ["algo=ppo", *SMALL, "budget.updates=2", "model.optimization.lr=3e-4"]
CONTRAST = "+feed.contrast={_target_: algos.DPO, beta: 0.1}"  # as a recipe of TIS-DPO has it
TEACHER = "+feed.token_reward={_target_: algos.DPO, beta: 0.1}"  # as one of RTO has it
# Another constitution than that of the labels, which are the data set's: nothing else reads it.
REVISING = ["feedback=constitution", "feedback.labels=dataset"]
JUDGE = ["judge=endpoint", "judge.model=toy"]
WHOLE = [CONTRAST, TEACHER, *REVISING, *JUDGE]
STAGES = [  # in the order in which they are made
    (tokenizer, {}),
    (lengths, {}),
    (sft, {}),
    (samples, {"part": "train"}),
    (critique, {}),
    (revised, {}),
    (revised_samples, {"part": "train"}),
    (labels, {"by": "dataset", "part": "train"}),
    (reward_model, {"by": "dataset", "part": "train"}),
    (reference_scores, {"by": "dataset", "part": "train"}),
    (reference_states, {"by": "dataset", "part": "train"}),
    (contrast, {"by": "dataset"}),
    (teacher, {"by": "dataset"}),
    (reward_report, {}),
    (optimize, {}),
    (candidates, {}),
    (evaluate, {"who": "end"}),
    (token_rewards, {}),
    (planted_errors, {}),
    (overoptimization, {}),
    (side_effects, {}),
    (disagreement, {}),
    (verdicts, {"who": "end"}),
]
MORE = {  # what a stage needs said besides
    "contrast": [CONTRAST],
    "teacher": [TEACHER],
    **dict.fromkeys(("critique", "revised", "revised_samples"), REVISING),
    "disagreement": ["feedback=ensemble", "feedback.ensemble.members=3"],
    "verdicts": JUDGE,
}
each_stage = pytest.mark.parametrize(
    ("stage", "choice"), STAGES, ids=[s.__name__.rpartition(".")[2] for s, _ in STAGES]
)


def cell(root, *words: str) -> Cell:
    return Cell(resolved([*WORDS, *words], config_folder()), Store(root))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Cell:
    """A cell whose artifacts the tests of this module share."""
    return cell(tmp_path_factory.mktemp("store"))


def test_every_stage_is_here():
    """All modules of the room that make something of a task."""
    there = {m.name for m in pkgutil.iter_modules(bench.stages.__path__)}
    modules = {n: importlib.import_module(f"bench.stages.{n}") for n in there}
    making = {n for n, m in modules.items() if hasattr(m, "VERSION")}
    assert making - set(TABULAR) == {s.__name__.rpartition(".")[2] for s, _ in STAGES}


@each_stage
def test_a_new_version_makes_new_artifacts_downstream(tmp_path, monkeypatch, stage, choice):
    def keys() -> list[str]:
        now = cell(tmp_path, *WHOLE)
        return [now.key(s, **c) for s, c in STAGES]

    before = keys()
    monkeypatch.setattr(stage, "VERSION", stage.VERSION + 1)
    after = keys()
    at = [s for s, _ in STAGES].index(stage)
    assert after[at] != before[at]
    assert after[:at] == before[:at]
    if stage in (tokenizer, lengths, sft):
        assert not set(after[at:]) & set(before[at:])


@each_stage
def test_other_data_make_other_artifacts(tmp_path, stage, choice):
    there, elsewhere = cell(tmp_path, *WHOLE), cell(tmp_path, *WHOLE, "task.load.seed=1")
    assert there.key(stage, **choice) != elsewhere.key(stage, **choice)


def test_what_an_artifact_does_not_read_leaves_its_key_alone(tmp_path):
    a, b = (cell(tmp_path, *WHOLE, *words) for words in ([], ["algo.kl_coef=0.2", "seed=3"]))
    for stage, choice in STAGES[:10]:
        assert a.key(stage, **choice) == b.key(stage, **choice)
    assert a.key(optimize) != b.key(optimize)


def test_what_was_decoded_before_keeps_its_name(tmp_path):
    for name in ("sample", "greedy"):
        plain = cell(tmp_path, f"decoding={name}")
        assert decoding_key(plain) == plain.config["decoding"]
        assert plain.config["decoding"].keys() == {"temperature", "top_p"}


def test_models_that_steer_are_named_by_what_they_are(tmp_path, made):
    """The policy of a store is its key, wherever the store lies; what it started from is known."""
    policy, start = made.make(optimize) / "policy", made.make(sft)
    shutil.copytree(made.store.root, tmp_path / "elsewhere")
    steer = "decoding=proxy_tuning"

    def key(*words: str) -> dict:
        return decoding_key(cell(tmp_path / "store", steer, f"runs={tmp_path}/runs", *words))

    named = key(f"decoding.tuned={policy}")
    assert named["tuned"] == f"{policy.parent.name}/policy"
    assert named["untuned"] == start.name
    for words in (
        [f"decoding.tuned={tmp_path}/elsewhere/{named['tuned']}"],
        [f"decoding.tuned={policy}", f"decoding.untuned={start}"],
    ):
        assert key(*words) == named
    assert key("decoding.tuned=a/b", "decoding.untuned=c/d")["tuned"] == "a/b"
    with pytest.raises(Unknown, match=r"'nobody' is neither a run of .* nor a folder nor a hub id"):
        key("decoding.tuned=nobody")
    with pytest.raises(Unknown, match=r"decoding\.tuned is missing"):
        key()
    with pytest.raises(Unknown, match=r"set decoding\.untuned"):
        key("decoding.tuned=a/b")


def test_a_run_steers_by_its_id(tmp_path, made):
    policy = made.make(optimize) / "policy"
    told = record("dpo", run_id="dpo-12", policy=str(policy))
    records.write(told, tmp_path / "runs" / "records")
    words = ["decoding=proxy_tuning", "decoding.tuned=dpo-12", f"runs={tmp_path}/runs"]
    assert decoding_of(cell(tmp_path, *words)).tuned == str(policy)
    records.write(told.model_copy(update={"policy": "gone"}), tmp_path / "runs" / "records")
    with pytest.raises(Unknown, match="not on this machine"):
        decoding_of(cell(tmp_path, *words))


def test_a_model_of_your_own_sets_the_context(tmp_path, made):
    words = load_tokenizer(made.make(tokenizer))
    for part in (tiny.llama(vocab_size=len(words)), words):  # which reads 64 tokens
        part.save_pretrained(tmp_path / "model")
    own = [f"model.path={tmp_path / 'model'}", "model.sft.updates=0"]
    with pytest.raises(
        DataError, match=r"no row of .* fits into 64 tokens with 40 for the response"
    ):
        cell(tmp_path / "store", *own).make(lengths)
    roomy = cell(tmp_path / "store", *own, "task.response_tokens=28")
    dropped = roomy.notes(lengths)["dropped"]
    assert dropped["train: prompt longer than 36 tokens"] > 0
    kept = roomy.examples("train")
    assert kept
    assert max(len(row) for row in prompt_ids(words, [x.prompt for x in kept])) <= 36


@pytest.mark.parametrize(
    ("name", "other"), [("layout", "packed"), ("precision", "bf16"), ("compile", "true")]
)
def test_models_that_compute_as_ever_keep_their_artifacts(tmp_path, name, other):
    given, left_out, anew = (
        cell(tmp_path, *words) for words in ([], [f"~model.{name}"], [f"model.{name}={other}"])
    )
    assert name not in sft.inputs(given)
    assert given.key(sft) == left_out.key(sft) != anew.key(sft)


@pytest.mark.parametrize("words", [
    ["model.gradient_checkpointing=true"], ["model.offload_reference=true"], ["device=cpu"],
])  # fmt: skip
def test_where_numbers_wait_is_in_no_key(tmp_path, words):
    assert cell(tmp_path, *words).key(optimize) == cell(tmp_path).key(optimize)


def test_a_packed_reference_is_read_once_whoever_compares_distributions_with_it(tmp_path):
    words = ["model.layout=packed", "algo=tdpo2"]
    packed = cell(tmp_path, *words)
    kept = pd.read_parquet(packed.make(optimize) / "log.parquet")
    assert packed.notes(reference_states, by="dataset", part="train")["tokens"] > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeds, "uses_cache", lambda cell: False)
        other = pd.read_parquet(cell(tmp_path / "live", *words).make(optimize) / "log.parquet")
    assert kept["loss"].tolist() == pytest.approx(other["loss"].tolist(), rel=1e-5)


def test_what_is_learned_in_bf16_with_little_memory_is_nearly_the_same(tmp_path, made):
    words = ["precision=bf16", "gradient_checkpointing=true", "offload_reference=true"]
    small = cell(tmp_path, *(f"model.{word}" for word in words))
    for stage, choice in (
        (sft, {}),
        (reward_model, {"by": "dataset", "part": "train"}),
        (optimize, {}),
    ):
        ours, theirs = (
            pd.read_parquet(x.make(stage, **choice) / "log.parquet") for x in (small, made)
        )
        assert ours["loss"].tolist() == pytest.approx(theirs["loss"].tolist(), rel=0.05, abs=0.05)
        assert ours["grad_norm"].tolist() != theirs["grad_norm"].tolist()
    assert load_policy(small.make(optimize) / "policy").dtype == torch.float32
    small.make(evaluate, who="end")


def test_packed_models_learn_what_padded_ones_do(tmp_path, made):
    packed = cell(tmp_path, "model.layout=packed")
    for stage, choice in (
        (sft, {}),
        (reward_model, {"by": "dataset", "part": "train"}),
        (optimize, {}),
    ):
        ours, theirs = (
            pd.read_parquet(x.make(stage, **choice) / "log.parquet") for x in (packed, made)
        )
        assert ours["loss"].tolist() == pytest.approx(theirs["loss"].tolist(), rel=1e-3, abs=1e-4)
    assert is_packed(load_policy(packed.make(optimize) / "policy"))
    assert is_packed(load_values(packed.make(reward_model, by="dataset", part="train")))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["algo=tis_dpo", "~feed.contrast"], "say how they learn"),
        (["algo=tis_dpo", "feed.contrast={_target_: algos.KTO}"], "a loss of pairs"),
        (["algo=dpo", "+feed.contrast={_target_: algos.DPO}"], "no use for feed.contrast"),
        (["algo=kto", "+feed.density_ratio={low: 0.5, high: 10}"], "no use for feed.density_ratio"),
        (["algo=dpo", "+feed.control={good: a, bad: b}"], "no use for feed.control"),
        (["algo=csft", "reference=moving"], "does not know"),
        (["algo=rto", "~feed.token_reward"], "say how that learns"),
        (["algo=rto", "feed.token_reward={_target_: algos.KTO}"], "a loss of pairs"),
        (["algo=rto", "reference=moving"], "set reference=sft, not moving"),
        (["algo=ppo", TEACHER], "no use for feed.token_reward"),
        (["algo=dpo", "+feed.critic_updates=2"], "no use for feed.critic_updates"),
        (["algo=csft", "reference=previous"], "does not know"),
        (["algo=xpo", "feed=online"], "feed=reference_mix"),
        (["algo=ppo_turns", "~feed.turn_discount"], "say by how much"),
        (["algo=ppo", "+feed.turn_discount=0.9"], "no use for feed.turn_discount"),
        (["algo=ppo_turns", "+feed.against=1.0"], "leave out one"),
        (["algo=ppo", "feed=transfer"], "no use for feed.transfer"),
    ],
)
def test_a_feed_that_does_not_suit_its_loss_is_told(words, says):
    config = resolved(words, config_folder())
    with pytest.raises(ValueError, match=says):
        optimize.check(instantiate(config["algo"]), config["feed"], config["reference"])


def test_only_a_feed_of_phases_has_a_previous_policy():
    base = tiny.llama()
    reference, following = optimize.referred_to(
        {"name": "previous"}, base, Phases(None, parts=3, epochs=2, seed=0)
    )
    assert reference is not base
    assert following == Following(every=6, mix=1.0)
    with pytest.raises(ValueError, match="needs a feed of phases"):
        optimize.referred_to({"name": "previous"}, base, lambda *_: None)


def test_the_budget_counts_the_models_that_tell_how_good_a_token_is(made):
    words = ["algo=tis_dpo", *SMALL, "budget.updates=2"]
    tis = Cell(resolved(words, config_folder()), made.store)
    own = pd.read_parquet(tis.make(optimize) / "log.parquet")["tokens"].sum()
    others = tis.notes(contrast, by="dataset")["tokens"]
    assert others == 2 * own  # the same pairs, twice
    assert tis.notes(optimize)["tokens"] == own + others


def test_the_budget_counts_the_teacher_of_token_rewards(made):
    words = ["algo=rto", *SMALL, "budget.updates=2"]
    rto = Cell(resolved(words, config_folder()), made.store)
    own = pd.read_parquet(rto.make(optimize) / "log.parquet")["tokens"].sum()
    others, found = rto.notes(teacher, by="dataset"), rto.notes(optimize)
    assert others["tokens"] > 0
    assert found["tokens"] == own + others["tokens"]
    assert found["flops"] > others["flops"] > 0


def test_a_critic_that_learns_before_is_counted_and_logged_apart(made):
    ahead = Cell(resolved([*WORDS, "+feed.critic_updates=3"], config_folder()), made.store)
    log = pd.read_parquet(ahead.make(optimize) / "log.parquet")
    assert log["stage"].tolist() == ["ppo: critic"] * 3 + ["ppo"] * 2
    assert log["step"].tolist() == [1, 2, 3, 1, 2]
    assert log["seconds"].is_monotonic_increasing
    found = ahead.notes(optimize)
    assert found["updates"] == 2
    assert found["tokens"] == log["tokens"].sum()
    policy, critic = (
        sum(x.numel() for x in model.parameters())
        for model in (load_policy(made.make(sft)), optimize.first_critic(ahead, None))
    )
    first, then = log["tokens"][:3].sum(), log["tokens"][3:].sum()
    learned = 6 * (policy + critic) * then + (6 * critic + 2 * policy) * first
    assert found["flops"] == pytest.approx(learned)


def test_what_a_feed_says_as_ever_leaves_its_key_alone(made):
    def key(*words: str) -> str:
        return Cell(resolved([*WORDS, *words], config_folder()), made.store).key(optimize)

    said = ["+feed.critic_updates=0", "+feed.critic=reward_model", "+feed.policy=sft"]
    assert key(*said) == key()
    others = ["+feed.critic_updates=1", "+feed.critic=sft", "+feed.policy=base"]
    assert len({key(), *(key(x) for x in others)}) == 4


def test_policy_and_critic_start_where_the_feed_says(made):
    words = load_tokenizer(made.make(tokenizer))
    tuned = load_policy(made.make(sft))

    def start(of, word: str, *what) -> dict[str, torch.Tensor]:
        there = Cell(resolved([*WORDS, f"+feed.{word}"], config_folder()), made.store)
        return of(there, *what).state_dict()

    def same(one, other) -> bool:
        return all(torch.equal(x, other[name]) for name, x in one.items())

    raw = sft.untrained(made, words)
    assert same(start(optimize.first_policy, "policy=base", words), raw.state_dict())
    assert same(start(optimize.first_policy, "policy=sft", words), tuned.state_dict())
    assert not same(raw.state_dict(), tuned.state_dict())
    critics = {x: start(optimize.first_critic, f"critic={x}", raw) for x in ("sft", "reward_model")}
    body = {f"model.{name}": x for name, x in raw.base_model.state_dict().items()}
    assert same(body, critics["sft"])  # of what is handed in as the SFT model
    assert not same(body, critics["reward_model"])
    for critic in critics.values():
        assert not any(critic[name].any() for name in critic.keys() - body)
    for of, word in [(optimize.first_policy, "policy"), (optimize.first_critic, "critic")]:
        with pytest.raises(LookupError, match=rf"feed\.{word}='other': one of "):
            start(of, f"{word}=other", None)


def test_an_alarm_is_in_the_record(made, tmp_path, monkeypatch):
    assert made.notes(optimize)["alarms"] == []
    monkeypatch.setattr(alarms, "rises_sharply", lambda phases: True)
    monkeypatch.setattr(alarms, "UNLIKELIER", 0.0)
    words = [*WORDS, "seed=5", f"runs={tmp_path}"]
    alarmed = Cell(resolved(words, config_folder()), made.store)
    (line,) = policy_record(alarmed, "ppo-alarmed").notes
    assert line.startswith("drift from update 1: ")
    assert alarmed.notes(optimize)["alarms"] == [line]


# Where behaviour changes, give the stage's VERSION a new number and pin what it makes now.
PINNED = {
    "tokenizer": (1, 168),
    "lengths": (1, 608),
    "sft": (2, 4.876840114593506),
    "samples": (1, 34.21951219512195),
    "critique": (1, -4.5),
    "revised": (1, 5.026063919067383),
    "revised_samples": (1, 34.24390243902439),
    "labels": (1, -55.150000000000006),
    "reward_model": (2, 0.05588973269210522),
    "reference_scores": (1, -4720.0458984375),
    "reference_states": (1, 24040.16015625),
    "contrast": (1, 5.8085103034973145),
    "teacher": (1, 0.6935703754425049),
    "reward_report": (1, 1.1414244671662648),
    "optimize": (2, 0.06679292768239975),
    "candidates": (1, 34.0546875),
    "evaluate": (2, -1.2650421177968383),
    "token_rewards": (1, 0.2200319290161133),
    "planted_errors": (1, 76.0),
    "overoptimization": (1, -14.392269952269935),
    "side_effects": (1, 163.3898468017578),
    "disagreement": (1, 0.5638),
    "verdicts": (1, 12.5),
}


def summary(made: Cell, stage, choice) -> float:
    """One number that says whether a stage still does what it did."""
    folder = made.make(stage, **choice)
    match stage.__name__.rpartition(".")[2]:
        case "tokenizer":
            return made.notes(stage)["vocabulary"]
        case "lengths":
            return sum(map(len, json.loads((folder / "kept.json").read_text()).values()))
        case "sft" | "optimize" | "teacher" | "revised":
            return float(pd.read_parquet(folder / "log.parquet")["loss"].iloc[-1])
        case "reward_model":
            return made.notes(stage, **choice)["scale"]
        case "reward_report":
            return float(pd.read_parquet(folder / "margins.parquet")["margin"].abs().mean())
        case "reference_scores" | "contrast":
            return float(load_file(folder / reference_scores.FILE)["chosen"].sum())
        case "reference_states":
            return float(load_file(folder / reference_states.FILE)["chosen"].abs().sum())
        case "critique":
            return sum(made.notes(stage)["gold"])
        case "samples" | "revised_samples" | "candidates" as name:
            table = pd.read_parquet(folder / f"{name.removeprefix('revised_')}.parquet")
            return float(table["ids"].map(len).mean())
        case "labels":
            return float(pd.read_parquet(folder / "pairs.parquet")["gold_chosen"].sum())
        case "evaluate":
            table = pd.read_parquet(folder / "answers.parquet")
            return float(table[["gold", "kl", "proxy", "bertscore"]].mean().sum())
        case "token_rewards":
            return float(pd.read_parquet(folder / "token_rewards.parquet")["reward"].abs().sum())
        case "planted_errors":
            return float(pd.read_parquet(folder / "planted_errors.parquet")["position"].sum())
        case "overoptimization":
            return float(pd.read_parquet(folder / "overoptimization.parquet")["gold"].sum())
        case "side_effects":
            table = pd.read_parquet(folder / "side_effects.parquet")
            return float(table[["copied", "self_bleu", "entropy", "sft_nll"]].sum().sum())
        case "disagreement":
            lines = (folder / "disagreement.jsonl").read_text().splitlines()
            return sum(json.loads(line)["deviation"] for line in lines)
        case "verdicts":
            return float(pd.read_parquet(folder / "verdicts.parquet")["p"].sum())
    raise LookupError(stage.__name__)


@each_stage
def test_behaviour_changes_with_the_version_alone(made, stage, choice, serve):
    name = stage.__name__.rpartition(".")[2]
    version, number = PINNED[name]
    if more := MORE.get(name):
        asked = [f"judge.base_url={serve(shorter).url}"] if stage is verdicts else []
        made = Cell(resolved([*WORDS, *more, *asked], config_folder()), made.store)
    assert version == stage.VERSION, "pin what the new version makes"
    assert summary(made, stage, choice) == pytest.approx(number, rel=1e-3), "give it a new VERSION"


# -- over-optimization


def test_the_best_of_n_is_the_control_of_that_name(made):
    table = pd.read_parquet(made.make(overoptimization) / "overoptimization.parquet")
    curve = table[table["who"] == "best_of_n"].set_index("n")
    answers = pd.read_parquet(made.make(evaluate, who="best_of_16") / "answers.parquet")
    best = answers[answers["split"] == "test"]
    assert curve.loc[16, "gold"] == pytest.approx(best["gold"].mean())
    assert curve.loc[16, "proxy"] == pytest.approx(best["proxy"].mean(), rel=1e-5)
    assert curve["proxy"].is_monotonic_increasing
    assert curve.loc[1, ["kl", "gained"]].tolist() == [0, 0]


def test_the_longest_answer_is_the_longest_of_each_prompt(made):
    drawn = pd.read_parquet(made.make(candidates) / "candidates.parquet")
    lengths = drawn["ids"].map(len).to_numpy().reshape(-1, candidates.EACH)
    answers = pd.read_parquet(made.make(evaluate, who="longest_of_16") / "answers.parquet")
    assert answers["length"].tolist() == lengths.max(1).tolist()
    others = pd.read_parquet(made.make(evaluate, who="best_of_16") / "answers.parquet")
    assert answers["length"].mean() > others["length"].mean()


def test_a_training_gains_over_the_sft_model_where_it_was_validated(made):
    table = pd.read_parquet(made.make(overoptimization) / "overoptimization.parquet")
    seen = table[table["who"] == "training"]
    log = pd.read_parquet(made.make(optimize) / "log.parquet").dropna(subset="validation/gold")
    assert seen["gold"].tolist() == log["validation/gold"].tolist()
    assert (seen["gold"] - seen["gained"]).nunique() == 1


# -- side effects


def test_side_effects_are_of_the_very_answers_that_were_evaluated(made):
    table = pd.read_parquet(made.make(side_effects) / "side_effects.parquet")
    own = table[table["split"] != "pairs"]
    answers = pd.read_parquet(made.make(evaluate, who="end") / "answers.parquet")
    prompts = {x.id: x.prompt for _, x in candidates.test_examples(made)}
    columns = answers["prompt_id"], answers["response"]
    shares = [copied(said, prompts[i]) for i, said in zip(*columns, strict=True)]
    assert own["copied"].tolist() == shares
    nats = own[["entropy", "sft_nll"]].mul(answers["length"].to_numpy(), axis=0)
    assert (nats.to_numpy() > 0).all()
    entropy, surprise = nats.mean()  # E[−log π] both, but for two updates and chance
    assert surprise == pytest.approx(entropy, rel=0.1)


def test_a_pair_moved_as_far_as_its_policy(made):
    still = Cell(resolved([*WORDS, "model.optimization.lr=0"], config_folder()), made.store)
    for here, least in ((made, 1e-6), (still, 0.0)):
        table = pd.read_parquet(here.make(side_effects) / "side_effects.parquet")
        pairs = table[table["split"] == "pairs"]
        notes = here.notes(side_effects)["metrics"]
        for side in ("chosen_moved", "rejected_moved"):
            assert pairs[side].abs().max() >= least
            assert (pairs[side].abs().max() > 0) == (least > 0)
            assert notes[side]["value"] == pytest.approx(pairs[side].mean())


# -- rewards of tokens


def test_token_rewards_are_of_the_very_answers_that_were_evaluated(made):
    """Sums are β times log π − log π_SFT, which the evaluation calls k1."""
    beta = made.config["algo"]["kl_coef"]
    table = pd.read_parquet(made.make(token_rewards) / "token_rewards.parquet")
    answers = pd.read_parquet(made.make(evaluate, who="end") / "answers.parquet")
    own = table[table["who"] == "end"].groupby("prompt_id", sort=False)
    assert own["reward"].sum().tolist() == pytest.approx((beta * answers["k1"]).tolist(), abs=1e-5)
    assert own.size().tolist() == answers["length"].tolist()
    references = table[table["who"] == "references"].groupby("prompt_id", sort=False)
    texts = {x.id: f"{x.references[0]}<eos>" for _, x in candidates.test_examples(made)}
    assert references["token"].sum().to_dict() == texts
    found = made.notes(token_rewards)["metrics"]
    seen = answers.loc[answers["split"] == "test", "k1"]
    assert found["implicit_reward"]["value"] == pytest.approx(beta * seen.mean(), abs=1e-5)
    assert found.keys() == {
        f"implicit_reward{who}{split}" for who in ("", "_references") for split in ("", "_unseen")
    }


@pytest.mark.parametrize(
    ("algo", "beta"),
    [
        ("dpo", 0.1),
        ("ipo", 0.1),
        ("tdpo2", 0.1),
        ("aot", 0.01),
        ("simpo", 1.0),
        ("ppo", 0.05),
        ("rto", 0.01),
        ("sppo", 1e-3),
    ],
)
def test_the_price_is_that_of_a_loss_that_reads_a_reference(tmp_path, algo, beta):
    config = cell(tmp_path, f"algo={algo}").config
    assert token_rewards.beta_of(config["algo"]) == beta


def test_an_error_is_a_token_of_other_responses_and_never_the_end():
    eos, responses = 1, [[5, 6, 1], [7, 1], [5, 8, 9, 6, 1]] * 40
    found = planted_errors.planted(responses, seed=0)
    assert found == planted_errors.planted(responses, seed=0)
    assert found != planted_errors.planted(responses, seed=1)
    for ids, (at, token) in zip(responses, found, strict=True):
        assert 0 <= at < len(ids) - 1
        assert token not in (eos, ids[at])
    assert {at for ids, (at, _) in zip(responses, found, strict=True) if len(ids) == 5} == {
        0,
        1,
        2,
        3,
    }
    # Nobody else says 2 and 3, which the first response has to itself.
    alone = [planted_errors.planted([[2, 3, 1], [4, 1], [6, 1]], seed)[0] for seed in range(50)]
    assert {token for _, token in alone} == {4, 6}


def test_an_error_is_found_where_the_lowest_token_is(made):
    """Every response read by itself."""
    table = pd.read_parquet(made.make(planted_errors) / "planted_errors.parquet")
    words = load_tokenizer(made.make(tokenizer))
    models = [load_policy(made.make(optimize) / "policy"), load_policy(made.make(sft))]
    found = []
    for row, (split, x) in zip(table.itertuples(), candidates.test_examples(made), strict=True):
        assert (row.prompt_id, row.split) == (x.id, split)
        said = response_ids(words, list(x.references))[0]
        assert (len(said) - 1, words.decode([said[row.position]])) == (row.tokens, row.was)
        (said[row.position],) = words.convert_tokens_to_ids([row.planted])
        asked = prompt_ids(words, [x.prompt])[0]
        ours, start = (
            model(input_ids=torch.tensor([asked + said]))
            .logits[0]
            .log_softmax(-1)[torch.arange(len(asked) - 1, len(asked) + len(said) - 2), said[:-1]]
            for model in models
        )
        assert [row.lowest, row.sft_lowest] == [int((ours - start).argmin()), int(start.argmin())]
        found.append((row.lowest == row.position, row.sft_lowest == row.position))
    assert list(zip(table["hit"], table["sft_hit"], strict=True)) == found


def test_what_was_found_is_counted_by_split():
    table = pd.DataFrame({
        "split": ["test", "test", "test", "test_unseen"],
        "tokens": [2, 4, 4, 5],
        "hit": [True, False, True, False],
        "sft_hit": [False, False, True, True],
    })  # fmt: skip
    found = planted_errors.metrics(table)
    values = {name: (m["value"], m["n"]) for name, m in found.items()}
    assert values == {
        "planted_found": (pytest.approx(2 / 3), 3),
        "planted_found_by_sft": (pytest.approx(1 / 3), 3),
        "planted_found_by_chance": (pytest.approx(1 / 3), 3),
        "planted_found_unseen": (0, 1),
        "planted_found_by_sft_unseen": (1, 1),
        "planted_found_by_chance_unseen": (0.2, 1),
    }
    assert found["planted_found"]["low"] == pytest.approx(0.2077, abs=1e-4)  # Wilson, 2 of 3


# -- records


def test_more_stages_make_another_record_and_none_leave_it_as_it_was(tmp_path):
    plain = cell(tmp_path)
    assert identity(plain, "ppo") == content_hash([plain.inputs(evaluate, who="end"), "ppo"])
    more = cell(tmp_path, "stages=[optimize,evaluate,planted_errors]")
    both = cell(tmp_path, "stages=[optimize,evaluate,token_rewards,planted_errors]")
    assert len({identity(c, "ppo") for c in (plain, more, both)}) == 3
    assert identity(more, "sft", True) == identity(plain, "sft", True)
    assert identity(plain, "sft", True) != identity(plain, "sft")


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ("optimize,evaluate,planted_error", r"no stage 'planted_error' .* planted_errors"),
        ("optimize,planted_errors", "add `evaluate`"),
        ("coverage,evaluate", "ask for it alone"),
    ],
)
def test_stages_that_cannot_be_are_told(tmp_path, stages, says):
    with pytest.raises(Unknown, match=says):
        run(cell(tmp_path, f"stages=[{stages}]").config)
