"""Rows of published data sets whose columns are no format of ours: what each says in columns that are.

`conf/task` names one of these as `load.row`; so may a task of yours. A row that is not to be learned
from raises Unusable, and is counted under its reason.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from .formats import Unusable

CNN_DAILYMAIL = frozenset({"batch0_cnndm", "cnndm0", "cnndm2"})
POST = "SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"  # as in trl-lib/tldr
ASPECTS = ("coherence", "consistency", "fluency", "relevance")


def tldr_comparison(row: Mapping[str, Any]) -> dict[str, Any]:
    """openai/summarize_from_feedback, comparisons: which of two summaries of a post a person chose.

    The post stays as it was written, so that its prompt is that of the demonstrations; trl-lib's
    tldr-preference halves its blank lines. Three batches are of CNN/DailyMail, with no post at all.
    """
    if row["batch"] in CNN_DAILYMAIL:
        raise Unusable("of CNN/DailyMail, not of TL;DR")
    better = row["choice"]
    return {
        "prompt": POST.format(**row["info"]),
        "chosen": row["summaries"][better]["text"],
        "rejected": row["summaries"][1 - better]["text"],
    }


def scitldr(row: Mapping[str, Any]) -> dict[str, Any]:
    """allenai/scitldr: lists of sentences, and of TLDRs of which the first is imitated."""
    return {
        "id": row["paper_id"],
        "document": " ".join(sentence.strip() for sentence in row["source"]),
        "summary": row["target"][0],
        "references": list(row["target"]),
    }


def imdb(row: Mapping[str, Any], prompt: tuple[int, int], words: int) -> dict[str, Any]:
    """stanfordnlp/imdb: a review's first words, as many of `prompt` (least, most) as its own hash
    says, to be gone on from, up to `words` in all. Line breaks are HTML's there."""
    said = row["text"].replace("<br />", " ").split()
    least, most = prompt
    at = least + int(sha256(row["text"].encode()).hexdigest(), 16) % (most - least + 1)
    if len(said) <= most:
        raise Unusable(f"a review of {most} words or fewer")
    return {"prompt": " ".join(said[:at]), "completion": " ".join(said[at:words])}


def summeval(row: Mapping[str, Any]) -> dict[str, Any]:
    """mteb/summeval: 16 summaries of an article, each rated by experts, and 11 written by people."""
    rated = zip(row["machine_summaries"], *(row[aspect] for aspect in ASPECTS), strict=True)
    return {
        "id": row["id"],
        "document": row["text"],
        "references": list(row["human_summaries"]),
        "systems": [
            {
                "system": f"M{number}",
                "summary": text,
                "scores": dict(zip(ASPECTS, scores, strict=True)),
            }
            for number, (text, *scores) in enumerate(rated)
        ],
    }
