"""The turns of dialogues: where they end, and what each has earned."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..feedback.answer import answers_of
from ..models.sampling import Samples
from ..tasks.example import Example


def ends(mask: Tensor) -> Tensor:
    """Bool[B, T]: the last token of each turn of ours that another one follows."""
    goes_on = pad(mask[:, 1:], (0, 1))
    left = mask.flip(-1).cumsum(-1).flip(-1)
    return mask & ~goes_on & (left > 1)


def earned(
    at: Tensor,
    examples: Sequence[Example],
    samples: Samples,
    words: Any,
    rewards: Callable[..., Sequence[float]],
) -> Tensor:
    """Float[B, T]: at each of these ends, what the turn has added to the reward of its response, which
    is asked for as if the response had ended there."""
    rows = at.nonzero().tolist()
    found = torch.zeros(at.shape)
    if not rows:
        return found
    cut = Samples(
        prompts=[samples.prompts[i] for i, _ in rows],
        ids=[samples.ids[i][: t + 1] for i, t in rows],
        logps=[samples.logps[i][: t + 1] for i, t in rows],
        finished=[True for _ in rows],
    )
    known = rewards([examples[i] for i, _ in rows], answers_of(words, cut))
    for (i, t), reward in zip(rows, known, strict=True):
        found[i, t] = reward - found[i].sum()
    return found
