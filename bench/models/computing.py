"""How models compute: how precisely, compiled or not, and what they keep in the accelerator's memory.

Weights are float32 whatever the precision. What `model.` of a configuration says of this holds where
policies, critics and reward models learn, draw what they learn from, and are compared with a
reference; they are validated and evaluated in float32. Precision is torch's own affair here, and not
accelerate's, which knows one a process: cells of a sweep share a process, and may differ.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import cache, partial, wraps
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, cpu_offload
from torch import nn
from torch.utils.checkpoint import checkpoint

from .packing import is_packed

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "bf16")
COMPILERS = ("c++", "g++", "clang++")
Item, Result = TypeVar("Item"), TypeVar("Result")


class ComputingError(ValueError):
    """A way of computing that cannot be, told in one line."""


@dataclass(frozen=True)
class Computing:
    """`bf16`: products of matrices in bfloat16, sums and softmax in float32 (torch.autocast). A model
    with gradient checkpointing keeps what its layers read, and computes the rest again in the backward
    pass. An offloaded reference waits in the host's memory, and each layer comes when it is its turn.
    Micro-batches are computed by so many `workers` side by side, each with its share of the cores: small
    ones take less time so than one after the other on all cores, and more memory."""

    precision: str = "float32"
    compile: bool = False
    gradient_checkpointing: bool = False
    offload_reference: bool = False
    workers: int = 1

    def __post_init__(self):
        if self.workers < 1:
            raise ComputingError(f"model.workers is {self.workers}: one or more")
        if self.workers > 1 and self.offload_reference:
            raise ComputingError(
                f"model.workers={self.workers} and model.offload_reference=true: one would send away "
                "the layer that another is reading; leave out one of them"
            )
        if self.precision not in PRECISIONS:
            raise ComputingError(
                f"model.precision is {self.precision!r}: one of {', '.join(PRECISIONS)} (fp16 would "
                "need its losses scaled)"
            )
        if self.compile and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
            raise ComputingError(
                "model.compile=true needs a C++ compiler, and none of "
                f"{', '.join(COMPILERS)} is on PATH: install one, name it in CXX, or leave it false"
            )

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> "Computing":
        """As the `model` of a configuration says, which may say nothing of it."""
        return cls(**{f.name: model[f.name] for f in fields(cls) if f.name in model})

    def autocast(self, device: torch.device) -> torch.autocast:
        """Where models are called. No cast weight is kept: a pass reads each once."""
        lower = self.precision != "float32"
        return torch.autocast(device.type, torch.bfloat16, enabled=lower, cache_enabled=False)

    def learning(self, model: nn.Module) -> nn.Module:
        """The same model, ready to be trained."""
        if self.gradient_checkpointing:
            model = checkpointed(model)
        return compiled(model) if self.compile else model

    def reading(self, model: nn.Module) -> nn.Module:
        """The same model, ready to be a reference that stays as it is."""
        if self.offload_reference:
            return offloaded(model)
        return compiled(model) if self.compile else model


def exactly(work: Callable[..., Result]) -> Callable[..., Result]:
    """The same, as if nobody had asked for less precision: what rewards and judges is no part of
    learning."""

    @wraps(work)
    def exact(*read: Any) -> Result:
        with ExitStack() as stack:
            for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda")):
                stack.enter_context(torch.autocast(kind, enabled=False))
            return work(*read)

    return exact


def side_by_side(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """work(item) of each, in their order, so many at a time."""
    if workers == 1:
        yield from map(work, items)
        return
    differentiable = torch.is_grad_enabled()  # which threads do not inherit

    def done(item: Item) -> Result:
        with torch.set_grad_enabled(differentiable):
            return work(item)

    yield from threads(workers).map(done, items)


@cache
def threads(workers: int) -> ThreadPoolExecutor:
    """Each with its share of the cores."""
    cores = max(1, torch.get_num_threads() // workers)
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores,))


def accelerator(device: str = "auto", **how: Any) -> Accelerator:
    """On the accelerator that there is, else the CPU (`auto`), or on what is named."""
    if device not in DEVICES:
        raise ComputingError(f"device is {device!r}: one of {', '.join(DEVICES)}")
    found = Accelerator(cpu=device == "cpu", **how)
    if device not in ("auto", found.device.type):
        raise ComputingError(
            f"device={device}, and here is none that torch {torch.__version__} can use: set device=auto"
        )
    return found


def checkpointed(model: nn.Module) -> nn.Module:
    """The same model, whose layers keep for the backward pass what they read, and nothing else.

    transformers does this to models in training mode, in which dropout is drawn: ours never are.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [x for x in model.modules() if isinstance(x, GradientCheckpointingLayer)]
    if not layers:
        raise ComputingError(
            f"{type(model).__name__} has no layers that could be computed again: set "
            "model.gradient_checkpointing=false"
        )
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return model


def compiled(model: nn.Module) -> nn.Module:
    """The same model, whose body is compiled when it is first called; copies of it are not."""
    if is_packed(model):
        raise ComputingError(
            "model.compile=true, and no two batches of model.layout=packed are laid out alike, so that "
            "each would be compiled anew: leave out one of them"
        )
    model.base_model.compile(dynamic=True)
    return model


def offloaded(model: nn.Module) -> nn.Module:
    """The same model, which computes where it is, and waits in the host's memory."""
    return cpu_offload(model, device_of(model))


def device_of(model: nn.Module) -> torch.device:
    """Where a model computes: where its weights are, or are brought to layer by layer."""
    hooks = (getattr(x, "_hf_hook", None) for x in model.modules())
    brought = (getattr(hook, "execution_device", None) for hook in hooks)
    return next(filter(None, brought), next(model.parameters()).device)
