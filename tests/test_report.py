"""The page: what it carries, that nothing in it can run or leave, and that it works in a browser."""

import json
import shutil
import time
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.__main__ import main
from bench.reports import carried
from bench.reports.board import Row, Table, board
from bench.reports.carried import (
    LONGEST,
    POINTS,
    PROMPTS,
    curves,
    evenly,
    few,
    proxy_path,
    rewarded,
    samples,
)
from bench.reports.estimates import Cell
from bench.reports.page import STRIP, data, embedded, html, read_runs, span, strip, times
from bench.reports.record import RecordError, Task, write, write_per_prompt
from tests.test_records import frame, record

ROOT = Path(__file__).parents[1]
HOSTILE = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>\u2028&amp;"
GOLD = {"dpo": 0.8, "ppo": 0.9, "kto": 0.5}


def answers(recipe: str, n: int = 6) -> pd.DataFrame:
    texts = [f"{recipe} says {i}" for i in range(n)]
    if recipe == "ppo":
        texts[0] = HOSTILE
    prompts = {"prompt_id": [f"p{i}" for i in range(n)], "split": "test", "response": texts}
    gold = GOLD.get(recipe, 0.3) + np.arange(n) / 100
    return pd.DataFrame(
        {**prompts, "gold": gold, "win": 0.5, "kl": 1.0, "length": 3, "finished": True}
    )


LOG = pd.DataFrame({
    "step": [1, 2, 3, 4],
    "stage": ["ppo"] * 4,
    "loss": [4.0, 3.0, 2.0, float("inf")],
    "rollout/reward": [0.0, 1.0, 2.0, 4.0],
    "validation/gold": [None, 0.5, None, 0.25],
    "validation/kl": [None, 1.0, None, 2.0],
})  # fmt: skip


def tokens(words: str = "a b c", prompts: int = 2) -> pd.DataFrame:
    rows = [
        (f"p{i}", "test", who, place, word, (place - 1) / 2)
        for i in range(prompts)
        for who in ("end", "references")
        for place, word in enumerate(words.split())
    ]
    columns = ["prompt_id", "split", "who", "position", "token", "reward"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three methods (one of them hostile wherever it may write), controls, a failure, another task."""
    runs = tmp_path_factory.mktemp("runs")
    for name in ("training", "token_rewards", "overoptimization"):
        (runs / name).mkdir()
    for recipe in (*GOLD, "sft", "references", "copied_prompt"):
        table = answers(recipe)
        gold = table["gold"].mean()
        end = {"gold": (gold, gold - 0.05, gold + 0.05), "kl": 1 + gold, "win_rate": gold}
        end |= {"length": 5 + gold, "proxy": gold / 2, "rouge1": gold}
        changes = {} if recipe in GOLD else {"kind": "control", "algorithm": None, "feedback": None}
        if recipe == "dpo":  # the others are older than the clock of phases
            spent = {"training/backward": 30.0, "training/scoring": 10.0, "evaluation/reward": 2.0}
            changes |= {"seconds": {"training": 40.0, **spent}}
            changes |= {"peak_memory_mb": {"training/backward": 900.0, "training/scoring": 700.0}}
        if recipe == "ppo":
            changes |= {
                "notes": [HOSTILE],
                "command": f"python -m bench {HOSTILE}",
                "knobs": {"x": HOSTILE},
            }
        named = write_per_prompt(f"{recipe}-0", table, runs / "records")
        made = record(recipe, end=end, run_id=f"{recipe}-0", per_prompt=named, **changes)
        write(made, runs / "records")
        if recipe in GOLD:
            LOG.to_parquet(runs / "training" / f"{recipe}-0.parquet")
    ladder = {
        "who": ["best_of_n", "best_of_n", "training"],
        "n": [1, 4, None],
        "gold": [0.1, 0.2, 0.9],
    }
    ladder = pd.DataFrame({**ladder, "proxy": [0.0, 1.0, 0.9]})
    ladder.to_parquet(runs / "overoptimization" / "ppo-0.parquet")
    hostile = tokens("a b").assign(token=HOSTILE)
    hostile.to_parquet(runs / "token_rewards" / "ppo-0.parquet")
    failed = {"status": "failed", "error": HOSTILE, "run_id": "ipo-0"}
    write(record("ipo", **failed), runs / "records")
    other = Task(name="helpdesk", version=1, data_hash="f" * 64, prompts_hash="g" * 64)
    write(record("dpo", task=other, end={"gold": 0.4}, run_id="dpo-1"), runs / "records")
    (runs / "records" / "broken.json").write_text("{")
    return runs


@pytest.fixture(scope="module")
def runs(folder):
    return read_runs(folder)


@pytest.fixture(scope="module")
def page(runs) -> str:
    return html(runs)


class Seen(HTMLParser):
    """The elements of a page, and what stands in its scripts and styles."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.open = ""
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        self.words.append(data)
        if self.open in self.inside:
            self.inside[self.open][-1] += data


# ---------------------------------------------------------------------------- what it carries


def test_where_time_goes_is_told_of_the_rows_whose_records_know(runs):
    table = board(runs.records.values(), runs.frames).tables[0]
    (told,) = times(table, runs.records)
    assert told.row.recipe == "dpo"
    assert (told.total, told.test) == (40.0, 2.0)
    assert {k: x for k, x in told.seconds.items() if x} == {"backward": 30.0, "scoring": 10.0}
    assert (told.memory_mb, told.heaviest) == (900.0, "backward")


def test_the_page_says_where_time_goes(page):
    said = " ".join(Seen(page).words)
    assert "Where time goes" in said
    assert "30.0 75 %" in " ".join(said.split())
    assert "older than the clock of phases" in said  # the other task


def test_a_folder_is_read_whole(folder, runs):
    assert set(runs.logs) == {"dpo-0", "ppo-0", "kto-0"}
    assert set(runs.rewards) == {"ppo-0"}
    assert len(runs.frames) == 6
    assert [line for line in runs.problems if "broken.json" in line]
    again = read_runs(folder / "records")
    assert again.records == runs.records
    assert set(again.logs) == set(runs.logs)


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(RecordError, match="holds no records: run"):
        read_runs(tmp_path)


def test_every_command_and_every_failure_is_on_the_page(runs, page):
    words = " ".join(Seen(page).words)
    for run in runs.records.values():
        assert run.command in words
    assert runs.records["ipo-0"].error in words
    assert "broken.json" in words
    assert "1 failed run" in words


def test_rows_say_whether_they_beat_sft_after_correction(page):
    words = [x.strip() for x in Seen(page).words]
    assert words.count("1/1 seed") == len(GOLD)
    assert words.count("yes") == len(GOLD)
    assert "p, corrected" in words


def test_a_page_without_logs_failures_or_token_rewards_says_so(tmp_path):
    write(record(end={"gold": 1.0}), tmp_path)
    words = " ".join(Seen(html(read_runs(tmp_path))).words)
    assert "No training logs lie beside these records" in words
    assert "No run failed." in words
    assert "No run here has them: ask with" in words


def test_failures_alone_make_a_page(tmp_path):
    write(record(status="failed", error="out of memory"), tmp_path)
    assert "out of memory" in html(read_runs(tmp_path))


def test_a_table_is_points_of_its_rows(runs):
    found = data(board(runs.records.values(), runs.frames), runs)
    assert found["best_of_n"] == {"ppo-0": [[1, 0.0, 0.1], [4, 1.0, 0.2]]}
    first, second = found["boards"]
    assert [r["name"] for r in first["rows"]][:3] == ["ppo", "dpo", "kto"]
    assert first["rows"][0]["runs"] == ["ppo-0"]
    assert first["rows"][0]["cells"]["gold"] == [0.925, 0.875, 0.975]
    assert first["picked"] == [0, 1, 2]  # controls and failures are not
    assert first["rewards"] == ["gold", "proxy", "win_rate"]
    assert second["task"] == "helpdesk v1"
    assert second["samples"] is None


def test_curves_are_those_of_the_policy_without_what_is_no_number():
    critic = LOG.assign(stage="ppo: critic")
    found = curves(pd.concat([critic, LOG], ignore_index=True))
    assert found["validation/gold"] == [[2, 0.5], [4, 0.25]]
    assert found["loss"] == [[1, 4.0], [2, 3.0], [3, 2.0]]
    assert "validation/held_out" not in found


def test_a_long_curve_keeps_its_ends():
    n = 10 * POINTS
    found = curves(pd.DataFrame({"step": range(n), "loss": np.linspace(0, 1, n)}))["loss"]
    assert len(found) == POINTS
    assert found[0] == [0, 0.0]
    assert found[-1] == [n - 1, 1.0]


def test_gold_stands_beside_the_reward_of_the_rollouts_last_drawn():
    later = LOG.assign(**{"rollout/reward": [None, 1.0, 3.0, None]})
    assert proxy_path(later) == [[2, 1.0, 0.5], [4, 3.0, 0.25]]
    late = LOG.assign(**{"rollout/reward": [None, None, None, 5.0]})
    assert proxy_path(late) == [[4, 5.0, 0.25]]
    assert proxy_path(LOG.drop(columns="rollout/reward")) == []


@pytest.mark.parametrize(
    ("n", "wanted", "found"),
    [(5, 9, [0, 1, 2, 3, 4]), (5, 3, [0, 2, 4]), (5, 1, [0]), (10, 4, [0, 3, 6, 9])],
)
def test_evenly(n, wanted, found):
    assert evenly(range(n), wanted) == found


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.123456, 0.1235),
        (123456.0, 123500.0),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_few_digits(value, kept):
    assert few(value) == kept


def test_answers_are_carried_once_and_controls_tell_the_prompt(runs):
    mine = list(runs.records.values())
    found = samples(mine, runs.frames, 10**6)
    assert found["of"] == len(found["prompts"]) == 6
    assert found["metrics"] == ["gold", "win_rate", "kl", "length"]
    answer = found["runs"]["dpo-0"][2]
    assert found["texts"][answer[0]] == "dpo says 2"
    assert answer[1:] == [0.82, 0.5, 1.0, 3.0]
    assert found["texts"][found["prompts"][2]["prompt"]] == "copied_prompt says 2"
    assert found["texts"][found["prompts"][2]["reference"]] == "references says 2"
    twice = samples(mine, {"dpo-0": runs.frames["kto-0"], "kto-0": runs.frames["kto-0"]}, 10**6)
    assert len(twice["texts"]) == 6


def test_answers_are_fewer_where_they_are_long():
    many = {
        "a": frame([0.0] * 200, response="x" * 100),
        "b": frame([0.0] * 200, response="y" * 300),
    }
    mine = [record(name, run_id=name) for name in many]
    assert len(samples(mine, many, 10**6)["prompts"]) == PROMPTS
    few_of_them = samples(mine, many, 4000)  # 400 characters a prompt
    assert len(few_of_them["prompts"]) == 10
    assert all(len(rows) == 10 for rows in few_of_them["runs"].values())
    long = samples(mine[:1], {"a": frame([0.0], response="x" * (LONGEST + 7))}, 10)
    assert long["texts"] == ["x" * LONGEST + "… (7 more characters)"]


def test_a_run_that_did_not_answer_a_prompt_has_a_gap():
    whole = answers("dpo")
    found = samples(
        [record(name, run_id=name) for name in "ab"], {"a": whole, "b": whole.drop(index=3)}, 10**6
    )
    assert [row is None for row in found["runs"]["b"]] == [False, False, False, True, False, False]


def test_of_several_answers_to_a_prompt_the_first_is_shown():
    twice = pd.concat([answers("dpo"), answers("kto")], ignore_index=True)
    found = samples([record(run_id="a")], {"a": twice}, 10**6)
    assert found["of"] == 6
    assert found["texts"][0] == "dpo says 0"
    assert len(found["texts"]) == 6


def test_files_without_texts_make_no_browser():
    numbers = answers("dpo").drop(columns="response")
    assert samples([record(run_id="a")], {"a": numbers}, 10**6) is None


def test_token_rewards_are_those_of_answer_and_reference(monkeypatch):
    (first, second) = rewarded({"a": tokens()})["a"]
    assert first["end"] == first["references"] == [["a", -0.5], ["b", 0.0], ["c", 0.5]]
    assert [first["id"], second["id"]] == ["p0", "p1"]
    monkeypatch.setattr(carried, "TOKENS", 400)  # a prompt takes 6 x 13
    assert len(rewarded({"a": tokens(prompts=20)})["a"]) == 5
    assert len(rewarded({"a": tokens(prompts=20), "b": tokens(prompts=20)})["b"]) == 2


def test_a_strip_is_cut_at_the_ends_of_its_scale():
    rows = [Row(str(i), "ranked", (0,), {"gold": Cell(i, i - 1, i + 1)}) for i in range(11)]
    table = Table("t", (), "gold", tuple(rows))
    assert span(table) == (0.0, 11.0)  # 1 to 10, for 0 is the lowest tenth; half an interval is 1
    assert span(Table("t", (), "gold", tuple(rows[:1]))) == (-1.0, 1.0)
    assert span(Table("t", (), "gold", ())) is None
    inner = STRIP - 8
    assert strip(Cell(5.5, 0.0, 11.0), (0.0, 11.0)) == (4, 4 + inner / 2, 4 + inner)
    assert strip(Cell(5.5, -9.0, 11.0), (0.0, 11.0)) == (4, 4 + inner / 2, 4 + inner)
    assert strip(Cell(5.5), (0.0, 11.0)) == (4 + inner / 2,) * 3
    assert strip(Cell(-1.0, -2.0, 0.0), (0.0, 11.0)) is None
    assert strip(None, (0.0, 11.0)) is None
    assert strip(Cell(1.0), None) is None


# ---------------------------------------------------------------------- nothing runs or leaves


def test_json_in_a_page_cannot_end_its_element():
    tree = {"a": [HOSTILE, "\u2029<!--"]}
    written = embedded(tree)
    assert not set(written) & set("<>&\u2028\u2029")
    assert json.loads(written) == tree


def test_what_models_and_users_say_is_text(page):
    seen = Seen(page)
    assert [a.get("type") for tag, a in seen.elements if tag == "script"] == [
        "application/json",
        None,
    ]
    assert not [tag for tag, _ in seen.elements if tag in ("img", "iframe", "object", "link")]
    assert not [a for _, a in seen.elements if any(name.startswith("on") for name in a)]
    assert not [a for _, a in seen.elements if "style" in a]


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else(page):
    seen = Seen(page)
    (policy,) = [
        a["content"] for _, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == "'none'"

    def hashed(words):
        return f"'sha256-{b64encode(sha256(words.encode()).digest()).decode()}'"

    assert allowed["script-src"] == hashed(seen.inside["script"][1])
    assert allowed["style-src"] == hashed(seen.inside["style"][0])


def test_the_page_points_nowhere_but_into_itself(page):
    places = [
        a[name] for _, a in Seen(page).elements for name in ("href", "src", "action") if name in a
    ]
    assert places
    assert all(place.startswith("#") for place in places)
    ids = [a["id"] for _, a in Seen(page).elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {place[1:] for place in places} <= set(ids)


def test_the_verb_writes_the_page(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(folder)]) == 0
    assert "runs/report.html" in capsys.readouterr().out
    assert main(["report", str(folder), "-o", "mine.html"]) == 0
    assert Path("mine.html").read_bytes() == Path("runs/report.html").read_bytes()
    assert main(["report", "nowhere"]) == 1


def test_a_watched_page_is_made_again_when_a_record_comes(tmp_path, monkeypatch, capsys):
    page, rounds = tmp_path / "page.html", []

    def sleep(seconds):
        rounds.append(page.stat().st_mtime_ns if page.exists() else None)
        if len(rounds) in (1, 3):
            write(record("dpo", len(rounds), end={"gold": 1.0}), tmp_path / "records")
        if len(rounds) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["report", str(tmp_path), "-o", str(page), "--watch", "7"]) == 130
    assert rounds[0] is None  # it waits for the first record
    assert rounds[1] == rounds[2] < rounds[3] == rounds[4]
    assert "seed=3" in page.read_text()
    assert [
        a["content"] for _, a in Seen(page.read_text()).elements if a.get("http-equiv") == "refresh"
    ] == ["7"]
    assert capsys.readouterr().out.count("page.html") == 2


@pytest.mark.slow
def test_the_committed_records_make_a_page_of_15_mb_in_20_s(tmp_path):
    start = time.process_time()
    assert main(["report", str(ROOT / "results"), "-o", str(tmp_path / "page.html")]) == 0
    assert time.process_time() - start < 20
    assert (tmp_path / "page.html").stat().st_size < 15e6


# -------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium: the system's, for playwright's own would be a download."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no chromium on PATH (Debian: apt-get install chromium)")
    with driver.sync_playwright() as playing:
        browser = playing.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, page, tmp_path):
    """Opens the page from disk. What goes wrong in it, and what it asks for, stands in `.wrong` and
    `.asked`; both are checked at the end."""
    contexts = []

    def open_page(page=page, **options):
        (tmp_path / "page.html").write_text(page)
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        tab = context.new_page()
        tab.wrong, tab.asked = [], []
        tab.on("console", lambda message: tab.wrong.append(message.text))
        tab.on("pageerror", lambda error: tab.wrong.append(str(error)))
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.goto((tmp_path / "page.html").as_uri())
        return tab

    yield open_page
    for context in contexts:
        for tab in context.pages:
            assert tab.wrong == []
            assert set(tab.asked) == {(tmp_path / "page.html").as_uri()}
            assert tab.evaluate("window.ran") is None
        context.close()


METHODS = "#leaderboard [data-board='0'] tbody:first-of-type tr:not([hidden]) .name"


def test_it_opens_draws_and_loads_nothing(opened):
    tab = opened()
    assert tab.title().startswith("prefzoo")
    for section in ("frontier", "learning", "proxy", "lengths"):
        assert tab.locator(f"#{section} figure svg[role=img]").get_attribute("aria-label")
    assert tab.locator("#learning figure > svg .line.picked").count() == 3
    assert tab.locator("#frontier figure > svg .mark.picked").count() == 3
    assert tab.locator("#proxy .line.picked").count() == 3
    assert tab.locator("#proxy .line.anchor").count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("by_keyboard", [False, True])
def test_rows_are_sorted(opened, by_keyboard):
    tab = opened()
    head = tab.locator(
        "#leaderboard th", has=tab.get_by_role("button", name="KL", exact=True)
    ).first
    for direction, order in (
        ("descending", ["ppo", "dpo", "kto"]),
        ("ascending", ["kto", "dpo", "ppo"]),
    ):
        if by_keyboard:
            head.locator("button").focus()
            tab.keyboard.press("Enter")
        else:
            head.locator("button").click()
        assert tab.locator(METHODS).all_inner_texts() == order
        assert head.get_attribute("aria-sort") == direction
    assert tab.locator("#leaderboard [data-board='0'] th[aria-sort]").count() == 1
    tab.get_by_role("button", name="recipe").first.click()
    assert tab.locator(METHODS).all_inner_texts() == ["dpo", "kto", "ppo"]


@pytest.mark.slow
def test_rows_are_filtered(opened):
    tab = opened()
    assert tab.locator("#shown").inner_text() == "6 of 6 rows"
    tab.get_by_label("Filter rows").fill("po default")
    assert tab.locator(METHODS).all_inner_texts() == ["ppo", "dpo"]
    assert tab.locator("#shown").inner_text() == "2 of 6 rows"
    assert tab.locator("#runs [data-board='0'] details:not([hidden])").count() == 2


@pytest.mark.slow
def test_another_table_is_another_page(opened):
    tab = opened()
    tab.locator("#board").select_option(label="helpdesk v1")
    assert tab.locator("#leaderboard [data-board='1']").is_visible()
    assert tab.locator("#leaderboard [data-board='0']").is_hidden()
    assert "hold no answers" in tab.locator("#samples").inner_text()


@pytest.mark.slow
def test_ticked_rows_are_coloured_and_read_side_by_side(opened):
    tab = opened()
    cards = tab.locator("#samples .cards h3")
    assert cards.all_inner_texts() == ["reference", "ppo", "dpo", "kto"]
    tab.get_by_label("Show dpo in charts").first.uncheck()
    tab.get_by_label("Show sft in charts").first.check()  # takes the colour that is free
    assert cards.all_inner_texts() == ["reference", "ppo", "sft", "kto"]
    assert tab.locator("#frontier .key li").all_inner_texts() == ["ppo", "sft", "kto"]


@pytest.mark.slow
def test_what_was_chosen_outlives_a_reload(opened):
    tab = opened()
    tab.get_by_label("Show dpo in charts").first.uncheck()
    tab.get_by_label("Filter rows").fill("kto")
    tab.reload()
    assert tab.locator("#samples .cards h3").all_inner_texts() == ["reference", "ppo", "kto"]
    assert tab.locator(METHODS).all_inner_texts() == ["kto"]
    tab.locator("#board").select_option("1")
    tab.reload()
    assert tab.locator("#leaderboard [data-board='1']").is_visible()


@pytest.mark.slow
def test_answers_are_browsed(opened):
    tab = opened()
    answer = tab.locator("#samples .cards .card").nth(2).locator("p").first
    for step, told in (("Next", "dpo says 1"), ("Next", "dpo says 2"), ("Previous", "dpo says 1")):
        tab.get_by_role("button", name=step).click()
        assert answer.inner_text() == told
    tab.locator("#samples .prompt").select_option("5")
    assert answer.inner_text() == "dpo says 5"
    assert tab.locator("#samples .asked").inner_text() == "p5\n\ncopied_prompt says 5"


def test_markup_in_an_answer_a_token_or_an_error_is_shown_as_it_is(opened):
    tab = opened()
    shown = HOSTILE.replace("\u2028", "")
    answer = tab.locator("#samples .cards .card").nth(1).locator("p").first
    assert answer.text_content().replace("\u2028", "") == shown
    assert tab.locator("#tokens .token").first.text_content().replace("\u2028", "") == shown
    assert "<script>window.ran = 1</script>" in tab.locator("#failures").inner_text()
    assert tab.locator("img").count() == 0


@pytest.mark.slow
def test_what_got_in_as_markup_could_not_run(chromium, page, tmp_path):
    """Were all escaping undone, the policy would still stand."""
    (tmp_path / "page.html").write_text(page.replace("<h1>", f"{HOSTILE}<h1>"))
    tab = chromium.new_page()
    refused = []
    tab.on("console", lambda message: refused.append(message.text))
    tab.goto((tmp_path / "page.html").as_uri())
    tab.evaluate("""document.body.append(document.createRange().createContextualFragment(
        "<script>window.ran = 1</script><img src='http://127.0.0.1:9/x' onerror='window.ran = 1'>"))""")
    assert tab.evaluate("window.ran") is None
    assert any("Content Security Policy" in line for line in refused)
    tab.close()


@pytest.mark.slow
def test_a_picture_has_its_numbers_as_a_table(opened):
    tab = opened()
    tab.locator("#frontier summary").click()
    rows = tab.locator("#frontier tbody tr").all_inner_texts()
    assert rows[0].split("\t") == ["ppo", "1.93", "0.925"]


@pytest.mark.slow
def test_a_name_leads_to_its_command(opened):
    tab = opened()
    tab.locator("#leaderboard").get_by_role("link", name="dpo").first.click()
    tab.get_by_text("python -m bench algo=dpo seed=0").first.wait_for(state="visible")


@pytest.mark.slow
def test_dark_is_dark(opened):
    def paper(tab):
        found = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, found[4:-1].split(","))) / 3

    assert paper(opened(color_scheme="dark")) < 40
    assert paper(opened(color_scheme="light")) > 220


@pytest.mark.slow
def test_a_phone_scrolls_tables_and_not_the_page(opened):
    tab = opened(viewport={"width": 390, "height": 844})
    tab.get_by_label("all").first.check()
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    box = tab.locator("#leaderboard .scroll").first
    assert box.evaluate("x => x.scrollWidth > x.clientWidth")
    ends = "[...document.querySelectorAll('figure svg')].map(x => x.getBoundingClientRect().right)"
    assert max(tab.evaluate(ends)) <= 390


@pytest.mark.slow
@pytest.mark.parametrize("of", ["a failure", "a reward model", "gold alone"])
def test_little_to_show_is_no_error(opened, tmp_path, of):
    made = {
        "a failure": record(status="failed", error="out of memory"),
        "a reward model": record(kind="reward_model", end={"accuracy": 0.7}),
        "gold alone": record(end={"gold": 0.7}),
    }
    write(made[of], tmp_path)
    tab = opened(html(read_runs(tmp_path)))
    assert tab.get_by_role("heading", name="Leaderboard").is_visible()
    assert tab.locator("figure svg").count() == 0


@pytest.mark.slow
def test_the_first_tab_stop_skips_to_the_leaderboard(opened):
    tab = opened()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    unnamed = """[...document.querySelectorAll("input, select, button")].filter(
        x => !x.labels?.length && !x.ariaLabel && !x.textContent.trim()).length"""
    assert tab.evaluate(unnamed) == 0
