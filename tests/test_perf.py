"""The benchmark measures what it says; how fast anything is is no business of a test."""

from bench.perf import clock, rollouts, workload


def test_rounds_are_taken_by_turns_and_the_first_is_not_counted(monkeypatch):
    order, now = [], [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

    def taking(name: str, seconds: list[float]):
        left = iter(seconds)

        def run() -> None:
            order.append(name)
            now[0] += next(left)

        return run

    ours, peer = taking("ours", [9, 1, 2, 6]), taking("peer", [9, 1, 1, 2])
    row = clock.compared("x", ours, peer, rounds=3)
    assert order == ["peer", "ours", "ours", "peer", "peer", "ours", "ours", "peer"]
    assert (row.ours_ms, row.peer_ms) == (2000, 1000)
    assert (row.ratio, row.lowest, row.highest) == (2, 1, 3)


def test_both_decode_as_many_tokens_to_the_same_prompts(monkeypatch):
    monkeypatch.setattr(rollouts, "PROMPTS", 2)
    monkeypatch.setattr(rollouts, "NEW_TOKENS", 3)
    policy = workload.model()
    steps = []
    forward = policy.forward
    monkeypatch.setattr(
        policy,
        "forward",
        lambda **read: (steps.append(tuple(read["input_ids"].shape)), forward(**read))[1],
    )
    monkeypatch.setattr(rollouts, "model", lambda: policy)
    seen = {}

    def once(name, ours, peer, rounds):
        for who, run in (("ours", ours), ("peer", peer)):
            steps.clear()
            run()
            seen[name, who] = list(steps)

    monkeypatch.setattr(rollouts, "compared", once)
    rollouts.rows(1)
    assert len(seen["rollouts", "ours"]) == len(seen["rollouts", "peer"]) == 3
    assert seen["rollouts", "ours"][1:] == seen["rollouts", "peer"][1:] == [(2, 1), (2, 1)]
    assert sorted(seen["rollouts", "ours"][0]) == sorted(seen["rollouts", "peer"][0])
