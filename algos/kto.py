"""Kahneman-Tversky Optimization (KTO).

Ethayarajh et al., 2024, https://arxiv.org/abs/2402.01306
Code: https://github.com/ContextualAI/HALOs (4831988, train/trainers.py)

Departures from that code: z0 averages over all mismatched responses, where that code leaves out those
whose log-ratio is exactly zero, as every one is at the first step. What others run under this name
differs in z0: TRL takes one process's batch; OpenRLHF and the `kto_pair` of older TRL take the mean
log-ratio of the other half of the pairs, matched, and with its gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .core import Credits, FromLabels, Labels, Loss, Mean


@dataclass(frozen=True)
class Credit:
    z0: Float[Tensor, ""]  # estimate of KL(π_θ ‖ π_ref), in nats a response


@dataclass(frozen=True)
class KTO(FromLabels, Credits):
    """λ_D σ(β [z0 − h]) where desirable, λ_U σ(β [h − z0]) where not,  h = log π_θ(y|x) − log π_ref(y|x).

    z0 = max(0, mean of log π_θ(y′|x) − log π_ref(y′|x) over the batch), y′ an answer to another prompt.
    """

    credit_needs = frozenset({"mismatched"})
    credit_is_aside = True

    beta: float = 0.1
    desirable_weight: float = 1.0  # λ_D; λ_D n_D / (λ_U n_U) should be 1 to 3/2
    undesirable_weight: float = 1.0  # λ_U

    def credit(self, labels: Labels, state: None, generator: torch.Generator):
        return Credit(labels.mismatched.logratios.mean().clamp(min=0).detach()), state

    def loss(self, labels: Labels) -> Loss:
        gain = self.beta * (labels.responses.logratios - labels.credit.z0)
        loss_if_good = self.desirable_weight * torch.sigmoid(-gain)
        loss_if_bad = self.undesirable_weight * torch.sigmoid(gain)
        return Loss(
            policy=Mean.over(torch.where(labels.desirable, loss_if_good, loss_if_bad)),
            metrics={"gain": gain},
        )
