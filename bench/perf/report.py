"""`prefzoo perf`: which workloads, and the table of what was measured."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..names import Unknown, closest
from .training import CONTESTS, SCALING, Contest, Row, alone, rows

ROLLOUTS, SCALED = "rollouts", "scaling"
ROUNDS, STEPS = 5, 5  # updates of one measurement
HEAD = (
    f"{'':20} {'ours':>9} {'TRL':>9}  {'TRL / ours (all rounds)':23} {'memory':18} "
    f"{'above imports':18} share of peak"
)


def perf(words: Sequence[str]) -> int:
    """Prints a row as soon as it is known, and writes those of training to `--json FILE`."""
    names, file = chosen(words)
    if training := contests(names):
        print(f"an update, medians of {ROUNDS} rounds; tdpo2 stands against our own dpo\n{HEAD}")
        found: list[Row] = []
        for row in rows(training, ROUNDS, alone(STEPS)):
            found.append(row)
            print(line(row), flush=True)
            if file:
                file.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")
    if ROLLOUTS in names:
        from .rollouts import rows as of_rollouts

        print(f"{'':20} {'ours':>9} {'bare loop':>9}  ours / bare loop (all rounds)")
        for row in of_rollouts(ROUNDS):
            spread = f"{row.ratio:.2f} ({row.lowest:.2f} to {row.highest:.2f})"
            print(f"{row.workload:20} {row.ours_ms:6.0f} ms {row.peer_ms:6.0f} ms  {spread}")
    return 0


def chosen(words: Sequence[str]) -> tuple[list[str], Path | None]:
    """(workloads, where rows are written to); all but `scaling` where none is named."""
    names, known, file = list(words), [*CONTESTS, ROLLOUTS, SCALED], None
    if "--json" in names:
        at = names.index("--json")
        if len(names) == at + 1:
            raise Unknown("usage: prefzoo perf [WORKLOAD ...] [--json FILE]")
        file = Path(names[at + 1])
        del names[at : at + 2]
    for name in names:
        if name not in known:
            raise Unknown(f"{name!r} is no workload: did you mean {closest(name, known)}?")
    return names or [*CONTESTS, ROLLOUTS], file


def contests(names: Sequence[str]) -> dict[str, Contest]:
    found = {name: CONTESTS[name] for name in names if name in CONTESTS}
    return found | (SCALING if SCALED in names else {})


def line(row: Row) -> str:
    ratio = f"{row.ratio:.2f} ({row.lowest:.2f} to {row.highest:.2f})"
    memory = f"{row.ours_gb:.2f} / {row.peer_gb:.2f} GB"
    above = f"{row.ours_above_gb:.2f} / {row.peer_above_gb:.2f} GB"
    return (
        f"{row.workload:20} {row.ours_ms:6.0f} ms {row.peer_ms:6.0f} ms  {ratio:23} {memory:18} "
        f"{above:18} {row.peak_share:.0%}"
    )
