"""What the stages of a cell are keyed by, and what they make of a tiny world."""

import importlib
import json
import pkgutil
import shutil

import pandas as pd
import pytest
from safetensors.torch import load_file

import bench.stages
from bench.models.tokens import load_tokenizer, prompt_ids
from bench.names import Unknown, config_folder
from bench.reports import record as records
from bench.stages import (
    candidates,
    evaluate,
    labels,
    lengths,
    optimize,
    reference_scores,
    reward_model,
    samples,
    sft,
    tokenizer,
)
from bench.stages.cell import Cell
from bench.stages.decoding import decoding_key, decoding_of
from bench.store import Store
from bench.tasks.example import DataError
from bench.tune import resolved
from tests import tiny
from tests.test_end_to_end import SMALL
from tests.test_records import record

WORDS = ["algo=ppo", *SMALL, "budget.updates=2", "model.optimization.lr=3e-4"]
STAGES = [  # in the order in which they are made
    (tokenizer, {}),
    (lengths, {}),
    (sft, {}),
    (samples, {"part": "train"}),
    (labels, {"by": "dataset", "part": "train"}),
    (reward_model, {"by": "dataset", "part": "train"}),
    (reference_scores, {"by": "dataset", "part": "train"}),
    (optimize, {}),
    (candidates, {}),
    (evaluate, {"who": "end"}),
]
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
    """All modules of the room that make something."""
    there = {m.name for m in pkgutil.iter_modules(bench.stages.__path__)}
    modules = {n: importlib.import_module(f"bench.stages.{n}") for n in there}
    assert {n for n, m in modules.items() if hasattr(m, "VERSION")} == {
        s.__name__.rpartition(".")[2] for s, _ in STAGES
    }


@each_stage
def test_a_new_version_makes_new_artifacts_downstream(tmp_path, monkeypatch, stage, choice):
    def keys() -> list[str]:
        return [cell(tmp_path).key(s, **c) for s, c in STAGES]

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
    there, elsewhere = cell(tmp_path), cell(tmp_path, "task.load.seed=1")
    assert there.key(stage, **choice) != elsewhere.key(stage, **choice)


def test_what_an_artifact_does_not_read_leaves_its_key_alone(tmp_path):
    a, b = cell(tmp_path), cell(tmp_path, "algo.kl_coef=0.2", "seed=3")
    for stage, choice in STAGES[:7]:
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


# Where behaviour changes, give the stage's VERSION a new number and pin what it makes now.
PINNED = {
    "tokenizer": (1, 168),
    "lengths": (1, 608),
    "sft": (2, 4.876840114593506),
    "samples": (1, 34.21951219512195),
    "labels": (1, -55.150000000000006),
    "reward_model": (2, 0.05588973269210522),
    "reference_scores": (1, -4720.0458984375),
    "optimize": (2, 0.06679292768239975),
    "candidates": (1, 34.0546875),
    "evaluate": (2, -1.2650421177968383),
}


def summary(made: Cell, stage, choice) -> float:
    """One number that says whether a stage still does what it did."""
    folder = made.make(stage, **choice)
    match stage.__name__.rpartition(".")[2]:
        case "tokenizer":
            return made.notes(stage)["vocabulary"]
        case "lengths":
            return sum(map(len, json.loads((folder / "kept.json").read_text()).values()))
        case "sft" | "optimize":
            return float(pd.read_parquet(folder / "log.parquet")["loss"].iloc[-1])
        case "reward_model":
            return made.notes(stage, **choice)["scale"]
        case "reference_scores":
            return float(load_file(folder / stage.FILE)["chosen"].sum())
        case "samples" | "candidates":
            table = pd.read_parquet(folder / f"{stage.__name__.rpartition('.')[2]}.parquet")
            return float(table["ids"].map(len).mean())
        case "labels":
            return float(pd.read_parquet(folder / "pairs.parquet")["gold_chosen"].sum())
        case "evaluate":
            table = pd.read_parquet(folder / "answers.parquet")
            return float(table[["gold", "kl", "proxy", "bertscore"]].mean().sum())
    raise LookupError(stage.__name__)


@each_stage
def test_behaviour_changes_with_the_version_alone(made, stage, choice):
    name = stage.__name__.rpartition(".")[2]
    version, number = PINNED[name]
    assert version == stage.VERSION, "pin what the new version makes"
    assert summary(made, stage, choice) == pytest.approx(number, rel=1e-3), "give it a new VERSION"
