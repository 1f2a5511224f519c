"""Self-Play Preference Optimization (SPPO), on pairs.

Wu et al., 2024, https://arxiv.org/abs/2405.00675, eq. 4.7
Code: https://github.com/uclaml/SPPO (5e61c4e, sppo/trainer.py); its β is 1/η

Departures from that code: none known. TRL's `sppo_hard` sets the win rates to 1 and 0, which is what
stands here where nobody measured them, and leaves out the ½. verl runs something else by this name:
a regression of the difference of log-probabilities on that of rewards. In the paper the reference is
the policy of the round before.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs


@dataclass(frozen=True)
class SPPO(FromPairs):
    """½ (h_w − η [P_w − ½])² + ½ (h_l − η [P_l − ½])²,  h = log π_θ(y|x) − log π_ref(y|x).

    P is how often a response beats those of the reference.
    """

    needs = FromPairs.needs | {"win_rate"}

    eta: float = 1000.0

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected = pairs.chosen, pairs.rejected
        chosen_miss = chosen.logratios - self.eta * (chosen.win_rate - 0.5)
        rejected_miss = rejected.logratios - self.eta * (rejected.win_rate - 0.5)
        return Loss(
            policy=Mean.over(0.5 * (chosen_miss**2 + rejected_miss**2)),
            metrics={"chosen_miss": chosen_miss, "rejected_miss": rejected_miss},
        )
