"""The README's own algorithm, word for word, from another folder: against a clone and a built wheel."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.reports.record import read

ROOT = Path(__file__).parents[1]


def snippet() -> str:
    """The commands of the README that make and run an algorithm of one's own."""
    text = (ROOT / "README.md").read_text()
    (lines,) = re.findall(r"^    mkdir -p mine/algo\n.*?budget=smoke$", text, re.M | re.S)
    return re.sub(r"^    ", "", lines, flags=re.M)


def test_it_is_short():
    assert len(snippet().splitlines()) < 30


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which a wheel, built from this checkout, was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    quiet = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *quiet, "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *quiet[:2], "-t", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["clone", "wheel"])
def test_an_algorithm_of_ones_own(tmp_path, request, where):
    package = ROOT if where == "clone" else request.getfixturevalue("installed")
    commands = snippet().replace("PYTHONPATH=mine", f"PYTHONPATH=mine:{package}")
    commands = commands.replace("python -m", f"{sys.executable} -m")
    environment = {k: v for k, v in os.environ.items() if k != "PREFZOO_STORE"}
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "runs/records").glob("squared-*.json")
    record = read(path)
    assert record.status == "good"
    assert record.algorithm == "squared.Squared"
    assert record.knobs == {"beta": 0.1}
    assert (record.git.commit is None) == (where == "wheel")
