"""`prefzoo` and `python -m bench`: one program. A first word that is a verb is that verb."""

import json
import os
import sys
import time
from collections.abc import Sequence
from errno import ENOSPC
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

from .cite import cite
from .names import Unknown, check, closest, config_folder, find_run, listing

HELP = """\
prefzoo: preference-optimization algorithms, and the bench that compares them fairly

  python -m bench                                 the first look: five methods, one table
  python -m bench algo=dpo task=digest seed=1     one cell; any value can be set: algo.beta=0.3
  python -m bench -m algo=ppo,dpo seed=0,1,2      a sweep; it goes on where it stopped
  python -m bench experiment=NAME                 a named study
  python -m bench algo=dpo task=local task.path=FILE_OR_FOLDER   your own data

  prefzoo list [algos|tasks|models|feedback|...]  what there is, a line each
  prefzoo cite dpo tdpo2                          the papers of recipes as BibTeX; all without names
  prefzoo board [FOLDER] [format=markdown|csv|latex]   the table of the records in runs/ (or FOLDER)
  prefzoo compare A B [FOLDER]                    two runs or recipes, paired by seed and prompt
  prefzoo sample RUN PROMPT                       what a trained policy answers
  prefzoo rewards RUN PROMPT [RESPONSE]           what it rewards in a response, token by token
  prefzoo plot RUN [RUN ...]                      training as a picture, in runs/plots/
  prefzoo report [FOLDER] [-o FILE] [--watch]     one page to read offline: runs/report.html
  prefzoo tune algo=NAME [lr=1e-4,...] [seeds=..] choose a learning rate on validation
  prefzoo pilot PAIRS [RUN ...]                   which judge agrees with people, on your labels
  prefzoo validate-reward RATINGS [JUDGE ...]     how reward models and metrics agree with human ratings
  prefzoo card TASK                               its data: sizes, lengths, duplicates, length bias
  prefzoo perf [WORKLOAD ...] [--json FILE]       time and memory of training (sft, rm, dpo, ...) against
                                                  TRL's, and of rollouts against a bare decoding loop
  prefzoo publish [RUNS]                          copy records to results/, write the leaderboard
  prefzoo validate [FOLDER]                       whether records may be published: a line a problem

`prefzoo WORDS` is `python -m bench WORDS`. Useful words: --cfg job (the resolved configuration),
--config-dir DIR (your own recipes), budget=smoke|default|long. Records go to runs/, artifacts to
.prefzoo/ (or $PREFZOO_STORE). `python -m bench --hydra-help` explains Hydra's own options.
"""


def main(words: Sequence[str] | None = None) -> int:
    """The exit status. Errors that a person can mend are one line each."""
    words = list(sys.argv[1:] if words is None else words)
    if words and words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    verb = words[0] if words and words[0] in VERBS else None
    try:
        return VERBS[verb](words[1:]) if verb else run(words)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("PREFZOO_TRACEBACK"):
            raise
        print(told(error), file=sys.stderr)
        return 1


def told(error: BaseException) -> str:
    """One line. What is our own says what to do; of the rest the traceback can be asked for."""
    line = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno == ENOSPC:
        where = error.filename or "the disk of the store or of runs/"
        return f"prefzoo: {where}: no space is left: make room, and the same command goes on"
    if (
        type(error).__name__ == "MissingMandatoryValue"
    ):  # of omegaconf, which --help does not import
        return f"prefzoo: {error.full_key} has no value: say {error.full_key}=..."
    if isinstance(error, OSError) and error.strerror:
        line = f"{error.filename or 'disk'}: {error.strerror}"
    if type(error).__module__.startswith(("bench.", "algos.")):
        return f"prefzoo: {line}"
    return f"prefzoo: {type(error).__name__}: {line} (PREFZOO_TRACEBACK=1 shows where)"


# -- run


def run(words: list[str]) -> int:
    """One cell, a sweep, or the first look; then the table of what was run."""
    if not any(w.startswith(("algo=", "experiment=", "+experiment=")) for w in words):
        words = ["experiment=first_look", *words]
    check(words, config_folder())
    if "hydra/launcher=joblib" in words and not [*distributions(name="hydra-joblib-launcher")]:
        raise Unknown("hydra/launcher=joblib is not installed: pip install 'prefzoo[parallel]'")

    from hydra import main as hydra_main

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin for long while they wait for each other make two processes on two cores 30
    # times slower; threads that sleep at once make one process half as fast.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

    def job(config) -> None:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf

        from .run import run as run_cell

        outcome = Path(outcomes) / f"{time.time_ns()}-{os.getpid()}"
        try:
            plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            plain["overrides"] = list(HydraConfig.get().overrides.task)
            folder = Path(plain["runs"]) / "records"
            made = [str(folder / f"{r.run_id}.json") for r in run_cell(plain)]
            outcome.write_text(json.dumps(made))
        except Exception as error:
            outcome.with_suffix(".failed").touch()
            print(told(error), file=sys.stderr)
            if os.environ.get("PREFZOO_TRACEBACK"):
                raise

    arguments = [sys.argv[0], *words]
    before, sys.argv = sys.argv, arguments
    start = hydra_main(version_base="1.3", config_path=str(config_folder()), config_name="run")
    # Cells may run in processes of their own: what came of them is told in files.
    with TemporaryDirectory() as outcomes:
        try:
            start(job)()
        finally:
            sys.argv = before
        ends = sorted(Path(outcomes).iterdir())
        failed = any(x.suffix for x in ends)
        paths = [path for x in ends if not x.suffix for path in json.loads(x.read_text())]
    if paths:
        show([*dict.fromkeys(paths)])
    return 1 if failed else 0


def show(paths: list[str]) -> None:
    """The table of some records, and where everything is."""
    from rich.console import Console

    from .reports import record as records
    from .reports.board import board
    from .reports.render import to_terminal

    once = [records.read(path) for path in paths]
    runs = Path(once[0].config["runs"])
    frames, problems = records.read_all_per_prompt(once, runs / "records", records.read_numbers)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(to_terminal(board(once, frames)))
    for line in problems:
        print(line, file=sys.stderr)
    print(f"records and answers: {runs / 'records'}   training logs: {runs / 'training'}")
    print(f'models: {once[0].config["store"]}   try: prefzoo sample {once[0].run_id} "PROMPT"')


# -- verbs


def list_what(words: list[str]) -> int:
    print(listing(config_folder(), words[0] if words else "algos"), end="")
    return 0


def print_citations(words: list[str]) -> int:
    print(cite(config_folder(), words), end="")
    return 0


FORMATS = {  # what `prefzoo board` writes -> module and function
    "terminal": ("render", "to_terminal"),
    "markdown": ("render", "to_markdown"),
    "csv": ("render", "to_csv"),
    "latex": ("latex", "to_latex"),
}


def show_board(words: list[str]) -> int:
    from importlib import import_module

    from rich.console import Console

    from .reports.remembered import board_of

    kinds = [w.removeprefix("format=") for w in words if w.startswith("format=")]
    kind = kinds[-1] if kinds else "terminal"
    if kind not in FORMATS:
        close = closest(kind, [*FORMATS])
        raise Unknown(
            f"there is no format {kind!r}: did you mean format={close}? ({', '.join(FORMATS)})"
        )
    folder, *_ = [*(w for w in words if not w.startswith("format=")), "runs"]
    found, problems = board_of(folder, os.environ.get("PREFZOO_STORE", ".prefzoo"))
    for line in problems:
        print(line, file=sys.stderr)
    module, name = FORMATS[kind]
    written = getattr(import_module(f".reports.{module}", __package__), name)(found)
    if isinstance(written, str):
        print(written, end="")
    else:
        Console(width=None if sys.stdout.isatty() else 140).print(written)
    return 0


def recorded(words: list[str]) -> tuple[list, dict]:
    """The records in FOLDER (else runs/) and their per-prompt tables; unusable files are told."""
    from .reports import record as records
    from .reports.publish import folder_of_records

    folder = folder_of_records(Path(words[0] if words else "runs"))
    found, problems = records.read_all(folder)
    frames, changed = records.read_all_per_prompt(found, folder)
    for line in [*problems, *changed]:
        print(line, file=sys.stderr)
    if not found:
        raise Unknown(f"{folder} holds no records: run `python -m bench` first")
    return found, frames


def compare(words: list[str]) -> int:
    from rich.console import Console

    from .reports.compare import compare, to_terminal

    if len(words) not in (2, 3):
        raise Unknown("usage: prefzoo compare A B [FOLDER]: ids of runs, or recipes")
    found, frames = recorded(words[2:])
    console = Console(width=None if sys.stdout.isatty() else 140)
    for comparison in compare(found, frames, *words[:2]):
        console.print(to_terminal(comparison), "")
    return 0


def answer(words: list[str]) -> int:
    from .stages.answer import respond

    if len(words) < 2:
        raise Unknown("usage: prefzoo sample RUN PROMPT (`prefzoo board` shows runs)")
    print(respond(find_run(words[0], Path("runs/records")), " ".join(words[1:])))
    return 0


def token_rewards(words: list[str]) -> int:
    from .stages.answer import rewarded

    if len(words) < 2:
        raise Unknown('usage: prefzoo rewards RUN "PROMPT" ["RESPONSE"]')
    found = find_run(words[0], Path("runs/records"))
    beta, tokens = rewarded(found, words[1], " ".join(words[2:]))
    for token, reward in tokens:
        print(f"{reward:+8.3f}  {token!r}")
    total = sum(reward for _, reward in tokens)
    print(f"{total:+8.3f}  sum of {beta:g} · log(policy / SFT model)")
    return 0


def plot(words: list[str]) -> int:
    from pandas import read_parquet

    from .reports.plot import compared, overoptimized, training
    from .store import write_atomically

    if not words:
        raise Unknown("usage: prefzoo plot RUN [RUN ...] (`prefzoo board` shows runs)")
    logs, sought = {}, {}
    for run in (find_run(word, Path("runs/records")).stem for word in words):
        log = Path("runs/training") / f"{run}.parquet"
        if not log.exists():
            raise Unknown(f"{log} is not there: {run} was not trained here")
        logs[run] = read_parquet(log)
        if (far := Path("runs/overoptimization") / f"{run}.parquet").exists():
            sought[run] = read_parquet(far)
    if len(logs) == 1:
        ((name, log),) = logs.items()
        drawn = training(log)
    else:
        name = "-".join(dict.fromkeys(run.rpartition("-")[0] for run in logs))
        drawn = compared(logs)
    pictures = {name: drawn}
    if sought:
        pictures[f"{name}-overoptimization"] = overoptimized(sought)
    for called, picture in pictures.items():
        path = Path("runs/plots") / f"{called}.png"
        write_atomically(path, picture)
        print(path)
    return 0


def report(words: list[str]) -> int:
    from argparse import ArgumentParser
    from time import sleep

    from .reports.page import html, read_runs, stamps
    from .store import write_atomically

    about = "One HTML file of a folder of runs: tables, curves, answers. It loads nothing."
    parser = ArgumentParser("prefzoo report", description=about)
    parser.add_argument("folder", nargs="?", default="runs", help="runs (default) or records")
    parser.add_argument("-o", dest="file", type=Path, default=Path("runs/report.html"))
    again = "make it again when records come, until interrupted; the open page reloads itself"
    parser.add_argument("--watch", nargs="?", type=int, const=15, metavar="SECONDS", help=again)
    asked = parser.parse_args(words)
    seen: dict | None = {} if asked.watch else None  # a sweep may have no record yet
    while True:
        if (now := stamps(asked.folder)) != seen:
            page = html(read_runs(asked.folder), asked.watch).encode()
            write_atomically(asked.file, page)
            print(f"{asked.file} ({len(page) / 1e6:.1f} MB)", flush=True)
            seen = now
        if not asked.watch:
            return 0
        sleep(asked.watch)


def tune(words: list[str]) -> int:
    from .tune import tune

    return tune(words, config_folder())


def perf(words: list[str]) -> int:
    from .perf.report import perf

    return perf(words)


def pilot(words: list[str]) -> int:
    from .pilot import pilot

    return pilot(words)


def card(words: list[str]) -> int:
    from .stages.cell import load_task
    from .tasks.card import lines
    from .tune import resolved

    if not words or "=" in words[0]:
        raise Unknown("usage: prefzoo card TASK [task.path=FOLDER ...] (`prefzoo list tasks`)")
    told = [f"task={words[0]}", *words[1:]]
    check(told, config_folder())
    config = resolved(told, config_folder())["task"]
    print("\n".join(lines(load_task(json.dumps(config["load"], sort_keys=True)), config)))
    return 0


def validate_reward(words: list[str]) -> int:
    from .validate_reward import validate_reward

    return validate_reward(words)


def publish(words: list[str]) -> int:
    from .reports.publish import publish

    print(publish(Path(words[0] if words else "runs"), Path("results")))
    return 0


def validate(words: list[str]) -> int:
    from .reports.board import count
    from .reports.validate import validated

    folder = Path(words[0] if words else "results")
    records, problems = validated(folder)
    for line in problems:
        print(line)
    print(f"{folder}: {count(records, 'record')}, {count(len(problems), 'problem')}")
    return 1 if problems else 0


VERBS = {
    "list": list_what,
    "cite": print_citations,
    "board": show_board,
    "compare": compare,
    "sample": answer,
    "rewards": token_rewards,
    "plot": plot,
    "report": report,
    "tune": tune,
    "pilot": pilot,
    "validate-reward": validate_reward,
    "card": card,
    "perf": perf,
    "publish": publish,
    "validate": validate,
}

if __name__ == "__main__":
    sys.exit(main())
