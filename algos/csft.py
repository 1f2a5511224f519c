"""Conditional supervised fine-tuning (CSFT): imitate everything, told what is good.

Korbak et al., 2023, https://arxiv.org/abs/2302.08582: conditional training
Code: https://github.com/ContextualAI/HALOs (4831988, config/loss/csft.yaml, train/dataloader.py)

Departures from that code: the control token, <|good|> or <|bad|>, ends the prompt, as it does there when
answers are sampled; in training there it begins the response, so that the model learns to say it.
"""

from dataclasses import dataclass

from .core import FromLabels, Labels, Loss, Mean


@dataclass(frozen=True)
class CSFT(FromLabels):
    """−log π_θ(y_t | x, c, y_<t), averaged over all response tokens of the batch.

    The prompts it is given end with c, a token that says whether the response is desirable.
    """

    needs = frozenset()
    first_step = "bad answers are imitated, too, behind a token of their own"

    def loss(self, labels: Labels) -> Loss:
        responses = labels.responses
        return Loss(policy=Mean.over(responses.token_nll, responses.mask))
