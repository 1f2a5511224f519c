"""What is committed under results/ holds together."""

from pathlib import Path

import pytest

from bench.reports.publish import LIMIT, PATH, stale
from bench.reports.record import read, read_per_prompt

RESULTS = Path(__file__).parents[1] / "results"
RECORDS = sorted((RESULTS / "records").glob("*.json"))
TABLES = sorted((RESULTS / "records").glob("*.parquet"))

each_record = pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.stem)


@each_record
def test_a_record_is_valid_and_named_after_its_run(path):
    assert read(path).run_id == path.stem


@each_record
def test_the_per_prompt_table_is_the_one_that_the_record_describes(path):
    record = read(path)
    table = read_per_prompt(record, path.parent)  # checks the hash
    assert (table is None) == (record.per_prompt is None)
    if table is not None:
        assert record.per_prompt.file == f"{record.run_id}.parquet"
        assert not table.empty


@each_record
def test_a_run_is_small_and_names_no_path_of_a_machine(path):
    files = [path, path.with_suffix(".parquet")]
    assert sum(f.stat().st_size for f in files if f.exists()) <= LIMIT
    assert not PATH.search(path.read_text("utf-8").replace("\\/", "/"))


def test_every_table_has_a_record():
    assert {p.stem for p in TABLES} <= {p.stem for p in RECORDS}


def test_no_cell_is_recorded_twice():
    cells = [(r.config_hash, r.kind, r.recipe, r.status, r.git.commit) for r in map(read, RECORDS)]
    assert len(set(cells)) == len(cells)


@pytest.mark.skipif(
    not RECORDS and not (RESULTS / "README.md").exists(), reason="nothing is published yet"
)
def test_the_leaderboard_follows_from_the_records():
    assert not stale(RESULTS), "run: python -m bench publish runs"
