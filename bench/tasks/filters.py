"""Which rows stay, and on which side of the split they fall. Text alone decides; all is counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256

from .example import DataError, Example

Splits = dict[str, list[Example]]


def keep(
    splits: Mapping[str, Sequence[Example]],
    *,
    max_prompt_chars: int | None = None,
    max_response_chars: int | None = None,
) -> tuple[Splits, Counter[str]]:
    """The rows worth learning from, in order, and how many went for what: "train: empty prompt".

    A row goes if its prompt or one of its responses is empty or over-long (in characters), if
    chosen and rejected are identical, if it was seen before in its split, or if its prompt is also
    asked in a split it must not know: train knows neither validation nor test, validation no test.
    """
    kept: Splits = {}
    dropped: Counter[str] = Counter()
    for split, rows in splits.items():
        kept[split] = []
        seen = set()
        for row in rows:
            reason = _flaw(row, max_prompt_chars, max_response_chars)
            content = content_of(row)
            if reason is None and content in seen:
                reason = "duplicate row"
            seen.add(content)
            if reason is None:
                kept[split].append(row)
            else:
                dropped[f"{split}: {reason}"] += 1
    tests = [split for split in kept if split not in ("train", "validation")]
    for split, unknown in (("validation", tests), ("train", ["validation", *tests])):
        for other in unknown:
            if split in kept and other in kept:
                asked = {question(row) for row in kept[other]}
                apart = [row for row in kept[split] if question(row) not in asked]
                dropped[f"{split}: prompt also in {other}"] += len(kept[split]) - len(apart)
                kept[split] = apart
    return kept, +dropped


def cut(
    rows: Sequence[Example], sizes: Mapping[str, float], *, seed: int = 0
) -> tuple[list[Example], Splits]:
    """What is left of `rows`, and the splits cut from them: {"test": 0.1, "validation": 200}.

    A size is a share of the rows (a float) or a number of rows (an int). Whole prompts are taken,
    in the order of sha256(seed, prompt), until the size is reached: all rows with one prompt fall
    on one side, and the order of the rows does not matter. DataError if nothing would be left.
    """
    prompts = Counter(question(row) for row in rows)
    queue = sorted(prompts, key=lambda prompt: sha256(f"{seed}\0{prompt}".encode()).digest())
    queue.reverse()  # to be popped
    side: dict[str, str] = {}
    for split, size in sizes.items():
        wanted = size * len(rows) if isinstance(size, float) else size
        taken = 0
        while taken < wanted and queue:
            prompt = queue.pop()
            side[prompt] = split
            taken += prompts[prompt]
    if not queue:
        wishes = " and ".join(f"{split}={size}" for split, size in sizes.items())
        raise DataError(
            f"{len(rows)} rows with {len(prompts)} prompts leave nothing to train on after"
            f" {wishes}; ask for less, or bring splits of your own"
        )
    splits: Splits = {split: [] for split in sizes}
    left = []
    for row in rows:
        split = side.get(question(row))
        (left if split is None else splits[split]).append(row)
    return left, splits


def question(row: Example) -> str:
    """A prompt as far as leakage is concerned: white space does not make it another one."""
    return " ".join(row.prompt.split())


def content_of(row: Example) -> tuple[object, ...]:
    """Everything a row teaches; equal for duplicates, whatever their ids."""
    return (
        row.prompt,
        row.references,
        row.demonstration,
        row.chosen,
        row.rejected,
        row.p_chosen,
        row.completion,
        row.desirable,
    )


def _flaw(row: Example, max_prompt_chars: int | None, max_response_chars: int | None) -> str | None:
    """Why a row cannot stay, or None."""
    responses = [
        response.strip()
        for response in (row.demonstration, row.chosen, row.rejected, row.completion)
        if response is not None
    ]
    if not row.prompt.strip():
        return "empty prompt"
    if not all(responses):
        return "empty completion"
    if row.chosen is not None and row.rejected is not None:  # noqa: SIM102
        if row.chosen.strip() == row.rejected.strip():
            return "identical chosen and rejected"
    if max_prompt_chars is not None and len(row.prompt) > max_prompt_chars:
        return f"prompt over {max_prompt_chars} characters"
    if max_response_chars is not None and max(map(len, responses), default=0) > max_response_chars:
        return f"response over {max_response_chars} characters"
    return None
