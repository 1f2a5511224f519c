"""A phase of rollouts against a bare decoding loop of the same model: 32 prompts, 48 tokens each.

Ours draws each response from its own random numbers, keeps log-probabilities, and lets finished rows
go; the loop keeps a cache, draws from a softmax and nothing else. `phase` scores the samples under the
reference, too, which no loop does.
"""

from collections.abc import Callable

import torch

from ..models.sampling import Decoding, sample, uniforms
from ..models.scoring import reference_logps
from ..models.tokens import Tokens, on_the_left
from .clock import Row, compared
from .workload import EOS, PAD, Workload, model, prompts

PROMPTS, NEW_TOKENS = 32, 48
WORKLOAD = Workload("rollouts", prompt=(40, 80))


def rows(rounds: int) -> list[Row]:
    policy, asked = model(WORKLOAD), prompts(WORKLOAD, PROMPTS)

    def ours() -> Tokens:
        drawn = sample(
            policy,
            asked,
            Decoding(max_new_tokens=NEW_TOKENS),
            uniforms(0, PROMPTS, NEW_TOKENS),
            pad_id=PAD,
            eos_id=EOS,
        )
        return Tokens.collate(drawn.rows, PAD)

    @torch.no_grad()
    def phase() -> None:
        reference_logps(policy, ours(), PROMPTS)

    bare = loop(policy, asked)
    return [compared("rollouts", ours, bare, rounds), compared("phase", phase, bare, rounds)]


def loop(policy: torch.nn.Module, asked: list[list[int]]) -> Callable[[], None]:
    """What anybody would write first."""

    @torch.no_grad()
    def decode() -> None:
        ids, attention = on_the_left(asked, PAD)
        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        read = {"input_ids": ids, "position_ids": positions}
        cache = None
        for _ in range(NEW_TOKENS):
            out = policy(**read, attention_mask=attention, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            said = torch.multinomial(out.logits[:, -1].softmax(-1), 1)
            attention = torch.cat([attention, torch.ones_like(said)], 1)
            read = {"input_ids": said, "position_ids": read["position_ids"][:, -1:] + 1}

    return decode
