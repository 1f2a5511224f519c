"""Whether a folder of records may be published: every file read, a line for each thing that is wrong."""

from collections.abc import Iterator
from pathlib import Path

from .estimates import by_prompt, explains, scores_of
from .publish import LIMIT, PATH, folder_of_records
from .record import Record, RecordError, parse, per_prompt_bytes, read_numbers

AGAIN = "run that cell again"
PUBLISH = "`prefzoo publish` mends that in its copy"


def validated(folder: str | Path) -> tuple[int, list[str]]:
    """How many records there are, usable ones or not, and what is wrong with them: file, why, remedy."""
    folder = folder_of_records(Path(folder))
    paths = sorted(folder.glob("*.json"))
    if not paths:
        return 0, [f"{folder} holds no records: name a folder of RUN_ID.json files"]
    problems = []
    seen: dict[tuple, Path] = {}
    for path in paths:
        content = path.read_bytes()
        try:
            record = parse(content, str(path))
        except RecordError as error:
            problems.append(str(error))
            continue
        problems += of_record(path, record, content)
        cell = (record.config_hash, record.kind, record.recipe, record.status, record.git.commit)
        if (first := seen.setdefault(cell, path)) != path:
            problems.append(f"{path}: the same cell as {first.name}: keep one of them")
    alone = {p.stem for p in folder.glob("*.parquet")} - {p.stem for p in paths}
    problems += [
        f"{folder / name}.parquet: no record beside it: add {name}.json, or delete it"
        for name in sorted(alone)
    ]
    return len(paths), problems


def of_record(path: Path, record: Record, content: bytes) -> Iterator[str]:
    """What is wrong with a record that can be read, and with the file beside it."""
    if record.run_id != path.stem:
        yield f"{path}: its run_id is {record.run_id}: rename it {record.run_id}.json"
    if found := PATH.search(content.decode()):
        yield f"{path}: it names a path of a machine, {found[0]}: {PUBLISH}"
    try:
        beside = per_prompt_bytes(record, path.parent)
    except (RecordError, OSError) as error:
        yield str(error)
        return
    if record.per_prompt and beside is None:
        yield f"{path}: {record.per_prompt.file} is not beside it: copy it there, or {AGAIN}"
    size = len(content) + len(beside or b"")
    if size > LIMIT:
        yield f"{path}: {size:,} bytes with its per-prompt file, the limit is {LIMIT:,}: {PUBLISH}"
    if beside is not None:
        yield from of_prompts(path, record)


def of_prompts(path: Path, record: Record) -> Iterator[str]:
    """What is wrong with a per-prompt file whose bytes are those that the record describes."""
    file = path.with_name(record.per_prompt.file)
    try:
        table = read_numbers(record, path.parent)
    except ValueError as error:  # pyarrow's are, too
        yield f"{file}: not a table ({str(error).splitlines()[0]}): {AGAIN}"
        return
    if missing := sorted({"prompt_id", "split"} - set(table.column_names)):
        yield f"{file}: it lacks the column {', '.join(missing)}: {AGAIN}"
        return
    if record.kind == "reward_model":  # rows are pairs there, and metrics no means of columns
        return
    scores = by_prompt(table)
    for name, metric in record.metrics.end.items():
        there = scores_of(name, scores)
        if there and metric.value is not None and not explains(there.mean, metric.value):
            yield (
                f"{file}: {name} has mean {there.mean:.6g} there and {metric.value:.6g} in the "
                f"record: {AGAIN}"
            )
