"""Alignment via Optimal Transport (AOT), paired and unpaired.

Melnyk et al., 2024, https://arxiv.org/abs/2406.05882
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/dpo_trainer.py)

Departures from that code: sorts the whole batch, where that code sorts each micro-batch of each
process, in which one pair is DPO. Smoothed labels are left out. Up to TRL 0.24 the unpaired loss is
called `aot_pair`.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromPairs, Loss, Mean, Pairs
from .ops import PerResponse, bradley_terry, masked_sum, same_rank


@dataclass(frozen=True)
class Credit:
    partner: PerResponse  # the reference's margin of the rank that each policy's margin has


@dataclass(frozen=True)
class AOT(FromPairs, Credits):
    """−log σ(β [m_(i) − m_ref,(i)]),  m = log π(y_w|x) − log π(y_l|x), sorted over the batch.

    The policy's margins shall dominate the reference's: in distribution, not pair by pair.
    """

    needs = frozenset()
    credit_needs = frozenset({"token_ref_logps"})

    beta: float = 0.01

    def credit(self, pairs: Pairs, state: None, generator: torch.Generator):
        chosen, rejected = pairs.chosen, pairs.rejected
        reference = masked_sum(chosen.token_ref_logps, chosen.mask)
        reference = reference - masked_sum(rejected.token_ref_logps, rejected.mask)
        margin = chosen.logps - rejected.logps
        return Credit(same_rank(reference, margin.detach())), state

    def loss(self, pairs: Pairs) -> Loss:
        margin = pairs.chosen.logps - pairs.rejected.logps
        gain = self.beta * (margin - pairs.credit.partner)
        return Loss(policy=Mean.over(bradley_terry(gain)), metrics={"gain": gain})


@dataclass(frozen=True)
class UnpairedCredit:
    rejected: PerResponse  # the rejected h of the rank that each chosen one has
    chosen: PerResponse  # and the other way round


@dataclass(frozen=True)
class AOTUnpaired(FromPairs, Credits):
    """−log σ(β [h_w,(i) − h_l,(i)]),  h = log π_θ(y|x) − log π_ref(y|x), each sorted over the batch."""

    beta: float = 0.01

    def credit(self, pairs: Pairs, state: None, generator: torch.Generator):
        chosen, rejected = pairs.chosen.logratios.detach(), pairs.rejected.logratios.detach()
        return UnpairedCredit(same_rank(rejected, chosen), same_rank(chosen, rejected)), state

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        # Partners may sit in another micro-batch: each side takes its own gradient, and the chosen
        # side the value of both.
        raised = bradley_terry(chosen - self.beta * pairs.credit.rejected)
        lowered = bradley_terry(self.beta * pairs.credit.chosen - rejected)
        return Loss(
            policy=Mean.over(raised + lowered - lowered.detach()),
            metrics={"chosen": chosen, "rejected": rejected},
        )
