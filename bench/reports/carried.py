"""What of logs, answers and token rewards a page carries: numbers with few digits, and of texts the same
prompts for every run of a table, evenly chosen, as many as fit."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from .estimates import PER_PROMPT, Frames
from .plot import COMPARED, learned
from .record import Record

if TYPE_CHECKING:
    from pandas import DataFrame

CURVES = COMPARED | {  # column of a training log -> how its axis is called
    "validation/length": "tokens of a response, validation",
    "validation/end_rate": "responses that ended, validation",
    "accuracy": "pairs of a batch that the policy orders right",
    "margin": "margin of a batch's pairs (nats)",
    "loss": "loss",
    "grad_norm": "norm of the gradient",
}
POINTS = 100  # of a curve
PROMPTS = 96  # of a table
SAMPLES = 6_000_000  # characters of answers, all tables together
TOKENS = 2_000_000  # of token rewards, all runs together
LONGEST = 4000  # characters of one text
A_TOKEN = 12  # characters that a token's reward takes


def few(value: Any) -> float | None:
    """Four digits of a finite number, else None."""
    return float(f"{value:.4g}") if value is not None and isfinite(value) else None


def evenly(items: Sequence[Any], wanted: int) -> list[Any]:
    """`wanted` of the items, the first and the last among them (one: the first)."""
    if len(items) <= wanted:
        return list(items)
    steps = max(wanted - 1, 1)
    return [items[i * (len(items) - 1) // steps] for i in range(wanted)]


def cut(words: str) -> str:
    more = len(words) - LONGEST
    return words if more <= 0 else f"{words[:LONGEST]}… ({more} more characters)"


def curves(log: "DataFrame") -> dict[str, list[list[float | None]]]:
    """Column -> [update, value], of the updates that taught the policy."""
    log = learned(log)
    steps = log["step"].tolist()
    found = {}
    for column in CURVES:
        values = log[column].tolist() if column in log else ()
        pairs = [pair for pair in zip(steps, values, strict=False) if isfinite(pair[1])]
        if pairs:
            found[column] = [[step, few(value)] for step, value in evenly(pairs, POINTS)]
    return found


def proxy_path(log: "DataFrame") -> list[list[float | None]]:
    """[update, reward learned from, gold] where a log holds both: the mean reward of the rollouts last
    drawn, and gold on the validation prompts."""
    rewards, golds = "rollout/reward", "validation/gold"
    log = learned(log)
    if not {rewards, golds} <= set(log):
        return []
    seen = log.assign(**{rewards: log[rewards].ffill()})[["step", rewards, golds]].dropna()
    return [[step, few(reward), few(gold)] for step, reward, gold in seen.itertuples(index=False)]


def best_of_n(table: "DataFrame") -> list[list[float | None]]:
    """[n, proxy, gold] of the stage over-optimization."""
    chosen = table[table["who"] == "best_of_n"]
    rows = chosen[["n", "proxy", "gold"]].itertuples(index=False)
    return [[n, few(proxy), few(gold)] for n, proxy, gold in rows]


def samples(runs: Sequence[Record], frames: Frames, limit: int) -> dict[str, Any] | None:
    """Answers to some of a table's prompts, None where no file has any.

    `texts` holds each text once. `runs` are run id -> a row a prompt: index of its text and the numbers
    of `metrics`, or None. What controls answer gives the prompts and the references.
    """
    told = {r.run_id: frames[r.run_id] for r in runs if r.run_id in frames}
    told = {name: frame for name, frame in told.items() if "response" in frame}
    if not told:
        return None
    first = next(iter(told.values()))
    asked = list(dict.fromkeys(keys(first)))
    size = sum(
        int(frame["response"].str.len().clip(upper=LONGEST).sum()) for frame in told.values()
    )
    fit = max(1, limit * len(asked) // max(size, 1))
    chosen = evenly(asked, min(PROMPTS, fit))
    texts: dict[str, int] = {}
    shared = set.intersection(*(set(frame) for frame in told.values()))
    names = ["gold", "win_rate", "win_rate_by_judge", "held_out", "proxy", "kl", "length"]
    metrics = [name for name in names if PER_PROMPT.get(name, name) in shared | {"kl"}]
    rows = {name: answered(frame, chosen, metrics, texts) for name, frame in told.items()}
    known = {r.recipe: rows[r.run_id] for r in runs if r.kind == "control" and r.run_id in rows}

    def said(who: str, place: int) -> int | None:
        row = known[who][place] if who in known else None
        return row and row[0]

    return {
        "of": len(asked),
        "prompts": [
            {
                "id": prompt,
                "split": split,
                "prompt": said("copied_prompt", i),
                "reference": said("references", i),
            }
            for i, (split, prompt) in enumerate(chosen)
        ],
        "texts": list(texts),
        "metrics": metrics,
        "runs": rows,
    }


def answered(
    frame: "DataFrame",
    asked: Sequence[tuple[str, str]],
    metrics: Sequence[str],
    texts: dict[str, int],
) -> list[list[float | None] | None]:
    """Per prompt [index in `texts`, metrics ...] of its first answer; unknown texts are added."""
    names = ["response", *(PER_PROMPT.get(name, name) for name in metrics)]
    columns = [frame[x].tolist() if x in frame else [None] * len(frame) for x in names]
    rows: dict[tuple[str, str], tuple] = {}
    for prompt, row in zip(keys(frame), zip(*columns, strict=True), strict=True):
        rows.setdefault(prompt, row)
    found: list[list[float | None] | None] = []
    for response, *numbers in (rows.get(prompt, (None,)) for prompt in asked):
        if not isinstance(response, str):
            found.append(None)
            continue
        place = texts.setdefault(cut(response), len(texts))
        found.append([place, *map(few, numbers)])
    return found


def keys(frame: "DataFrame") -> list[tuple[str, str]]:
    """(split, prompt) of every row."""
    return list(zip(frame["split"].tolist(), frame["prompt_id"].tolist(), strict=True))


def rewarded(tables: Mapping[str, "DataFrame"]) -> dict[str, list[dict[str, Any]]]:
    """Run id -> per prompt the tokens and rewards of the policy's answer (`end`) and of the reference:
    `{"id", "split", "end": [[token, reward], ...], "references": ...}`."""
    share = TOKENS // max(len(tables), 1)
    return {name: of_prompts(table, share) for name, table in tables.items() if len(table)}


def of_prompts(table: "DataFrame", limit: int) -> list[dict[str, Any]]:
    groups = list(table.groupby(["split", "prompt_id"], sort=False))
    size = int(table["token"].str.len().sum()) + A_TOKEN * len(table)
    fit = max(1, limit * len(groups) // max(size, 1))
    found = []
    for (split, prompt), rows in evenly(groups, min(PROMPTS, fit)):
        each = {
            who: [
                [token, few(reward)] for token, reward in zip(x["token"], x["reward"], strict=True)
            ]
            for who, x in rows.sort_values("position").groupby("who")
        }
        found.append({"id": prompt, "split": split, **each})
    return found
