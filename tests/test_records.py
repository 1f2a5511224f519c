"""A record comes back as it went, or not at all."""

import json
import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from bench.reports import publish as publishing
from bench.reports.board import board
from bench.reports.publish import LIMIT, publish, stale
from bench.reports.record import (
    SCHEMA,
    Metric,
    Metrics,
    Parents,
    PerPrompt,
    Record,
    RecordError,
    Task,
    hash_of,
    read,
    read_all,
    read_all_per_prompt,
    read_per_prompt,
    text,
    write,
    write_per_prompt,
)

ROOT = Path(__file__).parents[1]


def record(recipe: str = "dpo", seed: int = 0, **changes: Any) -> Record:
    """A small good record; `end` is metrics at the end as numbers, (value, low, high) or Metric."""
    knobs = changes.pop("knobs", {"beta": 0.1})
    end = {}
    for name, value in changes.pop("end", {}).items():
        match value:
            case Metric():
                end[name] = value
            case (value, low, high):
                end[name] = Metric(value=value, low=low, high=high, n=8)
            case _:
                end[name] = Metric(value=value, n=8)
    config = {"seed": seed, "algo": {"name": recipe, **knobs}, **changes.pop("config", {})}
    changes = {"metrics": Metrics(end=end), **changes}
    fields = {
        "run_id": f"{recipe}-{hash_of(config)[:6]}-{seed}",
        "created": datetime(2026, 1, 2, tzinfo=UTC),
        "command": f"python -m bench algo={recipe} seed={seed}",
        "config": config,
        "config_hash": hash_of(config),
        "recipe": recipe,
        "algorithm": recipe,
        "knobs": knobs,
        "feedback": "dataset",
        "seed": seed,
        "task": Task(name="digest", version=1, data_hash="d" * 64, prompts_hash="e" * 64),
        "parents": Parents(sft=f"sft{seed}", reward_model="rm", held_out_reward_model="rm2"),
        "decoding": {"max_new_tokens": 48, "do_sample": False},
    }
    return Record(**{**fields, **changes})


def frame(gold: Any, split: str = "test", **columns: Any) -> pd.DataFrame:
    """A per-prompt table."""
    rows = range(len(gold))
    texts = {"response": "a digest", "finished": True}
    prompts = {"prompt_id": [f"p{i}" for i in rows], "split": split}
    return pd.DataFrame({**prompts, **texts, "gold": gold, **columns}, index=rows)


# ------------------------------------------------------------------------------ the schema


def test_a_record_comes_back_as_it_went(tmp_path):
    floats = {"a": 0.1 + 0.2, "b": 1e-300, "c": math.pi * 1e20, "d": -0.0}
    there = record(end=floats, seconds={"optimize": 1 / 3}, notes=["ümläut ✓"], peak_update=None)
    path = write(there, tmp_path)
    assert path == tmp_path / f"{there.run_id}.json"
    assert read(path) == there
    for name, value in floats.items():
        back = read(path).metrics.end[name].value
        assert math.copysign(1, back) == math.copysign(1, value)
        assert back == value


def test_writing_what_was_read_changes_no_byte(tmp_path):
    path = write(record(end={"gold": (1.0, 0.9, 1.1)}), tmp_path)
    assert text(read(path)) == path.read_text()


@pytest.mark.parametrize("place", [(), ("git",), ("task",), ("metrics",), ("environment",)])
def test_unknown_fields_are_refused(place):
    dump = record().model_dump(mode="json")
    part = dump
    for name in place:
        part = part[name]
    part["secondes"] = 1
    with pytest.raises(ValidationError, match="secondes"):
        Record.model_validate(dump)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_is_finite_or_none(value):
    with pytest.raises(ValidationError):
        Metric(value=value)
    assert Metric(value=None).value is None


@pytest.mark.parametrize(
    "bounds", [{"low": 0.0}, {"high": 0.0}, {"low": 1.0, "high": 0.0}], ids=str
)
def test_an_interval_has_two_bounds_in_order(bounds):
    with pytest.raises(ValidationError, match="interval"):
        Metric(value=0.5, **bounds)
    with pytest.raises(ValidationError, match="interval"):
        Metric(value=None, low=0.0, high=1.0)


def test_knobs_are_plain(tmp_path):
    there = record(knobs={"clip": math.inf, "betas": (0.9, 0.99), "n": np.int64(3), "f": ROOT})
    assert there.knobs == {"clip": "inf", "betas": [0.9, 0.99], "n": 3, "f": str(ROOT)}
    assert read(write(there, tmp_path)) == there
    with pytest.raises(ValueError, match="not a number"):
        record(knobs={"beta": math.nan})
    with pytest.raises(ValueError, match="has no place in a record"):
        record(config={"model": object()})


def test_status_and_error_come_together():
    with pytest.raises(ValidationError, match="says why"):
        record(status="failed")
    with pytest.raises(ValidationError, match="says why"):
        record(error="out of memory")
    failed = record(status="failed", error="Traceback:\n  line\n\tout of memory  " + "x" * 900)
    assert failed.error.startswith("Traceback: line out of memory x")
    assert len(failed.error) == 500


def test_a_failed_run_may_know_little_and_a_good_one_may_not():
    record(status="failed", error="no data", task=Task(name="digest"), parents=Parents())
    with pytest.raises(ValidationError, match="knows its data"):
        record(task=Task(name="digest"))


def test_peak_metrics_name_their_update():
    peak = Metrics(peak={"gold": Metric(value=1.0)})
    with pytest.raises(ValidationError, match="peak_update"):
        record(metrics=peak)
    assert record(metrics=peak, peak_update=50).peak_update == 50


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", ".hidden", "a b", "x" * 201])
def test_a_run_id_is_a_file_name(run_id):
    with pytest.raises(ValidationError):
        record(run_id=run_id)


def test_times_are_utc():
    east = timezone(timedelta(hours=2))
    there = record(created=datetime(2026, 1, 2, 1, tzinfo=east))
    assert there.created.isoformat() == "2026-01-01T23:00:00+00:00"
    with pytest.raises(ValidationError):
        record(created=datetime(2026, 1, 2))


def test_a_record_is_frozen():
    with pytest.raises(ValidationError):
        record().seed = 2


def test_hashes_ignore_the_order_of_keys():
    assert hash_of({"a": 1, "b": {"c": 2, "d": 3}}) == hash_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 1.5})


@pytest.mark.parametrize(
    "change",
    [
        {"task": Task(name="digest", version=2, data_hash="d" * 64, prompts_hash="e" * 64)},
        {"task": Task(name="digest", version=1, data_hash="x" * 64, prompts_hash="e" * 64)},
        {"task": Task(name="digest", version=1, data_hash="d" * 64, prompts_hash="x" * 64)},
        {"parents": Parents(sft="other", reward_model="rm", held_out_reward_model="rm2")},
        {"parents": Parents(sft="sft0", reward_model="other", held_out_reward_model="rm2")},
        {"parents": Parents(sft="sft0", reward_model="rm", held_out_reward_model="other")},
        {"decoding": {"max_new_tokens": 49, "do_sample": False}},
    ],
    ids=str,
)
def test_the_base_is_what_must_agree(change):
    assert record(**change).base != record().base


def test_the_base_ignores_the_method():
    same = record("ppo", decoding={"do_sample": False, "max_new_tokens": 48}, end={"gold": 2})
    assert same.base == record("dpo").base


# ----------------------------------------------------------------------------------- files


def damaged(path: Path) -> dict[str, bytes]:
    content = path.read_bytes()
    dump = json.loads(content)
    return {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "binary": b"\x80\x81\x00",
        "list": b"[]",
        "nan": content.replace(b'"value": 1.0', b'"value": NaN'),
        "extra": json.dumps({**dump, "score": 1}).encode(),
        "lacking": json.dumps({k: v for k, v in dump.items() if k != "seed"}).encode(),
        "newer": json.dumps({**dump, "schema_version": SCHEMA + 1}).encode(),
    }


DAMAGES = "truncated empty binary list nan extra lacking newer".split()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_record_is_one_line_with_a_remedy(tmp_path, damage):
    path = write(record(end={"gold": 1.0}), tmp_path)
    path.write_bytes(damaged(path)[damage])
    with pytest.raises(RecordError) as caught:
        read(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    assert ("update prefzoo" if damage == "newer" else "run that cell again") in line


def test_a_missing_record_is_one_line(tmp_path):
    with pytest.raises(RecordError, match=r"none\.json cannot be read"):
        read(tmp_path / "none.json")


def test_broken_files_do_not_hide_good_ones(tmp_path):
    good = [record(seed=s) for s in (0, 1)]
    for r in good:
        write(r, tmp_path)
    (tmp_path / "bad.json").write_text("{")
    records, problems = read_all(tmp_path)
    assert sorted(records, key=lambda r: r.seed) == good
    assert len(problems) == 1
    assert "bad.json" in problems[0]
    assert read_all(tmp_path / "nowhere") == ([], [])


def test_a_failed_rename_leaves_the_old_record_and_nothing_else(tmp_path, monkeypatch):
    path = write(record(notes=["old"]), tmp_path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write(record(notes=["new"]), tmp_path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_the_new_record_is_on_the_disk_before_it_has_the_name(tmp_path, monkeypatch):
    calls = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (calls.append("sync"), sync(f)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), rename(a, b)))
    write(record(), tmp_path)
    assert calls[:2] == ["sync", "rename"]


def test_per_prompt_tables_come_back(tmp_path):
    table = frame([0.1, 0.2, 1 / 3])
    named = write_per_prompt("x", table, tmp_path)
    there = record(run_id="x", per_prompt=named)
    pd.testing.assert_frame_equal(read_per_prompt(there, tmp_path), table)
    assert read_per_prompt(record(), tmp_path) is None
    assert read_per_prompt(there, tmp_path / "elsewhere") is None


def test_a_changed_per_prompt_table_is_refused(tmp_path):
    there = record(run_id="x", per_prompt=write_per_prompt("x", frame([0.1]), tmp_path))
    write_per_prompt("x", frame([0.2]), tmp_path)
    with pytest.raises(RecordError, match="sha256"):
        read_per_prompt(there, tmp_path)
    tables, problems = read_all_per_prompt([there], tmp_path)
    assert not tables
    assert len(problems) == 1


def test_a_per_prompt_table_has_prompts_and_lies_beside(tmp_path):
    with pytest.raises(RecordError, match="lacks prompt_id"):
        write_per_prompt("x", frame([0.1]).drop(columns="prompt_id"), tmp_path)
    with pytest.raises(ValidationError, match="beside"):
        PerPrompt(file="../x.parquet", sha256="0")


# ----------------------------------------------------------------------------- publication


def cell(folder: Path, table: pd.DataFrame | None = None, **changes: Any) -> Record:
    """A run in `folder/records`, with its per-prompt table."""
    there = record(**changes)
    if table is not None:
        named = write_per_prompt(there.run_id, table, folder / "records")
        there = there.model_copy(update={"per_prompt": named})
    write(there, folder / "records")
    return there


@pytest.fixture
def places(tmp_path):
    return tmp_path / "runs", tmp_path / "results"


def test_publication_copies_records_and_makes_the_page(places):
    runs, results = places
    good = cell(runs, frame([1.0, 2.0]), end={"gold": 1.5})
    cell(runs, recipe="kto", status="failed", error="out of memory")
    (runs / "records/bad.json").write_text("{")
    found = publish(*places)
    assert (found.good, found.failed, len(found.problems), found.reduced) == (1, 1, 1, ())
    records, problems = read_all(results / "records")
    assert good in records
    assert len(records) == 2
    assert not problems
    page = (results / "README.md").read_text()
    assert "`dpo`" in page
    assert "out of memory" in page
    assert "python -m bench publish" in page
    assert not stale(results)


def test_publishing_again_changes_nothing(places):
    cell(places[0], frame(np.arange(9.0)), end={"gold": 4.0})
    publish(*places)
    before = {p.name: p.read_bytes() for p in places[1].rglob("*.*")}
    publish(*places)
    assert {p.name: p.read_bytes() for p in places[1].rglob("*.*")} == before


def test_a_page_that_does_not_follow_from_the_records_is_stale(places):
    runs, results = places
    assert stale(results)
    first = cell(runs, end={"gold": 1.5})
    publish(*places)
    readme = results / "README.md"
    page = readme.read_text()
    readme.write_text(page.replace("1.500", "1.600"))
    assert stale(results)
    readme.write_text(page)
    assert not stale(results)
    write(record(recipe="ipo", end={"gold": 2}), results / "records")
    assert stale(results)
    (results / f"records/{first.run_id}.json").write_text("{")
    with pytest.raises(RecordError):
        stale(results)


def test_large_files_lose_their_texts_first(places):
    runs, results = places
    generator = np.random.default_rng(0)
    gold = generator.normal(size=2000)
    words = [generator.bytes(60).hex() for _ in gold]
    there = cell(runs, frame(gold, response=words), end={"gold": float(gold.mean())})
    found = publish(*places)
    assert found.reduced == (there.run_id,)
    assert found.size <= LIMIT
    after = read(results / f"records/{there.run_id}.json")
    table = read_per_prompt(after, results / "records")
    assert "response" not in table
    np.testing.assert_array_equal(table["gold"], gold)
    assert any("without texts" in note for note in after.notes)


def test_then_numbers_lose_digits(places):
    runs, results = places
    generator = np.random.default_rng(0)
    columns = {f"m{i}": generator.normal(size=2000) for i in range(7)}
    there = cell(runs, frame(columns["m0"], **columns))
    publish(*places)
    after = read(results / f"records/{there.run_id}.json")
    table = read_per_prompt(after, results / "records")
    np.testing.assert_allclose(table["m3"], columns["m3"], rtol=6e-4)
    assert (results / f"records/{there.run_id}.parquet").stat().st_size < LIMIT


def test_then_the_run_is_refused_and_nothing_is_written(places):
    runs, results = places
    generator = np.random.default_rng(0)
    cell(runs, end={"gold": 1.0})
    cell(runs, frame(generator.normal(size=90_000)), recipe="ipo")
    with pytest.raises(RecordError, match=r"ipo-\w+-0 is [\d,]+ bytes") as caught:
        publish(*places)
    assert "\n" not in str(caught.value)
    assert not results.exists()


def test_nothing_to_publish_is_one_line(places):
    with pytest.raises(RecordError, match="no usable record"):
        publish(*places)


def test_a_changed_file_is_not_published(places):
    runs, results = places
    there = cell(runs, frame([1.0]))
    (runs / f"records/{there.run_id}.parquet").write_bytes(b"other")
    with pytest.raises(RecordError, match="sha256"):
        publish(*places)
    assert not results.exists()


def test_a_lost_file_is_noted(places):
    runs, results = places
    there = cell(runs, frame([1.0]))
    (runs / f"records/{there.run_id}.parquet").unlink()
    publish(*places)
    after = read(results / f"records/{there.run_id}.json")
    assert after.per_prompt is None
    assert "missing" in after.notes[-1]


def test_paths_of_this_machine_are_not_published(places, monkeypatch, tmp_path):
    runs, results = places
    monkeypatch.chdir(tmp_path)
    command = "python -m bench algo=dpo task.file=/home/someone/my/data.jsonl seed=0"
    inside = cell(
        runs,
        policy=f"{tmp_path}/.prefzoo/policy/abc",
        command=command,
        config={"store": f"{tmp_path}/.prefzoo", "hub": "https://hf.co/a/b", "model": "org/name"},
    )
    elsewhere = cell(
        runs,
        recipe="ipo",
        status="failed",
        error="FileNotFoundError: [Errno 2] No such file: '/scratch/x/data.jsonl'",
        policy="/scratch/x/policy",
    )
    publish(*places)
    a, b = (read(results / f"records/{r.run_id}.json") for r in (inside, elsewhere))
    assert a.policy == ".prefzoo/policy/abc"
    assert a.config["store"] == ".prefzoo"
    assert a.config["hub"] == "https://hf.co/a/b"
    assert a.config["model"] == "org/name"
    assert a.command == "python -m bench algo=dpo task.file=…/data.jsonl seed=0"
    assert publishing.SHORTENED in a.notes
    assert a.config_hash == inside.config_hash
    assert b.policy is None
    assert b.command == elsewhere.command
    for path in results.rglob("*.*"):
        content = path.read_bytes()
        assert str(tmp_path).encode() not in content
        assert b"someone" not in content
        assert b"/scratch" not in content


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/a/b/c.txt", "…/c.txt"),
        ("x=/a/b", "x=…/b"),
        ("path:/a/b, more", "path:…/b, more"),
        ("file:///a/b.json", "…/b.json"),
        ("~/models/tiny", "…/tiny"),
        (r"C:\Users\me\x.json", "…/x.json"),
        ("https://arxiv.org/abs/2305.18290", "https://arxiv.org/abs/2305.18290"),
        ("hf://datasets/a/b", "hf://datasets/a/b"),
        ("trl-lib/tldr", "trl-lib/tldr"),
        ("nats / token", "nats / token"),
        ("reward and/or length", "reward and/or length"),
    ],
)
def test_what_counts_as_a_path(before, after):
    assert publishing.cleaned(before) == after


# ---------------------------------------------------------------------------------- weight


def test_reports_need_no_torch():
    heavy = "torch transformers hydra trl datasets".split()
    code = (
        "import sys, bench.reports.board, bench.reports.publish, bench.reports.record;"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_board_can_be_made_of_what_was_published(places):
    table = frame([1.0, 2.0, 3.0])
    cell(places[0], table, end={"gold": 2.0})
    publish(*places)
    records, _ = read_all(places[1] / "records")
    tables, _ = read_all_per_prompt(records, places[1] / "records")
    assert board(records, tables).tables[0].rows[0].cells["gold"].how == "prompts"
    digest = sha256((places[1] / f"records/{records[0].run_id}.parquet").read_bytes()).hexdigest()
    assert records[0].per_prompt.sha256 == digest
