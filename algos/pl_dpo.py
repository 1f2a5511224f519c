"""Direct Preference Optimization over rankings, after Plackett and Luce (PL-DPO).

Rafailov et al., 2023, https://arxiv.org/abs/2305.18290, appendix A.3
Code: https://github.com/eric-mitchell/direct-preference-optimization (f8b8c0f, trainers.py), for pairs

Departures from that code: it has no rankings. Two answers are DPO. Answers of equal reward are not ranked
against each other, where the paper knows no ties.
"""

from dataclasses import dataclass

from .core import FromRankings, Loss, Mean, Rankings
from .ops import group_size, plackett_luce


@dataclass(frozen=True)
class PLDPO(FromRankings):
    """−Σ_k log [exp r_k / Σ_{j ≥ k} exp r_j], best first,  r = β log π_θ(y|x) / π_ref(y|x)."""

    needs = FromRankings.needs | {"reward"}

    beta: float = 0.1

    def loss(self, rankings: Rankings) -> Loss:
        rewards = self.beta * rankings.responses.logratios
        given, prompt = rankings.responses.reward, rankings.prompt
        size = group_size(given, prompt)
        return Loss(
            policy=Mean(size * plackett_luce(rewards, given, prompt), 1 / size),
            metrics={"reward": rewards},
        )
