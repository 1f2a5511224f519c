"""Every loss has a recipe, a reference and its defaults written out; every recipe works."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

import algos
from algos import ALGORITHMS
from algos.core import FromRollouts
from bench.names import base, classes, recipe

ROOT = Path(__file__).parents[1]
RECIPES = {path.stem: path.read_text() for path in sorted((ROOT / "conf/algo").glob("*.yaml"))}


@pytest.fixture(scope="module", autouse=True)
def conf():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def test_every_loss_has_a_recipe():
    assert set(ALGORITHMS) <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_builds_a_loss(name):
    config = compose("run", overrides=[f"algo={name}"])
    algo = instantiate(config.algo)
    knobs = {k: v for k, v in config.algo.items() if k != "_target_"}
    assert type(algo) in ALGORITHMS.values()
    assert knobs.keys() == {f.name for f in dataclasses.fields(algo)}, "write every knob out"
    if name in ALGORITHMS:
        assert type(algo) is ALGORITHMS[name]
        assert algo == ALGORITHMS[name](), "the class and its recipe have the same defaults"
    else:
        assert RECIPES[name].count("# ") > 1, "say what differs from the loss's own recipe"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_list_says_what_a_loss_reads(name):
    cls, said = ALGORITHMS[name], recipe(ROOT / f"conf/algo/{name}.yaml")
    assert set(said.needs) == cls.needs | getattr(cls, "credit_needs", frozenset())
    assert said.loss == cls.__name__


@pytest.mark.parametrize("cls", ALGORITHMS.values())
def test_class_is_frozen_numbers_with_defaults(cls):
    assert cls.__dataclass_params__.frozen
    assert all(type(f.default) in (int, float) for f in dataclasses.fields(cls))
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "the formula, please"


@pytest.mark.parametrize(
    "line",
    [
        r"https://arxiv.org/abs/\d{4}\.\d{5}",
        r"^Code: https://github.com/\S+ \([0-9a-f]{7}",
        r"^Departures from that code: \w",
        r"^\w.*\(.*\)",  # its name, spelt out and short
    ],
)
@pytest.mark.parametrize("cls", ALGORITHMS.values())
def test_says_where_it_comes_from(cls, line):
    assert re.search(line, inspect.getmodule(cls).__doc__, re.MULTILINE)


def test_knobs_are_set_on_the_command_line():
    assert compose("run", overrides=["algo=ipo", "algo.tau=0.3"]).algo.tau == 0.3


def test_family_has_a_module_and_a_test():
    """The module is the key, or the family that key and class begin with: tdpo.py has tdpo1."""
    for name, cls in ALGORITHMS.items():
        package, family = cls.__module__.split(".")
        assert package == "algos"
        assert name.startswith(family)
        assert cls.__name__.lower() == name.replace("_", "")
        assert (ROOT / f"tests/test_{family}.py").exists()


def test_every_loss_is_in_the_catalogue():
    said = {name for name, (node, _) in classes().items() if base(node).startswith("From")}
    assert said == {cls.__name__ for cls in ALGORITHMS.values()}
    assert all(getattr(algos, cls.__name__) is cls for cls in ALGORITHMS.values())


@pytest.mark.parametrize("path", sorted((ROOT / "conf/experiment").glob("*.yaml")), ids=str)
def test_experiments_name_recipes(path):
    """`offline_zoo` names every loss that trains a policy on what is there, but for second readings;
    `online_zoo` every recipe that samples."""
    config = compose("run", overrides=[f"experiment={path.stem}"], return_hydra_config=True)
    params = config.hydra.sweeper.params or {}
    swept = set(params.get("algo", config.hydra.runtime.choices.algo).split(","))
    assert swept <= set(RECIPES)
    if path.stem == "offline_zoo":
        offline = {
            name
            for name, cls in ALGORITHMS.items()
            if not issubclass(cls, FromRollouts) and not {"score", "by_reference"} & cls.needs
        }
        second = {"cpo_sum", "orpo_token_mean", "rrhf_authors_code"}
        assert offline - swept == second
    if path.stem == "online_zoo":
        online = {name for name, text in RECIPES.items() if "override /feed:" in text}
        apart = {name for name in online if name.endswith("_authors_code")}
        assert online - swept == apart | {"ppo_no_kl", "ppo_turns", "ppo_turns_bandit"}
