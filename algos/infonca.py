"""Information Noise Contrastive Alignment (InfoNCA).

Chen et al., 2024, https://arxiv.org/abs/2402.05369
Code: https://github.com/thu-ml/Noise-Contrastive-Alignment (cbb9248, reward_trainer.py)

Departures from that code: it adds 0.01 to the reward of the first answer, so that there are no ties;
here equal answers share. A prompt may have any number of answers, where it has four. The defaults are
those of its published runs, whose α leaves all weight to the best answer unless rewards are within about
10⁻³ of each other; its comment calls that number 1/α, but it divides by it.
"""

from dataclasses import dataclass

from .core import FromRankings, Loss, Mean, Rankings
from .ops import group_log_softmax, group_size


@dataclass(frozen=True)
class InfoNCA(FromRankings):
    """−Σ_i p_i log softmax_i(r̂),  p = softmax(r / α), r̂ = β log π_θ(y|x) / π_ref(y|x)."""

    needs = FromRankings.needs | {"reward"}

    beta: float = 0.01
    alpha: float = 1e-4

    def loss(self, rankings: Rankings) -> Loss:
        given, prompt = rankings.responses.reward, rankings.prompt
        rewards = self.beta * rankings.responses.logratios
        p, size = group_log_softmax(given, prompt, self.alpha).exp(), group_size(given, prompt)
        return Loss(
            policy=Mean(-size * p * group_log_softmax(rewards, prompt), 1 / size),
            metrics={"reward": rewards},
        )
