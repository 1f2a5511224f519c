"""Critique, revision and comparison by principles: scripted models, programs with stated errors."""

import json
import random

import numpy as np
import pytest

from bench.feedback.constitution import (
    Chain,
    Principle,
    Request,
    Round,
    clamped,
    load,
    readable,
    revised,
    sequence,
)
from bench.feedback.critic import NOTHING, SimulatedCritic
from bench.tasks import digest, helpdesk
from bench.tasks.example import DataError, Example, Task

CALM = Principle("calm", "Is it loud?", "Make it calm.", "Which is calmer?", ("noise",))
SHORT = Principle("short", "Is it long?", "Make it short.", "Which is shorter?", ("length",))
KIND = Principle("kind", "Is it rude?", "Make it kind.", "Which is kinder?")
THREE = (CALM, SHORT, KIND)
ASKED = [Example(id=str(i), prompt=f"prompt {i}:") for i in range(4)]


class Scripted:
    """A language model whose every answer is its number; remembers batches of prompts."""

    def __init__(self):
        self.batches = []
        self.count = 0

    def __call__(self, requests):
        self.batches.append([r.text for r in requests])
        said = [f" said {self.count + i}" for i in range(len(requests))]
        self.count += len(requests)
        return said


# -- the machine


@pytest.mark.parametrize("rounds", [0, 1, 4])
def test_each_prompt_takes_one_request_and_two_a_round(rounds):
    model = Scripted()
    chains = revised(model, ASKED, THREE, rounds, seed=0)
    assert [len(batch) for batch in model.batches] == [len(ASKED)] * (1 + 2 * rounds)
    assert [len(c.rounds) for c in chains] == [rounds] * len(ASKED)


def test_a_revision_sees_the_one_before_it_and_its_critique():
    model = Scripted()
    (chain,) = revised(model, ASKED[:1], (CALM,), 2, seed=0)
    assert chain == Chain(
        ASKED[0],
        " said 0",
        (Round("calm", " said 1", " said 2"), Round("calm", " said 3", " said 4")),
    )
    assert chain.last == " said 4"
    assert [text for (text,) in model.batches] == [
        "prompt 0:",
        "prompt 0: said 0\n\nCritique request: Is it loud?\n\nCritique:",
        "prompt 0: said 0\n\nCritique request: Is it loud?\n\nCritique: said 1"
        "\n\nRevision request: Make it calm.\n\nRevision:",
        "prompt 0: said 2\n\nCritique request: Is it loud?\n\nCritique:",
        "prompt 0: said 2\n\nCritique request: Is it loud?\n\nCritique: said 3"
        "\n\nRevision request: Make it calm.\n\nRevision:",
    ]


def test_principles_are_drawn_from_the_seed_and_asked_by():
    model = Scripted()
    chains = revised(model, ASKED, THREE, 5, seed=3)
    drawn = [[THREE[i].name for i in row] for row in sequence(3, len(ASKED), 5, 3)]
    assert [[r.principle for r in c.rounds] for c in chains] == drawn
    by_name = {p.name: p for p in THREE}
    for k in range(5):
        for row, critique, revision in zip(
            drawn, model.batches[1 + 2 * k], model.batches[2 + 2 * k], strict=True
        ):
            assert by_name[row[k]].critique in critique
            assert by_name[row[k]].revision in revision
    assert [c.rounds for c in revised(Scripted(), ASKED, THREE, 5, seed=3)] == [
        c.rounds for c in chains
    ]
    assert (sequence(3, 50, 5, 3) != sequence(4, 50, 5, 3)).any()
    counts = np.bincount(sequence(0, 3000, 1, 3).ravel())
    assert counts.tolist() == pytest.approx([1000] * 3, abs=120)
    assert (sequence(3, 50, 5, 3)[: len(ASKED)] == sequence(3, len(ASKED), 5, 3)).all()


def test_preferences_stay_within_bounds():
    found = clamped([0.0, 0.45, 0.99, np.nan], (0.4, 0.6))
    assert found[:3] == [0.4, 0.45, 0.6]
    assert np.isnan(found[3])
    assert clamped([0.0, 0.45, 0.99], (0, 1)) == [0.0, 0.45, 0.99]


# -- files


def test_the_shipped_principles_speak_of_both_embedded_tasks():
    shipped = load()
    assert len({p.name for p in shipped}) == len(shipped)
    for task in (digest, helpdesk):
        world = task.load(train=1, validation=1, test=1, test_unseen=1)
        (x,) = world.splits["train"]
        parts = set(world.gold(x, "", True)) - {"unfinished"}  # a revision always ends
        assert parts <= {part for p in readable(shipped, parts, "shipped") for part in p.parts}
        assert {p.name for p in shipped} - {p.name for p in readable(shipped, parts, "")} >= {
            "harmless"
        }


@pytest.mark.parametrize("name", ["mine.yaml", "mine.json"])
def test_principles_come_from_a_file_of_yours(tmp_path, name):
    said = [vars(CALM) | {"parts": ["noise"]}, {k: x for k, x in vars(KIND).items() if x}]
    (tmp_path / name).write_text(json.dumps(said))  # JSON is YAML
    assert load(tmp_path / name) == (CALM, KIND)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a list of principles, each with name, critique"),
        ("name: x", "a list of principles"),
        ("- name: x", "principle 1 needs name, critique, revision, comparison"),
        ("- hello", "principle 1 needs"),
        ("- {name: a, critique: b, revision: c, comparison: d, part: [e]}", "principle 1 needs"),
        ("- [", "neither YAML nor JSON"),
    ],
)
def test_a_file_that_is_no_constitution_is_told(tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=f"mine.yaml.*{says}") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_principles_without_parts_are_told(tmp_path):
    with pytest.raises(DataError, match=r"gone\.yaml: No such file"):
        load(tmp_path / "gone.yaml")
    with pytest.raises(DataError, match=r"here: no principle names a part .* exact reward: a, b"):
        readable((KIND,), {"a", "b"}, "here")


# -- programs


def toy(**faults: float) -> Task:
    """An answer is a list of its faults; mending takes one out."""

    def gold(x, response, finished):
        return {part: -cost * response.split().count(part) for part, cost in faults.items()}

    def repair(x, response, part):
        return " ".join(word for word in response.split() if word != part)

    splits = {"train": (), "validation": (), "test": ()}
    return Task(name="toy", version=1, splits=splits, gold=gold, repair=repair)


BOTH = Principle("both", "", "", "", ("noise", "length", "taste"))
X = Example(id="x", prompt="p", references=("",))


def test_a_critic_names_the_part_in_which_most_is_lost():
    critic = SimulatedCritic(toy(noise=0.1, length=0.3, spelling=9.0), error_rate=0)
    asked = [
        Request(X, said, BOTH) for said in ("noise length spelling", "noise spelling", "spelling")
    ]
    assert critic(asked) == ["length", "noise", NOTHING]


def test_a_reviser_mends_what_the_critic_named():
    critic = SimulatedCritic(toy(noise=0.1, length=0.3), error_rate=0)
    said = "noise length a"
    assert critic([Request(X, said, BOTH, c) for c in ("length", "noise", NOTHING)]) == [
        "noise a", "length a", said,
    ]  # fmt: skip


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_a_critic_misses_faults_as_often_as_stated(rate):
    critic = SimulatedCritic(toy(noise=0.1, length=0.3), rate, seed=2)
    asked = [Request(X, f"noise {i}", BOTH) for i in range(4000)]
    missed = np.array([said == NOTHING for said in critic(asked)])
    assert missed.mean() == pytest.approx(rate, abs=0.03)
    assert critic(asked[::-1]) == critic(asked)[::-1]
    if 0 < rate < 1:
        other = SimulatedCritic(critic.task, rate, seed=3)
        assert other(asked) != critic(asked)


def test_quality_by_a_principle_is_that_of_its_parts():
    critic = SimulatedCritic(toy(noise=0.1, length=0.3, spelling=9.0), error_rate=0)
    asked = [Request(X, "noise length spelling", p) for p in (BOTH, CALM, SHORT)]
    assert critic.qualities(asked) == pytest.approx([-0.4, -0.1, -0.3])


@pytest.mark.parametrize("task", [digest, helpdesk], ids=["digest", "helpdesk"])
def test_without_errors_enough_rounds_mend_everything(task):
    world = task.load(train=60, validation=1, test=1, test_unseen=1)
    examples = world.splits["train"]
    critic = SimulatedCritic(world, error_rate=0)

    def ask(requests):
        if requests[0].answer is None:
            return [r.example.demonstration for r in requests]
        return critic(requests)

    principles = readable(load(), set(world.gold(examples[0], "", True)), "shipped")
    chains = revised(ask, examples, principles, 40, seed=0)
    assert [world.reward(c.example, c.last) for c in chains] == pytest.approx([1] * len(chains))
    assert any(world.reward(c.example, c.first) < 0.9 for c in chains)
    blind = SimulatedCritic(world, error_rate=1)
    chains = revised(
        lambda r: ask(r) if r[0].answer is None else blind(r), examples, principles, 2, seed=0
    )
    assert all(c.last == c.first for c in chains)


# -- mending

PARTS = {
    "digest": ["invented", "repeated", "length", "coverage"],
    "helpdesk": ["unclear", "action", "refusal", "politeness", "slots", "repeated", "length"],
}


def spoilt(rng: random.Random, text: str) -> str:
    """Words gone, doubled, swapped, and sentences said again."""
    words = text.split()
    for _ in range(rng.randrange(6)):
        i = rng.randrange(len(words))
        match rng.randrange(4):
            case 0 if len(words) > 1:
                del words[i]
            case 1:
                words.insert(i, words[rng.randrange(len(words))])
            case 2:
                words[i] = rng.choice(["lamp", "anna", ".", "we", "refund"])
            case 3:
                words += words[: i + 1]
    return " " + " ".join(words)


@pytest.mark.parametrize("task", [digest, helpdesk], ids=["digest", "helpdesk"])
def test_mending_every_part_of_any_answer_leaves_no_fault(task):
    world = task.load(train=200, validation=1, test=1, test_unseen=1)
    rng = random.Random(0)
    for x in world.splits["train"]:
        said = spoilt(rng, x.demonstration)
        for part in PARTS[world.name]:
            before = world.gold(x, said, True)
            said = world.repair(x, said, part)
            assert world.gold(x, said, True)[part] >= before[part]
        assert world.reward(x, said) == pytest.approx(1), (x, said)


@pytest.mark.parametrize("task", [digest, helpdesk], ids=["digest", "helpdesk"])
def test_there_is_nothing_to_mend_in_a_reference_and_no_other_part(task):
    world = task.load(train=50, validation=1, test=1, test_unseen=1)
    for x in world.splits["train"]:
        for part in PARTS[world.name]:
            assert world.repair(x, x.references[0], part) == x.references[0]
    with pytest.raises(LookupError, match=f"{world.name} has nothing to mend in 'beauty'"):
        world.repair(x, "", "beauty")


REPORT = Example(
    id="r",
    prompt="",
    references=(" ben sold lamps .",),
    about={
        "full": ["ben sold lamps on monday", "omar counted maps"],
        "short": ["ben sold lamps", "omar counted maps"],
        "weights": [2, 0],
    },
)


@pytest.mark.parametrize(
    ("said", "part", "mended"),
    [
        (" omar counted maps . that is all for today .", "coverage",
         " omar counted maps . ben sold lamps . that is all for today ."),
        (" ben sold maps . ben sold lamps . omar", "invented", " ben sold lamps ."),
        (" ben sold lamps . ben sold lamps . anna", "repeated", " ben sold lamps . anna"),
        (" ben sold lamps on monday . omar counted maps . more news will follow soon .", "length",
         " ben sold lamps ."),
    ],
)  # fmt: skip
def test_digest_mends(said, part, mended):
    assert digest.repair(REPORT, said, part) == mended


CASE = Example(
    id="c",
    prompt="",
    references=(" hello anna , sorry about the lamp . we will replace order falcon .",),
    about={
        "kind": "broken", "decision": "replace", "name": "anna", "order": "falcon", "item": "lamp",
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("said", "part", "mended"),
    [
        (" hello anna , we will refund order heron . have a nice day .", "action",
         " hello anna , we will replace order falcon . have a nice day ."),
        (" hello anna , have a nice day .", "action",
         " hello anna , we will replace order falcon . have a nice day ."),
        (" thanks for asking about the lamp . we will replace order falcon .", "politeness",
         " hello anna , sorry about the lamp . we will replace order falcon ."),
        (" hello ben , sorry about that . we will refund order heron . we", "slots",
         " hello anna , sorry about the lamp . we will refund order falcon . we"),
        (" hello anna , lamp lamp . we will replace order falcon . we", "unclear",
         " hello anna , we will replace order falcon ."),
        (" hello anna , hello ben , we will refund order heron .", "repeated",
         " hello anna , we will refund order heron ."),
        (" hello anna , have a nice day .", "length", " hello anna ,"),
    ],
)  # fmt: skip
def test_helpdesk_mends(said, part, mended):
    assert helpdesk.repair(CASE, said, part) == mended
