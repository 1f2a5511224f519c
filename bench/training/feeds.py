"""Batches of rows that were there before training, in shuffled order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from algos.core import FromLabels, FromRankings

from ..models.tokens import Tokens, prompt_ids, response_ids
from .batches import (
    Batch,
    DemonstrationBatch,
    LabelBatch,
    Models,
    PairBatch,
    RankingBatch,
    Row,
    ragged,
)
from .loop import Turn

Collate = Callable[[Sequence[int]], Batch]  # row numbers to a batch
Rows = TypeVar("Rows", "PairRows", "LabelRows")


@dataclass(frozen=True)
class Shuffled:
    """`size` of `count` rows an update, every row once an epoch, another order each epoch."""

    collate: Collate
    count: int
    size: int
    seed: int

    def rows(self, update: int) -> list[int]:
        """Batches run across the ends of epochs, so that none is smaller than the others."""
        positions = range(update * self.size, (update + 1) * self.size)
        orders = {epoch: self._order(epoch) for epoch in {p // self.count for p in positions}}
        return [int(orders[p // self.count][p % self.count]) for p in positions]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)

    def __call__(self, update: int, models: Models) -> Turn:
        return Turn(self.collate(self.rows(update)))


def demonstrations(words: Any, rows: Sequence[tuple[str, str]], device: Any) -> Collate:
    """Batches of (prompt, response)."""
    encoded = encode(words, rows)

    def collate(some: Sequence[int]) -> DemonstrationBatch:
        tokens = Tokens.collate([encoded[i] for i in some], words.pad_token_id)
        return DemonstrationBatch(tokens.to(device))

    return collate


@dataclass(frozen=True)
class PairRows:
    """Pairs as token ids, with what is known of each: one entry a pair in every sequence."""

    chosen: Sequence[Row]
    rejected: Sequence[Row]
    p_chosen: Sequence[float]
    margin: Sequence[float]
    chosen_ref_logps: Sequence[Sequence[float]] | None = None
    rejected_ref_logps: Sequence[Sequence[float]] | None = None
    target: Sequence[Row] | None = None  # a third response to each prompt, to imitate
    chosen_contrast: Sequence[Sequence[float]] | None = None  # of tokens, under two other models
    rejected_contrast: Sequence[Sequence[float]] | None = None
    chosen_ref_states: Sequence[Tensor] | None = None  # what the reference's head reads of each
    rejected_ref_states: Sequence[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    def of(self, i: int) -> list[Row]:
        """The responses that are compared in one row."""
        return [self.chosen[i], self.rejected[i]]

    def batch(self, some: Sequence[int], pad_id: int, device: Any) -> PairBatch:
        rows = [self.chosen[i] for i in some] + [self.rejected[i] for i in some]
        tokens = Tokens.collate(rows, pad_id).to(device)
        # Hard win rates, 1 and 0, stand in for pairs that no judge has measured.
        given = {"win_rate": torch.cat([torch.ones(len(some)), torch.zeros(len(some))])}
        if self.chosen_ref_logps is not None:
            known = [self.chosen_ref_logps[i] for i in some]
            known += [self.rejected_ref_logps[i] for i in some]
            given["token_ref_logps"] = ragged(known, tokens.width)
        if self.chosen_contrast is not None:
            contrast = [self.chosen_contrast[i] for i in some]
            contrast += [self.rejected_contrast[i] for i in some]
            given["token_contrast"] = ragged(contrast, tokens.width)
        labels = {
            "p_chosen": torch.tensor([float(self.p_chosen[i]) for i in some]),
            "margin": torch.tensor([float(self.margin[i]) for i in some]),
        }
        target, states = None, None
        if self.target is not None:
            target = Tokens.collate([self.target[i] for i in some], pad_id).to(device)
        if self.chosen_ref_states is not None:
            states = [self.chosen_ref_states[i] for i in some]
            states += [self.rejected_ref_states[i] for i in some]
        return PairBatch(
            tokens,
            {name: x.to(device) for name, x in given.items()},
            {name: x.to(device) for name, x in labels.items()},
            target,
            states,
        )

    def as_labels(self) -> "LabelRows":
        """Each chosen response wanted, each rejected one not, side by side."""
        known = None
        if self.chosen_ref_logps is not None:
            known = alternating(self.chosen_ref_logps, self.rejected_ref_logps)
        rows = alternating(self.chosen, self.rejected)
        return LabelRows(rows, [i % 2 == 0 for i in range(len(rows))], known)

    def as_rankings(self) -> "RankingRows":
        """Rankings of two, with rewards 1 and 0."""
        known = None
        if self.chosen_ref_logps is not None:
            known = list(zip(self.chosen_ref_logps, self.rejected_ref_logps, strict=True))
        answers = list(zip(self.chosen, self.rejected, strict=True))
        return RankingRows(answers, [(1.0, 0.0)] * len(answers), known)


def alternating(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    """One of each, in turn."""
    return [x for both in zip(first, second, strict=True) for x in both]


@dataclass(frozen=True)
class LabelRows:
    """Single responses as token ids, and whether each is wanted."""

    rows: Sequence[Row]
    desirable: Sequence[bool]
    ref_logps: Sequence[Sequence[float]] | None = None
    weight: Sequence[float] | None = None  # how much each counts; None: all the same

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, i: int) -> list[Row]:
        """The one response of a row."""
        return [self.rows[i]]

    def told(self, bad: int) -> "LabelRows":
        """Prompts end with the control token of good answers; here those of bad answers with theirs."""
        rows = [
            (prompt if wanted else [*prompt[:-1], bad], response)
            for (prompt, response), wanted in zip(self.rows, self.desirable, strict=True)
        ]
        return replace(self, rows=rows)

    def batch(
        self, some: Sequence[int], pad_id: int, device: Any, with_mismatched: bool = False
    ) -> LabelBatch:
        rows = [self.rows[i] for i in some]
        tokens = Tokens.collate(rows, pad_id).to(device)
        given = {}
        if self.ref_logps is not None:
            given["token_ref_logps"] = ragged([self.ref_logps[i] for i in some], tokens.width)
        return LabelBatch(
            tokens,
            desirable=torch.tensor([self.desirable[i] for i in some], device=device),
            weight=torch.tensor(
                [1.0 if self.weight is None else float(self.weight[i]) for i in some]
            ).to(device),
            mismatched=Tokens.collate(mismatched(rows), pad_id).to(device)
            if with_mismatched
            else None,
            given={name: x.to(device) for name, x in given.items()},
        )


def mismatched(rows: Sequence[Row]) -> list[Row]:
    """To each prompt the next response in the batch that answers another one."""
    found = []
    for i, (prompt, _) in enumerate(rows):
        others = (rows[(i + k) % len(rows)] for k in range(1, len(rows)))
        answer = next((y for x, y in others if list(x) != list(prompt)), None)
        if answer is None:
            raise ValueError(
                "a batch of labels needs two different prompts: raise budget.responses"
            )
        found.append((prompt, answer))
    return found


@dataclass(frozen=True)
class RankingRows:
    """Several responses to each prompt as token ids, with a reward each; more is better."""

    answers: Sequence[Sequence[Row]]
    rewards: Sequence[Sequence[float]]
    ref_logps: Sequence[Sequence[Sequence[float]]] | None = None

    def __len__(self) -> int:
        return len(self.answers)

    def batch(self, some: Sequence[int], pad_id: int, device: Any) -> RankingBatch:
        tokens = Tokens.collate([row for i in some for row in self.answers[i]], pad_id).to(device)
        given = {"reward": torch.tensor([float(r) for i in some for r in self.rewards[i]])}
        if self.ref_logps is not None:
            known = [x for i in some for x in self.ref_logps[i]]
            given["token_ref_logps"] = ragged(known, tokens.width)
        owners = [k for k, i in enumerate(some) for _ in self.answers[i]]
        return RankingBatch(
            tokens,
            prompt=torch.tensor(owners, device=device),
            given={name: x.to(device) for name, x in given.items()},
        )


def take(given: Rows, some: Sequence[int]) -> Rows:
    """Some of the rows, in this order; a row may come more than once."""
    known = {f.name: x for f in fields(given) if (x := getattr(given, f.name)) is not None}
    return replace(given, **{name: [x[i] for i in some] for name, x in known.items()})


def compared(
    algo: Any, given: PairRows | LabelRows, responses: int, seed: int, pad_id: int, device: Any
) -> Shuffled:
    """Pairs in shuffled order, as whatever the algorithm learns from, so many responses an update;
    or labels as they are."""
    more = {}
    match algo:
        case FromLabels():
            rows, a_row = given if isinstance(given, LabelRows) else given.as_labels(), 1
            asked = algo.needs | getattr(algo, "credit_needs", frozenset())
            more = {"with_mismatched": "mismatched" in asked}
        case FromRankings():
            rows, a_row = given.as_rankings(), 2
        case _:
            rows, a_row = given, 2
    size = min(max(1, responses // a_row), len(rows))
    return Shuffled(lambda some: rows.batch(some, pad_id, device, **more), len(rows), size, seed)


def encode(words: Any, rows: Sequence[tuple[str, str]]) -> list[Row]:
    """(prompt, response) texts as token ids, EOS behind the response."""
    prompts = prompt_ids(words, [p for p, _ in rows])
    return list(zip(prompts, response_ids(words, [r for _, r in rows]), strict=True))
