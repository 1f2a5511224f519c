"""Proxy tuning: what tuning changed in a small model, said by another one.

π(y_t | s) ∝ π_big(y_t | s) · [π_tuned(y_t | s) / π_untuned(y_t | s)]^strength

"From r to Q*", Eq. 14 and 15 (https://arxiv.org/abs/2404.12358): β log π*/π_ref is the advantage of
a token under an implicit reward, so that a small policy and its reference can steer any model that
shares their vocabulary. As a way of decoding: https://arxiv.org/abs/2401.08565.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn


class Caches(tuple):
    """Those of several models that read the same rows."""

    def batch_repeat_interleave(self, repeats: int) -> None:
        for cache in self:
            cache.batch_repeat_interleave(repeats)

    def batch_select_indices(self, rows: Tensor) -> None:
        for cache in self:
            cache.batch_select_indices(rows)


class Said(NamedTuple):
    """logits: Float[B, 1, V] of the token that comes next."""

    logits: Tensor
    past_key_values: Caches


class ProxyTuned(nn.Module):
    """Three models of one vocabulary, read by the sampler as if they were one."""

    def __init__(self, big: nn.Module, tuned: nn.Module, untuned: nn.Module, strength: float):
        super().__init__()
        self.models, self.strength = nn.ModuleList([big, tuned, untuned]), strength

    def forward(self, past_key_values: Sequence[Any] = (None,) * 3, **inputs: Any) -> Said:
        read = [
            model(past_key_values=cache, **inputs)
            for model, cache in zip(self.models, past_key_values, strict=True)
        ]
        width = min(x.logits.shape[-1] for x in read)  # big models may be padded further
        big, tuned, untuned = (x.logits[:, -1:, :width].float().log_softmax(-1) for x in read)
        # In this order a model that is steered by itself cancels to the last bit.
        logits = self.strength * tuned + (big - self.strength * untuned)
        return Said(logits, Caches(x.past_key_values for x in read))
