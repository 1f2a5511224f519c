"""The likeliest response: argmax_y Σ_t log π(y_t | y_<t), not divided by the length.

For a policy of the DPO family it is a search over Q*: by Eq. 10 of "From r to Q*"
(https://arxiv.org/abs/2404.12358) the search of Eq. 12 for Σ_t [r + β log π_ref] plus the value of
where it leads is the one of Eq. 13 for Σ_t β log π*, that is, ordinary beam search on the policy.
The paper finds five beams better than one, and more of them worse, at exploding lengths.
"""

from collections.abc import Sequence
from typing import Any

from .scoring import reference_logps
from .tokens import Tokens, on_the_left


def likeliest(
    model: Any,  # a causal language model of transformers
    prompts: Sequence[Sequence[int]],
    beams: int,
    max_new_tokens: int,
    *,
    pad_id: int,
    eos_id: int,
) -> list[tuple[list[int], list[float], bool]]:
    """The (ids, logps, finished) of each prompt, the `beams` likeliest prefixes kept at a step."""
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    ids, attention = (x.to(device) for x in on_the_left(prompts, pad_id))
    own, model.generation_config = model.generation_config, GenerationConfig()  # no penalties
    try:
        found = model.generate(
            input_ids=ids,
            attention_mask=attention,
            num_beams=beams,
            do_sample=False,
            length_penalty=0.0,
            early_stopping=False,  # goes on while any prefix is likelier than the best that ended
            max_new_tokens=max_new_tokens,
            pad_token_id=pad_id,
            eos_token_id=eos_id,
        )
    finally:
        model.generation_config = own
    responses = [ended(row, eos_id) for row in found[:, ids.shape[1] :].tolist()]
    tokens = Tokens.collate(list(zip(prompts, responses, strict=True)), pad_id).to(device)
    logps = reference_logps(model, tokens, len(tokens))
    return [
        (row, scores[: len(row)], row[-1] == eos_id)
        for row, scores in zip(responses, logps.tolist(), strict=True)
    ]


def ended(row: list[int], eos_id: int) -> list[int]:
    """Up to its first EOS, that included."""
    return row[: row.index(eos_id) + 1] if eos_id in row else row
