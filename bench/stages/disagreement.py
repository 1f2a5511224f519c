"""Stage: what a person should label first, because the reward models of an ensemble dispute it.

Two answers of the SFT model to each of some prompts that nothing has learned from (the part `waiting`
of the samples). A member says by which margin it prefers the first, on its normalized scale; members
disagree on a pair as often as two of them, drawn at random, prefer different answers. The queue is
ordered by that share, ties by the deviation of the margins; `feedback=people` brings its labels back.
Coste et al., 2023, https://arxiv.org/abs/2310.02743, for the ensemble; the queue is ours.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback import gold
from ..feedback.answer import read
from ..stats.bootstrap import mean_interval
from ..stats.calibration import accuracy
from ..tasks.example import DataError
from . import ensemble, labels, reward_model, samples

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1
DISPUTED = 0.25  # the share of the queue whose accuracy is told apart


def inputs(cell: "Cell") -> dict[str, Any]:
    return {
        "data": cell.data,
        "reward_models": ensemble.identity(cell),
        "samples": cell.key(samples, part="waiting"),
    }


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """`disagreement.jsonl`: a pair a line, the most disputed first, `better` left for a person."""
    import pandas as pd

    members = ensemble.members(cell)
    if len(members) < 2:
        raise DataError("one reward model cannot disagree: set `feedback=ensemble`")
    drawn = pd.read_parquet(cell.make(samples, part="waiting") / "samples.parquet")
    known = labels.by_id(cell)
    examples = [known[i] for i in drawn["example"]]
    answers = read(drawn)
    with cell.display.stage("disagreement"):
        said = np.array([
            reward_model.rewards(cell, examples=examples, answers=answers, **member)
            for member in members.values()
        ])  # fmt: skip
    margins = said[:, ::2] - said[:, 1::2]
    share, deviation = disagreement(margins), margins.std(0)
    differ = [a.text != b.text for a, b in zip(answers[::2], answers[1::2], strict=True)]
    order = [i for i in np.lexsort((-deviation, -share)) if differ[i]]
    if not order:
        raise DataError(f"task {cell.task.name}: all pairs that wait are of identical answers")
    with (folder / "disagreement.jsonl").open("w") as file:
        for i in order:
            row = {
                "id": examples[2 * i].id,
                "prompt": examples[2 * i].prompt,
                "a": answers[2 * i].text,
                "b": answers[2 * i + 1].text,
                "better": None,
                "disagreement": round(float(share[i]), 4),
                "deviation": round(float(deviation[i]), 4),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    found = {"disagreement": mean(share[order])}
    if cell.task.gold is not None:
        exact = np.array(gold.rewards(cell.task, examples, answers))
        found |= accuracies(margins.mean(0)[order], (exact[::2] - exact[1::2])[order])
    return {"metrics": found}


def disagreement(margins: np.ndarray) -> np.ndarray:
    """Share of the pairs of members that prefer different answers: Float[M, N] -> Float[N]. A margin
    of zero agrees with nobody's preference by half."""
    signs = np.sign(margins)
    count = len(signs)
    agreed = (signs.sum(0) ** 2 - (signs**2).sum(0)) / 2  # Σ s_i s_j over pairs of members
    return 0.5 - agreed / (count * (count - 1))


def mean(share: np.ndarray) -> dict[str, Any]:
    return {
        **mean_interval(share).fields,
        "estimator": "share of pairs of members, mean over pairs of answers, percentile bootstrap",
        "unit": "share",
    }


def accuracies(margins: np.ndarray, exact: np.ndarray) -> dict[str, dict[str, Any]]:
    """How often the mean of the members is right where they disagree most, and elsewhere; by gold,
    whose ties are left out. The rows come in the order of the queue."""
    cut = max(1, round(DISPUTED * len(margins)))
    found = {}
    for name, rows in (("disputed", slice(0, cut)), ("undisputed", slice(cut, None))):
        agreement = (margins[rows] * np.sign(exact[rows]))[exact[rows] != 0]
        if not len(agreement):
            continue
        found[f"accuracy_{name}"] = {
            **accuracy(agreement).fields,
            "estimator": "share of pairs on which the mean reward sides with gold, Wilson interval",
            "unit": "share",
        }
    return found
