"""The bibliography: all that is cited, nothing else, and what the citing text says of it."""

import ast
import re
from itertools import accumulate
from pathlib import Path

import pytest

from bench.cite import BIB, cite, entries
from bench.names import Unknown, config_folder, papers, remarks

ROOT = Path(__file__).parents[1]
CONF = config_folder()
ENTRIES = entries(BIB.read_text())
TEXTS = {p.name: ast.get_docstring(ast.parse(p.read_text())) for p in ROOT.glob("algos/*.py")}
TEXTS |= {p.name: remarks(p.read_text()) for p in ROOT.glob("conf/algo/*.yaml")}
CITED = [(name, url) for name, text in sorted(TEXTS.items()) for url in papers(text)]


def key(entry: str) -> str:
    return re.match(r"@misc{(.*),\n", entry)[1]


def keys(*asked: str) -> list[str]:
    return re.findall(r"^@misc{(.*),$", cite(CONF, asked), re.MULTILINE)


def fields(entry: str) -> dict[str, str]:
    """Each on lines of its own; what follows its first line is indented further."""
    found = re.findall(r"^  (\w+) = {(.*?)},$(?!\n    )", entry, re.MULTILINE | re.DOTALL)
    assert len(found) == len(dict(found)), "a field is given twice"
    return {name: " ".join(value.split()) for name, value in found}


def families(entry: str) -> list[str]:
    """The family names of the authors, who are written Family, Given, or {Company}."""
    authors = fields(entry)["author"].split(" and ")
    return [re.sub(r"^\{(\w+)\}$", r"\1", author.split(", ")[0]) for author in authors]


def test_all_that_is_cited_has_one_entry_and_nothing_else_has():
    written = re.findall(r"^@.*{(.*),$", BIB.read_text(), re.MULTILINE)
    assert len(written) == len(set(written)) == len(ENTRIES)
    assert {url for _, url in CITED} == set(ENTRIES)


@pytest.mark.parametrize(("name", "url"), CITED)
def test_the_text_before_an_address_says_who_and_when(name, url):
    first, *others = families(ENTRIES[url])
    who = {0: first, 1: " and ".join([first, *others])}.get(len(others), f"{first} et al.")
    said = f"{who}, {fields(ENTRIES[url])['year']}, {url}"
    assert said in " ".join(TEXTS[name].split())


@pytest.mark.parametrize("url", ENTRIES, ids=lambda url: key(ENTRIES[url]))
def test_an_entry_is_well_formed(url):
    entry = ENTRIES[url]
    depth = list(accumulate({"{": 1, "}": -1}.get(c, 0) for c in entry))
    assert depth.index(0, entry.index("{")) == entry.rindex("}")  # closed by its last brace alone
    assert entry.isascii()

    said = fields(entry)
    needed = ["title", "author", "year", "url"]
    if "arxiv.org" in url:
        needed[3:3] = ["eprint", "archivePrefix"]
        assert said["archivePrefix"] == "arXiv"
        assert said["url"] == f"https://arxiv.org/abs/{said['eprint']}"
        assert said["year"] == f"20{said['eprint'][:2]}"
    assert [f for f in said if f not in ("primaryClass", "note")] == needed
    for author in said["author"].split(" and "):
        assert re.fullmatch(r"[^,]+, [^,]+|\{\w+\}", author)
    family = re.sub(r"\W", "", families(entry)[0]).lower()
    assert re.fullmatch(family + said["year"] + "[a-z0-9]+", key(entry))


def test_entries_come_by_date():
    years = [fields(entry)["year"] for entry in ENTRIES.values()]
    assert years == sorted(years)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["dpo", "tdpo2"], ["rafailov2023dpo", "zeng2024tdpo"]),
        (["tdpo2", "dpo"], ["zeng2024tdpo", "rafailov2023dpo"]),
        (["dpo", "pl_dpo", "dpo"], ["rafailov2023dpo"]),
        (["exo_authors_code"], ["ji2024exo"]),
        (["tr_dpo"], ["gorbatovski2024trdpo", "rafailov2023dpo"]),
        (["cdpo"], ["mitchell2023cdpo", "rafailov2023dpo"]),
        (["rlaif"], ["lee2023rlaif", "schulman2017ppo", "ouyang2022instructgpt"]),
    ],
    ids=" ".join,
)
def test_recipes_cite_their_own_paper_first_and_each_once(asked, expected):
    assert keys(*asked) == expected


def test_no_name_is_all():
    assert sorted(keys()) == sorted(map(key, ENTRIES.values()))


def test_what_is_printed_is_what_is_written():
    assert cite(CONF, ["dpo"]) in BIB.read_text()
    assert cite(CONF, ["dpo"]).startswith("@misc{rafailov2023dpo,\n  title = {")
    assert cite(CONF, ["dpo"]).endswith("\n}\n")


def test_an_unknown_name_is_told_with_the_closest():
    with pytest.raises(Unknown, match=r"no algo 'dqo': did you mean dpo\? .* shows all \d+$"):
        cite(CONF, ["dpo", "dqo"])


def test_a_paper_without_an_entry_is_named(tmp_path):
    recipe = tmp_path / "algo/mine.yaml"
    recipe.parent.mkdir()
    recipe.write_text("# Ours. Ann, 2030, https://arxiv.org/abs/3001.00001\nalgo: {}\n")
    with pytest.raises(Unknown, match=r"no entry whose url is https://arxiv.org/abs/3001.00001"):
        cite(tmp_path, ["mine"])
