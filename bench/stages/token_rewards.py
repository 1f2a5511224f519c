"""Stage: what a policy rewards, token by token, in its own test answers and in the references.

A row a token: β (log π − log π_SFT), where β is that of the loss. A loss that reads no reference has
no such price; its policy has log-ratios to the SFT model all the same, in nats: β is 1.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..stats.bootstrap import mean_interval
from . import evaluate, sft, tokenizer
from .candidates import test_examples

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell") -> dict[str, Any]:
    return evaluate.answering(cell)


def beta_of(algo: Mapping[str, Any]) -> float:
    """The loss's price of leaving the reference: `beta`, of IPO `tau`, of PPO `kl_coef`, of RTO
    `beta2`, of SPPO 1/η; 1 where it has none."""
    from hydra.utils import instantiate

    loss = instantiate(algo)
    if "token_ref_logps" not in loss.needs | getattr(loss, "credit_needs", frozenset()):
        return 1.0
    names = ("beta", "tau", "kl_coef", "beta2")
    price = next((getattr(loss, x) for x in names if hasattr(loss, x)), None)
    return 1 / loss.eta if price is None and hasattr(loss, "eta") else float(price or 1.0)


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """columns: prompt_id, split, who (`end`: the policy's answers; `references`), position, token,
    reward."""
    import pandas as pd

    from ..models.build import load_policy
    from ..models.implicit import implicit_rewards
    from ..models.tokens import Tokens, load_tokenizer, response_ids

    answering = evaluate.policy_of(cell, "end")
    words, plain = load_tokenizer(answering), load_tokenizer(cell.make(tokenizer))
    policy, reference = load_policy(answering), load_policy(cell.make(sft))
    beta = beta_of(cell.config["algo"])
    rows = test_examples(cell)
    known = [(split, x) for split, x in rows if x.references]
    with cell.display.stage(f"token rewards {cell.config['name']}"):
        answers = evaluate.sampled(cell, "end", [x for _, x in rows], words).ids
        taught = response_ids(words, [x.references[0] for _, x in known])
        found = []
        for who, asked, said in (("end", rows, answers), ("references", known, taught)):
            if not said:
                continue
            ours, theirs = (
                Tokens.behind(w, [x.prompt for _, x in asked], said) for w in (words, plain)
            )
            rewards = implicit_rewards(
                policy, reference, ours, theirs, beta, cell.config["model"]["micro_batch"]
            )
            for (split, x), ids, row in zip(asked, said, rewards.tolist(), strict=True):
                found += [
                    (x.id, split, who, t, words.decode([token]), row[t])
                    for t, token in enumerate(ids)
                    if token >= 0  # others are not paid
                ]
    columns = ["prompt_id", "split", "who", "position", "token", "reward"]
    table = pd.DataFrame(found, columns=columns)
    table.to_parquet(folder / "token_rewards.parquet")
    return {"beta": beta, "metrics": metrics(table)}


def metrics(table: Any) -> dict[str, dict[str, Any]]:
    """Rewards of whole responses: `implicit_reward` of the policy's answers, `..._references`."""
    found = {}
    for (who, split), rows in table.groupby(["who", "split"]):
        name = "implicit_reward" + ("" if who == "end" else f"_{who}") + split.removeprefix("test")
        mean = mean_interval(rows.groupby("prompt_id")["reward"].sum().to_numpy())
        found[name] = {
            **mean.fields,
            "estimator": "β (log π − log π_SFT) of a response, mean over prompts, percentile bootstrap",
            "unit": "β · nats a response",
        }
    return found
