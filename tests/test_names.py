"""What a user may name: every name is known, or one line says which is closest."""

from pathlib import Path

import pytest

from bench.names import (
    Unknown,
    check,
    comment,
    config_folder,
    find_run,
    listing,
    names,
    own_folders,
    papers,
)


@pytest.fixture
def conf(tmp_path) -> Path:
    """A small tree of settings."""
    files = {
        "run.yaml": "defaults:\n  - task: digest\n  - task@other: null\n\nseed: 0\n",
        "algo/dpo.yaml": "# @package _global_\nalgo:\n  _target_: algos.DPO\n  beta: 0.1\n",
        "algo/dpo_hot.yaml": "# @package _global_\n# Warmer. See https://arxiv.org/abs/1234.56789\n"
        "algo:\n  _target_: algos.DPO\n",
        "algo/mine.yaml": "algo:\n  _target_: my_package.losses.Mine\n",
        "algo/plain.yaml": "feed: {}\n",
        "task/digest.yaml": "# Pick what is urgent. The rest of the story.\nname: digest\n",
        "task/helpdesk.yaml": "# Answer politely.\nname: helpdesk\n",
        "budget/smoke.yaml": "updates: 2\n",
    }
    for name, text in files.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "conf"


def told(call, *args) -> str:
    with pytest.raises(Unknown) as error:
        call(*args)
    line = str(error.value)
    assert "\n" not in line
    return line


# -- listing


def test_a_recipe_is_listed_with_its_loss_its_data_its_needs_and_its_paper(conf):
    lines = listing(conf, "algos").splitlines()
    assert [line.split() for line in lines] == [
        ["dpo", "DPO", "pairs", "token_ref_logps", "https://arxiv.org/abs/2305.18290"],
        ["dpo_hot", "DPO", "pairs", "token_ref_logps", "https://arxiv.org/abs/1234.56789"],
        ["mine", "Mine"],
        ["plain"],
    ]
    assert len({line.index("DPO") for line in lines[:2]}) == 1  # in columns
    assert listing(conf, "algo") == listing(conf, "algos")


def test_other_groups_are_listed_with_the_first_sentence_of_their_comment(conf):
    rows = [line.split(maxsplit=1) for line in listing(conf, "tasks").splitlines()]
    assert rows == [["digest", "Pick what is urgent"], ["helpdesk", "Answer politely"]]
    assert listing(conf, "budget") == "smoke\n"


def test_a_group_that_nobody_has_is_told_with_the_closest_and_all_others(conf):
    line = told(listing, conf, "taks")
    assert "did you mean tasks?" in line
    assert "(algos budget tasks)" in line


@pytest.mark.parametrize("what", ["algos", "tasks", "models", "feedback", "experiments", "budget"])
def test_what_there_is_in_the_clone_can_be_listed(what):
    assert listing(config_folder(), what).strip()


def test_the_package_header_is_no_comment():
    assert comment("# @package _global_\n# First. Second.\na: 1\n# Later") == "First"
    assert comment("# One thought\n# on two lines.\n") == "One thought on two lines"
    assert comment("a: 1\n") == ""


def test_papers_are_the_addresses_that_are_not_of_code():
    text = """Ann et al., 2023, https://arxiv.org/abs/2305.18290, eq. 7 (see http://b.org/c.pdf).
    Code: https://github.com/ann/dpo (f8b8c0f, trainers.py)
    As at https://arxiv.org/abs/2310.12036."""
    assert papers(text) == [
        "https://arxiv.org/abs/2305.18290",
        "http://b.org/c.pdf",
        "https://arxiv.org/abs/2310.12036",
    ]


# -- words of the command line


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["algo=dpo", "task=digest", "seed=3", "runs=out", "algo.beta=0.3"],
        ["algo=dpo,dpo_hot", "-m"],
        ["+budget=smoke", "~budget", "task=null"],
        ["algo=glob(*)", "task=${x}"],
        ["hydra/launcher=joblib", "--cfg", "job", "--config-dir=x", "store=here"],
        ["tuned=anything"],
        ["task@other=helpdesk", "other.load.train=3"],
    ],
    ids=str,
)
def test_what_is_known_passes(conf, words):
    check(words, conf)


@pytest.mark.parametrize(
    ("word", "closest"),
    [
        ("algo=dqo", "algo=dpo?"),
        ("algo=dpo,dpo_hto", "algo=dpo_hot?"),
        ("+task=diggest", "task=digest?"),
        ("taks=digest", "task=digest?"),
        ("sed=1", "seed=1?"),
        ("algo=zzz", "algo="),
        ("task@other=helpdsk", "task@other=helpdesk?"),
        ("task@othr=helpdesk", "task@other=helpdesk?"),
    ],
)
def test_what_is_not_is_told_with_the_closest(conf, word, closest):
    line = told(check, ["seed=0", word], conf)
    assert f"did you mean {closest}" in line


def test_an_unknown_name_says_where_all_are_shown(conf):
    line = told(check, ["algo=dqo"], conf)
    assert "there is no algo 'dqo'" in line
    assert "`prefzoo list algos` shows all 4" in line


# -- a user's own folders


@pytest.mark.parametrize(
    "words",
    [["--config-dir", "there"], ["--config-dir=there"], ["-cd", "there"], ["-cd=there"]],
    ids=str,
)
def test_a_folder_of_own_settings_is_named_in_hydras_ways(words):
    assert own_folders(["algo=dpo", *words, "seed=1"]) == [Path("there")]


def test_own_settings_are_known_beside_those_of_the_clone(conf, tmp_path):
    (tmp_path / "own/algo").mkdir(parents=True)
    (tmp_path / "own/algo/ours.yaml").write_text("")
    (tmp_path / "own/flavour").mkdir()
    (tmp_path / "own/flavour/sweet.yaml").write_text("")
    own = ["--config-dir", str(tmp_path / "own")]
    assert "ours" in names("algo", [conf, *own_folders(own)])
    check(["algo=ours", "flavour=sweet", "algo=dpo", *own], conf)
    assert "did you mean" in told(check, ["algo=ours"], conf)
    assert "algo=ours?" in told(check, ["algo=our", *own], conf)
    assert "did you mean" in told(check, ["flavour=sweet"], conf)


def test_a_folder_that_is_not_there_is_left_to_hydra(conf):
    check(["algo=dpo", "--config-dir", "nowhere"], conf)


# -- runs


@pytest.fixture
def runs(tmp_path) -> Path:
    for name in ("dpo-1a2b", "dpo-1f00", "ppo-77aa", "tdpo2-9c9c"):
        (tmp_path / f"{name}.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("said", "run"),
    [("dpo-1a2b", "dpo-1a2b"), ("dpo-1a", "dpo-1a2b"), ("ppo", "ppo-77aa"), ("t", "tdpo2-9c9c")],
)
def test_a_run_is_found_by_its_id_its_beginning_or_its_recipe(runs, said, run):
    assert find_run(said, runs) == runs / f"{run}.json"


def test_the_whole_id_wins_over_longer_ones(runs):
    (runs / "dpo-1a2bcc.json").write_text("{}")
    assert find_run("dpo-1a2b", runs).stem == "dpo-1a2b"


def test_a_beginning_of_several_runs_names_them(runs):
    line = told(find_run, "dpo", runs)
    assert "dpo-1a2b, dpo-1f00" in line
    assert "say more" in line


def test_an_unknown_run_is_told_with_the_closest(runs, tmp_path):
    assert "did you mean ppo-77aa?" in told(find_run, "pop-77aa", runs)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no records" in told(find_run, "dpo", empty)
