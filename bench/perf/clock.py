"""Two things by turns, so that what else the machine does falls on both."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """Medians of the rounds; the ratio is the median of theirs, with the least and the greatest."""

    workload: str
    ours_ms: float
    peer_ms: float
    ratio: float  # ours / peer
    lowest: float
    highest: float


def compared(
    workload: str, ours: Callable[[], Any], peer: Callable[[], Any], rounds: int = 5
) -> Row:
    """One round of each to warm up; then each once a round, taking turns in who is first."""
    seconds: dict[Any, list[float]] = {ours: [], peer: []}
    for number in range(rounds + 1):
        for run in (ours, peer) if number % 2 else (peer, ours):
            began = time.perf_counter()
            run()
            if number:
                seconds[run].append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(seconds[ours], seconds[peer], strict=True)]
    return Row(
        workload,
        1000 * median(seconds[ours]),
        1000 * median(seconds[peer]),
        median(ratios),
        min(ratios),
        max(ratios),
    )
