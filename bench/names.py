"""What a user may name: recipes, tasks, models, feedback, runs. Reads files, imports no torch."""

import ast
import difflib
import re
from collections.abc import Sequence
from pathlib import Path

TOP = (
    "seed",
    "shared_seed",
    "runs",
    "store",
    "name",
    "stages",
    "tuned",
)  # words of run.yaml itself
PLURALS = {"algo": "algos", "task": "tasks", "model": "models"}


class Unknown(LookupError):
    """A name that nothing has; says which one is closest."""


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
            close = difflib.get_close_matches(group, [*groups, *TOP], 1, 0.0)
            raise Unknown(f"there is no setting {group!r}: did you mean {close[0]}={value}?")
        kind = group.partition("@")[0]
        known = names(kind, folders)
        for name in value.split(","):
            if name in known or name in ("null", "") or set(name) & set("()*${}"):
                continue
            close = difflib.get_close_matches(name, known, 1, 0.0)
            raise Unknown(
                f"there is no {kind} {name!r}: did you mean {group}={close[0]}? "
                f"`prefzoo list {PLURALS.get(kind, kind)}` shows all {len(known)}"
            )


def listing(conf: Path, what: str) -> str:
    """A line each: for recipes the loss, what it learns from and its paper; else the first comment."""
    group = {plural: name for name, plural in PLURALS.items()}.get(what, what)
    known = names(group, [conf])
    if not known:
        every = [PLURALS.get(p.name, p.name) for p in sorted(conf.iterdir()) if p.is_dir()]
        close = difflib.get_close_matches(what, every, 1, 0.0)
        raise Unknown(
            f"nothing is listed under {what!r}: did you mean {close[0]}? ({' '.join(every)})"
        )
    if group == "algo":
        rows = [recipe(conf / "algo" / f"{name}.yaml") for name in known]
    else:
        rows = [(name, comment((conf / group / f"{name}.yaml").read_text())) for name in known]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        head = "  ".join(x.ljust(w) for x, w in zip(row[:-1], widths, strict=True))
        lines.append(f"{head}  {row[-1]}".rstrip())
    return "\n".join(lines) + "\n"


def comment(yaml: str) -> str:
    """The first sentence of a file's comment."""
    said = " ".join(re.findall(r"^# (?!@package)(.*)$", yaml, re.MULTILINE))
    return said.partition(". ")[0].rstrip(".")


def recipe(path: Path) -> tuple[str, str, str, str]:
    """(recipe, loss class, what it learns from, paper)."""
    yaml = path.read_text()
    target = re.search(r"_target_: (\S+)", yaml)
    if target is None:
        return path.stem, "", "", ""
    package, _, name = target[1].rpartition(".")
    if package != "algos":
        return path.stem, name, "", ""
    for source in sorted((Path(__file__).resolve().parents[1] / "algos").glob("*.py")):
        module = ast.parse(source.read_text())
        for node in module.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                base = next(b.id for b in node.bases if isinstance(b, ast.Name))
                papers = re.findall(
                    r"https://arxiv.org/abs/\S+?(?=[,\s])", ast.get_docstring(module) or ""
                )
                own = re.findall(r"https://arxiv.org/abs/\S+", yaml)
                return path.stem, name, base.removeprefix("From").lower(), (own or papers)[0]
    return path.stem, name, "", ""


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
    close = difflib.get_close_matches(name, [p.stem for p in found], 1, 0.0)
    raise Unknown(
        f"there is no run {name!r}: did you mean {close[0]}? (`prefzoo board` shows runs)"
    )
