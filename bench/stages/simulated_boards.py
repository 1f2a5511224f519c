"""Stage: what the board says of methods that are known to be no better than SFT, or to be so."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..stats.simulated import World, study

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell") -> dict[str, Any]:
    return {**cell.config["simulated_boards"], "seed": cell.config["seed"]}


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """columns: world, prompts, seeds, and those of stats.simulated.Found."""
    import pandas as pd

    from ..reports.plot import error_rates

    spec = inputs(cell)
    size = {name: spec[name] for name in ("boards", "methods", "seed")}
    rows = []
    with cell.display.stage("boards", len(spec["worlds"]) * len(spec["prompts"])) as bar:
        for name, spreads in spec["worlds"].items():
            for prompts in spec["prompts"]:
                for seeds in spec["seeds"]:
                    found = study(World(**spreads), seeds, prompts, **size)
                    rows.append(
                        {"world": name, "prompts": prompts, "seeds": seeds, **asdict(found)}
                    )
                bar.advance()
    table = pd.DataFrame(rows)
    table.to_parquet(folder / "simulated_boards.parquet")
    (folder / "simulated_boards.png").write_bytes(error_rates(table))
    return {"lines": table.to_string(index=False, float_format="{:.3f}".format).splitlines()}
