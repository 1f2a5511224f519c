"""A reward model: what it says of a response, on a scale that is kept with it.

The raw reward is the sum of the head over the response tokens (`reads: sum`) or its value at the
last one (`reads: last`). A head at the end alone has nothing to add up in a model of two layers;
large models read at the end. offset and scale make rewards of SFT samples mean 0, deviation 1.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .build import load_values
from .scoring import in_parts, token_values
from .tokens import Tokens

READINGS = ("sum", "last")


@dataclass(frozen=True)
class RewardModel:
    """reward = (raw − offset) / scale."""

    model: nn.Module
    reads: str = "sum"
    offset: float = 0.0
    scale: float = 1.0

    def __post_init__(self):
        if self.reads not in READINGS:
            raise ValueError(f"model.reward_model.reads is {self.reads!r}: one of {READINGS}")

    def raw(self, tokens: Tokens) -> Tensor:
        """Float[B], with gradient."""
        values = token_values(self.model, tokens)
        if self.reads == "last":
            return values.gather(1, (tokens.length - 1).clamp(min=0)[:, None]).squeeze(1)
        return values.sum(-1)

    @torch.no_grad()
    def __call__(self, tokens: Tokens, rows: int = 256) -> Tensor:
        """Normalized rewards, Float[B]."""
        raw = torch.cat([self.raw(part) for part in in_parts(tokens, rows)])
        return (raw - self.offset) / self.scale

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)
        reading = {"reads": self.reads, "offset": self.offset, "scale": self.scale}
        (folder / "reward.json").write_text(json.dumps(reading, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "RewardModel":
        return cls(load_values(folder), **json.loads((folder / "reward.json").read_text()))
