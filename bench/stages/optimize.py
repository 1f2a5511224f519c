"""Stage: preference optimization. An algorithm, what it learns from, and a budget make a policy."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback import gold, rouge
from ..feedback.answer import Answer, answers_of
from ..stats.density_ratio import density_ratio
from ..tasks.example import Example
from . import contrast, ensemble, labels, reference_scores, reward_model, samples, sft, tokenizer

if TYPE_CHECKING:
    from ..training.batches import Models
    from ..training.feeds import LabelRows, PairRows
    from .cell import Cell

VERSION = 2
POINTS = 8  # validations in a run


def inputs(cell: "Cell") -> dict[str, Any]:
    config = cell.config
    found = {
        "sft": cell.key(sft),
        "algo": config["algo"],
        "feed": config["feed"],
        "reference": config["reference"],
        "updates": config["budget"]["updates"],
        "responses": config["budget"]["responses"],
        "validation": config["budget"]["validation"],
        "response_tokens": config["task"]["response_tokens"],
        "optimization": config["model"]["optimization"],
        "seed": config["seed"],
    }
    by = labels.labeller(cell)
    if config["feed"]["name"] == "dataset":
        found["labels"] = cell.key(labels, by=by, part="train")
        if uses_cache(cell):
            found["reference_scores"] = cell.key(reference_scores, by=by, part="train")
        if "contrast" in config["feed"]:
            found["contrast"] = cell.key(contrast, by=by)
    elif config["feed"]["name"] == "online":
        found["reward"] = config["feedback"]["reward"]
        if config["feedback"]["reward"] == "reward_model":
            found["reward_model"] = ensemble.identity(cell)
    if cell.task.gold is None:
        found["validated_by"] = cell.key(reward_model, by=labels.by_default(cell), part="held_out")
    return found


def uses_cache(cell: "Cell") -> bool:
    """The stored scores are those of the SFT model."""
    return cell.config["reference"]["name"] == "sft"


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    import pandas as pd
    from accelerate import Accelerator
    from hydra.utils import instantiate

    from ..models import build as models
    from ..models.control import controlled
    from ..models.tokens import load_tokenizer
    from ..training.batches import Models
    from ..training.loop import Optimization, train

    spec = inputs(cell)
    algo = instantiate(spec["algo"])
    check(algo, spec["feed"], spec["reference"])
    words = load_tokenizer(cell.make(tokenizer))
    accelerator = Accelerator()
    device = accelerator.device
    policy = models.load_policy(cell.make(sft))
    if control := spec["feed"].get("control"):
        words = controlled(policy, cell.make(tokenizer), seed=spec["seed"], **control)
    policy = accelerator.prepare_model(policy)
    base = models.load_policy(cell.make(sft)).to(device).requires_grad_(False)
    reference, following = referred_to(cell.config["reference"], base)
    critic = None
    if "critic" in algo.needs:
        critic = accelerator.prepare_model(first_critic(cell, base))
    name = cell.config["name"]
    feed = FEEDS[spec["feed"]["name"]](cell, algo, words, device)
    taking_part = Models(policy=policy, reference=reference, critic=critic)
    validate = validation(cell, words, base)
    with cell.display.stage(name, spec["updates"]) as bar:
        run = train(
            algo,
            feed,
            taking_part,
            Optimization(**spec["optimization"]),
            updates=spec["updates"],
            seed=spec["seed"],
            micro=cell.config["model"]["micro_batch"],
            accelerator=accelerator,
            checkpoints=checkpoints,
            bar=bar,
            stage=name,
            following=following,
            validate=validate,
            points=min(POINTS, spec["updates"]),
        )
    final = accelerator.unwrap_model(policy)
    final.save_pretrained(folder / "policy")
    words.save_pretrained(folder / "policy")
    if run.peak_update != spec["updates"]:
        final.load_state_dict(run.peak_state)
        final.save_pretrained(folder / "peak")
        words.save_pretrained(folder / "peak")
    log = pd.DataFrame(run.log)
    log.insert(1, "stage", name)
    log.to_parquet(folder / "log.parquet")
    tokens = int(log["tokens"].sum())
    learning = sum(models.parameters(m) for m in taking_part.trained.values())
    # Forward and backward: 6 a parameter and token. Sampling and references come on top.
    found = {"tokens": tokens, "flops": 6.0 * learning * tokens}
    if "contrast" in spec:  # two models more had to learn
        before = cell.notes(contrast, by=labels.labeller(cell))
        found = {name: x + before[name] for name, x in found.items()}
    return {"peak_update": run.peak_update, "updates": spec["updates"], **found}


def check(algo: Any, feed: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    """ValueError if the feed gives what the loss does not read, or lacks what it does."""
    from hydra.utils import instantiate

    from algos.core import FromLabels, FromPairs

    name = type(algo).__name__
    if "token_contrast" in algo.needs and "contrast" not in feed:
        raise ValueError(
            f"{name} weighs tokens by two models: say how they learn, as in "
            "`+feed.contrast={_target_: algos.DPO, beta: 0.1}`"
        )
    useless = {
        "contrast": "token_contrast" not in algo.needs,
        "control": not isinstance(algo, FromLabels) or bool(algo.needs),
        "density_ratio": "weight" not in algo.needs,
    }
    for what in useless.keys() & feed.keys():
        if useless[what]:
            raise ValueError(f"{name} has no use for feed.{what}: leave it out (`~feed.{what}`)")
    if "control" in feed and reference["name"] == "moving":
        raise ValueError("feed.control gives the policy words that reference=moving does not know")
    if "contrast" in feed:
        teacher = instantiate(feed["contrast"])
        if not isinstance(teacher, FromPairs) or teacher.needs - {"token_ref_logps"}:
            raise ValueError(
                f"feed.contrast={type(teacher).__name__}: a loss of pairs that reads log-ratios alone"
            )


def referred_to(spec: Mapping[str, Any], base: Any) -> tuple[Any, Any]:
    """(reference, how it follows the policy): the SFT model, a copy that moves, or none."""
    from ..training.loop import Following

    match spec:
        case {"name": "sft"}:
            return base, None
        case {"name": "moving", "every": every, "mix": mix}:
            return copy.deepcopy(base), Following(every, mix)
        case {"name": "none"}:
            return None, None
    raise LookupError(f"reference={spec['name']!r}: one of sft, moving, none")


def first_critic(cell: "Cell", base: Any) -> Any:
    """The trunk of the (first) reward model that gives the reward, else the SFT model's; head at zero."""
    from ..models.build import load_values, reset_head, with_value_head

    if cell.config["feedback"]["reward"] != "reward_model":
        return with_value_head(base)
    first, *_ = ensemble.members(cell).values()
    return reset_head(load_values(cell.make(reward_model, **first)))


def from_dataset(cell: "Cell", algo: Any, words: Any, device: Any) -> Any:
    """Shuffled rows: demonstrations, or pairs (as labels or rankings where the algorithm learns from
    those) with the reference's scores from the store."""
    from algos.core import FromDemonstrations, FromLabels, FromRollouts

    from ..training.feeds import LabelRows, Shuffled, compared, demonstrations

    responses, seed = cell.config["budget"]["responses"], cell.config["seed"]
    if isinstance(algo, FromDemonstrations):
        rows = [(x.prompt, x.demonstration) for x in cell.examples("train") if x.demonstration]
        return Shuffled(demonstrations(words, rows, device), len(rows), responses, seed)
    if isinstance(algo, FromRollouts):
        raise ValueError(
            f"{type(algo).__name__} learns from its own samples: set `feed=online`, not `feed=dataset`"
        )
    by = labels.labeller(cell)
    if isinstance(algo, FromLabels) and labels.has_labels(cell, by):
        given = labels.rows(cell, words, by, "train")
    else:
        given = pairs_for(cell, algo, words)
    if isinstance(algo, FromLabels):
        given = given if isinstance(given, LabelRows) else given.as_labels()
        given = treated(cell, given, words, device)
    return compared(algo, given, responses, seed, words.pad_token_id, device)


def treated(cell: "Cell", rows: "LabelRows", words: Any, device: Any) -> "LabelRows":
    """Labels as the recipe's feed wants them: behind control tokens, or weighed."""
    from ..models.build import load_policy
    from ..models.scoring import prompt_embeddings

    feed = cell.config["feed"]
    if control := feed.get("control"):
        rows = rows.told(words.convert_tokens_to_ids(control["bad"]))
    if bounds := feed.get("density_ratio"):  # bad answers count as if to the prompts of good ones
        prompts = [prompt for prompt, _ in rows.rows]
        seen = prompt_embeddings(
            load_policy(cell.make(sft)).to(device), prompts, words.pad_token_id
        )
        wanted = np.array(rows.desirable)
        ratio = density_ratio(seen.numpy(), wanted, **bounds)
        rows = replace(rows, weight=np.where(wanted, 1.0, ratio).tolist())
    return rows


def pairs_for(cell: "Cell", algo: Any, words: Any) -> "PairRows":
    """The labelled pairs with all that the algorithm needs to know of them beforehand."""
    from ..training.feeds import encode

    by = labels.labeller(cell)
    pairs = labels.pair_rows(cell, words, by, "train")
    if uses_cache(cell):
        pairs = reference_scores.known(cell, by, pairs)
    if "contrast" in cell.config["feed"]:
        chosen, rejected = reference_scores.load(cell.make(contrast, by=by), pairs)
        pairs = replace(pairs, chosen_contrast=chosen, rejected_contrast=rejected)
    if "target" in algo.needs:  # what supervised training saw, else the better answer
        pairs = replace(pairs, target=encode(words, labels.taught(cell, by, "train")))
    return pairs


def online(cell: "Cell", algo: Any, words: Any, device: Any) -> Any:
    """Samples of the policy in training, with rewards."""
    from algos.core import FromRollouts

    from ..models.sampling import Decoding
    from ..training.feeds import Rollouts

    if not isinstance(algo, FromRollouts):
        raise ValueError(
            f"{type(algo).__name__} does not learn from rollouts: set `feed=dataset`, not `feed=online`"
        )
    config = cell.config
    return Rollouts(
        words=words,
        prompts=samples.part_of(cell, "train"),
        rewards=reward_of(cell, device),
        decoding=Decoding(max_new_tokens=config["task"]["response_tokens"]),
        size=config["budget"]["responses"],
        phase=min(
            config["feed"]["rollouts"], config["budget"]["updates"] * config["budget"]["responses"]
        ),
        per_prompt=config["feed"]["per_prompt"],
        epochs=config["feed"]["epochs"],
        missing_end_penalty=config["feed"]["missing_end_penalty"],
        seed=config["seed"],
        micro=config["model"]["micro_batch"],
        device=device,
    )


FEEDS = {"dataset": from_dataset, "online": online}


def reward_of(cell: "Cell", device: Any) -> Callable[..., Sequence[float]]:
    """(examples, answers) -> the reward that rollouts are trained on."""
    source = cell.config["feedback"]["reward"]
    if source == "reward_model":
        together = ensemble.combination(cell)
        folders = [cell.make(reward_model, **x) for x in ensemble.members(cell).values()]
        judges = [model_rewards(folder, device) for folder in folders]
        return lambda *answered: together([judge(*answered) for judge in judges])
    if source == "gold":
        return lambda examples, answers: gold.rewards(cell.task, examples, answers)
    if source == "rouge":
        return lambda examples, answers: rouge.rewards(examples, answers)
    raise LookupError(f"feedback.reward={source!r}: one of reward_model, gold, rouge")


def model_rewards(folder: Path, device: Any) -> Callable[..., list[float]]:
    from ..models.rewards import RewardModel
    from ..models.tokens import Tokens, load_tokenizer

    model, words = RewardModel.load(folder), load_tokenizer(folder)
    model.model.to(device)

    def rewards(examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
        prompts, ids = [x.prompt for x in examples], [a.ids for a in answers]
        return model(Tokens.behind(words, prompts, ids).to(device)).tolist()

    return rewards


def validation(cell: "Cell", words: Any, base: Any) -> Callable[["Models"], Mapping[str, float]]:
    """The policy on validation prompts, the same noise every time: gold (or, without gold, the
    held-out reward model), exact KL to the SFT model in nats a response, length, end rate."""
    from ..models.sampling import Decoding, draw
    from ..models.scoring import kl_along
    from ..models.tokens import Tokens, load_tokenizer

    config = cell.config
    examples = cell.examples("validation")[: config["budget"]["validation"]]
    prompts = [x.prompt for x in examples]
    plain = load_tokenizer(cell.make(tokenizer))  # that of the SFT model
    decoding = Decoding(max_new_tokens=config["task"]["response_tokens"])
    device = next(base.parameters()).device
    judge = None
    if cell.task.gold is None:
        folder = cell.make(reward_model, by=labels.by_default(cell), part="held_out")
        judge = model_rewards(folder, device)

    def validate(models: "Models") -> Mapping[str, float]:
        drawn = draw(models.policy, words, prompts, decoding, config["seed"] + 17)
        ours, theirs = (Tokens.behind(x, prompts, drawn.ids).to(device) for x in (words, plain))
        exact, _ = kl_along(models.policy, base, ours, theirs, config["model"]["micro_batch"])
        found = {
            "kl": exact.sum(-1).mean().item(),
            "length": float(np.mean([len(ids) for ids in drawn.ids])),
            "end_rate": float(np.mean(drawn.finished)),
        }
        answers = answers_of(words, drawn)
        if judge is None:
            found["gold"] = float(np.mean(gold.rewards(cell.task, examples, answers)))
        else:
            found["held_out"] = float(np.mean(judge(examples, answers)))
        return {**found, "score": found["gold" if judge is None else "held_out"]}

    return validate
