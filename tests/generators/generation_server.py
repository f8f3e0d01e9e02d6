"""Servers for tests that speak OpenAI's chat completions: one that misbehaves on demand, and `transformers serve`.

from generators.generation_server import HANG, chat, fake_server, real_server

with fake_server() as server:                       answers f"An answer to: {prompt}"
    server.replies(failure(429), chat("a cat"))     the next two requests; the third is answered as usual
    server.usually(lambda request: HANG if request.number >= 5 else chat("a cat"))
    … base_url=server.url …
    server.requests                                 all that was asked for an answer, failures included

with real_server(write_causal_lm(folder, 0)) as server:
    … GenerateConfig(server.model, base_url=server.url) …
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Importing torch and transformers takes most of it; ten times what it takes on two busy cores.
_START_SECONDS = 180.0


@dataclass(frozen=True)
class Request:
    """What a client asked.

    Attributes:
        number: how many requests for an answer came before it.
        headers: by their names in lower case.
        body: the JSON in it.
    """

    number: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """Text of the last message."""
        content = self.body["messages"][-1]["content"]
        return str(content) if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    @property
    def pictures(self) -> list[str]:
        """Addresses of the pictures in the last message."""
        content = self.body["messages"][-1]["content"]
        return [] if isinstance(content, str) else [part["image_url"]["url"] for part in content if "image_url" in part]


@dataclass(frozen=True)
class Reply:
    """What a server answers.

    Attributes:
        status: of HTTP.
        content: the body.
        kind: its Content-Type.
        headers: further ones.
        sent: how many bytes of the body are sent before the connection is closed; None for all.
        is_silent: whether the connection is closed without a word.
        hangs: whether there is no answer as long as the server lives.
    """

    status: int = 200
    content: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    is_silent: bool = False
    hangs: bool = False


NOTHING = Reply(is_silent=True)
HANG = Reply(hangs=True)


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON value; `retry_after="3"` becomes the header Retry-After."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), headers=named)


def chat(text: Any, *, finish_reason: str = "stop", prompt_tokens: int = 7, completion_tokens: int = 3) -> Reply:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return as_json(
        {
            "id": "chat-1",
            "object": "chat.completion",
            "created": 1,
            "model": "tiny-2025",
            "system_fingerprint": "fp_1",
            "choices": [choice],
            "usage": usage | {"total_tokens": prompt_tokens + completion_tokens},
        }
    )


def failure(
    status: int, message: str = "no", *, param: str | None = None, code: str | None = None, **headers: str
) -> Reply:
    """An error in OpenAI's form."""
    error = {"message": message, "type": "some_error", "param": param, "code": code}
    return as_json({"error": error}, status, **headers)


def half_of(reply: Reply) -> Reply:
    """A reply that announces its whole length, and breaks off in the middle."""
    return Reply(reply.status, reply.content, reply.kind, reply.headers, sent=len(reply.content) // 2)


def repeats_the_prompt(request: Request) -> Reply:
    """What a server answers where a test says nothing else: as FakeGenerator does."""
    return chat(f"An answer to: {request.prompt}")


_MODELS = as_json({"object": "list", "data": [{"id": "tiny", "object": "model", "created": 1, "owned_by": "us"}]})


class FakeServer:
    """A server that answers at once, and as it is told.

    Attributes:
        url: the `base_url` of it.
        requests: those for an answer, in the order in which they came.
        probes: how many others came.
        is_down: whether the others are answered by 503; None closes the connection without a word.
        models: what the others are answered by else.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.probes = 0
        self.is_down: bool | None = False
        self.models = _MODELS
        self._next: deque[Reply] = deque()
        self._usual: Callable[[Request], Reply] = repeats_the_prompt
        self._lock = threading.Lock()

    def replies(self, *replies: Reply) -> None:
        """Answer the next requests by these, one each."""
        with self._lock:
            self._next.extend(replies)

    def usually(self, answer: Reply | Callable[[Request], Reply]) -> None:
        """Answer all other requests by this, or by what this makes of them."""
        self._usual = (lambda _: answer) if isinstance(answer, Reply) else answer

    @property
    def prompts(self) -> list[str]:
        """Of all requests, in the order in which they came."""
        return [request.prompt for request in self.requests]

    def asked(self, headers: dict[str, str], content: bytes) -> Reply:
        """Note a request for an answer, and give the reply to it."""
        with self._lock:
            request = Request(len(self.requests), headers, json.loads(content))
            self.requests.append(request)
            if self._next:
                return self._next.popleft()
        return self._usual(request)

    def probed(self) -> Reply:
        """Note a request for anything else, and give the reply to it: a list of models."""
        with self._lock:
            self.probes += 1
        if self.is_down is None:
            return NOTHING
        if self.is_down:
            return failure(503, "down")
        return self.models


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """A server in a thread of this process, at a free port."""
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            is_chat = self.path.partition("?")[0].endswith("/chat/completions")
            self.send(server.asked(headers, content) if is_chat else server.probed())

        def do_GET(self) -> None:
            self.send(server.probed())

        def send(self, reply: Reply) -> None:
            if reply.hangs:
                closing.wait()
            if reply.hangs or reply.is_silent:
                return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.content)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            try:
                self.end_headers()
                self.wfile.write(reply.content[: reply.sent])
            except OSError:
                # The client gave up, or was killed.
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        # Many clients at once are a purpose of it; the default is 5.
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            # A client that was killed while it asked.
            pass

    with Server(("127.0.0.1", 0), Handler) as inner:
        server = FakeServer(f"http://127.0.0.1:{inner.server_port}/v1")
        thread = threading.Thread(target=inner.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            closing.set()
            inner.shutdown()
            thread.join()


@dataclass(frozen=True)
class RealServer:
    """`transformers serve` with one model.

    Attributes:
        url: the `base_url` of it.
        model: what a job calls the model.
        process: the server.
        log: what it prints.
    """

    url: str
    model: str
    process: subprocess.Popen[bytes]
    log: Path


# It ends with the process that started it, however that ends: then its standard input ends.
_PROGRAM = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
from transformers.cli.transformers import app
app()
"""
_ADDRESS = re.compile(r"running on (http://127\.0\.0\.1:\d+)")


@contextmanager
def real_server(directory: Path) -> Iterator[RealServer]:
    """`transformers serve` in a process of its own, at a free port, with the model in a directory; ready to answer.

    Raises:
        RuntimeError: it ended, or was not ready in three minutes; with what it printed last.
    """
    command = [sys.executable, "-c", _PROGRAM, "serve", str(directory), "--device", "cpu"]
    # It takes a free port itself, and prints which.
    command += ["--host", "127.0.0.1", "--port", "0"]
    own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "NO_COLOR": "1"}
    with tempfile.TemporaryDirectory(prefix="fpve-server-") as folder:
        log = Path(folder) / "log"
        with (
            log.open("wb") as file,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, env=os.environ | own
            ) as process,
        ):
            try:
                address = _ready(process, log)
                yield RealServer(f"{address}/v1", f"openai:{directory}", process, log)
            finally:
                process.kill()


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Address of a server that has just been started, as soon as it listens."""
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        found = _ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1]
        time.sleep(0.05)
    why = "is not ready" if process.poll() is None else f"ended with {process.returncode}"
    raise RuntimeError(f"`transformers serve` {why}: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
