"""A labeller behind HTTP: a real server on loopback that answers, fails, stalls and talks nonsense."""

import time

import numpy as np
import pytest

from bench.feedback.endpoint import Endpoint, Requests, chosen, masses
from bench.feedback.labeller import SCORES, SIDES, LabellerError
from tests.server import KEY, Server, always, completion


def endpoint(server: Server, tmp_path, *, top_logprobs: int = 20, **requests) -> Endpoint:
    sent = {"key_from": "PREFZOO_KEY", "timeout": 10.0, **requests}
    return Endpoint(
        "toy", server.url, tmp_path / "answers.sqlite", top_logprobs=top_logprobs,
        requests=Requests(**sent),
    )  # fmt: skip


def test_a_choice_is_read_off_the_likeliest_tokens(serve, tmp_path):
    server = serve(always("2", {"2": np.log(0.6), "1": np.log(0.2), " 1": np.log(0.1)}))
    found = endpoint(server, tmp_path).choose(["which?"], SIDES)
    assert np.exp(found).tolist() == [pytest.approx([0.3, 0.6])]
    (body,) = server.asked
    assert body["messages"] == [{"role": "user", "content": "which?"}]
    assert (body["model"], body["temperature"]) == ("toy", 0)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert server.keys == [f"Bearer {KEY}"]


def test_without_log_probs_the_text_is_read_and_nonsense_is_not(serve, tmp_path):
    texts = iter(["2.", "the answer is 1", "either, 1 or 2", "blue"])
    server = serve(lambda number, body: (200, completion(next(texts))))
    local = endpoint(server, tmp_path, top_logprobs=0, concurrency=1)
    found = local.choose(list("abcd"), SIDES)
    assert np.exp(found[:2]).tolist() == [[0, 1], [1, 0]]
    assert np.isnan(found[2:]).all()
    assert all("logprobs" not in body for body in server.asked)


def test_a_server_that_is_asked_for_log_probs_may_give_none(serve, tmp_path):
    found = endpoint(serve(always("1")), tmp_path).choose(["a"], SIDES)
    assert np.exp(found).tolist() == [[1, 0]]


def test_it_says_what_it_is_asked_for(serve, tmp_path):
    server = serve(lambda number, body: (200, completion(body["messages"][0]["content"].upper())))
    assert endpoint(server, tmp_path).generate(["a", "b", "a"]) == ["A", "B", "A"]
    assert sorted(server.prompts) == ["a", "b"]  # nothing is asked twice
    assert server.asked[0]["max_tokens"] == 256


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_fails_is_tried_again(serve, tmp_path, status):
    def reply(number, body):
        return (status, {"error": {"message": "later"}}) if number < 3 else (200, completion("1"))

    server = serve(reply)
    assert endpoint(server, tmp_path, retries=3).generate(["a"]) == ["1"]
    assert server.prompts == ["a"] * 4


@pytest.mark.parametrize("status", [429, 500])
def test_what_fails_for_good_is_one_line_and_what_was_answered_is_kept(serve, tmp_path, status):
    broken = {"c"}

    def reply(number, body):
        asked = body["messages"][0]["content"]
        if asked in broken:
            return status, {"error": {"message": f"no\nroom for {KEY}"}}
        return 200, completion(asked * 2)

    server = serve(reply)
    asked = endpoint(server, tmp_path, retries=1, concurrency=1)
    with pytest.raises(LabellerError, match=f"{server.url}, model toy, says {status}") as error:
        asked.generate(list("abcd"))
    assert KEY not in str(error.value)
    assert "\n" not in str(error.value)
    assert "kept, and the same command goes on" in str(error.value)
    broken.clear()
    assert endpoint(server, tmp_path).generate(list("abcd")) == ["aa", "bb", "cc", "dd"]
    assert sorted(server.prompts) == ["a", "b", "c", "c", "c", "d"]


def test_a_server_that_stalls_is_not_waited_for(serve, tmp_path):
    def reply(number, body):
        time.sleep(1.0 if number == 0 else 0.0)
        return 200, completion("1")

    server = serve(reply)
    assert endpoint(server, tmp_path, timeout=0.2, retries=1).generate(["a"]) == ["1"]
    assert len(server.asked) == 2
    stalled = serve(lambda number, body: (time.sleep(1.0), (200, completion("1")))[1])
    with pytest.raises(LabellerError, match="gives no answer: Request timed out"):
        endpoint(stalled, tmp_path, timeout=0.2, retries=0).generate(["b"])


def test_nobody_at_home_is_one_line(tmp_path, serve):
    server = serve(always("1"))
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(LabellerError, match="gives no answer: Connection error"):
        endpoint(server, tmp_path, retries=0).generate(["a"])


@pytest.mark.parametrize(
    "said",
    [
        "<html>busy</html>",
        "{",
        {"choices": []},
        {"choices": None},
        {"object": "list"},
        [1, 2],
        "null",
        {"choices": [{"message": None}]},
    ],
    ids=str,
)
def test_what_is_no_completion_is_one_line_and_is_not_kept(serve, tmp_path, said):
    server = serve(lambda number, body: (200, said if number == 0 else completion("1")))
    asked = endpoint(server, tmp_path)
    with pytest.raises(LabellerError, match="says what is no completion"):
        asked.generate(["a"])
    assert asked.generate(["a"]) == ["1"]


def test_a_refused_key_names_its_variable_and_not_itself(serve, tmp_path):
    told = {"error": {"message": f"Incorrect API key provided: {KEY[:6]}***789"}}
    with pytest.raises(LabellerError, match=r"refused the key \(401\).* PREFZOO_KEY") as error:
        endpoint(serve(lambda number, body: (401, told)), tmp_path).generate(["a"])
    assert KEY[:6] not in str(error.value)


def test_a_server_without_keys_is_asked_without(serve, tmp_path, monkeypatch):
    monkeypatch.delenv("PREFZOO_KEY")
    server = serve(always("1"))
    assert endpoint(server, tmp_path).generate(["a"]) == ["1"]
    assert KEY not in server.keys[0]


def test_answers_are_kept_by_model_and_prompt_and_no_key_is(serve, tmp_path):
    server = serve(always("2", {"2": -0.1}))
    asked = endpoint(server, tmp_path)
    first = asked.choose(["a", "b"], SIDES)
    assert endpoint(server, tmp_path).choose(["b", "a"], SIDES).tolist() == first[::-1].tolist()
    assert len(server.asked) == 2
    asked.choose(["a"], SCORES)  # another way to read the same answer
    assert len(server.asked) == 2
    asked.generate(["a"])
    other = Endpoint("other", server.url, asked.cache, requests=asked.requests)
    other.choose(["a"], SIDES)
    endpoint(server, tmp_path, top_logprobs=5).choose(["a"], SIDES)
    assert len(server.asked) == 5
    assert KEY.encode() not in asked.cache.read_bytes()
    assert KEY not in repr(asked)


@pytest.mark.parametrize("cap", [{"max_calls": 3}, {"max_tokens": 21}])  # of 10 tokens a call
def test_a_budget_ends_the_run_and_what_was_answered_is_kept(serve, tmp_path, cap):
    server = serve(always("1"))
    ((name, limit),) = cap.items()
    with pytest.raises(LabellerError, match=rf"of {limit} {name[4:]}; .* raise .*requests\.{name}"):
        endpoint(server, tmp_path, concurrency=1, **cap).generate(list("abcde"))
    assert server.prompts == list("abc")
    with pytest.raises(LabellerError, match="is spent"):  # not for every process anew
        endpoint(server, tmp_path, **cap).generate(list("abcde"))
    assert len(server.asked) == 3
    assert endpoint(server, tmp_path, **cap).generate(list("abc")) == ["1"] * 3
    assert endpoint(server, tmp_path).generate(list("abcde")) == ["1"] * 5
    assert len(server.asked) == 5


def test_so_many_requests_are_under_way_at_one_time(serve, tmp_path):
    def reply(number, body):
        time.sleep(0.05)
        return 200, completion("1")

    server = serve(reply)
    endpoint(server, tmp_path, concurrency=3).generate([str(i) for i in range(12)])
    assert server.busiest == 3


# -- what an answer chooses

P = {word: float(np.log(p)) for word, p in [("half", 0.5), ("quarter", 0.25), ("tenth", 0.1)]}


def shares(text, places, options=SCORES) -> dict[str, float]:
    found = np.exp(chosen(text, places, options))
    return {o: round(float(p), 6) for o, p in zip(options, found, strict=True) if p}


def test_white_space_is_no_difference():
    top = [("1", P["half"]), (" 1", P["quarter"]), ("2\n", P["tenth"])]
    assert masses(top) == pytest.approx({"1": 0.75, "2": 0.1})
    lead = ("\n\n", [("\n\n", -0.01), ("2", -5.0)])
    assert shares("\n\n1", [lead, ("1", top)], SIDES) == pytest.approx({"1": 0.75, "2": 0.1})


def test_ten_may_be_one_token_or_two():
    whole = [("10", [("10", P["half"]), ("1", P["tenth"])]), ("0", [("0", P["half"])])]
    assert shares("100", whole) == pytest.approx({"1": 0.1, "10": 0.5})
    parts = [("1", [("1", P["half"]), ("7", P["quarter"])]), ("0", [("0", P["half"]), ("", -1.0)])]
    assert shares("10", parts) == pytest.approx({"1": 0.25, "7": 0.25, "10": 0.25})
    elsewhere = [("7", [("7", P["half"]), ("1", P["quarter"])]), (".", [("0", P["half"])])]
    assert shares("7.", elsewhere) == pytest.approx({"1": 0.25, "7": 0.5})


def test_where_no_likely_token_is_an_option_the_text_is_read():
    places = [("Answer", [("Answer", -0.1), ("The", -2.0)]), (" 2", [(" 2", -0.1)])]
    assert shares("Answer 2", places, SIDES) == {"2": 1.0}
    assert np.isnan(chosen("Neither", places[:1], SIDES)).all()
    assert np.isnan(chosen("", [], SIDES)).all()
