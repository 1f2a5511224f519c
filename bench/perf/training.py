"""Training against TRL's trainers on one workload, each measurement in a process of its own.

Both compute the reference in the run (`dpo`, `kto`), or have what it says from before
(`dpo-precomputed`); `dpo-swept` is ours with what an earlier cell of a sweep has stored against TRL as
people run it. What stands before an update (imports, models, tokenized rows) is not counted.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

WORKLOADS = {  # name -> what ours runs, what the peer runs
    **{x: (x, x) for x in ("sft", "rm", "dpo", "dpo-precomputed", "kto")},
    "dpo-swept": ("dpo-precomputed", "dpo"),
}
Measure = Callable[[str, str], dict[str, float]]  # (ours or peer, what it runs)


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


def rows(names: Sequence[str], rounds: int, measure: Measure) -> Iterator[Row]:
    """Each workload as soon as its rounds are over. Ours and the peer take turns in who is first; what
    two workloads share is measured once."""
    found: dict[tuple[str, str, int], dict[str, float]] = {}
    for name in names:
        both = dict(zip(("ours", "peer"), WORKLOADS[name], strict=True))
        for number in range(rounds):
            for who in ("ours", "peer") if number % 2 else ("peer", "ours"):
                if (who, both[who], number) not in found:
                    found[who, both[who], number] = measure(who, both[who])
        ours, peer = ([found[w, x, n] for n in range(rounds)] for w, x in both.items())
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

    def measure(who: str, what: str) -> dict[str, float]:
        words = [sys.executable, "-m", "bench.perf", who, what, str(steps)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise NotMeasured(f"{who} {what}: {said[-1]}")
        return json.loads(done.stdout.splitlines()[-1])

    return measure
