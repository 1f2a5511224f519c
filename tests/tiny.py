"""Models, texts and token ids so small that a test of them takes milliseconds."""

import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.models.tokens import Tokens

torch.set_num_threads(1)  # more threads only wait for each other

PAD, EOS, WORDS = 0, 1, 23


def llama(seed: int = 0, vocab_size: int = WORDS, **changes) -> LlamaForCausalLM:
    """Random, and loud enough that its words are far from equally likely."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.25,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
        **changes,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config).eval()


def rows(count: int, seed: int = 0) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, response ids) of one to six tokens each, EOS behind every response."""
    draw = random.Random(seed)

    def text(longest: int) -> list[int]:
        return [draw.randrange(2, WORDS) for _ in range(draw.randint(1, longest))]

    return [(text(6), [*text(5), EOS]) for _ in range(count)]


def tokens(count: int, seed: int = 0) -> Tokens:
    return Tokens.collate(rows(count, seed), PAD)
