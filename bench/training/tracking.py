"""Where the numbers of a training go while it runs, besides its log: trackers that accelerate knows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import ProjectConfiguration

from ..models.computing import accelerator


def accelerated(trackers: Sequence[str], folder: Path, device: str = "auto") -> Accelerator:
    """With trackers that write below `folder` once they are started; LookupError for one that is not
    installed."""
    there = sorted(map(str, get_available_trackers()))
    for name in trackers:
        if name not in there:
            raise LookupError(
                f"trackers=[{name}] is not installed here ({', '.join(there) or 'nothing'} is): "
                "pip install 'prefzoo[trackers]' brings tensorboard and wandb"
            )
    place = ProjectConfiguration(logging_dir=str(folder))
    return accelerator(device, log_with=[*trackers] or None, project_config=place)


@contextmanager
def tracked(accelerator: Accelerator, name: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """`accelerator.log` reaches its trackers, in a run of that name."""
    folder = accelerator.project_configuration.logging_dir
    if "wandb" in map(str, accelerator.log_with):
        Path(folder).mkdir(parents=True, exist_ok=True)  # or wandb would write elsewhere
    run = {"name": name, "dir": folder, "config": dict(settings)}
    accelerator.init_trackers("prefzoo", init_kwargs={"wandb": run})
    try:
        yield
    finally:
        while accelerator.trackers:
            accelerator.trackers.pop().finish()
