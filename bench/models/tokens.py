"""Text to token ids: one BOS where the tokenizer has one, one EOS at the end of a response.

In a dialogue EOS ends each of our turns, and what another speaker says between them is part of the
response: read by models, never said by them. In rows of ids it stands as ~id, below zero, so that
nobody takes it for our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..tasks.example import TURN

PAD, EOS, BOS, UNK = "<pad>", "<eos>", "<bos>", "<unk>"


def bpe(texts: Sequence[str], vocab_size: int) -> Any:
    """A byte-level BPE tokenizer learned from texts: it gives back any text as it was."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS, BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return with_bos(core)


def words(texts: Sequence[str], vocab_size: int) -> Any:
    """One token a word, its leading space included, for texts of few different words.

    It gives back texts of known words as they were; any other word is <unk>. A small model learns
    faster with it than with `bpe`, whose hundreds of unused pieces it first has to learn to avoid.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.WordLevel(unk_token=UNK))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s?\S+|\s"), behavior="isolated")
    core.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, special_tokens=[PAD, EOS, BOS, UNK], show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    return with_bos(core, unk_token=UNK)


def with_bos(core: Any, **more: str) -> Any:
    """BOS before every prompt; padding on the left, where sampling wants it."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, core.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=BOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        **more,
    )


def load_tokenizer(path: str | Path, **more: Any) -> Any:
    """A tokenizer that can pad: where it has no pad token, EOS stands in (and is masked)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, **more)
    if tokenizer.eos_token_id is None:
        raise LookupError(f"the tokenizer of {path} has no EOS token, so no response could end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def prompt_ids(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """With whatever the tokenizer puts in front of a text (BOS or nothing), and no EOS behind, but the
    `control_token` of a tokenizer that has one (models.control)."""
    rows = tokenizer(list(prompts)).input_ids if prompts else []
    control = getattr(tokenizer, "control_token_id", None)
    behind = [] if control is None else [control]
    return [
        (row[:-1] if row and row[-1] == tokenizer.eos_token_id else row) + behind for row in rows
    ]


def response_ids(tokenizer: Any, responses: Sequence[str]) -> list[list[int]]:
    """Without BOS, and with exactly one EOS a turn: a text that spells a special token stays text."""
    turns = [text.split(TURN) for text in responses]
    encoded = iter(plain_ids(tokenizer, [turn for some in turns for turn in some]))
    rows: list[list[int]] = [[] for _ in turns]
    for row, some in zip(rows, turns, strict=True):
        for number in range(len(some)):
            ids = next(encoded)
            row += heard(ids) if number % 2 else [*ids, tokenizer.eos_token_id]
    return rows


def plain_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Nothing added, and nothing in a text taken for a special token."""
    how = {"add_special_tokens": False, "split_special_tokens": True}
    return tokenizer(list(texts), **how).input_ids if texts else []


def heard(ids: Sequence[int]) -> list[int]:
    """What another speaker says, as rows of ids hold it."""
    return [~i for i in ids]


def as_read(row: Sequence[int]) -> list[int]:
    """A row of ids as models read it, whoever said what."""
    return [i if i >= 0 else ~i for i in row]


def texts_of(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """Responses as text, without EOS and other special tokens."""
    how = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    return [
        TURN.join(
            tokenizer.decode(as_read(list(turn)), **how).replace(TURN, "")  # nobody says that
            for _, turn in groupby(row, lambda i: i < 0)
        )
        for row in rows
    ]


def on_the_left(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """(ids, attention mask), padded on the left, where what is said next has its place on the right:
    Int[B, L] each."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id)
    attention = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        attention[i, width - len(row) :] = 1
    return ids, attention


@dataclass(frozen=True)
class Tokens:
    """B prompts with their responses, padded on the right.

    ids: Int[B, L]; start: Int[B], where the response begins; length: Int[B], its tokens, with EOS and
    with what others say in it; width: T, the response positions of every tensor made from them, at
    least the longest length; heard: Bool[B, L], what others say.
    """

    ids: Tensor
    start: Tensor
    length: Tensor
    width: int
    heard: Tensor

    @classmethod
    def collate(cls, rows: Sequence[tuple[Sequence[int], Sequence[int]]], pad_id: int) -> "Tokens":
        """From (prompt ids, response ids)."""
        width = max(len(p) + len(r) for p, r in rows)
        ids = torch.full((len(rows), width), pad_id)
        for i, (p, r) in enumerate(rows):
            ids[i, : len(p) + len(r)] = torch.tensor([*p, *r])
        start = torch.tensor([len(p) for p, _ in rows])
        length = torch.tensor([len(r) for _, r in rows])
        others = ids < 0
        return cls(torch.where(others, ~ids, ids), start, length, int(length.max()), others)

    @classmethod
    def behind(
        cls, tokenizer: Any, prompts: Sequence[str], responses: Sequence[Sequence[int]]
    ) -> "Tokens":
        """Responses, each behind its prompt as this tokenizer puts prompts."""
        asked = prompt_ids(tokenizer, prompts)
        return cls.collate(list(zip(asked, responses, strict=True)), tokenizer.pad_token_id)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Tensor | slice) -> "Tokens":
        """Some rows, no wider than their longest; T stays, so that what belongs to them still fits."""
        start, length = self.start[rows], self.length[rows]
        used = int((start + length).max()) if len(start) else 0
        return Tokens(self.ids[rows, :used], start, length, self.width, self.heard[rows, :used])

    def __add__(self, other: "Tokens") -> "Tokens":
        """The rows of both, side by side in one batch."""
        columns = max(self.ids.shape[1], other.ids.shape[1])

        def below(ours: Tensor, theirs: Tensor) -> Tensor:
            return torch.cat([pad(x, (0, columns - x.shape[1])) for x in (ours, theirs)])

        return Tokens(
            below(self.ids, other.ids),
            torch.cat([self.start, other.start]),
            torch.cat([self.length, other.length]),
            max(self.width, other.width),
            below(self.heard, other.heard),
        )

    @property
    def filled(self) -> Tensor:
        """Bool[B, T]: which of the T response positions hold a token, whoever said it."""
        return torch.arange(self.width, device=self.ids.device) < self.length[:, None]

    @property
    def mask(self) -> Tensor:
        """Bool[B, T]: which hold a token of ours."""
        return self.filled & ~self.heard.gather(1, self._places)

    @property
    def positions(self) -> Tensor:
        """Int[B, T]: where the model predicts each response token: at the one before it."""
        steps = torch.arange(self.width, device=self.ids.device)
        return (self.start[:, None] - 1 + steps).clamp(max=self.ids.shape[1] - 1)

    @property
    def targets(self) -> Tensor:
        """Int[B, T]: the response tokens; anything behind them."""
        return self.ids.gather(1, self._places)

    @property
    def _places(self) -> Tensor:
        """Int[B, T]: where the response tokens stand."""
        return (self.positions + 1).clamp(max=self.ids.shape[1] - 1)

    def to(self, device: torch.device | str) -> "Tokens":
        ids, start, length, others = (
            x.to(device) for x in (self.ids, self.start, self.length, self.heard)
        )
        return Tokens(ids, start, length, self.width, others)
