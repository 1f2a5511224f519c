"""The two embedded tasks: gold by hand, splits by construction, the same data for the same seed."""

from statistics import mean

import numpy as np
import pytest

from bench.metrics.refusal import refusals
from bench.tasks import digest, helpdesk, helpdesk_two_turn
from bench.tasks.example import TURN, Example, Task

WORLDS = {"digest": digest, "helpdesk": helpdesk}
HASHES = {  # of seed 0; whoever changes one raises that task's VERSION
    "digest": "0c6811d903f798d2c9e5e347aa4a8f9796d1d5ade35e91d1bdb976c8a4fff617",
    "helpdesk": "e25e014d15a81f771f068236d754660c36cb21164d9eb18cbb946fbf6d79ed3e",
}


@pytest.fixture(scope="module", params=list(WORLDS))
def task(request: pytest.FixtureRequest) -> Task:
    return WORLDS[request.param].load()


REPORT = Example(
    id="report",
    prompt="report : urgent : ben sold lamps on monday . anna repaired bikes at the farm . "
    "note : lena moved chairs . also , omar counted maps . summary :",
    references=(" ben sold lamps . lena moved chairs .",),
    about={
        "short": [
            "ben sold lamps",
            "anna repaired bikes",
            "lena moved chairs",
            "omar counted maps",
        ],
        "full": [
            "ben sold lamps on monday",
            "anna repaired bikes at the farm",
            "lena moved chairs",
            "omar counted maps",
        ],
        "weights": [2, 0, 1, 0],
    },
)
QUIET = Example(
    id="quiet",
    prompt="report : anna repaired bikes . summary :",
    references=(" nothing to report .",),
    about={"short": ["anna repaired bikes"], "full": ["anna repaired bikes"], "weights": [0]},
)


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        (" ben sold lamps . lena moved chairs .", {"coverage": 1}),
        (" lena moved chairs . ben sold lamps .", {"coverage": 1}),
        (" ben sold lamps .", {"coverage": 2 / 3}),
        (" lena moved chairs .", {"coverage": 1 / 3}),
        ("", {}),
        (" anna repaired bikes .", {}),
        (" nothing to report .", {}),
        # 8 words are free; 12 words, 11, 15
        (
            " ben sold lamps . lena moved chairs . anna repaired bikes .",
            {"coverage": 1, "length": -0.2},
        ),
        (" ben sold lamps on monday . lena moved chairs .", {"coverage": 1, "length": -0.1}),
        (" ben sold lamps . that is all for today .", {"coverage": 2 / 3, "length": -0.1}),
        (
            " ben sold lamps . lena moved chairs . ben sold lamps on monday .",
            {"coverage": 1, "repeated": -0.25, "length": -0.3},
        ),
        (" ben sold chairs .", {"invented": -0.5}),
        (" ben sold lamps at the farm .", {"invented": -0.5}),
        (" ben sold .", {"invented": -0.5}),
        (" ben sold . ben sold .", {"invented": -1}),
        (" ben sold lamps . lena moved", {"coverage": 2 / 3, "invented": -0.5}),
        (" . . :\n\n ,", {"invented": -1.5}),
    ],
)
def test_digest_by_hand(response: str, parts: dict[str, float]):
    zeros = dict.fromkeys(("coverage", "invented", "repeated", "length", "unfinished"), 0)
    assert digest.gold(REPORT, response) == pytest.approx(zeros | parts)
    cut = digest.gold(REPORT, response, False)
    assert cut == pytest.approx(zeros | parts | {"unfinished": -0.25})


def test_where_nothing_matters_digest_says_so():
    assert sum(digest.gold(QUIET, " nothing to report .").values()) == 1
    assert sum(digest.gold(QUIET, "").values()) == 0
    assert sum(digest.gold(QUIET, " anna repaired bikes .").values()) == 0


def ticket(kind: str, decision: str, reference: str) -> Example:
    about = {"kind": kind, "decision": decision, "name": "anna", "order": "falcon", "item": "lamp"}
    return Example(id=kind, prompt="", references=(reference,), about=about)


GRANT = ticket(
    "broken", "replace", " hello anna , sorry about the lamp . we will replace order falcon ."
)
REFUSE = ticket(
    "unfit", "refuse", " hello anna , sorry about the lamp . we can not help with order falcon ."
)
ASK = ticket(
    "question",
    "trace",
    " hello anna , thanks for asking about the lamp . we will trace order falcon .",
)
FULL = {"slots": 0.4, "politeness": 0.2}


@pytest.mark.parametrize(
    ("example", "response", "parts"),
    [
        (GRANT, GRANT.references[0], FULL | {"action": 0.4}),
        (REFUSE, REFUSE.references[0], FULL | {"refusal": 0.4}),
        (ASK, ASK.references[0], FULL | {"action": 0.4}),
        (GRANT, "", {}),
        (GRANT, " hello , sorry about that .", {"politeness": 0.2}),
        (ASK, " hello , sorry about that .", {}),
        (GRANT, " hello anna .", {"slots": 0.1, "politeness": 0.1}),
        (GRANT, " hello ben .", {"slots": -0.1, "politeness": 0.1}),
        (GRANT, " sorry about the lamp .", {"slots": 0.1, "politeness": 0.1}),
        (GRANT, " thanks for asking about the lamp .", {"slots": 0.1, "politeness": -0.1}),
        (GRANT, " we will replace order falcon .", {"slots": 0.2, "action": 0.4}),
        (GRANT, " we will replace order otter .", {"slots": -0.1, "action": 0.4}),
        (GRANT, " we will refund order falcon .", {"slots": 0.2, "action": -0.3}),
        (GRANT, " we can not help with order falcon .", {"slots": 0.2, "action": -0.3}),
        (REFUSE, " we will exchange order falcon .", {"slots": 0.2, "refusal": -0.4}),
        # the second decision does not count
        (
            GRANT,
            " we will refund order falcon . we will replace order falcon .",
            {"slots": 0.2, "action": -0.3, "repeated": -0.2},
        ),
        # 14 words are free; 19 words
        (
            GRANT,
            GRANT.references[0] + " have a nice day .",
            FULL | {"action": 0.4, "length": -0.2},
        ),
        (GRANT, " we will fly order falcon .", {"unclear": -0.25}),
        (GRANT, " we will replace order", {"unclear": -0.25}),
        (GRANT, " hello anna , hello anna , sorry", {
            "slots": 0.1, "politeness": 0.1, "repeated": -0.2, "unclear": -0.25,
        }),
        (GRANT, " . , :\n\n", {"unclear": -0.75}),
    ],
)  # fmt: skip
def test_helpdesk_by_hand(example: Example, response: str, parts: dict[str, float]):
    names = "action refusal slots politeness unclear repeated length unfinished".split()
    zeros = dict.fromkeys(names, 0)
    assert helpdesk.gold(example, response) == pytest.approx(zeros | parts)
    cut = helpdesk.gold(example, response, False)
    assert cut == pytest.approx(zeros | parts | {"unfinished": -0.25})


@pytest.mark.parametrize(
    ("example", "response", "due", "refused"),
    [
        (REFUSE, REFUSE.references[0], True, True),
        (GRANT, GRANT.references[0], False, False),
        (GRANT, " we can not help with order falcon .", False, True),
        (GRANT, " we can not help with order otter .", False, True),  # a wrong slot refuses, too
        (REFUSE, " we will exchange order falcon .", True, False),
        # the first decision counts
        (REFUSE, " we will exchange order falcon . we can not help with order falcon .", True, False),
        (ASK, " hello anna , we can not help with order falcon . we will trace order falcon .",
         False, True),
        # no decision, and one without its end, which is none
        (REFUSE, "", True, False),
        (REFUSE, " hello , sorry about that .", True, False),
        (REFUSE, " we can not help with order falcon", True, False),
    ],
)  # fmt: skip
def test_refusals_by_hand(example: Example, response: str, due: bool, refused: bool):
    assert helpdesk.refusal(example, response) == (due, refused)
    two_turn = f" which order is it .{TURN} customer : order falcon . agent :{TURN}{response}"
    assert helpdesk_two_turn.refusal(example, two_turn) == (due, refused)


def test_what_the_customer_says_refuses_nothing():
    customer = " we can not help with order falcon ."
    said = f" which order is it .{TURN}{customer}{TURN} we will exchange order falcon ."
    assert helpdesk_two_turn.refusal(REFUSE, said) == (True, False)


def test_refusals_are_counted_apart_where_they_are_due_and_where_not():
    refusing = " we can not help with order falcon ."
    examples, said = [REFUSE, REFUSE, GRANT, ASK], [refusing, "", refusing, ""]
    found = refusals(helpdesk.refusal, examples, said)
    assert found["refusal_rate"].tolist() == pytest.approx([1, 0, np.nan, np.nan], nan_ok=True)
    assert found["over_refusal_rate"].tolist() == pytest.approx([np.nan, np.nan, 1, 0], nan_ok=True)


def test_references_refuse_what_is_to_be_refused_and_nothing_else():
    rows = helpdesk.load(train=1, validation=1).splits["test"]
    found = refusals(helpdesk.refusal, rows, [x.references[0] for x in rows])
    assert np.nanmean(found["refusal_rate"]) == 1
    assert np.nanmean(found["over_refusal_rate"]) == 0
    due = ~np.isnan(found["refusal_rate"])
    assert 0.2 < due.mean() < 0.37  # 2 / 7 of the requests
    assert (due == np.isnan(found["over_refusal_rate"])).all()


@pytest.mark.parametrize(
    ("kind", "policy", "cover", "decision"),
    [
        ("broken", "refund", "gold", "refund"),
        ("broken", "repair", "active", "repair"),
        ("broken", "repair", "ended", "refuse"),
        ("unfit", "repair", "active", "exchange"),
        ("unfit", "repair", "none", "refuse"),
        ("missing", "repair", "none", "resend"),
        ("danger", "repair", "ended", "escalate"),
        ("question", "repair", "none", "trace"),
    ],
)
def test_the_context_decides(kind: str, policy: str, cover: str, decision: str):
    assert helpdesk.decision(kind, policy, cover) == decision


def test_scale(task: Task):
    """References earn 1 exactly, nothing earns nothing, and a constant answer is far below."""
    for rows in task.splits.values():
        assert {task.reward(row, row.references[0]) for row in rows} == {1.0}
        assert all(task.reward(row, "") <= 0 for row in rows)
        assert 0 <= mean(task.reward(row, task.constant) for row in rows) < 0.25


def test_demonstrations_leave_headroom(task: Task):
    """A quarter to two fifths below the references, on average."""
    rows = task.splits["train"]
    assert 0.6 < mean(task.reward(row, row.demonstration) for row in rows) < 0.75
    assert all(row.demonstration.startswith(" ") for row in rows)


def test_every_part_of_gold_occurs(task: Task):
    """Demonstrations show most faults; a demonstration said twice and cut short shows the rest."""
    rows, seen = task.splits["train"][:500], set()
    for row in rows:
        for text in (row.demonstration, row.demonstration * 2 + " and"):
            seen |= {name for name, part in task.gold(row, text, False).items() if part}
    assert seen == set(task.gold(rows[0], ""))


def test_size_and_words(task: Task):
    rows = task.splits["train"]
    assert len({row.prompt for row in rows}) >= 20_000
    assert len({w for row in rows for w in (row.prompt + row.references[0]).split()}) >= 150


def test_words_are_whole_and_rows_end_in_a_cue(task: Task):
    """Every word but a prompt's first follows one space, so that each becomes one token."""
    cue = {"digest": " summary :", "helpdesk": " agent :"}[task.name]
    for rows in task.splits.values():
        for row in rows:
            for text in (row.prompt, row.references[0][1:], row.demonstration[1:]):
                assert text == " ".join(text.split())
            assert row.prompt.endswith(cue)
    assert len({row.id for rows in task.splits.values() for row in rows}) == sum(
        map(len, task.splits.values())
    )


def first_fact(row: Example) -> tuple[str, ...]:
    return tuple(row.about["short"][0].split())


def customer(row: Example) -> tuple[str, ...]:
    return tuple(row.about[slot] for slot in ("name", "order", "item"))


def test_splits_share_no_prompt_and_no_key(task: Task):
    key = {"digest": first_fact, "helpdesk": customer}[task.name]
    keys = {name: {key(row) for row in rows} for name, rows in task.splits.items()}
    for name in ("validation", "test", "test_unseen"):
        assert not keys[name] & keys["train"]
    assert not keys["validation"] & (keys["test"] | keys["test_unseen"])
    prompts = [row.prompt for rows in task.splits.values() for row in rows]
    assert len(set(prompts)) == len(prompts)


def test_unseen_patterns_are_unseen():
    """Each row of `test_unseen` has a pattern of words, less its content, that training lacks."""
    content = {
        "digest": {*digest.NAMES, *digest.VERBS, *digest.OBJECTS, *digest.PLACES, *digest.DAYS},
        "helpdesk": {*helpdesk.NAMES, *helpdesk.ORDERS, *helpdesk.ITEMS}
        | {word for kind in helpdesk.PROBLEMS.values() for words in kind for word in words.split()},
    }

    def sentences(task: Task, split: str) -> list[set[str]]:
        return [
            {
                " ".join("_" if word in content[task.name] else word for word in sentence.split())
                for sentence in row.prompt.split(" . ")
            }
            for row in task.splits[split]
        ]

    for world in WORLDS.values():
        task = world.load()
        known = set().union(*sentences(task, "train"))
        assert all(row - known for row in sentences(task, "test_unseen"))
        assert set().union(*sentences(task, "test")) <= known


def test_same_seed_same_data(task: Task):
    world = WORLDS[task.name]
    small = {"train": 50, "validation": 5, "test": 5, "test_unseen": 5}
    assert world.load(seed=3, **small).data_hash == world.load(seed=3, **small).data_hash
    assert world.load(seed=3, **small).data_hash != world.load(seed=4, **small).data_hash
    assert task.data_hash == HASHES[task.name]
