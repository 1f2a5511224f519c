"""The feed that a recipe names, made of the artifacts that it needs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback import bertscore, gold, rouge
from ..feedback.answer import Answer
from ..stats.density_ratio import density_ratio
from ..tasks.example import DataError, Example
from . import (
    ai_labeller,
    contrast,
    ensemble,
    labels,
    reference_scores,
    reference_states,
    reward_model,
    samples,
    sft,
    sources,
    teacher,
)
from .decoding import found as model_of

if TYPE_CHECKING:
    from ..training.arms import Arms
    from ..training.feeds import LabelRows, PairRows
    from ..training.phases import Phases, Sampler
    from ..training.transfer import Transfer
    from .cell import Cell


def inputs(cell: "Cell") -> dict[str, Any]:
    """The artifacts that a feed is made of, and who rewards."""
    feed, by = cell.config["feed"], labels.labeller(cell)
    found: dict[str, Any] = {}
    if feed["name"] == "dataset":
        found["labels"] = cell.key(labels, by=by, part="train")
        if uses_cache(cell):
            found["reference_scores"] = cell.key(reference_scores, by=by, part="train")
        if "contrast" in feed:
            found["contrast"] = cell.key(contrast, by=by)
    elif feed["name"] == "online":
        found["reward"] = cell.config["feedback"]["reward"]
        if found["reward"] == "reward_model":
            found["reward_model"] = ensemble.identity(cell)
        if "transfer" in feed:
            found["sources"] = sources.identity(cell)
        if "token_reward" in feed:
            found["teacher"] = cell.key(teacher, by=by)
        if found["reward"] == "judge_score":
            found["judge"] = ai_labeller.settings(cell, ai_labeller.scorer(cell))
    return found


def uses_cache(cell: "Cell") -> bool:
    """The stored scores are those of the SFT model."""
    return cell.config["reference"]["name"] == "sft"


def from_dataset(cell: "Cell", algo: Any, words: Any, device: Any) -> Any:
    """Shuffled rows: demonstrations, or pairs (as labels or rankings where the algorithm learns from
    those) with the reference's scores from the store."""
    from algos.core import FromDemonstrations, FromLabels, FromRollouts

    from ..training.feeds import LabelRows, Shuffled, compared, demonstrations

    responses, seed = cell.config["budget"]["responses"], cell.config["seed"]
    if isinstance(algo, FromDemonstrations):
        rows = [(x.prompt, x.demonstration) for x in demonstrated(cell)]
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
        if "token_ref_kl" in algo.needs and cell.config["model"].get("layout") == "packed":
            pairs = reference_states.known(
                cell, by, pairs
            )  # padded rows have last digits of their own
    if "contrast" in cell.config["feed"]:
        chosen, rejected = reference_scores.load(cell.make(contrast, by=by), pairs)
        pairs = replace(pairs, chosen_contrast=chosen, rejected_contrast=rejected)
    if "target" in algo.needs:  # what supervised training saw, else the better answer
        pairs = replace(pairs, target=encode(words, labels.taught(cell, by, "train")))
    return pairs


def online(cell: "Cell", algo: Any, words: Any, device: Any) -> "Phases":
    """Samples of the policy in training, with rewards, as whatever the algorithm learns from."""
    from hydra.utils import instantiate

    from algos.core import FromRollouts

    from ..models.build import load_policy
    from ..training.choice import BestAndWorst
    from ..training.feeds import encode
    from ..training.online import Online, learned_from

    feed = cell.config["feed"]
    per_prompt, against = feed["per_prompt"], feed.get("against")
    if not isinstance(algo, FromRollouts) and against is None:
        per_prompt = max(2, per_prompt)
    learned = learned_from(algo, per_prompt, against)
    draws = sampler(cell, words, samples.part_of(cell, "train"), reward_of(cell, device))
    arms = None
    if "transfer" in feed:
        draws, arms = helped(cell, draws, learned, device)
    tells, plain = None, []
    if "token_reward" in feed:
        tells = load_policy(cell.make(teacher, by=labels.labeller(cell))).to(device)
    if "pretrain" in algo.needs:
        shown = demonstrated(cell)
        plain = encode(words, [(x.prompt, x.demonstration) for x in shown])

    def collect(prompts: int) -> Any:
        return Online(
            algo,
            draws,
            prompts=prompts,
            per_prompt=per_prompt,
            choose=instantiate(feed["choose"]) if "choose" in feed else BestAndWorst(),
            micro=cell.config["model"]["micro_batch"],
            device=device,
            against=against,
            preference_temperature=feed.get("preference_temperature", 1.0),
            missing_end_penalty=feed["missing_end_penalty"],
            turn_discount=feed.get("turn_discount"),
            teacher=tells,
            plain=plain,
        )

    return phases(cell, collect, learned, arms)


def helped(cell: "Cell", draws: "Sampler", learned: int, device: Any) -> "tuple[Transfer, Arms]":
    """A sampler of whose answers sources may replace some, and what it remembers of those."""
    from hydra.utils import instantiate

    from ..training.arms import Arms
    from ..training.transfer import Transfer

    feed, transfer = cell.config["feed"], cell.config["feed"]["transfer"]
    replaced, candidates = transfer["replaced"], transfer["candidates"]
    if not 0 < replaced < feed["per_prompt"] or replaced > candidates:
        raise ValueError(
            f"feed.transfer.replaced={replaced} of feed.per_prompt={feed['per_prompt']} answers, by the "
            f"best of feed.transfer.candidates={candidates}: some are the policy's own, and some not"
        )
    parts, prompts = sizes(cell, learned)
    rounds = math.ceil(cell.config["budget"]["updates"] / (feed["epochs"] * parts))
    rewards = {
        name: source_rewards(cell, draws.words, spec, device)
        for name, spec in sources.named(cell).items()
    }
    arms = Arms(
        list(rewards),
        instantiate(transfer["bonus"]),
        horizon=rounds * prompts,
        null_win_rate=transfer["null_win_rate"],
    )
    penalty, measured = feed["missing_end_penalty"], transfer["measured"]
    return Transfer(draws, rewards, arms, candidates, replaced, penalty, measured), arms


def demonstrations_against_own(cell: "Cell", algo: Any, words: Any, device: Any) -> "Phases":
    """Demonstrations, each against what the policy in training says instead."""
    from algos.core import FromPairs

    from ..training.online import DemonstrationsAgainstOwn

    if not isinstance(algo, FromPairs):
        name = cell.config["feed"]["name"]
        raise ValueError(
            f"{type(algo).__name__} does not learn from pairs, as feed={name} makes them"
        )
    draws = sampler(cell, words, demonstrated(cell))
    return phases(cell, lambda prompts: DemonstrationsAgainstOwn(draws, prompts, device), 2)


def demonstrated(cell: "Cell") -> list[Example]:
    """The training rows that show an answer."""
    if not (shown := [x for x in cell.examples("train") if x.demonstration]):
        raise DataError(
            f"task {cell.task.name} has no demonstrations, from which {cell.config['name']} learns, too"
        )
    return shown


def sampler(cell: "Cell", words: Any, prompts: Sequence[Example], rewards: Any = None) -> "Sampler":
    from ..models.sampling import Decoding
    from ..training.phases import Sampler

    temperature = cell.config["feed"].get("temperature", 1.0)
    if not temperature > 0:
        raise ValueError(
            f"feed.temperature={temperature}: samples are drawn at a temperature above 0"
        )
    decoding = Decoding(temperature, max_new_tokens=cell.config["task"]["response_tokens"])
    return Sampler(words, prompts, decoding, cell.config["seed"], rewards, cell.task.replies)


def phases(
    cell: "Cell", collect: Callable[[int], Any], learned: int, memory: Any = None
) -> "Phases":
    """A feed of phases from what collects them, given how many prompts; of the responses to each so many
    are `learned` from. `memory` goes into checkpoints."""
    from ..training.phases import Phases

    parts, prompts = sizes(cell, learned)
    epochs, seed = cell.config["feed"]["epochs"], cell.config["seed"]
    return Phases(collect(prompts), parts, epochs, seed, memory)


def sizes(cell: "Cell", learned: int) -> tuple[int, int]:
    """(minibatches, prompts) of a phase."""
    from ..training.phases import cut

    feed, budget = cell.config["feed"], cell.config["budget"]
    phase = min(feed["rollouts"], budget["updates"] * budget["responses"])
    return cut(phase, budget["responses"], learned)


def reward_of(cell: "Cell", device: Any) -> Callable[..., Sequence[float]]:
    """(examples, answers) -> the reward that rollouts are trained on."""
    from ..models.computing import exactly

    source = cell.config["feedback"]["reward"]
    if source == "reward_model":
        together = ensemble.combination(cell)
        folders = [cell.make(reward_model, **x) for x in ensemble.members(cell).values()]
        judges = [model_rewards(folder, device) for folder in folders]
        return lambda *answered: together([judge(*answered) for judge in judges])
    if source == "gold":
        return exactly(lambda examples, answers: gold.rewards(cell.task, examples, answers))
    if source == "rouge":
        return lambda examples, answers: rouge.rewards(examples, answers)
    if source == "judge_score":
        return exactly(ai_labeller.scores(cell))
    raise LookupError(f"feedback.reward={source!r}: one of reward_model, gold, rouge, judge_score")


def model_rewards(folder: Path, device: Any) -> Callable[..., list[float]]:
    from ..models.computing import exactly
    from ..models.rewards import RewardModel
    from ..models.tokens import Tokens, load_tokenizer

    model, words = RewardModel.load(folder), load_tokenizer(folder)
    model.model.to(device)

    @exactly
    def rewards(examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
        prompts, ids = [x.prompt for x in examples], [a.ids for a in answers]
        return model(Tokens.behind(words, prompts, ids).to(device)).tolist()

    return rewards


def source_rewards(
    cell: "Cell", words: Any, spec: Mapping[str, Any], device: Any
) -> Callable[..., Sequence[float]]:
    """(examples, answers) -> what a source of `feed.transfer` would reward them with."""
    from hydra.utils import instantiate

    from ..metrics.bertscore import loaded

    match spec:
        case {"name": "rouge"}:
            return rouge.rewards
        case {"name": "bertscore"}:
            encoder = loaded(**sources.reads(cell, spec))
            return lambda examples, answers: bertscore.rewards(examples, answers, encoder)
        case {"name": "reward_model"}:
            return model_rewards(cell.make(reward_model, **sources.choice(cell, spec)), device)
        case {"name": "policy", "of": model}:
            return log_ratios(model_of(cell, model), cell.make(sft), words, device)
    return instantiate(spec)


def log_ratios(folder: str, start: Path, words: Any, device: Any) -> Callable[..., Sequence[float]]:
    """log π(y|x) − log π_SFT(y|x) of another policy: its implicit reward."""
    from ..models.build import load_policy
    from ..models.implicit import implicit_rewards
    from ..models.tokens import Tokens, load_tokenizer

    own = load_tokenizer(folder)
    if not words.get_vocab().items() <= own.get_vocab().items():
        raise ValueError(
            f"feed.transfer.sources: the vocabulary of {folder} is not that of the policy in training: "
            "name a policy of the same tokenizer"
        )
    policy, reference = (load_policy(p).to(device) for p in (folder, start))

    def rewards(examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
        prompts, ids = [x.prompt for x in examples], [a.ids for a in answers]
        ours, theirs = (Tokens.behind(w, prompts, ids).to(device) for w in (own, words))
        return implicit_rewards(policy, reference, ours, theirs, 1.0, 256).sum(-1).tolist()

    return rewards


FEEDS = {
    "dataset": from_dataset,
    "online": online,
    "demonstrations_vs_own": demonstrations_against_own,
}
