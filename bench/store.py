"""Artifacts addressed by what determines them: made once, found by every later run.

    <root>/<stage>-<key>/           a finished artifact: its files and `artifact.json`
    <root>/unfinished/<stage>-<key>/  checkpoints of one in the making; they survive a kill
    <root>/locks/                   one lock an artifact, released by the system if its owner dies

A folder either has its final name, and then everything in it is complete and on disk, or it is not
there: what is being made is renamed when it is done.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

MANIFEST = "artifact.json"
TELLING = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")  # weights, settings, tokenizer


class StoreError(RuntimeError):
    """A damaged artifact, told in one line: which file, and what to do."""


def content_hash(x: Any) -> str:
    """sha256 of anything JSON can say, whatever the order of its keys."""
    return sha256(json.dumps(x, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


@cache
def model_hash(folder: str | Path) -> str:
    """Of all that determines what a saved model says, wherever its folder lies."""
    found = {path.name: path for pattern in TELLING for path in Path(folder).glob(pattern)}
    if not any(name.endswith(".safetensors") for name in found):
        raise StoreError(f"{folder} holds no safetensors: save the model with save_pretrained")
    return content_hash({name: _digest(path) for name, path in found.items()})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """All of the file or none of it, also when the power fails in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@dataclass(frozen=True)
class Store:
    """A folder of artifacts. Any number of processes may use it at once."""

    root: Path
    # Seconds that artifacts now in the making have spent on others, the innermost last.
    _elsewhere: list[float] = field(default_factory=list, compare=False, repr=False)

    @staticmethod
    def key(stage: str, inputs: Mapping[str, Any]) -> str:
        """`<stage>-<16 hex digits>` of all that determines an artifact."""
        return f"{stage}-{content_hash(inputs)[:16]}"

    def path(self, key: str) -> Path:
        return self.root / key

    def has(self, key: str) -> bool:
        return self.path(key).exists()

    def manifest(self, key: str) -> dict[str, Any]:
        """What an artifact was made from (`inputs`), of (`files`, bytes) and at what cost (`seconds`,
        without those of other artifacts that had to be made for it)."""
        return json.loads((self.path(key) / MANIFEST).read_text())

    def make(
        self,
        key: str,
        inputs: Mapping[str, Any],
        build: Callable[[Path, Path], Any],
        on_wait: Callable[[str], Any] = lambda key: None,
    ) -> Path:
        """The folder of an artifact, made by `build(folder, checkpoints)` if it is not there yet.

        What `build` returns is kept in the manifest as `notes` (JSON). While another process makes
        the same artifact this one waits for it, after telling `on_wait`.
        """
        final = self.path(key)
        if self.has(key):
            self._check(key)
            return final
        start = time.perf_counter()
        (self.root / "locks").mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / "locks" / f"{key}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            on_wait(key)
            lock.acquire()
        try:
            if not self.has(key):
                self._build(key, inputs, build)
        finally:
            lock.release()
            if self._elsewhere:
                self._elsewhere[-1] += time.perf_counter() - start
        return final

    def _build(self, key: str, inputs: Mapping[str, Any], build: Callable[[Path, Path], Any]):
        work = self.root / "unfinished" / key
        draft, checkpoints = work / "draft", work / "checkpoints"
        shutil.rmtree(draft, ignore_errors=True)  # a killed process left it half written
        draft.mkdir(parents=True)
        checkpoints.mkdir(exist_ok=True)
        start = time.perf_counter()
        self._elsewhere.append(0.0)
        try:
            notes = build(draft, checkpoints)
        finally:
            elsewhere = self._elsewhere.pop()
        files = sorted(p for p in draft.rglob("*") if p.is_file())
        manifest = {
            "key": key,
            "inputs": inputs,
            "files": {str(p.relative_to(draft)): p.stat().st_size for p in files},
            "seconds": round(time.perf_counter() - start - elsewhere, 3),
            "notes": notes,
        }
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        for path in [*files, draft / MANIFEST, *(p for p in draft.rglob("*") if p.is_dir()), draft]:
            _sync(path)
        draft.rename(self.path(key))
        _sync(self.root)
        shutil.rmtree(work)

    def _check(self, key: str) -> None:
        """Every file is there and as long as when it was made."""
        folder = self.path(key)
        try:
            sizes = self.manifest(key)["files"]
        except (OSError, ValueError, LookupError, TypeError) as e:
            raise StoreError(
                f"{folder / MANIFEST} is damaged: delete {folder} and run again"
            ) from e
        for name, size in sizes.items():
            path = folder / name
            if not path.exists() or path.stat().st_size != size:
                raise StoreError(f"{path} is damaged: delete {folder} and run again")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
