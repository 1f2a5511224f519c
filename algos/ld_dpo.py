"""Length-desensitized DPO (LD-DPO).

Liu et al., 2024, https://arxiv.org/abs/2409.06411
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/dpo_trainer.py): ld_alpha

Departures from that code: none known. Policy and reference are treated alike; LLaMA-Factory and TRL
up to 0.24 leave the reference whole, so that there the loss at the reference is not log 2.
"""

from dataclasses import dataclass

import torch

from .core import FromPairs, Loss, Mean, Pairs, Responses
from .ops import PerResponse, bradley_terry


@dataclass(frozen=True)
class LDDPO(FromPairs):
    """−log σ(β [h_w − h_l]),  h = Σ_{t ≤ m} h_t + α Σ_{t > m} h_t,  m = min(|y_w|, |y_l|).

    h_t = log π_θ(y_t|x, y_<t) − log π_ref(y_t|x, y_<t): what one response has more than the other
    counts less.
    """

    beta: float = 0.1
    alpha: float = 0.5  # 1 recovers DPO

    def loss(self, pairs: Pairs) -> Loss:
        shared = torch.minimum(pairs.chosen.lengths, pairs.rejected.lengths)
        chosen = self.beta * self.logratios(pairs.chosen, shared)
        rejected = self.beta * self.logratios(pairs.rejected, shared)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            metrics={"chosen": chosen, "rejected": rejected},
        )

    def logratios(self, responses: Responses, shared: PerResponse) -> PerResponse:
        """h with the tokens past `shared` scaled by α."""
        tail = responses.mask.cumsum(-1) > shared[:, None]
        return torch.where(tail, self.alpha, 1.0).mul(responses.token_logratios).sum(-1)
