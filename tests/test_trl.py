"""One step beside TRL's own trainers: the same batch, the same loss, the same gradient."""

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.testing import assert_close

from algos import (
    AOT,
    CISPO,
    CPO,
    DAPO,
    DPO,
    EXO,
    FDPOJS,
    GMPO,
    GRPO,
    GSPO,
    KTO,
    LDDPO,
    NCA,
    RLOO,
    RSO,
    SPPO,
    WPO,
    AlphaPO,
    AOTUnpaired,
    APODown,
    APOZero,
    BradleyTerry,
    CPOSimPO,
    DiscoPOP,
    DPONorm,
    DrGRPO,
    FDPOAlpha,
    FDPOForwardKL,
    IPOMean,
    RobustDPO,
    SimPO,
)
from bench.models.build import with_value_head
from bench.models.rewards import RewardModel
from bench.models.scoring import reference_logps
from bench.models.tokens import Tokens, words
from bench.training.batches import LabelBatch, Models, RolloutBatch
from bench.training.feeds import LabelRows, PairRows, RankingRows
from bench.training.step import assign, step
from tests import tiny

TEXTS = [  # prompt, chosen, rejected: of different lengths
    ("a b", " c d e", " f"),
    ("b c d e", " a", " g f e d"),
    ("g", " a b", " b a"),
    ("c c c", " d e f g", " a a a"),
]
WORDS = words([x for row in TEXTS for x in row], 64)
SETTINGS = {"report_to": "none", "use_cpu": True, "bf16": False, "per_device_train_batch_size": 4}


def policy(seed: int = 0) -> Any:
    return tiny.llama(seed, vocab_size=len(WORDS))


def pairs() -> list[dict[str, str]]:
    return [{"prompt": p, "chosen": w, "rejected": l} for p, w, l in TEXTS]


def rows(batch: Any, key: str = "input_ids", mask: str = "completion_mask") -> list[Any]:
    """(prompt ids, response ids) of what TRL has tokenized."""
    attended = batch["attention_mask" if key == "input_ids" else f"{key[:3]}attention_mask"]
    found = []
    for ids, ours, there in zip(batch[key], batch[mask], attended, strict=True):
        ids, ours = ids[there.bool()], ours[there.bool()].bool()
        found.append((ids[~ours].tolist(), ids[ours].tolist()))
    return found


def theirs(trainer: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """(loss, gradient) of a trainer's model."""
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.detach(), gradient(trainer.model)


def gradient(model: Any) -> Tensor:
    return torch.cat([
        torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
        for p in model.parameters()
    ])  # fmt: skip


class Kept(torch.optim.SGD):
    """Takes no step, so that the gradient can be read."""

    def __init__(self, model: Any):
        super().__init__(model.parameters(), lr=0.0)

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


def ours(algo: Any, batch: Any, models: Models) -> tuple[Tensor, Tensor]:
    """(loss, gradient) by the bench's own step."""
    (model,) = models.trained.values()
    state = algo.start() if hasattr(algo, "start") else None
    credit, _ = assign(algo, batch, models, state, torch.Generator(), 3)
    numbers = step(
        algo, batch, models, Kept(model), Accelerator(cpu=True),
        credit=credit, micro=3, max_norm=1e9,
    )  # fmt: skip
    return torch.tensor(numbers["loss"]), gradient(model)


def agree(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], factor: float = 1.0) -> None:
    assert one[1].norm() > 1e-4
    assert_close(factor * one[0], other[0], rtol=1e-5, atol=1e-6)
    assert_close(factor * one[1], other[1], rtol=1e-5, atol=1e-5)


DPOS = {  # ours, TRL's settings, TRL's loss / ours
    "dpo": (DPO(beta=0.3), {"loss_type": "sigmoid", "beta": 0.3}, 1),
    "rso": (RSO(beta=0.3), {"loss_type": "hinge", "beta": 0.3}, 1),
    "ipo_mean": (IPOMean(tau=0.3), {"loss_type": "ipo", "beta": 0.3}, 1),
    "exo": (EXO(0.3, 0.01), {"loss_type": "exo_pair", "beta": 0.3, "label_smoothing": 0.01}, 1),
    "robust": (
        RobustDPO(0.3, 0.1),
        {"loss_type": "robust", "beta": 0.3, "label_smoothing": 0.1},
        1,
    ),
    "sppo": (SPPO(eta=4.0), {"loss_type": "sppo_hard", "beta": 0.25}, 2),  # leaves out the ½
    "aot": (AOT(beta=0.3), {"loss_type": "aot", "beta": 0.3}, 1),
    "aot_unpaired": (AOTUnpaired(beta=0.3), {"loss_type": "aot_unpaired", "beta": 0.3}, 1),
    "apo_zero": (APOZero(beta=0.3), {"loss_type": "apo_zero", "beta": 0.3}, 1),
    "apo_down": (APODown(beta=0.3), {"loss_type": "apo_down", "beta": 0.3}, 1),
    "discopop": (
        DiscoPOP(beta=0.3, tau=0.5),
        {"loss_type": "discopop", "beta": 0.3, "discopop_tau": 0.5},
        1,
    ),
    "dpo_norm": (DPONorm(beta=0.3), {"loss_type": "sigmoid_norm", "beta": 0.3}, 1),
    "ld_dpo": (LDDPO(beta=0.3, alpha=0.4), {"beta": 0.3, "ld_alpha": 0.4}, 1),
    "wpo": (WPO(beta=0.3), {"beta": 0.3, "use_weighting": True}, 1),
    "f_dpo_forward_kl": (
        FDPOForwardKL(beta=0.3),
        {"beta": 0.3, "f_divergence_type": "forward_kl"},
        1,
    ),
    "f_dpo_js": (FDPOJS(beta=0.3), {"beta": 0.3, "f_divergence_type": "js_divergence"}, 1),
    "f_dpo_alpha": (  # its coefficient is one minus the paper's
        FDPOAlpha(beta=0.3, alpha=0.3),
        {
            "beta": 0.3,
            "f_divergence_type": "alpha_divergence",
            "f_alpha_divergence_coef": 0.7,
        },
        1,
    ),
    "nca": (NCA(beta=0.3), {"loss_type": "nca_pair", "beta": 0.3}, 1),
}


@pytest.mark.parametrize("name", DPOS)
def test_dpo_trainer(name, tmp_path):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    algo, settings, factor = DPOS[name]
    trainer = DPOTrainer(
        policy(),
        policy(seed=1),
        DPOConfig(str(tmp_path), **SETTINGS, **settings),
        train_dataset=Dataset.from_list(pairs()),
        processing_class=WORDS,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    chosen, rejected = rows(batch)[:4], rows(batch)[4:]
    data = PairRows(chosen, rejected, [1.0] * 4, [0.0] * 4)
    if name == "nca":
        answers = list(zip(chosen, rejected, strict=True))
        data = RankingRows(answers, [(1.0, 0.0)] * 4)
    mine = ours(
        algo, data.batch(range(4), WORDS.pad_token_id, "cpu"), Models(policy(), policy(seed=1))
    )
    agree(mine, theirs(trainer, batch), factor)


CPOS = {
    "cpo": (CPO(beta=0.3, alpha=0.7), {"loss_type": "sigmoid", "cpo_alpha": 0.7}),
    "simpo": (SimPO(0.3, 0.2), {"loss_type": "simpo", "simpo_gamma": 0.2, "cpo_alpha": 0.0}),
    "cpo_simpo": (
        CPOSimPO(0.3, 0.2, 0.7),
        {"loss_type": "simpo", "simpo_gamma": 0.2, "cpo_alpha": 0.7},
    ),
    "alphapo": (
        AlphaPO(0.3, 0.2, 0.25),
        {"loss_type": "simpo", "simpo_gamma": 0.2, "cpo_alpha": 0.0, "alpha": 0.25},
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", CPOS)
def test_cpo_trainer(name, tmp_path):
    from datasets import Dataset
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    algo, settings = CPOS[name]
    trainer = CPOTrainer(
        policy(),
        CPOConfig(str(tmp_path), **SETTINGS, beta=0.3, max_length=64, **settings),
        train_dataset=Dataset.from_list(pairs()),
        processing_class=WORDS,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    sides = []
    for side in ("chosen", "rejected"):
        tensors = (batch[f"{side}_{x}"] for x in ("input_ids", "labels", "attention_mask"))
        sides.append([
            (ids[there.bool() & (label < 0)].tolist(), ids[label >= 0].tolist())
            for ids, label, there in zip(*tensors, strict=True)
        ])  # fmt: skip
    data = PairRows(*sides, [1.0] * 4, [0.0] * 4).batch(range(4), WORDS.pad_token_id, "cpu")
    agree(ours(algo, data, Models(policy())), theirs(trainer, batch))


def test_kto_trainer(tmp_path):
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    single = [
        {"prompt": p, "completion": y, "label": good}
        for p, w, l in TEXTS[:2]
        for y, good in ((w, True), (l, False))
    ]
    trainer = KTOTrainer(
        policy(),
        policy(seed=1),
        KTOConfig(
            str(tmp_path), **SETTINGS, beta=0.3, desirable_weight=1.5, undesirable_weight=0.5
        ),
        train_dataset=Dataset.from_list(single),
        processing_class=WORDS,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    wanted = [bool(x) for x in batch["label"]]
    made = LabelRows(rows(batch), wanted).batch(range(4), WORDS.pad_token_id, "cpu")
    other = LabelRows(rows(batch, "KL_input_ids", "KL_completion_mask"), wanted)
    data = LabelBatch(  # which responses are mismatched is theirs to choose
        made.tokens,
        made.desirable,
        made.weight,
        other.batch(range(4), WORDS.pad_token_id, "cpu").tokens,
    )
    mine = ours(KTO(0.3, 1.5, 0.5), data, Models(policy(), policy(seed=1)))
    agree(mine, theirs(trainer, batch))


def test_reward_trainer(tmp_path):
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    model = with_value_head(policy())
    torch.manual_seed(3)
    torch.nn.init.normal_(model.score.weight)
    peer = LlamaForSequenceClassification(
        LlamaConfig(**policy().config.to_dict() | {"num_labels": 1})
    )
    peer.model.load_state_dict(model.model.state_dict())
    peer.score.weight.data.copy_(model.score.weight.data)
    trainer = RewardTrainer(
        peer,
        RewardConfig(str(tmp_path), **SETTINGS, center_rewards_coefficient=0.1),
        train_dataset=Dataset.from_list(pairs()),
        processing_class=WORDS,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    both = [ids[there.bool()].tolist() for ids, there in zip(
        batch["input_ids"], batch["attention_mask"], strict=True)]  # fmt: skip
    cut = [(ids[:1], ids[1:]) for ids in both]  # the head reads the last token, wherever it begins
    data = PairRows(cut[:4], cut[4:], [1.0] * 4, [0.0] * 4)
    mine = ours(
        BradleyTerry(centring=0.1),
        data.batch(range(4), WORDS.pad_token_id, "cpu"),
        Models(reward=RewardModel(model, reads="last")),
    )
    other = theirs(trainer, batch)
    bias = (
        mine[1].numel() - other[1].numel()
    )  # ours has one, which pairs do not move ... but centring
    assert bias == 1
    agree((mine[0], mine[1][:-1]), other)


# -- from rollouts: their sampling, rewards and advantages, and one step off the policy that sampled

GROUP = 3
TRLS = {  # ours, TRL's settings
    "grpo": (
        GRPO(kl_coef=0.3, kl_correction=0.0),
        {"loss_type": "grpo", "use_bias_correction_kl": False},
    ),
    "grpo, corrected": (
        GRPO(kl_coef=0.3, kl_correction=1.0),
        {"loss_type": "grpo", "use_bias_correction_kl": True},
    ),
    "dr_grpo": (
        DrGRPO(max_length=6.0),
        {"loss_type": "dr_grpo", "scale_rewards": "none", "max_completion_length": 6},
    ),
    "dapo": (DAPO(cache=0.0), {"loss_type": "dapo", "epsilon_high": 0.28}),
    "gspo": (
        GSPO(clip_low=0.1, clip_high=0.2),
        {
            "loss_type": "grpo",
            "importance_sampling_level": "sequence",
            "epsilon": 0.1,
            "epsilon_high": 0.2,
        },
    ),
    "cispo": (CISPO(clip_high=0.1), {"loss_type": "cispo", "epsilon_high": 1.1}),
    "gmpo": (GMPO(clip=0.1), {"epsilon": 0.1}),
    "rloo": (RLOO(clip=0.2, kl_coef=0.0), {}),
}


def word_length(completions: list[str], **_: Any) -> list[float]:
    """A reward in which responses differ."""
    return [float(len(set(x))) + 0.1 * len(x) for x in completions]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", TRLS)
def test_rollout_trainers(name, tmp_path):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
    from trl.experimental.gmpo import GMPOConfig, GMPOTrainer

    algo, settings = TRLS[name]
    settings = {"max_completion_length": 6, "beta": 0.0, **settings}
    config, cls = {"gmpo": (GMPOConfig, GMPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}.get(
        name, (GRPOConfig, GRPOTrainer)
    )
    few = SETTINGS | {"per_device_train_batch_size": 4 * GROUP}
    trainer = cls(
        policy(),
        word_length,
        config(str(tmp_path), **few, num_generations=GROUP, **settings),
        train_dataset=Dataset.from_list([{"prompt": p} for p, *_ in TEXTS]),
        processing_class=WORDS,
    )
    torch.manual_seed(0)
    asked = [{"prompt": p} for p, *_ in TEXTS for _ in range(GROUP)]
    drawn = trainer._generate_and_score_completions(asked)
    trainer.model.eval()  # no share of an accumulated batch

    sides = (("prompt_ids", "prompt_mask"), ("completion_ids", "completion_mask"))
    ids = [
        [x[m.bool()].tolist() for x, m in zip(drawn[i], drawn[k], strict=True)] for i, k in sides
    ]
    tokens = Tokens.collate(list(zip(*ids, strict=True)), WORDS.pad_token_id)
    texts = WORDS.batch_decode(drawn["completion_ids"], skip_special_tokens=True)
    old, ref = (reference_logps(policy(seed), tokens, 3) for seed in (0, 1))
    old = torch.where(tokens.mask, old + 0.2 * torch.randn_like(old), 0.0)
    batch = RolloutBatch(
        tokens,
        token_old_logps=old,
        rewards=torch.tensor(word_length(texts)),
        prompt=torch.arange(len(asked)) // GROUP,
        finished=torch.ones(len(asked), dtype=torch.bool),
        given={"token_ref_logps": ref},
    )
    credit, _ = assign(algo, batch, Models(), None, torch.Generator(), 64)
    assert drawn["advantages"].abs().mean() > 0.1
    assert_close(credit.advantages, drawn["advantages"], rtol=1e-5, atol=1e-5)

    drawn["old_logps"], drawn["old_per_token_logps"] = old.sum(-1), old
    drawn["ref_per_token_logps"], trainer.beta = ref, getattr(algo, "kl_coef", 0.0)
    agree(ours(algo, batch, Models(policy())), theirs(trainer, drawn))
