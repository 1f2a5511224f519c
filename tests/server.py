"""An OpenAI-compatible server on loopback that says what a test wants it to say."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-secret-0123456789"


class Server:
    """`reply(number of the request, body) -> (status, body to send)`; remembers what it was asked."""

    def __init__(self, reply: Callable):
        self.asked: list[dict] = []
        self.keys: list[str] = []
        self.busy = self.busiest = 0
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    server.asked.append(body)
                    server.keys.append(self.headers["authorization"])
                    server.busy += 1
                    server.busiest = max(server.busy, server.busiest)
                    number = len(server.asked) - 1
                status, said = reply(number, body)
                said = said if isinstance(said, str) else json.dumps(said)
                with lock:
                    server.busy -= 1
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(said.encode())))
                    self.send_header("retry-after-ms", "1")
                    self.end_headers()
                    self.wfile.write(said.encode())
                except OSError:
                    pass  # whoever asked did not wait

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.asked]


def completion(text: str, tops: list[dict[str, float]] | None = None, tokens: int = 10) -> dict:
    """As an OpenAI-compatible server says it; `tops`: the likeliest tokens of each place, the first of
    which was said."""
    content = [
        {
            "token": next(iter(top)),
            "logprob": next(iter(top.values())),
            "bytes": None,
            "top_logprobs": [{"token": t, "logprob": p, "bytes": None} for t, p in top.items()],
        }
        for top in tops or ()
    ]
    return {
        "id": "x", "object": "chat.completion", "created": 0, "model": "toy",
        "choices": [{
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": content} if tops else None,
        }],
        "usage": {"prompt_tokens": tokens - 1, "completion_tokens": 1, "total_tokens": tokens},
    }  # fmt: skip


def always(text: str, *tops: dict[str, float], tokens: int = 10) -> Callable:
    return lambda number, body: (200, completion(text, list(tops), tokens))
