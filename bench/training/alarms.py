"""Signs that a policy collapses, read off the log while it trains.

Zheng et al., 2023, https://arxiv.org/abs/2307.04964, section 5.2: rewards and losses do not tell, but the
length of responses, their perplexity under the reference and the KL to it do. Policies that collapse
there repeat at length what the reference finds likely; where a reward model is trusted too far,
others say what it would never say. The bounds are ours: on digest they part runs of PPO whose gold
reward falls from runs whose gold reward does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

LONGER = 1.2  # times the length of the first phase
LIKELIER, UNLIKELIER = 0.8, 1.5  # times its nats a token under the reference
FAR = 0.25  # nats of KL a token
STEADY = 1.8  # times the KL at half as many updates: at a steady pace it doubles
READS = frozenset({"rollout/length", "rollout/reference_perplexity", "rollout/kl"})

Phase = Mapping[str, float]


@dataclass(frozen=True)
class Alarm:
    """What was first seen in the phase that this update began."""

    name: str
    update: int
    words: str


def alarms(rows: Sequence[Phase]) -> list[Alarm]:
    """Those that a log raises, one of each name. Rows that measured no phase are passed over."""
    phases = [row for row in rows if row.keys() >= READS]
    found: dict[str, Alarm] = {}
    for i, now in enumerate(phases):
        name = sign(phases[: i + 1])
        if name and name not in found:
            found[name] = Alarm(name, int(now["step"]), told(name, phases[0], now))
    return list(found.values())


def sign(phases: Sequence[Phase]) -> str | None:
    """What the last of these phases shows, beside the first."""
    first, now = phases[0], phases[-1]
    if not rises_sharply(phases):
        return None
    longer = now["rollout/length"] >= LONGER * first["rollout/length"]
    if longer and surprise(now) <= LIKELIER * surprise(first):
        return "pattern collapse"
    return "drift" if surprise(now) >= UNLIKELIER * surprise(first) else None


def rises_sharply(phases: Sequence[Phase]) -> bool:
    """Whether the KL is large, and has grown at a steady pace or faster."""
    now = phases[-1]
    middle = (phases[0]["step"] + now["step"]) / 2
    half = [p for p in phases if p["step"] <= middle][-1]
    far = now["rollout/kl"] >= FAR * now["rollout/length"]
    return far and now["rollout/kl"] >= STEADY * half["rollout/kl"]


def surprise(phase: Phase) -> float:
    """Nats a token under the reference."""
    return log(phase["rollout/reference_perplexity"])


def told(name: str, first: Phase, now: Phase) -> str:
    length, perplexity = (
        f"{now[x]:.3g} (at first {first[x]:.3g})"
        for x in ("rollout/length", "rollout/reference_perplexity")
    )
    return (
        f"{name} from update {now['step']:.0f}: responses of {length} tokens, a perplexity under the "
        f"reference of {perplexity}, a KL of {now['rollout/kl']:.3g} nats that rises sharply"
    )
