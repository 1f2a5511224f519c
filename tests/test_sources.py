"""Sources of transfer as recipes name them: what they are called, what they read, what they say."""

import pytest
import torch

from bench.feedback import bertscore, rouge
from bench.feedback.answer import Answer
from bench.models.build import load_policy
from bench.models.scoring import reference_logps
from bench.models.tokens import Tokens, bpe, response_ids
from bench.names import Unknown, config_folder
from bench.stages import feeds, optimize, reward_model, sft, sources
from bench.stages.cell import Cell
from bench.store import Store
from bench.tasks.example import Example
from bench.tune import resolved
from tests import tiny
from tests.test_end_to_end import SMALL

WORDS = bpe(["a b c d e f g"], 259)
EXAMPLES = [
    Example(id="0", prompt="ab", references=("anna sold lamps .",)),
    Example(id="1", prompt="abc", references=("bob paid rent .", "rent was paid")),
]
ANSWERS = [Answer("anna sold lamps ."), Answer("rent was lost")]


def cell(root, *words: str) -> Cell:
    """Of a recipe of one source where `words` say so."""
    config = resolved(["algo=transfer_po", *SMALL, *words], config_folder())
    return Cell(config, Store(root))


def shouting(examples, answers):
    """Somebody's own source."""
    return [float(a.text.isupper()) for a in answers]


def one(spec: str) -> str:
    return f"feed.transfer.sources=[{{{spec}}}]"


def test_a_source_is_called_what_it_is_or_what_it_is_called(tmp_path):
    here = cell(tmp_path)
    assert list(sources.named(here)) == ["rouge", "bertscore", "weak_reward_model"]
    for twice in ("{name: rouge}, {name: rouge}", "{name: rouge, as: 'null'}", "{_target_: a.b}"):
        with pytest.raises(LookupError, match="needs a name of its own"):
            sources.named(cell(tmp_path, f"feed.transfer.sources=[{twice}]"))


def test_what_determines_a_source_determines_the_policy(tmp_path):
    here = cell(tmp_path)
    weak = {"by": "dataset", "part": "train", "member": 1, "share": 0.1}
    assert sources.identity(here) == {
        "rouge": None,
        "bertscore": here.config["metrics"]["bertscore"],
        "weak_reward_model": here.key(reward_model, **weak),
    }
    keys = {cell(tmp_path, *words).key(optimize) for words in (
        [],
        ["feed.transfer.sources=[]"],
        [one("name: rouge")],
        [one("name: rouge, as: other")],
        [one("name: reward_model, member: 1, share: 0.1")],
        [one("name: reward_model, member: 1, share: 0.5")],
        [one("name: rouge"), "feed.transfer.null_win_rate=-inf"],
    )}  # fmt: skip
    assert len(keys) == 7


@pytest.mark.parametrize("spec", ["name: rogue", "name: reward_model, share: 0.5"])
def test_what_is_no_source_is_told_with_all_that_are(tmp_path, spec):
    with pytest.raises(LookupError, match=r"one of \{name: rouge\}, .*_target_"):
        cell(tmp_path, one(spec)).key(optimize)


def test_a_run_that_is_not_there_is_told(tmp_path):
    with pytest.raises(Unknown, match="'gone' is neither a run"):
        cell(tmp_path, one("name: policy, of: gone")).key(optimize)


@pytest.mark.parametrize("wrong", ["replaced=8", "replaced=0", "candidates=3"])
def test_some_answers_have_to_be_the_policys_own_and_some_not(tmp_path, wrong):
    here = cell(tmp_path, f"feed.transfer.{wrong}")
    with pytest.raises(ValueError, match=rf"feed\.transfer\.{wrong}.* own, and some not"):
        feeds.helped(here, None, 2, "cpu")


# -- what they say


def test_texts_are_compared_with_references(tmp_path):
    here = cell(tmp_path)
    said = feeds.source_rewards(here, None, {"name": "rouge"}, "cpu")
    assert (
        said(EXAMPLES, ANSWERS) == rouge.rewards(EXAMPLES, ANSWERS) == [1.0, pytest.approx(2 / 3)]
    )
    said = feeds.source_rewards(here, None, {"name": "bertscore"}, "cpu")
    same, close = said(EXAMPLES, ANSWERS)
    assert same == pytest.approx(1.0)
    assert 0.3 < close < 0.99
    with pytest.raises(LookupError, match=r"BERTScore as a reward needs references.*two"):
        bertscore.rewards([Example(id="two", prompt="p")], ANSWERS[:1], None)


def test_a_policy_says_how_much_likelier_than_the_reference_it_finds_an_answer(tmp_path):
    for name, seed in (("its", 1), ("base", 0)):
        tiny.llama(seed, len(WORDS)).save_pretrained(tmp_path / name)
        WORDS.save_pretrained(tmp_path / name)
    said = feeds.log_ratios(str(tmp_path / "its"), tmp_path / "base", WORDS, "cpu")
    texts = [" ab", " cde"]
    ids = response_ids(WORDS, texts)
    got = said(EXAMPLES, [Answer(t, tuple(i)) for t, i in zip(texts, ids, strict=True)])
    tokens = Tokens.behind(WORDS, [x.prompt for x in EXAMPLES], ids)
    ours, theirs = (
        reference_logps(load_policy(tmp_path / name), tokens, 8).sum(1) for name in ("its", "base")
    )
    assert got == pytest.approx((ours - theirs).tolist(), abs=1e-4)
    assert torch.tensor(got).abs().min() > 0.1


def test_a_policy_of_other_words_is_told(tmp_path):
    other = bpe(["x y"], 260)
    other.add_tokens(["nonsense"])
    tiny.llama(0, len(other)).save_pretrained(tmp_path)
    bpe(["a b"], 258).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"vocabulary of .* name a policy of the same tokenizer"):
        feeds.log_ratios(str(tmp_path), tmp_path, other, "cpu")


def test_somebodys_own_source(tmp_path):
    spec = {"_target_": "tests.test_sources.shouting", "_partial_": True}
    said = feeds.source_rewards(cell(tmp_path), None, spec, "cpu")
    assert said(EXAMPLES, [Answer("A"), Answer("a")]) == [1.0, 0.0]


def test_a_policy_reads_what_it_was_made_of(tmp_path):
    """A run's policy is known by its key, wherever the store lies."""
    here = cell(tmp_path, one(f"name: policy, of: {tmp_path}/elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    assert sources.identity(here) == {"policy": str(tmp_path / "elsewhere")}
    assert here.key(sft) == cell(tmp_path).key(sft)
