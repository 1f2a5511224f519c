"""A folder of records for publication: each thing that is wrong is a line that says what to do."""

import json
from hashlib import sha256

import numpy as np
import pytest

from bench.__main__ import main
from bench.reports.publish import SCHEMA_FILE, publish, stale
from bench.reports.record import Record, schema, write
from bench.reports.validate import validated
from tests.test_records import cell, frame


@pytest.fixture
def folder(tmp_path):
    """Two good runs with their files, as `runs/` has them."""
    for recipe, gold in (("dpo", [1.0, 2.0]), ("ipo", [0.0, 3.0])):
        cell(tmp_path, frame(gold), recipe=recipe, end={"gold": 1.5})
    return tmp_path / "records"


def only(folder) -> str:
    """The single problem of a folder."""
    _, (line,) = validated(folder)
    assert "\n" not in line
    return line


def edited(folder, recipe="dpo", **changes):
    """The path of a run whose record was changed by hand."""
    (path,) = folder.glob(f"{recipe}-*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def test_what_is_whole_has_no_problem(folder):
    assert validated(folder) == (2, [])
    assert validated(folder.parent) == (2, [])


def test_what_is_published_is_whole(folder, tmp_path):
    publish(tmp_path, tmp_path / "results")
    assert validated(tmp_path / "results") == (2, [])


def test_every_broken_record_is_a_line(folder):
    edited(folder, secondes=1)
    (folder / "bad.json").write_text("{")
    records, problems = validated(folder)
    assert records == 3
    assert "bad.json is not whole JSON" in problems[0]
    assert (
        "secondes: Extra inputs are not permitted; delete it and run that cell again" in problems[1]
    )


def test_a_record_is_named_after_its_run(folder):
    (path,) = folder.glob("dpo-*.json")
    path.rename(folder / "mine.json")
    _, problems = validated(folder)
    assert f"its run_id is {path.stem}: rename it {path.stem}.json" in problems[0]
    assert "no record beside it" in problems[1]


def test_paths_of_a_machine_are_named(folder):
    edited(folder, command="python -m bench task.path=/home/me/data.jsonl")
    assert "a path of a machine, /home/me/data.jsonl: `prefzoo publish` mends" in only(folder)


def test_a_file_that_is_not_there_or_not_the_same(folder):
    (path,) = folder.glob("dpo-*.parquet")
    content = path.read_bytes()
    path.unlink()
    assert f"{path.name} is not beside it: copy it there" in only(folder)
    path.write_bytes(content + b"x")
    assert "is not the file its record describes (sha256)" in only(folder)


def test_a_file_that_is_no_table_or_lacks_a_column(folder):
    (path,) = folder.glob("dpo-*.parquet")
    path.write_bytes(b"no table")
    named = {"file": path.name, "sha256": sha256(b"no table").hexdigest()}
    edited(folder, per_prompt=named)
    assert f"{path.name}: not a table" in only(folder)
    frame([1.0, 2.0]).drop(columns="split").to_parquet(path)
    edited(folder, per_prompt={**named, "sha256": sha256(path.read_bytes()).hexdigest()})
    assert f"{path.name}: it lacks the column split: run that cell again" in only(folder)


def test_a_value_that_its_prompts_do_not_have(folder):
    (path,) = folder.glob("dpo-*.json")
    metrics = json.loads(path.read_text())["metrics"]
    metrics["end"]["gold"]["value"] = 1.6
    edited(folder, metrics=metrics)
    assert "gold has mean 1.5 there and 1.6 in the record: run that cell again" in only(folder)


def test_a_cell_is_recorded_once(folder):
    (path,) = folder.glob("dpo-*.json")
    twin = Record.model_validate_json(path.read_text()).model_copy(
        update={"run_id": "dpo-twin", "per_prompt": None}
    )
    write(twin, folder)
    assert f"dpo-twin.json: the same cell as {path.name}: keep one of them" in only(folder)


def test_a_run_is_small(folder):
    table = frame(np.random.default_rng(0).normal(size=40_000))
    mean = float(table["gold"].mean())
    cell(folder.parent, table, recipe="kto", end={"gold": mean})
    assert "the limit is 100,000: `prefzoo publish` mends that" in only(folder)


def test_the_verb_says_how_many_and_fails_where_one_is(folder, capsys):
    assert main(["validate", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: 2 records, 0 problems\n"
    (folder / "bad.json").write_text("{")
    assert main(["validate", str(folder)]) == 1
    assert capsys.readouterr().out.splitlines()[1] == f"{folder}: 3 records, 1 problem"
    assert main(["validate", str(folder / "nowhere")]) == 1
    assert "holds no records" in capsys.readouterr().out


def test_the_schema_says_what_a_record_must_have(folder):
    described = json.loads(schema())
    assert {"run_id", "created", "command", "config", "seed", "task"} <= set(described["required"])
    assert described["additionalProperties"] is False
    assert described["properties"]["schema_version"]["const"] == 1
    (path,) = folder.glob("dpo-*.json")
    assert set(json.loads(path.read_text())) == set(described["properties"])
    assert {"type": "null"} in described["$defs"]["Metric"]["properties"]["value"]["anyOf"]


def test_a_schema_that_is_not_the_codes_is_stale(folder, tmp_path):
    results = tmp_path / "results"
    publish(tmp_path, results)
    assert (results / SCHEMA_FILE).read_text() == schema()
    (results / SCHEMA_FILE).write_text("{}")
    assert stale(results)
    (results / SCHEMA_FILE).unlink()
    assert stale(results)
