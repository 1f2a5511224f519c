"""Whole commands, as a user types them: a small cell in this process, the rest with `-m slow`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from errno import ENOSPC
from pathlib import Path

import pytest

from bench.__main__ import main, told
from bench.names import config_folder, names
from bench.reports import record as records

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore:ROUGE reads")  # what an untrained model babbles
SMALL = [  # a world and a model for seconds
    "budget=smoke",
    "task.load.train=400",
    "task.load.validation=40",
    "task.load.test=40",
    "model.architecture.hidden_size=32",
    "model.architecture.intermediate_size=64",
    "model.architecture.num_hidden_layers=1",
]
TASKS = ["digest", "helpdesk"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFZOO_STORE", raising=False)
    monkeypatch.setenv("PREFZOO_TRACEBACK", "")
    return tmp_path


def command(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, **env}
    environment.pop("PREFZOO_STORE", None)
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip


def without(heavy: set[str], words: list[str], cwd: Path) -> subprocess.CompletedProcess:
    """A command that fails if it has imported any of these."""
    script = (
        f"import sys; from bench.__main__ import main; status = main({words}); "
        f"assert not {heavy} & set(sys.modules), sorted(set(sys.modules) & {heavy}); sys.exit(status)"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip


def metrics(folder: Path) -> dict[str, dict]:
    """recipe -> metrics at the end, of all good records."""
    found, problems = records.read_all(folder / "runs/records")
    assert not problems
    return {
        f"{r.recipe} {r.seed}": {k: m.value for k, m in r.metrics.end.items()}
        for r in found
        if r.status == "good"
    }


def test_a_cell_from_nothing(here, capfd):
    assert main(["algo=dpo", *SMALL]) == 0
    out = capfd.readouterr().out
    assert "dpo" in out
    assert "references" in out
    found = metrics(here)
    assert {"dpo 0", "sft 0", "references 0", "longest_of_16 0", "empty 0"} <= found.keys()
    ideal = found["references 0"]
    for name in ("gold", "gold_unseen", "rouge1", "rouge2", "rougeL", "rougeLsum", "bertscore"):
        assert ideal[name] == pytest.approx(1.0, abs=1e-6), name
    assert found["sft 0"]["kl"] == 0
    assert found["sft 0"]["win_rate"] == 0.5
    assert found["dpo 0"]["kl"] > 0
    assert 0 < found["dpo 0"]["win_rate_at_equal_length"] < 1

    record = next((here / "runs/records").glob("dpo-*.json"))
    before = record.stat().st_mtime_ns
    done = without({"torch", "transformers"}, ["algo=dpo", *SMALL], here)  # nothing to do
    assert done.returncode == 0, done.stderr
    assert record.stat().st_mtime_ns == before

    told = json.loads(record.read_text())
    phases = {k: x for k, x in told["seconds"].items() if k.startswith("training/")}
    assert sum(phases.values()) == pytest.approx(told["seconds"]["training"], rel=0.05)
    assert {"training/backward", "training/evaluation"} <= phases.keys()
    budget = told["budget"]
    assert budget["pairs"] == budget["prompts"] == budget["updates"] * budget["responses"] // 2
    for path in (here / "runs/records").glob("*.json"):
        spent = json.loads(path.read_text())
        assert {"evaluation/reward", "evaluation/metrics", "cell"} <= spent["seconds"].keys()
        peaks = spent["peak_memory_mb"]
        assert peaks["process"] >= 0.98 * max(peaks.values())  # two counters of the kernel

    policy = told["policy"]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(policy)
    assert AutoTokenizer.from_pretrained(policy).eos_token == "<eos>"
    capfd.readouterr()
    assert main(["sample", record.stem, "report : note : anna sold lamps . summary :"]) == 0
    assert capfd.readouterr().out.strip() is not None
    asked = "report : note : anna sold lamps . summary :"
    assert main(["rewards", record.stem, asked, "anna sold ."]) == 0
    *tokens, total = [x.split(maxsplit=1) for x in capfd.readouterr().out.splitlines()]
    assert [token for _, token in tokens] == ["' anna'", "' sold'", "' .'", "'<eos>'"]
    assert float(total[0]) == pytest.approx(sum(float(x) for x, _ in tokens), abs=3e-3)
    assert "0.1 · log" in total[1]


def test_a_failed_cell_says_why_and_the_others_go_on(here, capfd):
    words = ["-m", "algo=dpo,ipo", "model.optimization.lr=1e9", *SMALL]
    assert main([*words, "budget.updates=8"]) == 1
    found, _ = records.read_all(here / "runs/records")
    failed = [r for r in found if r.status == "failed"]
    assert {r.recipe for r in failed} == {"dpo", "ipo"}
    for r in failed:
        assert "\n" not in r.error
        assert "learning rate" in r.error
    assert main(["algo=dpo", *SMALL]) == 0
    assert {"dpo 0"} <= metrics(here).keys()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["algo=dpoo"], "did you mean algo=dpo?"),
        (["task=digets", "algo=dpo"], "did you mean task=digest?"),
        (["algoo=dpo", "algo=dpo"], "did you mean algo=dpo?"),
        (["list", "algoz"], "did you mean algos?"),
        (["cite", "dpo", "tdpo3"], "did you mean tdpo2?"),
        (["sample", "nothing", "hello"], "run `python -m bench` first"),
        (["board"], "run `python -m bench` first"),
        (["rewards", "dpo"], "usage: prefzoo rewards"),
        (["algo=dpo", "judge=labellr"], "did you mean judge=labeller?"),
        (["algo=dpo", "judge=labeller"], "judge.model has no value: say judge.model=..."),
    ],
)
def test_unknown_names_suggest_the_closest(here, capfd, words, says):
    assert main(words) == 1
    err = capfd.readouterr().err.strip()
    assert says in err
    assert "\n" not in err


def test_a_full_disk_is_one_line_that_says_how_to_go_on():
    for error in (OSError(ENOSPC, "No space left", "runs/x"), OSError(ENOSPC, "No space left")):
        line = told(error)
        assert "make room" in line
        assert "\n" not in line
    assert "runs/x" in told(OSError(ENOSPC, "No space left", "runs/x"))


def test_help_and_configuration_import_no_torch(tmp_path):
    for words, heavy in [
        (["--help"], {"torch", "hydra", "pandas"}),
        (["algo=dpo", "--cfg", "job"], {"torch", "transformers", "pandas"}),
        (["--cfg", "job"], {"torch", "transformers", "pandas"}),
        (["list", "algos"], {"torch", "hydra"}),
        (["cite"], {"torch", "hydra", "pandas"}),
    ]:
        done = without(heavy, words, tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_a_launcher_that_is_not_installed_is_told(here, monkeypatch, capfd):
    monkeypatch.setattr("bench.__main__.distributions", lambda name: iter(()))
    assert main(["-m", "algo=dpo", "hydra/launcher=joblib"]) == 1
    assert capfd.readouterr().err == (
        "prefzoo: hydra/launcher=joblib is not installed: pip install 'prefzoo[parallel]'\n"
    )


# -- slow


@pytest.mark.slow
def test_cells_side_by_side_make_what_they_make_one_by_one(tmp_path):
    """Each on its share of the cores; a cell that fails fails the sweep, and no other cell."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["-m", "algo=dpo,ipo", *SMALL]
    together = [*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    for folder, command_words in (("one", words), ("two", together)):
        (tmp_path / folder).mkdir()
        done = command(*command_words, cwd=tmp_path / folder)
        assert done.returncode == 0, done.stderr
        assert "ipo" in done.stdout
    alone, beside = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert alone.keys() == beside.keys()
    for name, found in alone.items():
        assert beside[name] == pytest.approx(found, rel=1e-2, abs=1e-2, nan_ok=True), name
    found, _ = records.read_all(tmp_path / "two" / "runs/records")
    share = max(1, (os.cpu_count() or 1) // 2)
    assert {r.environment.threads for r in found} == {share}
    done = command(
        *together, "model.optimization.lr=1e9,1e-4", "budget.updates=8", cwd=tmp_path / "two"
    )
    assert done.returncode == 1
    assert done.stderr.count("lower the learning rate") == 2


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A working folder that the cells of this module share, store and all."""
    return tmp_path_factory.mktemp("shared")


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_recipe_runs(shared, task):
    recipes = names("algo", [config_folder()])
    words = ["-m", f"algo={','.join(recipes)}", f"task={task}", "budget=smoke"]
    done = command(*words, cwd=shared)
    assert done.returncode == 0, done.stderr[-2000:]
    made, _ = records.read_all(shared / "runs/records")
    good = {
        r.recipe for r in made if r.status == "good" and r.kind != "control" and r.task.name == task
    }
    assert set(recipes) <= good


@pytest.mark.slow
def test_dialogues_run(shared):
    """With what each loss learns from; what cannot be says so."""
    words = ["-m", "task=helpdesk_two_turn", "budget=smoke"]
    recipes = "ppo,ppo_turns,ppo_turns_bandit,sft,dpo,kto,nca,rlaif"
    done = command(*words, f"algo={recipes}", cwd=shared)
    assert done.returncode == 0, done.stderr[-2000:]
    done = command(*words, "algo=dpo", "feedback=rouge", cwd=shared)
    assert "ROUGE as a reward needs references" in done.stderr
    done = command(*words, "algo=dpo", "decoding=beam", cwd=shared)
    assert "set decoding.beams=1" in done.stderr


# These ask a model that a person has to name: test_ai_labeller.py and test_cai.py ask one of their own.
ASKING = {"labeller", "endpoint", "constitution_labeller", "constitution_endpoint"}


@pytest.mark.slow
@pytest.mark.parametrize("feedback", sorted({*names("feedback", [config_folder()])} - ASKING))
def test_every_source_of_feedback_runs(shared, feedback):
    words = [f"feedback={feedback}", "budget=smoke"]
    if feedback == "people":
        words.append(f"feedback.file={labelled_by_hand(shared)}")
    done = command("-m", "algo=dpo,ppo", *words, cwd=shared)
    assert done.returncode == 0, done.stderr[-2000:]


def labelled_by_hand(folder: Path) -> Path:
    """The queue of an ensemble, whose first pair got a verdict."""
    stages = "stages=[reward_model,disagreement]"
    words = ["algo=bradley_terry", "feedback=ensemble", "feedback.ensemble.members=2"]
    done = command(*words, stages, "budget=smoke", cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    (queue,) = (folder / "runs/disagreement").glob("bradley_terry-*.jsonl")
    first, *others = queue.read_text().splitlines(keepends=True)
    filled = folder / "labelled.jsonl"
    filled.write_text(first.replace('"better": null', '"better": "a"') + "".join(others))
    return filled


@pytest.mark.slow
def test_a_reward_model_is_reported_on_another_domain(shared):
    done = command("algo=bradley_terry", "task@other=helpdesk", "budget=smoke", cwd=shared)
    assert done.returncode == 0, done.stderr[-2000:]
    found, _ = records.read_all(shared / "runs/records")
    (record,) = [r for r in found if "other" in r.config]
    wanted = {"accuracy", "accuracy_unseen", "accuracy_other", "unknown_tokens_other", "log_loss"}
    assert wanted <= record.metrics.end.keys()
    assert record.calibration


@pytest.mark.slow
def test_single_labels_of_your_own_train_reward_models_and_policies(tmp_path):
    rows = [
        {
            "prompt": f"report {i}",
            "completion": "sold " + "yes no".split()[i % 2],
            "label": i % 2 == 0,
        }
        for i in range(200)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = [
        "task=local",
        f"task.path={tmp_path / 'mine.jsonl'}",
        "budget=smoke",
        "budget.shared=0.1",
    ]
    done = command("-m", "algo=pointwise,kto,csft,bco_udm", *own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"accuracy", "accuracy_commoner"} <= metrics(tmp_path)["pointwise 0"].keys()


@pytest.mark.slow
def test_more_stages_join_the_record(shared):
    stages = "stages=[optimize,evaluate,token_rewards,planted_errors]"
    done = command("algo=dpo", "seed=5", "budget=smoke", stages, cwd=shared)
    assert done.returncode == 0, done.stderr[-2000:]
    found = metrics(shared)["dpo 5"]
    assert {"gold", "implicit_reward", "planted_found", "planted_found_by_sft"} <= found.keys()
    for name in ("token_rewards", "planted_errors"):
        assert len(list((shared / "runs" / name).glob("dpo-*.parquet"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("decoding", ["greedy", "beam", "proxy_tuning"])
def test_every_way_of_decoding_runs(shared, decoding):
    """The tiny policy steers a larger SFT model, whose plain KL to itself stays 0."""
    assert command("algo=dpo", "seed=6", "budget=smoke", cwd=shared).returncode == 0
    runs, _ = records.read_all(shared / "runs/records")
    tiny = next(r for r in runs if (r.recipe, r.seed) == ("dpo", 6))
    words = ["seed=7", "model.architecture.hidden_size=160", f"decoding={decoding}"]
    if decoding == "proxy_tuning":
        words.append(f"decoding.tuned={tiny.run_id}")
    done = command("algo=dpo", "budget=smoke", *words, cwd=shared)
    assert done.returncode == 0, done.stderr[-2000:]
    assert metrics(shared)["sft 7"]["kl"] == 0


@pytest.mark.slow
def test_same_seed_same_bits(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        done = command("-m", "algo=dpo,ppo", *SMALL, "budget.updates=16", cwd=folder)
        assert done.returncode == 0, done.stderr[-2000:]
    assert metrics(folders[0]) == metrics(folders[1])


@pytest.mark.slow
def test_killed_at_random_it_ends_with_the_same_numbers(tmp_path):
    """SIGKILL three times, wherever it is; the same command goes on and ends with the same bits."""
    words = ["-m", "algo=ppo,tdpo2", *SMALL, "budget.updates=48", "budget.responses=32"]
    (tmp_path / "calm").mkdir()
    start = time.monotonic()
    assert command(*words, cwd=tmp_path / "calm").returncode == 0
    whole = time.monotonic() - start
    folder = tmp_path / "killed"
    folder.mkdir()
    chance = random.Random(0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PREFZOO_STORE", None)
    for _ in range(3):
        running = subprocess.Popen(
            [sys.executable, "-m", "bench", *words],
            cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chance.uniform(0.3, 0.8) * whole)
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert command(*words, cwd=folder).returncode == 0
    assert metrics(folder) == metrics(tmp_path / "calm")


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    words = ["algo=dpo", *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PREFZOO_STORE", None)
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "bench", *words, f"seed={seed}"],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    for process in both:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err[-2000:]
    assert {"dpo 0", "dpo 1"} <= metrics(tmp_path).keys()
    assert len(list((tmp_path / ".prefzoo").glob("sft-*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "algos", "words"),
    [
        ("scitldr", "bradley_terry,dpo,kto,ppo", ["feedback=rouge"]),
        ("mts_dialog", "bradley_terry,dpo,kto,ppo", ["feedback=rouge"]),
        ("hh_helpful_base", "bradley_terry,dpo,kto,ppo", []),
        ("hh_harmless_base", "dpo", []),
        ("ukp_convarg1", "bradley_terry,dpo,kto,ppo", []),
        ("taskmaster_reward", "pointwise,kto,bco,ppo", []),
    ],
)
def test_real_text_runs_end_to_end(tmp_path, name, algos, words):
    """SFT, a reward model and algorithms of each kind: of pairs, of labels, online."""
    data = os.environ.get("PREFZOO_DATA")
    if not data:
        pytest.skip("PREFZOO_DATA is not set")
    where = ["task=local", f"task.path={data}/{name}", "+task.load.limit=400", "budget=smoke"]
    done = command("-m", f"algo={algos}", *where, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = metrics(tmp_path)
    for algo in algos.split(","):
        ours = found[f"{algo} 0"]
        if algo in ("bradley_terry", "pointwise"):
            assert 0 <= ours["accuracy"] <= 1
        else:
            assert "gold" not in ours
            assert ("rouge1" in ours) == (
                name != "taskmaster_reward"
            )  # where every row has references
            assert ours["kl"] > 0
