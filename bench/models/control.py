"""Control tokens: behind a prompt they say which kind of answer is wanted, and no policy says them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from .build import muted
from .tokens import load_tokenizer


def controlled(policy: nn.Module, tokenizer: str | Path, good: str, bad: str, seed: int) -> Any:
    """The tokenizer of a folder with two more tokens, of which it puts `good` behind every prompt.

    The policy gets random embeddings for those that it does not have, and never says either.
    """
    words = load_tokenizer(tokenizer, extra_special_tokens={"control_token": good})
    words.add_special_tokens({"extra_special_tokens": [bad]})
    if len(words) > policy.get_input_embeddings().num_embeddings:
        torch.manual_seed(seed)
        policy.resize_token_embeddings(len(words), mean_resizing=False)
    own = policy.generation_config.suppress_tokens or []
    policy.generation_config.suppress_tokens = [*own, *words.convert_tokens_to_ids([good, bad])]
    muted(policy)
    return words
