"""What is logged of every batch under fixed names, one definition for all algorithms.

A loss reports its own inner numbers as metrics; these here are the quantities that every method has,
computed from the scored batch alone: summed log-probabilities and log-ratios in nats.
"""

from typing import Any

from torch import Tensor

from algos.core import Demonstrations, Labels, Pairs, Rankings, Responses, Rollouts, present


def observed(batch: Any) -> dict[str, Tensor]:
    """One flat, detached tensor a name; only what was scored."""
    match batch:
        case Pairs() if "score" in present(batch.chosen):
            margin = batch.chosen.score - batch.rejected.score
            found = {"margin": margin, "accuracy": (margin > 0).float()}
        case Pairs():
            chosen, rejected = batch.chosen, batch.rejected
            found = {"chosen_logps": chosen.logps, "rejected_logps": rejected.logps}
            found["ranking_accuracy"] = (chosen.logps > rejected.logps).float()
            if has_reference(chosen):
                margin = chosen.logratios - rejected.logratios
                found |= {
                    "chosen_logratio": chosen.logratios,
                    "rejected_logratio": rejected.logratios,
                    "margin": margin,
                    "accuracy": (margin > 0).float(),
                }
        case Labels() if "score" in present(batch.responses):
            found = {"accuracy": ((batch.responses.score > 0) == batch.desirable).float()}
        case Labels():
            logps, wanted = batch.responses.logps, batch.desirable
            found = {"desirable_logps": logps[wanted], "undesirable_logps": logps[~wanted]}
            if has_reference(batch.responses):
                h = batch.responses.logratios
                found |= {"desirable_logratio": h[wanted], "undesirable_logratio": h[~wanted]}
        case Rankings() if "score" in present(batch.responses):
            found = {"score": batch.responses.score}
        case Rankings():
            found = {"logps": batch.responses.logps}
            if has_reference(batch.responses):
                found["logratio"] = batch.responses.logratios
        case Rollouts():
            mask, logratio = batch.responses.mask, batch.token_old_logratios
            found = {
                "reward": batch.rewards,
                "length": batch.responses.lengths,
                "end_rate": batch.finished.float(),
                "approx_kl_old": 0.5 * logratio[mask] ** 2,
            }
        case Demonstrations():
            found = {"logps": batch.responses.logps}
            if has_reference(batch.responses):
                found["logratio"] = batch.responses.logratios
        case _:
            found = {}
    return {name: x.detach() for name, x in found.items()}


def has_reference(responses: Responses) -> bool:
    return "token_ref_logps" in present(responses)
