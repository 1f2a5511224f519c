"""Alarms: logs that must raise one, and logs that must not."""

import pytest

from bench.training.alarms import alarms


def log(lengths, perplexities, kls, every: int = 4) -> list[dict[str, float]]:
    """A phase every so many updates, the rows between without measures."""
    rows = []
    for i, measured in enumerate(zip(lengths, perplexities, kls, strict=True)):
        names = ("rollout/length", "rollout/reference_perplexity", "rollout/kl")
        rows.append({"step": 1 + every * i, "loss": 0.1, **dict(zip(names, measured, strict=True))})
        rows += [{"step": 1 + every * i + k, "loss": 0.1} for k in range(1, every)]
    return rows


def raised(*columns) -> list[tuple[str, int]]:
    return [(x.name, x.update) for x in alarms(log(*columns))]


LONGER, LIKELIER, SHARP = [10, 10, 11, 13], [1.5, 1.5, 1.4, 1.2], [0.0, 0.5, 1.5, 4.0]


def test_a_collapse_is_longer_likelier_and_far_at_a_growing_pace():
    assert raised(LONGER, LIKELIER, SHARP) == [("pattern collapse", 13)]


@pytest.mark.parametrize(
    ("lengths", "perplexities", "kls"),
    [
        ([10, 10, 11, 11.9], LIKELIER, SHARP),
        (LONGER, [1.5, 1.5, 1.4, 1.4], SHARP),
        (LONGER, LIKELIER, [0.0, 0.5, 1.5, 3.0]),  # less than ¼ nat a token
        (LONGER, LIKELIER, [0.0, 2.4, 3.5, 4.0]),  # it slows down
    ],
    ids=["no longer", "no likelier", "near", "slower"],
)
def test_a_sign_less_is_no_collapse(lengths, perplexities, kls):
    assert raised(lengths, perplexities, kls) == []


def test_each_alarm_comes_once_when_it_is_first_seen():
    grows = [2.0**i for i in range(6)]
    assert raised([10, 11, 13, 14, 15, 16], [1.5, 1.4, 1.2, 1.2, 1.2, 3.0], grows) == [
        ("pattern collapse", 9),
        ("drift", 21),
    ]


def test_the_words_name_it_and_say_when_and_how_far():
    (alarm,) = alarms(log(LONGER, LIKELIER, SHARP))
    assert alarm.words == (
        "pattern collapse from update 13: responses of 13 (at first 10) tokens, a perplexity under the "
        "reference of 1.2 (at first 1.5), a KL of 4 nats that rises sharply"
    )


def test_without_a_reference_there_is_nothing_to_read():
    assert alarms([]) == []
    assert alarms([{"step": 1, "rollout/length": 10.0}]) == []


# Phases of two runs of PPO on digest that are written up in results/log.md, seed 0: one whose gold reward
# keeps rising, and one without a price on KL, whose gold reward falls from 0.84 (update 13) on.


def test_a_run_that_gets_better_raises_none():
    lengths = [11.2, 11.1, 9.7, 9.7, 8.9, 9.4, 8.9, 8.4, 8.6, 8.5, 8.5, 8.7]
    perplexities = [1.27, 1.28, 1.31, 1.29, 1.27, 1.26, 1.27, 1.24, 1.29, 1.27, 1.22, 1.26]
    kls = [0.0, 0.02, 0.16, 0.20, 0.42, 0.40, 0.61, 0.76, 0.73, 0.80, 0.77, 0.88]
    assert raised(lengths, perplexities, kls) == []


def test_a_reward_model_trusted_too_far_is_noticed_at_once():
    lengths = [11.2, 9.0, 8.6, 8.4, 8.9, 9.9, 11.1]
    perplexities = [1.27, 1.36, 1.88, 2.90, 5.62, 6.71, 19.7]
    kls = [0.0, 1.10, 3.60, 6.56, 12.98, 15.97, 29.24]
    assert [(x.name, x.update) for x in alarms(log(lengths, perplexities, kls, 12))] == [
        ("drift", 25)
    ]
