"""PPO-max: what its history of rewards does, its tricks one by one, and PPO without them."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import tensor
from torch.testing import assert_close

from algos import PPO, PPOMax
from algos.core import Critic, Responses, Rollouts
from algos.ppo_max import Credit
from bench.names import config_folder
from bench.tune import resolved
from tests.samples import batch, credited, value

OFF = {
    "reward_shift": 0.0,
    "reward_scale": 0.0,
    "reward_clip": math.inf,
    "advantage_norm": 1.0,
    "advantage_clip": math.inf,
    "entropy_coef": 0.0,
    "ptx_coef": 0.0,
}
RELEASED = PPOMax(kl_coef=0.01, **(OFF | {"reward_scale": 1.0, "advantage_norm": 0.0}))


def plain(**on) -> PPOMax:
    """Nothing between rewards and returns or advantages but what is said."""
    return PPOMax(**{"kl_coef": 0.0, **OFF, "advantage_norm": 0.0, **on})


def one_token(rewards: torch.Tensor) -> Rollouts:
    """Responses of one token at the reference, worth nothing to the critic: A = R = r̃."""
    zeros = torch.zeros(len(rewards), 1, dtype=rewards.dtype)
    return Rollouts(
        responses=Responses(token_logps=zeros, token_ref_logps=zeros, mask=zeros == 0),
        token_old_logps=zeros,
        rewards=rewards,
        prompt=torch.arange(len(rewards)),
        finished=torch.ones(len(rewards), dtype=torch.bool),
        critic=Critic(values=zeros, old_values=zeros),
    )


def seen(algo: PPOMax, *batches: torch.Tensor) -> list[torch.Tensor]:
    """What each batch of rewards becomes, one after the other."""
    state, found = algo.start(), []
    for rewards in batches:
        credit, state = algo.credit(one_token(rewards), state, torch.Generator())
        found.append(credit.returns[:, 0])
    return found


def descended(algo, data: Rollouts) -> list[torch.Tensor]:
    """The gradients that one pass takes."""
    loss = algo.loss(data)
    leaves = [data.responses.token_logps, data.critic.values]
    return list(torch.autograd.grad(value(loss), leaves))


# -- rewards


def test_rewards_are_normalised_by_all_that_were_seen():
    # 1, 3: mean 2, unbiased variance 2. With 8: mean 4, variance (9 + 1 + 16) / 2 = 13
    first, second = seen(
        plain(reward_shift=1.0, reward_scale=1.0), tensor([1.0, 3.0]), tensor([8.0])
    )
    assert_close(first, tensor([-1.0, 1.0]) / 2**0.5)
    assert_close(second, tensor([4.0]) / 13**0.5)


def test_the_released_script_divides_and_does_not_subtract():
    first, second = seen(RELEASED, tensor([1.0, 3.0]), tensor([8.0]))
    assert_close(first, tensor([1.0, 3.0]) / 2**0.5)
    assert_close(second, tensor([8.0]) / 13**0.5)


def test_the_history_is_that_of_everything_together():
    torch.manual_seed(0)
    parts = [torch.randn(5), 3 * torch.randn(2) + 9, torch.randn(7) - 4]
    algo, state = PPOMax(), PPOMax().start()
    for i, part in enumerate(parts):
        _, state = algo.credit(one_token(part), state, torch.Generator())
        everything = torch.cat(parts[: i + 1])
        assert_close(state.mean, everything.mean())
        assert_close(state.squares / (state.count - 1), everything.var())
    assert state.count == 14


def test_normalised_rewards_are_kept_within_bounds():
    torch.manual_seed(0)
    for rewards in seen(plain(reward_shift=1.0, reward_scale=1.0, reward_clip=0.3),
                        torch.randn(50), 100 * torch.randn(50)):  # fmt: skip
        assert rewards.abs().max() == 0.3
    (some,) = seen(plain(reward_clip=2.0), tensor([-5.0, -1.0, 0.5, 3.0]))
    assert_close(some, tensor([-2.0, -1.0, 0.5, 2.0]))


@pytest.mark.parametrize("scale", [2.0, 1e3])
@pytest.mark.parametrize("shift", [0.0, 7.0])
def test_norm_and_clip_forget_scale_and_shift_scaling_alone_the_scale(shift, scale):
    torch.manual_seed(0)
    batches = [torch.randn(6, dtype=torch.float64) for _ in range(3)]
    moved = [scale * x + shift for x in batches]
    norm, scaling = plain(reward_shift=1.0, reward_scale=1.0, reward_clip=0.8), RELEASED
    assert_close(seen(norm, *moved), seen(norm, *batches))
    before, after = seen(scaling, *batches), seen(scaling, *moved)
    same = [torch.allclose(x, y, atol=1e-6) for x, y in zip(before, after, strict=True)]
    assert same == [shift == 0] * 3


@pytest.mark.parametrize("rewards", [tensor([5.0]), tensor([5.0, 5.0, 5.0])])
def test_a_history_without_spread_says_nothing(rewards):
    (found,) = seen(PPOMax(kl_coef=0.0), rewards)
    assert_close(found, 0 * rewards)


# -- advantages


def test_advantages_are_normalised_and_clipped():
    # 0, 1, 5: mean 2, unbiased variance 7
    rewards = tensor([0.0, 1.0, 5.0])
    for algo, want in [
        (plain(), rewards),
        (plain(advantage_norm=1.0), (rewards - 2) / 7**0.5),
        (plain(advantage_norm=1.0, advantage_clip=0.5), tensor([-0.5, -(7**-0.5), 0.5])),
        (plain(advantage_clip=0.12), tensor([0.0, 0.12, 0.12])),
        (plain(advantage_norm=0.5), 0.5 * rewards + 0.5 * (rewards - 2) / 7**0.5),
    ]:
        credit = credited(algo, one_token(rewards)).credit
        assert_close(credit.advantages[:, 0], want)
        assert_close(credit.returns[:, 0], rewards)  # the critic learns what was not clipped


# -- entropy, and plain text


def scored() -> Rollouts:
    """One response of two tokens, without advantages; their entropies are ½ and 2 nats."""
    data = one_token(tensor([0.0]))
    zeros, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    return data.replace(
        responses=Responses(
            token_logps=zeros.clone().requires_grad_(),
            mask=mask,
            token_entropy=tensor([[0.5, 2.0]], requires_grad=True),
        ),
        token_old_logps=zeros,
        critic=Critic(values=zeros, old_values=zeros),
        credit=Credit(advantages=zeros, returns=zeros),
    )


def test_entropy_is_paid_for_up_to_a_bound():
    # −0.01 (0.5 + min(2, 1)) / 2, and only the first still rises
    data = scored()
    total = value(PPOMax(entropy_coef=0.01, entropy_clip=1.0, ptx_coef=0.0).loss(data))
    total.backward()
    assert_close(total.detach(), tensor(-0.0075))
    assert_close(data.responses.token_entropy.grad, tensor([[-0.005, 0.0]]))


def test_plain_text_is_imitated_token_by_token():
    # 0.3 · mean of the two tokens that are there, 1 and 2 nats
    logps = tensor([[-1.0, -2.0, -9.0]], requires_grad=True)
    text = Responses(token_logps=logps, mask=tensor([[True, True, False]]))
    data = scored().replace(pretrain=text)
    loss = PPOMax(ptx_coef=0.3).loss(data)
    value(loss).backward()
    assert_close(value(loss).detach(), tensor(0.45))
    assert_close(loss.parts["pretrain"].weight, tensor(2.0))
    assert_close(logps.grad, tensor([[-0.15, -0.15, 0.0]]))


def test_without_its_coefficient_plain_text_changes_nothing():
    torch.manual_seed(0)
    on, off = PPOMax(ptx_coef=0.5), PPOMax(ptx_coef=0.0)
    data = credited(on, batch(on))
    loss = on.loss(data)
    rest = loss.share(loss.weights, loss.parts.keys() - {"pretrain"})
    leaves = [data.responses.token_logps, data.critic.values]
    want = torch.autograd.grad(rest, leaves)
    for x, y in zip(descended(off, data), want, strict=True):
        assert torch.equal(x, y)
    value(off.loss(data)).backward()
    assert data.pretrain.token_logps.grad is None


def test_what_weighs_nothing_is_not_asked_for():
    assert PPOMax().needs == {"critic", "pretrain"}
    assert PPOMax(entropy_coef=0.01).needs == PPOMax.needs
    assert PPOMax(ptx_coef=0.0).needs == PPO.needs
    assert dataclasses.replace(PPOMax(), ptx_coef=0.0).needs == {"critic"}


# -- as a whole


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"kl_coef": 0.0, "lam": 0.0},
        {"clip": math.inf, "value_clip": math.inf, "lam": 1.0, "gamma": 0.9},
        {"kl_coef": 0.3, "clip": 0.05, "value_coef": 1.0, "lam": 0.9},
    ],
    ids=str,
)
def test_without_its_tricks_it_is_ppo_bit_for_bit(knobs):
    """Batch after batch: the history it keeps does nothing."""
    torch.manual_seed(0)
    ppo = PPO(**knobs)
    algo, state = PPOMax(**(OFF | vars(ppo))), PPOMax().start()
    for _ in range(3):
        data = batch(ppo)
        want, _ = ppo.credit(data, None, torch.Generator())
        credit, state = algo.credit(data, state, torch.Generator())
        for name, x in vars(want).items():
            assert torch.equal(getattr(credit, name), x)
        data = data.replace(credit=want)
        assert torch.equal(value(algo.loss(data)), value(ppo.loss(data)))
        for x, y in zip(descended(algo, data), descended(ppo, data), strict=True):
            assert torch.equal(x, y)


def test_the_critic_learns_alone():
    """What pre-trains it does not touch the policy, nor what imitates."""
    torch.manual_seed(0)
    algo = PPOMax(entropy_coef=0.01)
    data = credited(algo, batch(algo))
    loss = algo.loss(data)
    loss.share(loss.weights, {"value"}).backward()
    assert data.critic.values.grad.any()
    for x in (data.responses.token_logps, data.responses.token_entropy, data.pretrain.token_logps):
        assert x.grad is None


# -- the study of its tricks

CELLS = {path.stem for path in (config_folder() / "experiment/ppo_max").glob("*.yaml")}


def settings(cell: str) -> dict[str, Any]:
    """Everything that a cell of the study sets, `a.b` by `a.b`."""

    def flat(x: Any, path: str = "") -> dict[str, Any]:
        if not isinstance(x, dict):
            return {path: x}
        return {k: v for key, y in x.items() for k, v in flat(y, f"{path}.{key}").items()}

    config = resolved(["algo=ppo_max", f"+experiment/ppo_max={cell}"], config_folder())
    assert isinstance(instantiate(config["algo"]), PPOMax)
    assert config["name"] == {"all": "ppo_max"}.get(cell, f"ppo_max_{cell}")
    shown = {name: config[name] for name in ("algo", "feed", "model")}
    found = flat(shown)
    return found | {".feed.policy": found.get(".feed.policy", "sft"),
                    ".feed.critic": found.get(".feed.critic", "reward_model")}  # fmt: skip


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    assert before.keys() == after.keys()
    return {name: x for name, x in after.items() if x != before[name]}


def test_the_study_turns_one_trick_at_a_time():
    """Alone a trick is what it is in PPO-max, and PPO-max without it is what PPO is without any."""
    none, everything = settings("none"), settings("all")
    whole = changes(none, everything)
    only = {x.removeprefix("only_") for x in CELLS if x.startswith("only_")}
    without = {x.removeprefix("without_") for x in CELLS if x.startswith("without_")}
    assert {"none", "all"} | {f"only_{x}" for x in only} | {
        f"without_{x}" for x in without
    } == CELLS
    alone = {x: changes(none, settings(f"only_{x}")) for x in only}
    assert all(alone.values())
    together: dict[str, Any] = {}
    for trick in without - {"sft"}:
        assert alone[trick].items() <= whole.items()
        back = changes(everything, settings(f"without_{trick}"))
        assert back == {name: none[name] for name in alone[trick]}
        assert not together.keys() & alone[trick].keys()
        together |= alone[trick]
    assert together == whole
    assert changes(everything, settings("without_sft")) == {".feed.policy": "base"}
    # What PPO-max leaves out stands alone.
    assert only - without == {"entropy", "reward_scaling", "advantage_norm"}


def test_the_study_runs_every_cell():
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        words = ["experiment=ppo_max_ablation"]
        config = compose("run", overrides=words, return_hydra_config=True)
    swept = config.hydra.sweeper.params
    assert set(swept["+experiment/ppo_max"].split(",")) == CELLS
    assert swept["algo"] == "ppo_max"
