"""Any data a user has: every format, every kind of bad input, one split without leakage."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from bench.tasks.example import DataError, Example
from bench.tasks.filters import cut, keep, question
from bench.tasks.local import load

USER = {"role": "user", "content": "Where is the sun?"}
SKY = {"role": "assistant", "content": "In the sky."}
SEA = {"role": "assistant", "content": "In the sea."}
SUN = "user: Where is the sun?\nassistant:"


def write(file: Path, rows) -> str:
    """JSON Lines; rows that are bytes are written as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    data = b"".join(line + b"\n" for line in lines)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return str(file)


def whole(path: str, **options):
    """Everything in train."""
    return load(path, validation=0, test=0, **options)


def only(path: str, **options) -> Example:
    (row,) = whole(path, **options).splits["train"]
    return row


def pairs(n: int, start: int = 0) -> list[dict]:
    return [
        {"prompt": f"Question {i}?", "chosen": f"yes {i}", "rejected": f"no {i}"}
        for i in range(start, start + n)
    ]


# --- formats --------------------------------------------------------------------------------------


def test_preference(tmp_path):
    row = {
        "id": 7,
        "prompt": "Q: a\nA: ",
        "chosen": "good\n",
        "rejected": "  bad",
        "p_chosen": 0.75,
    }
    got = only(write(tmp_path / "a.jsonl", [row | {"margin": 2, "votes": [1]}]))
    assert got == Example(
        id="7",
        prompt="Q: a\nA:",
        references=(" good",),
        demonstration=" good",
        chosen=" good",
        rejected=" bad",
        p_chosen=0.75,
        about={"margin": 2.0},
    )


def test_a_pair_may_bring_references(tmp_path):
    rows = [{**row, "references": ["good", " better"]} for row in pairs(1)]
    x = only(write(tmp_path / "a.jsonl", rows))
    assert [text.strip() for text in x.references] == ["good", "better"]
    assert x.demonstration == x.chosen


def test_a_newline_at_the_end_of_a_prompt_is_the_separator(tmp_path):
    row = {"prompt": "Answer:\n", "chosen": " good", "rejected": "\nbad"}
    got = only(write(tmp_path / "a.jsonl", [row]))
    assert (got.prompt, got.chosen, got.rejected) == ("Answer:\n", "good", "bad")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "chosen": [SKY], "rejected": [SEA]},
        {"chosen": [USER, SKY], "rejected": [USER, SEA]},
        {"prompt": [USER], "chosen": [USER, SKY], "rejected": [USER, SEA]},  # said twice
        {"prompt": USER["content"], "chosen": [USER, SKY], "rejected": [USER, SEA]},  # TRL's quirk
        {"prompt": USER["content"], "chosen": [SKY], "rejected": [SEA]},
        {"prompt": [USER], "chosen": SKY["content"], "rejected": SEA["content"]},
    ],
)
def test_conversational_preference(tmp_path, row):
    got = only(write(tmp_path / "a.jsonl", [row]))
    assert (got.prompt, got.chosen, got.rejected) == (SUN, " In the sky.", " In the sea.")
    assert got.about == {"messages": [USER]}


def test_a_conversation_keeps_its_system_turn_and_its_later_turns(tmp_path):
    system = {"role": "system", "content": "Be brief.\n"}
    thanks = {"role": "user", "content": "Thanks"}
    row = {"prompt": [system, USER], "completion": [SKY, thanks, SEA]}
    got = only(write(tmp_path / "a.jsonl", [row]))
    assert got.prompt == "system: Be brief.\n" + SUN
    assert got.demonstration == " In the sky.\nuser: Thanks\nassistant: In the sea."


def test_a_prompt_that_ends_with_the_assistant_goes_on(tmp_path):
    row = {"prompt": [USER, {"role": "assistant", "content": "In"}], "completion": "the sky."}
    got = only(write(tmp_path / "a.jsonl", [row]))
    assert got.prompt + got.demonstration == SUN + " In the sky."


@pytest.mark.parametrize(
    ("chosen", "rejected", "parts"),
    [
        ("The sky is blue.", "The sky is green.", ("The sky is", " blue.", " green.")),
        ("The sky is blue.", "The sky is black.", ("The sky is", " blue.", " black.")),  # not "bl"
        ("Q: up?\nA: yes", "Q: up?\nA: no", ("Q: up?\nA:", " yes", " no")),
        ("Sum:\nA cat", "Sum:\nThe cat", ("Sum:\n", "A cat", "The cat")),
        (
            "\n\nHuman: hi\n\nAssistant: I am well",
            "\n\nHuman: hi\n\nAssistant: I am ill",
            ("\n\nHuman: hi\n\nAssistant:", " I am well", " I am ill"),  # not "I am"
        ),
    ],
)
def test_implicit_prompt_in_text(tmp_path, chosen, rejected, parts):
    got = only(write(tmp_path / "a.jsonl", [{"chosen": chosen, "rejected": rejected}]))
    assert (got.prompt, got.chosen, got.rejected) == parts


def test_implicit_prompts_that_differ_are_dropped(tmp_path):
    human = "\n\nHuman: {}\n\nAssistant: {}\n\nHuman: more\n\nAssistant: {}"
    rows = [
        {"chosen": human.format("a", "b", "c"), "rejected": human.format("a", "b", "d")},
        {"chosen": human.format("a", "b", "c"), "rejected": human.format("a", "x", "d")},
        {"chosen": human.format("a", "b", "c"), "rejected": human.format("x", "b", "d")},
        {"chosen": human.format("a", "b", "c"), "rejected": human.format("a", "b", "c")},
        {"chosen": [USER, SKY], "rejected": [{"role": "user", "content": "?"}, SEA]},
        {"chosen": "a\n\nAssistant: b", "rejected": "c\n\nAssistant: d"},
    ]
    task = whole(write(tmp_path / "a.jsonl", rows))
    assert len(task.splits["train"]) == 1
    assert task.dropped == {
        "train: chosen and rejected answer different prompts": 4,
        "train: identical chosen and rejected": 1,
    }


def test_implicit_turns(tmp_path):
    # extract_prompt of TRL 1.16 finds the same prompt: all that chosen and rejected share
    row = {"chosen": [USER, SKY, USER, SEA], "rejected": [USER, SKY, USER, SKY]}
    got = only(write(tmp_path / "a.jsonl", [row]))
    assert got.about == {"messages": [USER, SKY, USER]}
    assert got.prompt == f"{SUN} In the sky.\n{SUN}"
    assert (got.chosen, got.rejected) == (" In the sea.", " In the sky.")


def test_the_name_is_the_end_of_the_path(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine/train.jsonl", pairs(9))
    monkeypatch.chdir(tmp_path / "mine")
    assert load(".").name == load("../mine/").name == "mine"
    assert load("train.jsonl", name="ours").name == "ours"


def test_prompt_completion(tmp_path):
    for number, row in enumerate(
        [
            {"prompt": SUN, "completion": "In the sky."},
            {"prompt": [USER], "completion": [SKY]},
            {"prompt": USER["content"], "completion": [SKY]},
            {"messages": [USER, SKY]},
            {"messages": [USER, SKY, {"role": "user", "content": "Thanks, bye"}]},
        ]
    ):
        got = only(write(tmp_path / f"{number}.jsonl", [row]))
        assert (got.prompt, got.demonstration) == (SUN, " In the sky.")
        assert got.references == (" In the sky.",)
        assert got.chosen is got.completion is got.desirable is None


def test_unpaired(tmp_path):
    rows = [
        {"prompt": "a", "completion": "b", "label": True},
        {"prompt": "a", "completion": "c", "label": 0},
    ]
    good, bad = whole(write(tmp_path / "a.jsonl", rows)).splits["train"]
    assert (good.completion, good.desirable, good.demonstration) == (" b", True, " b")
    assert (bad.completion, bad.desirable, bad.demonstration) == (" c", False, None)
    assert (good.references, bad.references) == ((" b",), ())


def test_document_and_summary(tmp_path):
    row = {"post": "Long.", "title": "T", "tldr": "Short.", "references": ["Brief.", "Short."]}
    path = write(tmp_path / "a.jsonl", [row])
    columns = {"post": "document", "tldr": "summary"}
    got = only(path, columns=columns)
    assert got.prompt == "Long.\n\nTL;DR:"
    assert (got.demonstration, got.references) == (" Short.", (" Short.", " Brief."))
    got = only(path, columns=columns, document_template="{title}: {document}\n")
    assert (got.prompt, got.demonstration) == ("T: Long.\n", "Short.")


def test_prompt_only(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "Why?"}, {"prompt": [USER]}])
    task = whole(path, prompt_template="Q: {prompt}\nA:")
    assert [row.prompt for row in task.splits["train"]] == ["Q: Why?\nA:", SUN]
    assert all(row.demonstration is None and not row.references for row in task.splits["train"])
    assert task.constant == ""


def test_columns_rename_and_hide(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c", "x": "d"}])
    got = only(path, columns={"x": "chosen"})
    assert (got.chosen, got.rejected) == (" d", " c")
    got = only(path, columns={"chosen": "completion", "rejected": None})
    assert (got.demonstration, got.chosen) == (" b", None)


# --- places ---------------------------------------------------------------------------------------


def test_every_kind_of_file_holds_the_same(tmp_path):
    import pyarrow
    from pyarrow.parquet import write_table

    rows = [*pairs(30), {"prompt": "ü\u2028", "chosen": "ö", "rejected": "ß"}]
    paths = [write(tmp_path / name, rows) for name in ("a.jsonl", "a.jsonl.gz", "a.json")]
    (tmp_path / "array.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.jsonl").read_bytes())
    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    paths += [str(tmp_path / name) for name in ("array.json", "bom.jsonl", "a.parquet")]
    tasks = [load(path) for path in paths]
    assert len({task.data_hash for task in tasks}) == 1
    assert [task.name for task in tasks] == ["a", "a", "a", "array", "bom", "a"]


def test_splits_of_a_folder(tmp_path):
    for start, name in enumerate(
        ["train.jsonl", "dev.jsonl.gz", "test.jsonl", "test2.jsonl", "test-hard_ones.json"]
    ):
        write(tmp_path / name, pairs(4, 10 * start))
    (tmp_path / "README.md").write_text("about the data")
    task = load(str(tmp_path))
    assert {split: len(rows) for split, rows in task.splits.items()} == {
        "train": 4,
        "validation": 4,
        "test": 4,
        "test_2": 4,
        "test_hard_ones": 4,
    }
    assert not task.dropped


def test_a_folder_of_the_hub_and_folders_named_by_split(tmp_path):
    for number in range(2):
        write(tmp_path / "hub/data" / f"train-0000{number}-of-00002.json", pairs(4, 10 * number))
        write(
            tmp_path / "hub/data" / f"test-0000{number}-of-00002.json", pairs(4, 10 * number + 50)
        )
        write(tmp_path / "tree/train" / f"{number}.jsonl", pairs(4, 10 * number))
        write(tmp_path / "tree/test" / f"{number}.jsonl", pairs(4, 10 * number + 50))
    hub, tree = (load(str(tmp_path / name), validation=0) for name in ("hub", "tree"))
    assert len(hub.splits["train"]) == len(hub.splits["test"]) == 8
    assert hub.data_hash == tree.data_hash


def test_saved_by_datasets(tmp_path):
    from datasets import Dataset, DatasetDict

    asked = [[{"role": "user", "content": f"Question {i}?"}] for i in range(10)]
    rows = [{"chosen": [*turns, SKY], "rejected": [*turns, SEA]} for turns in asked]
    data = Dataset.from_list(rows)
    data.save_to_disk(str(tmp_path / "one"))
    DatasetDict({"train_prefs": data, "other": data}).save_to_disk(str(tmp_path / "many"))
    one = load(str(tmp_path / "one"))
    many = load(str(tmp_path / "many"), splits={"train_prefs": "train"})
    written = load(write(tmp_path / "a.jsonl", rows))
    assert one.data_hash == many.data_hash == written.data_hash
    with pytest.raises(DataError, match=r"'train_prefs' is no split we know of; .* splits="):
        load(str(tmp_path / "many"))


def test_a_hub_name(monkeypatch):
    import datasets

    calls = []

    def load_dataset(*names, **options):
        calls.append((names, options))
        return datasets.DatasetDict({"train": datasets.Dataset.from_list(pairs(20))})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load("who/what/harmless-base", subset="v2").name == "harmless-base"
    assert calls == [(("who/what", "v2"), {"data_dir": "harmless-base", "revision": None})]

    def offline(*names, **options):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(DataError, match=r"^who/what: .*\(no route\).*go online") as told:
        load("who/what")
    assert "\n" not in str(told.value)


# --- one filter, one split ------------------------------------------------------------------------


def test_drops_are_counted(tmp_path):
    rows = [
        *pairs(2),
        pairs(1)[0] | {"id": "again"},
        {"prompt": " ", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "", "rejected": "b"},
        {"prompt": "p", "chosen": "a ", "rejected": " a"},
        {"prompt": "p" * 99, "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "a", "rejected": "b" * 99},
        {"prompt": [dict(USER, content="")], "chosen": "a", "rejected": "b"},
    ]
    path = write(tmp_path / "a.jsonl", rows)
    task = whole(path, max_prompt_chars=50, max_response_chars=50)
    assert len(task.splits["train"]) == 2
    assert task.dropped == {
        "train: duplicate row": 1,
        "train: empty completion": 1,
        "train: empty prompt": 2,
        "train: identical chosen and rejected": 1,
        "train: prompt over 50 characters": 1,
        "train: response over 50 characters": 1,
    }
    assert sum(whole(path).dropped.values()) == 5


def test_an_empty_document_is_an_empty_prompt(tmp_path):
    rows = [{"document": "", "summary": "a"}, {"document": "b", "summary": "c"}]
    assert whole(write(tmp_path / "a.jsonl", rows)).dropped == {"train: empty prompt": 1}


def test_a_prompt_is_on_one_side_only(tmp_path):
    write(tmp_path / "train.jsonl", pairs(10))
    write(tmp_path / "validation.jsonl", [row | {"chosen": "other"} for row in pairs(5, 7)])
    rows = [row | {"chosen": "third", "prompt": row["prompt"] + "\n"} for row in pairs(3, 9)]
    write(tmp_path / "test.jsonl", rows)
    task = load(str(tmp_path))
    asked = {split: {question(row) for row in rows} for split, rows in task.splits.items()}
    assert not asked["train"] & asked["test"]
    assert not asked["train"] & asked["validation"]
    assert not asked["validation"] & asked["test"]
    assert [len(rows) for rows in task.splits.values()] == [7, 2, 3]
    assert task.dropped == {
        "train: prompt also in test": 1,
        "train: prompt also in validation": 2,
        "validation: prompt also in test": 3,
    }


def test_what_is_missing_is_cut_by_prompt(tmp_path):
    rows = [row | {"rejected": f"no {i}"} for i in range(3) for row in pairs(100)]
    task = load(write(tmp_path / "a.jsonl", rows), test=0.1, validation=50)
    sizes = {split: len(rows) for split, rows in task.splits.items()}
    assert sizes == {"train": 300 - 30 - 51, "validation": 51, "test": 30}  # whole prompts of 3
    sides = Counter(prompt for rows in task.splits.values() for prompt in {r.prompt for r in rows})
    assert set(sides.values()) == {1}


def test_the_cut_depends_on_seed_and_prompts_alone():
    rows = [Example(id=str(i), prompt=f"{i}") for i in range(100)]
    left, made = cut(rows, {"test": 10})
    left_too, made_too = cut(rows[::-1], {"test": 10})
    assert (left, made["test"]) == (left_too[::-1], made_too["test"][::-1])
    assert cut(rows, {"test": 10}, seed=1)[1] != made
    with pytest.raises(DataError, match="leave nothing to train on"):
        cut(rows[:3], {"test": 2, "validation": 1})


def test_upstream_validation_is_kept_and_test_is_cut(tmp_path):
    write(tmp_path / "train.jsonl", pairs(50))
    write(tmp_path / "validation.jsonl", pairs(5, 60))
    assert [len(rows) for rows in load(str(tmp_path)).splits.values()] == [45, 5, 5]


def test_the_same_input_gives_the_same_task(tmp_path):
    path = write(tmp_path / "a.jsonl", pairs(50))
    first, again = load(path), load(path)
    assert first.data_hash == again.data_hash
    assert first.splits == again.splits
    assert load(path, seed=1).data_hash != first.data_hash


def test_limit_draws_from_each_split(tmp_path):
    path = write(tmp_path / "a.jsonl", pairs(50))
    small, full = load(path, limit=3), load(path)
    for split, rows in small.splits.items():
        assert len(rows) == 3
        assert set(rows_of(rows)) < set(rows_of(full.splits[split]))


def rows_of(rows) -> list[str]:
    return [row.id for row in rows]


def test_ids_are_stable_and_unique(tmp_path):
    rows = [row | {"id": "same"} for row in pairs(3)] + pairs(3, 10)
    task = whole(write(tmp_path / "a.jsonl", rows))
    ids = rows_of(task.splits["train"])
    assert len(set(ids)) == 6
    assert ids[0] == "same"
    backwards = whole(write(tmp_path / "b.jsonl", rows[::-1])).splits["train"]
    assert set(ids[3:]) == set(rows_of(backwards)[:3])  # ids we give follow content alone


def test_one_row_in_two_test_sets_has_two_ids(tmp_path):
    write(tmp_path / "train.jsonl", pairs(9))
    for name in ("test.jsonl", "test2.jsonl", "test3.jsonl"):
        write(tmp_path / name, pairs(2, 20))
    task = load(str(tmp_path), validation=0)
    ids = [row.id for rows in task.splits.values() for row in rows]
    assert len(set(ids)) == len(ids) == 15


def test_the_constant_is_the_commonest_demonstration(tmp_path):
    rows = [{"prompt": str(i), "completion": "None" if i % 3 else f"{i}"} for i in range(9)]
    assert whole(write(tmp_path / "a.jsonl", rows)).constant == " None"


def test_the_filter_is_of_use_to_other_tasks():
    same = Example(id="1", prompt="p", chosen="a", rejected="a")
    kept, dropped = keep({"train": [same], "test": [Example(id="2", prompt="p")]})
    assert kept == {"train": [], "test": [Example(id="2", prompt="p")]}
    assert dropped == {"train: identical chosen and rejected": 1}


# --- bad input: one line that names file and row --------------------------------------------------

GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"prompt": "p", "rejected": "b"}, "no `chosen`; add it"),
        ({"chosen": "a", "rejected": "b"}, "no `prompt`; add it"),
        (GOOD | {"chosen": None}, "`chosen` is null"),
        (GOOD | {"chosen": 3}, "`chosen` is a number (3) where text was due"),
        (GOOD | {"prompt": {"a": 1}}, "`prompt` is an object ({'a': 1})"),
        (GOOD | {"chosen": [SKY]}, "one of `chosen` and `rejected` is text"),
        (GOOD | {"prompt": ["a\nb"]}, "turn 1 of `prompt` is text ('a\\nb')"),
        (GOOD | {"prompt": [{"role": "user"}]}, "turn 1 of `prompt` has no `content`"),
        (GOOD | {"prompt": [{"from": "user", "value": "a"}]}, "turn 1 of `prompt` has no `role`"),
        (GOOD | {"prompt": [dict(USER, content=None)]}, "`prompt[1].content` is null"),
        (GOOD | {"p_chosen": 1.5}, "`p_chosen` is a number (1.5); make it a number from 0 to 1"),
        (GOOD | {"margin": "big"}, "`margin` is text ('big'); make it a number"),
        (GOOD | {"id": [1]}, "`id` is a list ([1])"),
        (GOOD | {"chosen": "\ud83d"}, "`chosen` holds half a character"),
        (b'{"prompt": "p", "chosen": ', "invalid JSON"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"prompt": "\xff\xfe"}', "invalid UTF-8 at byte 13; save the file as UTF-8"),
        (b"[1, 2]", "a list ([1, 2]) where an object was due"),
        (b"null", "null where an object was due"),
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_bad_row(tmp_path, second, told, ending):
    path = write(tmp_path / ("bad" + ending), [GOOD, second, GOOD])
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}:2: {told}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "p", "completion": "c", "label": "yes"}, "`label` is text ('yes'); make it"),
        ({"prompt": "p", "completion": "c", "label": 2}, "`label` is a number (2); make it"),
        ({"prompt": "p", "completion": [USER]}, "`completion` begins with no assistant turn"),
        ({"document": ["d"], "summary": "s"}, "`document` is a list (['d']) where text was due"),
        ({"document": "d", "summary": "s", "references": "r"}, "`references` is text ('r')"),
        ({"messages": [USER]}, "`messages` has no assistant turn"),
        ({"messages": "hello"}, "`messages` is text ('hello'); make it a list of {role, content}"),
    ],
)
def test_a_bad_row_of_another_format(tmp_path, row, told):
    path = write(tmp_path / "bad.jsonl", [row])
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}:1: {told}")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "p", "rejected": "b"}, "column `rejected` without `chosen`; add `chosen`"),
        ({"prompt": "p", "label": True}, "column `label` without `completion`"),
        ({"text": "t", "stars": 3}, "columns stars, text fit no format; wanted are [prompt,]"),
        ({}, "columns (none) fit no format"),
    ],
)
def test_columns_that_fit_no_format(tmp_path, row, told):
    path = write(tmp_path / "bad.jsonl", [row])
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: {told}")


def test_half_a_gzip_file(tmp_path):
    path = Path(write(tmp_path / "half.jsonl.gz", pairs(500)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"half\.jsonl\.gz:\d+: gzip data broken or cut off \(Comp"):
        load(str(path))
    path.write_bytes(b"\x00" * 20)
    with pytest.raises(DataError, match=r"half\.jsonl\.gz:1: gzip data broken .*\(Not a gzipped"):
        load(str(path))
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode())[:10] + b"\xff" * 50)
    with pytest.raises(DataError, match=r"half\.jsonl\.gz:1: gzip data broken"):
        load(str(path))


def test_a_bad_parquet_file(tmp_path):
    import pyarrow
    from pyarrow.parquet import write_table

    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"bad\.parquet: no readable Parquet"):
        load(str(path))
    write_table(pyarrow.Table.from_pylist([GOOD, GOOD | {"chosen": None}]), path)
    with pytest.raises(DataError, match=r"bad\.parquet:2: `chosen` is null"):
        load(str(path))
    bad = pyarrow.array([b"fine", b"\xff"]).view(pyarrow.string())
    write_table(pyarrow.table({"prompt": ["a", "b"], "chosen": bad, "rejected": ["c", "d"]}), path)
    with pytest.raises(DataError, match=r"bad\.parquet:2: invalid UTF-8 at byte 1"):
        load(str(path))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, r": no \.jsonl, .* put train\.jsonl there$"),
        ({"inner/train.jsonl": [GOOD]}, r"; name one of its folders: inner$"),
        ({"test.jsonl": [GOOD]}, r": nothing to train on, only test;"),
        ({"train.jsonl": [GOOD], "extra.jsonl": [GOOD]}, r": 'extra' is no split we know of;"),
        ({"train.jsonl": []}, r"train\.jsonl: the file has no rows"),
        ({"train.jsonl": [GOOD | {"chosen": "b"}]}, r": no row of train is left \(1 train: iden"),
        ({"train.jsonl": [GOOD]}, r": 1 rows with 1 prompts leave nothing to train on"),
        ({"train.jsonl": [GOOD], "test.jsonl": [GOOD]}, r"\(1 train: prompt also in test\)"),
    ],
)
def test_a_bad_folder(tmp_path, files, told):
    for name, rows in files.items():
        write(tmp_path / name, rows)
    with pytest.raises(DataError, match=told) as error:
        load(str(tmp_path))
    assert str(error.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": ""}, "no path; give a file"),
        ({"path": "nowhere.jsonl"}, "nowhere.jsonl: no such file or folder"),
        ({"path": "nowhere"}, "nowhere: no such file or folder"),
        ({"path": "../nowhere/x"}, "../nowhere/x: no such file or folder"),
        ({"test": 1.0}, "test=1.0: give a share"),
        ({"validation": -1}, "validation=-1: give a share"),
        ({"limit": 0}, "limit=0: give a number of rows"),
        ({"columns": {"a": "prompts"}}, "columns: 'prompts' is no column of ours"),
        ({"document_template": "TL;DR:"}, "document_template has no {document}"),
        ({"splits": {"dev": "test"}}, "no split 'dev'; there are train"),
        ({"columns": {"a": "prompt"}}, "no column 'a' to rename; there are prompt, chosen"),
        ({"prompt_template": "{prompt} {x}"}, ":1: no `x`; add it"),
    ],
)
def test_bad_options(tmp_path, options, told):
    path = write(tmp_path / "a.jsonl", pairs(3))
    with pytest.raises(DataError) as error:
        load(**({"path": path} | options))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_another_kind_of_file(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,chosen\n")
    with pytest.raises(DataError, match=r"a\.csv: neither \.jsonl.* convert it"):
        load(str(tmp_path / "a.csv"))


# --- real data: PREFZOO_DATA names their folder ---------------------------------------------------

# rows upstream, by split; at most 4% may be dropped
REAL = {
    "scitldr": {"train": 1992, "validation": 619, "test": 618},
    "mts_dialog": {"train": 1201, "validation": 100, "test": 200, "test_2": 200},
    "hh_helpful_base": {"train": 1878, "validation": 237, "test": 231},
    "hh_harmless_base": {"train": 1866, "validation": 230, "test": 208},
    "ukp_convarg1": {"train": 8862, "validation": 1431, "test": 1349},
    "taskmaster_reward": {"train": 1999, "validation": 231, "test": 256},
    "acl_titles": {"train": 4831, "validation": 570, "test": 615},
    "summedits_pairs": {"train": 1011, "validation": 139, "test": 200},
    "opin_pref": {"train": 720, "validation": 140, "test": 80},  # test is cut from train
}


@pytest.mark.skipif("PREFZOO_DATA" not in os.environ, reason="PREFZOO_DATA names no folder of data")
@pytest.mark.parametrize("name", REAL)
def test_real_data(name):
    task = load(os.path.join(os.environ["PREFZOO_DATA"], name))
    assert task.name == name
    assert list(task.splits) == list(REAL[name])
    for split, upstream in REAL[name].items():
        dropped = sum(n for reason, n in task.dropped.items() if reason.startswith(f"{split}:"))
        assert len(task.splits[split]) + dropped == upstream
        assert dropped <= 0.04 * upstream
    rows = [row for split in task.splits.values() for row in split]
    assert len({row.id for row in rows}) == len(rows)
    assert all(row.prompt.strip() for row in rows)
    train = task.splits["train"]
    assert not {r.prompt for r in train} & {r.prompt for r in task.splits["test"]}
    if name in ("scitldr", "mts_dialog", "acl_titles"):
        assert all(row.prompt.endswith("\n\nTL;DR:") and row.references for row in rows)
    elif name == "taskmaster_reward":
        assert all(row.completion and row.desirable is not None for row in rows)
        assert 0.1 < sum(row.desirable for row in train) / len(train) < 0.9
    else:
        assert all(row.chosen.strip() != row.rejected.strip() for row in rows)
        assert all(row.chosen == row.demonstration == row.references[0] for row in rows)
    assert (name == "ukp_convarg1") == (train[0].p_chosen is not None)
    assert name != "scitldr" or max(len(row.references) for row in rows) > 1
