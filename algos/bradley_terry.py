"""Reward model from pairs, after Bradley and Terry (RM), also as a language model beside it.

Ouyang et al., 2022, https://arxiv.org/abs/2203.02155, eq. 1, for two answers to a prompt
Touvron et al., 2023, https://arxiv.org/abs/2307.09288, eq. 2, for the margin
Zheng et al., 2023, https://arxiv.org/abs/2307.04964, eq. 2, for the language model
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/reward_trainer.py)
Code: https://github.com/OpenLMLab/MOSS-RLHF (4865d82, rm/reward_trainer.py): BradleyTerryLM

Departures from that code: labels may be soft (Lee et al., 2023, https://arxiv.org/abs/2309.00267,
section 2.2), and smoothed. BradleyTerryLM needs no 10⁻⁵ inside its logarithm. Its paper prints one of
two likelihoods with the wrong sign; that code raises both, as is done here, averages over tokens as is
done here, and has a coefficient of 0, where the paper has 1.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class BradleyTerry(FromPairs):
    """−q log σ(Δ) − (1 − q) log σ(−Δ) + c (r_w + r_l)²,  Δ = r_w − r_l − m.

    q = (1 − ε) p + ε (1 − p), where p is the labeller's P(chosen ≻ rejected), 1 where labels are
    hard; m is the margin that people stated, 0 where they did not.
    """

    needs = frozenset({"score", "p_chosen", "margin"})

    label_smoothing: float = 0.0  # ε
    centring: float = 0.0  # c: keeps rewards around zero; TRL suggests 0.01

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected = pairs.chosen.score, pairs.rejected.score
        delta = chosen - rejected - pairs.margin
        p = pairs.p_chosen + self.label_smoothing * (1 - 2 * pairs.p_chosen)
        ranked = p * bradley_terry(delta) + (1 - p) * bradley_terry(-delta)
        return Loss(
            policy=Mean.over(ranked),
            centring=Mean.over((chosen + rejected) ** 2, coef=self.centring),
            metrics={"chosen": chosen, "rejected": rejected},
        )


@dataclass(frozen=True)
class BradleyTerryLM(FromPairs):
    """−log σ(r_w − r_l) − β_rm log π(y_t | x, y_<t) of the chosen, under the same body's language head.

    The chosen response as the language model scores it is `target`; its mean is over tokens.
    """

    needs = frozenset({"score", "target"})

    lm_coef: float = 1.0  # β_rm; 0 recovers BradleyTerry on hard labels

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected, target = pairs.chosen.score, pairs.rejected.score, pairs.target
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            nll=Mean.over(target.token_nll, target.mask, coef=self.lm_coef),
            metrics={"chosen": chosen, "rejected": rejected},
        )
