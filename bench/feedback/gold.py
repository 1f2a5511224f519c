"""The task's own program, without noise."""

from collections.abc import Sequence

from ..tasks.example import Example, Task
from .answer import Answer


def rewards(task: Task, examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
    """The exact reward of each answer. LookupError where the task has none."""
    return [
        task.reward(x, answer.text, answer.finished)
        for x, answer in zip(examples, answers, strict=True)
    ]
