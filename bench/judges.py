"""Whoever says how good answers are, to be set against people: metrics, runs, models in folders.

A judge gives a number an answer, the higher the better, and NaN where it cannot tell.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .names import Unknown

Scores = NDArray[np.float64]
METRICS = ("length", "rouge1", "rouge2", "rougeL", "rougeLsum", "bertscore")


def of_metric(name: str, answers: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """One of METRICS: words of the answer, or its likeness to the best of its references, of which all
    but `length` need one each."""
    match name:
        case "length":
            return np.array([len(text.split()) for text in answers], dtype=float)
        case "bertscore":
            from .metrics.bertscore import bertscore, loaded

            return np.array(bertscore(answers, references, loaded())["f1"])
    from .metrics.rouge import rouge

    return np.array(rouge(answers, references)[name])


def of_run(path: Path, prompts: Sequence[str], answers: Sequence[str]) -> Scores:
    """By a reward model, or by β (log π − log π_SFT) of a policy, whose record lies at a path."""
    from .models.build import load_policy
    from .models.implicit import implicit_rewards
    from .models.tokens import Tokens, load_tokenizer
    from .reports.record import read
    from .stages.token_rewards import beta_of

    record = read(path)
    if record.policy is None or not Path(record.policy).exists():
        raise Unknown(f"{path.stem} is not on this machine: run `{record.command}`")
    if record.kind == "reward_model" and "ensemble" in record.config["feedback"]:
        raise Unknown(f"{path.stem} is an ensemble: name the folder of one of its members instead")
    if record.kind == "reward_model":
        return of_model(record.policy, prompts, answers)
    folder, start = Path(record.policy), Path(record.config["store"]) / str(record.parents.sft)
    kept, some, ids = fitting(folder, prompts, answers)
    found = np.full(len(answers), np.nan)
    if kept:
        ours, theirs = (Tokens.behind(load_tokenizer(x), some, ids) for x in (folder, start))
        policies, beta = (load_policy(folder), load_policy(start)), beta_of(record.config["algo"])
        found[kept] = implicit_rewards(*policies, ours, theirs, beta, 64).sum(-1).numpy()
    return found


def of_model(path: str, prompts: Sequence[str], answers: Sequence[str]) -> Scores:
    """By a reward model of the store, else by a sequence-classification model: a folder or hub id."""
    from .models.classifier import Classifier
    from .models.rewards import RewardModel
    from .models.tokens import Tokens, load_tokenizer

    folder = Path(path)
    if not (folder / "reward.json").exists():
        texts = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        return np.array(Classifier(path)(texts))
    kept, some, ids = fitting(folder, prompts, answers)
    found = np.full(len(answers), np.nan)
    if kept:
        tokens = Tokens.behind(load_tokenizer(folder), some, ids)
        found[kept] = RewardModel.load(folder)(tokens).numpy()
    return found


def fitting(
    folder: Path, prompts: Sequence[str], answers: Sequence[str]
) -> tuple[list[int], list[str], list[list[int]]]:
    """(which rows a model has room for, their prompts, their answers as token ids)."""
    from .models.build import context_length
    from .models.tokens import load_tokenizer, response_ids

    words, room = load_tokenizer(folder), context_length(folder)
    ids = response_ids(words, answers)
    asked = [len(row) for row in words(list(prompts))["input_ids"]]
    kept = [i for i, n in enumerate(asked) if n + len(ids[i]) <= room]
    return kept, [prompts[i] for i in kept], [ids[i] for i in kept]
