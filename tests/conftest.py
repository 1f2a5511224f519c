"""How the tests share a machine, and what several of them ask for by name."""

import os
import sys
from collections.abc import Callable

import pytest
from absl import logging  # rouge-score's

from tests.server import KEY, Server

# A process a core is enough; torch, not imported yet, reads this when it is.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Hydra closes every log handler, and absl's closes a stream that is not the process's: pytest's capture.
logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture
def serve(monkeypatch):
    """Starts servers, and ends them."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFZOO_KEY", KEY)
    running = []

    def start(reply: Callable) -> Server:
        running.append(Server(reply))
        return running[-1]

    yield start
    for server in running:
        server.http.shutdown()
        server.http.server_close()
