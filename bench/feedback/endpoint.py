"""A language model behind an OpenAI-compatible endpoint, asked over HTTP and never twice the same.

What was answered is kept in a file beside its question's hash, so that a run which was stopped, by a
dead server or by its budget, goes on where it stopped. The key comes from the environment and goes
nowhere but into the requests.
"""

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ..store import content_hash
from .labeller import LabellerError, read

ANSWER_TOKENS = 8  # of a choice: the option, and what a server may put before it

# A token of an answer, and the likeliest ones in its place with their log-probs.
Place = tuple[str, Sequence[tuple[str, float]]]


@dataclass(frozen=True)
class Requests:
    """How questions are sent. Nothing here changes an answer.

    Failed tries (429, 5xx, timeouts, lost connections) are repeated after growing pauses. The caps
    count what this file of answers has ever got from the model; requests under way when one is
    reached still count.
    """

    key_from: str = "OPENAI_API_KEY"  # the environment variable that holds the key
    timeout: float = 60.0  # seconds a try
    retries: int = 6
    concurrency: int = 8  # requests under way at one time
    max_calls: int | None = None
    max_tokens: int | None = None  # prompts and answers together


@dataclass(frozen=True)
class Endpoint:
    """`top_logprobs` 0: the server gives none, and answers are read as text."""

    model: str
    base_url: str
    cache: Path
    temperature: float = 0.0
    rationale_tokens: int = 256
    top_logprobs: int = 20
    requests: Requests = field(default_factory=Requests)
    _lock: Any = field(default_factory=Lock, repr=False, compare=False)

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """What it says to each."""
        asked = [self._body(x, max_tokens=self.rationale_tokens) for x in prompts]
        return [x["text"] for x in self._answers(asked)]

    def choose(self, prompts: Sequence[str], options: Sequence[str]) -> np.ndarray:
        """The log-prob of each option as its answer: Float[n, options], -inf where it is not among the
        likeliest. Without log-probs a text that names one option alone chooses it; else NaN."""
        more: dict[str, Any] = {"max_tokens": ANSWER_TOKENS}
        if self.top_logprobs:
            more |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        answers = self._answers([self._body(x, **more) for x in prompts])
        found = [chosen(x["text"], x["places"], options) for x in answers]
        return np.array(found).reshape(len(prompts), len(options))

    def _body(self, prompt: str, **more: Any) -> dict[str, Any]:
        said = [{"role": "user", "content": prompt}]
        return {"model": self.model, "messages": said, "temperature": self.temperature, **more}

    def _answers(self, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Those that are kept already are not asked for again, nor is one asked for twice."""
        keys = [content_hash([self.base_url, body]) for body in bodies]
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.cache, timeout=60, check_same_thread=False)) as kept:
            kept.execute(
                "CREATE TABLE IF NOT EXISTS answers"
                "(key TEXT PRIMARY KEY, server TEXT, model TEXT, tokens INTEGER, answer TEXT)"
            )
            found = {key: self._known(kept, key) for key in dict.fromkeys(keys)}
            missing = {k: b for k, b in zip(keys, bodies, strict=True) if found[k] is None}
            if missing:
                client = self._client()
                with ThreadPoolExecutor(self.requests.concurrency) as pool:
                    try:
                        got = pool.map(
                            lambda item: self._ask(client, kept, *item), list(missing.items())
                        )
                        found |= dict(zip(missing, got, strict=True))
                    finally:
                        pool.shutdown(cancel_futures=True)
        return [found[key] for key in keys]

    def _known(self, kept: sqlite3.Connection, key: str) -> dict[str, Any] | None:
        row = kept.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def _client(self) -> Any:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise LabellerError(
                "an endpoint is asked through the package openai: pip install 'prefzoo[endpoint]'"
            ) from error
        return OpenAI(
            base_url=self.base_url,
            api_key=self._key or "none",  # local servers want none
            timeout=self.requests.timeout,
            max_retries=self.requests.retries,
        )

    @property
    def _key(self) -> str:
        return os.environ.get(self.requests.key_from, "")

    def _ask(
        self, client: Any, kept: sqlite3.Connection, key: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        with self._lock:
            self._check_budget(kept)
        answer, tokens = self._said(client, body)
        with self._lock, kept:
            kept.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                (key, self.base_url, self.model, tokens, json.dumps(answer)),
            )
        return answer

    def _check_budget(self, kept: sqlite3.Connection) -> None:
        caps = {name: getattr(self.requests, name) for name in ("max_calls", "max_tokens")}
        if set(caps.values()) == {None}:
            return
        spent = kept.execute(
            "SELECT COUNT(*), COALESCE(SUM(tokens), 0) FROM answers WHERE server = ? AND model = ?",
            (self.base_url, self.model),
        ).fetchone()
        for (name, cap), so_far in zip(caps.items(), spent, strict=True):
            if cap is not None and so_far >= cap:
                raise LabellerError(
                    f"the budget of {self.model} is spent: {so_far} of {cap} {name[4:]}; what it "
                    f"answered is kept: raise its requests.{name} to go on"
                )

    def _said(self, client: Any, body: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """(text and, place by place, the token and the likeliest ones with their log-probs; tokens
        spent)."""
        import openai

        try:
            said = client.chat.completions.create(**body)
            choice = said.choices[0]
            text = choice.message.content or ""
            places = (choice.logprobs and choice.logprobs.content) or []
            places = [
                (x.token, [(top.token, top.logprob) for top in x.top_logprobs]) for x in places
            ]
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise self._failed(
                f"refused the key ({error.status_code}): it is read from the environment variable "
                f"{self.requests.key_from}"
            ) from None
        except openai.APIStatusError as error:
            raise self._failed(f"says {error.status_code}: {error.message}") from None
        except openai.APIConnectionError as error:  # timeouts among them
            raise self._failed(f"gives no answer: {error.message}") from None
        except (json.JSONDecodeError, openai.APIResponseValidationError, *BROKEN) as error:
            raise self._failed(f"says what is no completion ({type(error).__name__})") from None
        return {"text": text, "places": places}, said.usage.total_tokens if said.usage else 0

    def _failed(self, why: str) -> LabellerError:
        if self._key:
            why = why.replace(self._key, "***")
        short = " ".join(why.split())[:300]  # of a page of HTML
        return LabellerError(
            f"{self.base_url}, model {self.model}, {short}; what it answered before is kept, and the "
            "same command goes on"
        )


BROKEN = (AttributeError, IndexError, TypeError)  # of a reply that lacks what a completion has


def chosen(text: str, places: Sequence[Place], options: Sequence[str]) -> list[float]:
    """The log-prob of each option, by the likeliest tokens where the answer begins, else by its text.

    Tokens that differ in white space are one. Where a tokenizer splits an option that begins with
    another (10 into 1 and 0), the second token tells the two apart if the answer went that way.
    """
    said = [(token.strip(), masses(top)) for token, top in places]
    begin = next((i for i, (token, _) in enumerate(said) if token), len(said))
    (token, first), (_, second) = (*said[begin : begin + 2], ("", {}), ("", {}))[:2]
    found = {option: first.get(option, 0.0) for option in options}
    for longer in options:
        if token in options and longer != token and longer.startswith(token):
            on = first.get(token, 0.0) * second.get(longer[len(token) :], 0.0)
            found[token], found[longer] = found[token] - on, found[longer] + on
    if not any(found.values()):
        one = read(text, options)
        found = {option: float(option == one) for option in options} if one else found
    if not any(found.values()):
        return [np.nan] * len(options)
    with np.errstate(divide="ignore"):
        return np.log([found[option] for option in options]).tolist()


def masses(top: Sequence[tuple[str, float]]) -> dict[str, float]:
    """What the tokens of one place are worth, white space aside."""
    found: dict[str, float] = {}
    for token, logp in top:
        found[token.strip()] = found.get(token.strip(), 0.0) + float(np.exp(logp))
    return found
