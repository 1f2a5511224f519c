"""One measurement, in a process of its own: `python -m bench.perf {ours,peer} WORKLOAD STEPS`."""

import json
import resource
import sys
import time
from importlib import import_module


def main(who: str, name: str, steps: int) -> dict[str, float]:
    """What training took after all was made, and the most memory that the process has had."""
    side = import_module(f".{who}", __package__)
    imported = resident_gb()
    run = side.prepared(name, steps)
    began = time.perf_counter()
    run()
    ms = 1000 * (time.perf_counter() - began) / steps
    found = {"ms": ms, "gb": resident_gb(), "above_gb": resident_gb() - imported}
    if who == "ours":
        found |= {"gflop": run.flops / 1e9, "gflops": matmul_gflops()}
    return found


def resident_gb() -> float:
    """The most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def matmul_gflops(size: int = 2048, tries: int = 7) -> float:
    """The best of some products of two float32 squares."""
    import torch

    a, fastest = torch.randn(size, size), float("inf")
    for _ in range(tries):
        began = time.perf_counter()
        a @ a
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * size**3 / fastest / 1e9


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
