"""What a person sees while stages run: stage, step, loss, reward, KL, time left."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import parent_process
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SHOWN = {  # column of the log -> as shown
    "loss": "loss",
    "rollout/reward": "reward",
    "accuracy": "accuracy",
    "validation/gold": "gold",
    "validation/kl": "KL",
}


@dataclass
class Bar:
    """The progress of one stage. Without a screen it says nothing in between."""

    progress: Progress | None = None
    task: TaskID | None = None
    seen: dict[str, float] = field(default_factory=dict)

    def advance(self, n: int = 1, **numbers: Any) -> None:
        """n more steps done; of the numbers those of SHOWN are shown until newer ones come."""
        if self.progress is None:
            return
        self.seen |= {label: numbers[name] for name, label in SHOWN.items() if name in numbers}
        text = "  ".join(f"{label} {x:.3g}" for label, x in self.seen.items())
        self.progress.update(self.task, advance=n, numbers=text)


@dataclass
class Display:
    """Where stages report: bars on a terminal, a line at the end of each stage elsewhere, and where
    cells of a sweep run side by side."""

    console: Console = field(default_factory=lambda: Console(file=sys.stderr))

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Bar]:
        """A bar from 0 to `total` while the stage runs."""
        start = time.perf_counter()
        if self.console.is_terminal and parent_process() is None:
            columns = (
                TextColumn("{task.description:<34}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}", style="dim"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.console, transient=True) as progress:
                yield Bar(progress, progress.add_task(name, total=total, numbers=""))
        else:
            yield Bar()
        self.say(f"{name:<40} {time.perf_counter() - start:7.1f} s")
