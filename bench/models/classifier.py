"""A sequence-classification model as a judge of whole texts: a reward model of the hub, a sentiment.

Text in, a number out: a prompt and its response are read as one text by the model's own tokenizer, which
puts its special tokens around it. Prompts in a chat template are the caller's to write.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..store import model_hash


class Classifier:
    """What a model says of texts: its only logit, or the log-odds of one label against all others.

    path: a local folder or hub id with weights in safetensors, read at `revision` and loaded when first
    asked. label: the number or the name of the label that is wanted, of several; by default the last.
    rows: texts read at one time; one by one where the model has no padding token.
    """

    def __init__(
        self,
        path: str,
        revision: str | None = None,
        label: int | str | None = None,
        rows: int = 32,
    ):
        self.path, self.revision, self.label, self.rows = path, revision, label, rows

    @property
    def name(self) -> str:
        """Of a folder the hash of what it holds, wherever it lies."""
        path = model_hash(self.path) if Path(self.path).is_dir() else self.path
        label = "" if self.label is None else f"#{self.label}"
        return f"{path}{f'@{self.revision}' if self.revision else ''}{label}"

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """A number a text; of one that is too long, its end."""
        import torch

        tokenizer, model = self._loaded
        rows = self.rows if model.config.pad_token_id is not None else 1
        own = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        limit = min(tokenizer.model_max_length, own or 1 << 30)
        found = [0.0] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), rows):
            some = order[start : start + rows]
            read = tokenizer(
                [texts[i] for i in some],
                padding=len(some) > 1,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
            )
            with torch.no_grad():
                said = self._wanted(model(**read.to(model.device)).logits.float())
            for i, value in zip(some, said.tolist(), strict=True):
                found[i] = value
        return found

    def _wanted(self, logits: Any) -> Any:
        """Float[B] from Float[B, labels]."""
        if logits.shape[1] == 1:
            return logits[:, 0]
        chosen = logits[:, self._column]
        others = logits.clone()
        others[:, self._column] = -float("inf")
        return chosen - others.logsumexp(-1)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from accelerate import PartialState
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from .build import without_bars

        without_bars()
        where = {"revision": self.revision} if self.revision else {}
        tokenizer = AutoTokenizer.from_pretrained(self.path, truncation_side="left", **where)
        model, found = AutoModelForSequenceClassification.from_pretrained(
            self.path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **where
        )
        if missing := sorted(found["missing_keys"]):
            raise LookupError(
                f"{self.path} classifies nothing: it has no weights for {missing[0]}; name a "
                "sequence-classification model"
            )
        model.eval()
        if tokenizer.pad_token_id is None or model.config.pad_token_id != tokenizer.pad_token_id:
            model.config.pad_token_id = None  # what it pads with, it would not know for padding
        tokenizer.padding_side = "right"
        return tokenizer, model.to(PartialState().device)

    @cached_property
    def _column(self) -> int:
        _, model = self._loaded
        names = model.config.id2label
        if self.label is None:
            return len(names) - 1
        for number, name in names.items():
            if self.label in (number, name):
                return int(number)
        raise LookupError(
            f"{self.path} has no label {self.label!r}: one of {', '.join(names.values())}"
        )
