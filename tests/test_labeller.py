"""What an AI labeller is asked, and what is made of its answers."""

from dataclasses import replace

import numpy as np
import pytest

from bench.feedback.labeller import (
    SCORES,
    Exemplar,
    Labeller,
    Questions,
    Verdicts,
    expected_score,
    read,
)

WORDS = Questions(
    preamble="Which is better?",
    ending="Better:",
    score_preamble="How good is it?",
    score_ending="Score:",
)
THINKING = replace(WORDS, reasoning="Why:")
SHOWN = Exemplar("a report", "short", "long", preferred=2, rationale="It says more.")


class Scripted:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self, choose=None, generate=None):
        self.choosing, self.generating, self.asked = choose, generate, []

    def choose(self, prompts, options):
        self.asked += prompts
        return np.array([self.choosing(x, options) for x in prompts], dtype=float)

    def generate(self, prompts):
        self.asked += prompts
        return [self.generating(x) for x in prompts]


def always(*logps):
    return lambda prompt, options: logps


def prefers(word: str):
    """log 3 : log 1 for the place of the answer with a word, whatever the place."""

    def choose(prompt, options):
        first = word in prompt.rpartition("Answer 1:")[2].partition("Answer 2:")[0]
        return np.log([3.0, 1.0]) if first else np.log([1.0, 3.0])

    return choose


def test_a_question_is_preamble_exemplars_sample_and_ending():
    asked = replace(WORDS, exemplars=(SHOWN,)).comparison(" the report ", " one", " two")
    assert asked == (
        "Which is better?\n\n"
        "Prompt: a report\nAnswer 1: short\nAnswer 2: long\nBetter: 2\n\n"
        "Prompt: the report\nAnswer 1: one\nAnswer 2: two"
    )
    thinking = replace(THINKING, exemplars=(SHOWN,)).comparison("x", "one", "two")
    assert "Answer 2: long\nWhy: It says more.\nBetter: 2\n\n" in thinking
    assert WORDS.score("x ", " one") == "How good is it?\n\nPrompt: x\nAnswer: one\nScore:"


def test_questions_come_from_a_configuration():
    said = {**vars(WORDS), "exemplars": [vars(SHOWN)]}
    assert Questions.of(said) == replace(WORDS, exemplars=(SHOWN,))
    with pytest.raises(LookupError, match=r"exemplar 0 .* prefers 3: 1 or 2"):
        Questions.of({**said, "exemplars": [{**vars(SHOWN), "preferred": 3}]})


def test_every_pair_is_asked_in_both_orders():
    speaker = Scripted(prefers("good"))
    verdicts = Labeller(speaker, WORDS).verdicts(
        ["p", "q"], ["good a", "bad b"], ["bad c", "good d"]
    )
    assert verdicts.there.tolist() == pytest.approx([0.75, 0.25])
    assert verdicts.back.tolist() == pytest.approx([0.25, 0.75])
    assert verdicts.preferences.tolist() == pytest.approx([0.75, 0.25])
    assert verdicts.position_bias == 0
    assert speaker.asked == [
        WORDS.comparison(p, a, b) + "\nBetter:"
        for p, a, b in [
            ("p", "good a", "bad c"),
            ("q", "bad b", "good d"),
            ("p", "bad c", "good a"),
            ("q", "good d", "bad b"),
        ]
    ]


@pytest.mark.parametrize("logps", [(0.0, -9.0), (-4.0, -0.1), (0.0, -np.inf)])
def test_a_labeller_that_always_says_the_same_decides_nothing(logps):
    verdicts = Labeller(Scripted(always(*logps)), WORDS).verdicts(["p"] * 3, ["a"] * 3, ["b"] * 3)
    assert verdicts.preferences.tolist() == pytest.approx([0.5] * 3)
    assert verdicts.position_bias == 1


def test_swapping_two_answers_swaps_the_preference():
    rng = np.random.default_rng(0)
    liked = {word: rng.normal() for word in "abcdef"}

    def choose(prompt, options):
        first, second = (line[-1] for line in prompt.splitlines()[-3:-1])
        return [liked[first] + 0.7, liked[second]]  # 0.7: a liking for the first place

    labeller = Labeller(Scripted(choose), WORDS)
    there = labeller.verdicts(["p"] * 3, list("abc"), list("def")).preferences
    back = labeller.verdicts(["p"] * 3, list("def"), list("abc")).preferences
    assert there + back == pytest.approx(np.ones(3))


def test_a_rationale_stands_between_the_pair_and_the_choice():
    speaker = Scripted(prefers("good"), lambda prompt: f" because {len(speaker.asked)} \n")
    verdicts = Labeller(speaker, THINKING).verdicts(["p"], ["good"], ["bad"])
    assert verdicts.preferences.tolist() == pytest.approx([0.75])
    pairs = [THINKING.comparison("p", *pair) for pair in (("good", "bad"), ("bad", "good"))]
    assert speaker.asked == [
        *(f"{x}\nWhy:" for x in pairs),
        *(f"{x}\nWhy: because 2\nBetter:" for x in pairs),
    ]


def test_what_was_not_read_is_counted_and_is_no_coin():
    """Of four pairs: the same place twice, nothing one way, the same answer twice, nothing at all."""
    nan = np.nan
    verdicts = Verdicts(np.array([0.9, nan, 0.8, nan]), np.array([0.7, 0.2, 0.1, nan]))
    assert verdicts.preferences[[0, 2]].tolist() == pytest.approx([0.6, 0.85])
    assert np.isnan(verdicts.preferences[[1, 3]]).all()
    assert verdicts.position_bias == 0.5  # of the two that were read
    assert verdicts.unread == 3 / 8
    nothing = Verdicts(np.array([]), np.array([]))
    assert nothing.position_bias is nothing.unread is None
    assert Verdicts(np.array([nan]), np.array([nan])).position_bias is None


def test_a_score_is_an_expectation_mapped_to_its_range():
    sure = np.where(np.eye(10), 0.0, -np.inf)
    assert expected_score(sure).tolist() == pytest.approx(np.linspace(-1, 1, 10).tolist())
    even = np.zeros((1, 10))
    assert expected_score(even + 7).tolist() == pytest.approx([0])
    # 1, 4 and 10 with ½, ¼, ¼: s = ½ + 1 + 2½ = 4, mapped (4 − 5.5) / 4.5
    some = np.full((1, 10), -np.inf)
    some[0, [0, 3, 9]] = np.log([0.5, 0.25, 0.25])
    assert expected_score(some).tolist() == pytest.approx([-1 / 3])
    assert np.isnan(expected_score(np.full((1, 10), np.nan))).all()


def test_one_answer_is_asked_about_for_a_score():
    ten = [0.0 if o == "10" else -np.inf for o in SCORES]
    speaker = Scripted(
        lambda prompt, options: ten if "good" in prompt.split("\n")[-2] else [np.nan] * 10
    )
    found = Labeller(speaker, WORDS).scores(["p", "q"], ["good", "bad"])
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])
    assert speaker.asked == [WORDS.score("p", "good"), WORDS.score("q", "bad")]


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("1", "1"),
        (" **2**.", "2"),
        ("The better one is 2, clearly", "2"),
        ("2 2", "2"),
        ("1 is worse than 2", None),
        ("12", None),
        ("both", None),
        ("", None),
    ],
)
def test_a_text_chooses_what_it_alone_names(text, option):
    assert read(text, ("1", "2")) == option


def test_ten_is_no_one():
    assert read("10", SCORES) == "10"
    assert read("7/10", SCORES) is None
