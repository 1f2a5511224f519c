"""Stage: which rows fit. What the length limits drop is counted once per task and tokenizer."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store import content_hash
from ..tasks.example import DataError
from . import tokenizer

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell") -> dict[str, Any]:
    config = cell.config
    return {
        "data": cell.data,
        "tokenizer": cell.key(tokenizer),
        "context": config["model"]["context"],
        "response_tokens": config["task"]["response_tokens"],
    }


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """A prompt fits if `response_tokens` have room behind it; answers longer than that drop a row."""
    from ..models.tokens import load_tokenizer, prompt_ids, response_ids

    limit, room = context(cell), inputs(cell)["response_tokens"]
    words = load_tokenizer(cell.make(tokenizer))
    kept: dict[str, list[str]] = {}
    dropped: dict[str, int] = {}
    with cell.display.stage("lengths"):
        for split, rows in cell.task.splits.items():
            prompts = [len(p) for p in prompt_ids(words, [x.prompt for x in rows])]
            taught = [answers(x) for x in rows]
            flat = iter(response_ids(words, [a for some in taught for a in some]))
            longest = [max((len(next(flat)) for _ in some), default=0) for some in taught]
            kept[split] = []
            for x, prompt, answer in zip(rows, prompts, longest, strict=True):
                if prompt + room > limit:
                    reason = f"{split}: prompt longer than {limit - room} tokens"
                elif answer > room:
                    reason = f"{split}: response longer than {room} tokens"
                else:
                    kept[split].append(x.id)
                    continue
                dropped[reason] = dropped.get(reason, 0) + 1
            if rows and not kept[split]:
                raise DataError(
                    f"task {cell.task.name}: no row of {split} fits into {limit} tokens "
                    f"with {room} for the response: raise model.context or lower task.response_tokens"
                )
    for reason, n in dropped.items():
        cell.display.say(f"dropped {n} rows ({reason})")
    (folder / "kept.json").write_text(json.dumps(kept))
    return {"dropped": dropped, "hash": content_hash(kept)}


def context(cell: "Cell") -> int:
    """How many tokens the model reads: as configured, or fewer where it cannot read so many."""
    from ..models.build import context_length

    model = cell.config["model"]
    own = context_length(model["path"]) if model["path"] else model["context"]
    return min(model["context"], own)


def answers(x: Any) -> list[str]:
    """What is learned from a row, and so has to fit."""
    return [a for a in (x.demonstration, x.chosen, x.rejected, x.completion) if a]
