"""Sequence Likelihood Calibration with Human Feedback (SLiC-HF), the rank loss.

Zhao et al., 2023, https://arxiv.org/abs/2305.10425
Code: https://github.com/ContextualAI/HALOs (4831988, train/trainers.py), not the authors'

Departures from that code: it adds a likelihood per token to a hinge per pair, which is an error for most
shapes and another loss for the rest; it imitates the chosen response, while the paper imitates the
answer that supervised training saw (`target`), or the best-ranked one. The paper gives no λ: 0.1 is
that code's. What others call `hinge` or SLiC (TRL, LLaMA-Factory, oat) is the loss of RSO, max(0,
1 − β [h_w − h_l]) with a reference; TRL's CPO has a third, max(0, 1 − β [ℓ_w − ℓ_l]).
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs


@dataclass(frozen=True)
class SLiC(FromPairs):
    """max(0, δ − ℓ_w + ℓ_l) − λ ℓ_target,  ℓ = log π_θ(y|x), the whole response's."""

    needs = frozenset({"target"})

    delta: float = 1.0  # nats by which the chosen response is to be likelier
    lam: float = 0.1

    def loss(self, pairs: Pairs) -> Loss:
        margin = pairs.chosen.logps - pairs.rejected.logps
        return Loss(
            policy=Mean.over((self.delta - margin).relu()),
            nll=Mean.over(-pairs.target.logps, coef=self.lam),
            metrics={"margin": margin},
        )
