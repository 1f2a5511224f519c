"""Nash Mirror Descent (Nash-MD), its policy gradient.

Munos et al., 2023, https://arxiv.org/abs/2312.00886, section 7, Nash-MD-PG
Code: https://github.com/huggingface/trl (f2cd577, trl/experimental/nash_md/nash_md_trainer.py)

Departures from that code: the pull towards the reference is that of the whole response, as in the
paper; the code weighs each token with its own log-ratio alone, which forgets what the choice of a
token means for those behind it. The opponent is the bench's to draw: π_θ^(1 − β) π_ref^β, token by token
as in both, without gradient. The paper's best β are 0.125 to 0.375.
"""

from dataclasses import dataclass

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerResponse, k1, masked_sum


@dataclass(frozen=True)
class Credit:
    advantages: PerResponse


@dataclass(frozen=True)
class NashMD(FromRollouts, Credits):
    """−[P(y ≻ y′) − ½ − τ log π_old(y|x) / π_ref(y|x)] log π_θ(y|x),  y′ of the opponent.

    `rewards` are P(y ≻ y′), how probably the answer beats that of the opponent.
    """

    needs = frozenset()
    credit_needs = frozenset({"token_ref_logps"})

    tau: float = 0.008

    def credit(self, rollouts: Rollouts, state: None, generator):
        responses = rollouts.responses
        kl = k1(rollouts.token_old_logps - responses.token_ref_logps)
        drift = masked_sum(kl, responses.mask)
        return Credit(rollouts.rewards - 0.5 - self.tau * drift), state

    def loss(self, rollouts: Rollouts) -> Loss:
        advantages = rollouts.credit.advantages
        return Loss(
            policy=Mean.over(-advantages * rollouts.responses.logps),
            metrics={"advantage": advantages},
        )
