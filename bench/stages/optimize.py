"""Stage: preference optimization. An algorithm, what it learns from, and a budget make a policy."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback import gold
from ..feedback.answer import answers_of
from ..training.alarms import alarms
from . import contrast, ensemble, feeds, labels, revised, reward_model, sft, teacher, tokenizer

if TYPE_CHECKING:
    from ..training.batches import Models
    from ..training.loop import Trained
    from .cell import Cell

VERSION = 2
POINTS = 8  # validations in a run
SILENT = {"policy": "sft", "critic": "reward_model", "critic_updates": 0}  # as if nothing were said
TAUGHT = {"contrast": contrast, "teacher": teacher}  # whose models learn for this one


def inputs(cell: "Cell") -> dict[str, Any]:
    config = cell.config
    found = {
        "sft": cell.key(sft),
        "algo": config["algo"],
        "feed": {k: x for k, x in config["feed"].items() if (k, x) not in SILENT.items()},
        "reference": config["reference"],
        "updates": config["budget"]["updates"],
        "responses": config["budget"]["responses"],
        "validation": config["budget"]["validation"],
        "response_tokens": config["task"]["response_tokens"],
        "optimization": config["model"]["optimization"],
        "seed": config["seed"],
        **feeds.inputs(cell),
    }
    if "revised" in (config["feed"].get("policy"), config["reference"]["name"]):
        found["revised"] = cell.key(revised)
    if cell.task.gold is None:
        found["validated_by"] = cell.key(reward_model, by=labels.by_default(cell), part="held_out")
    return found


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    import pandas as pd
    from hydra.utils import instantiate

    from ..models import build as models
    from ..models.control import controlled
    from ..models.tokens import load_tokenizer
    from ..training.batches import Models
    from ..training.loop import Optimization, Trained, spent, train
    from ..training.phases import after
    from ..training.timing import Spent
    from ..training.tracking import accelerated, tracked

    spec = inputs(cell)
    algo = instantiate(spec["algo"])
    check(algo, spec["feed"], spec["reference"])
    words = load_tokenizer(cell.make(tokenizer))
    key = folder.parent.name  # of what is being made
    run_name = f"{cell.config['name']}-{key.rpartition('-')[2]}"
    place = Path(cell.config["runs"]) / "trackers" / run_name
    accelerator = accelerated(
        cell.config.get("trackers", ()), place, cell.config.get("device", "auto")
    )
    device = accelerator.device
    policy = first_policy(cell, words)
    if control := spec["feed"].get("control"):
        words = controlled(policy, cell.make(tokenizer), seed=spec["seed"], **control)
    computing = cell.computing
    policy = computing.learning(accelerator.prepare_model(policy))
    base = models.load_policy(cell.make(sft)).to(device).requires_grad_(False)
    feed = feeds.FEEDS[spec["feed"]["name"]](cell, algo, words, device)
    reference, following = referred_to(cell.config["reference"], first_reference(cell, base), feed)
    critic = None
    if "critic" in algo.needs:
        critic = computing.learning(accelerator.prepare_model(first_critic(cell, base)))
    for still in {base} if following else {base, reference} - {None}:
        computing.reading(still)
    name = cell.config["name"]
    taking_part = Models(policy=policy, reference=reference, critic=critic, computing=computing)
    training = partial(
        train,
        algo,
        models=taking_part,
        optimization=Optimization(**spec["optimization"]),
        seed=spec["seed"],
        micro=cell.config["model"]["micro_batch"],
        accelerator=accelerator,
    )
    alone = Trained(log=[])
    if ahead := spec["feed"].get("critic_updates"):
        apart = checkpoints / "critic"
        apart.mkdir(exist_ok=True)
        stage = f"{name}: critic"
        with cell.display.stage(stage, ahead) as bar:
            alone = training(
                feed, updates=ahead, checkpoints=apart, bar=bar, stage=stage, only={"value"}
            )
        feed = after(feed, ahead)
    validate = validation(cell, words, base)
    with (
        cell.display.stage(name, spec["updates"]) as bar,
        tracked(accelerator, run_name, {"task": cell.task.name, **spec}),
    ):
        run = training(
            feed,
            updates=spec["updates"],
            checkpoints=checkpoints,
            bar=bar,
            stage=name,
            state=alone.state,
            following=following,
            validate=validate,
            points=min(POINTS, spec["updates"]),
            say=cell.display.say,
        )
    final = accelerator.unwrap_model(policy)
    final.save_pretrained(folder / "policy")
    words.save_pretrained(folder / "policy")
    if run.peak_update != spec["updates"]:
        final.load_state_dict(run.peak_state)
        final.save_pretrained(folder / "peak")
        words.save_pretrained(folder / "peak")
    pd.DataFrame(logged({f"{name}: critic": alone, name: run})).to_parquet(folder / "log.parquet")
    costs = [spent(run, taking_part.trained.values())]
    if alone.log:
        costs.append(spent(alone, [critic], [policy]))
    costs += [cell.notes(x, by=labels.labeller(cell)) for name, x in TAUGHT.items() if name in spec]
    whole = Spent()
    for trained in (alone, run):
        whole.add(trained.spent)
    cell.display.say(f"{name}: {whole}")
    return {
        "peak_update": run.peak_update,
        "updates": spec["updates"],
        "spent": whole.fields,
        "learned": run.learned,
        **{x: sum(found[x] for found in costs) for x in ("tokens", "flops")},
        "alarms": [alarm.words for alarm in alarms(run.log)],
    }


def logged(runs: "Mapping[str, Trained]") -> list[dict[str, Any]]:
    """A row an update, of one stage after the other."""
    rows: list[dict[str, Any]] = []
    for stage, run in runs.items():
        before = rows[-1]["seconds"] if rows else 0.0
        for row in run.log:
            seconds = before + row["seconds"]
            rows.append({"step": row["step"], "stage": stage, **row, "seconds": seconds})
    return rows


def check(algo: Any, feed: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    """ValueError if the feed gives what the loss does not read, or lacks what it does."""
    from hydra.utils import instantiate

    from algos.core import FromLabels, FromPairs, FromRollouts

    name = type(algo).__name__
    if "token_contrast" in algo.needs and "contrast" not in feed:
        raise ValueError(
            f"{name} weighs tokens by two models: say how they learn, as in "
            "`+feed.contrast={_target_: algos.DPO, beta: 0.1}`"
        )
    if "by_reference" in algo.needs and feed.get("against") is None:
        raise ValueError(
            f"{name} sets answers of the policy against those of the reference: `feed=reference_mix`"
        )
    asked = algo.needs | getattr(algo, "credit_needs", frozenset())
    prices_steps = "token_discounts" in asked  # and then turns earn their own rewards
    if prices_steps and "turn_discount" not in feed:
        raise ValueError(
            f"{name} discounts what later turns earn: say by how much, as in `+feed.turn_discount=0.9`"
        )
    told = "token_rewards" in asked and not prices_steps
    if told and "token_reward" not in feed:
        raise ValueError(
            f"{name} reads how a trained policy sees each token: say how that learns, as in "
            "`+feed.token_reward={_target_: algos.DPO, beta: 0.1}`"
        )
    useless = {
        "contrast": "token_contrast" not in algo.needs,
        "token_reward": not told,
        "turn_discount": not prices_steps,
        "critic": "critic" not in algo.needs,
        "critic_updates": "critic" not in algo.needs,
        "control": not isinstance(algo, FromLabels) or bool(algo.needs),
        "density_ratio": "weight" not in algo.needs,
        "transfer": isinstance(algo, FromRollouts),
    }
    for what in useless.keys() & feed.keys():
        if useless[what]:
            raise ValueError(f"{name} has no use for feed.{what}: leave it out (`~feed.{what}`)")
    if "control" in feed and reference["name"] in ("moving", "previous"):
        raise ValueError(
            f"feed.control gives the policy words that reference={reference['name']} does not know"
        )
    if "turn_discount" in feed and "against" in feed:
        raise ValueError(
            "feed.against rewards whole responses, and feed.turn_discount pays turns: leave out one"
        )
    if told and reference["name"] != "sft":
        raise ValueError(
            f"feed.token_reward is beside the SFT model: set reference=sft, not {reference['name']}"
        )
    for what in ("contrast", "token_reward"):
        loss = instantiate(feed.get(what))
        if loss and (not isinstance(loss, FromPairs) or loss.needs - {"token_ref_logps"}):
            raise ValueError(
                f"feed.{what}={type(loss).__name__}: a loss of pairs that reads log-ratios alone"
            )


def first_reference(cell: "Cell", base: Any) -> Any:
    """What the reference is at first: the SFT model, or what that one learned from revisions."""
    from ..models.build import load_policy

    if cell.config["reference"]["name"] != "revised":
        return base
    return load_policy(cell.make(revised)).to(base.device).requires_grad_(False)


def referred_to(spec: Mapping[str, Any], first: Any, feed: Any) -> tuple[Any, Any]:
    """(reference, how it follows the policy): the first one for good, a copy of it that moves, the policy
    as it was when a phase began, or none."""
    from ..training.loop import Following

    match spec:
        case {"name": "sft" | "revised"}:
            return first, None
        case {"name": "moving", "every": every, "mix": mix}:
            return copy.deepcopy(first), Following(every, mix)
        case {"name": "previous"}:
            if not hasattr(feed, "updates_a_phase"):
                raise ValueError("reference=previous needs a feed of phases, as feed=online is")
            return copy.deepcopy(first), Following(feed.updates_a_phase, 1.0)
        case {"name": "none"}:
            return None, None
    raise LookupError(f"reference={spec['name']!r}: one of sft, revised, moving, previous, none")


def first_policy(cell: "Cell", words: Any) -> Any:
    """The SFT model, or where the feed says `policy: base` what that one was before, and where it says
    `policy: revised` what it learned from revisions."""
    from ..models.build import load_policy

    match cell.config["feed"].get("policy", "sft"):
        case "sft":
            return load_policy(cell.make(sft))
        case "base":
            return sft.untrained(cell, words)
        case "revised":
            return load_policy(cell.make(revised))
        case other:
            raise LookupError(f"feed.policy={other!r}: one of sft, base, revised")


def first_critic(cell: "Cell", base: Any) -> Any:
    """The trunk of the (first) reward model that gives the reward, else, or where the feed says
    `critic: sft`, that of the SFT model; head at zero."""
    from ..models.build import load_values, reset_head, with_value_head

    start = cell.config["feed"].get("critic", "reward_model")
    if start not in ("reward_model", "sft"):
        raise LookupError(f"feed.critic={start!r}: one of reward_model, sft")
    if start == "sft" or cell.config["feedback"]["reward"] != "reward_model":
        return with_value_head(base)
    first, *_ = ensemble.members(cell).values()
    return reset_head(load_values(cell.make(reward_model, **first)))


def validation(cell: "Cell", words: Any, base: Any) -> Callable[["Models"], Mapping[str, float]]:
    """The policy on validation prompts, the same noise every time: gold (or, without gold, the
    held-out reward model), exact KL to the SFT model in nats a response, length, end rate."""
    from ..models.computing import device_of
    from ..models.sampling import Decoding, draw
    from ..models.scoring import kl_along
    from ..models.tokens import Tokens, load_tokenizer

    config = cell.config
    examples = cell.examples("validation")[: config["budget"]["validation"]]
    prompts = [x.prompt for x in examples]
    plain = load_tokenizer(cell.make(tokenizer))  # that of the SFT model
    decoding = Decoding(max_new_tokens=config["task"]["response_tokens"])
    reply = cell.task.replies(examples)
    device = device_of(base)
    judge = None
    if cell.task.gold is None:
        folder = cell.make(reward_model, by=labels.by_default(cell), part="held_out")
        judge = feeds.model_rewards(folder, device)

    def validate(models: "Models") -> Mapping[str, float]:
        seed = config["seed"] + 17
        drawn = draw(models.policy, words, prompts, decoding, seed, reply=reply)
        answers = answers_of(words, drawn)
        ours, theirs = (Tokens.behind(x, prompts, drawn.ids).to(device) for x in (words, plain))
        exact, _ = kl_along(models.policy, base, ours, theirs, config["model"]["micro_batch"])
        found = {
            "kl": exact.sum(-1).mean().item(),
            "length": float(np.mean([a.length for a in answers])),
            "end_rate": float(np.mean(drawn.finished)),
        }
        if judge is None:
            found["gold"] = float(np.mean(gold.rewards(cell.task, examples, answers)))
        else:
            found["held_out"] = float(np.mean(judge(examples, answers)))
        return {**found, "score": found["gold" if judge is None else "held_out"]}

    return validate
