"""Stage: does the lowest token reward of a policy point at an error that was planted?

One token of each test reference is exchanged for one that other references say. The implicit
rewards log π − log π_SFT of the response (their order is that of any β > 0) have a lowest token:
how often is it the planted one? Controls: chance, and the least likely token under the SFT model.
EOS is never exchanged, and so never the answer. "From r to Q*" (https://arxiv.org/abs/2404.12358)
colours the tokens of a few edited responses; this counts. A loss that reads no reference has a
policy with such log-ratios all the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..stats.bootstrap import wilson
from ..tasks.example import DataError
from . import evaluate, lengths, optimize, sft, tokenizer
from .candidates import test_examples

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell") -> dict[str, Any]:
    config = cell.config
    return {
        "data": cell.data,
        "lengths": cell.key(lengths),
        "sft": cell.key(sft),
        "policy": cell.key(optimize),
        "prompts": config["budget"]["prompts"],
        "seed": config["seed"],
    }


def planted(responses: Sequence[Sequence[int]], seed: int) -> list[tuple[int, int]]:
    """(position, other token) for each response, which ends with EOS and is not empty."""
    chance = np.random.default_rng([seed, 13])
    said = np.concatenate([ids[:-1] for ids in responses])
    owner = np.repeat(np.arange(len(responses)), [len(ids) - 1 for ids in responses])
    found = []
    for i, ids in enumerate(responses):
        at = int(chance.integers(len(ids) - 1))
        found.append((at, int(chance.choice(said[(owner != i) & (said != ids[at])]))))
    return found


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """columns: prompt_id, split, tokens (without EOS), position, was, planted, lowest (where the
    reward is), hit, sft_lowest (where the SFT model's log-probability is), sft_hit."""
    import pandas as pd

    from ..models.build import load_policy
    from ..models.implicit import implicit_rewards, lowest
    from ..models.scoring import reference_logps
    from ..models.tokens import Tokens, load_tokenizer, response_ids

    words, answering = load_tokenizer(cell.make(tokenizer)), evaluate.policy_of(cell, "end")
    policy, reference = load_policy(answering), load_policy(cell.make(sft))
    rows = [(split, x) for split, x in test_examples(cell) if x.references and x.references[0]]
    responses = response_ids(words, [x.references[0] for _, x in rows])
    if len({t for ids in responses for t in ids[:-1]}) < 2 or len(rows) < 2:
        raise DataError(
            f"task {cell.task.name}: planted_errors needs test rows whose references differ"
        )
    prompts = [x.prompt for _, x in rows]
    errors = planted(responses, cell.config["seed"])
    wrong = [
        [*ids[:at], token, *ids[at + 1 :]]
        for ids, (at, token) in zip(responses, errors, strict=True)
    ]
    micro = cell.config["model"]["micro_batch"]
    with cell.display.stage(f"planted errors {cell.config['name']}"):
        tokens = Tokens.behind(load_tokenizer(answering), prompts, wrong)
        theirs = Tokens.behind(words, prompts, wrong)
        rewards = implicit_rewards(policy, reference, tokens, theirs, 1.0, micro)
        likelihoods = reference_logps(reference, theirs, micro)
    table = pd.DataFrame({
        "prompt_id": [x.id for _, x in rows],
        "split": [split for split, _ in rows],
        "tokens": [len(ids) - 1 for ids in responses],
        "position": [at for at, _ in errors],
        "was": [words.decode([ids[at]]) for ids, (at, _) in zip(responses, errors, strict=True)],
        "planted": [words.decode([token]) for _, token in errors],
        "lowest": lowest(rewards, tokens).numpy(),
        "sft_lowest": lowest(likelihoods, tokens).numpy(),
    })  # fmt: skip
    table["hit"] = table["lowest"] == table["position"]
    table["sft_hit"] = table["sft_lowest"] == table["position"]
    table.to_parquet(folder / "planted_errors.parquet")
    return {"metrics": metrics(table)}


def metrics(table: Any) -> dict[str, dict[str, Any]]:
    """`planted_found`, `..._by_sft` and `..._by_chance`, of each test split."""
    found: dict[str, dict[str, Any]] = {}
    for split, rows in table.groupby("split"):
        suffix = split.removeprefix("test")
        for name, column, whose in (
            ("planted_found", "hit", "log π − log π_SFT"),
            ("planted_found_by_sft", "sft_hit", "log π_SFT"),
        ):
            share = wilson(int(rows[column].sum()), len(rows))
            found[name + suffix] = {
                **share.fields,
                "estimator": "share of references with one token exchanged whose lowest "
                f"{whose} is at that token, Wilson interval",
                "unit": "share",
            }
        found[f"planted_found_by_chance{suffix}"] = {
            "value": float((1 / rows["tokens"]).mean()),
            "n": len(rows),
            "estimator": "mean of 1 / tokens without EOS",
            "unit": "share",
        }
    return found
