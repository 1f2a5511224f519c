"""Rows without padding: all in one sequence, and a prompt once for all of its responses.

The responses to one prompt stand behind it one after the other, each with the positions that it would
have directly behind the prompt, and each attends to the prompt and to itself: a tree. Whatever a model
does token by token then meets no padding and no prompt twice. Attention runs group by group, for its
cost grows with the square of what is read together: prompts causally, then the responses to each with
a mask. For 8 pairs of TL;DR's shape, one dense mask over the whole sequence takes 2.5 times as long.

Any model of transformers can be packed that calls its attention through AttentionInterface, hands on
what it is called with, and lets every token attend to all before it. `packed` makes sure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from warnings import warn

import torch
from torch import Tensor, nn

from .tokens import Tokens

PACKED = (
    "prefzoo_packed"  # an attention implementation; and true in the configurations of such models
)
REFUSED = "sliding_window softcap s_aux position_bias".split()  # what else attention may be told


@dataclass(frozen=True)
class Group:
    """Where responses to one prompt stand, and which of prompt and responses each of their tokens sees:
    Bool[end − behind, end − start], or None where no more than one of them holds a token."""

    start: int
    behind: int  # the prompt
    end: int
    sees: Tensor | None


def laid_out(model: nn.Module, tokens: Tokens) -> tuple[dict[str, Any], Tensor]:
    """(what to call the model with, where each token of each row stands in what it returns, batch and
    sequence laid out flat: Int[B, L]; anything where there is none)."""
    device = tokens.ids.device
    if not is_packed(model):
        places = torch.arange(tokens.ids.numel(), device=device).view_as(tokens.ids)
        return {"input_ids": tokens.ids}, places
    places = torch.zeros(tokens.ids.shape, dtype=torch.long)
    groups, rows, columns, end = [], [], [], 0
    for members in by_prompt(tokens):
        start, lengths = end, [int(tokens.length[row]) for row in members]
        prompt = int(tokens.start[members[0]])
        end = start + prompt
        places[members, :prompt] = torch.arange(start, end)
        rows.append(torch.full((prompt,), members[0]))
        columns.append(torch.arange(prompt))
        for row, length in zip(members, lengths, strict=True):
            places[row, prompt : prompt + length] = torch.arange(end, end + length)
            rows.append(torch.full((length,), row))
            columns.append(torch.arange(prompt, prompt + length))
            end += length
        sees = tree(prompt, lengths).to(device) if sum(map(bool, lengths)) > 1 else None
        groups.append(Group(start, start + prompt, end, sees))
    row, column = torch.cat(rows).to(device), torch.cat(columns).to(device)
    read = {
        "input_ids": tokens.ids[row, column][None],
        "position_ids": column[None],
        "attention_mask": torch.empty(1, 1, 0, 0, device=device),  # else a dense one is made
        "groups": groups,
    }
    return read, places.to(device)


def by_prompt(tokens: Tokens) -> list[list[int]]:
    """The rows of each different prompt."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row, (ids, start) in enumerate(zip(tokens.ids.tolist(), tokens.start, strict=True)):
        found.setdefault(tuple(ids[:start]), []).append(row)
    return list(found.values())


def tree(prompt: int, lengths: Sequence[int]) -> Tensor:
    """Which tokens of prompt and responses every response token attends to."""
    blocks = [torch.ones(n, n, dtype=torch.bool).tril() for n in lengths]
    every = torch.ones(sum(lengths), prompt, dtype=torch.bool)
    return torch.cat([every, torch.block_diag(*blocks).bool()], 1)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    groups: Sequence[Group] | None = None,
    **how: Any,
) -> tuple[Tensor, None]:
    """Scaled dot product attention of heads, [1, heads, N, D] each, to [1, N, heads, D]; group by group
    where there are groups."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward as attend

    if groups is None:
        return attend(module, query, key, value, attention_mask, **how)
    for name in REFUSED:
        if how.get(name) is not None:
            raise ValueError(f"its attention has a {name.replace('_', ' ')}")

    sizes, found = [g.end - g.start for g in groups], []
    parted = (x.split(sizes, 2) for x in (query, key, value))  # a slice would cost a full gradient
    for g, q, k, v in zip(groups, *parted, strict=True):
        if g.sees is None:
            found.append(attend(module, q, k, v, None, **how)[0])
        else:
            prompt = g.behind - g.start
            own = q.split([prompt, g.end - g.behind], 2)
            before = k[:, :, :prompt], v[:, :, :prompt]
            found.append(attend(module, own[0], *before, None, **how)[0])
            found.append(attend(module, own[1], k, v, g.sees[None, None], **how)[0])
    return torch.cat(found, 1), None


def is_packed(model: nn.Module) -> bool:
    return getattr(getattr(model, "config", None), "_attn_implementation", None) == PACKED


def packed(model: nn.Module) -> nn.Module:
    """The same model, which from now on reads rows packed, also after it was saved and loaded; as it
    was, with a warning that says why, if that would change its numbers."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(PACKED, attention)
    AttentionMaskInterface.register(PACKED, sdpa_mask)
    before = model.config._attn_implementation
    if before == PACKED:  # a copy of one that was packed
        return model
    if trouble := hindrance(model):
        model.set_attn_implementation(before)
        name = type(model).__name__
        warn(f"{name} cannot be packed, its rows are padded: {trouble}", stacklevel=2)
    else:
        setattr(model.config, PACKED, True)
    return model


@torch.no_grad()
def hindrance(model: nn.Module) -> str:
    """Why a model that is about to be packed cannot be, by its configuration or by what it makes of a
    few rows; empty where nothing is in the way, and then it is packed."""
    if kinds := set(getattr(model.config, "layer_types", None) or ()) - {"full_attention"}:
        return f"it has layers of {', '.join(sorted(kinds))}"
    rows = [([2, 3, 4, 5], [6, 7]), ([3, 2], [4]), ([2, 3, 4, 5], [7, 6, 5]), ([5], [6, 7, 2])]
    tokens = Tokens.collate(rows, 0).to(next(model.parameters()).device)
    ends = (tokens.start + tokens.length)[:, None]
    own = torch.arange(tokens.ids.shape[1], device=ends.device) < ends

    def states() -> Tensor:
        read, places = laid_out(model, tokens)
        out = model.base_model(**read, use_cache=False).last_hidden_state
        return out.flatten(0, 1)[places[own]]

    try:
        padded = states()
        model.set_attn_implementation(PACKED)
        ours = states()
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        return " ".join(str(error).split())
    close = torch.allclose(ours, padded, rtol=1e-3, atol=1e-3 * float(padded.abs().max()))
    return "" if close and is_packed(model) else "other numbers come out"
