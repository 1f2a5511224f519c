"""The workload as a user of prefzoo runs it: batches, step and loop, with `model.layout=packed`."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from algos import DPO, KTO, SFT, BradleyTerry

from ..models.build import as_laid_out, with_value_head
from ..models.packing import by_prompt
from ..models.rewards import RewardModel
from ..models.scoring import reference_logps
from ..models.tokens import Tokens
from ..training.batches import LabelBatch, Models, Row
from ..training.feeds import PairRows, Shuffled, compared, demonstrations, encode
from ..training.loop import Optimization, train
from ..training.progress import Bar
from .workload import PAD, PAIRS, model, pairs, tokenizer

LOSSES = {"sft": SFT, "rm": BradleyTerry, "dpo": DPO, "dpo-precomputed": DPO, "kto": KTO}
RESPONSES = 2 * PAIRS  # an update
MICRO = 8  # responses whose graph is alive at one time
SIDES = ("chosen", "rejected")
OPTIMIZATION = Optimization(lr=1e-5, betas=(0.9, 0.999), schedule="linear")  # those of the peer


@dataclass(frozen=True)
class Run:
    """All that is made before training begins."""

    algo: Any
    feed: Shuffled
    models: Models
    steps: int

    def __call__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            train(
                self.algo,
                self.feed,
                self.models,
                OPTIMIZATION,
                updates=self.steps,
                seed=0,
                micro=MICRO,
                accelerator=Accelerator(cpu=True),
                checkpoints=Path(folder),
                bar=Bar(),
                stage="perf",
                checkpoint_every=math.inf,
            )

    @property
    def flops(self) -> float:
        """What a step has to compute, at least; the mean over the run."""
        batches = [self.feed(update, self.models).batch for update in range(self.steps)]
        return sum(necessary(batch, self.models) for batch in batches) / self.steps


def prepared(name: str, steps: int) -> Run:
    words, policy, algo = tokenizer(), packed(), LOSSES[name]()
    if name == "sft":
        rows = [(x["prompt"], x["chosen"]) for x in pairs(RESPONSES * steps)]
        feed = Shuffled(demonstrations(words, rows, "cpu"), len(rows), RESPONSES, 0)
        return Run(algo, feed, Models(policy=policy), steps)
    given = pair_rows(words, PAIRS * steps)
    models = Models(policy=policy, reference=packed())
    if name == "rm":
        models = Models(reward=RewardModel(with_value_head(policy), "last"))
    if name == "dpo-precomputed":
        known = {f"{x}_ref_logps": told(models.reference, getattr(given, x)) for x in SIDES}
        given, models = replace(given, **known), Models(policy=policy)
    return Run(algo, compared(algo, given, RESPONSES, 0, PAD, "cpu"), models, steps)


def packed() -> nn.Module:
    return as_laid_out(model(), "packed")


def pair_rows(words: Any, count: int) -> PairRows:
    rows = pairs(count)
    both = {x: encode(words, [(row["prompt"], row[x]) for row in rows]) for x in SIDES}
    return PairRows(**both, p_chosen=[1.0] * count, margin=[0.0] * count)


def told(reference: nn.Module, rows: Sequence[Row]) -> list[Any]:
    """What the reference says of each response, as the store keeps it."""
    tokens = Tokens.collate(rows, PAD)
    found = reference_logps(reference, tokens, MICRO)
    return [x[:length] for x, length in zip(found, tokens.length.tolist(), strict=True)]


def necessary(batch: Any, models: Models) -> float:
    """Multiplications and additions of a step that reads every prompt once: forward and, twice that,
    backward; forward alone of a reference, and of both for the mismatched responses of labels."""
    head = models.policy is not None
    trained = models.policy if head else models.reward.model
    learned = forward(trained, batch.tokens, head)
    read = [learned] if models.reference else []
    if isinstance(batch, LabelBatch) and batch.mismatched is not None:
        together = forward(trained, batch.tokens + batch.mismatched, head)
        read = [together, together - learned]
    return 3 * learned + sum(read)


def forward(model: nn.Module, tokens: Tokens, head: bool) -> float:
    """Of linear layers, of attention to what stands before, and of the head at responses."""
    config = model.config
    layers = [m for m in model.base_model.modules() if isinstance(m, nn.Linear)]
    length, seen = 0, 0
    for rows in by_prompt(tokens):
        prompt = int(tokens.start[rows[0]])
        responses = tokens.length[rows].tolist()
        length += prompt + sum(responses)
        seen += prompt * (prompt + 1) / 2
        seen += sum(n * prompt + n * (n + 1) / 2 for n in responses)
    linear = 2 * length * sum(m.weight.numel() for m in layers)
    attention = 4 * seen * config.hidden_size * config.num_hidden_layers
    spoken = 2 * int(tokens.length.sum()) * config.hidden_size * config.vocab_size
    return linear + attention + (spoken if head else 0)
