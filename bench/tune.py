"""`prefzoo tune`: a learning rate for each algorithm, chosen on validation with equal numbers of trials.

Every trial is a run of the recipe's `optimize` stage at another learning rate, on another seed than
studies use, or on several: what is best on one may go too far on the next. The winner, the trials and
the command go to conf/tuned/TASK/MODEL/ALGO.yaml, which later runs of that task, model and algorithm
read.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from .names import check

TRIALS = (1e-4, 3e-4, 1e-3, 3e-3)
SEEDS, PROMPTS = (1000,), 512  # of trials; validation prompts


def resolved(words: Sequence[str], conf: Path) -> dict[str, Any]:
    """The configuration of one cell as plain data, as a command with these words resolves it."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("run", overrides=list(words), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return {**plain, "overrides": list(words)}


def tune(words: Sequence[str], conf: Path) -> int:
    """Run the trials of one algorithm (they are kept: the command goes on where it stopped)."""
    asked = dict(w.split("=", 1) for w in words if w.startswith(("lr=", "seeds=")))
    rates = [float(x) for x in asked["lr"].split(",")] if "lr" in asked else TRIALS
    seeds = [int(x) for x in asked["seeds"].split(",")] if "seeds" in asked else SEEDS
    words = [w for w in words if not w.startswith(("lr=", "seeds="))]
    check(words, conf)
    scores = {rate: fmean(trial(rate, seed, words, conf) for seed in seeds) for rate in rates}
    print(written(conf, words, scores, seeds))
    return 0


def trial(rate: float, seed: int, words: Sequence[str], conf: Path) -> float:
    """Validation score after the last update; −inf where training failed."""
    from pandas import read_parquet

    from .stages import optimize
    from .stages.cell import Cell
    from .store import Store
    from .training.loop import TrainingError

    settings = [f"model.optimization.lr={rate:g}", f"seed={seed}", f"budget.validation={PROMPTS}"]
    config = resolved([*words, *settings], conf)
    cell = Cell(config, Store(Path(config["store"])))
    try:
        log = read_parquet(cell.make(optimize) / "log.parquet")
    except TrainingError as error:
        cell.display.say(str(error))
        return float("-inf")
    score = float(log["validation/score"].iloc[-1])
    cell.display.say(f"{config['name']} lr {rate:g} seed {seed}: {score:.4f} on validation")
    return score


def written(
    conf: Path, words: Sequence[str], scores: Mapping[float, float], seeds: Sequence[int]
) -> Path:
    """The file that later runs read."""
    config = resolved(words, conf)
    best = max(scores, key=lambda rate: scores[rate])
    rates = ",".join(f"{rate:g}" for rate in scores)
    on = ",".join(map(str, seeds))
    command = shlex.join(["prefzoo", "tune", *words, f"lr={rates}", f"seeds={on}"])
    lines = [
        "# @package _global_",
        f"# {command}",
        f"# mean score of {PROMPTS} validation prompts after the last update, seeds {on};",
        "# the score is the gold reward where there is one, else the held-out reward:",
        *(f"#   lr {rate:g}: {score:.4f}" for rate, score in scores.items()),
        f"tuned: '{command}'",
        "model:",
        "  optimization:",
        f"    lr: {best!r}",
    ]
    path = (
        conf / "tuned" / config["task"]["name"] / config["model"]["name"] / f"{config['name']}.yaml"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
