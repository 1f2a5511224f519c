"""Asking first, then answering: gold by hand, the customer, and from which discount on asking pays."""

from statistics import mean

import pytest

from bench.feedback import gold, rouge
from bench.feedback.answer import Answer
from bench.stages import evaluate, tokenizer
from bench.tasks import helpdesk
from bench.tasks.example import TURN, Example, Task
from bench.tasks.helpdesk_two_turn import KNOWN, NEEDED, NEEDLESS, QUESTION, load, reply
from tests.test_stages import cell

HASH = "53a8eb117e666094a5abe67aefd47399dff5df621d6400fb47a30a9a7dadb089"  # else raise its VERSION
TICKET = Example(
    id="ticket",
    prompt="policy : replace . cover : gold . name : anna . order : unknown . customer : my lamp is "
    "torn . agent :",
    about={
        "kind": "broken",
        "decision": "replace",
        "name": "anna",
        "order": "falcon",
        "item": "lamp",
        "known": False,
    },
)
RIGHT = " hello anna , sorry about the lamp . we will replace order falcon ."
GUESS = " hello anna , sorry about the lamp . we will replace order otter ."
TOLD = f"{QUESTION}{TURN} customer : order falcon . agent :{TURN}"
FULL = {"action": 0.4, "slots": 0.4, "politeness": 0.2}
NAMES = "action refusal slots politeness unclear repeated length unfinished asking".split()


@pytest.fixture(scope="module")
def task() -> Task:
    return load()


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        (RIGHT, FULL),
        (TOLD + RIGHT, FULL | {"asking": -0.1}),
        (GUESS, FULL | {"slots": 0.1}),
        (TOLD + GUESS, FULL | {"slots": 0.1, "asking": -0.1}),
        (QUESTION, {"asking": -0.1}),
        (TOLD, {"asking": -0.1}),
        ("", {}),
        # what the customer says is nobody's merit, and counts as no word of ours
        (f" .{TURN}{RIGHT}{TURN} .", {"unclear": -0.5}),
        # asking again says nothing, in whichever turn
        (TOLD + QUESTION + RIGHT, FULL | {"asking": -0.1, "unclear": -0.25, "length": -0.2}),
        # a question that does not end the turn has its price and no answer
        (QUESTION + GUESS, FULL | {"slots": 0.1, "asking": -0.1}),
        # 14 words are free beside the question; 18 words
        (f"{TOLD}{RIGHT} have a nice day .", FULL | {"asking": -0.1, "length": -0.2}),
    ],
)
def test_gold_by_hand(task, response, parts):
    zeros = dict.fromkeys(NAMES, 0)
    assert task.gold(TICKET, response, True) == pytest.approx(zeros | parts)
    cut = task.gold(TICKET, response, False)
    assert cut == pytest.approx(zeros | parts | {"unfinished": -0.25})


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (QUESTION, True),
        (" hello anna ," + QUESTION, True),
        (QUESTION + RIGHT, False),  # did not wait
        (RIGHT, False),
        ("", False),
        (TOLD + QUESTION, False),  # said already
        (TOLD, False),
    ],
)
def test_the_customer_answers_the_question_that_ends_the_first_turn(said, answered):
    assert reply(TICKET, said) == (" customer : order falcon . agent :" if answered else None)


def test_asking_pays_where_later_turns_count_enough(task):
    """Where the order is unknown, γ > 0.8: −0.1 + γ 1 against 0.7. Where it is known, never."""
    question = task.reward(TICKET, QUESTION)
    later = task.reward(TICKET, TOLD + RIGHT) - question
    assert (task.reward(TICKET, GUESS) - question) / later == pytest.approx(0.8)
    assert task.reward(TICKET, RIGHT) >= question + later


def test_the_best_guess_is_not_worth_much_more(task):
    """One in forty is right."""
    right = 1 / len(helpdesk.ORDERS)
    hoped = right * task.reward(TICKET, RIGHT) + (1 - right) * task.reward(TICKET, GUESS)
    assert 0.7 < hoped < 0.71
    assert hoped < task.reward(TICKET, TOLD + RIGHT)


# -- its rows


def test_demonstrations_show_both_ways(task):
    rows = task.splits["train"]
    assert mean(x.about["known"] for x in rows) == pytest.approx(KNOWN, abs=0.01)
    for known, share in ((True, NEEDLESS), (False, NEEDED)):
        some = [x for x in rows if x.about["known"] == known]
        asked = [TURN in x.demonstration for x in some]
        assert mean(asked) == pytest.approx(share, abs=0.01)
        worth = [[], []]
        for x, did in zip(some, asked, strict=True):
            worth[did].append(task.reward(x, x.demonstration))
        assert (mean(worth[1]) > mean(worth[0]) + 0.05) == (not known)


def test_a_dialogue_that_is_shown_is_one_that_can_be_had(task):
    for x in task.splits["train"][:2000]:
        first, *rest = x.demonstration.split(TURN)
        assert reply(x, first) == (rest[0] if rest else None)
        assert len(rest) in (0, 2)
        assert reply(x, x.demonstration) is None or not rest
        assert all(said == " " + " ".join(said.split()) for said in (first, *rest))


def test_the_order_is_in_the_prompt_where_it_is_known(task):
    for rows in task.splits.values():
        for x in rows:
            order = x.about["order"] if x.about["known"] else "unknown"
            assert f" . order : {order} . customer : " in x.prompt
            assert x.prompt.endswith(" agent :")


def test_splits_share_no_prompt_and_no_customer_with_an_item(task):
    keys = {
        name: {(x.about["name"], x.about["item"]) for x in rows}
        for name, rows in task.splits.items()
    }
    assert not keys["train"] & (keys["validation"] | keys["test"] | keys["test_unseen"])
    assert not keys["validation"] & (keys["test"] | keys["test_unseen"])
    prompts = [x.prompt for rows in task.splits.values() for x in rows]
    assert len(set(prompts)) == len(prompts) == len({x.id for r in task.splits.values() for x in r})


def test_same_seed_same_data(task):
    small = {"train": 50, "validation": 5, "test": 5, "test_unseen": 5}
    assert load(seed=3, **small).data_hash == load(seed=3, **small).data_hash
    assert load(seed=3, **small).data_hash != load(seed=4, **small).data_hash
    assert task.data_hash == HASH


def test_a_tokenizer_learns_turns_and_not_what_parts_them(tmp_path):
    texts = tokenizer.training_text(cell(tmp_path, "task=helpdesk_two_turn"))
    assert not any(TURN in text for text in texts)
    assert QUESTION in texts
    assert any(text.startswith(" customer : order ") for text in texts)


# -- what it leaves out


def test_nobody_is_compared_with_a_reference(task, tmp_path):
    """There is none, so neither ROUGE nor BERTScore nor the control that they would need."""
    here = cell(tmp_path, "task=helpdesk_two_turn")
    assert "references" not in evaluate.controls(here)
    row = task.splits["test"][0]
    with pytest.raises(LookupError, match="ROUGE as a reward needs references"):
        rouge.rewards([row], [Answer(RIGHT)])
    assert gold.rewards(task, [TICKET], [Answer(RIGHT)]) == [pytest.approx(1.0)]
