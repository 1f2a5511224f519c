"""A causal language model that is asked things: what it says, and how likely it is to say one of some
words, whatever its tokenizer makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .build import context_length, load_policy
from .sampling import Decoding, sample, uniforms
from .tokens import load_tokenizer, on_the_left, prompt_ids, texts_of

Ids = tuple[int, ...]


@dataclass(frozen=True)
class LocalModel:
    """`rows` prompts are read at a time, and none longer than `context` tokens."""

    model: nn.Module
    words: Any  # its tokenizer
    decoding: Decoding
    context: int
    rows: int = 8
    seed: int = 0

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        decoding: Decoding,
        dtype: str = "auto",
        rows: int = 8,
        seed: int = 0,
        device: Any = None,
    ) -> "LocalModel":
        """From a folder or hub id, onto a device, or onto an accelerator where there is one."""
        from accelerate import Accelerator

        model = load_policy(path, dtype).to(device or Accelerator().device)
        return cls(model, load_tokenizer(path), decoding, context_length(path), rows, seed)

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """One response to each; nothing to a prompt that leaves no room for it."""
        ids = self.ids([self.asked(x) for x in prompts])
        room = self.context - self.decoding.max_new_tokens
        fits = [i for i, row in enumerate(ids) if len(row) <= room]
        drawn = sample(
            self.model,
            [ids[i] for i in fits],
            self.decoding,
            uniforms(self.seed, len(fits), self.decoding.max_new_tokens),
            pad_id=self.words.pad_token_id,
            eos_id=self.words.eos_token_id,
            rows=self.rows,
        )
        said = dict(zip(fits, texts_of(self.words, drawn.ids), strict=True))
        return [said.get(i, "") for i in range(len(prompts))]

    def choose(self, prompts: Sequence[str], options: Sequence[str]) -> np.ndarray:
        """The log-prob of each option as the beginning of the response, with or without a space before
        it: Float[n, options]. An option that begins another ("1", "10") is what does not go on to it.
        NaN for a prompt beyond the context. LookupError if the tokenizer cannot tell the options apart.
        """
        asked = [self.asked(x) for x in prompts]
        plain = self.ids(asked)
        spelt = iter(self.ids([x + pre + o for x in asked for o in options for pre in ("", " ")]))
        told = [
            self.apart(ids, options, [[tuple(next(spelt)) for _ in range(2)] for _ in options])
            for ids in plain
        ]
        logps = self.next_logps({
            (way[:k], way[k])
            for begin, ways in told
            for way in set().union(*ways)
            for k in range(begin, len(way))
            if len(way) <= self.context
        })  # fmt: skip
        found = [[mass(begin, own, ways, logps) for own in ways] for begin, ways in told]
        with np.errstate(divide="ignore"):
            return np.log(np.array(found).reshape(len(prompts), len(options)))

    def asked(self, prompt: str) -> str:
        """As the model's chat template puts it, where there is one."""
        if self.words.chat_template is None:
            return prompt
        said = [{"role": "user", "content": prompt}]
        return self.words.apply_chat_template(said, add_generation_prompt=True, tokenize=False)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """A chat template brings its own special tokens."""
        if self.words.chat_template is None:
            return prompt_ids(self.words, texts)
        return self.words(list(texts), add_special_tokens=False).input_ids if texts else []

    def apart(
        self, plain: Sequence[int], options: Sequence[str], spelt: list[list[Ids]]
    ) -> tuple[int, list[set[Ids]]]:
        """(how many tokens all share with the prompt, the ways to say each option and no other)."""
        ways = [
            {way for way in own if not any(way in x for j, x in enumerate(spelt) if j != i)}
            for i, own in enumerate(spelt)
        ]
        for option, own in zip(options, ways, strict=True):
            if not own:
                raise LookupError(
                    f"the tokenizer of {self.model.name_or_path or 'the labeller'} has no words for "
                    f"{option!r} among {', '.join(options)}: choose another model"
                )
        columns = zip(plain, *set().union(*ways), strict=False)
        same = [len(set(column)) == 1 for column in columns]
        return (*same, False).index(False), ways

    @torch.no_grad()
    def next_logps(self, wanted: set[tuple[Ids, int]]) -> dict[tuple[Ids, int], float]:
        """log P(token | the tokens before it), at temperature 1, for each (tokens before, token)."""
        device = next(self.model.parameters()).device
        found = {}
        before = sorted({ids for ids, _ in wanted}, key=lambda ids: (len(ids), ids))
        behind: dict[Ids, list[int]] = {ids: [] for ids in before}
        for ids, token in wanted:
            behind[ids].append(token)
        for i in range(0, len(before), self.rows):
            some = before[i : i + self.rows]
            ids, attention = (x.to(device) for x in on_the_left(some, self.words.pad_token_id))
            positions = (attention.cumsum(-1) - 1).clamp(min=0)
            out = self.model(input_ids=ids, attention_mask=attention, position_ids=positions)
            logps = out.logits[:, -1].float().log_softmax(-1).double().cpu()
            for row, known in zip(logps, some, strict=True):
                found |= {(known, token): row[token].item() for token in behind[known]}
        return found


def mass(
    begin: int, own: set[Ids], ways: list[set[Ids]], logps: dict[tuple[Ids, int], float]
) -> float:
    """P(an option is said and none that begins with it), from `begin` on; NaN where unread."""

    def p(way: Ids) -> float:
        steps = [logps.get((way[:k], way[k]), np.nan) for k in range(begin, len(way))]
        return float(np.exp(sum(steps)))

    longer = {x for x in set().union(*ways) - own for way in own if x[: len(way)] == way}
    return float(np.maximum(0.0, sum(map(p, own)) - sum(map(p, longer))))
