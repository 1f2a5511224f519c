"""Stage: several answers of the SFT model to every test prompt, for best-of-n to choose from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..feedback.answer import Answer, read
from ..tasks.example import Example
from . import lengths, sft, tokenizer
from .decoding import decoding_key, decoding_of

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1
EACH = 16


def inputs(cell: "Cell") -> dict[str, Any]:
    config = cell.config
    return {
        "data": cell.data,
        "sft": cell.key(sft),
        "lengths": cell.key(lengths),
        "decoding": decoding_key(cell),
        "prompts": config["budget"]["prompts"],
        "response_tokens": config["task"]["response_tokens"],
        "seed": config["seed"],
    }


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """A row an answer, those to one prompt side by side."""
    import pandas as pd

    from ..models.build import load_policy
    from ..models.sampling import draw
    from ..models.tokens import load_tokenizer, texts_of

    words = load_tokenizer(cell.make(tokenizer))
    examples = [x for _, x in test_examples(cell)]
    with cell.display.stage(f"candidates ({EACH} a prompt)", EACH * len(examples)) as bar:
        drawn = draw(
            load_policy(cell.make(sft)).to(cell.device),
            words,
            [x.prompt for x in examples],
            decoding_of(cell),
            3_000 + cell.config["seed"],
            per_prompt=EACH,
            on_rows=bar.advance,
            reply=cell.task.replies(examples),
        )
    table = pd.DataFrame({"text": texts_of(words, drawn.ids), "ids": drawn.ids})
    table["finished"] = drawn.finished
    table.to_parquet(folder / "candidates.parquet")
    return {"answers": len(table)}


def load(folder: Path) -> list[Answer]:
    import pandas as pd

    return read(pd.read_parquet(folder / "candidates.parquet"))


def test_examples(cell: "Cell") -> list[tuple[str, Example]]:
    """(split, row): the first so many of every test split."""
    n = cell.config["budget"]["prompts"]
    splits = sorted(s for s in cell.task.splits if s.startswith("test"))
    return [(split, x) for split in splits for x in cell.examples(split)[:n]]
