"""`prefzoo pilot`: which reward model, metric or judge agrees with people, on a sample of their labels.

A case is two answers to a prompt; whoever preferred one of them gives it a vote, so that a case which
several people labelled stands on several lines. Two judges are always there: the longer answer and, where
rows have references besides the two, ROUGE-L. Runs are named on the command line (reward models, and
policies by their implicit reward), and a labeller is described as for training.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .judges import of_metric, of_run
from .names import Unknown, find_run
from .stats.agreement import among_themselves, cases_to_decide, mcnemar, right
from .stats.bootstrap import mean_interval, wilson
from .tasks.example import DataError, Example
from .tasks.formats import Reader
from .tasks.sources import by_split, sources

FEW, MANY = 100, 300  # cases of a usual pilot
USAGE = "usage: prefzoo pilot PAIRS [RUN ...] [pool=PAIRS] [queue=FILE] [feedback=labeller ...]"


@dataclass
class Case:
    """Two answers to a prompt, and who preferred which."""

    example: Example
    first: str
    second: str
    votes: list[int] = field(default_factory=lambda: [0, 0])

    @property
    def key(self) -> tuple[str, frozenset[str]]:
        return self.example.prompt, frozenset((self.first, self.second))

    @property
    def share(self) -> float:
        """Of the votes, those for the first."""
        return self.votes[0] / sum(self.votes)


@dataclass(frozen=True)
class Judged:
    """A judge's margins, first less second answer, a case each; NaN where it could not tell."""

    name: str
    margins: np.ndarray


def cases(path: str) -> list[Case]:
    """The labelled pairs of a file or folder; the order of two answers is that of their first line. Rows
    whose two answers are one say nothing."""
    found: dict[tuple[str, frozenset[str]], Case] = {}
    reader = Reader({}, "{prompt}", "{document}")
    for _, parts in by_split(path, sources(path), None).items():
        for where, rows in parts:
            examples, _ = reader.read(where, rows())
            for x in examples:
                if x.chosen is None or x.rejected is None:
                    raise DataError(
                        f"{path}: a pilot needs pairs: rows of prompt, chosen, rejected"
                    )
                if x.chosen == x.rejected:
                    continue
                case = Case(x, x.chosen, x.rejected)
                case = found.setdefault(case.key, case)
                case.votes[int(x.chosen != case.first)] += 1
    if not found:
        raise DataError(f"{path}: no pair is left to judge")
    return list(found.values())


# -- judges


def judges(words: Sequence[str], runs: Sequence[str], them: Sequence[Case]) -> Iterator[Judged]:
    """Those of every pilot, those of runs, and a labeller if the words describe one."""
    answers = [getattr(c, side) for side in ("first", "second") for c in them]
    references = 2 * [c.example.references for c in them]
    known = all(set(c.example.references) - {c.first, c.second} for c in them)
    for name, metric in (("longer", "length"), *([("rougeL", "rougeL")] if known else [])):
        scores = of_metric(metric, answers, references)
        yield Judged(name, np.subtract(*np.split(scores, 2)))
    for name in runs:
        path = find_run(name, Path("runs/records"))
        yield Judged(path.stem, margins_of_run(path, them))
    if words:
        yield Judged("labeller", margins_of_labeller(words, them))


def margins_of_run(path: Path, them: Sequence[Case]) -> np.ndarray:
    """By a reward model, or by β (log π − log π_SFT) of a policy."""
    prompts = [c.example.prompt for c in them]
    answers = [getattr(c, side) for side in ("first", "second") for c in them]
    return np.subtract(*np.split(of_run(path, 2 * prompts, answers), 2))


def margins_of_labeller(words: Sequence[str], them: Sequence[Case]) -> np.ndarray:
    """P(first ≻ second) − ½ of the language model that `feedback=labeller` describes, in both orders."""
    from .feedback.answer import Answer
    from .names import config_folder
    from .stages.ai_labeller import verdicts
    from .stages.cell import Cell
    from .store import Store
    from .tune import resolved

    config = resolved(words, config_folder())
    if config["feedback"]["labels"] != "labeller":
        raise Unknown("of feedback a pilot knows the labeller: `feedback=labeller ...`")
    cell = Cell(config, Store(Path(config["store"])))
    sides = ([Answer(getattr(c, side), ()) for c in them] for side in ("first", "second"))
    said, _ = verdicts(cell, [c.example for c in them], *sides)
    return np.array(said) - 0.5


# -- what they say


def lines(them: Sequence[Case], found: Sequence[Judged]) -> Iterator[str]:
    """The report, a line at a time."""
    firsts = np.array([c.share for c in them])
    longer = found[0].margins
    even = int((firsts == 0.5).sum())
    yield f"{len(them)} cases" + (
        f", {even} of them even among people and left out" if even else ""
    )
    if not FEW <= len(them) <= MANY:
        yield f"(a pilot usually has {FEW} to {MANY})"
    likes = right(longer, firsts)
    likes = likes[~np.isnan(likes) & (longer != 0)]
    yield f"people prefer the longer answer: {told(wilson(likes.sum(), len(likes)))}"
    several = sum(sum(c.votes) > 1 for c in them)
    if several:
        agreed = among_themselves([(c.votes[0], c.votes[1]) for c in them])
        yield f"two people agree: {told(agreed)} on {several} cases that several labelled; chance is 0.5"
    yield ""
    yield f"{'judge':32} {'agrees with people':22} longer won  shorter won  says longer  not judged"
    ranked = sorted(found, key=lambda j: -np.nanmean(right(j.margins, firsts)))
    for judge in ranked:
        yield row(judge, firsts, longer)
    yield ""
    yield from best_two(ranked, firsts)


def row(judge: Judged, firsts: np.ndarray, longer: np.ndarray) -> str:
    hits = right(judge.margins, firsts)
    there = ~np.isnan(hits)
    share = wilson(hits[there].sum(), int(there.sum()))
    won = np.sign(longer) * np.sign(firsts - 0.5)  # 1: the longer one was preferred
    where = [there & (won == side) for side in (1, -1)]
    by_length = [f"{hits[w].mean():11.2f}" if w.any() else " " * 11 for w in where]
    apart = there & (longer != 0)
    says = (1 + np.sign(judge.margins[apart]) * np.sign(longer[apart])) / 2
    left = int(np.isnan(judge.margins).sum())
    shown = f"{says.mean():12.2f}" if apart.any() else " " * 12
    return (
        f"{judge.name[:32]:32} {told(share):22}{by_length[0]}  {by_length[1]} {shown}  {left:10d}"
    )


def best_two(ranked: Sequence[Judged], firsts: np.ndarray) -> Iterator[str]:
    """Whether the first is better than the second, and how many labels would tell."""
    if len(ranked) < 2:
        return
    hits = [right(j.margins, firsts) for j in ranked[:2]]
    both = ~np.isnan(hits[0]) & ~np.isnan(hits[1])
    ours, theirs = (x[both] for x in hits)
    gap, p = mean_interval(ours - theirs), mcnemar(ours, theirs)
    if len(ours) < 2:
        yield "too few cases that both judged to compare judges"
        return
    yield (
        f"{ranked[0].name} over {ranked[1].name}: {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), "
        f"p {p:.3f} (McNemar, mid-p)"
    )
    need = cases_to_decide(ours, theirs)
    if p < 0.05:
        yield "this sample tells them apart"
    elif np.isinf(need):
        yield "they are right equally often: no number of labels like these would tell them apart"
    else:
        more = max(0, int(np.ceil(need)) - int(both.sum()))
        yield f"about {more} more labels would tell them apart (power 0.8), if they differ as here"


def told(share: Any) -> str:
    return f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})"


def against_pool(them: Sequence[Case], pool: Sequence[Case]) -> Iterator[str]:
    """Whether the sample looks like what it was drawn from: lengths, and words that it lacks."""
    from scipy.stats import ks_2samp

    texts = {
        "prompts": lambda c: [c.example.prompt],
        "answers": lambda c: [c.first, c.second],
    }
    yield ""
    for name, of in texts.items():
        ours, theirs = ([len(t.split()) for c in side for t in of(c)] for side in (them, pool))
        test = ks_2samp(ours, theirs)
        alike = "as in the pool" if test.pvalue >= 0.05 else "NOT as in the pool"
        yield (
            f"length of {name}: median {np.median(ours):g} words, {np.median(theirs):g} in the pool: "
            f"{alike} (Kolmogorov-Smirnov {test.statistic:.2f}, p {test.pvalue:.3f})"
        )
    seen = {w for c in them for t in (c.example.prompt, c.first, c.second) for w in t.split()}
    words = [w for c in pool for w in c.example.prompt.split()]
    known = np.mean([w in seen for w in words])
    yield f"of the words of the pool's prompts {known:.2f} are in the sample"


def queue(them: Sequence[Case], found: Sequence[Judged]) -> list[dict[str, Any]]:
    """Cases in the order in which judges dispute them, as `feedback=people` reads them; a judge that
    always takes the longer one has no say."""
    margins = np.nan_to_num([j.margins for j in found[1:] or found])  # who cannot tell is even
    dispute = 1 - np.abs(np.sign(margins).mean(0))
    size = np.abs(margins / margins.std(1, keepdims=True).clip(1e-9)).mean(0)
    return [
        {
            "id": them[i].example.id,
            "prompt": them[i].example.prompt,
            "a": them[i].first,
            "b": them[i].second,
            "better": None,
            "disagreement": round(float(dispute[i]), 4),
        }
        for i in np.lexsort((size, -dispute))
    ]


def pilot(words: Sequence[str]) -> int:
    """Print the report and write the queue."""
    from .store import write_atomically

    named, others = defaultdict[str, str](str), []
    for word in words:
        key, is_setting, value = word.partition("=")
        if is_setting and key in ("pool", "queue"):
            named[key] = value
        else:
            others.append(word)
    plain = [w for w in others if "=" not in w]
    settings = [w for w in others if "=" in w]
    if not plain:
        raise Unknown(USAGE)
    them = cases(plain[0])
    found = list(judges(settings, plain[1:], them))
    for line in lines(them, found):
        print(line)
    asked = them
    if named["pool"]:
        asked = unlabelled(cases(named["pool"]), them)
        for line in against_pool(them, asked or them):
            print(line)
        found = list(judges(settings, plain[1:], asked)) if asked else []
    if asked and found:
        path = Path(named["queue"] or "runs/pilot/queue.jsonl")
        rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in queue(asked, found))
        write_atomically(path, rows.encode())
        print(f"\n{len(asked)} cases, the most disputed first: {path}")
    return 0


def unlabelled(pool: Sequence[Case], them: Sequence[Case]) -> list[Case]:
    """Those of the pool that the sample lacks."""
    seen = {case.key for case in them}
    return [case for case in pool if case.key not in seen]
