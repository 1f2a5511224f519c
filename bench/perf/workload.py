"""What is measured: a Llama with random weights, and random words in the shape of TL;DR's pairs."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import manual_seed

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAD, EOS, FIRST_WORD = 0, 1, 2


@dataclass(frozen=True)
class Workload:
    """Who learns, from what, and of which size. Sizes in tokens are the least and the greatest."""

    loss: str
    precomputed: bool = False  # what the reference says was stored before
    pairs: int = 8  # an update, two responses each; of rollouts half the responses
    prompt: tuple[int, int] = (150, 400)
    response: tuple[int, int] = (20, 60)  # of samples, the greatest is the limit
    per_prompt: int = 2  # responses; of pairs and of single responses it is not asked
    vocabulary: int = 4096
    width: int = 256
    layers: int = 4
    bf16: bool = False  # autocast

    @property
    def responses(self) -> int:
        """An update."""
        return 2 * self.pairs

    @property
    def samples(self) -> bool:
        """Whether it learns from its own samples."""
        return self.loss in ("rloo", "grpo")


def model(of: Workload) -> "LlamaForCausalLM":
    """Float32; every word is about as likely as any other."""
    from transformers import LlamaForCausalLM

    manual_seed(0)
    return LlamaForCausalLM(config(of)).eval()


def config(of: Workload, **more: Any) -> "LlamaConfig":
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=of.vocabulary,
        hidden_size=of.width,
        intermediate_size=of.width * 85 // 32,
        num_hidden_layers=of.layers,
        num_attention_heads=of.width // 64,
        num_key_value_heads=of.width // 64,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
        **more,
    )


def tokenizer(of: Workload) -> "PreTrainedTokenizerFast":
    """A token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *map(word, range(FIRST_WORD, of.vocabulary))]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def word(i: int) -> str:
    return f"w{i}"


def pairs(of: Workload, count: int) -> list[dict[str, str]]:
    """prompt, chosen, rejected."""
    draw = random.Random(0)

    def text(low: int, high: int) -> str:
        return " ".join(map(word, ids(draw, of, low, high)))

    sides = {"prompt": of.prompt, "chosen": of.response, "rejected": of.response}
    found = [{name: text(*size) for name, size in sides.items()} for _ in range(count)]
    return [{**x, "chosen": f" {x['chosen']}", "rejected": f" {x['rejected']}"} for x in found]


def prompts(of: Workload, count: int) -> list[list[int]]:
    """Token ids."""
    draw = random.Random(0)
    return [ids(draw, of, *of.prompt) for _ in range(count)]


def ids(draw: random.Random, of: Workload, low: int, high: int) -> list[int]:
    return [draw.randrange(FIRST_WORD, of.vocabulary) for _ in range(draw.randint(low, high))]


def distinct(texts: list[str]) -> list[float]:
    """A reward that costs nothing: how many different words a text has, in tens."""
    return [len(set(text.split())) / 10 for text in texts]
