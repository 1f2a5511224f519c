"""Stage: pairs with a verdict, by whoever the feedback names.

`by=dataset` is what the task comes with: the pairs of its rows, their single labels, or, for a task
with a gold reward, annotators who follow it with a stated noise. Every other labeller is shown two
samples of the SFT model, `constitution` two of what that one became on revisions. Identical answers
and ties are dropped and counted.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback import annotators, gold, people, rouge
from ..feedback.answer import Answer, read
from ..feedback.judge import SimulatedJudge
from ..tasks.example import DataError, Example
from . import ai_labeller, critique, lengths, revised_samples, reward_model, samples, tokenizer

if TYPE_CHECKING:
    from ..training.feeds import LabelRows, PairRows
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell", by: str, part: str) -> dict[str, Any]:
    found: dict[str, Any] = {"seed": cell.config["shared_seed"]}
    if by == "people":
        own = {"own": cell.key(this(), by=by_default(cell), part=part)}
        if part == "train":
            own |= {"data": cell.data, "people": [vars(x) for x in people.verdicts(file_of(cell))]}
        return own
    if has_pairs(cell, by) or has_labels(cell, by):
        pairs = cell.shared(cell.config["task"]["pairs"])
        return {**found, "lengths": cell.key(lengths), "data": cell.data, "pairs": pairs}
    found |= {"samples": cell.key(source(by), part=part), "data": cell.data}
    if by == "judge":
        found["judge"] = cell.config["feedback"]["judge"]
    if by == "labeller":
        found["labeller"] = ai_labeller.settings(cell, "labeller")
    if by == "constitution":
        found["constitution"] = critique.comparing(cell)
    if by == "reward_model":
        found["reward_model"] = cell.key(reward_model, by="dataset", part="held_out")
    return found


def source(by: str) -> ModuleType:
    """The stage whose samples are compared: of the SFT model, or of what has learned from revisions."""
    return revised_samples if by == "constitution" else samples


def has_pairs(cell: "Cell", by: str) -> bool:
    """Whether the labels are those of the task's own rows."""
    return by == "dataset" and cell.task.has_pairs


def has_labels(cell: "Cell", by: str) -> bool:
    """Whether the labels are the task's own, of single answers: it has no pairs and no gold."""
    if by != "dataset" or cell.task.gold is not None or has_pairs(cell, by):
        return False
    return any(x.desirable is not None for x in cell.task.splits["train"])


def labeller(cell: "Cell") -> str:
    """Who labels for this recipe; where the task comes with no labels, ROUGE against references."""
    by = cell.config["feedback"]["labels"]
    return by_default(cell) if by == "dataset" else by


def build(cell: "Cell", folder: Path, checkpoints: Path, by: str, part: str) -> dict[str, Any]:
    if has_labels(cell, by):
        return own_labels(cell, folder, part)
    notes: dict[str, Any] = {}
    if by == "people":
        known, dropped = with_people(cell, part)
    elif has_pairs(cell, by):
        known, dropped = own_pairs(cell, part)
    else:
        known, dropped, notes = judged(cell, by, part)
    if not len(known):
        raise DataError(
            f"task {cell.task.name}: no pair of two different answers is left in part {part} "
            f"(dropped: {dropped}): give more rows (task.pairs) or train the SFT model for longer"
        )
    known.to_parquet(folder / "pairs.parquet")
    agrees = np.nan
    if known["gold_chosen"].notna().all():
        agrees = float((known["gold_chosen"] > known["gold_rejected"]).mean())
    return {
        "pairs": len(known),
        "dropped": dropped,
        "agrees_with_gold": None if np.isnan(agrees) else agrees,
        **notes,
    }


def own_rows(cell: "Cell", part: str, labelled: Callable[[Example], bool]) -> list[Example]:
    """The task's rows: two thirds of the training split to train on, a third held out."""
    rows = [x for x in cell.examples(samples.SPLITS.get(part, "train")) if labelled(x)]
    limit = cell.shared(samples.SHARES[part] * cell.config["task"]["pairs"])
    if part not in samples.SPLITS:
        order = np.random.default_rng([cell.config["shared_seed"], 7]).permutation(len(rows))
        cut = 2 * len(rows) // 3
        rows = [rows[i] for i in (order[:cut] if part == "train" else order[cut:])]
    return rows[:limit]


def own_labels(cell: "Cell", folder: Path, part: str) -> dict[str, Any]:
    """Single answers, and whether each is wanted."""
    import pandas as pd

    rows = own_rows(cell, part, lambda x: x.desirable is not None)
    if not rows:
        raise DataError(f"task {cell.task.name}: no label is left in part {part}: give more rows")
    table = pd.DataFrame({
        "example": [x.id for x in rows],
        "text": [x.completion for x in rows],
        "desirable": [x.desirable for x in rows],
    })  # fmt: skip
    table["ids"] = _words(cell)(list(table["text"]))
    table.to_parquet(folder / "pairs.parquet")
    return {"labels": len(table), "desirable": float(table["desirable"].mean())}


def own_pairs(cell: "Cell", part: str) -> tuple[Any, dict[str, int]]:
    """Pairs as the task's rows have them."""
    import pandas as pd

    rows = own_rows(cell, part, lambda x: bool(x.rejected))
    table = pd.DataFrame({
        "example": [x.id for x in rows],
        "chosen": [x.chosen for x in rows],
        "rejected": [x.rejected for x in rows],
        "p_chosen": [1.0 if x.p_chosen is None else x.p_chosen for x in rows],
        "margin": 0.0,
        "gold_chosen": np.nan,
        "gold_rejected": np.nan,
    })  # fmt: skip
    words = _words(cell)
    for side in ("chosen", "rejected"):
        table[f"{side}_ids"] = words(list(table[side]))
    return table, {}


def with_people(cell: "Cell", part: str) -> tuple[Any, dict[str, int]]:
    """The task's own pairs, and behind them those that people labelled."""
    import pandas as pd

    own = table(cell, by_default(cell), part)
    if "chosen" not in own:
        raise DataError(f"task {cell.task.name} has single labels, and people compare pairs")
    if part != "train":
        return own, {}
    known, said = by_id(cell), list(people.verdicts(file_of(cell)))
    if not said:
        raise DataError(f"feedback.file={file_of(cell)}: no line has a verdict yet")
    for x in said:
        if x.example not in known:
            raise DataError(
                f"feedback.file={file_of(cell)}: task {cell.task.name} has no {x.example!r}"
            )
    columns = {"example": [x.example for x in said], "p_chosen": 1.0, "margin": 0.0}
    words = _words(cell)
    for side in ("chosen", "rejected"):
        texts = [getattr(x, side) for x in said]
        columns |= {side: texts, f"{side}_ids": words(texts), f"gold_{side}": np.nan}
        if cell.task.gold is not None:
            examples, answers = [known[x.example] for x in said], [Answer(text) for text in texts]
            columns[f"gold_{side}"] = gold.rewards(cell.task, examples, answers)
    return pd.concat([own, pd.DataFrame(columns)], ignore_index=True)[list(own.columns)], {}


def file_of(cell: "Cell") -> Path:
    return Path(cell.config["feedback"]["file"])


def _words(cell: "Cell"):
    from ..models.tokens import load_tokenizer, response_ids

    words = load_tokenizer(cell.make(tokenizer))
    return lambda texts: response_ids(words, texts)


def judged(cell: "Cell", by: str, part: str) -> tuple[Any, dict[str, int], dict[str, Any]]:
    """Two samples to each prompt, and which one the labeller prefers; what was dropped, and why; what
    is known of the labeller."""
    import pandas as pd

    drawn = pd.read_parquet(cell.make(source(by), part=part) / "samples.parquet")
    rows = by_id(cell)
    dropped = {"identical answers": 0, "tied by the labeller": 0}
    couples: list[tuple[Example, Answer, Answer]] = []
    answers = read(drawn)
    for example, a, b in zip(drawn["example"][::2], answers[::2], answers[1::2], strict=True):
        if a.text == b.text:
            dropped["identical answers"] += 1
        else:
            couples.append((rows[example], a, b))
    examples, first, second = (
        (list(x) for x in zip(*couples, strict=True)) if couples else ([], [], [])
    )
    exact = None
    if cell.task.gold is not None:
        exact = [np.array(gold.rewards(cell.task, examples, some)) for some in (first, second)]
    notes: dict[str, Any] = {}
    if by == "labeller":
        p_first, notes = ai_labeller.verdicts(cell, examples, first, second)
    elif by == "constitution":
        p_first, notes = critique.verdicts(cell, part, examples, first, second)
    else:
        p_first = verdicts(cell, by, part, examples, first, second, exact)

    found: dict[str, list[Any]] = {}
    for i, (example, p) in enumerate(zip(examples, p_first, strict=True)):
        if np.isnan(p):
            dropped["unread"] = dropped.get("unread", 0) + 1
            continue
        if p == 0.5:
            dropped["tied by the labeller"] += 1
            continue
        sides = (first[i], second[i]) if p > 0.5 else (second[i], first[i])
        quality = [np.nan, np.nan] if exact is None else [exact[0][i], exact[1][i]]
        if p < 0.5:
            quality.reverse()
        row = {
            "example": example.id,
            "chosen": sides[0].text,
            "rejected": sides[1].text,
            "p_chosen": max(p, 1 - p),
            "margin": 0.0,
            "gold_chosen": quality[0],
            "gold_rejected": quality[1],
            "chosen_ids": list(sides[0].ids),
            "rejected_ids": list(sides[1].ids),
        }
        for name, x in row.items():
            found.setdefault(name, []).append(x)
    return pd.DataFrame(found), dropped, notes


def verdicts(
    cell: "Cell",
    by: str,
    part: str,
    examples: Sequence[Example],
    first: Sequence[Answer],
    second: Sequence[Answer],
    exact: Sequence[np.ndarray] | None,
) -> list[float]:
    """P(first ≻ second) for each pair; ½ is a tie."""
    if by == "reward_model":
        scored = [
            reward_model.rewards(cell, "dataset", "held_out", examples, x) for x in (first, second)
        ]
        return hard(scored[0], scored[1])
    quality = exact or [np.array(rouge.rewards(examples, some)) for some in (first, second)]
    match by:
        case "dataset":
            seed = [cell.config["shared_seed"], 13, sorted(samples.SHARES).index(part)]
            noise_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
            says = annotators.preferences(
                quality[0], quality[1], cell.task.label_noise or 0.0, noise_seed
            )
            return [
                0.5 if a == b else float(x)
                for x, a, b in zip(says, quality[0], quality[1], strict=True)
            ]
        case "gold" if exact is not None:
            return hard(*exact)
        case "gold":
            raise LookupError(f"feedback=gold: task {cell.task.name!r} has no gold reward")
        case "rouge":
            return hard(*(rouge.rewards(examples, some) for some in (first, second)))
        case "judge":
            lengths_of = [[len(x.text.split()) for x in some] for some in (first, second)]
            judge = SimulatedJudge(**cell.config["feedback"]["judge"])
            return judge.preferences(quality[0], quality[1], *lengths_of)
    raise LookupError(
        f"feedback.labels={by!r}: one of dataset, gold, rouge, reward_model, judge, labeller, "
        "constitution, people"
    )


def by_default(cell: "Cell") -> str:
    """Who labels where a recipe does not say: what the task comes with, or ROUGE in its stead."""
    own = has_pairs(cell, "dataset") or has_labels(cell, "dataset")
    return "dataset" if own or cell.task.gold is not None else "rouge"


def hard(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [0.5 if x == y else float(x > y) for x, y in zip(a, b, strict=True)]


def table(cell: "Cell", by: str, part: str) -> Any:
    """The labels as a data frame: a row a pair, or a single answer."""
    import pandas as pd

    return pd.read_parquet(cell.make(this(), by=by, part=part) / "pairs.parquet")


def this() -> ModuleType:
    return sys.modules[__name__]


def pair_rows(cell: "Cell", words: Any, by: str, part: str) -> "PairRows":
    """The labelled pairs as token ids."""
    from ..models.tokens import prompt_ids
    from ..training.feeds import PairRows

    if has_labels(cell, by):
        raise DataError(
            f"task {cell.task.name} has single labels and no pairs: choose an algorithm that learns "
            "from labels (`prefzoo list algos`)"
        )
    pairs = table(cell, by, part)
    rows = by_id(cell)
    prompts = prompt_ids(words, [rows[i].prompt for i in pairs["example"]])
    sides = [
        [(p, list(ids)) for p, ids in zip(prompts, pairs[f"{side}_ids"], strict=True)]
        for side in ("chosen", "rejected")
    ]
    return PairRows(*sides, list(pairs["p_chosen"]), list(pairs["margin"]))


def rows(cell: "Cell", words: Any, by: str, part: str) -> "PairRows | LabelRows":
    """Labelled pairs as token ids, or the single labels of a task that has those."""
    from ..models.tokens import prompt_ids
    from ..training.feeds import LabelRows

    if not has_labels(cell, by):
        return pair_rows(cell, words, by, part)
    known, found = by_id(cell), table(cell, by, part)
    prompts = prompt_ids(words, [known[i].prompt for i in found["example"]])
    return LabelRows(
        list(zip(prompts, map(list, found["ids"]), strict=True)), list(found["desirable"])
    )


def encoded(cell: "Cell", words: Any, known: Any) -> "PairRows | LabelRows":
    """The texts of a table of labels as the token ids of some tokenizer, every answer ended."""
    from ..training.feeds import LabelRows, PairRows, encode

    by_name = by_id(cell)
    prompts = [by_name[i].prompt for i in known["example"]]

    def side(name: str) -> list[Any]:
        return encode(words, list(zip(prompts, known[name], strict=True)))

    if "desirable" in known:
        return LabelRows(side("text"), list(known["desirable"]))
    return PairRows(
        side("chosen"), side("rejected"), list(known["p_chosen"]), list(known["margin"])
    )


def by_id(cell: "Cell") -> dict[str, Example]:
    """The rows that pairs are made of."""
    return {x.id: x for split in cell.task.splits.values() for x in split}


def taught(cell: "Cell", by: str, part: str) -> list[tuple[str, str]]:
    """(prompt, answer) of each labelled pair: what supervised training saw, else the better one."""
    pairs = table(cell, by, part)
    rows = by_id(cell)
    return [
        (rows[i].prompt, rows[i].demonstration or chosen)
        for i, chosen in zip(pairs["example"], pairs["chosen"], strict=True)
    ]
