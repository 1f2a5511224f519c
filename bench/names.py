"""What a user may name: recipes, tasks, models, feedback, runs. Reads files, imports no torch."""

import ast
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ALGOS = Path(__file__).resolve().parents[1] / "algos"
TOP = (
    "seed",
    "shared_seed",
    "runs",
    "store",
    "name",
    "stages",
    "trackers",
    "device",
    "tuned",
)  # words of run.yaml itself
PLURALS = {"algo": "algos", "task": "tasks", "model": "models", "experiment": "experiments"}


class Unknown(LookupError):
    """A name that nothing has; says which one is closest."""


@dataclass(frozen=True)
class Recipe:
    """What is said of a recipe in its file and in the module of its loss; "" where nothing is."""

    name: str
    loss: str
    learns_from: str
    needs: tuple[str, ...]  # what else it reads of a batch
    papers: tuple[str, ...]  # addresses, the recipe's own before those of its loss


def config_folder() -> Path:
    """Beside the package in an installed wheel, at the top of a clone."""
    here = Path(__file__).resolve().parent
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def own_folders(words: Sequence[str]) -> list[Path]:
    """Folders of a user's own recipes: --config-dir DIR, --config-dir=DIR, -cd DIR."""
    found = []
    for i, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in ("--config-dir", "-cd"):
            found.append(Path(value or (words[i + 1] if i + 1 < len(words) else ".")))
    return found


def names(group: str, folders: Sequence[Path]) -> list[str]:
    """The members of a group in all folders."""
    return sorted({p.stem for f in folders for p in (f / group).glob("*.yaml")})


def closest(name: str, known: Sequence[str]) -> str:
    """The one of some names that is spelt most like this one."""
    return difflib.get_close_matches(name, known, 1, 0.0)[0]


def check(words: Sequence[str], conf: Path) -> None:
    """Every `group=name` on the command line is known, or one line says what is closest."""
    folders = [conf, *own_folders(words)]
    groups = sorted({p.name for f in folders if f.is_dir() for p in f.iterdir() if p.is_dir()})
    # a group may come a second time, under another name: task@other
    groups += re.findall(r"^  - (\w+@\w+):", (conf / "run.yaml").read_text(), re.MULTILINE)
    for word in words:
        group, sep, value = word.lstrip("+~").partition("=")
        if not sep or word.startswith("-") or "." in group or "/" in group or group in TOP:
            continue
        if group not in groups:
            close = closest(group, [*groups, *TOP])
            raise Unknown(f"there is no setting {group!r}: did you mean {close}={value}?")
        kind = group.partition("@")[0]
        known = names(kind, folders)
        for name in value.split(","):
            if name in known or name in ("null", "") or set(name) & set("()*${}"):
                continue
            raise Unknown(
                f"there is no {kind} {name!r}: did you mean {group}={closest(name, known)}? "
                f"`prefzoo list {PLURALS.get(kind, kind)}` shows all {len(known)}"
            )


def listing(conf: Path, what: str) -> str:
    """A line each: of recipes the loss, what it learns from and needs, its paper; else the comment."""
    group = {plural: name for name, plural in PLURALS.items()}.get(what, what)
    known = names(group, [conf])
    if not known:
        every = [PLURALS.get(p.name, p.name) for p in sorted(conf.iterdir()) if p.is_dir()]
        raise Unknown(
            f"nothing is listed under {what!r}: did you mean {closest(what, every)}? "
            f"({' '.join(every)})"
        )
    if group == "algo":
        found = [recipe(conf / "algo" / f"{name}.yaml") for name in known]
        rows = [
            (r.name, r.loss, r.learns_from, " ".join(r.needs), (*r.papers, "")[0]) for r in found
        ]
    else:
        rows = [(name, comment((conf / group / f"{name}.yaml").read_text())) for name in known]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        head = "  ".join(x.ljust(w) for x, w in zip(row[:-1], widths, strict=True))
        lines.append(f"{head}  {row[-1]}".rstrip())
    return "\n".join(lines) + "\n"


def remarks(yaml: str) -> str:
    """A file's comment, on one line."""
    return " ".join(re.findall(r"^# (?!@package)(.*)$", yaml, re.MULTILINE))


def comment(yaml: str) -> str:
    """The first sentence of a file's comment."""
    return remarks(yaml).partition(". ")[0].rstrip(".")


def papers(text: str) -> list[str]:
    """The addresses in a text, but for those of code."""
    return re.findall(r"https?://(?!github\.com/)[^\s,;()]*\w", text)


def recipe(path: Path) -> Recipe:
    """Read, not imported."""
    yaml = path.read_text()
    target = re.search(r"_target_: (\S+)", yaml)
    package, _, loss = target[1].rpartition(".") if target else ("", "", "")
    if package != "algos" or loss not in classes():
        return Recipe(path.stem, loss, "", (), tuple(papers(remarks(yaml))))
    node, said = classes()[loss]
    reads = needs(node, "needs") | needs(node, "credit_needs")
    cited = dict.fromkeys([*papers(remarks(yaml)), *papers(said)])
    return Recipe(
        path.stem, loss, base(node).removeprefix("From").lower(), tuple(sorted(reads)), tuple(cited)
    )


@cache
def classes() -> dict[str, tuple[ast.ClassDef, str]]:
    """The classes of the zoo, each with the docstring of its module."""
    found = {}
    for source in sorted(ALGOS.glob("*.py")):
        module = ast.parse(source.read_text())
        nodes = [node for node in module.body if isinstance(node, ast.ClassDef)]
        found |= {node.name: (node, ast.get_docstring(module) or "") for node in nodes}
    return found


def base(node: ast.ClassDef) -> str:
    """The first class that a class inherits from."""
    return next((b.id for b in node.bases if isinstance(b, ast.Name)), "")


def needs(node: ast.ClassDef, name: str) -> set[str]:
    """The strings that a class gives to `name`, with those of its base where it builds on them."""
    above = needs(classes()[base(node)][0], name) if base(node) in classes() else set()
    for line in node.body:
        at = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        if isinstance(at, ast.Name) and at.id == name:
            parts = list(ast.walk(line.value))
            own = {x.value for x in parts if isinstance(x, ast.Constant)}
            return own | (above if any(isinstance(x, ast.Attribute) for x in parts) else set())
    return above


def find_run(name: str, folder: Path) -> Path:
    """The record of a run by its id, the beginning of it, or its recipe if there is but one."""
    found = sorted(folder.glob("*.json"))
    matching = (
        [p for p in found if p.stem == name]
        or [p for p in found if p.stem.rpartition("-")[0] == name]
        or [p for p in found if p.stem.startswith(name)]
    )
    if len(matching) == 1:
        return matching[0]
    if not found:
        raise Unknown(f"{folder} holds no records: run `python -m bench` first")
    if matching:
        raise Unknown(
            f"{name!r} is the beginning of {', '.join(p.stem for p in matching)}: say more"
        )
    close = closest(name, [p.stem for p in found])
    raise Unknown(f"there is no run {name!r}: did you mean {close}? (`prefzoo board` shows runs)")
