"""A workload as a user of TRL runs it: its trainers, and their defaults where nothing is said."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, disable_progress_bars
from torch.cuda import is_available
from transformers import LlamaForSequenceClassification
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
    SFTConfig,
    SFTTrainer,
)

from .workload import Workload, config, distinct, model, pairs, prompts, tokenizer, word

TRAINERS = {
    "sft": (SFTTrainer, SFTConfig),
    "rm": (RewardTrainer, RewardConfig),
    "dpo": (DPOTrainer, DPOConfig),
    "kto": (KTOTrainer, KTOConfig),
    "rloo": (RLOOTrainer, RLOOConfig),
    "grpo": (GRPOTrainer, GRPOConfig),
}
KL_COEF = 0.05  # of those that learn from samples


@dataclass(frozen=True)
class Run:
    """All that is made before training begins."""

    trainer: Any
    folder: tempfile.TemporaryDirectory[str]

    def __call__(self) -> None:
        with self.folder:
            self.trainer.train()


def prepared(of: Workload, steps: int) -> Run:
    disable_progress_bars()
    trainer, settings = TRAINERS[of.loss]
    folder = tempfile.TemporaryDirectory()
    size, more, how = of.pairs, {}, {}
    if of.loss in ("dpo", "kto"):
        more["ref_model"] = model(of)
    learner = model(of)
    match of.loss:
        case "sft":
            size = of.responses
            rows = pairs(of, size * steps)
            rows = [{"prompt": x["prompt"], "completion": x["chosen"]} for x in rows]
        case "kto":
            size = of.responses
            rows = [
                {"prompt": x["prompt"], "completion": x[side], "label": side == "chosen"}
                for x in pairs(of, of.pairs * steps)
                for side in ("chosen", "rejected")
            ]
        case "rloo" | "grpo":
            size = of.responses
            asked = prompts(of, size * steps // of.per_prompt)
            rows = [{"prompt": " ".join(map(word, ids))} for ids in asked]
            learner = loaded(learner, Path(folder.name) / "model", tokenizer(of))
            more["reward_funcs"] = lambda completions, **_: distinct(completions)
            how = {
                "num_generations": of.per_prompt,
                "max_completion_length": of.response[1],
                "beta": KL_COEF,
            }
        case _:
            rows = pairs(of, size * steps)
    if of.loss == "rm":
        learner = LlamaForSequenceClassification(config(of, num_labels=1))
    if of.loss == "dpo":
        how["precompute_ref_log_probs"] = of.precomputed
    if not of.samples:
        how["max_length"] = None
    made = trainer(
        model=learner,
        args=settings(
            output_dir=folder.name,
            per_device_train_batch_size=size,
            max_steps=steps,
            learning_rate=1e-5,
            gradient_checkpointing=False,
            bf16=of.bf16,
            use_cpu=not is_available(),
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            **how,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(of),
        **more,
    )
    return Run(made, folder)


def loaded(learner: Any, folder: Path, words: Any) -> Any:
    """The same model from a folder, where such a trainer looks for its reference."""
    learner.save_pretrained(folder)
    words.save_pretrained(folder)
    return type(learner).from_pretrained(folder)
