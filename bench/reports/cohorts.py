"""Which runs belong together: seeds of one configuration in a row, comparable rows in a table.

Rows are ranked together when task, data, prompts, SFT model, judging reward models and decoding
agree for every seed they share; what does not agree gets a table of its own.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .record import Base, Record

# Of a config: what determines no number of a row, only whether it has it, or does so by its seed or by
# its parents, which `Base` compares. Who a judge is stands in the signatures of its metrics.
BOOKKEEPING = set(
    "seed shared_seed overrides runs store stages other trackers device judge".split()
)
AS_EVER = {  # settings that older records do not name, and what they were
    "model.layout": "padded",
    "model.precision": "float32",
    "model.compile": False,
    "model.gradient_checkpointing": False,
    "model.offload_reference": False,
    "model.workers": 1,
    "metrics.rouge.tokenizer": "latin",
}


@dataclass(frozen=True)
class Cohort:
    """The records of one configuration: seed -> record."""

    runs: Mapping[int, Record]

    @property
    def first(self) -> Record:
        return self.runs[min(self.runs)]

    @property
    def failed(self) -> bool:
        return self.first.status == "failed"

    @property
    def bases(self) -> dict[int, Base]:
        return {seed: run.base for seed, run in self.runs.items()}


def setting(r: Record) -> tuple[Any, ...]:
    """What runs of one row share. A control is made beside any method, whose config it carries."""
    config = determining(r)
    if r.kind == "control":
        config = {"model": r.model.name if r.model else None, "decoding": r.decoding}
    return r.kind, r.recipe, r.task.name, r.task.version, json.dumps(config, sort_keys=True)


def determining(r: Record) -> dict[str, Any]:
    """The settings of a record that determine its numbers: "algo.beta" and the like."""
    read = {key: value for key, value in r.config.items() if key not in BOOKKEEPING}
    return {key: value for key, value in flat(read) if AS_EVER.get(key) != value}


def cohorts(records: Iterable[Record]) -> list[Cohort]:
    """Records of one configuration that differ by seed alone.

    Of several records of one seed and base the one with most metrics counts, then the newest, and a good
    one before a failed one.
    """
    groups = defaultdict[tuple, list[Record]](list)
    for r in records:
        groups[setting(r)].append(r)
    found = []
    for group in groups.values():
        good: list[dict[int, Record]] = []
        newest_last = sorted(group, key=lambda r: (len(r.metrics.end), r.created, r.run_id))
        for r in reversed(newest_last):
            if r.status == "good":
                for runs in good:
                    if r.seed not in runs or runs[r.seed].base == r.base:
                        runs.setdefault(r.seed, r)
                        break
                else:
                    good.append({r.seed: r})
        done = {seed for runs in good for seed in runs}
        failed = {r.seed: r for r in sorted(group, key=lambda r: r.created) if r.seed not in done}
        found += [Cohort(dict(sorted(runs.items()))) for runs in [*good, failed] if runs]
    return found


def joins(failed: Cohort, bases: Mapping[int, Base]) -> bool:
    """A failed run belongs to the table with which nothing that it got to know disagrees."""
    run = failed.first
    theirs = bases.get(run.seed, next(iter(bases.values())))
    pairs = dict(zip(Base._fields, zip(run.base, theirs, strict=True), strict=True))
    skipped = set() if run.decoding else {"decoding"}
    if run.seed not in bases:  # every seed may have its own models
        skipped |= {"sft", "reward_model", "held_out_reward_model"}
    return all(
        name in skipped or ours is None or ours == other for name, (ours, other) in pairs.items()
    )


def comparable(found: Iterable[Cohort]) -> list[list[Cohort]]:
    """Cohorts by what may be ranked together; the ones with most seeds decide first."""
    tables: list[tuple[dict[int, Base], list[Cohort]]] = []
    good = [c for c in found if not c.failed]
    failed = [c for c in found if c.failed]
    for cohort in sorted(good, key=lambda c: (-len(c.runs), c.first.recipe, c.first.run_id)):
        for bases, members in tables:
            common = bases.keys() & cohort.bases.keys()
            alike = set(bases.values()) & set(cohort.bases.values())
            if all(bases[s] == cohort.bases[s] for s in common) and (common or alike):
                bases |= cohort.bases
                members.append(cohort)
                break
        else:
            tables.append((cohort.bases, [cohort]))
    for cohort in failed:
        for bases, members in tables:
            if joins(cohort, bases):
                members.append(cohort)
                break
        else:
            tables.append((cohort.bases, [cohort]))
    return [members for _, members in tables]


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"algo": {"beta": 0.1}} -> ("algo.beta", 0.1)."""
    for key, value in tree.items():
        if isinstance(value, dict):  # a record's; the abstract Mapping takes five times as long
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def names(members: Sequence[Cohort]) -> list[str]:
    """The recipe of each cohort, and where one recipe has several rows, what tells them apart."""
    configs = [determining(c.first) if c.first.kind != "control" else {} for c in members]
    twins = defaultdict[tuple[str, str], list[dict[str, Any]]](list)
    for cohort, config in zip(members, configs, strict=True):
        twins[cohort.first.recipe, cohort.first.kind].append(config)
    result = []
    for cohort, config in zip(members, configs, strict=True):
        kin = twins[cohort.first.recipe, cohort.first.kind]
        mine = [key for key in telling(kin) if key in config]
        labels = [key.removesuffix(".name").rpartition(".")[2] for key in mine]
        shown = [f"{label}={config[key]}" for label, key in zip(labels[:3], mine, strict=False)]
        more = ["…"] if len(mine) > 3 else []
        result.append(" ".join([cohort.first.recipe, *shown, *more]))
    return result


def telling(twins: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings in which some differ, without those that go with the name of their group."""

    def values(*keys: str) -> set[str]:
        return {repr([twin.get(key) for key in keys]) for twin in twins}

    found = [key for key in sorted(set().union(*twins)) if len(values(key)) > 1]
    named = [key.removesuffix("name") for key in found if key.endswith(".name")]
    return [
        key
        for key in found
        if not any(
            key.startswith(group)
            and key != f"{group}name"
            and len(values(f"{group}name", key)) == len(values(f"{group}name"))
            for group in named
        )
    ]


def why_apart(first: Sequence[Cohort], here: Sequence[Cohort]) -> tuple[str, ...]:
    """Why these rows are not in the first table of their task."""
    theirs = {seed: base for c in first if not c.failed for seed, base in c.bases.items()}
    ours = {seed: base for c in here if not c.failed for seed, base in c.bases.items()}
    if not theirs or not ours:
        return ()
    seed = min(theirs.keys() & ours.keys(), default=None)
    if seed is None:
        return ("Not comparable with the first table of this task: no seed in common.",)
    other = ", ".join(differing(theirs[seed], ours[seed]))
    return (f"Not comparable with the first table of this task: other {other}.",)


def differing(a: Base, b: Base) -> list[str]:
    """What keeps two runs from one table, in words."""
    return [
        name.replace("_", " ").replace("sft", "SFT model")
        for name, x, y in zip(Base._fields, a, b, strict=True)
        if x != y
    ]
