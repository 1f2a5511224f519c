"""One measurement, in a process of its own: `python -m bench.perf {ours,peer} WORKLOAD STEPS`, the
workload as JSON."""

import json
import resource
import sys
import time
from importlib import import_module

from .workload import Workload


def main(who: str, of: Workload, steps: int) -> dict[str, float]:
    """What training took after all was made, and the most memory that the process has had: of a GPU
    where there is one."""
    side = import_module(f".{who}", __package__)
    imported = held_gb()
    run = side.prepared(of, steps)
    began = time.perf_counter()
    run()
    ms = 1000 * (time.perf_counter() - began) / steps
    found = {"ms": ms, "gb": held_gb(), "above_gb": held_gb() - imported}
    if who == "ours":
        found |= {"gflop": run.flops / 1e9, "gflops": matmul_gflops(of.bf16)}
    return found


def held_gb() -> float:
    """The most so far."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def matmul_gflops(bf16: bool = False, tries: int = 7) -> float:
    """The best of some products of two squares."""
    import torch

    cuda = torch.cuda.is_available()
    size, fastest = 8192 if cuda else 2048, float("inf")
    a = torch.randn(size, size, device="cuda" if cuda else "cpu")
    a = a.to(torch.bfloat16) if bf16 else a
    for _ in range(tries):
        began = time.perf_counter()
        a @ a
        if cuda:
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * size**3 / fastest / 1e9


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Workload(**json.loads(sys.argv[2])), int(sys.argv[3]))))
