"""Precision, compilation and memory are settings that leave what is learned as it is."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from algos import DPO, PPO, BradleyTerry
from bench.models.build import as_laid_out, with_value_head
from bench.models.computing import (
    Computing,
    ComputingError,
    accelerator,
    device_of,
    exactly,
    side_by_side,
)
from bench.models.rewards import RewardModel
from bench.models.sampling import Decoding, sample, uniforms
from bench.models.scoring import kl_along, reference_logps, score
from bench.training.batches import Models
from bench.training.feeds import PairRows
from bench.training.loop import train
from tests import tiny
from tests.test_loop import WORDS, pairs, rollouts, run

WAYS = {
    "bf16": Computing(precision="bf16"),
    "gradient_checkpointing": Computing(gradient_checkpointing=True),
    "offload_reference": Computing(offload_reference=True),
    "compile": Computing(compile=True),
    "workers": Computing(workers=3),
}
PATHS = {"dpo": DPO(), "reward_model": BradleyTerry(), "ppo": PPO()}


def learned(name: str, layout: str, computing: Computing, folder: Any) -> tuple[Any, list[Any]]:
    """(losses, parameters) of who was trained, four updates long."""
    algo, words = PATHS[name], len(WORDS) if name == "ppo" else tiny.WORDS
    policy, base = (as_laid_out(tiny.llama(i, words), layout) for i in (0, 1))
    models = Models(policy, base, computing=computing)
    if name == "reward_model":
        models = Models(reward=RewardModel(with_value_head(policy)), computing=computing)
    if name == "ppo":
        models.critic = with_value_head(policy)
    for model in models.trained.values():
        computing.learning(model)
    computing.reading(base)
    feed = rollouts() if name == "ppo" else pairs(0)
    folder.mkdir()
    models, trained = run(algo, feed, folder, models, updates=4)
    numbers = [p.detach() for m in models.trained.values() for p in m.parameters()]
    return [row["loss"] for row in trained.log], numbers


@pytest.mark.parametrize(
    ("way", "layout"), [(w, x) for w in WAYS if w != "compile" for x in ("padded", "packed")]
)
@pytest.mark.parametrize("name", PATHS)
def test_what_is_learned_is_the_same(name, layout, way, tmp_path):
    losses, numbers = learned(name, layout, Computing(), tmp_path / "plain")
    ours, theirs = learned(name, layout, WAYS[way], tmp_path / way)
    if way == "bf16":
        assert ours == pytest.approx(losses, abs=0.05, rel=0.05)
        assert ours != losses
    else:
        assert ours == pytest.approx(losses, abs=1e-5, rel=1e-5)
        assert_close(theirs, numbers, atol=1e-5, rtol=1e-5)


def test_workers_add_up_in_order_and_leave_the_cores_of_others_alone(tmp_path):
    cores = torch.get_num_threads()
    losses, numbers = learned("dpo", "padded", Computing(), tmp_path / "plain")
    ours, theirs = learned("dpo", "padded", WAYS["workers"], tmp_path / "workers")
    assert (ours == losses, all(map(torch.equal, theirs, numbers))) == (True, True)
    assert torch.get_num_threads() == cores


def test_workers_do_as_they_are_told_and_answer_in_order():
    together = threading.Barrier(2, timeout=30)

    def work(x: int) -> tuple[int, bool, int]:
        together.wait()  # two at a time, or never
        return x, torch.is_grad_enabled(), torch.get_num_threads()

    with torch.no_grad():
        found = list(side_by_side(work, range(6), 2))
    assert found == [(x, False, max(1, torch.get_num_threads() // 2)) for x in range(6)]
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda x: 1 / x, [1, 0], 2))


def test_rewards_are_exact_whatever_the_policy_is_computed_in():
    a = torch.randn(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        assert torch.equal(exactly(torch.matmul)(a, a), exactly(torch.matmul)(a, a).float())
        assert exactly(torch.matmul)(a, a).dtype == torch.float32
        assert torch.is_autocast_enabled("cpu")


def test_workers_are_of_one_process():
    many = SimpleNamespace(num_processes=2, device=torch.device("cpu"))
    models = Models(tiny.llama(), computing=WAYS["workers"])
    with pytest.raises(ComputingError, match=r"model\.workers=3 is for one process"):
        train(DPO(), None, models, None, updates=1, seed=0, micro=1, accelerator=many,
              checkpoints=None, bar=None, stage="x")  # fmt: skip


@pytest.mark.slow  # the compiler takes its time
@pytest.mark.parametrize("name", PATHS)
def test_what_is_learned_compiled_is_the_same(name, tmp_path):
    losses, numbers = learned(name, "padded", Computing(), tmp_path / "plain")
    ours, theirs = learned(name, "padded", WAYS["compile"], tmp_path / "compiled")
    assert ours == pytest.approx(losses, abs=1e-5, rel=1e-5)
    assert_close(theirs, numbers, atol=1e-5, rtol=1e-5)


def test_weights_and_distributions_stay_float32():
    policy, tokens = tiny.llama(), tiny.tokens(4)
    models = Models(policy, computing=WAYS["bf16"])
    with models.autocast():
        rough = score(tokens, frozenset(), policy).token_logps
        values = with_value_head(policy)(tokens.ids).logits
    assert values.dtype == torch.bfloat16
    assert rough.dtype == torch.float32
    assert {p.dtype for p in policy.parameters()} == {torch.float32}
    exact = score(tokens, frozenset(), policy).token_logps
    assert 1e-4 < (rough - exact).abs().max() < 0.1


def kept(model: Any) -> int:
    """How many numbers a forward pass keeps for the backward one, weights left out."""
    seen = {}
    own = {p.data_ptr() for p in model.parameters()}

    def keep(x: torch.Tensor) -> torch.Tensor:
        if x.data_ptr() not in own:
            seen[x.data_ptr()] = x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = model.base_model(tiny.tokens(8).ids, use_cache=False)
    assert out.last_hidden_state.requires_grad
    return sum(seen.values())


def test_layers_that_compute_again_keep_less():
    again = WAYS["gradient_checkpointing"].learning(tiny.llama())
    assert kept(again) < kept(tiny.llama()) / 3
    assert not any(x.training for x in again.modules())  # or dropout would be drawn


def test_a_model_without_layers_of_its_own_kind_cannot_compute_them_again():
    with pytest.raises(ComputingError, match=r"Linear has no layers that could be computed again"):
        WAYS["gradient_checkpointing"].learning(nn.Linear(2, 2))


def test_an_offloaded_reference_says_what_it_said(tmp_path):
    policy, base, tokens = tiny.llama(0), tiny.llama(1), tiny.tokens(6)
    away = WAYS["offload_reference"].reading(tiny.llama(1))
    assert {p.device.type for p in away.parameters()} == {"meta"}  # between calls
    assert device_of(away) == device_of(base) == torch.device("cpu")
    assert torch.equal(reference_logps(away, tokens, 4), reference_logps(base, tokens, 4))
    ours, theirs = (kl_along(policy, x, tokens, tokens, 4) for x in (away, base))
    assert all(map(torch.equal, ours, theirs))
    noise = uniforms(0, 2, 6)
    drawn = [
        sample(
            x, [[2, 3], [4]], Decoding(max_new_tokens=6), noise, pad_id=tiny.PAD, eos_id=tiny.EOS
        )
        for x in (away, base)
    ]
    assert drawn[0] == drawn[1]


def test_what_is_scored_is_compiled_and_what_is_drawn_is_not(monkeypatch):
    """With a compiler that changes nothing and takes no time."""
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Callable:
        graphs.append(graph)
        return graph.forward

    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda x, **how: plain(x, backend=backend, **how))
    model = WAYS["compile"].learning(tiny.llama())
    sample(
        model, [[2, 3]], Decoding(max_new_tokens=6), uniforms(0, 1, 6),
        pad_id=tiny.PAD, eos_id=tiny.EOS,
    )  # fmt: skip
    assert not graphs
    found = [score(tiny.tokens(2), frozenset(), x).token_logps for x in (model, tiny.llama())]
    assert graphs
    assert_close(*found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Computing(precision="fp16"), r"model\.precision is 'fp16': one of float32, bf16"),
        (lambda: Computing(compile=True).learning(as_laid_out(tiny.llama(), "packed")),
         r"each would be compiled anew"),
        (lambda: Computing(workers=0), r"model\.workers is 0: one or more"),
        (lambda: Computing(workers=2, offload_reference=True), r"leave out one of them"),
        (lambda: accelerator("gpu"), r"device is 'gpu': one of auto, cpu, cuda"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_one_line(build, says):
    with pytest.raises(ComputingError, match=says) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_compiling_without_a_compiler_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ComputingError, match=r"needs a C\+\+ compiler, and none of c\+\+, g\+\+"):
        Computing(compile=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_told():
    with pytest.raises(ComputingError, match=r"device=cuda, and here is none"):
        accelerator("cuda")


def test_a_configuration_that_says_nothing_computes_as_ever():
    assert Computing.of({"layout": "padded", "micro_batch": 4}) == Computing()
    assert Computing.of({"precision": "bf16"}) == WAYS["bf16"]


@pytest.mark.parametrize(("layout", "prompts"), [("padded", 2), ("packed", 1)])
def test_a_prompt_counts_as_often_as_it_is_computed(layout, prompts):
    models = Models(as_laid_out(tiny.llama(), layout))
    prompt, better, worse, other = [2, 3, 4, 5], [6, 1], [7, 8, 1], [9]
    rows = PairRows(
        [(prompt, better), (other, worse)], [(prompt, worse), (other, better)], [1, 1], [0, 0]
    )
    batch = rows.batch([0, 1], tiny.PAD, "cpu")
    assert batch.cost(torch.tensor([0]), models) == 4 * prompts + 2 + 3
    assert batch.cost(torch.tensor([0, 1]), models) == (4 + 1) * prompts + 2 * (2 + 3)
