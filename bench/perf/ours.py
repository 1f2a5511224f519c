"""A workload as a user of prefzoo runs it: batches, step and loop, with `model.layout=packed`."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import get_num_threads, nn

from algos import DPO, GRPO, KTO, RLOO, SFT, TDPO2, BradleyTerry

from ..models.build import as_laid_out, with_value_head
from ..models.computing import Computing
from ..models.packing import by_prompt
from ..models.rewards import RewardModel
from ..models.sampling import Decoding
from ..models.scoring import reference_logps
from ..models.tokens import Tokens
from ..tasks.example import Example
from ..training.batches import LabelBatch, Models, RolloutBatch, Row
from ..training.choice import BestAndWorst
from ..training.feeds import PairRows, Shuffled, compared, demonstrations, encode
from ..training.loop import Feed, Optimization, train
from ..training.online import Online
from ..training.phases import Phases, Sampler
from ..training.progress import Bar
from .workload import PAD, Workload, distinct, model, pairs, prompts, tokenizer, word

KL_COEF = 0.05  # of losses that learn from samples
LOSSES = {
    "sft": SFT(),
    "rm": BradleyTerry(),
    "dpo": DPO(),
    "tdpo2": TDPO2(),
    "kto": KTO(),
    "rloo": RLOO(kl_coef=KL_COEF),
    "grpo": GRPO(kl_coef=KL_COEF),
}
MICRO = 4  # responses whose graph is alive at one time
SIDES = ("chosen", "rejected")
OPTIMIZATION = Optimization(lr=1e-5, betas=(0.9, 0.999), schedule="linear")  # those of the peer


@dataclass(frozen=True)
class Run:
    """All that is made before training begins."""

    algo: Any
    feed: Feed
    models: Models
    steps: int
    accelerator: Accelerator

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
                accelerator=self.accelerator,
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


def prepared(of: Workload, steps: int) -> Run:
    words, algo = tokenizer(of), LOSSES[of.loss]
    accelerator = Accelerator()
    device = accelerator.device
    computing = Computing(
        precision="bf16" if of.bf16 else "float32",
        workers=get_num_threads() if device.type == "cpu" else 1,
    )
    models = Models(policy=packed(of, device), computing=computing)
    if of.loss not in ("sft", "rm"):
        models.reference = packed(of, device)
    made = partial(Run, algo, steps=steps, accelerator=accelerator)
    if of.samples:
        return made(own_samples(of, algo, words, steps, device), models)
    if of.loss == "sft":
        rows = [(x["prompt"], x["chosen"]) for x in pairs(of, of.responses * steps)]
        told = demonstrations(words, rows, device)
        return made(Shuffled(told, len(rows), of.responses, 0), models)
    given = pair_rows(of, words, of.pairs * steps)
    if of.loss == "rm":
        reward = RewardModel(with_value_head(models.policy), "last")
        models = Models(reward=reward, computing=computing)
    if of.precomputed:
        known = {f"{x}_ref_logps": stored(models.reference, getattr(given, x)) for x in SIDES}
        given, models = replace(given, **known), replace(models, reference=None)
    return made(compared(algo, given, of.responses, 0, PAD, device), models)


def packed(of: Workload, device: Any) -> nn.Module:
    return as_laid_out(model(of).to(device), "packed")


def pair_rows(of: Workload, words: Any, count: int) -> PairRows:
    rows = pairs(of, count)
    both = {x: encode(words, [(row["prompt"], row[x]) for row in rows]) for x in SIDES}
    return PairRows(**both, p_chosen=[1.0] * count, margin=[0.0] * count)


def stored(reference: nn.Module, rows: Sequence[Row]) -> list[Any]:
    """What the reference says of each response, as the store keeps it."""
    tokens = Tokens.collate(rows, PAD)
    found = reference_logps(reference, tokens.to(reference.device), MICRO).cpu()
    return [x[:length] for x, length in zip(found, tokens.length.tolist(), strict=True)]


def own_samples(of: Workload, algo: Any, words: Any, steps: int, device: Any) -> Phases:
    """A phase an update, of as many prompts as there are samples for."""
    count = of.responses // of.per_prompt
    asked = [" ".join(map(word, row)) for row in prompts(of, count * steps)]
    examples = [Example(id=str(i), prompt=text) for i, text in enumerate(asked)]
    decoding = Decoding(max_new_tokens=of.response[1])
    sampler = Sampler(
        words, examples, decoding, 0, lambda _, said: distinct([x.text for x in said])
    )
    collect = Online(
        algo, sampler, count, of.per_prompt, choose=BestAndWorst(), micro=MICRO, device=device
    )
    return Phases(collect, parts=1, epochs=1, seed=0)


def necessary(batch: Any, models: Models) -> float:
    """Multiplications and additions of a step that reads every prompt once: forward and, twice that,
    backward; forward alone of a reference, of who drew the samples, and of both for the mismatched
    responses of labels."""
    head = models.policy is not None
    trained = models.policy if head else models.reward.model
    learned = forward(trained, batch.tokens, head)
    read = [learned] if models.reference else []
    if isinstance(batch, RolloutBatch):
        read.append(learned)
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
