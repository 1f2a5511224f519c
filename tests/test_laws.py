"""What must hold of every algorithm in the zoo, without exceptions."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from algos import (
    ALGORITHMS,
    AOT,
    CDPO,
    DPO,
    DPOP,
    EXO,
    IPO,
    IRPO,
    LDDPO,
    RDPO,
    RPO,
    TDPO1,
    TDPO2,
    AOTUnpaired,
    BetaDPO,
    FDPOAlpha,
    FDPOForwardKL,
    IPOMean,
    RobustDPO,
)
from algos.core import (
    Batch,
    Credits,
    Labels,
    Loss,
    Mean,
    Pairs,
    Rankings,
    Responses,
    Rollouts,
    over_tensors,
    present,
)
from tests.samples import B, batch, credited, value


def all_on(cls):
    """With every knob turned on that is off at 0."""
    off = [f.name for f in dataclasses.fields(cls) if f.default == 0]
    return cls(**dict.fromkeys(off, 0.3))


DEFAULTS = {name: cls() for name, cls in ALGORITHMS.items()}
COSTLIER = {  # those that need more then
    f"{name}, all on": all_on(cls)
    for name, cls in ALGORITHMS.items()
    if all_on(cls).needs != cls().needs
}
EVERY = DEFAULTS | COSTLIER
every = pytest.mark.parametrize("algo", EVERY.values(), ids=EVERY)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def edited(edit, x):
    """Change the fields of a batch and of the batches in it: edit(batch, name, value) -> value."""
    if not dataclasses.is_dataclass(x):
        return x
    new = {k: edit(x, k, v) for k, v in present(x).items()}
    return type(x)(**{k: edited(edit, v) for k, v in new.items() if v is not None})


def without(names, data):
    """The batch without the fields of these names, wherever they are."""
    return edited(lambda x, name, v: None if name in names else v, data)


def tensors(data) -> list[torch.Tensor]:
    found = []
    over_tensors(lambda v: found.append(v) or v, data)
    return found


def leaves(data) -> list[torch.Tensor]:
    return [v for v in tensors(data) if v.requires_grad and v.is_leaf]


def optional_fields(x) -> set[str]:
    """Names of the optional fields of a batch and of the batches in it."""
    if not dataclasses.is_dataclass(x):
        return set()
    own = {f.name for f in dataclasses.fields(x) if f.default is None}
    return own.union(*(optional_fields(v) for v in vars(x).values()))


def all_needs(algo) -> frozenset[str]:
    return algo.needs | (algo.credit_needs if isinstance(algo, Credits) else frozenset())


def value_and_gradients(algo, data, batches=1):
    total = value(algo.loss(credited(algo, data, batches)))
    return total, torch.autograd.grad(total, leaves(data), materialize_grads=True)


# -- what an algorithm is


@pytest.mark.parametrize("algo", DEFAULTS.values(), ids=DEFAULTS)
def test_is_frozen_numbers_with_defaults(algo):
    with pytest.raises(dataclasses.FrozenInstanceError):
        algo.anything = 1
    assert all(type(f.default) in (int, float) for f in dataclasses.fields(algo))
    assert algo == type(algo)()


@every
def test_metrics_are_flat_finite_numbers_without_gradient(algo):
    for x in algo.loss(credited(algo, batch(algo))).metrics.values():
        assert x.ndim == 1
        assert x.is_floating_point()
        assert x.isfinite().all()
        assert not x.requires_grad


# -- what it reads


@every
def test_padding_is_never_read(algo):
    """Neither loss nor gradient may notice, whatever stands there."""
    data = batch(algo)
    mask = data.responses.mask if isinstance(data, Rollouts) else None

    def spoil(x, name, v):
        m = x.mask if isinstance(x, Responses) else mask
        is_token = isinstance(v, torch.Tensor) and v.ndim == 2 and v.is_floating_point()
        return v.where(m, torch.nan).detach().requires_grad_(v.requires_grad) if is_token else v

    spoilt = edited(spoil, data)
    assert_close(value_and_gradients(algo, spoilt), value_and_gradients(algo, data))
    metrics = [algo.loss(credited(algo, x)).metrics for x in (spoilt, data)]
    assert_close(*metrics)


@every
def test_reads_nothing_but_its_needs(algo):
    data = batch(algo)
    assert all_needs(algo) <= optional_fields(data)
    bare = without(optional_fields(data) - all_needs(algo), data)
    assert torch.equal(
        value(algo.loss(credited(algo, bare))), value(algo.loss(credited(algo, data)))
    )


@every
def test_what_only_credit_needs_is_not_scored_with_gradient(algo):
    if isinstance(algo, Credits):
        assert not algo.needs & algo.credit_needs
        data = credited(algo, batch(algo))
        bare = without(algo.credit_needs, data)
        assert torch.equal(value(algo.loss(bare)), value(algo.loss(data)))


@every
def test_a_credit_that_is_aside_reads_no_score_of_the_items(algo):
    if getattr(algo, "credit_is_aside", False):
        data = batch(algo)
        nobody = torch.full_like(data.responses.token_logps, torch.nan)
        unread = data.responses.replace(token_logps=nobody, token_ref_logps=nobody)
        first, second = (credited(algo, x).credit for x in (data, data.replace(responses=unread)))
        assert first == second


@pytest.mark.parametrize(
    ("algo", "need"), [(algo, need) for algo in EVERY.values() for need in sorted(algo.needs)]
)
def test_loss_says_what_is_missing(algo, need):
    bare = without({need}, credited(algo, batch(algo)))
    with pytest.raises(LookupError, match=need):
        algo.loss(bare)


@pytest.mark.parametrize("cls", ALGORITHMS.values())
def test_a_class_tells_all_that_it_may_need(cls):
    """One whose coefficients are 0 may need less."""
    assert cls().needs <= all_on(cls).needs == cls.needs


@pytest.mark.parametrize(
    ("cls", "need"),
    [
        (cls, need)
        for cls in ALGORITHMS.values()
        if issubclass(cls, Credits)
        for need in sorted(cls.credit_needs)
    ],
)
def test_credit_says_what_is_missing(cls, need):
    with pytest.raises(LookupError, match=need):
        credited(cls(), without({need}, batch(cls())))


@every
def test_credit_is_asked_for_before_it_is_read(algo):
    if isinstance(algo, Credits):
        with pytest.raises(LookupError, match="credit"):
            algo.loss(batch(algo))


@every
def test_credit_carries_no_gradient(algo):
    data = credited(algo, batch(algo))
    if isinstance(algo, Credits):
        found = tensors(data.credit)
        assert found
        assert not any(v.requires_grad for v in found)


# -- how its parts add up


def test_a_loss_by_hand():
    # ½ (1 · 1 + 2 · 0 + 3 · 2) / 3, and a part that weighs nothing
    terms, weights = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 2.0])
    loss = Loss(policy=Mean(terms, weights, coef=0.5), value=Mean(terms, 0 * weights))
    assert loss.weights == {"policy": 3.0, "value": 0.0}
    assert_close(value(loss), torch.tensor(0.5 * 7 / 3))
    assert_close(loss.share({"policy": torch.tensor(6.0)}, {"policy"}), torch.tensor(0.5 * 7 / 6))
    assert loss.share(loss.weights, {"value"}) == 0


@every
@pytest.mark.parametrize("cut", [1, 2, 5])
def test_micro_batches_add_up(algo, cut):
    data = credited(algo, batch(algo))
    if isinstance(data, Rankings):
        cut = max(cut, 2)  # a slice never parts a prompt: they begin at 0, 2 and 5
    whole = algo.loss(data)
    parts = [algo.loss(data[:cut]), algo.loss(data[cut:])]
    assert_close(sum(p.share(whole.weights) for p in parts), value(whole))
    for name, weight in whole.weights.items():
        assert_close(sum(p.weights[name] for p in parts), weight)


@every
def test_the_order_of_rows_does_not_matter(algo):
    """Responses to one prompt keep together, where they must stand side by side."""
    data = batch(algo)
    sides = torch.tensor([5, 4, 2, 3, 1, 0])  # prompts and their responses, turned round
    order = sides if isinstance(data, Rankings) else torch.randperm(B)
    shuffled = over_tensors(lambda v: v[order] if v.ndim else v, data)
    before, after = (value(algo.loss(credited(algo, x))) for x in (data, shuffled))
    assert_close(after, before)
    one, other = (
        torch.autograd.grad(v, leaves(data), materialize_grads=True) for v in (before, after)
    )
    assert_close(other, one)


@every
def test_weights_do_not_depend_on_logps(algo):
    """So that every denominator is known before the first forward with gradient."""
    data = credited(algo, batch(algo))
    scored = {
        *("token_logps", "token_ref_logps", "token_old_logps", "token_ref_kl"),
        *("token_entropy", "token_collision", "values", "old_values", "score"),
    }
    blank = edited(lambda x, name, v: torch.zeros_like(v) if name in scored else v, data)
    parts, blanks = algo.loss(data).parts, algo.loss(blank).parts
    assert parts.keys() == blanks.keys()
    for name in parts:
        assert torch.equal(parts[name].weights, blanks[name].weights)
        assert not parts[name].weights.requires_grad


# -- numbers


def doubled(x, name, v):
    """Twice the precision, the same numbers."""
    if not (isinstance(v, torch.Tensor) and v.is_floating_point()):
        return v
    return v.detach().double().requires_grad_(v.requires_grad)


@every
def test_single_precision_is_enough(algo):
    data = batch(algo)
    single, double = (value_and_gradients(algo, x) for x in (data, edited(doubled, data)))
    assert single[0].dtype == torch.float32
    assert double[0].dtype == torch.float64
    for x, y in zip((single[0], *single[1]), (double[0], *double[1]), strict=True):
        assert_close(x.double(), y, rtol=1e-5, atol=1e-5)


def is_tokens(v: Any) -> bool:
    return isinstance(v, torch.Tensor) and v.ndim == 2


def far(by: float):
    """Log-ratios of this many nats a token to the reference."""

    def edit(x, name, v):
        return x.token_logps.detach() - by if name == "token_ref_logps" else v

    return edit


def constant(number: float, *names: str):
    return lambda x, name, v: (
        torch.full_like(v, number).requires_grad_(v.requires_grad) if name in names else v
    )


def spread(by: float, *names: str):
    """From −by to by over the rows."""

    def edit(x, name, v):
        return torch.linspace(-by, by, B).requires_grad_(v.requires_grad) if name in names else v

    return edit


def scores_apart(by: float):
    """Rewards of chosen and rejected this far apart."""

    def edit(x, name, v):
        if name not in ("chosen", "rejected") or not isinstance(v, Responses):
            return v
        there = torch.full_like(v.score, by if name == "chosen" else -by)
        return v.replace(score=there.requires_grad_())

    return edit


def first_token(x, name, v):
    return v[:, :1].detach().requires_grad_(v.requires_grad) if is_tokens(v) else v


def first_response_empty(x, name, v):
    return v & (torch.arange(B) > 0)[:, None] if name == "mask" else v


DEGENERATE = {
    "ordinary": lambda x, name, v: v,
    "one token": first_token,
    "an empty response": first_response_empty,
    "no response": constant(False, "mask"),
    "groups of one": lambda x, name, v: torch.arange(B) if name == "prompt" else v,
    "equal rewards": constant(1.0, "rewards", "reward"),
}

EXTREME = {
    "one token": first_token,
    "hopeless": constant(-1e4, "token_logps"),
    "certain": constant(0.0, "token_logps"),
    "hopeless for everybody": constant(-1e4, "token_logps", "token_ref_logps", "token_old_logps"),
    "once hopeless": constant(-1e4, "token_old_logps"),
    "hopeless for the reference": constant(-1e4, "token_ref_logps"),
    "far above the reference": far(1e3),
    "far below the reference": far(-1e3),
    "a large drift": constant(1e3, "token_ref_kl"),
    "scores right and far apart": scores_apart(1e3),
    "scores wrong and far apart": scores_apart(-1e3),
    "scores all over the place": spread(1e4, "score"),
    "rewards all over the place": spread(1e4, "reward", "rewards"),
}


def everything_finite(algo, data):
    total, gradients = value_and_gradients(algo, data)
    metrics = algo.loss(credited(algo, data)).metrics.values()
    assert all(x.isfinite().all() for x in (total, *gradients, *metrics))
    return gradients


@every
@pytest.mark.parametrize("case", DEGENERATE)
def test_first_step_is_finite(algo, case):
    """At π_θ = π_ref every log-ratio is exactly zero, and so is every KL."""
    gradients = everything_finite(algo, edited(DEGENERATE[case], batch(algo, at_reference=True)))
    assert case != "ordinary" or any(g.any() for g in gradients)


@every
@pytest.mark.parametrize("case", EXTREME)
def test_hard_numbers_give_finite_ones(algo, case):
    everything_finite(algo, edited(EXTREME[case], batch(algo)))


# -- which way it goes


def undecided(pairs: Pairs) -> Pairs:
    """The chosen response twice: a loss without reference, too, has no opinion yet."""
    names = ("token_logps", "token_ref_logps", "mask")
    twin = {x: vars(pairs.chosen)[x].detach().clone() for x in names}
    twin["token_logps"].requires_grad_()
    return pairs.replace(rejected=pairs.rejected.replace(**twin))


@every
def test_first_step_prefers_what_was_preferred(algo):
    data = batch(algo, at_reference=True)
    if isinstance(data, Pairs):
        data = undecided(data)
    value(algo.loss(credited(algo, data))).backward()

    def ascends(responses, better) -> bool:
        """Does descent raise what the loss learns through, where that is better?"""
        tokens, score = responses.token_logps.grad, responses.score.grad
        assert (tokens is None) != (score is None), "a policy or a reward model learns"
        grad = score[:, None] if tokens is None else tokens
        up = torch.where(better[:, None], -grad, grad)
        return bool((up > 0).all() if tokens is None else (up[responses.mask] > 0).all())

    yes = torch.ones(B, dtype=torch.bool)
    if isinstance(data, Pairs):
        prefers = ascends(data.chosen, yes) and ascends(data.rejected, ~yes)
        assert prefers == (not algo.first_step), algo.first_step
        if "target" in algo.needs:
            assert ascends(data.target, yes)
    elif isinstance(data, Rankings):
        grad = torch.stack([x.grad.flatten() for x in leaves(data) if x.grad is not None])
        assert len(grad) == 1, "a policy or a reward model learns"
        up = -grad.view(B, -1).sum(-1)
        best, worst = torch.tensor([0, 3]), torch.tensor([1, 4])  # of two prompts
        assert (up[best] > 0).all()
        assert (up[worst] <= 0).all()  # a hinge may be content
    elif isinstance(data, Rollouts):
        advantages = credited(algo, data).credit.advantages
        advantages = advantages if advantages.ndim == 2 else advantages[:, None]
        mask = data.responses.mask
        assert ((data.responses.token_logps.grad * advantages)[mask] < 0).all()
    elif isinstance(data, Labels):
        prefers = ascends(data.responses, data.desirable)
        assert prefers == (not algo.first_step), algo.first_step
    else:
        assert ascends(data.responses, yes)


KNOBS = [(cls, knob.name) for cls in ALGORITHMS.values() for knob in dataclasses.fields(cls)]


@pytest.mark.parametrize(("cls", "knob"), KNOBS, ids=[f"{c.__name__}.{k}" for c, k in KNOBS])
def test_every_knob_turns_something(cls, knob):
    """By itself, or where what it turns is on; at once, or in the next batch, for what is remembered."""
    data, default = batch(cls()), getattr(cls(), knob)
    if isinstance(data, Rollouts):  # so far from the reference that a price of the distance matters
        far = data.responses.token_ref_logps - 1
        data = data.replace(responses=data.responses.replace(token_ref_logps=far))
    # Off, unbounded, or neither: a hinge may need the larger, a narrow clip one far larger, and at a
    # fifth of its limit DAPO's price of length begins at the first token.
    near = (default * 0.2, default * 10, default * 1000)
    others = {0.0: (0.3,), math.inf: (0.01,)}.get(default, near)
    assert any(
        not torch.equal(a, b)
        for algo in (cls(), all_on(cls))
        for x in others
        for batches in (1, 2)
        for a, b in zip(
            value_and_gradients(algo, data, batches)[1],
            value_and_gradients(dataclasses.replace(algo, **{knob: x}), data, batches)[1],
            strict=True,
        )
    )


# -- relatives


@pytest.mark.parametrize(
    ("special", "general"),
    [
        (BetaDPO(beta=0.3, alpha=0.0, keep=1.0), DPO(beta=0.3)),
        (CDPO(beta=0.3, epsilon=0.0), DPO(beta=0.3)),
        (DPOP(beta=0.3, lam=0.0), DPO(beta=0.3)),
        (FDPOAlpha(beta=0.3, alpha=1.0), FDPOForwardKL(beta=0.3)),
        (IRPO(beta=0.3, alpha=0.0), DPO(beta=0.3)),
        (LDDPO(beta=0.3, alpha=1.0), DPO(beta=0.3)),
        (RDPO(beta=0.3, alpha=0.0), DPO(beta=0.3)),
        (RobustDPO(beta=0.3, epsilon=0.0), DPO(beta=0.3)),
        (RPO(beta=0.3, eta=0.0), DPO(beta=0.3)),
        (TDPO2(beta=0.3, alpha=0.0), DPO(beta=0.3)),
    ],
    ids=str,
)
def test_special_case(special, general):
    """In value and in gradient."""
    pairs = batch(general)
    assert_close(value_and_gradients(special, pairs), value_and_gradients(general, pairs))


@pytest.mark.parametrize("aot", [AOT(beta=0.3), AOTUnpaired(beta=0.3)], ids=str)
def test_aot_of_one_pair_is_dpo(aot):
    one = edited(lambda x, n, v: v[:1].detach().requires_grad_(v.requires_grad)
                 if isinstance(v, torch.Tensor) else v, batch(aot))  # fmt: skip
    assert_close(value_and_gradients(aot, one), value_and_gradients(DPO(beta=0.3), one))


def test_a_small_power_makes_f_dpo_a_dpo():
    pairs = edited(doubled, batch(DPO()))
    small = value_and_gradients(FDPOAlpha(beta=0.3, alpha=1e-7), pairs)
    assert_close(small, value_and_gradients(DPO(beta=0.3), pairs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("same_lengths", [RDPO(alpha=0.7), LDDPO(alpha=0.2)], ids=str)
def test_length_is_nothing_where_lengths_are_equal(same_lengths):
    pairs = batch(DPO())
    pairs = pairs.replace(rejected=pairs.rejected.replace(mask=pairs.chosen.mask))
    assert_close(value_and_gradients(same_lengths, pairs), value_and_gradients(DPO(), pairs))


def test_chosen_responses_that_rose_cost_nothing_in_dpop():
    pairs = batch(DPO())
    chosen = pairs.chosen
    risen = chosen.replace(token_ref_logps=chosen.token_logps.detach() - 1)
    pairs = pairs.replace(chosen=risen)
    assert_close(value_and_gradients(DPOP(beta=0.1), pairs), value_and_gradients(DPO(), pairs))


def test_exo_and_cdpo_pull_to_the_same_margin():
    """logit(1 − ε) / β, from either side; the divergence of EXO is then zero."""
    for z, sign in [(0.9, -1), (1.1, 1)]:
        for algo in (EXO(beta=0.3, epsilon=0.05), CDPO(beta=0.3, epsilon=0.05)):
            h = torch.tensor([[z * math.log(19) / 0.3]], requires_grad=True)
            still = Responses(
                token_logps=torch.zeros(1, 1),
                token_ref_logps=torch.zeros(1, 1),
                mask=torch.ones(1, 1).bool(),
            )
            value(algo.loss(Pairs(chosen=still.replace(token_logps=h), rejected=still))).backward()
            assert h.grad.sign() == sign


def test_two_tdpos_differ_by_what_the_chosen_drift_teaches():
    """One value at α = 1; ∇L₁ − ∇L₂ = −β σ(−z) ∇K_w."""
    pairs = batch(TDPO1())
    one, two = TDPO1(beta=0.3), TDPO2(beta=0.3, alpha=1.0)
    (first, grads), (second, others) = (value_and_gradients(a, pairs) for a in (one, two))
    assert_close(first, second)
    z = -torch.expm1(one.loss(pairs).parts["policy"].terms.neg())  # 1 − σ(z) = σ(−z)
    want = -0.3 * z[:, None] * pairs.chosen.mask / B
    for leaf, g, other in zip(leaves(pairs), grads, others, strict=True):
        expected = want if leaf is pairs.chosen.token_ref_kl else torch.zeros_like(g)
        assert_close(g - other, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("tdpo", [TDPO1(), TDPO2(alpha=1.0)], ids=str)
def test_equal_drifts_make_tdpo_a_dpo(tdpo):
    pairs = batch(tdpo)
    twin = edited(constant(0.2, "token_ref_kl"), pairs)
    twin = twin.replace(rejected=twin.rejected.replace(mask=twin.chosen.mask))
    assert_close(value(tdpo.loss(twin)), value(DPO().loss(twin)))


@pytest.mark.parametrize("tdpo", [TDPO1(), TDPO2()], ids=str)
def test_without_drift_tdpo_is_dpo_at_the_reference(tdpo):
    pairs = batch(tdpo, at_reference=True)
    for side in (pairs.chosen, pairs.rejected):
        g, h = (
            torch.autograd.grad(value(a.loss(pairs)), side.token_logps)[0] for a in (tdpo, DPO())
        )
        assert_close(g, h)


def test_a_mean_and_a_sum_agree_on_one_token():
    one = edited(lambda x, n, v: v & (torch.arange(5) == 0) if n == "mask" else v, batch(IPO()))
    assert_close(value_and_gradients(IPOMean(), one), value_and_gradients(IPO(), one))


def test_the_parts_of_a_loss_can_be_taken_alone():
    for algo in (cls() for cls in ALGORITHMS.values()):
        loss = algo.loss(credited(algo, batch(algo)))
        alone = [loss.share(loss.weights, {name}) for name in loss.parts]
        assert_close(torch.stack(alone).sum(), value(loss))


def test_what_is_absent_is_no_attribute():
    bare = without({"token_ref_logps"}, batch(DPO()))
    assert isinstance(bare, Batch)
    assert not hasattr(bare.chosen, "token_ref_logps")
    assert not hasattr(bare.chosen, "logratios")
    assert hasattr(bare.chosen, "score")
