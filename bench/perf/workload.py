"""A Llama of four layers and 4.2 million parameters with random weights, and prompts and pairs for it."""

import random
from typing import TYPE_CHECKING, Any

from torch import manual_seed

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 4096
PAD, EOS, FIRST_WORD = 0, 1, 2
PAIRS = 8  # an update: 16 responses
PROMPT, RESPONSE = (150, 400), (20, 60)  # tokens of TL;DR's pairs, at least and at most


def model() -> "LlamaForCausalLM":
    """Float32, on the processor; every word is about as likely as any other."""
    from transformers import LlamaForCausalLM

    manual_seed(0)
    return LlamaForCausalLM(config()).eval()


def config(**more: Any) -> "LlamaConfig":
    from transformers import LlamaConfig

    return LlamaConfig(
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
        **more,
    )


def tokenizer() -> "PreTrainedTokenizerFast":
    """A token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *map(word, range(FIRST_WORD, VOCABULARY))]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


def word(i: int) -> str:
    return f"w{i}"


def pairs(count: int) -> list[dict[str, str]]:
    """Random words in the shape of TL;DR's pairs: prompt, chosen, rejected."""
    draw = random.Random(0)

    def text(low: int, high: int) -> str:
        count = draw.randint(low, high)
        return " ".join(word(draw.randrange(FIRST_WORD, VOCABULARY)) for _ in range(count))

    sides = {"prompt": PROMPT, "chosen": RESPONSE, "rejected": RESPONSE}
    found = [{name: text(*size) for name, size in sides.items()} for _ in range(count)]
    return [{**x, "chosen": f" {x['chosen']}", "rejected": f" {x['rejected']}"} for x in found]


def prompts(count: int, low: int = 40, high: int = 80) -> list[list[int]]:
    """Token ids, so many to a prompt."""
    draw = random.Random(0)
    return [
        [draw.randrange(FIRST_WORD, VOCABULARY) for _ in range(draw.randint(low, high))]
        for _ in range(count)
    ]
