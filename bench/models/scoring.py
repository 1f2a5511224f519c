"""Token ids in, log-probabilities out: the only place where models are called for training.

The language-model head and the softmax see response positions alone; what a loss does not name in
`needs` is not computed.
"""

from collections.abc import Callable, Iterator, Sequence
from threading import Lock

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from algos.core import Responses

from .computing import device_of
from .packing import laid_out
from .tokens import Tokens

REFERENCE = frozenset({"token_ref_logps", "token_ref_kl"})
NUMBERS = 1 << 25  # of the distributions of one model held at a time: 128 MB
LOUD = Lock()


def before_head(model: nn.Module, tokens: Tokens) -> tuple[nn.Module, Tensor]:
    """(head, what it reads at every response token: Float[N, H], N = tokens.mask.sum()): its logits
    predict that token. Of a model with more behind its head these are the logits, and the head does
    nothing."""
    rows, steps = tokens.mask.nonzero(as_tuple=True)
    head = head_of(model)
    read, places = laid_out(model, tokens)
    at = places[rows, tokens.positions[rows, steps]]
    if isinstance(head, nn.Identity):
        found = model(**read, use_cache=False).logits
    else:
        found = model.base_model(**read, use_cache=False).last_hidden_state
    return head, found.flatten(0, 1).index_select(0, at)


def head_of(model: nn.Module) -> nn.Module:
    """What makes logits of the states that `before_head` gives."""
    return model.get_output_embeddings() if head_is_plain(model) else nn.Identity()


def head_is_plain(model: nn.Module) -> bool:
    """Whether logits are the head of the last hidden state and nothing else (no cap, no scale)."""
    with LOUD:  # who works beside this one hears nothing of it
        if not hasattr(model, "_prefzoo_plain_head"):
            model._prefzoo_plain_head = plain_when_loud(model)
    return model._prefzoo_plain_head


@torch.no_grad()
def plain_when_loud(model: nn.Module) -> bool:
    """A cap at 30 does not show in the small logits of a fresh model."""
    ids = torch.arange(2, device=device_of(model))[None]  # one may be padding
    head = model.get_output_embeddings()
    louder = head.register_forward_hook(lambda head, hidden, logits: 1000 * logits)
    ours = head(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    logits = model(input_ids=ids, use_cache=False).logits
    louder.remove()
    return bool(torch.allclose(ours, logits, rtol=1e-4, atol=1e-3))


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """One number per response token, put back in its place: Float[B, T], zero elsewhere."""
    return torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(mask, flat)


def score(
    tokens: Tokens,
    needs: frozenset[str],
    policy: nn.Module | None,
    reference: nn.Module | None = None,
    temperature: float = 1.0,
    ref_states: Tensor | None = None,
    **given: Tensor,
) -> Responses:
    """Score responses as far as `needs` asks, by what either model says at a temperature.

    `given` is what is known already: reward, win_rate, reference log-probs from the store, ...; where
    `ref_states` are, as `before_head` gives them, of the reference its head alone is called.
    Without a policy every quantity not given is zero: the cheap pass that learns only the weights
    of a loss. LookupError if a reference is needed and there is none.
    """
    mask = tokens.mask
    given = {name: x for name, x in given.items() if name in needs}
    missing = needs - given.keys()
    if missing & REFERENCE and reference is None:
        raise LookupError("this loss needs a reference, and there is none: set `reference=sft`")
    if policy is None:
        zeros = torch.zeros(mask.shape, device=mask.device)
        names = missing & {*REFERENCE, "token_entropy", "token_collision"}
        return Responses(mask=mask, token_logps=zeros, **dict.fromkeys(names, zeros), **given)

    head, states = before_head(policy, tokens)
    read: list[Tensor] = [tokens.targets[mask][:, None], states]
    ref_head = None
    if missing & REFERENCE:
        if ref_states is None:
            with torch.no_grad():
                ref_head, ref_states = before_head(reference, tokens)
        else:
            ref_head = head_of(reference)
        read.append(ref_states)

    def told(
        targets: Tensor, states: Tensor, ref_states: Tensor | None = None
    ) -> dict[str, Tensor]:
        logps = all_logps(head, states, temperature)
        found = {"token_logps": logps.gather(1, targets).squeeze(1)}
        if "token_entropy" in missing:
            found["token_entropy"] = -(logps.exp() * logps).sum(-1)
        if "token_collision" in missing:
            found["token_collision"] = (2 * logps).logsumexp(-1)
        if ref_states is not None:
            with torch.no_grad():
                ref_logps = all_logps(ref_head, ref_states, temperature)
            if "token_ref_logps" in missing:
                found["token_ref_logps"] = ref_logps.gather(1, targets).squeeze(1)
            if "token_ref_kl" in missing:
                found["token_ref_kl"] = (ref_logps.exp() * (ref_logps - logps)).sum(-1)
        return found

    scored = in_chunks(told, read, width(head, states))
    scored = {name: spread(x, mask) for name, x in scored.items()}
    return Responses(mask=mask, **scored, **given)


def all_logps(head: nn.Module, states: Tensor, temperature: float = 1.0) -> Tensor:
    """log π(· | prompt, y_<t) of the whole vocabulary: Float[N, V]."""
    return (head(states).float() / temperature).log_softmax(-1)


def width(head: nn.Module, states: Tensor) -> int:
    """How many tokens a head tells apart."""
    return head.weight.shape[0] if hasattr(head, "weight") else states.shape[-1]


def in_chunks(
    told: Callable[..., dict[str, Tensor]], read: Sequence[Tensor], vocabulary: int
) -> dict[str, Tensor]:
    """What is told of every response token, so many at a time that their distributions hold no more
    than NUMBERS; where there are several such chunks, the backward pass computes each again."""
    size = max(1, NUMBERS // vocabulary)
    if len(read[0]) <= size:
        return told(*read)
    parts = [
        checkpoint(told, *chunk, use_reentrant=False)
        for chunk in zip(*(x.split(size) for x in read), strict=True)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def token_values(model: nn.Module, tokens: Tokens) -> Tensor:
    """A critic's or reward model's number at every response token, after reading it: Float[B, T]."""
    return values_at(model, tokens, (tokens.positions + 1).clamp(max=tokens.ids.shape[1] - 1))


def state_values(model: nn.Module, tokens: Tokens) -> Tensor:
    """A critic's value of the state in which each response token is chosen: Float[B, T]."""
    return values_at(model, tokens, tokens.positions)


def values_at(model: nn.Module, tokens: Tokens, columns: Tensor) -> Tensor:
    """Its numbers at these columns of the rows, zero for what is no token of ours: Float[B, T]."""
    read, places = laid_out(model, tokens)
    per_token = model(**read, use_cache=False).logits[..., 0].float().flatten()
    found = per_token.index_select(0, places.gather(1, columns).flatten()).view_as(columns)
    return torch.where(tokens.mask, found, 0.0)


@torch.no_grad()
def reference_logps(
    model: nn.Module, tokens: Tokens, rows: int, temperature: float = 1.0
) -> Tensor:
    """log π_ref of every response token, `rows` responses at a time: Float[B, T]."""
    parts = in_parts(tokens, rows)
    scored = (score(part, frozenset(), model, temperature=temperature) for part in parts)
    return torch.cat([x.token_logps for x in scored])


@torch.no_grad()
def prompt_embeddings(
    model: nn.Module, prompts: Sequence[Sequence[int]], pad_id: int, rows: int = 256
) -> Tensor:
    """The mean over each prompt of what the model's last layer makes of its tokens: Float[P, H]."""
    device, found = next(model.parameters()).device, []
    for i in range(0, len(prompts), rows):
        tokens = Tokens.collate([(p, [pad_id]) for p in prompts[i : i + rows]], pad_id).to(device)
        hidden = model.base_model(input_ids=tokens.ids, use_cache=False).last_hidden_state
        own = torch.arange(hidden.shape[1], device=device) < tokens.start[:, None]
        found.append((hidden * own[..., None]).sum(1) / tokens.start[:, None])
    return torch.cat(found).float().cpu()


@torch.no_grad()
def kl_along(
    policy: nn.Module, reference: nn.Module, tokens: Tokens, theirs: Tokens, rows: int
) -> tuple[Tensor, Tensor]:
    """(exact KL, k1): KL(π_θ ‖ π_ref) over the whole vocabulary at every response token, and
    log π_θ − log π_ref of that token; nats, Float[B, T] each, zero behind the response.

    `theirs` are the same responses, behind prompts as the reference reads them. Of two vocabularies one
    begins with the other, and what is in the longer alone is never said.
    """
    both = zip(in_parts(tokens, rows), in_parts(theirs, rows), strict=True)
    found = [divergence(policy, reference, ours, others) for ours, others in both]
    return torch.cat([x["kl"] for x in found]), torch.cat([x["k1"] for x in found])


def divergence(
    policy: nn.Module, reference: nn.Module, ours: Tokens, theirs: Tokens
) -> dict[str, Tensor]:
    """kl and k1 of `kl_along`, of some rows."""
    (head, states), (ref_head, ref_states) = (
        before_head(policy, ours),
        before_head(reference, theirs),
    )

    def told(targets: Tensor, states: Tensor, ref_states: Tensor) -> dict[str, Tensor]:
        p, q = all_logps(head, states), all_logps(ref_head, ref_states)
        shared = min(p.shape[-1], q.shape[-1])
        p, q = p[:, :shared], q[:, :shared]
        return {
            "kl": (p.exp() * (p - q)).sum(-1),
            "k1": (p - q).gather(1, targets).squeeze(1),
        }

    read = [ours.targets[ours.mask][:, None], states, ref_states]
    found = in_chunks(told, read, width(head, states))
    return {name: spread(x, ours.mask) for name, x in found.items()}


def in_parts(tokens: Tokens, rows: int) -> Iterator[Tokens]:
    """At most so many rows at a time."""
    return (tokens[slice(i, i + rows)] for i in range(0, len(tokens), rows))
