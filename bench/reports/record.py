"""One run, told completely: what was run, on what, with which result. One JSON file, written once.

Beside `RUN_ID.json` lies `RUN_ID.parquet`: one row per evaluated prompt, with the columns
`prompt_id split response finished` and one per metric that has a value for each prompt
(`gold proxy held_out kl rouge1 rouge2 rougeL rougeLsum bertscore length win`).
"""

import gc
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import from_json

from ..store import write_atomically

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Table

Read = TypeVar("Read")

SCHEMA = 1


class RecordError(ValueError):
    """A record that cannot be used, told in one line: the file, what is wrong, what to do."""


def plain(value: Any) -> Any:
    """`value` as JSON can say it. An infinite knob (a bound turned off) is the word inf."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            if math.isnan(value):
                raise ValueError("not a number")
            return value if math.isfinite(value) else str(value)
        case dict() | Mapping():  # a dict is told at once
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case os.PathLike():
            return os.fspath(value)
    if callable(getattr(value, "item", None)):  # a number of numpy
        return plain(value.item())
    raise ValueError(f"{type(value).__name__} has no place in a record")


def hash_of(value: Any) -> str:
    """sha256 of the canonical JSON of `value`: the order of keys does not matter."""
    return sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def unless_read(value: Any, info: ValidationInfo) -> Any:
    """`plain`, but of what a file said, which is plain."""
    return value if info.context is FROM_A_FILE else plain(value)


FROM_A_FILE = object()
Json = Annotated[dict[str, Any], BeforeValidator(unless_read)]
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of a record: frozen, without unknown fields, without NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Git(Part):
    """The code. Dirty looks at algos, bench, conf and pyproject.toml."""

    commit: str | None = None
    dirty: bool | None = None


class Task(Part):
    """The data: `prompts_hash` covers the prompts of evaluation, in order."""

    name: str
    version: int | None = None
    data_hash: str | None = None
    prompts_hash: str | None = None
    dropped: dict[str, Count] = {}  # reason -> rows, by the text filter and by length


class Model(Part):
    """The model that was trained."""

    name: str
    parameters: Count | None = None
    dtype: str | None = None
    tokenizer_hash: str | None = None


class Parents(Part):
    """Keys in the store of what this run was made from *or evaluated with*.

    An answer without a model (a reference, a copied prompt) still names the SFT model against
    which it won or lost, and the reward models that scored it.
    """

    tokenizer: str | None = None
    sft: str | None = None
    reference: str | None = None
    reward_model: str | None = None
    held_out_reward_model: str | None = None  # trained on other pairs; only ever judges
    others: dict[str, str] = {}


class RewardModel(Part):
    """A reward model that this run used: its key in the store; reward = (raw − offset) / scale."""

    key: str
    offset: float
    scale: float


class Budget(Part):
    """What training consumed. Equal updates and responses are what makes rows comparable."""

    updates: Count | None = None
    responses: Count | None = None
    pairs: Count | None = None
    prompts: Count | None = None
    tokens: Count | None = None  # that were read in training; packed models read a prompt once
    flops: float | None = None


# A dataclass with slots is read in half the time of a model, and most of a record is metrics.
@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Metric:
    """A mean over `n` items, with the bounds of its 95 % interval; None is "not defined"."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: Count | None = None
    estimator: str | None = None  # how the number was computed, in words
    signature: str | None = None  # with what: versions and options, or the key of a model
    unit: str | None = None

    def __post_init__(self):
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two bounds")
        if self.value is None and self.low is not None:
            raise ValueError("an interval needs a value")
        if self.low is not None and self.low > self.high:
            raise ValueError(f"interval upside down: {self.low} > {self.high}")


class Bin(Part):
    """Items whose confidence lies in [low, high): how sure a reward model was, and how often right."""

    low: float
    high: float
    confidence: float  # mean
    accuracy: Metric


class Metrics(Part):
    """At the end of training, and at the update that validation chose."""

    end: dict[str, Metric] = {}
    peak: dict[str, Metric] = {}


class Environment(Part):
    """Where it ran: versions and hardware, no names of machines or people."""

    python: str | None = None
    torch: str | None = None
    transformers: str | None = None
    trl: str | None = None
    platform: str | None = None
    device: str | None = None
    threads: int | None = None


class PerPrompt(Part):
    """The file beside the record with one row per prompt."""

    file: str
    sha256: str

    @field_validator("file")
    @classmethod
    def _beside(cls, file: str) -> str:
        if Path(file).name != file:
            raise ValueError("the per-prompt file lies beside its record")
        return file


class Base(NamedTuple):
    """What must agree for two runs of one seed to be ranked together."""

    task: str
    version: int | None
    data_hash: str | None
    prompts_hash: str | None
    sft: str | None
    reward_model: str | None
    held_out_reward_model: str | None
    decoding: str


class Record(Part):
    """One run."""

    schema_version: Literal[1] = SCHEMA
    run_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=,+-]{0,199}$")]
    created: AwareDatetime
    status: Literal["good", "failed"] = "good"
    error: str | None = None  # one line
    command: str  # runs this row again
    git: Git = Git()
    config: Json  # resolved
    config_hash: str
    recipe: str
    algorithm: str | None = None  # key of ALGORITHMS; None for controls
    kind: Literal["policy", "control", "reward_model"] = "policy"
    knobs: Json = {}
    feedback: str | None = None
    feed: str | None = None
    reference: str | None = None
    seed: int
    task: Task
    model: Model | None = None
    parents: Parents = Parents()
    reward_models: dict[str, RewardModel] = {}  # proxy, held_out, trained_on[/member]; or itself
    policy: str | None = None  # the folder that from_pretrained opens
    decoding: Json = {}
    budget: Budget = Budget()
    metrics: Metrics = Metrics()
    peak_update: Count | None = None
    calibration: list[Bin] = []  # of a reward model, on test pairs
    environment: Environment = Environment()
    # Of whole stages, and of their phases: `training/backward`, `evaluation/rollout`. Phases of training
    # add up to `training`.
    seconds: dict[str, float] = {}
    # In MiB, what tensors took on the GPU, or without one the resident memory of the process: `process`
    # is the most of all; a phase has that where it raised it, else what was taken when it ended.
    peak_memory_mb: dict[str, float] = {}
    per_prompt: PerPrompt | None = None
    notes: list[str] = []

    @field_validator("created")
    @classmethod
    def _utc(cls, created: datetime) -> datetime:
        return created.astimezone(UTC)

    @field_validator("error")
    @classmethod
    def _one_line(cls, error: str | None) -> str | None:
        return None if error is None else " ".join(error.split())[:500]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.status == "failed") != bool(self.error):
            raise ValueError("a failed run says why; a good one has no error")
        if bool(self.metrics.peak) != (self.peak_update is not None):
            raise ValueError("metrics at the peak and peak_update come together")
        if self.status == "good" and not (self.task.data_hash and self.task.prompts_hash):
            raise ValueError("a good run knows its data: task.data_hash and task.prompts_hash")
        return self

    @cached_property
    def base(self) -> Base:
        """What must agree for this run to be ranked with another one of the same seed."""
        return Base(
            self.task.name,
            self.task.version,
            self.task.data_hash,
            self.task.prompts_hash,
            self.parents.sft,
            self.parents.reward_model,
            self.parents.held_out_reward_model,
            hash_of(self.decoding),
        )


def schema() -> str:
    """The JSON Schema of a record, as published beside the records."""
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Record.model_json_schema(),
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def text(record: Record) -> str:
    """The record as JSON; every float comes back as it was."""
    dump = record.model_dump(mode="json")
    return json.dumps(dump, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write(record: Record, folder: str | Path) -> Path:
    """`folder/RUN_ID.json`, atomically; an older record of that run is replaced."""
    path = Path(folder) / f"{record.run_id}.json"
    write_atomically(path, text(record).encode())
    return path


def parse(content: bytes | str, name: str) -> Record:
    """The record in `content`, which came from a file called `name`."""
    again = f"delete it and run that cell again: {name}"
    try:
        found = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise RecordError(f"{name} is not whole JSON ({error}); {again}") from None
    if not isinstance(found, dict):
        raise RecordError(f"{name} holds no record; {again}")
    version = found.get("schema_version")
    if isinstance(version, int) and version > SCHEMA:
        raise RecordError(
            f"{name} has schema {version}, this code reads {SCHEMA}; update prefzoo to read it"
        )
    try:
        return Record.model_validate(found, context=FROM_A_FILE)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "record"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise RecordError(f"{name}: {place}: {first['msg']}{more}; {again}") from None


def read(path: str | Path) -> Record:
    """The record at `path`; RecordError (one line) where it cannot be used."""
    return parse(read_bytes(Path(path)), str(path))


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"{path} cannot be read ({error.strerror}); check the name and the permissions"
        ) from None


def read_all(folder: str | Path) -> tuple[list[Record], list[str]]:
    """The good and failed runs in a folder by run id, and a line for each unusable file."""
    found, problems = read_hashed(folder)
    return [record for record, _ in found], problems


def read_hashed(folder: str | Path) -> tuple[list[tuple[Record, str]], list[str]]:
    """`read_all`, each record with the sha256 of its file."""
    found, problems = [], []
    with uncollected():
        for path in sorted(Path(folder).glob("*.json")):
            try:
                content = read_bytes(path)
                found.append((parse(content, str(path)), sha256(content).hexdigest()))
            except RecordError as error:
                problems.append(str(error))
    return found, problems


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for cycles meanwhile: thousands of records, of which none goes, would be searched again
    and again."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def parquet(table: "DataFrame") -> bytes:
    """The per-prompt table as the bytes of its file."""
    buffer = BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def write_per_prompt(run_id: str, table: "DataFrame", folder: str | Path) -> PerPrompt:
    """`folder/RUN_ID.parquet`, atomically; what the record has to say of it."""
    missing = {"prompt_id", "split"} - set(table.columns)
    if missing:
        raise RecordError(f"{run_id}: the per-prompt table lacks {', '.join(sorted(missing))}")
    content = parquet(table)
    write_atomically(Path(folder) / f"{run_id}.parquet", content)
    return PerPrompt(file=f"{run_id}.parquet", sha256=sha256(content).hexdigest())


def per_prompt_bytes(record: Record, folder: str | Path) -> bytes | None:
    """The file beside a record, None where there is none; RecordError where it was changed."""
    if record.per_prompt is None:
        return None
    path = Path(folder) / record.per_prompt.file
    if not path.exists():
        return None
    content = path.read_bytes()
    if sha256(content).hexdigest() != record.per_prompt.sha256:
        raise RecordError(
            f"{path} is not the file its record describes (sha256); "
            f"run that cell again: {record.run_id}"
        )
    return content


def read_per_prompt(record: Record, folder: str | Path) -> "DataFrame | None":
    """One row per prompt of a run, where its file lies in `folder`."""
    content = per_prompt_bytes(record, folder)
    if content is None:
        return None
    from pyarrow import BufferReader, parquet

    # half the time of pandas.read_parquet, whose threads wait for each other over so small a file
    return parquet.read_table(BufferReader(content), use_threads=False).to_pandas()


def read_numbers(record: Record, folder: str | Path) -> "Table | None":
    """`read_per_prompt` without the answers and without pandas: a fifth of the time."""
    content = per_prompt_bytes(record, folder)
    if content is None:
        return None
    from pyarrow import BufferReader, parquet

    file = parquet.ParquetFile(BufferReader(content))
    names = [name for name in file.schema_arrow.names if name != "response"]
    return file.read(names, use_threads=False)


def read_all_per_prompt(
    records: Iterable[Record],
    folder: str | Path,
    read: Callable[[Record, str | Path], Read | None] = read_per_prompt,
) -> tuple[dict[str, Read], list[str]]:
    """Run id -> its per-prompt table, and a line for each file that was changed."""
    tables, problems = {}, []
    for record in records:
        try:
            table = read(record, folder)
        except (RecordError, OSError) as error:
            problems.append(str(error))
            continue
        if table is not None:
            tables[record.run_id] = table
    return tables, problems
