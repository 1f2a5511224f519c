"""Reward models as stages make them: the members of an ensemble, and what a record says of them."""

import numpy as np
import pytest
import torch

from bench.models.rewards import RewardModel
from bench.models.tokens import Tokens, load_tokenizer
from bench.names import config_folder
from bench.reports import record as records
from bench.run import run, trained_on
from bench.stages import ensemble, evaluate, labels, optimize, reward_model, tokenizer
from bench.stages.cell import Cell
from bench.store import Store
from bench.training.feeds import PairRows, take
from bench.tune import resolved
from tests.test_end_to_end import SMALL

ONE = {"by": "dataset", "part": "train"}
THREE = ["feedback=ensemble", "feedback.ensemble.members=3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store that the tests of this module share."""
    return tmp_path_factory.mktemp("store")


def cell(root, *words: str) -> Cell:
    config = resolved([*SMALL, "budget.updates=2", f"store={root}", *words], config_folder())
    return Cell(config, Store(root))


# -- ensembles


def test_a_recipe_without_an_ensemble_has_one_model_and_its_key(root):
    alone = cell(root, "algo=ppo")
    assert ensemble.members(alone) == {"reward_model": ONE}
    assert ensemble.identity(alone) == alone.key(reward_model, **ONE)


def test_members_are_models_of_their_own(root):
    three = cell(root, "algo=ppo", *THREE)
    found = ensemble.members(three, "trained_on")
    assert found == {f"trained_on/{i}": {**ONE, "member": i} for i in (1, 2, 3)}
    keys = {three.key(reward_model, **x) for x in (ONE, *found.values())}
    assert len(keys) == 4
    seeds = {reward_model.inputs(three, **x)["seed"] for x in (ONE, *found.values())}
    assert len(seeds) == 4


@pytest.mark.parametrize("change", ["members=2", "combine=mean", "coef=0.5", "ddof=0"])
def test_another_ensemble_trains_and_evaluates_another_policy(root, change):
    this = cell(root, "algo=ppo", *THREE)
    other = cell(root, "algo=ppo", *THREE, f"feedback.ensemble.{change}")
    assert this.key(optimize) != other.key(optimize)
    assert this.key(evaluate, who="end") != other.key(evaluate, who="end")
    assert this.key(evaluate, who="sft") == other.key(evaluate, who="sft")


def test_taken_rows_come_in_the_order_asked_for_and_as_often():
    rows = PairRows(["a", "b", "c"], ["x", "y", "z"], [1.0, 0.9, 0.8], [0.0, 1.0, 2.0])
    drawn = take(rows, [2, 0, 2])
    assert (drawn.chosen, drawn.rejected) == (["c", "a", "c"], ["z", "x", "z"])
    assert (drawn.p_chosen, drawn.margin) == ([0.8, 1.0, 0.8], [2.0, 0.0, 2.0])
    assert drawn.target is None


def test_rollouts_are_rewarded_by_all_members_each_on_its_own_scale(root):
    three = cell(root, "algo=ppo", *THREE)
    words = load_tokenizer(three.make(tokenizer))
    pairs = labels.pair_rows(three, words, "dataset", "test")
    models = [
        RewardModel.load(three.make(reward_model, **x)) for x in ensemble.members(three).values()
    ]
    tokens = Tokens.collate([*pairs.chosen, *pairs.rejected], words.pad_token_id)
    each = np.array([m(tokens).tolist() for m in models])
    assert (np.ptp(each, axis=0) > 1e-4).all()  # members differ
    assert each.mean(1) == pytest.approx(np.zeros(3), abs=1e-4)
    assert each.std(1) == pytest.approx(np.ones(3), abs=1e-4)
    reward = optimize.reward_of(three, "cpu")
    said = reward(None, None, [*pairs.chosen, *pairs.rejected])
    assert said == pytest.approx(each.mean(0) - 0.1 * each.var(0, ddof=1), abs=1e-5)


def test_the_critic_of_an_ensemble_starts_from_a_member(root):
    three = cell(root, "algo=ppo", *THREE)
    first = RewardModel.load(three.make(reward_model, **ONE, member=1)).model
    critic = optimize.first_critic(three, base=None)
    for ours, theirs in zip(
        critic.base_model.parameters(), first.base_model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


# -- records


@pytest.mark.parametrize(
    ("words", "others"),
    [
        (["algo=ppo"], {}),  # the proxy itself
        (["algo=dpo"], {}),
        (["algo=dpo", *THREE], {}),  # its pairs taught directly
        (["algo=ppo", "feedback=gold"], {}),
        (["algo=rlaif"], {"trained_on": {"by": "judge", "part": "train"}}),
    ],
    ids=str,
)
def test_the_reward_model_of_training_is_named_where_it_is_another(root, words, others):
    assert trained_on(cell(root, *words)) == others


def test_a_record_says_on_what_scale_its_rewards_are(root, tmp_path):
    three = cell(root, "algo=ppo", *THREE, f"runs={tmp_path}", "seed=1")
    policy, *controls = run(three.config)
    trained = ensemble.members(three, "trained_on")
    assert set(policy.reward_models) == {"proxy", "held_out", *trained}
    for name, x in trained.items():
        model = RewardModel.load(three.make(reward_model, **x))
        said = policy.reward_models[name]
        assert (said.key, said.offset, said.scale) == (
            three.key(reward_model, **x), model.offset, model.scale,
        )  # fmt: skip
    assert policy.reward_models["proxy"].key == policy.parents.reward_model
    assert policy.reward_models["held_out"].key == policy.parents.held_out_reward_model
    for control in controls:
        assert set(control.reward_models) == {"proxy", "held_out"}
    signed = policy.metrics.end["trained_reward"].signature
    assert signed.startswith("uncertainty_weighted (coef 0.1, ddof 1) of 3 reward models")
    assert records.read(tmp_path / f"records/{policy.run_id}.json") == policy
