"""Keys and values of a decoding with room for the tokens to come.

transformers' DynamicCache copies all that it holds at every token. Here a token is written behind the
others, and what attention reads, bit for bit the same, is a view.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

MORE = 64  # tokens that there is room for whenever there was none left


class Roomy(DynamicLayer):
    """A layer's cache, whose `keys` and `values` are the first so many places of longer tensors."""

    rooms: tuple[Tensor, Tensor] | None = None

    def update(
        self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        start = self.get_seq_length()
        end = start + keys.shape[-2]
        if self.rooms is None or end > self.rooms[0].shape[-2]:
            self.rooms = tuple(roomier(x, end + MORE) for x in (self.keys, self.values))
        for room, new in zip(self.rooms, (keys, values), strict=True):
            room[..., start:end, :] = new
        self.keys, self.values = (room[..., :end, :] for room in self.rooms)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.rooms = None

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.rooms = None


def roomier(held: Tensor, length: int) -> Tensor:
    """The same numbers first in a tensor of that length."""
    *front, _, width = held.shape
    room = torch.empty(*front, length, width, dtype=held.dtype, device=held.device)
    room[..., : held.shape[-2], :] = held
    return room


def with_room(cache: Any) -> Any:
    """The cache of a prompt, its plain layers with room; layers of another kind are as they were."""
    for layer in getattr(cache, "layers", ()):
        if type(layer) is DynamicLayer:
            layer.__class__ = Roomy  # goes on from what it holds
    return cache
