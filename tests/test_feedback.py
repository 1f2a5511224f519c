"""Who says what is better: annotators, judges and programs, as they are described."""

import numpy as np
import pytest

from bench.feedback import gold, rouge
from bench.feedback.annotators import preferences
from bench.feedback.answer import Answer
from bench.feedback.ensemble import Ensemble
from bench.feedback.judge import SimulatedJudge
from bench.tasks.example import Example, Task

MANY = 20_000


def sigma(x: float) -> float:
    return 1 / (1 + np.exp(-x))


# -- annotators


@pytest.mark.parametrize("gap", [-1.0, -0.2, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_annotators_prefer_the_better_answer_as_often_as_the_model_says(gap, noise):
    better = preferences([gap + 5] * MANY, [5.0] * MANY, noise, seed=0)
    p = sigma(gap / noise)
    assert better.mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / MANY) + 1e-9)


def test_annotators_without_noise_are_never_wrong():
    a, b = [0.1, -3.0, 2.0, 1.0], [0.0, -2.0, 1.999, 1.0]
    assert preferences(a, b, noise=0, seed=0).tolist() == [True, False, True, False]


def test_annotators_are_the_same_for_the_same_seed_and_far_gaps_do_not_overflow():
    a, b = np.zeros(100), np.zeros(100)
    one, same, other = (preferences(a, b, 1.0, seed) for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()
    with np.errstate(all="raise"):
        assert preferences([1e6, -1e6], [0.0, 0.0], 0.1, seed=0).tolist() == [True, False]


# -- the judge

FAIR = SimulatedJudge(noise=0.0, temperature=0.5, length_bias=0.0, position_bias=0.0)
QUALITIES = np.linspace(-1, 1, 41)
SHORT = [10] * len(QUALITIES)


def asked(judge: SimulatedJudge, a, b, words_a=SHORT, words_b=SHORT) -> np.ndarray:
    return np.array(judge.preferences(list(a), list(b), list(words_a), list(words_b)))


def test_a_judge_without_faults_says_the_probability_of_its_formula():
    zero = np.zeros_like(QUALITIES)
    assert asked(FAIR, QUALITIES, zero) == pytest.approx(sigma(QUALITIES / 0.5))


@pytest.mark.parametrize("position_bias", [0.0, 0.5, 3.0, -2.0])
@pytest.mark.parametrize("length_bias", [0.0, 0.1])
def test_the_order_in_which_two_answers_are_shown_does_not_matter(position_bias, length_bias):
    judge = SimulatedJudge(0.0, 0.5, length_bias, position_bias)
    zero, long = np.zeros_like(QUALITIES), [17] * len(QUALITIES)
    there = asked(judge, QUALITIES, zero, SHORT, long)
    back = asked(judge, zero, QUALITIES, long, SHORT)
    assert there + back == pytest.approx(np.ones_like(there))


@pytest.mark.parametrize("position_bias", [0.5, 3.0, -2.0])
def test_a_liking_for_the_first_place_never_decides(position_bias):
    judge = SimulatedJudge(0.0, 0.5, 0.0, position_bias)
    once = judge.prefers_first((0.0, 10), (0.0, 10))
    assert once == pytest.approx(sigma(position_bias))  # asked once, it is biased ...
    both = asked(judge, QUALITIES, np.zeros_like(QUALITIES))
    assert both[20] == pytest.approx(0.5)  # ... asked in both orders, it is not
    assert ((both > 0.5) == (QUALITIES > 1e-9)).all()
    assert (np.diff(both) > 0).all()  # only less sure


def test_a_liking_for_length_shows_in_log_odds_a_word():
    judge = SimulatedJudge(0.0, 0.5, length_bias=0.05, position_bias=0.0)
    (p,) = judge.preferences([1.0], [1.0], [30], [10])
    assert p == pytest.approx(sigma(0.05 * 20))
    (p,) = judge.preferences([1.0], [1.0], [10], [30])
    assert p == pytest.approx(sigma(-0.05 * 20))


@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_a_judge_sees_each_answer_through_the_stated_noise(noise):
    """The log-odds are (e_1 − e_2) / temperature, of deviation √2 noise / temperature."""
    judge = SimulatedJudge(noise, temperature=0.5, length_bias=0.0, position_bias=0.0, seed=3)
    zero, words = [0.0] * MANY, [10] * MANY
    p = np.array(judge.preferences(zero, zero, words, words))
    odds = np.log(p / (1 - p))
    assert odds.mean() == pytest.approx(0, abs=0.05)
    assert odds.std() == pytest.approx(np.sqrt(2) * noise / 0.5, rel=0.03)
    again = SimulatedJudge(noise, 0.5, 0.0, 0.0, seed=4).preferences(zero, zero, words, words)
    assert judge.preferences(zero, zero, words, words) == p.tolist() != again


def scored(judge: SimulatedJudge, quality, words=SHORT, shown=None) -> np.ndarray:
    quality = list(quality)
    return np.array(
        judge.scores(quality, list(words)[: len(quality)], shown or ["x"] * len(quality))
    )


def test_scores_of_a_judge_are_expectations_under_its_formula():
    def expected(x: float) -> float:
        p = [np.exp(-((x - (i - 1) / 9) ** 2) / (2 * 0.5**2)) for i in range(1, 11)]
        return (sum(i * w for i, w in enumerate(p, 1)) / sum(p) - 5.5) / 4.5

    found = scored(FAIR, [-0.3, 0.0, 0.5, 0.9])
    assert found.tolist() == pytest.approx([expected(q) for q in (-0.3, 0.0, 0.5, 0.9)])
    sharp = SimulatedJudge(noise=0.0, temperature=0.01, length_bias=0.0, position_bias=3.0)
    assert scored(sharp, [-7.0, 0.0, 1 / 3, 0.5, 1.0, 9.0]).tolist() == pytest.approx(
        [-1, -1, -1 / 3, 0, 1, 1]
    )


def test_scores_show_the_same_liking_for_length_as_preferences():
    """A word is worth length_bias log-odds of temperature units each."""
    judge = SimulatedJudge(0.0, temperature=0.5, length_bias=0.05, position_bias=0.0)
    assert scored(judge, [0.2], [20]) == pytest.approx(scored(FAIR, [0.2 + 20 * 0.05 * 0.5]))


def test_an_answer_is_always_seen_alike_and_through_the_stated_noise():
    judge = SimulatedJudge(0.3, temperature=0.25, length_bias=0.0, position_bias=0.0)
    a, b = scored(judge, [0.5, 0.5], shown=["one", "two"])
    assert a != b
    assert scored(judge, [0.5, 0.5], shown=["two", "one"]).tolist() == [b, a]
    other = SimulatedJudge(0.3, 0.25, 0.0, 0.0, seed=2)
    assert scored(other, [0.5], shown=["one"]) != a
    wide = SimulatedJudge(noise=0.1, temperature=0.01, length_bias=0.0, position_bias=0.0)
    seen = scored(wide, [0.5] * 4000, [0] * 4000, [str(i) for i in range(4000)])
    assert seen.mean() == pytest.approx(0, abs=0.01)
    assert seen.std() == pytest.approx(0.2, rel=0.05)  # of a scale from 0 to 1, mapped to [−1, 1]


# -- ensembles

THREE = [[1.0, 2.0, 0.5], [0.2, 2.2, 0.4], [0.9, -1.0, 0.6]]  # a row a member


@pytest.mark.parametrize(
    ("ensemble", "rewards"),
    [
        (Ensemble(3, "mean"), [0.7, 1.0667, 0.5]),
        (Ensemble(3, "worst_case"), [0.2, -1.0, 0.4]),
        (Ensemble(3, "uncertainty_weighted", coef=0.5), [0.6367, -0.0044, 0.4967]),
        # squares around the mean sum to 0.38, 6.4267 and 0.02; over two: 0.19, 3.2133 and 0.01
        (Ensemble(3, "uncertainty_weighted", coef=0.1, ddof=1), [0.681, 0.7453, 0.499]),
    ],
    ids=lambda x: x.combine if isinstance(x, Ensemble) else "",
)
def test_members_of_an_ensemble_become_one_reward(ensemble, rewards):
    assert ensemble(THREE) == pytest.approx(rewards, abs=1e-4)


def test_doubt_costs_only_where_members_differ():
    ensemble = Ensemble(2, "uncertainty_weighted", coef=0.1, ddof=1)
    assert ensemble([[1.0, 0.0], [1.0, 2.0]]) == pytest.approx([1.0, 0.8])


def test_an_ensemble_of_one_says_what_that_one_says():
    said = [0.1, -1 / 3, 1e-7, 5e3]
    one = np.float32(said).tolist()
    assert Ensemble()([one]) == one


def test_an_ensemble_that_cannot_be_is_told_by_its_setting():
    with pytest.raises(LookupError, match=r"combine='median': one of mean, worst_case, unc"):
        Ensemble(3, "median")
    with pytest.raises(ValueError, match=r"members=1: a variance over members − 1"):
        Ensemble(1, "uncertainty_weighted", coef=0.1, ddof=1)


# -- programs


def parts(x: Example, response: str, finished: bool) -> dict[str, float]:
    return {"words": float(len(response.split())), "unfinished": 0.0 if finished else -0.5}


def task(**changes) -> Task:
    splits = {"train": (), "validation": (), "test": ()}
    return Task(name="toy", version=1, splits=splits, **changes)


EXAMPLES = [
    Example(id="one", prompt="x", references=("ben sold lamps .", "lamps were sold .")),
    Example(id="two", prompt="y", references=("lena moved chairs .",)),
]


def test_gold_is_the_sum_of_the_parts_of_each_answer():
    answers = [Answer("ben sold lamps", finished=False), Answer("lena")]
    assert gold.rewards(task(gold=parts), EXAMPLES, answers) == [2.5, 1.0]


def test_a_task_without_gold_says_so():
    with pytest.raises(LookupError, match="'toy' has no gold reward"):
        gold.rewards(task(), EXAMPLES, [Answer("a"), Answer("b")])


def test_rouge_is_one_for_a_reference_itself_and_zero_for_other_words():
    texts = ["lamps were sold .", "anna baked bread"]
    assert rouge.rewards(EXAMPLES, [Answer(t) for t in texts]) == pytest.approx([1.0, 0.0])
    half = rouge.rewards(EXAMPLES[1:], [Answer("lena moved")])  # precision 1, recall 2/3
    assert half == pytest.approx([0.8])


def test_rouge_without_a_reference_names_the_example_and_the_setting():
    nothing = [*EXAMPLES, Example(id="three", prompt="z")]
    with pytest.raises(LookupError, match=r"ROUGE as a reward needs references.*three"):
        rouge.rewards(nothing, [Answer("a")] * 3)


@pytest.mark.parametrize("rewards", [lambda *a: gold.rewards(task(gold=parts), *a)], ids=["gold"])
def test_an_answer_too_few_is_an_error(rewards):
    with pytest.raises(ValueError, match="zip"):
        rewards(EXAMPLES, [Answer("a")])
