"""Stage: a reward model from labelled pairs, on a stated scale, with its accuracy on held-out pairs.

Where a task has single labels and no pairs, from those (with algos.Pointwise unless told otherwise): its
accuracy is then on held-out labels, and the scale that of two SFT samples to each validation prompt.
Pairs are answers of the SFT model, or the task's own, and give the scale themselves.

The trunk is the SFT model's, the head starts at zero. Trained with algos.BradleyTerry, on soft
labels where the labeller gave them. `part` says which pairs it learns from: rows that policies
train on (`train`), or disjoint ones (`held_out`).

A `member` of an ensemble has a seed of its own and learns from a bootstrap resample of the pairs, or of
so many that they are a `share` of those. Coste
et al., 2023, https://arxiv.org/abs/2310.02743, give all members the same pairs and another seed, of
the head and of the order; heads that start at zero would leave them the order alone, and one epoch
of small steps forgets that.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback.answer import Answer
from ..stats.bootstrap import wilson
from ..tasks.example import DataError, Example
from . import labels, samples, sft, tokenizer

if TYPE_CHECKING:
    from ..models.rewards import RewardModel
    from .cell import Cell

VERSION = 2


def inputs(
    cell: "Cell", by: str, part: str, member: int | None = None, share: float = 1.0
) -> dict[str, Any]:
    seed = cell.config["shared_seed"] + (part == "held_out")
    if member is not None:
        seed = int(np.random.SeedSequence([seed, 19, member]).generate_state(1)[0])
    scaled_on = {"samples": cell.key(samples, part="test")} if labelled_singly(cell) else {}
    return {
        **scaled_on,
        "sft": cell.key(sft),
        "labels": cell.key(labels, by=by, part=part),
        "test": cell.key(labels, by=labels.by_default(cell), part="test"),
        "algo": learner(cell, by),
        "optimization": cell.config["model"]["reward_model"],
        "epochs": cell.config["model"]["reward_model"]["epochs"],
        "seed": seed,
    }


def labelled_singly(cell: "Cell") -> bool:
    """Whether what the task comes with is single labels, on which the model is then measured."""
    return labels.has_labels(cell, labels.by_default(cell))


def learner(cell: "Cell", by: str) -> dict[str, Any]:
    """The loss of reward models: as configured, but algos.Pointwise for single labels and a loss that
    cannot use them. DataError where that loss is what the recipe is about."""
    configured = cell.config["model"]["reward_model"]["algo"]
    if not labels.has_labels(cell, by):
        return configured
    from hydra.utils import get_class

    from algos.core import FromLabels

    if issubclass(get_class(configured["_target_"]), FromLabels):
        return configured
    if "evaluate" not in cell.config["stages"]:
        raise DataError(
            f"task {cell.task.name} has single labels, and {cell.config['name']} learns from pairs: "
            "choose algo=pointwise"
        )
    return {"_target_": "algos.Pointwise"}


def build(
    cell: "Cell",
    folder: Path,
    checkpoints: Path,
    by: str,
    part: str,
    member: int | None = None,
    share: float = 1.0,
) -> dict[str, Any]:
    import pandas as pd
    from hydra.utils import instantiate

    from ..models import build as models
    from ..models.rewards import RewardModel
    from ..models.tokens import load_tokenizer
    from ..training.batches import Models
    from ..training.feeds import PairRows, compared, take
    from ..training.loop import Optimization, train

    spec = inputs(cell, by, part, member, share)
    algo, settings = instantiate(spec["algo"]), dict(spec["optimization"])
    reads, size, epochs, _ = (settings.pop(k) for k in ("reads", "pairs", "epochs", "algo"))
    words = load_tokenizer(cell.make(tokenizer))
    accelerator = cell.accelerator()
    policy = models.load_policy(cell.make(sft)).to(accelerator.device)
    trunk = cell.computing.learning(accelerator.prepare_model(models.with_value_head(policy)))
    reward = RewardModel(trunk, reads)
    data = labels.rows(cell, words, by, part)
    if member is not None:
        count = max(1, round(share * len(data)))
        drawn = np.random.default_rng([spec["seed"], 23]).integers(len(data), size=count)
        data = take(data, drawn)
    responses = sum(len(data.of(i)) for i in range(len(data)))
    updates = max(1, round(epochs * responses / (2 * size)))
    language = None
    if "target" in algo.needs:  # a language model on the same body, of what was chosen
        language = models.with_language_head(trunk, policy)
        data = replace(data, target=data.chosen)
    feed = compared(algo, data, 2 * size, spec["seed"], words.pad_token_id, accelerator.device)
    name = f"reward model ({by}, {part})" if member is None else f"reward model ({by}, {member})"
    with cell.display.stage(name, updates) as bar:
        run = train(
            algo,
            feed,
            Models(policy=language, reward=reward, computing=cell.computing),
            Optimization(**settings),
            updates=updates,
            seed=spec["seed"],
            micro=cell.config["model"]["micro_batch"],
            accelerator=accelerator,
            checkpoints=checkpoints,
            bar=bar,
            stage=name,
        )
        trunk.eval()
        measure = measured_on_labels if labelled_singly(cell) else measured_on_pairs
        found = measure(cell, words, reward, policy)
    model = accelerator.unwrap_model(trunk)
    RewardModel(model, reads, found["offset"], found["scale"]).save(folder)
    words.save_pretrained(folder)
    pd.DataFrame(run.log).to_parquet(folder / "log.parquet")
    learned_from = "pairs" if isinstance(data, PairRows) else "labels"
    return {
        **found,
        learned_from: len(data),
        "parameters": models.parameters(trunk),
        "spent": run.spent,
    }


def measured_on_pairs(
    cell: "Cell", words: Any, reward: "RewardModel", policy: Any
) -> dict[str, Any]:
    """The scale of the answers of test pairs, and how often the better one is given more."""
    from ..models.scoring import reference_logps
    from ..models.tokens import Tokens

    test = labels.pair_rows(cell, words, labels.by_default(cell), "test")
    both = Tokens.collate([*test.chosen, *test.rejected], words.pad_token_id).to(policy.device)
    raw = reward(both).double().cpu().numpy()
    known = reference_logps(policy, both, cell.config["model"]["micro_batch"])
    likelihood = (known[: len(test)].sum(-1) - known[len(test) :].sum(-1)).cpu().numpy()
    table = labels.table(cell, labels.by_default(cell), "test")
    gap = (table["gold_chosen"] - table["gold_rejected"]).to_numpy(dtype=float)
    margin = raw[: len(test)] - raw[len(test) :]
    longer = np.array(
        [len(c) - len(r) for (_, c), (_, r) in zip(test.chosen, test.rejected, strict=True)]
    )
    return {
        **normalization(raw),
        "accuracy": share(margin > 0),  # of held-out labels, noise included
        "accuracy_gold": None
        if np.isnan(gap).any()
        else share((margin > 0) == (gap > 0), gap != 0),
        "accuracy_likelihood": share(likelihood > 0),  # a control: what SFT finds more likely
        "accuracy_length": share(longer > 0),  # another: the longer one
    }


def measured_on_labels(
    cell: "Cell", words: Any, reward: "RewardModel", policy: Any
) -> dict[str, Any]:
    """The scale of SFT samples, and how often held-out labels are told, good if r > 0."""
    import pandas as pd

    from ..models.tokens import Tokens, prompt_ids

    def raw(rows: Sequence[Any]) -> np.ndarray:
        tokens = Tokens.collate(rows, words.pad_token_id).to(policy.device)
        return reward(tokens).double().cpu().numpy()

    drawn = pd.read_parquet(cell.make(samples, part="test") / "samples.parquet")
    known = labels.by_id(cell)
    prompts = prompt_ids(words, [known[i].prompt for i in drawn["example"]])
    test = labels.rows(cell, words, labels.by_default(cell), "test")
    wanted = np.array(test.desirable)
    return {
        **normalization(raw(list(zip(prompts, map(list, drawn["ids"]), strict=True)))),
        "accuracy": share((raw(test.rows) > 0) == wanted),
        "accuracy_commoner": share(wanted == (wanted.mean() > 0.5)),  # a control: always the same
    }


def normalization(raw: np.ndarray) -> dict[str, float]:
    """What makes these raw rewards mean 0, deviation 1."""
    return {"offset": float(raw.mean()), "scale": float(raw.std()) or 1.0}


def share(right: np.ndarray, of: np.ndarray | None = None) -> dict[str, float]:
    """An accuracy with its Wilson interval."""
    counted = right if of is None else right[of]
    found = wilson(int(counted.sum()), len(counted))
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def rewards(
    cell: "Cell",
    by: str,
    part: str,
    examples: Sequence[Example],
    answers: Sequence[Answer],
    **member: int,
) -> list[float]:
    """What the reward model says of each answer, on its normalized scale."""
    from ..models.rewards import RewardModel
    from ..models.tokens import Tokens, load_tokenizer, prompt_ids

    words = load_tokenizer(cell.make(tokenizer))
    model = RewardModel.load(cell.make(sys.modules[__name__], by=by, part=part, **member))
    model.model.to(cell.device)
    prompts = prompt_ids(words, [x.prompt for x in examples])
    rows = [(p, list(a.ids)) for p, a in zip(prompts, answers, strict=True)]
    return model(Tokens.collate(rows, words.pad_token_id).to(cell.device)).tolist()
