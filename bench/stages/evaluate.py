"""Stage: what a policy, or a control that needs none, answers to the test prompts, and its scores.

Same prompts, same decoding, same random numbers for everybody. KL is measured on samples of its own,
at temperature 1 without truncation. One row a prompt goes to `answers.parquet`; means are taken
from it, so that whatever a table says can be computed again.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback import gold
from ..feedback.answer import Answer, answers_of
from ..tasks.example import Example
from ..training.timing import phase, watched
from . import candidates, ensemble, labels, lengths, optimize, reward_model, sft, tokenizer
from .candidates import test_examples
from .decoding import decoding_key, decoding_of

if TYPE_CHECKING:
    from ..models.sampling import Samples
    from .cell import Cell

VERSION = 2
# Who answers. `end` and `peak` are the trained policy after its last update and where validation
# liked it best; the others are controls, the same for every algorithm.
CONTROLS = (
    "references",
    "sft",
    "best_of_16",
    "best_of_16_gold",
    "longest_of_16",
    "empty",
    "constant",
    "copied_prompt",
)
CHOSEN = {name for name in CONTROLS if "_of_16" in name}  # among samples of the SFT model


def controls(cell: "Cell") -> list[str]:
    """Those that make sense for the task."""
    test = cell.task.splits["test"]
    found = set(CONTROLS)
    if cell.task.gold is None:
        found -= {"best_of_16_gold"}
    if not cell.task.constant:
        found -= {"constant"}
    if not all(x.references for x in test):
        found -= {"references"}
    return [name for name in CONTROLS if name in found]


def inputs(cell: "Cell", who: str) -> dict[str, Any]:
    config = cell.config
    by = labels.by_default(cell)
    found = {
        "data": cell.data,
        "lengths": cell.key(lengths),
        "sft": cell.key(sft),
        "proxy": cell.key(reward_model, by=by, part="train"),
        "held_out": cell.key(reward_model, by=by, part="held_out"),
        "decoding": decoding_key(cell),
        "prompts": config["budget"]["prompts"],
        "response_tokens": config["task"]["response_tokens"],
        "bertscore": config["metrics"]["bertscore"],
        "seed": config["seed"],
    }
    if (tokenizer := config["metrics"]["rouge"]["tokenizer"]) != "latin":
        found["rouge"] = tokenizer
    if who in ("end", "peak"):
        found["policy"] = cell.key(optimize)
        if trained_on(cell) == "reward_model":
            found["trained_on"] = ensemble.identity(cell)
    if who in CHOSEN:
        found["candidates"] = cell.key(candidates)
    if who != "sft":
        found["baseline"] = cell.key(this(), who="sft")
    return found


def answering(cell: "Cell") -> dict[str, Any]:
    """All that determines what the trained policy answers to the test prompts."""
    config = cell.config
    return {
        "data": cell.data,
        "lengths": cell.key(lengths),
        "sft": cell.key(sft),
        "policy": cell.key(optimize),
        "decoding": decoding_key(cell),
        "prompts": config["budget"]["prompts"],
        "response_tokens": config["task"]["response_tokens"],
        "seed": config["seed"],
    }


def this() -> Any:
    return sys.modules[__name__]


def trained_on(cell: "Cell") -> str | None:
    """The reward that rollouts were trained on; None where pairs taught directly."""
    return cell.config["feedback"]["reward"] if cell.config["feed"]["name"] == "online" else None


def build(cell: "Cell", folder: Path, checkpoints: Path, who: str) -> dict[str, Any]:
    import pandas as pd

    from ..models.tokens import load_tokenizer, response_ids

    rows = test_examples(cell)
    examples = [x for _, x in rows]
    words = load_tokenizer(cell.make(tokenizer))
    name = cell.config["name"] if who in ("end", "peak") else who
    with cell.display.stage(f"evaluate {name}"), watched() as spent:
        table = pd.DataFrame({"prompt_id": [x.id for x in examples], "split": [s for s, _ in rows]})
        if who in ("references", "empty", "constant", "copied_prompt"):
            texts = [fixed(cell, who, x) for x in examples]
            answers = [
                Answer(t, tuple(ids))
                for t, ids in zip(texts, response_ids(words, texts), strict=True)
            ]
        elif who in CHOSEN:
            answers = chosen(cell, who, examples)
        else:
            # The policy's own tokenizer may put more into prompts than the SFT model's.
            asked = load_tokenizer(policy_of(cell, who))
            with phase("rollout"):
                drawn = sampled(cell, who, examples, asked)
            answers = answers_of(words, drawn)
            with phase("scoring"):
                columns = divergence(cell, who, examples, asked, drawn)
            for name, column in columns.items():
                table[name] = column
        table["response"] = [a.text for a in answers]
        table["finished"] = [a.finished for a in answers]
        for name, column in scores(cell, who, examples, answers).items():
            table[name] = column
    table.to_parquet(folder / "answers.parquet")
    (folder / "signatures.json").write_text(json.dumps(signatures(cell)))
    return {"prompts": len(table), "spent": spent.fields}


def fixed(cell: "Cell", who: str, x: Example) -> str:
    match who:
        case "references":
            return x.references[0]
        case "constant":
            return cell.task.constant
        case "copied_prompt":
            return x.prompt
    return ""


def policy_of(cell: "Cell", who: str) -> Path:
    """The folder of the policy that answers."""
    if who not in ("end", "peak"):
        return cell.make(sft)
    made = cell.make(optimize)
    return made / "peak" if who == "peak" and (made / "peak").exists() else made / "policy"


def sampled(cell: "Cell", who: str, examples: Sequence[Example], words: Any) -> "Samples":
    """What a policy says to each prompt, decoded as the study says."""
    from ..models.build import load_policy
    from ..models.sampling import draw

    return draw(
        load_policy(policy_of(cell, who)).to(cell.device),
        words,
        [x.prompt for x in examples],
        decoding_of(cell),
        1_000 + cell.config["seed"],
        reply=cell.task.replies(examples),
    )


def chosen(cell: "Cell", who: str, examples: Sequence[Example]) -> list[Answer]:
    """Of the SFT model's samples to each prompt the one that the reward model, or gold, likes best;
    or the longest."""
    answers = candidates.load(cell.make(candidates))
    repeated = [x for x in examples for _ in range(candidates.EACH)]
    if who == "best_of_16_gold":
        liked = gold.rewards(cell.task, repeated, answers)
    elif who == "longest_of_16":
        liked = [a.length for a in answers]
    else:
        liked = reward_model.rewards(cell, labels.by_default(cell), "train", repeated, answers)
    best = np.asarray(liked).reshape(-1, candidates.EACH).argmax(1)
    return [answers[i * candidates.EACH + int(k)] for i, k in enumerate(best)]


def divergence(
    cell: "Cell", who: str, examples: Sequence[Example], words: Any, drawn: "Samples"
) -> dict[str, Any]:
    """kl, kl_per_token, k1: per response, nats, along samples at temperature 1 without truncation:
    the answers themselves where that is how they were decoded."""
    from ..models.build import load_policy
    from ..models.sampling import Decoding, draw
    from ..models.scoring import kl_along
    from ..models.tokens import Tokens, load_tokenizer

    policy, reference = (
        load_policy(x).to(cell.device) for x in (policy_of(cell, who), cell.make(sft))
    )
    plain = Decoding(max_new_tokens=cell.config["task"]["response_tokens"])
    prompts = [x.prompt for x in examples]
    if decoding_of(cell) != plain:
        seed, reply = 2_000 + cell.config["seed"], cell.task.replies(examples)
        with phase("rollout"):
            drawn = draw(policy, words, prompts, plain, seed, reply=reply)
    plain_words = load_tokenizer(cell.make(tokenizer))  # those of the SFT model
    ours, theirs = (
        Tokens.behind(x, prompts, drawn.ids).to(cell.device) for x in (words, plain_words)
    )
    exact, k1 = kl_along(policy, reference, ours, theirs, cell.config["model"]["micro_batch"])
    total = exact.sum(-1)
    found = {"kl": total, "kl_per_token": total / ours.mask.sum(-1), "k1": k1.sum(-1)}
    return {name: x.cpu().numpy() for name, x in found.items()}


def scores(
    cell: "Cell", who: str, examples: Sequence[Example], answers: Sequence[Answer]
) -> dict[str, Any]:
    """One column a metric, one number a prompt."""
    import pandas as pd

    from ..metrics.bertscore import bertscore
    from ..metrics.rouge import rouge
    from ..metrics.win_rate import wins

    texts = [a.text for a in answers]
    found: dict[str, Any] = {"length": [a.length for a in answers]}
    with phase("reward"):
        if cell.task.gold is not None:
            parts = pd.DataFrame(gold.parts(cell.task, examples, answers))
            found["gold"] = parts.sum(axis=1)
            found |= {f"gold_part/{name}": parts[name] for name in parts}
        by = labels.by_default(cell)
        found["proxy"] = reward_model.rewards(cell, by, "train", examples, answers)
        found["held_out"] = reward_model.rewards(cell, by, "held_out", examples, answers)
        if who in ("end", "peak") and trained_on(cell) == "reward_model":
            found["trained_reward"] = ensemble.rewards(cell, examples, answers)
    if all(x.references for x in examples):
        references = [list(x.references) for x in examples]
        with phase("metrics"):
            found |= rouge(texts, references, cell.config["metrics"]["rouge"]["tokenizer"])
            found["bertscore"] = bertscore(texts, references, encoder(cell))["f1"]
    ours = found["gold" if cell.task.gold is not None else "held_out"]
    if who == "sft":
        found["win"] = [0.5] * len(texts)
    else:
        baseline = pd.read_parquet(cell.make(this(), who="sft") / "answers.parquet")
        theirs = baseline["gold" if cell.task.gold is not None else "held_out"]
        found["win"] = wins(list(ours), list(theirs))
    return found


def encoder(cell: "Cell") -> Any:
    """BERTScore's."""
    from ..metrics.bertscore import loaded

    return loaded(**cell.config["metrics"]["bertscore"])


def signatures(cell: "Cell") -> dict[str, str]:
    """How each metric was computed, in one line."""
    from ..metrics import bertscore, rouge

    judge = "gold" if cell.task.gold is not None else "held-out reward model"
    by = labels.by_default(cell)
    return {
        "rouge": rouge.signature(cell.config["metrics"]["rouge"]["tokenizer"]),
        "bertscore": bertscore.signature(encoder(cell)),
        "kl": "exact KL(policy || SFT) over the vocabulary, summed over the response and its end, "
        "samples at T=1 without truncation, nats",
        "k1": "log policy - log SFT summed over the same samples, nats",
        "proxy": f"reward model on the training pairs ({by} labels), SFT samples have mean 0 and sd 1",
        "held_out": f"reward model on disjoint pairs ({by} labels), same scale",
        "win_rate": f"against the SFT model's answers, ties count half, judge: {judge}",
    }
