"""A small HTTP server for faults only: it refuses, hangs, breaks off, dies and comes back as it is told. What a real
server answers is tested against a real one (test_server.py, slow)."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cord_distill.engines.base import Sampling
from cord_distill.types import Stop

HANG = "hang"
BREAK_OFF = "break off"


class FakeServer:
    """answer(path, body) gives what is sent: JSON, (status, JSON or text, headers), HANG or BREAK_OFF.

    asked: (path, body) of every request. headers: those of the last one. `stop()` closes the port, `start()` opens the
    same one again.
    """

    def __init__(self, answer: Callable[[str, Any], Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.port = 0
        self.http: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                outer.asked.append((self.path, body))
                outer.headers = dict(self.headers)
                self._send(outer.answer(self.path, body))

            do_GET = do_POST

            def _send(self, reply: Any) -> None:
                self.close_connection = True  # without a word of it: the client's next request meets a closed door
                if reply == HANG:
                    for _ in range(200):
                        time.sleep(0.05)
                        if outer.http is None:
                            return
                    return
                status, page, headers = reply if isinstance(reply, tuple) else (200, reply, {})
                page = b'{"choices": [' if page == BREAK_OFF else page
                content = page if isinstance(page, bytes) else (
                    page if isinstance(page, str) else json.dumps(page)
                ).encode()  # fmt: skip
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content) + (reply == BREAK_OFF) * 100))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        http, self.http = self.http, None
        if http is not None:
            http.shutdown()
            http.socket.close()


class Completions:
    """Answers like a server that continues token ids, out of any engine (doubles.RandomEngine).

    models: what it lists. knows: the ways in which it gives log-probs of given tokens.
    """

    def __init__(self, engine: Any, models: dict[str, int] | None = None, knows: tuple[str, ...] = ()) -> None:
        self.engine = engine
        self.models = models or {"m": 4096}
        self.knows = knows or ("logprob_token_ids", "prompt_logprobs")

    def __call__(self, path: str, body: Any) -> Any:
        if path == "/v1/models":
            return {"data": [{"id": name, "max_model_len": length} for name, length in self.models.items()]}
        if path == "/tokenize":
            return {"tokens": self.engine.renderer.encode(body["prompt"])}
        if path != "/v1/completions":
            return 404, {"detail": "Not Found"}, {}
        if "logprob_token_ids" in body:
            return {"choices": [self._scored(i, ids, body) for i, ids in enumerate(body["prompt"])][::-1]}
        if "prompt_logprobs" in body:
            return {"choices": [self._whole(body["prompt"])]}
        return self._continued(body)

    def _scored(self, index: int, ids: list[int], body: Any) -> Any:
        wanted = body["logprob_token_ids"] if "logprob_token_ids" in self.knows else [0]
        row = {f"token_id:{token}": self._logprob(ids, token) for token in wanted}
        return {"index": index, "logprobs": {"top_logprobs": [row]}}

    def _whole(self, ids: list[int]) -> Any:
        rows = [{str(token): {"logprob": self._logprob(ids[:i], token)}} for i, token in enumerate(ids)]
        known = "prompt_logprobs" in self.knows
        return {"index": 0, "prompt_logprobs": [None, *rows[1:]] if known else None}

    def _logprob(self, ids: list[int], token: int) -> float:
        return asyncio.run(self.engine.logprobs(ids, [token]))[0]

    def _continued(self, body: Any) -> Any:
        if body.get("seed") is None:
            made = body["prompt"][:1]
            return {"choices": [{"prompt_token_ids": body["prompt"], "token_ids": made}]}
        stop_ids, banned = tuple(body["stop_token_ids"]), tuple(int(token) for token in body["logit_bias"] or {})
        sampling = Sampling(
            body["max_tokens"], body["seed"], stop=tuple(body["stop"]), stop_ids=stop_ids, banned_ids=banned
        )
        out = asyncio.run(self.engine.generate(body["prompt"], sampling))
        choice = {
            "index": 0,
            "text": out.text,
            "token_ids": list(out.ids),
            "finish_reason": "length" if out.stop is Stop.LENGTH else "stop",
            "stop_reason": out.matched or (out.ids[-1] if out.stop is Stop.EOS else None),
        }
        return {"choices": [choice], "usage": {"prompt_tokens_details": {"cached_tokens": 3}}}
