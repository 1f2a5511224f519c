"""Training against TRL's trainers on one workload, each measurement in a process of its own.

Both compute the reference in the run (`dpo`, `kto`), or have what it says from before
(`dpo-precomputed`); `dpo-swept` is ours with what an earlier cell of a sweep has stored against TRL as
people run it. `-long` has prompts of four times the length, `-bf16` is under autocast, and `tdpo2` (the
whole vocabulary's KL) stands against our own DPO. What stands before an update (imports, models,
tokenized rows) is not counted.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from .workload import Workload


@dataclass(frozen=True)
class Contest:
    """Two that run by turns."""

    ours: Workload
    peer: Workload
    against: str = "peer"  # whose the other one is: the peer's, or ours


def both(of: Workload) -> Contest:
    return Contest(of, of)


DPO, ROLLOUTS = (
    Workload("dpo"),
    {"pairs": 16, "prompt": (40, 80), "response": (48, 48), "per_prompt": 4},
)
STORED, GRPO = replace(DPO, precomputed=True), Workload("grpo", **ROLLOUTS)
LONG = {"prompt": (600, 1600), "pairs": 4}
CONTESTS = {
    "sft": both(Workload("sft")),
    "rm": both(Workload("rm")),
    "dpo": both(DPO),
    "dpo-precomputed": both(STORED),
    "kto": both(Workload("kto")),
    "rloo": both(replace(GRPO, loss="rloo")),
    "grpo": both(GRPO),
    "dpo-swept": Contest(STORED, DPO),
    "dpo-long": both(replace(DPO, **LONG)),
    "dpo-bf16": both(replace(DPO, bf16=True)),
    "dpo-precomputed-bf16": both(replace(STORED, bf16=True)),
    "tdpo2": Contest(Workload("tdpo2"), DPO, against="ours"),
}
SCALING = {  # one size changes, the others stay
    **{f"pairs={n}": both(replace(STORED, pairs=n)) for n in (4, 8, 16)},
    **{f"prompt={n}": both(replace(STORED, prompt=(n, n))) for n in (64, 256, 1024)},
    **{f"per_prompt={n}": both(replace(GRPO, per_prompt=n)) for n in (2, 4, 8)},
    **{f"vocabulary={n}": both(replace(STORED, vocabulary=n)) for n in (1024, 4096, 16384)},
    **{f"width={n}": both(replace(STORED, width=n)) for n in (128, 256, 512)},
}
Measure = Callable[[str, Workload], dict[str, float]]  # (ours or peer, what it runs)


class NotMeasured(RuntimeError):
    """A measurement failed, told in one line."""


@dataclass(frozen=True)
class Row:
    """Medians of the rounds; `ratio` is the median of theirs, with the least and the greatest."""

    workload: str
    ours_ms: float  # an update
    peer_ms: float
    ratio: float  # peer / ours: how many times as fast ours is
    lowest: float
    highest: float
    ours_gb: float  # resident, at most
    peer_gb: float
    memory_ratio: float  # ours / peer
    ours_above_gb: float  # what of it came after the imports
    peer_above_gb: float
    peak_share: float  # of the fastest product of matrices in that process, counting necessary work


def rows(contests: Mapping[str, Contest], rounds: int, measure: Measure) -> Iterator[Row]:
    """Each as soon as its rounds are over. Ours and the peer take turns in who is first; what two
    contests share is measured once."""
    found: dict[tuple[str, Workload, int], dict[str, float]] = {}
    for name, contest in contests.items():
        sides = [("ours", contest.ours), (contest.against, contest.peer)]
        for number in range(rounds):
            for who, what in sides if number % 2 else sides[::-1]:
                if (who, what, number) not in found:
                    found[who, what, number] = measure(who, what)
        ours, peer = ([found[*side, n] for n in range(rounds)] for side in sides)
        yield row(name, ours, peer)


def row(name: str, ours: list[dict[str, float]], peer: list[dict[str, float]]) -> Row:
    def middle(side: list[dict[str, float]], what: str) -> float:
        return median(x[what] for x in side)

    ratios = [b["ms"] / a["ms"] for a, b in zip(ours, peer, strict=True)]
    return Row(
        workload=name,
        ours_ms=middle(ours, "ms"),
        peer_ms=middle(peer, "ms"),
        ratio=median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        ours_gb=middle(ours, "gb"),
        peer_gb=middle(peer, "gb"),
        memory_ratio=middle(ours, "gb") / middle(peer, "gb"),
        ours_above_gb=middle(ours, "above_gb"),
        peer_above_gb=middle(peer, "above_gb"),
        peak_share=median(x["gflop"] / (x["ms"] / 1000) / x["gflops"] for x in ours),
    )


def alone(steps: int) -> Measure:
    """Measures in a new process each time, so that nobody inherits another's memory or warm caches."""
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    environment = {"GOMP_SPINCOUNT": "5000", **os.environ, **offline, "PYTHONPATH": path}

    def measure(who: str, what: Workload) -> dict[str, float]:
        words = [sys.executable, "-m", "bench.perf", who, json.dumps(asdict(what)), str(steps)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise NotMeasured(f"{who} {what.loss}: {said[-1]}")
        return json.loads(done.stdout.splitlines()[-1])

    return measure
