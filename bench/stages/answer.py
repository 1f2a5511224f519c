"""What a trained policy says to a prompt that somebody types, and what it rewards in a response."""

from pathlib import Path
from typing import Any

from ..names import Unknown
from ..reports import record as records
from ..reports.record import Record


def policy_of(record: Record) -> str:
    """The folder of the policy of a record."""
    if record.kind == "reward_model":
        raise Unknown(f"{record.run_id} is a reward model and answers nothing: name a policy's run")
    if record.policy is None or not Path(record.policy).exists():
        raise Unknown(
            f"the policy of {record.run_id} is not on this machine: run `{record.command}`"
        )
    return record.policy


def opened(path: Path) -> tuple[Record, Any, Any]:
    """A record, the tokenizer of its policy, and the policy."""
    from ..models.build import load_policy
    from ..models.tokens import load_tokenizer

    record = records.read(path)
    return record, load_tokenizer(policy_of(record)), load_policy(policy_of(record))


def response(record: Record, words: Any, policy: Any, prompt: str) -> list[int]:
    """One sample at temperature 1."""
    from ..models.sampling import Decoding, draw

    decoding = Decoding(max_new_tokens=int(record.decoding["max_new_tokens"]))
    return draw(policy, words, [prompt], decoding, record.seed).ids[0]


def respond(path: Path, prompt: str) -> str:
    """The text of it, by the policy of a record."""
    from ..models.tokens import texts_of

    record, words, policy = opened(path)
    return texts_of(words, [response(record, words, policy, prompt)])[0].strip()


def rewarded(path: Path, prompt: str, typed: str) -> tuple[float, list[tuple[str, float]]]:
    """(β, a pair of token and β (log π − log π_SFT) for each token of a response).

    The response is what was typed, a space before it where there is none, or else the policy's own.
    """
    from ..models.build import load_policy
    from ..models.implicit import implicit_rewards
    from ..models.tokens import Tokens, load_tokenizer, response_ids
    from .token_rewards import beta_of

    record, words, policy = opened(path)
    start = Path(record.config["store"]) / str(record.parents.sft)
    if typed:
        between = "" if typed[0].isspace() or prompt[-1:].isspace() else " "
        ids = response_ids(words, [between + typed])[0]
    else:
        ids = response(record, words, policy, prompt)
    ours, theirs = (Tokens.behind(w, [prompt], [ids]) for w in (words, load_tokenizer(start)))
    beta = beta_of(record.config["algo"])
    rewards = implicit_rewards(policy, load_policy(start), ours, theirs, beta, 1)[0].tolist()
    own = [(i, x) for i, x in zip(ids, rewards, strict=True) if i >= 0]
    return beta, [(words.decode([i]), x) for i, x in own]
