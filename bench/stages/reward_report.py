"""Stage: how good the reward models of a recipe are, on pairs that they never saw.

Measured on the `test` part, on `unseen` where the task has such a split, and, where `other` names a
task, on that task's test pairs, whose texts are read by this model's tokenizer. Always against the
labels that the task comes with, whoever the models learned from.

`margin` is the normalized reward of the chosen answer less that of the rejected one; of a single
label, how far the reward lies on the right side of indifference. `log_odds` are the same numbers
before normalization, what a Bradley–Terry model gives to the truth. A combination of several models
states no odds, so that an ensemble has margins and no calibration.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..stats.calibration import accuracy, calibration_error, log_loss, reliability, right
from ..tasks.example import DataError
from . import ensemble, labels, lengths, reward_model, tokenizer
from .cell import Cell

if TYPE_CHECKING:
    from ..training.feeds import LabelRows, PairRows

VERSION = 1
QUANTILES = (5, 25, 50, 75, 95)  # of margins, in percent


def inputs(cell: Cell) -> dict[str, Any]:
    by = labels.by_default(cell)
    found = {
        "reward_model": ensemble.identity(cell),
        **{split: cell.key(labels, by=by, part=part) for split, part in parts(cell).items()},
    }
    if there := other(cell):
        found["test_other"] = there.key(labels, by=labels.by_default(there), part="test")
        found["context"] = cell.config["model"]["context"]
    return found


def parts(cell: Cell) -> dict[str, str]:
    """As records call them -> as labels are asked for."""
    found = {"test": "test", "test_unseen": "unseen"}
    return {
        split: part for split, part in found.items() if part == "test" or split in cell.task.splits
    }


def other(cell: Cell) -> Cell | None:
    """This configuration on the other domain's task, where one is named."""
    task = cell.config.get("other")
    return task and Cell({**cell.config, "task": task}, cell.store, cell.display)


def build(cell: Cell, folder: Path, checkpoints: Path) -> dict[str, Any]:
    """A row a pair in `margins.parquet`; what is said of all of them in the notes."""
    import pandas as pd

    from ..models.tokens import load_tokenizer

    words, by = load_tokenizer(cell.make(tokenizer)), labels.by_default(cell)
    frames, found = [], {}
    with cell.display.stage("reward report"):
        for split, part in parts(cell).items():
            known, rows = labels.table(cell, by, part), labels.rows(cell, words, by, part)
            frames.append(judged(cell, known, rows, words.pad_token_id).assign(split=split))
            found |= measured(frames[-1], split.removeprefix("test"), signature(cell))
        if there := other(cell):
            known, rows = foreign(cell, there, words)
            frames.append(judged(cell, known, rows, words.pad_token_id).assign(split="test_other"))
            found |= measured(frames[-1], "_other", signature(there))
            found["unknown_tokens_other"] = unknown(rows, words)
    pd.concat(frames).to_parquet(folder / "margins.parquet", index=False)
    bins = reliability(frames[0]["log_odds"]) if "log_odds" in frames[0] else []
    return {
        "metrics": found,
        "calibration": [{**vars(b), "accuracy": b.accuracy.fields} for b in bins],
    }


def judged(cell: Cell, known: Any, given: "PairRows | LabelRows", pad_id: int) -> Any:
    """prompt_id, margin, accuracy (1, or ½ where undecided), and what else can be had: accuracy_gold,
    log_odds. `known` is the table of labels that `given` are the token ids of."""
    import pandas as pd

    from ..models.rewards import RewardModel
    from ..models.tokens import Tokens
    from ..training.feeds import PairRows

    models = [
        RewardModel.load(cell.make(reward_model, **x)) for x in ensemble.members(cell).values()
    ]
    together = ensemble.combination(cell)
    frame = pd.DataFrame({"prompt_id": list(known["example"])})
    if isinstance(given, PairRows):
        sides = [Tokens.collate(rows, pad_id) for rows in (given.chosen, given.rejected)]
        chosen, rejected = (np.array(together([m(x).tolist() for m in models])) for x in sides)
        both = zip(given.chosen, given.rejected, strict=True)
        frame["alike"] = [list(c) == list(r) for (_, c), (_, r) in both]
        frame["margin"] = np.where(frame["alike"], 0.0, chosen - rejected)
        gap = (known["gold_chosen"] - known["gold_rejected"]).to_numpy(dtype=float)
        if not np.isnan(gap).any():
            with np.errstate(invalid="ignore"):  # equal gold tells nothing
                frame["accuracy_gold"] = np.where(gap == 0, np.nan, right(frame["margin"] * gap))
    else:
        tokens = Tokens.collate(given.rows, pad_id)
        sure = together([(m(tokens) + m.offset / m.scale).tolist() for m in models])
        frame["margin"] = np.where(given.desirable, sure, np.negative(sure))
    frame["accuracy"] = right(frame["margin"])
    if len(models) == 1:
        frame["log_odds"] = frame["margin"] * models[0].scale
    return frame


def foreign(cell: Cell, there: Cell, words: Any) -> tuple[Any, "PairRows | LabelRows"]:
    """The other task's labels, and their texts as token ids of this model's tokenizer, every answer
    ended. What does not fit the context is left out."""
    from ..training.feeds import take

    known = labels.table(there, labels.by_default(there), "test")
    rows, context = labels.encoded(there, words, known), lengths.context(cell)
    fits = [
        i
        for i in range(len(rows))
        if all(len(prompt) + len(answer) <= context for prompt, answer in rows.of(i))
    ]
    if not fits:
        raise DataError(
            f"task {there.task.name}: no answer fits into {context} tokens of this model: raise "
            "model.context, or leave task@other out"
        )
    return known.iloc[fits], take(rows, fits)


def unknown(rows: "PairRows | LabelRows", words: Any) -> dict[str, Any]:
    """The share of tokens, prompts included, that the tokenizer has no word for."""
    from ..models.tokens import as_read

    read = [
        t
        for i in range(len(rows))
        for prompt, answer in rows.of(i)
        for t in [*prompt, *as_read(answer[:-1])]  # EOS is our own, and the unknown token of some
    ]
    return {
        "value": float(np.mean([t == words.unk_token_id for t in read])),
        "n": len(read),
        "unit": "share of tokens",
    }


def measured(frame: Any, suffix: str, signed: str) -> dict[str, dict[str, Any]]:
    """The metrics of one set of pairs: name -> value, interval, how."""
    how = "share of held-out rows, undecided ones half, Wilson interval"
    share = {"estimator": how, "unit": "share"}
    found = {"accuracy": {**accuracy(frame["margin"]).fields, **share}}
    if "alike" in frame:  # to the tokenizer, and so undecided
        found["alike"] = {"value": float(frame["alike"].mean()), "n": len(frame), "unit": "share"}
    if "accuracy_gold" in frame:
        apart = frame["accuracy_gold"].dropna()
        found["accuracy_gold"] = {**accuracy(2 * apart - 1).fields, **share}
    if "log_odds" in frame:
        bins = reliability(frame["log_odds"])
        loss = {"estimator": "mean, percentile bootstrap", "unit": "nats"}
        found["log_loss"] = {**log_loss(frame["log_odds"]).fields, **loss}
        found["calibration_error"] = {
            "value": calibration_error(bins),
            "n": len(frame),
            "estimator": f"expected, {len(bins)} bins of confidence",
            "unit": "share",
        }
    for q in QUANTILES:
        value = float(np.percentile(frame["margin"], q))
        found[f"margin_q{q:02}"] = {"value": value, "n": len(frame), "unit": "normalized reward"}
    return {f"{name}{suffix}": {**x, "signature": signed} for name, x in found.items()}


def signature(cell: Cell) -> str:
    """What is measured against."""
    noise = cell.task.label_noise
    by = labels.by_default(cell) + (f", annotators of noise {noise}" if noise else "")
    return f"task {cell.task.name} v{cell.task.version}, labels: {by}"
