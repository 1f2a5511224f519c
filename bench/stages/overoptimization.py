"""Stage: gold and proxy against the distance from the SFT model, of best-of-n and along a training.

Best-of-n chooses by the reward model among candidates, and is averaged over all choices of n, on the
first test split; its distance is what KL would be if no two candidates were alike. A training is seen
where validation saw it, against the SFT model on the same prompts and random numbers; its proxy is the
mean reward of the rollouts last drawn.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback import gold
from ..stats.bootstrap import mean_interval
from ..stats.overoptimization import BEST_OF_N, REINFORCED, Fit, best_of, fit, kl_of_best_of
from ..tasks.example import DataError
from . import candidates, labels, optimize, reward_model, sft, tokenizer

if TYPE_CHECKING:
    from pandas import DataFrame

    from .cell import Cell

VERSION = 1
CHOSEN_FROM = (1, 2, 3, 4, 6, 8, 12, 16)


def inputs(cell: "Cell") -> dict[str, Any]:
    return {
        "policy": cell.key(optimize),
        "candidates": cell.key(candidates),
        "proxy": cell.key(reward_model, by=labels.by_default(cell), part="train"),
    }


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """columns: who (`best_of_n`, `training`), n or step, kl (nats), gold, gold_low, gold_high, proxy,
    gained (gold over the SFT model's), law (what the fitted law says was gained; NaN without a fit)."""
    import pandas as pd

    if cell.task.gold is None:
        raise DataError(
            f"task {cell.task.name} has no gold reward, and nothing else tells over-optimization: leave "
            "overoptimization out of `stages`"
        )
    with cell.display.stage(f"over-optimization {cell.config['name']}"):
        chosen, law_of_n = best_of_curve(cell)
        trained, law = training_curve(cell)
    pd.concat([chosen, trained]).to_parquet(folder / "overoptimization.parquet")
    return {"metrics": told("best_of_n", law_of_n) | told("training", law)}


def best_of_curve(cell: "Cell") -> "tuple[DataFrame, Fit]":
    import pandas as pd

    (first, _), *_ = rows = candidates.test_examples(cell)
    repeated = [x for split, x in rows if split == first for _ in range(candidates.EACH)]
    answers = candidates.load(cell.make(candidates))[: len(repeated)]
    worth, liked = (
        np.asarray(rewards).reshape(-1, candidates.EACH)
        for rewards in (
            gold.rewards(cell.task, repeated, answers),
            reward_model.rewards(cell, labels.by_default(cell), "train", repeated, answers),
        )
    )
    golds, proxies = (np.stack([best_of(n, liked, x) for n in CHOSEN_FROM]) for x in (worth, liked))
    kl = kl_of_best_of(CHOSEN_FROM)
    gains = golds - golds[0]
    law = fit(BEST_OF_N, np.sqrt(kl[1:]), gains[1:])
    bounds = [mean_interval(x) for x in golds]
    table = pd.DataFrame({
        "who": "best_of_n",
        "n": CHOSEN_FROM,
        "kl": kl,
        "gold": golds.mean(1),
        "gold_low": [x.low for x in bounds],
        "gold_high": [x.high for x in bounds],
        "proxy": proxies.mean(1),
        "gained": gains.mean(1),
        "law": BEST_OF_N.gained(np.sqrt(kl), law.alpha.value, law.beta.value),
    })  # fmt: skip
    return table, law


def training_curve(cell: "Cell") -> "tuple[DataFrame, Fit | None]":
    import pandas as pd

    from ..models.build import load_policy
    from ..models.tokens import load_tokenizer
    from ..training.batches import Models

    log = pd.read_parquet(cell.make(optimize) / "log.parquet")
    base = load_policy(cell.make(sft)).requires_grad_(False)
    validate = optimize.validation(cell, load_tokenizer(cell.make(tokenizer)), base)
    start = validate(Models(policy=base))["gold"]
    seen = log.assign(proxy=log["rollout/reward"].ffill() if "rollout/reward" in log else np.nan)
    seen = seen[seen["validation/gold"].notna()]
    table = pd.DataFrame({
        "who": "training",
        "step": seen["step"],
        "kl": seen["validation/kl"],
        "gold": seen["validation/gold"],
        "proxy": seen["proxy"],
        "gained": seen["validation/gold"] - start,
    })  # fmt: skip
    d = np.sqrt(table["kl"].to_numpy())
    if len(d) < 3 or not (d > 0).all():
        return table.assign(law=np.nan), None
    law = fit(REINFORCED, d, table["gained"])
    return table.assign(law=REINFORCED.gained(d, law.alpha.value, law.beta.value)), law


def told(name: str, law: Fit | None) -> dict[str, dict[str, Any]]:
    """`law/NAME/alpha`, `.../beta` and, where it was passed, `.../peak_kl`, as a record has them."""
    if law is None:
        return {}
    form = {"best_of_n": "d (α − β d)", "training": "d (α − β log d)"}[name]
    how = f"gold gained = {form}, d = √KL in nats, least squares; r2 {law.r2:.3f}"
    found = {
        f"law/{name}/{key}": {**x.fields, "estimator": how}
        for key, x in (("alpha", law.alpha), ("beta", law.beta))
    }
    top = law.peak
    if top.value <= law.reach:  # else gold was not seen to fall
        bounded = top.high <= law.reach
        found[f"law/{name}/peak_kl"] = {
            "value": top.value**2,
            "low": top.low**2 if bounded else None,
            "high": top.high**2 if bounded else None,
            "n": top.n,
            "estimator": how + ("" if bounded else "; the upper bound is beyond what was seen"),
            "unit": "nats a response",
        }
    return found
