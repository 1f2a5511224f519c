"""A board made of what was kept is the board that is made of the records."""

import json
import os
import time

import numpy as np
import pytest

from bench.__main__ import main
from bench.reports import remembered
from bench.reports.board import board
from bench.reports.latex import to_latex
from bench.reports.record import (
    Metric,
    RecordError,
    read_all,
    read_all_per_prompt,
    read_numbers,
    write,
    write_per_prompt,
)
from bench.reports.remembered import board_of
from bench.reports.render import to_csv, to_markdown
from tests.test_records import frame, record

PROMPTS = 12


def put(folder, recipe, seed, gold, **changes):
    """A record and its per-prompt file."""
    run_id = f"{recipe}-{seed}"
    values = np.random.default_rng([seed, len(recipe)]).normal(gold, 1, PROMPTS)
    beside = write_per_prompt(run_id, frame(values), folder)
    said = Metric(value=float(values.mean()), n=PROMPTS, signature="gold v1")
    more = {"end": {"gold": said, "kl": (0.5, 0.4, 0.6)}, "per_prompt": beside}
    return write(record(recipe, seed, run_id=run_id, **more, **changes), folder)


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    for seed in range(3):
        put(folder, "sft", seed, 0.0, kind="control", algorithm=None)
        put(folder, "dpo", seed, 0.5)
        put(folder, "ppo", seed, 1.0)
    failed = record("ipo", status="failed", error="no memory")
    write(failed, folder)
    return folder


def anew(folder):
    records, problems = read_all(folder)
    frames, changed = read_all_per_prompt(records, folder, read_numbers)
    return board(records, frames), [*problems, *changed]


@pytest.fixture
def read(monkeypatch):
    """The run ids whose tables were read since."""
    seen = []

    def watched(record, folder):
        seen.append(record.run_id)
        return read_numbers(record, folder)

    monkeypatch.setattr(remembered, "read_numbers", watched)
    return seen


def test_nothing_changed_and_nothing_is_read_again(runs, tmp_path, read):
    first = board_of(runs, tmp_path / "store")
    assert first == anew(runs)
    assert len(read) == 9
    second = board_of(runs, tmp_path / "store")
    assert second == first
    assert len(read) == 9
    for written in (to_markdown, to_csv, to_latex):
        assert written(second[0]) == written(first[0])


def test_only_rows_of_what_changed_are_made_again(runs, tmp_path, read):
    board_of(runs, tmp_path / "store")
    read.clear()
    put(runs, "ppo", 3, 1.0)
    assert board_of(runs, tmp_path / "store") == anew(runs)
    assert {name.partition("-")[0] for name in read} == {"ppo", "sft"}  # its row alone
    read.clear()
    put(runs, "sft", 0, -4.0, kind="control", algorithm=None)  # all are compared with it
    assert board_of(runs, tmp_path / "store") == anew(runs)
    assert {name.partition("-")[0] for name in read} == {"dpo", "ppo", "sft"}


def test_what_is_kept_is_not_trusted_over_the_files(runs, tmp_path):
    store = tmp_path / "store"
    board_of(runs, store)
    path = runs / "dpo-1.parquet"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size and time as they were
    found, problems = board_of(runs, store)
    assert (found, problems) == anew(runs)
    assert len(problems) == 1
    assert "dpo-1.parquet is not the file its record describes" in problems[0]
    path.unlink()
    assert board_of(runs, store) == anew(runs)
    (runs / "ppo-2.json").write_text("{")
    found, problems = board_of(runs, store)
    assert (found, problems) == anew(runs)
    assert "ppo-2.json is not whole JSON" in problems[0]
    (runs / "dpo-2.json").unlink()
    assert board_of(runs, store) == anew(runs)


def test_two_files_that_say_one_run_id_are_both_told_apart(runs, tmp_path):
    (runs / "copy.json").write_bytes((runs / "dpo-0.json").read_bytes())
    board_of(runs, tmp_path / "store")
    told = json.loads((runs / "copy.json").read_text())
    told["metrics"]["end"]["gold"]["value"] = 7.0
    told["created"] = "2030-01-01T00:00:00Z"  # the newest of a seed counts
    (runs / "copy.json").write_text(json.dumps(told))
    assert board_of(runs, tmp_path / "store") == anew(runs)


@pytest.mark.parametrize("damage", ["cut", "a digit", "not text", "empty"])
def test_what_is_damaged_is_made_again(runs, tmp_path, damage):
    first = board_of(runs, tmp_path / "store")
    for path in (tmp_path / "store" / "boards").iterdir():
        content = path.read_bytes()
        path.write_bytes(
            {
                "cut": content[:-20],
                "a digit": content.replace(b"0.4", b"0.3"),
                "not text": b"\xff" + content,
                "empty": b"",
            }[damage]
        )
    assert board_of(runs, tmp_path / "store") == first


def test_other_code_makes_its_own(runs, tmp_path, monkeypatch, read):
    board_of(runs, tmp_path / "store")
    read.clear()
    monkeypatch.setattr(remembered, "code", lambda: "another")
    board_of(runs, tmp_path / "store")
    assert len(read) == 9


def test_a_store_that_cannot_be_written_is_done_without(runs, tmp_path):
    (tmp_path / "store").write_text("a file, where a folder should be")
    assert board_of(runs, tmp_path / "store") == anew(runs)


def test_folders_keep_apart_and_need_records(runs, tmp_path):
    board_of(runs, tmp_path / "store")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RecordError, match="holds no records"):
        board_of(empty, tmp_path / "store")


def test_the_verb_keeps_its_board_in_the_store(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PREFZOO_STORE", str(tmp_path / "store"))
    assert main(["board", str(runs), "format=csv"]) == 0
    first = capsys.readouterr().out
    assert list((tmp_path / "store" / "boards").iterdir())
    assert main(["board", str(runs), "format=csv"]) == 0
    assert capsys.readouterr().out == first == to_csv(anew(runs)[0])


@pytest.mark.slow
def test_a_board_of_five_thousand_runs_takes_seconds(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    for seed in range(5):
        put(folder, "sft", seed, 0.0, kind="control", algorithm=None)
        for i in range(999):
            put(folder, f"method{i}", seed, i / 999)
    first = board_of(folder, tmp_path / "store")
    began = time.process_time()
    assert board_of(folder, tmp_path / "store") == first
    assert time.process_time() - began < 5
    put(folder, "method7", 4, 0.5)
    began = time.process_time()
    found, _ = board_of(folder, tmp_path / "store")
    assert time.process_time() - began < 5
    assert found != first[0]
