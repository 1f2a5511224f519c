"""Stage: which answers a judge of the user's choice (`judge=`) finds better, and what that judge is like.

Every test answer is compared with the SFT model's answer and with the reference, in both orders
(feedback/labeller.py). P(ours is better) above ½ wins, ½ is a tie; equal answers are a tie that nobody is
asked about, and a pair of which an order could not be read is left out. Of the pairs that were asked
about, the same verdicts tell what a judge likes whatever answers say, a place and length (Zheng et al.,
2023, https://arxiv.org/abs/2306.05685, section 3.3), and, where gold exists, how often it is right.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics.win_rate import wins, won
from ..stats.agreement import right
from ..stats.bootstrap import expanded, mean_interval, wilson
from ..stats.length_control import at_equal_length
from ..store import content_hash
from . import ai_labeller, evaluate
from .candidates import test_examples

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1
OPPONENTS = {  # opponent -> column
    "sft": "win_rate_by_judge",
    "references": "win_rate_by_judge_over_references",
}
EQUAL_LENGTH = "win_rate_by_judge_at_equal_length"
MEANING = {  # column -> what it is a share of
    "win_rate_by_judge": "against the SFT model's answers, ties half",
    "win_rate_by_judge_over_references": "against the references, ties half",
    "judge/first": "of its answers, those for what it was shown first, ties half",
    "judge/inconsistent": "of pairs, those in which the same place won in both orders",
    "judge/longer": "of pairs of unequal length in words, those the longer answer won, ties half",
    "judge/agrees": "of pairs that gold does not tie, those decided as gold does, ties half",
}


def wanted(cell: "Cell") -> bool:
    return cell.config.get("judge") is not None


def opponents(cell: "Cell") -> list[str]:
    return [who for who in OPPONENTS if who in evaluate.controls(cell)]


def judge(cell: "Cell") -> dict[str, Any]:
    """All that determines what it says."""
    return ai_labeller.deciding(cell.config["judge"])


def inputs(cell: "Cell", who: str) -> dict[str, Any]:
    return {
        "judge": judge(cell),
        "answers": cell.key(evaluate, who=who),
        "opponents": {x: cell.key(evaluate, who=x) for x in opponents(cell)},
        "seed": cell.config["shared_seed"],
    }


def build(cell: "Cell", folder: Path, checkpoints: Path, who: str) -> dict[str, Any]:
    """A row a pair: prompt_id, split, against, asked, there and back (P(the first shown is better)), p
    (P(ours ≻ theirs)), words, length and gold of ours and theirs."""
    import pandas as pd

    ours = pd.read_parquet(cell.make(evaluate, who=who) / "answers.parquet")
    table = pd.concat(
        [
            paired(ours, pd.read_parquet(cell.make(evaluate, who=x) / "answers.parquet"), x)
            for x in opponents(cell)
        ],
        ignore_index=True,
    )
    prompts = {x.id: x.prompt for _, x in test_examples(cell)}
    table["asked"] = table["response"].str.strip() != table["opponent"].str.strip()
    asked = table[table["asked"]]
    rows = list(
        zip(asked["prompt_id"].map(prompts), asked["response"], asked["opponent"], strict=True)
    )
    table[["there", "back", "p"]] = np.nan, np.nan, 0.5
    if rows:
        title = f"verdicts on {cell.config['name'] if who == 'end' else who}"
        model = ai_labeller.described(cell, cell.config["judge"])
        said = ai_labeller.asked(cell, model, rows, title)
        table.loc[table["asked"], "there"] = said.there
        table.loc[table["asked"], "back"] = said.back
        table.loc[table["asked"], "p"] = said.preferences
    table.drop(columns=["response", "opponent"]).to_parquet(folder / "verdicts.parquet")
    return {"metrics": metrics(table, signature(cell))}


def paired(ours: Any, theirs: Any, against: str) -> Any:
    """Both answers to each prompt; rows are those of the same prompts."""
    found = ours[["prompt_id", "split", "response"]].assign(against=against)
    found["opponent"] = theirs["response"]
    for side, table in (("", ours), ("opponent_", theirs)):
        found[f"{side}words"] = table["response"].str.split().str.len()
        found[f"{side}length"] = table["length"]
        if "gold" in table:
            found[f"{side}gold"] = table["gold"]
    return found


def signature(cell: "Cell") -> str:
    """Who judges: the name, and what tells it from others of that name."""
    spec = cell.config["judge"]
    name = ai_labeller.identity(spec) if "base_url" in spec else Path(spec["model"]).name
    return f"{name} ({content_hash(judge(cell))[:8]}), both orders averaged"


def columns(table: Any) -> Any:
    """One row a prompt, NaN where there is nothing to tell: the columns of MEANING."""
    import pandas as pd

    table = table.reset_index(drop=True)
    pairs = table.assign(won=won(table["p"]))
    found = pairs.pivot(index="prompt_id", columns="against", values="won").rename(
        columns=OPPONENTS
    )
    there, back = table["there"] - 0.5, table["back"] - 0.5
    longer = np.sign(table["words"] - table["opponent_words"])
    traits = pd.DataFrame({
        "judge/first": pd.DataFrame({x: won(table[x]) for x in ("there", "back")}).mean(axis=1),
        "judge/inconsistent": (there * back > 0).astype(float).where(table["p"].notna()),
        "judge/longer": ((1 + longer * (2 * pairs["won"] - 1)) / 2).where(longer != 0),
    })  # fmt: skip
    if "gold" in table:
        firsts = wins(table["gold"], table["opponent_gold"])
        traits["judge/agrees"] = right(table["p"] - 0.5, firsts)
    asked = traits[table["asked"]].groupby(table["prompt_id"]).mean()
    return found.join(asked)[[name for name in MEANING if name in found or name in asked]]


def metrics(table: Any, signature: str) -> dict[str, dict[str, Any]]:
    """Means over prompts, of each test split; shares of questions whose answers could not be read; the
    win rate at equal length."""
    found = {}
    for split, rows in table.groupby("split"):
        suffix = split.removeprefix("test")
        for name, values in columns(rows).items():
            there = values.dropna().to_numpy()
            if len(there):
                mean = mean_interval(there, level=expanded(len(there))).fields
                how = f"{MEANING[name]}, mean over prompts, percentile bootstrap"
                found[name + suffix] = {**mean, "estimator": how}
        mine = rows[(rows["against"] == "sft") & rows["p"].notna()]
        even = at_equal_length(won(mine["p"]), mine["length"], mine["opponent_length"])
        how = "logistic regression at no difference of length, percentile bootstrap of prompts"
        found[EQUAL_LENGTH + suffix] = {**even.fields, "estimator": how}
        asked = rows.loc[rows["asked"], ["there", "back"]].to_numpy().ravel()
        if len(asked):
            share = wilson(int(np.isnan(asked).sum()), len(asked)).fields
            how = "of its answers, those that could not be read, Wilson interval"
            found[f"judge/unread{suffix}"] = {**share, "estimator": how}
    return {name: {**x, "signature": signature, "unit": "share"} for name, x in found.items()}
