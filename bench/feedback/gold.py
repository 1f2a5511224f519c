"""The task's own program, without noise."""

from collections.abc import Sequence

from ..tasks.example import Example, Task
from .answer import Answer


def rewards(task: Task, examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
    """The exact reward of each answer. LookupError where the task has none."""
    return [sum(found.values()) for found in parts(task, examples, answers)]


def parts(
    task: Task, examples: Sequence[Example], answers: Sequence[Answer]
) -> list[dict[str, float]]:
    """What each of them is the sum of."""
    return task.parts(examples, [a.text for a in answers], [a.finished for a in answers])
