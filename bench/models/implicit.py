"""The reward of which a policy is the optimum, token by token.

"From r to Q*" (https://arxiv.org/abs/2404.12358), Eq. 10, with tokens as actions and γ = 1:

    β log π*(a_t | s_t) / π_ref(a_t | s_t) = r(s_t, a_t) + V*(s_t+1) − V*(s_t),  V* = 0 at the end,

a shaping of r, which leaves the optimum alone and sums over a response to Σ r − V*(s_0).
"""

import torch
from torch import Tensor, nn

from .scoring import reference_logps
from .tokens import Tokens


@torch.no_grad()
def implicit_rewards(
    policy: nn.Module,
    reference: nn.Module,
    tokens: Tokens,
    theirs: Tokens,
    beta: float,
    rows: int,
) -> Tensor:
    """β (log π − log π_ref) of every response token, `rows` responses at a time: Float[B, T], zero
    behind the response. `theirs` are the same responses, behind prompts as the reference reads them."""
    return beta * (reference_logps(policy, tokens, rows) - reference_logps(reference, theirs, rows))


def lowest(scores: Tensor, tokens: Tokens) -> Tensor:
    """Where a response has its lowest score, EOS left out: Float[B, T] -> Int[B]."""
    before_end = torch.arange(tokens.width, device=scores.device) < tokens.length[:, None] - 1
    return scores.where(before_end, torch.inf).argmin(-1)
