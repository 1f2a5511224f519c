"""Stage: answers of the SFT model, criticised and revised by the principles of a constitution.

The first answer to a prompt is its first sample. Critic, reviser and the labeller who compares by
principle are the language model that `feedback.labeller` names, or, where it names none, programs that
read the parts of the task's exact reward, with stated errors. Departures from Bai et al.: comparisons
are asked in both orders, and none by people are mixed in.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..feedback.answer import Answer
from ..feedback.constitution import (
    SHIPPED,
    Chain,
    Principle,
    Request,
    clamped,
    load,
    readable,
    revised,
    sequence,
)
from ..feedback.critic import SimulatedCritic
from ..feedback.judge import SimulatedJudge
from ..feedback.labeller import Labeller, Verdicts
from ..tasks.example import DataError, Example
from . import ai_labeller, samples

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell") -> dict[str, Any]:
    found = {
        "samples": cell.key(samples, part="train"),
        "data": cell.data,
        "principles": [asdict(p) for p in principles(cell)],
        "rounds": settings(cell)["rounds"],
        "seed": cell.config["shared_seed"],
    }
    if simulated(cell):
        return {**found, "error_rate": settings(cell)["error_rate"]}
    return {**found, "critic": ai_labeller.settings(cell, "labeller")}


def settings(cell: "Cell") -> dict[str, Any]:
    """`feedback.constitution`; LookupError where the feedback has none."""
    if "constitution" not in cell.config["feedback"]:
        raise LookupError(
            "a policy or reference named `revised` learns from revisions by principles: choose "
            "feedback=constitution (as algo=cai does)"
        )
    return cell.config["feedback"]["constitution"]


def simulated(cell: "Cell") -> bool:
    """Whether programs judge. DataError where the task has none that could."""
    if "labeller" in cell.config["feedback"]:
        return False
    if cell.task.gold is None or cell.task.repair is None:
        raise DataError(
            f"task {cell.task.name} has no program that mends answers: have a language model do it, "
            "feedback=constitution_labeller feedback.labeller.model=FOLDER_OR_HUB_ID"
        )
    return True


def principles(cell: "Cell") -> tuple[Principle, ...]:
    """Those of the file; for programs, of which the task's exact reward says something."""
    path = settings(cell)["principles"] or SHIPPED
    if not simulated(cell):
        return load(path)
    example, *_ = cell.task.splits["train"]
    return readable(load(path), set(cell.task.gold(example, "", True)), path)


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """A row a round: prompt, principle, answer, critique and revision, the answer of the next."""
    import pandas as pd

    spec = inputs(cell)
    drawn = pd.read_parquet(cell.make(samples, part="train") / "samples.parquet")[::2]
    rows = {x.id: x for x in cell.task.splits["train"]}
    first = dict(zip(drawn["example"], drawn["text"], strict=True))
    examples = [rows[i] for i in first]
    with cell.display.stage("critique", (1 + 2 * spec["rounds"]) * len(examples)) as bar:
        judge = critic(cell)

        def ask(requests: Sequence[Request]) -> list[str]:
            if requests[0].answer is None:
                said = [first[r.example.id] for r in requests]
            else:
                said = judge(requests)
            bar.advance(len(requests))
            return said

        chains = revised(ask, examples, principles(cell), spec["rounds"], spec["seed"])
    found: list[dict[str, Any]] = []
    for chain in chains:
        answer = chain.first
        for k, one in enumerate(chain.rounds, 1):
            row = {"example": chain.example.id, "prompt": chain.example.prompt, "round": k}
            found.append({**row, "answer": answer, **asdict(one)})
            answer = one.revision
    table = pd.DataFrame(found)
    table.to_parquet(folder / "revisions.parquet")
    return {
        "prompts": len(chains),
        "requests": len(chains) * (1 + 2 * spec["rounds"]),
        "changed": float((table["answer"] != table["revision"]).mean()),
        "gold": None if cell.task.gold is None else golds(cell, chains),
    }


def golds(cell: "Cell", chains: Sequence[Chain]) -> list[float]:
    """The mean exact reward of first answers, and after each round."""
    stages = [[c.first, *(r.revision for r in c.rounds)] for c in chains]
    each = [
        [cell.task.reward(c.example, said) for said in some]
        for c, some in zip(chains, stages, strict=True)
    ]
    return np.mean(each, 0).tolist()


def critic(cell: "Cell") -> Callable[[Sequence[Request]], list[str]]:
    """Who criticises answers, and revises those that were criticised."""
    if simulated(cell):
        return program(cell)
    speaker = ai_labeller.language_model(cell).speaker

    def judge(requests: Sequence[Request]) -> list[str]:
        said = speaker.generate([r.text for r in requests])
        # A revision takes the place of the answer behind the prompt, the space between them included.
        return [
            text if r.critique is None else r.answer[: _lead(r.answer)] + text.strip()
            for r, text in zip(requests, said, strict=True)
        ]

    return judge


def _lead(text: str) -> int:
    return len(text) - len(text.lstrip())


def program(cell: "Cell") -> SimulatedCritic:
    spec = settings(cell)
    return SimulatedCritic(cell.task, spec["error_rate"], cell.config["shared_seed"])


def comparing(cell: "Cell") -> dict[str, Any]:
    """All that determines what comparisons by principle say."""
    who = "judge" if simulated(cell) else "labeller"
    return {
        "principles": [asdict(p) for p in principles(cell)],
        "clamp": settings(cell)["clamp"],
        who: ai_labeller.settings(cell, who),
    }


def verdicts(
    cell: "Cell",
    part: str,
    examples: Sequence[Example],
    first: Sequence[Answer],
    second: Sequence[Answer],
) -> tuple[list[float], dict[str, Any]]:
    """P(first ≻ second) of each pair by a principle of its own, within the bounds of
    `feedback.constitution.clamp`, NaN where it could not be read; what the labeller is like."""
    known, clamp = principles(cell), settings(cell)["clamp"]
    seed = [cell.config["shared_seed"], 29, sorted(samples.SHARES).index(part)]
    noise_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    drawn = sequence(noise_seed, len(examples), 1, len(known))[:, 0]
    if simulated(cell):
        judge = SimulatedJudge(**cell.config["feedback"]["judge"])
        asked = [
            [Request(x, a.text, known[i]) for x, a, i in zip(examples, some, drawn, strict=True)]
            for some in (first, second)
        ]
        quality = [program(cell).qualities(some) for some in asked]
        words = [[len(a.text.split()) for a in some] for some in (first, second)]
        return clamped(judge.preferences(*quality, *words), clamp), {}
    labeller = ai_labeller.language_model(cell)
    there, back = np.empty((2, len(examples)))
    for i, principle in enumerate(known):
        mine = np.flatnonzero(drawn == i)
        said = by(labeller, principle).verdicts(
            [examples[k].prompt for k in mine],
            [first[k].text for k in mine],
            [second[k].text for k in mine],
        )
        there[mine], back[mine] = said.there, said.back
    found = Verdicts(there, back)
    return clamped(found.preferences.tolist(), clamp), found.notes


def by(labeller: Labeller, principle: Principle) -> Labeller:
    """The labeller with a principle for a preamble."""
    return replace(labeller, questions=replace(labeller.questions, preamble=principle.comparison))
