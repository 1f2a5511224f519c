"""What an algorithm is: the tensors it is given, the credit it assigns, the loss it returns.

B responses of at most T tokens, padded on the right. `token_*` is (B, T); its plain
namesake is the sum over the response, (B,). Log-probabilities and KL are in nats, natural
logarithms in the precision of the batch; rewards are in the units of whoever gives them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .ops import (
    Group,
    Mask,
    PerResponse,
    PerToken,
    clipped_surrogate,
    clipped_value,
    masked,
    masked_sum,
)

X = TypeVar("X")


class NotProvided(LookupError, AttributeError):
    """A quantity was read that nobody asked for. (An AttributeError, so that `hasattr` says no.)"""


def optional() -> Any:
    """A field that the bench fills for those algorithms that name it in `needs`."""
    return field(default=None, repr=False)


class Batch:
    """Reading an optional field that is not there is an error, which says what to do."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if value is None:
            needs = f"add {name!r} to `needs`, or to `credit_needs` where only `credit` reads it"
            how = "inherit `Credits`" if name == "credit" else needs
            raise NotProvided(f"{type(self).__name__}.{name} was not provided: {how}")
        return value

    def replace(self: X, **changes: Any) -> X:
        """A copy with other values in some fields; None takes a field away."""
        return type(self)(**present(self) | changes)

    def __getitem__(self: X, rows: slice) -> X:
        """Some rows, those of the credit included."""
        return rows_of(self, rows)


def present(x: Any) -> dict[str, Any]:
    """The fields of a batch that are there."""
    return {name: value for name, value in vars(x).items() if value is not None}


def over_tensors(f: Callable[..., Tensor], *batches: Any) -> Any:
    """Apply f to the tensors of batches (or credits) of one kind, however nested."""
    first = batches[0]
    if isinstance(first, Tensor):
        return f(*batches)
    if is_dataclass(first):
        inner = {name: [vars(b)[name] for b in batches] for name in present(first)}
        return type(first)(**{name: over_tensors(f, *xs) for name, xs in inner.items()})
    return first


def rows_of(x: X, rows: slice) -> X:
    """Some rows of a batch or of its credit. What is a single number belongs to all rows."""
    return over_tensors(lambda v: v[rows] if v.ndim else v, x)


# -- what an algorithm is given


@dataclass(frozen=True, kw_only=True)
class Responses(Batch):
    """B responses as the policy scores them and, where needed, the frozen reference."""

    token_logps: PerToken  # log π_θ(y_t | x, y_<t), at temperature 1 or at that of sampling
    mask: Mask  # True on response tokens; False on the prompt, on padding and on other speakers
    token_ref_logps: PerToken = optional()  # log π_ref(y_t | x, y_<t)
    token_ref_kl: PerToken = optional()  # KL(π_ref ‖ π_θ) over the vocabulary, at each token
    token_entropy: PerToken = optional()  # −Σ_v π_θ(v) log π_θ(v)
    token_collision: PerToken = optional()  # log Σ_v π_θ(v)²
    token_contrast: PerToken = optional()  # given: log π₊ − log π₋ under two other models
    reward: PerResponse = optional()  # given
    win_rate: PerResponse = optional()  # given: how often it beats the reference's answers
    score: PerResponse = (
        optional()
    )  # of a head in training, read at the last token; any real number
    by_reference: Bool[Tensor, " B"] = optional()  # True where the reference wrote it

    @property
    def lengths(self) -> PerResponse:
        """Tokens of each response, as a float; 0 for an empty one."""
        return self.mask.sum(-1).to(self.token_logps.dtype)

    @property
    def logps(self) -> PerResponse:
        """log π_θ(y | x)."""
        return masked_sum(self.token_logps, self.mask)

    @property
    def token_nll(self) -> PerToken:
        """−log π_θ of each token, 0 outside the response."""
        return -masked(self.token_logps, self.mask)

    @property
    def mean_logps(self) -> PerResponse:
        """log π_θ(y | x) / |y|, in nats a token; 0 for an empty response."""
        return self.logps / self.lengths.clamp(min=1)

    @property
    def token_logratios(self) -> PerToken:
        """log π_θ − log π_ref of each token, 0 outside the response."""
        return masked(self.token_logps - self.token_ref_logps, self.mask)

    @property
    def logratios(self) -> PerResponse:
        """h = log π_θ(y | x) − log π_ref(y | x)."""
        return self.token_logratios.sum(-1)

    @property
    def mean_logratios(self) -> PerResponse:
        """h / |y|, in nats a token; 0 for an empty response."""
        return self.logratios / self.lengths.clamp(min=1)

    @property
    def ref_kl(self) -> PerResponse:
        """Σ_t KL(π_ref ‖ π_θ) along the response."""
        return masked_sum(self.token_ref_kl, self.mask)


@dataclass(frozen=True, kw_only=True)
class Demonstrations(Batch):
    """Responses worth imitating."""

    responses: Responses
    credit: Any = optional()


@dataclass(frozen=True, kw_only=True)
class Pairs(Batch):
    """One preferred and one dispreferred response to each of B prompts."""

    chosen: Responses
    rejected: Responses
    p_chosen: PerResponse = optional()  # P(chosen ≻ rejected) of the labeller; 1 if labels are hard
    margin: PerResponse = optional()  # by how much, in units of reward; 0 where nobody said
    target: Responses = optional()  # a third response, to imitate
    credit: Any = optional()


@dataclass(frozen=True, kw_only=True)
class Labels(Batch):
    """Single responses, each marked desirable or not."""

    responses: Responses
    desirable: Bool[Tensor, " B"]
    weight: PerResponse = optional()  # how much each label counts; 1 where nobody said
    mismatched: Responses = optional()  # to each prompt, a response to another prompt
    credit: Any = optional()


@dataclass(frozen=True, kw_only=True)
class Rankings(Batch):
    """Several responses to each prompt, with external rewards; a prompt's stand side by side.

    How many may differ by prompt. A slice never parts a prompt.
    """

    responses: Responses  # with `reward`
    prompt: Group  # responses to one prompt share a number
    credit: Any = optional()


@dataclass(frozen=True, kw_only=True)
class Critic(Batch):
    """State values at each token, before it is said, in units of reward."""

    values: PerToken  # V_ψ now, with gradient
    old_values: PerToken  # V at sampling time


@dataclass(frozen=True, kw_only=True)
class Rollouts(Batch):
    """Responses sampled by an older policy, with their rewards."""

    responses: Responses
    token_old_logps: PerToken  # under the policy that sampled
    rewards: PerResponse  # of the whole response; a missing end is already paid for
    prompt: Group  # responses to one prompt share a number
    finished: Bool[Tensor, " B"]  # False where the response was cut at the length limit
    token_rewards: PerToken = optional()  # given beside `rewards`, at each token
    token_discounts: PerToken = optional()  # the price of the step to the next response token
    baselines: PerResponse = optional()  # the greedy answer's reward
    critic: Critic = optional()
    pretrain: Responses = optional()  # as many rows of plain text as there are rollouts
    credit: Any = optional()

    @property
    def token_old_logratios(self) -> PerToken:
        """log π_θ − log π_old of each token, 0 outside the response."""
        return masked(self.responses.token_logps - self.token_old_logps, self.responses.mask)

    @property
    def old_logratios(self) -> PerResponse:
        """log π_θ(y | x) − log π_old(y | x)."""
        return self.token_old_logratios.sum(-1)

    @property
    def mean_old_logratios(self) -> PerResponse:
        """The same / |y|, in nats a token; 0 for an empty response."""
        return self.old_logratios / self.responses.lengths.clamp(min=1)

    @property
    def token_ratios(self) -> PerToken:
        """π_θ / π_old, 1 outside the response; at most e²⁰, for an infinite one has no gradient."""
        return self.token_old_logratios.clamp(max=20).exp()


# -- what it returns


@dataclass(frozen=True)
class Mean:
    """A weighted mean, not yet divided. Weights come from masks, labels and credit only."""

    terms: Float[Tensor, "*shape"]  # (B,) or (B, T)
    weights: Float[Tensor, "*shape"]
    coef: float = 1.0  # of this mean in the loss

    @classmethod
    def over(
        cls, terms: PerResponse | PerToken, mask: Mask | None = None, coef: float = 1.0
    ) -> "Mean":
        """Every item, or every masked token, counts the same."""
        return cls(terms, torch.ones_like(terms) if mask is None else mask.to(terms.dtype), coef)

    @property
    def total(self) -> Float[Tensor, ""]:
        """The numerator, without `coef`."""
        return (self.terms * self.weights).sum()

    @property
    def weight(self) -> Float[Tensor, ""]:
        """The denominator."""
        return self.weights.sum()


class Loss:
    """A sum of named weighted means: Loss(policy=Mean(...), value=Mean(..., coef=0.1)).

    The mean of micro-batch means is not the mean of the batch. So nothing is divided here:
    each part is divided by its own weight in the whole batch, which is known beforehand.
    Metrics are flat, one number an item, and averaged over all items.
    """

    def __init__(self, *, metrics: Mapping[str, Tensor] | None = None, **parts: Mean):
        self.parts = parts
        self.metrics = {name: x.detach() for name, x in (metrics or {}).items()}

    def __add__(self, other: "Loss") -> "Loss":
        """The parts and the metrics of both."""
        return Loss(**self.parts, **other.parts, metrics=self.metrics | other.metrics)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The denominator of each part in these rows; those of all rows add up."""
        return {name: part.weight.detach() for name, part in self.parts.items()}

    def share(
        self, weights: Mapping[str, Tensor], only: Collection[str] | None = None
    ) -> Float[Tensor, ""]:
        """What these rows contribute to the loss of a batch with these weights.

        A part that weighs nothing in the whole batch contributes nothing.
        """
        shares = [
            part.coef * part.total / torch.where(weights[name] == 0, 1.0, weights[name])
            for name, part in self.parts.items()
            if only is None or name in only
        ]
        return torch.stack(shares).sum()


def actor_critic(rollouts: Rollouts, clip: float, value_clip: float, value_coef: float) -> Loss:
    """The two parts of a policy and its critic, given `advantages` and `returns` of each token:

    −min(ρ A, clip(ρ, 1 ± ε) A) + c ½ max[(V − R)², (V′ − R)²],  ρ = π_θ / π_old, V′ within ε_v of V_old.
    """
    mask, ratios, credit = rollouts.responses.mask, rollouts.token_ratios, rollouts.credit
    policy = clipped_surrogate(ratios, credit.advantages, clip)

    values = masked(rollouts.critic.values, mask)
    old_values = masked(rollouts.critic.old_values, mask)
    value = clipped_value(values, old_values, credit.returns, value_clip)

    clipped = policy > -ratios * credit.advantages
    return Loss(
        policy=Mean.over(policy, mask),
        value=Mean.over(value, mask, coef=value_coef),
        metrics={
            "ratio": ratios[mask],
            "clipfrac": clipped.to(ratios.dtype)[mask],
            "value": values[mask],
        },
    )


# -- what it learns from; `needs` are the optional fields that `loss` reads, by name. An instance whose
# coefficients are 0 may need less than its class.


class FromDemonstrations(ABC):
    """Learns from responses worth imitating."""

    needs: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def loss(self, batch: Demonstrations, /) -> Loss: ...


class FromPairs(ABC):
    """Learns from chosen and rejected responses, whoever wrote or ranked them."""

    needs: ClassVar[frozenset[str]] = frozenset({"token_ref_logps"})
    first_step: ClassVar[str] = ""  # why the first may not raise all chosen and lower all rejected

    @abstractmethod
    def loss(self, batch: Pairs, /) -> Loss: ...


class FromLabels(ABC):
    """Learns from single responses marked good or bad."""

    needs: ClassVar[frozenset[str]] = frozenset({"token_ref_logps"})
    first_step: ClassVar[str] = ""  # why the first may not raise all good and lower all bad

    @abstractmethod
    def loss(self, batch: Labels, /) -> Loss: ...


class FromRankings(ABC):
    """Learns from several scored responses to each prompt."""

    needs: ClassVar[frozenset[str]] = frozenset({"token_ref_logps"})

    @abstractmethod
    def loss(self, batch: Rankings, /) -> Loss: ...


class FromRollouts(ABC):
    """Learns from its own samples and their rewards."""

    needs: ClassVar[frozenset[str]] = frozenset({"token_ref_logps"})

    @abstractmethod
    def loss(self, batch: Rollouts, /) -> Loss: ...


class Credits(ABC):
    """Looks at the whole batch, remembers, or draws, before any gradient is taken.

    `loss` finds the result, cut to its rows, in `batch.credit`: a dataclass of tensors, where one
    with dimensions has a row per item and a single number belongs to all.
    """

    credit_needs: ClassVar[frozenset[str]] = frozenset()  # what `credit` reads and `loss` does not
    credit_is_aside: ClassVar[bool] = False  # it reads of `credit_needs`, and no score of the items

    def start(self) -> Any:
        """The state before the first batch, a dataclass of tensors; None remembers nothing."""
        return None

    @abstractmethod
    def credit(self, batch: Any, state: Any, generator: torch.Generator, /) -> tuple[Any, Any]:
        """Once per batch (or batch of rollouts), without gradient: (credit, next state).

        The batch is whole, gathered over micro-batches and ranks, and scored as far as `needs` and
        `credit_needs` ask; the passes with gradient score `needs` alone. Where `credit_is_aside`, the
        items themselves are not scored yet: their numbers are zero.
        """
