"""One cell: walk the stages of its recipe, write one record. No algorithm is named here."""

import json
import platform
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from pathlib import Path
from types import ModuleType
from typing import Any

from .metrics.diversity import distinct
from .metrics.refusal import refusals
from .metrics.win_rate import wins
from .names import Unknown
from .reports import record as records
from .reports.record import Metric, Record
from .stages import (
    ai_labeller,
    coverage,
    disagreement,
    ensemble,
    evaluate,
    labels,
    lengths,
    optimize,
    overoptimization,
    planted_errors,
    reward_model,
    reward_report,
    sft,
    side_effects,
    simulated_boards,
    token_rewards,
    tokenizer,
    verdicts,
)
from .stages.cell import Cell, name_of
from .stages.decoding import decoding_key
from .stats.bootstrap import expanded, mean_interval, wilson
from .stats.length_control import at_equal_length
from .store import Store, content_hash, write_atomically
from .training.progress import Display
from .training.timing import memory

WATCHED = ("algos", "bench", "conf", "pyproject.toml")  # what makes a checkout dirty

# What `stages` may name besides: their metrics join the record. Each makes one file of its name, copied
# to `runs/NAME/`, and notes {"metrics": {name: fields of Metric}}. The first are made of a policy that
# was evaluated, the others of reward models, whether or not a policy learned from them.
OF_A_POLICY = {
    name_of(stage): stage
    for stage in (overoptimization, planted_errors, side_effects, token_rewards)
}
MORE = OF_A_POLICY | {name_of(disagreement): disagreement}

# What `stages` may name alone: of no task, so that there is no record. Each makes `NAME.parquet` and
# `NAME.png`, copied to `runs/NAME/`, and notes {"lines": what they say}.
TABULAR = {name_of(stage): stage for stage in (coverage, simulated_boards)}

# metric -> (unit, key of its signature). What else a table of answers holds has neither.
UNITS = {
    "kl": ("nats a response", "kl"),
    "kl_per_token": ("nats a token", "kl"),
    "k1": ("nats a response", "k1"),
    "proxy": ("sd of SFT samples", "proxy"),
    "held_out": ("sd of SFT samples", "held_out"),
    "trained_reward": ("sd of SFT samples", "trained_reward"),
    "win": ("share", "win_rate"),
    "length": ("tokens", None),
    "bertscore": ("F1", "bertscore"),
    **{f"rouge{kind}": ("F1", "rouge") for kind in ("1", "2", "L", "Lsum")},
}

CANDIDATES = "mean over some prompts, whose candidates stand for all that the policy says"
ARMS = {  # kind -> (estimator, unit): of what picks answers while a policy is trained
    "share": ("share of the prompts of a round for which it was asked", "share"),
    "win_rate": ("share of those for which its pick was best, equal ones half", "share"),
    "coverage": (f"Cov(π* | π), {CANDIDATES}", None),
    "gap": (f"J(π*) - J(π), {CANDIDATES}", "sd of the reward over answers to a prompt"),
}


def run(config: Mapping[str, Any]) -> list[Record]:
    """The record of a cell and those of the controls it is read against; made unless they are there.

    A cell that fails leaves a record that says why, and raises.
    """
    check_stages(config["stages"])
    cell = Cell(config, Store(Path(config["store"])), Display())
    if stage := TABULAR.get(config["stages"][0]):
        show_tabular(cell, stage)
        return []
    if "ensemble" in config["feedback"]:
        ensemble.combination(cell)  # says at once what is wrong with it
    if "evaluate" not in config["stages"]:
        return [kept(cell, config["name"], lambda run_id: reward_model_record(cell, run_id))]
    found = [
        kept(cell, config["name"], lambda run_id: policy_record(cell, run_id)),
    ]
    for who in evaluate.controls(cell):
        found.append(
            kept(cell, who, lambda run_id, who=who: control_record(cell, who, run_id), control=True)
        )
    return found


def check_stages(named: Sequence[str]) -> None:
    known = ["optimize", "evaluate", "reward_model", *MORE, *TABULAR]
    for name in named:
        if name not in known:
            raise Unknown(f"there is no stage {name!r} to ask for: {', '.join(known)}")
        if name in TABULAR and len(named) > 1:
            raise Unknown(f"{name} is of no task: ask for it alone (`stages=[{name}]`)")
        if name in OF_A_POLICY and "evaluate" not in named:
            raise Unknown(f"{name} joins the record of an evaluation: add `evaluate` to `stages`")
    if not {"evaluate", "reward_model", *TABULAR} & set(named):
        raise Unknown("`stages` ends in no record: add evaluate, or reward_model")


def show_tabular(cell: Cell, stage: ModuleType) -> None:
    """Print what a study without a task found; its table and its plot go to runs/NAME/."""
    made, name = cell.make(stage), name_of(stage)
    for line in cell.notes(stage)["lines"]:
        print(line)
    for file in (f"{name}.parquet", f"{name}.png"):
        copy = Path(cell.config["runs"]) / name / file
        write_atomically(copy, (made / file).read_bytes())
        print(copy)


def more(cell: Cell) -> list[ModuleType]:
    """The stages that a cell asks for besides training, evaluation and the report of reward models."""
    return [MORE[name] for name in sorted(cell.config["stages"]) if name in MORE]


def kept(cell: Cell, name: str, make: Any, control: bool = False) -> Record:
    """A good record that is there already, or the one made now, or the failure."""
    folder = Path(cell.config["runs"]) / "records"
    start = time.perf_counter()
    run_id = f"{name}-{identity(cell, name, control)[:12]}"
    path = folder / f"{run_id}.json"
    if path.exists():
        found = records.read(path)
        if found.status == "good":
            return found
    try:
        found = make(run_id)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        failed = Record(
            **common(cell, name, run_id),
            status="failed",
            error=why,
            kind="control" if control else kind_of(cell),
            seconds={"cell": time.perf_counter() - start},
        )
        records.write(failed, folder)
        raise
    records.write(found, folder)
    return found


def kind_of(cell: Cell) -> str:
    return "policy" if "evaluate" in cell.config["stages"] else "reward_model"


def identity(cell: Cell, name: str, control: bool = False) -> str:
    """A hash of everything that determines the numbers of a row."""
    who = name if control else "end"
    judged = [cell.inputs(verdicts, who=who)] if verdicts.wanted(cell) else []
    if control:
        answered = cell.inputs(evaluate, who=who)
        return content_hash([answered, *judged] if judged else answered)
    others = [cell.inputs(stage) for stage in more(cell)]
    if "evaluate" in cell.config["stages"]:
        return content_hash([cell.inputs(evaluate, who=who), name, *others, *judged])
    report = cell.inputs(reward_report)
    return content_hash([report, *others] if others else report)


def policy_record(cell: Cell, run_id: str) -> Record:
    """Train, evaluate at the end and where validation liked the policy best."""
    import pandas as pd

    start = time.perf_counter()
    made = cell.make(optimize)
    notes = cell.notes(optimize)
    end = cell.make(evaluate, who="end")
    at = notes["peak_update"]
    peak = end if at in (None, notes["updates"]) else cell.make(evaluate, who="peak")
    folder = Path(cell.config["runs"]) / "records"
    table, found = told(cell, "end", run_id)
    per_prompt = records.write_per_prompt(run_id, table, folder)
    log = folder.parent / "training" / f"{run_id}.parquet"
    write_atomically(log, (made / "log.parquet").read_bytes())
    signed = {"trained_reward": ensemble.signature(cell)}
    trained = pd.read_parquet(log)
    at_end = metrics(end, **signed) | even(cell, end) | found
    at_end |= of_arms(trained) | besides(cell, run_id)
    said = common(cell, cell.config["name"], run_id)
    said["budget"] |= {"tokens": notes["tokens"], "flops": notes["flops"]} | notes.get(
        "learned", {}
    )
    return Record(
        **said,
        kind="policy",
        algorithm=algorithm_key(cell.config["algo"]["_target_"]),
        knobs={k: v for k, v in cell.config["algo"].items() if k != "_target_"},
        policy=str(made / "policy"),
        reward_models=normalizations(cell, {**judges(cell), **trained_on(cell)}),
        metrics={"end": at_end, "peak": {} if at is None else metrics(peak, **signed)},
        peak_update=at,
        per_prompt=per_prompt,
        **costs(
            cell,
            start,
            {"training": cell.notes(optimize), "evaluation": cell.notes(evaluate, who="end")},
            training=float(trained["seconds"].iloc[-1]),
        ),
        notes=notes.get("alarms", []),
    )


def costs(
    cell: Cell, start: float, stages: Mapping[str, Mapping[str, Any]], **seconds: float
) -> dict[str, dict[str, float]]:
    """Seconds and peaks of memory of a cell that began at `start`: whole stages, and `training/backward`
    and the like of those whose notes are given. Artifacts of older code do not tell theirs."""
    found = {**cell.seconds, **seconds, "cell": time.perf_counter() - start}
    peaks = {"process": memory()[1]}
    for stage, notes in stages.items():
        spent = notes.get("spent", {})
        found |= {f"{stage}/{name}": x for name, x in spent.get("seconds", {}).items()}
        peaks |= {f"{stage}/{name}": x for name, x in spent.get("memory_mb", {}).items()}
    return {"seconds": found, "peak_memory_mb": peaks}


def besides(cell: Cell, run_id: str) -> dict[str, Metric]:
    """What the stages that a cell asks for besides found; their files are copied beside the records."""
    found = {}
    for stage in more(cell):
        name = name_of(stage)
        (file,) = cell.make(stage).glob(f"{name}.*")
        copy = Path(cell.config["runs"]) / name / f"{run_id}{file.suffix}"
        write_atomically(copy, file.read_bytes())
        found |= {name: Metric(**x) for name, x in cell.notes(stage)["metrics"].items()}
    return found


def control_record(cell: Cell, who: str, run_id: str) -> Record:
    start = time.perf_counter()
    made = cell.make(evaluate, who=who)
    table, found = told(cell, who, run_id)
    per_prompt = records.write_per_prompt(run_id, table, Path(cell.config["runs"]) / "records")
    return Record(
        **common(cell, who, run_id),
        kind="control",
        policy=str(cell.make(sft)) if who == "sft" else None,
        reward_models=normalizations(cell, judges(cell)),
        metrics={"end": metrics(made) | found},
        per_prompt=per_prompt,
        **costs(cell, start, {"evaluation": cell.notes(evaluate, who=who)}),
    )


def told(cell: Cell, who: str, run_id: str) -> tuple[Any, dict[str, Metric]]:
    """The table of answers with what is worked out from it and what the judge says, and the metrics of
    both; the judge's verdicts are copied beside the records."""
    import pandas as pd

    made = cell.make(evaluate, who=who)
    table = answers(made)
    columns = worked_out(cell, table)
    found = shares(table["split"], columns, json.loads((made / "signatures.json").read_text()))
    if verdicts.wanted(cell):
        file = cell.make(verdicts, who=who) / "verdicts.parquet"
        copy = Path(cell.config["runs"]) / "verdicts" / f"{run_id}.parquet"
        write_atomically(copy, file.read_bytes())
        said = verdicts.columns(pd.read_parquet(file))
        columns = columns.join(said.loc[table["prompt_id"]].reset_index(drop=True))
        noted = cell.notes(verdicts, who=who)["metrics"]
        found |= {name: Metric(**x) for name, x in noted.items()}
    return table.join(columns), found


def worked_out(cell: Cell, table: Any) -> Any:
    """Of each answer what no artifact holds: whether it wins over the reference, and whether it refuses
    what is to be refused, or could be met."""
    import pandas as pd

    found: dict[str, Any] = {}
    if "references" in evaluate.controls(cell):
        judge = "gold" if cell.task.gold is not None else "held_out"
        theirs = answers(cell.make(evaluate, who="references"))[judge]
        found["win_rate_over_references"] = wins(table[judge], theirs)
    if cell.task.refusal is not None:
        examples = [x for _, x in evaluate.test_examples(cell)]
        found |= refusals(cell.task.refusal, examples, table["response"])
    return pd.DataFrame(found, index=table.index)


def shares(splits: Any, columns: Any, signed: Mapping[str, str]) -> dict[str, Metric]:
    """Means over the prompts that a column tells of, with 95 % intervals, of each test split."""
    against = signed["win_rate"].replace("the SFT model's answers", "the references")
    found = {}
    for split, rows in columns.groupby(splits):
        for name in rows.columns[rows.notna().any()]:
            there = rows[name].dropna()
            found[name + split.removeprefix("test")] = Metric(
                **wilson(there.sum(), len(there)).fields,
                estimator="mean over prompts, Wilson interval",
                signature=against if name == "win_rate_over_references" else None,
                unit="share",
            )
    return found


def reward_model_record(cell: Cell, run_id: str) -> Record:
    """What is known of a reward model, or of an ensemble and its members (`accuracy/1`, ...); there is
    no policy to evaluate."""
    import pandas as pd

    start, members = time.perf_counter(), ensemble.members(cell)
    found = {}
    for member, choice in members.items():
        for name, x in cell.notes(reward_model, **choice).items():
            if name.startswith("accuracy") and x is not None:
                how = "share of held-out rows, Wilson interval"
                label = name + member.removeprefix("reward_model")
                found[label] = Metric(**x, estimator=how, unit="share")
    made, notes = cell.make(reward_report), cell.notes(reward_report)
    found |= {name: Metric(**x) for name, x in notes["metrics"].items()} | besides(cell, run_id)
    margins = pd.read_parquet(made / "margins.parquet")
    first, *_ = members.values()
    return Record(
        **common(cell, cell.config["name"], run_id),
        kind="reward_model",
        algorithm=algorithm_key(cell.config["algo"]["_target_"]),
        knobs={k: v for k, v in cell.config["algo"].items() if k != "_target_"},
        policy=str(cell.make(reward_model, **first)),
        reward_models=normalizations(cell, members),
        metrics={"end": found},
        calibration=notes["calibration"],
        per_prompt=records.write_per_prompt(run_id, margins, Path(cell.config["runs"]) / "records"),
        **costs(cell, start, {"training": cell.notes(reward_model, **first)}),
    )


def of_arms(log: Any) -> dict[str, Metric]:
    """What every round of training said of its sources, as `arms/share/NAME/ROUND` and the like."""
    rounds = log.filter(like="arms/").dropna(how="all")
    found = {}
    for name in rounds:
        estimator, unit = ARMS[name.split("/")[1]]
        for number, value in enumerate(rounds[name], start=1):
            if not isnan(value):
                found[f"{name}/{number}"] = Metric(value=value, estimator=estimator, unit=unit)
    return found


def answers(made: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(made / "answers.parquet")


def judges(cell: Cell) -> dict[str, dict[str, Any]]:
    """The reward models that score every answer of the evaluation: what to ask of their stage."""
    by = labels.by_default(cell)
    return {"proxy": {"by": by, "part": "train"}, "held_out": {"by": by, "part": "held_out"}}


def trained_on(cell: Cell) -> dict[str, dict[str, Any]]:
    """Those that rewarded the rollouts, unless that is the proxy itself."""
    if evaluate.trained_on(cell) != "reward_model":
        return {}
    found = ensemble.members(cell, "trained_on")
    return {name: x for name, x in found.items() if x != judges(cell)["proxy"]}


def normalizations(
    cell: Cell, used: Mapping[str, Mapping[str, Any]]
) -> dict[str, records.RewardModel]:
    """The scale of each reward model that a record used."""
    found = {}
    for name, choice in used.items():
        notes = cell.notes(reward_model, **choice)
        found[name] = records.RewardModel(
            key=cell.key(reward_model, **choice), offset=notes["offset"], scale=notes["scale"]
        )
    return found


def metrics(made: Path, **said: str) -> dict[str, Metric]:
    """Means over prompts with 95 % intervals; other test splits under `NAME_SPLIT`. `said` are
    signatures that the artifact, which other runs may share, does not hold."""
    table = answers(made)
    signed = {**json.loads((made / "signatures.json").read_text()), **said}
    found: dict[str, Metric] = {}
    for split, rows in table.groupby("split"):
        suffix = split.removeprefix("test")
        for name in rows.columns:
            if name in ("prompt_id", "split", "response"):
                continue
            label = {"win": "win_rate", "finished": "end_rate"}.get(name, name) + suffix
            unit, signature = UNITS.get(name, (None, None))
            interval = mean_interval(rows[name].astype(float).to_numpy(), level=expanded(len(rows)))
            found[label] = Metric(
                **interval.fields,
                estimator="mean over prompts, percentile bootstrap",
                signature=signed.get(signature) if signature else None,
                unit=unit,
            )
        for n in (1, 2):
            found[f"distinct{n}{suffix}"] = Metric(
                value=distinct(list(rows["response"]), n), n=len(rows), unit="share of n-grams"
            )
    return found


def even(cell: Cell, made: Path) -> dict[str, Metric]:
    """Win rates against the SFT model if both answers were equally long, of each test split."""
    table = answers(made)
    opponents = answers(cell.make(evaluate, who="sft"))["length"]
    signed = json.loads((made / "signatures.json").read_text())
    return {
        "win_rate_at_equal_length" + split.removeprefix("test"): Metric(
            **at_equal_length(rows["win"], rows["length"], opponents[rows.index]).fields,
            estimator="logistic regression at no difference of length, percentile bootstrap of prompts",
            signature=signed.get("win_rate"),
            unit="share",
        )
        for split, rows in table.groupby("split")
    }


def common(cell: Cell, name: str, run_id: str) -> dict[str, Any]:
    """What every record says. A failed cell may know little: what cannot be had is left out."""
    config = cell.config
    said: dict[str, Any] = {
        "run_id": run_id,
        "created": datetime.now(UTC),
        "command": command(config),
        "git": git(),
        "config": config,
        "config_hash": content_hash(config),
        "recipe": name,
        "feedback": config["feedback"]["name"],
        "feed": config["feed"]["name"],
        "reference": config["reference"]["name"],
        "seed": config["seed"],
        "decoding": {**decoding_key(cell), "max_new_tokens": config["task"]["response_tokens"]},
        "budget": {k: config["budget"][k] for k in ("updates", "responses")},
        "environment": environment(config.get("device", "auto")),
        "task": {"name": config["task"]["name"]},
    }
    return said | known(cell)


def known(cell: Cell) -> dict[str, Any]:
    """Data, model and parents, as far as they can be had."""
    try:
        task, by = cell.task, labels.by_default(cell)
        kept_lengths = cell.notes(lengths)
        prompts = [x.prompt for _, x in evaluate.test_examples(cell)]
        words = cell.notes(tokenizer)
        trained = cell.notes(sft)
    except Exception:  # the error that ends the cell is told by whoever met it first
        return {}
    dropped = {**dict(task.dropped), **kept_lengths["dropped"]}
    return {
        "task": {
            "name": task.name,
            "version": task.version,
            "data_hash": task.data_hash,
            "prompts_hash": content_hash(prompts),
            "dropped": dropped,
        },
        "model": {
            "name": cell.config["model"]["name"],
            "parameters": trained["parameters"],
            "dtype": cell.config["model"].get("precision", "float32"),
            "tokenizer_hash": cell.key(tokenizer),
        },
        "parents": {
            "tokenizer": cell.key(tokenizer),
            "sft": cell.key(sft),
            "reference": cell.key(sft),
            "reward_model": cell.key(reward_model, by=by, part="train"),
            "held_out_reward_model": cell.key(reward_model, by=by, part="held_out"),
            "others": {
                "labels_by": labels.labeller(cell),
                "vocabulary": str(words["vocabulary"]),
                **asked(cell),
            },
        },
    }


def asked(cell: Cell) -> dict[str, str]:
    """The judge of the evaluation and the labeller of the training, so that a board can tell whether a
    row was trained on its judge."""
    if not verdicts.wanted(cell):
        return {}
    both = {"judge": cell.config["judge"], "labeller": cell.config["feedback"].get("labeller")}
    return {name: ai_labeller.identity(spec) for name, spec in both.items() if spec is not None}


def algorithm_key(target: str) -> str:
    """The name in ALGORITHMS, or the path of a class from elsewhere."""
    from algos import ALGORITHMS

    name = target.rpartition(".")[2]
    keys = [
        k for k, cls in ALGORITHMS.items() if cls.__name__ == name and target.startswith("algos.")
    ]
    return keys[0] if keys else target


def command(config: Mapping[str, Any]) -> str:
    """What runs this cell again, the words that the cell was started with among it."""
    return shlex.join(["python", "-m", "bench", *config["overrides"]])


@cache
def environment(device: str) -> dict[str, Any]:
    import torch

    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("torch", "transformers", "trl"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    cuda = device != "cpu" and torch.cuda.is_available()
    used = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    return {**found, "device": used, "threads": torch.get_num_threads()}


@cache
def git() -> dict[str, Any]:
    """The commit of the code that runs; nothing where it is not a checkout."""
    here = Path(__file__).resolve().parents[1]

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *words], cwd=here, capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = ask("status", "--porcelain", "--", *WATCHED)
    return {"commit": commit.strip(), "dirty": bool(changed and changed.strip())}
