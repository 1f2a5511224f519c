"""Length-normalized DPO, as in Tülu 3.

Lambert et al., 2024, https://arxiv.org/abs/2411.15124
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/dpo_trainer.py): sigmoid_norm

Departures from that code: none known. β is in reward per nat a token, so that it is some fifty times
DPO's; open-instruct calls the loss `dpo_norm`.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class DPONorm(FromPairs):
    """−log σ(β [h_w/|y_w| − h_l/|y_l|]),  h = log π_θ(y|x) − log π_ref(y|x)."""

    beta: float = 5.0

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.mean_logratios
        rejected = self.beta * pairs.rejected.mean_logratios
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            metrics={"chosen": chosen, "rejected": rejected},
        )
