"""What a trained policy says to a prompt that somebody types."""

from pathlib import Path

from ..names import Unknown
from ..reports import record as records
from ..reports.record import Record


def policy_of(record: Record) -> str:
    """The folder of the policy of a record."""
    if record.policy is None or not Path(record.policy).exists():
        raise Unknown(
            f"the policy of {record.run_id} is not on this machine: run `{record.command}`"
        )
    return record.policy


def respond(path: Path, prompt: str) -> str:
    """One sample at temperature 1 of the policy of a record."""
    from ..models.build import load_policy
    from ..models.sampling import Decoding, draw
    from ..models.tokens import load_tokenizer, texts_of

    record = records.read(path)
    words, policy = load_tokenizer(policy_of(record)), load_policy(policy_of(record))
    decoding = Decoding(max_new_tokens=int(record.decoding["max_new_tokens"]))
    drawn = draw(policy, words, [prompt], decoding, record.seed)
    return texts_of(words, drawn.ids)[0].strip()
