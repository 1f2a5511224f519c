"""Prompts in, responses out.

A response depends on its own row of uniform numbers and on nothing else in the batch: token t is
where u_t falls in the cumulative distribution. So neither batch size nor neighbours change a text,
and two policies that answer with the same numbers are compared on common randomness. The search for
the likeliest response (`beams`) draws nothing. In a dialogue EOS ends a turn, and another speaker may
have something to say to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .beams import likeliest
from .build import load_policy
from .computing import device_of
from .proxy import ProxyTuned
from .room import with_room
from .tokens import as_read, heard, load_tokenizer, on_the_left, plain_ids, prompt_ids, texts_of


class DecodingError(ValueError):
    """A way of decoding that cannot be, told in one line."""


@dataclass(frozen=True)
class Decoding:
    """How text is drawn. Temperature 0 seeks the likeliest response, `beams` prefixes at a time, and
    with one of them is greedy; top_p 1 cuts nothing. tuned, untuned: folders or hub ids of models that
    steer the one that answers (see proxy.py), `strength` times."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 48
    beams: int = 1
    tuned: str | None = None
    untuned: str | None = None
    strength: float = 1.0

    def __post_init__(self):
        if self.beams > 1 and self.temperature > 0:
            raise DecodingError(
                f"decoding.beams={self.beams} seeks the likeliest response: set decoding.temperature=0"
            )
        if self.beams > 1 and self.tuned:
            raise DecodingError("decoding.beams searches with one model: leave out decoding.tuned")


@dataclass(frozen=True)
class Samples:
    """A response an entry. prompts: what it answers, as token ids; ids: its tokens, EOS included where
    there is one; logps: theirs, at the temperature of drawing (1 where that is greedy) and before top_p
    cuts, 0 for what others say; finished: whether EOS came before the length limit."""

    prompts: list[Sequence[int]]
    ids: list[list[int]]
    logps: list[list[float]]
    finished: list[bool]

    @property
    def rows(self) -> list[tuple[Sequence[int], list[int]]]:
        """(prompt, response), as `Tokens.collate` takes them."""
        return list(zip(self.prompts, self.ids, strict=True))

    @property
    def own_logps(self) -> list[list[float]]:
        """Those of our tokens alone."""
        both = zip(self.ids, self.logps, strict=True)
        return [[x for i, x in zip(*row, strict=True) if i >= 0] for row in both]

    def __add__(self, others: "Samples") -> "Samples":
        """These, then the others."""
        return Samples(*(x + y for x, y in zip(self.columns, others.columns, strict=True)))

    def take(self, entries: Sequence[int]) -> "Samples":
        return Samples(*([x[i] for i in entries] for x in self.columns))

    @property
    def columns(self) -> tuple[list[Any], ...]:
        return self.prompts, self.ids, self.logps, self.finished


def uniforms(seed: int, rows: int, steps: int) -> Tensor:
    """Float[rows, steps] in [0, 1); the first rows are the same however many follow."""
    return torch.rand(rows, steps, generator=torch.Generator().manual_seed(seed))


def draw(
    policy: nn.Module,
    words: Any,  # the tokenizer
    prompts: Sequence[str],
    decoding: Decoding,
    seed: int,
    *,
    per_prompt: int = 1,
    on_rows: Callable[[int], Any] = lambda n: None,
    reply: Callable[[int, str], str | None] | None = None,
) -> Samples:
    """`per_prompt` responses to each text, side by side, with the random numbers of a seed. `reply` is
    what another speaker says to a response so far to the prompt of a number, if anything."""
    if reply and decoding.beams > 1:
        raise DecodingError(
            "decoding.beams searches for one turn, and in this task others have a say: set "
            "decoding.beams=1"
        )
    model = steered(policy, words, decoding)
    noise = uniforms(seed, per_prompt * len(prompts), decoding.max_new_tokens)
    drawn = sample(
        model,
        prompt_ids(words, prompts),
        decoding,
        noise,
        pad_id=words.pad_token_id,
        eos_id=words.eos_token_id,
        per_prompt=per_prompt,
        on_rows=on_rows,
    )
    if reply is None:
        return drawn
    return conversed(
        model, words, drawn, decoding, noise, lambda i, said: reply(i // per_prompt, said)
    )


def steered(policy: nn.Module, words: Any, decoding: Decoding) -> nn.Module:
    """Who speaks: the policy, or the policy with what others have learned."""
    if decoding.tuned is None:
        return policy
    paths = [decoding.tuned, decoding.untuned]
    for path in paths:
        if load_tokenizer(path).get_vocab() != words.get_vocab():
            raise DecodingError(
                f"proxy tuning adds logits token by token, and the vocabulary of {path} is not that "
                "of the policy that answers: name models of one tokenizer"
            )
    device = next(policy.parameters()).device
    return ProxyTuned(policy, *(load_policy(p).to(device) for p in paths), decoding.strength)


@torch.no_grad()
@torch.compiler.set_stance("force_eager")  # a cache that grows would be compiled at every token
def sample(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    noise: Tensor,
    *,
    pad_id: int,
    eos_id: int,
    per_prompt: int = 1,
    rows: int = 512,
    on_rows: Callable[[int], Any] = lambda n: None,
) -> Samples:
    """`per_prompt` responses to each prompt, side by side; noise: Float[P · per_prompt, max_new_tokens].

    At most `rows` responses are under way at a time, prompts of like length together.
    """
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    searched = decoding.beams > 1
    size = max(1, rows // (decoding.beams if searched else per_prompt))
    found: list[Any] = [None] * (len(prompts) * per_prompt)
    for i in range(0, len(prompts), size):
        some = by_length[i : i + size]
        owners = [p * per_prompt + k for p in some for k in range(per_prompt)]
        batch = [prompts[p] for p in some]
        if searched:
            best = likeliest(
                model, batch, decoding.beams, decoding.max_new_tokens, pad_id=pad_id, eos_id=eos_id
            )
            results = [one for one in best for _ in range(per_prompt)]
        else:
            results = _decode(model, batch, decoding, noise[owners], pad_id, eos_id, per_prompt)
        for owner, result in zip(owners, results, strict=True):
            found[owner] = result
        on_rows(len(owners))
    ids, logps, finished = zip(*found, strict=True) if found else ((), (), ())
    asked = [p for p in prompts for _ in range(per_prompt)]
    return Samples(asked, list(ids), list(logps), list(finished))


def _decode(model, prompts, decoding, noise, pad_id, eos_id, per_prompt):
    """One batch: the prompts read once, then a token a step; finished rows leave the batch."""
    device = device_of(model)
    ids, attention = (x.to(device) for x in on_the_left(prompts, pad_id))
    positions = (attention.cumsum(-1) - 1).clamp(min=0)
    read = {"attention_mask": attention, "position_ids": positions}
    out = model(input_ids=ids, **read, use_cache=True, logits_to_keep=1)
    cache, logits = with_room(out.past_key_values), out.logits[:, -1]
    position = positions[:, -1]
    if per_prompt > 1:
        cache.batch_repeat_interleave(per_prompt)
        attention, position, logits = (
            x.repeat_interleave(per_prompt, 0) for x in (attention, position, logits)
        )

    total, temperature = len(prompts) * per_prompt, decoding.temperature or 1.0
    noise = noise.to(device)
    tokens = torch.full((total, decoding.max_new_tokens), pad_id, device=device)
    logps = torch.zeros(total, decoding.max_new_tokens, device=device)
    length = torch.full((total,), decoding.max_new_tokens, device=device)
    finished = torch.zeros(total, dtype=torch.bool, device=device)
    alive = torch.arange(total, device=device)  # rows of the batch -> rows of the result
    for step in range(decoding.max_new_tokens):
        logits = logits.float().div_(temperature)
        chosen = pick(logits, noise[alive, step], decoding)
        tokens[alive, step] = chosen
        logps[alive, step] = logits.log_softmax(-1).gather(1, chosen[:, None]).squeeze(1)
        ended = alive[(chosen == eos_id) & ~finished[alive]]
        length[ended], finished[ended] = step + 1, True
        keep = (~finished[alive]).nonzero().squeeze(1)
        if not len(keep) or step + 1 == decoding.max_new_tokens:
            break
        if len(keep) <= 0.75 * len(alive):
            cache.batch_select_indices(keep)
            alive, attention, position, chosen = (
                x[keep] for x in (alive, attention, position, chosen)
            )
        attention = torch.cat([attention, torch.ones_like(attention[:, :1])], 1)
        position = position + 1
        logits = model(
            input_ids=chosen[:, None],
            attention_mask=attention,
            position_ids=position[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    return [
        (tokens[i, :n].tolist(), logps[i, :n].tolist(), done)
        for i, (n, done) in enumerate(zip(length.tolist(), finished.tolist(), strict=True))
    ]


def conversed(
    model: nn.Module,
    words: Any,
    drawn: Samples,
    decoding: Decoding,
    noise: Tensor,
    reply: Callable[[int, str], str | None],
) -> Samples:
    """Responses that go on for as long as somebody replies to them; `reply` knows them by their number.

    The length limit holds for all that is said in a response. One whose next reply would leave no room
    for a word of ours is cut before it.
    """
    limit = decoding.max_new_tokens
    ids, logps, finished = (list(x) for x in (drawn.ids, drawn.logps, drawn.finished))
    ended = [i for i, end in enumerate(finished) if end]
    while ended:
        texts = zip(ended, texts_of(words, [ids[i] for i in ended]), strict=True)
        replies = {i: said for i, text in texts if (said := reply(i, text)) is not None}
        encoded = zip(replies, plain_ids(words, list(replies.values())), strict=True)
        told = {i: said for i, said in encoded if len(ids[i]) + len(said) < limit}
        for i in replies:
            finished[i] = i in told
        for i, said in told.items():
            ids[i] = [*ids[i], *heard(said)]
            logps[i] = [*logps[i], *[0.0] * len(said)]
        begun = torch.tensor([len(ids[i]) for i in told], dtype=torch.long)
        steps = (begun[:, None] + torch.arange(limit)).clamp(max=limit - 1)
        turns = sample(
            model,
            [[*drawn.prompts[i], *as_read(ids[i])] for i in told],
            decoding,
            noise[list(told)].gather(1, steps),
            pad_id=words.pad_token_id,
            eos_id=words.eos_token_id,
        )
        for i, said, known in zip(told, turns.ids, turns.logps, strict=True):
            room = limit - len(ids[i])
            ids[i] = [*ids[i], *said[:room]]
            logps[i] = [*logps[i], *known[:room]]
            finished[i] = ids[i][-1] == words.eos_token_id
        ended = [i for i in told if finished[i]]
    return Samples(drawn.prompts, ids, logps, finished)


def pick(logits: Tensor, u: Tensor, decoding: Decoding) -> Tensor:
    """The token in whose share of the distribution u falls: Float[B, V] at the temperature of drawing,
    Float[B] -> Int[B]."""
    if decoding.temperature == 0:
        return logits.argmax(-1)
    p = logits.softmax(-1)
    if decoding.top_p < 1:
        ordered, order = p.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered  # what more likely tokens take
        p = p.scatter(1, order, torch.where(before < decoding.top_p, ordered, 0.0))
    cumulative = p.double().cumsum(-1)
    at = torch.searchsorted(cumulative, u[:, None] * cumulative[:, -1:], right=True).squeeze(1)
    return at.clamp(max=logits.shape[-1] - 1)
