"""Models by name: from scratch or from a folder, with a language-model head or one number a token.

Every model is saved by `save_pretrained` and opens with `from_pretrained`: a policy with
AutoModelForCausalLM, a critic or reward model with AutoModelForTokenClassification.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .packing import PACKED, packed

LAYOUTS = ("padded", "packed")


def from_scratch(architecture: Mapping[str, Any], tokenizer: Any, seed: int) -> nn.Module:
    """A small Llama with random weights; `architecture` holds fields of transformers.LlamaConfig."""
    from transformers import LlamaConfig, LlamaForCausalLM

    without_bars()
    config = LlamaConfig(
        **dict(architecture),
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


def load_policy(path: str | Path, dtype: torch.dtype | str = torch.float32) -> nn.Module:
    """A causal language model, in evaluation mode for good: dropout would make ratios lie."""
    from transformers import AutoModelForCausalLM

    without_bars()
    return as_saved(muted(AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()))


def as_laid_out(model: nn.Module, layout: str) -> nn.Module:
    """The same model, which reads rows in this layout, and so does what is made of it."""
    if layout not in LAYOUTS:
        raise ValueError(f"model.layout is {layout!r}: one of {LAYOUTS}")
    return packed(model) if layout == "packed" else model


def as_saved(model: nn.Module) -> nn.Module:
    """The same model, packed if it was when it was saved or copied."""
    return packed(model) if getattr(model.config, PACKED, False) else model


def muted(policy: nn.Module) -> nn.Module:
    """Tokens of `generation_config.suppress_tokens` have no share in what the policy says."""
    if silent := policy.generation_config.suppress_tokens:

        def silenced(logits: torch.Tensor) -> torch.Tensor:
            columns = torch.tensor(silent, device=logits.device)
            return logits.index_fill(-1, columns, torch.finfo(logits.dtype).min)

        def after(policy: nn.Module, read: Any, out: Any) -> Any:
            out.logits = silenced(out.logits)  # some models cap what their head says
            return out

        policy.get_output_embeddings().register_forward_hook(lambda head, x, out: silenced(out))
        policy.register_forward_hook(after)
    return policy


def load_values(path: str | Path) -> nn.Module:
    """A saved critic or reward model: one number a token."""
    from transformers import AutoModelForTokenClassification

    without_bars()
    found = AutoModelForTokenClassification.from_pretrained(path, dtype=torch.float32)
    return as_saved(found.eval())


def with_value_head(policy: nn.Module) -> nn.Module:
    """A copy of a policy's trunk under a linear head of one number a token, which starts at zero."""
    from transformers import AutoModelForTokenClassification

    config = copy.deepcopy(policy.config)
    config.num_labels, config.classifier_dropout = 1, 0.0
    model = AutoModelForTokenClassification.from_config(config)
    model.base_model.load_state_dict(policy.base_model.state_dict())
    return reset_head(as_saved(model.eval()))


def with_language_head(values: nn.Module, policy: nn.Module) -> nn.Module:
    """A language model on the very body of a value model, under a copy of a policy's head."""
    model = copy.deepcopy(policy)
    setattr(model, model.base_model_prefix, values.base_model)
    return model


def reset_head(values: nn.Module) -> nn.Module:
    """A reward model as a critic to be: its trunk, and a head that starts at zero."""
    (head,) = (m for m in values.children() if isinstance(m, nn.Linear))
    for numbers in head.parameters():
        nn.init.zeros_(numbers)
    return values


def without_bars() -> None:
    """No progress bars for the weights of small models that are read and written all the time."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def parameters(model: nn.Module) -> int:
    """How many numbers there are to learn."""
    return sum(p.numel() for p in model.parameters())


def context_length(path: str | Path) -> int:
    """How many tokens, prompt and response together, the model of a folder or hub id can read."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path).get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 1 << 30)
