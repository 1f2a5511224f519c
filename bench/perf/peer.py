"""The same workload as a user of TRL runs it: its trainers, and their defaults where nothing is said."""

import tempfile
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, disable_progress_bars
from transformers import LlamaForSequenceClassification
from trl import (
    DPOConfig,
    DPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

from .workload import PAIRS, config, model, pairs, tokenizer

RESPONSES = 2 * PAIRS  # an update


@dataclass(frozen=True)
class Run:
    """All that is made before training begins."""

    trainer: Any
    folder: tempfile.TemporaryDirectory[str]

    def __call__(self) -> None:
        with self.folder:
            self.trainer.train()


def prepared(name: str, steps: int) -> Run:
    disable_progress_bars()
    rows = pairs(PAIRS * steps)
    size, more, how = PAIRS, {}, {}
    match name:
        case "sft":
            trainer, settings, size = SFTTrainer, SFTConfig, RESPONSES
            rows = [{"prompt": x["prompt"], "completion": x["chosen"]} for x in pairs(size * steps)]
        case "rm":
            trainer, settings = RewardTrainer, RewardConfig
        case "dpo" | "dpo-precomputed":
            trainer, settings, more = DPOTrainer, DPOConfig, {"ref_model": model()}
            how = {"precompute_ref_log_probs": name == "dpo-precomputed"}
        case "kto":
            trainer, settings, size = KTOTrainer, KTOConfig, RESPONSES
            more = {"ref_model": model()}
            rows = [
                {"prompt": x["prompt"], "completion": x[side], "label": side == "chosen"}
                for x in rows
                for side in ("chosen", "rejected")
            ]
    folder = tempfile.TemporaryDirectory()
    made = trainer(
        model=LlamaForSequenceClassification(config(num_labels=1)) if name == "rm" else model(),
        args=settings(
            output_dir=folder.name,
            per_device_train_batch_size=size,
            max_steps=steps,
            max_length=None,
            learning_rate=1e-5,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            **how,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
        **more,
    )
    return Run(made, folder)
