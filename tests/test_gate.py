"""What the embedded tasks promise: read off the committed records, and with `-m slow` off new models."""

from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from bench.names import config_folder
from bench.reports.record import Record, read, read_per_prompt
from bench.stages import evaluate, reward_model
from bench.stages.cell import Cell
from bench.stats.bootstrap import paired_difference
from bench.store import Store
from bench.tune import resolved

RECORDS = Path(__file__).parents[1] / "results/records"
TASKS, SEEDS = ("digest", "helpdesk"), (0, 1, 2)
FIRST_LOOK = ("ppo", "dpo", "ipo", "rlaif", "tdpo2")
NEEDED = ("constant", "sft", "references", "best_of_16_gold")

each_seed = pytest.mark.parametrize("seed", SEEDS)
each_task = pytest.mark.parametrize("task", TASKS)


def stands_where_it_should(gold: dict[str, float]) -> None:
    """SFT is well above a constant answer and well below the references, and can be improved on."""
    way = gold["references"] - gold["constant"]
    assert 0.3 <= (gold["sft"] - gold["constant"]) / way <= 0.75
    assert gold["best_of_16_gold"] - gold["sft"] >= 0.1 * way


@cache
def committed() -> list[Record]:
    return [r for r in map(read, sorted(RECORDS.glob("*.json"))) if r.status == "good"]


def record(task: str, seed: int, recipe: str, budget: str = "default") -> Record:
    """The one of a recipe, or control, whose shared stages have this seed, as it is by itself."""
    (found,) = [
        r
        for r in committed()
        if (r.task.name, r.config["shared_seed"], r.recipe) == (task, seed, recipe)
        and (r.kind == "control") == (recipe in evaluate.CONTROLS)
        and r.config["budget"]["name"] == budget
        and r.decoding["temperature"] == 1.0
        and "ensemble" not in r.config["feedback"]
        and (budget != "default" or not any(w.startswith("model.") for w in r.config["overrides"]))
    ]
    return found


@each_task
@each_seed
def test_the_sft_models_of_the_records(task, seed):
    stands_where_it_should({
        who: record(task, seed, who).metrics.end["gold"].value for who in NEEDED
    })  # fmt: skip


@each_seed
@pytest.mark.parametrize("recipe", FIRST_LOOK)
def test_every_method_of_the_first_look_beats_its_sft_model(seed, recipe):
    tables = [read_per_prompt(record("digest", seed, who), RECORDS) for who in (recipe, "sft")]
    ours, sft = (t[t["split"] == "test"].set_index("prompt_id")["gold"] for t in tables)
    assert list(ours.index) == list(sft.index)
    assert paired_difference(ours.to_numpy(), sft.to_numpy()).low > 0


@each_task
@each_seed
def test_reward_models_of_the_records_know_gold_order(task, seed):
    assert record(task, seed, "bradley_terry").metrics.end["accuracy_gold"].value >= 0.75


def test_a_reward_model_that_is_trusted_too_far():
    """PPO without a price on KL: its reward rises from the peak to the end, and gold falls."""
    run = record("digest", 0, "ppo_no_kl", budget="long").metrics
    assert run.end["trained_reward"].low > run.peak["trained_reward"].high
    assert run.end["gold"].high < run.peak["gold"].low


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "seed"), [("digest", 0), ("digest", 1), ("digest", 2), ("helpdesk", 0)]
)
def test_the_sft_recipe_works_on_every_seed(tmp_path, task, seed):
    config = resolved([f"task={task}", f"shared_seed={seed}"], config_folder())
    cell = Cell(config, Store(tmp_path))
    gold = {}
    for who in NEEDED:
        table = pd.read_parquet(cell.make(evaluate, who=who) / "answers.parquet")
        gold[who] = table.loc[table["split"] == "test", "gold"].mean()
    stands_where_it_should(gold)
    accuracy = cell.notes(reward_model, by="dataset", part="train")["accuracy_gold"]
    assert accuracy["high"] >= 0.75  # other processors round otherwise; the records hold the value
