"""Artifacts: made once, complete or not there, found by every process; a kill loses little."""

import errno
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bench.store import MANIFEST, Store, StoreError, content_hash, write_atomically

ROOT = Path(__file__).parents[1]
KEY = Store.key("sft", {"seed": 0})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def weights(folder: Path, checkpoints: Path) -> dict[str, float]:
    (folder / "inner").mkdir()
    (folder / "inner" / "model.bin").write_bytes(b"weights")
    return {"loss": 0.5}


def never(folder: Path, checkpoints: Path) -> None:
    raise AssertionError("made a second time")


def files(store: Store) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


# -- one process


def test_an_artifact_is_made_once_and_found_later(store):
    folder = store.make(KEY, {"seed": 0}, weights)
    assert (folder / "inner" / "model.bin").read_bytes() == b"weights"
    assert store.make(KEY, {"seed": 0}, never) == folder == store.path(KEY)
    assert Store(store.root).make(KEY, {"seed": 0}, never) == folder


def test_the_manifest_says_what_it_was_made_from_and_what_it_holds(store):
    store.make(KEY, {"seed": 0}, weights)
    manifest = store.manifest(KEY)
    assert manifest["inputs"] == {"seed": 0}
    assert manifest["files"] == {"inner/model.bin": len(b"weights")}
    assert manifest["notes"] == {"loss": 0.5}
    assert manifest["seconds"] >= 0


def test_nothing_but_the_artifact_and_its_lock_is_left(store):
    store.make(KEY, {"seed": 0}, weights)
    left = [name for name in files(store) if not name.startswith("locks/")]
    assert left == [f"{KEY}/{MANIFEST}", f"{KEY}/inner/model.bin"]
    assert list((store.root / "unfinished").iterdir()) == []


def test_a_failed_build_keeps_checkpoints_and_nothing_else(store):
    def fails(folder: Path, checkpoints: Path) -> None:
        (folder / "half.bin").write_text("half")
        (checkpoints / "last").write_text("step 7")
        raise OSError(errno.ENOSPC, "No space left on device")

    def goes_on(folder: Path, checkpoints: Path) -> str:
        assert list(folder.iterdir()) == []
        (folder / "whole.bin").write_text("whole")
        return (checkpoints / "last").read_text()

    with pytest.raises(OSError, match="No space left"):
        store.make(KEY, {}, fails)
    assert not store.has(KEY)
    assert not store.path(KEY).exists()
    folder = store.make(KEY, {}, goes_on)
    assert store.manifest(KEY)["notes"] == "step 7"
    assert sorted(p.name for p in folder.iterdir()) == [MANIFEST, "whole.bin"]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: (folder / "inner/model.bin").write_bytes(b"weig"), "inner/model.bin"),
        (lambda folder: (folder / "inner/model.bin").unlink(), "inner/model.bin"),
        (lambda folder: (folder / MANIFEST).write_text('{"key": "sft'), MANIFEST),
        (lambda folder: (folder / MANIFEST).write_bytes(b""), MANIFEST),
        (lambda folder: (folder / MANIFEST).write_text("[]"), MANIFEST),
        (lambda folder: (folder / MANIFEST).unlink(), MANIFEST),
    ],
    ids=["truncated", "missing", "broken manifest", "empty manifest", "other json", "no manifest"],
)
def test_damage_is_one_line_with_the_file_and_the_remedy(store, harm, told):
    folder = store.make(KEY, {}, weights)
    harm(folder)
    with pytest.raises(StoreError) as error:
        store.make(KEY, {}, never)
    line = str(error.value)
    assert str(folder / told) in line
    assert f"delete {folder} and run again" in line
    assert "\n" not in line


# -- keys

INPUTS = {"seed": 0, "lr": 1e-4, "data": {"task": "digest", "hash": "ab"}, "stages": ["a", "b"]}


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"lr": 1.0000001e-4},
        {"data": {"task": "digest", "hash": "ac"}},
        {"data": {"task": "digest", "hash": "ab", "more": None}},
        {"stages": ["b", "a"]},
        {"seed": "0"},
        {"new": None},
    ],
    ids=str,
)
def test_a_key_depends_on_every_input(other):
    assert Store.key("sft", INPUTS | other) != Store.key("sft", INPUTS)


def test_a_key_depends_on_the_stage_and_not_on_the_order_of_inputs():
    backwards = dict(reversed(INPUTS.items())) | {"data": {"hash": "ab", "task": "digest"}}
    assert Store.key("sft", backwards) == Store.key("sft", INPUTS)
    assert Store.key("sft", INPUTS) != Store.key("labels", INPUTS)
    assert Store.key("sft", INPUTS).startswith("sft-")
    assert content_hash(INPUTS) == content_hash(backwards)


# -- files


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "new" / "record.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, where):
    path = tmp_path / "record.json"
    path.write_bytes(b"old")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(where, full)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


# -- several processes

BUILDER = """
    import sys, time
    from pathlib import Path
    from bench.store import Store

    root, tell = Path(sys.argv[1]), Path(sys.argv[2])

    def build(folder, checkpoints):
        with tell.open("a") as log:
            log.write("built\\n")
        last = checkpoints / "last"
        start = int(last.read_text()) if last.exists() else 0
        for step in range(start, 4):
            last.write_text(str(step + 1))
            (folder / f"{step}.txt").write_text("made")
            PAUSE
        return start

    Store(root).make("sft-0", {}, build, on_wait=lambda key: tell.with_suffix(".wait").touch())
"""


def process(tmp_path: Path, pause: str) -> subprocess.Popen:
    code = textwrap.dedent(BUILDER).replace("PAUSE", pause)
    words = [sys.executable, "-c", code, str(tmp_path / "store"), str(tmp_path / "log")]
    return subprocess.Popen(words, cwd=ROOT)


def until(done, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_a_killed_build_goes_on_from_its_checkpoint(tmp_path, store):
    checkpoint = store.root / "unfinished/sft-0/checkpoints/last"
    running = process(tmp_path, pause="time.sleep(60) if step == 1 else None")
    until(lambda: checkpoint.exists() and checkpoint.read_text() == "2")
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not store.has("sft-0")

    assert process(tmp_path, pause="pass").wait() == 0
    assert store.manifest("sft-0")["notes"] == 2  # where it started the second time
    assert sorted(store.manifest("sft-0")["files"]) == ["2.txt", "3.txt"]
    assert (tmp_path / "log").read_text() == "built\n" * 2


def test_of_two_processes_one_builds_and_the_other_waits_for_it(tmp_path, store):
    gate = f"while not Path({str(tmp_path / 'log.wait')!r}).exists(): time.sleep(0.01)"
    both = [process(tmp_path, pause=gate) for _ in range(2)]  # whoever builds sees the other wait
    assert [p.wait(timeout=60) for p in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "built\n"
    assert store.manifest("sft-0")["notes"] == 0
    assert store.make("sft-0", {}, never) == store.path("sft-0")


def test_who_waits_for_a_killed_process_builds_itself(tmp_path, store):
    first = process(tmp_path, pause="time.sleep(60)")
    until(lambda: (store.root / "unfinished/sft-0/checkpoints/last").exists())
    second = process(tmp_path, pause="pass")
    until((tmp_path / "log.wait").exists)
    first.kill()
    first.wait()
    assert second.wait(timeout=60) == 0
    assert store.has("sft-0")


def test_seconds_are_its_own_and_not_those_of_what_it_was_made_from(tmp_path):
    store = Store(tmp_path)

    def parent(folder, checkpoints):
        time.sleep(0.2)

    def child(folder, checkpoints):
        store.make("parent-1", {}, parent)
        time.sleep(0.05)

    store.make("child-1", {}, child)
    assert store.manifest("parent-1")["seconds"] >= 0.2
    assert 0.05 <= store.manifest("child-1")["seconds"] < 0.15
