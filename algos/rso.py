"""The loss of Statistical Rejection Sampling Optimization (RSO): a hinge on DPO's margin.

Liu et al., 2023, https://arxiv.org/abs/2309.06657, hinge-norm; its γ is our β
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/dpo_trainer.py): hinge

Departures from that code: none known. The authors published none, and the paper also draws its
pairs by rejection sampling, which is a matter of the data. oat calls this hinge SLiC; SLiC-HF has no
reference, and a likelihood term.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs


@dataclass(frozen=True)
class RSO(FromPairs):
    """max(0, 1 − β [h_w − h_l]),  h = log π_θ(y|x) − log π_ref(y|x)."""

    beta: float = 0.05

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        return Loss(
            policy=Mean.over((1 - (chosen - rejected)).relu()),
            metrics={"chosen": chosen, "rejected": rejected},
        )
