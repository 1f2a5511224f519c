"""Constitutional AI inside a cell: what each stage learns from, and where the policy starts."""

import json
from dataclasses import asdict

import pandas as pd
import pytest
import torch

from bench.feedback.constitution import SHIPPED, load, sequence
from bench.models.build import load_policy
from bench.models.tokens import load_tokenizer
from bench.names import config_folder
from bench.stages import (
    critique,
    labels,
    optimize,
    revised,
    revised_samples,
    reward_model,
    samples,
    sft,
    tokenizer,
)
from bench.stages.cell import Cell
from bench.store import Store
from bench.tasks.example import DataError
from bench.tune import resolved
from tests.server import completion
from tests.test_end_to_end import SMALL

SPEC = "feedback.constitution"
WORDS = ["algo=cai", *SMALL, "budget.shared=0.02", "budget.updates=2", f"{SPEC}.error_rate=0"]
BY = {"by": "constitution", "part": "train"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store that the tests of this module share."""
    return tmp_path_factory.mktemp("store")


def cell(root, *words: str) -> Cell:
    return Cell(resolved([*WORDS, *words], config_folder()), Store(root))


def weights(policy) -> torch.Tensor:
    return torch.cat([p.flatten() for p in policy.parameters()])


def test_revisions_begin_with_samples_of_the_sft_model_and_follow_each_other(root):
    cai = cell(root)
    table = pd.read_parquet(cai.make(critique) / "revisions.parquet")
    drawn = pd.read_parquet(cai.make(samples, part="train") / "samples.parquet")
    assert table["example"].drop_duplicates().tolist() == drawn["example"][::2].tolist()
    assert table["answer"][table["round"] == 1].tolist() == drawn["text"][::2].tolist()
    for k in range(1, 4):
        before, after = (table[table["round"] == r] for r in (k, k + 1))
        assert before["revision"].tolist() == after["answer"].tolist()
    prompts = len(drawn) // 2
    known = critique.principles(cai)
    assert table["principle"].tolist() == [
        known[i].name for i in sequence(0, prompts, 4, len(known)).ravel()
    ]
    notes = cai.notes(critique)
    assert (notes["prompts"], notes["requests"]) == (prompts, 9 * prompts)
    assert notes["changed"] == (table["answer"] != table["revision"]).mean()
    assert len(notes["gold"]) == 5
    assert notes["gold"] == sorted(notes["gold"])
    assert notes["gold"][-1] > notes["gold"][0]


def test_supervised_training_sees_the_last_revisions_that_fit(root):
    cai = cell(root)
    words = load_tokenizer(cai.make(tokenizer))
    table = pd.read_parquet(cai.make(critique) / "revisions.parquet")
    last = table[table["round"] == 4]
    rows, dropped = revised.revisions(cai, words)
    assert set(rows) <= set(zip(last["prompt"], last["revision"], strict=True))
    assert len(rows) + dropped == len(last)
    assert all(len(words(text, add_special_tokens=False).input_ids) < 40 for _, text in rows)
    assert dropped > 0
    every, _ = revised.revisions(cell(root, f"{SPEC}.learned_rounds=4"), words)
    assert set(every) > set(rows)
    assert len(every) == len(set(every))
    log = pd.read_parquet(cai.make(revised) / "log.parquet")
    assert len(log) == max(1, round(len(rows) / 32))
    assert log["lr"].max() <= 0.5 * cai.config["model"]["sft"]["lr"]


def test_preferences_are_between_samples_of_that_model_and_within_bounds(root):
    cai = cell(root)
    table = labels.table(cai, "constitution", "train")
    drawn = pd.read_parquet(cai.make(revised_samples, part="train") / "samples.parquet")
    first = pd.read_parquet(cai.make(samples, part="train") / "samples.parquet")
    assert drawn["example"].tolist() == first["example"].tolist()
    assert drawn["text"].tolist() != first["text"].tolist()
    assert set(table["chosen"]) | set(table["rejected"]) <= set(drawn["text"])
    assert table["p_chosen"].between(0.5, 0.6).all()
    free = cell(root, f"{SPEC}.clamp=[0,1]")
    assert labels.table(free, "constitution", "train")["p_chosen"].max() > 0.6
    assert cai.key(labels, **BY) != free.key(labels, **BY)
    assert cai.key(revised) == free.key(revised)


def test_the_policy_starts_from_that_model_and_is_held_to_it(root):
    still = cell(root, "model.optimization.lr=0", "model.optimization.critic_lr=0")
    end = load_policy(still.make(optimize) / "policy")
    assert torch.equal(weights(end), weights(load_policy(still.make(revised))))
    assert not torch.equal(weights(end), weights(load_policy(still.make(sft))))
    log = pd.read_parquet(still.make(optimize) / "log.parquet")
    assert log["rollout/kl"].dropna().abs().max() < 1e-4  # to the reference, which it is
    assert log["validation/kl"].dropna().min() > 1e-3  # to the SFT model
    reads = still.inputs(optimize)["reads"]
    assert reads["revised"] == still.key(revised)
    assert reads["reward_model"] == still.key(reward_model, **BY)
    held = cell(root, "reference=sft", "model.optimization.lr=0", "model.optimization.critic_lr=0")
    log = pd.read_parquet(held.make(optimize) / "log.parquet")
    assert log["rollout/kl"].dropna().abs().min() > 1e-3  # an estimate, of either sign


def test_principles_of_your_own_are_known_by_what_they_say(root, tmp_path):
    said = [asdict(p) for p in load()]
    (tmp_path / "mine.json").write_text(json.dumps(said))
    mine = cell(root, f"{SPEC}.principles={tmp_path / 'mine.json'}")
    assert mine.key(critique) == cell(root, f"{SPEC}.principles={SHIPPED}").key(critique)
    assert mine.key(critique) == cell(root).key(critique)
    (tmp_path / "mine.json").write_text(json.dumps(said[:2]))
    few = cell(root, f"{SPEC}.principles={tmp_path / 'mine.json'}")
    assert few.key(critique) != mine.key(critique)


def test_who_cannot_revise_is_told(root, tmp_path):
    rows = [{"document": f"report {i}", "summary": f"it {i}"} for i in range(40)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    local = Cell(
        resolved(
            ["algo=cai", "task=local", f"task.path={tmp_path / 'mine.jsonl'}"], config_folder()
        ),
        Store(root),
    )
    with pytest.raises(DataError, match=r"no program that mends.*feedback=constitution_labeller"):
        local.key(critique)
    for word in ("reference=revised", "+feed.policy=revised"):
        plain = Cell(resolved(["algo=ppo", *SMALL, word], config_folder()), Store(root))
        with pytest.raises(LookupError, match="feedback=constitution"):
            plain.key(optimize)


# -- a language model as critic, reviser and labeller


def model(number: int, body: dict) -> tuple[int, dict]:
    """Finds fault, says the same for all, and likes what is first in the alphabet."""
    asked = body["messages"][0]["content"]
    if asked.endswith("Critique:"):
        return 200, completion("It rambles.")
    if asked.endswith("Revision:"):
        assert "Critique: It rambles.\n" in asked
        return 200, completion("\n that is all for today . ")
    *_, first, second, _ = asked.splitlines()
    one, two = first.removeprefix("Answer 1: "), second.removeprefix("Answer 2: ")
    return 200, completion("1" if one < two else "2")


def test_a_language_model_criticises_revises_and_compares(root, serve):
    server = serve(model)
    asking = cell(
        root, "feedback=constitution_endpoint", "feedback.labeller.model=toy",
        f"feedback.labeller.base_url={server.url}", f"{SPEC}.rounds=2", "task.pairs=1000",
    )  # fmt: skip
    table = pd.read_parquet(asking.make(critique) / "revisions.parquet")
    prompts = table["example"].nunique()
    assert set(table["critique"]) == {"It rambles."}
    assert set(table["revision"][table["answer"].str.startswith(" ")]) == {
        " that is all for today ."
    }
    assert len(set(server.prompts)) == len(server.prompts) <= 4 * prompts
    assert {p.name for p in critique.principles(asking)} == {p.name for p in load()}
    assert any("could hurt somebody" in text for text in server.prompts)

    server.asked.clear()
    pairs = labels.table(asking, "constitution", "train")
    assert (pairs["chosen"].str.strip() < pairs["rejected"].str.strip()).all()
    assert set(pairs["p_chosen"]) == {0.6}  # hard answers, clamped
    comparisons = {p.comparison for p in load()}
    assert {text.partition("\n")[0] for text in server.prompts} <= comparisons
    assert len({text.partition("\n")[0] for text in server.prompts}) > 1
    assert asking.notes(labels, **BY)["position_bias"] == 0
