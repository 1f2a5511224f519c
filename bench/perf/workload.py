"""A Llama of four layers and 4.2 million parameters with random weights, and prompts for it."""

import random
from typing import TYPE_CHECKING

from torch import manual_seed

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

VOCABULARY = 4096
PAD, EOS, FIRST_WORD = 0, 1, 2


def model() -> "LlamaForCausalLM":
    """Float32, on the processor; every word is about as likely as any other."""
    from transformers import LlamaConfig, LlamaForCausalLM

    manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=680,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def prompts(count: int, low: int = 40, high: int = 80) -> list[list[int]]:
    """Token ids, so many to a prompt."""
    draw = random.Random(0)
    return [
        [draw.randrange(FIRST_WORD, VOCABULARY) for _ in range(draw.randint(low, high))]
        for _ in range(count)
    ]
