"""A server that speaks S3, in this process: what it was asked is counted, and it can be made slow, or to refuse.

Nothing here needs pytest: benchmarks use it, too.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        method: `GET`, `HEAD`, `PUT`, `POST`, `DELETE`.
        bucket, key: of what; the key is empty where it is of the bucket.
        query: parameters of the request, such as `list-type`, `prefix` and `uploads`.
        headers: in the spelling of WSGI: `HTTP_IF_NONE_MATCH`.
    """

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def kind(self) -> str:
        """What it is called in counts: its method, or LIST."""
        return "LIST" if self.method == "GET" and not self.key else self.method


# What a test does about a request: the status that is answered, or None to let it be. A ConnectionError ends it, before
# anything that was sent is read; a HalfWay after half of it is.
Interference = Callable[[Asked], int | None]


class HalfWay(ConnectionError):
    """The connection ends, or stands still for some seconds and ends then, when half of what is sent was read."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds


@dataclass
class S3:
    """A server that speaks S3, with one bucket for a test.

    Attributes:
        endpoint: where it is.
        bucket: the name of the bucket.
        asked: the requests so far.
        before: told of each request; one for which it returns a status is refused, and nothing is done.
        after: likewise, once the request is done: its answer is lost.
        seconds: how long each request takes at least.
    """

    endpoint: str
    bucket: str = ""
    asked: list[Asked] = field(default_factory=list)
    before: Interference | None = None
    after: Interference | None = None
    seconds: float = 0.0

    def url(self, path: str = "") -> str:
        """The URL of an object of the bucket, or of its top."""
        return f"s3://{self.bucket}/{path}".rstrip("/")

    def counts(self) -> Counter[str]:
        """How many requests of each kind there were since it was asked last."""
        asked, self.asked[:] = list(self.asked), []
        return Counter(one.kind for one in asked)

    def put(self, key: str, content: bytes | Path) -> None:
        """Make an object, by other means than fpve's."""
        body = content if isinstance(content, bytes) else content.read_bytes()
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def put_odd(self, key: str, content: bytes) -> None:
        """Make an object whose name no client would send: with `//`, `..` or a control character."""
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(self.bucket, key, content)

    def put_folder(self, folder: Path, prefix: str = "") -> None:
        """Make an object of each file below a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}".lstrip("/"), path)

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def remove(self, key: str) -> None:
        """Delete an object."""
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def keys(self) -> list[str]:
        """The names of all objects, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return sorted(one["Key"] for page in pages for one in page.get("Contents", ()))

    @cached_property
    def client(self) -> Any:
        """boto3's client of the server; what it asks is not counted."""
        # Which takes longer to make than to ask a hundred times.
        client = boto3.client("s3", endpoint_url=self.endpoint)
        client.meta.events.register("before-send.s3", lambda request, **_: request.headers.update({_OURS: "1"}))
        return client


# Requests with this header are a test's own.
_OURS = "X-Fpve-Test"


@contextmanager
def serving_s3() -> Iterator[S3]:
    """Serve S3 at a free port, until the block is left."""
    server: S3
    backend, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def moto(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        # An object that is put while it is put or read is closed under whoever came first.
        with one_at_a_time, closing(backend(environ, start)) as body:
            return list(body)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        if "HTTP_X_FPVE_TEST" in environ:
            return moto(environ, start)
        asked = _asked(environ)
        server.asked.append(asked)
        if server.seconds:
            time.sleep(server.seconds)
        status = asked_of(server.before, asked, environ)
        if status is not None:
            # Unread, what was sent would be taken for the next request.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return _refuse(start, status)
        if server.after is None:
            return moto(environ, start)
        told: list[Any] = []
        body = moto(environ, lambda *given: told.append(given))
        status = asked_of(server.after, asked, environ)
        if status is not None:
            return _refuse(start, status)
        start(*told[0])
        return body

    def asked_of(interference: Interference | None, asked: Asked, environ: dict[str, Any]) -> int | None:
        try:
            return interference(asked) if interference else None
        except ConnectionError as error:
            if isinstance(error, HalfWay):
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
                time.sleep(error.seconds)
            # Else whoever asked would wait for an answer.
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise

    # Each request would be a line.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    listening = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=MotoRequestHandler)
    server = S3(f"http://127.0.0.1:{listening.port}")
    thread = threading.Thread(target=listening.serve_forever, name="s3", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def environment(server: S3) -> dict[str, str]:
    """What a process needs to know of a server, and of whoever may use it."""
    return {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Not the user's own, and no machine's role is asked for.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        # What is refused is told at once; by default it is tried five times, for seconds.
        "AWS_MAX_ATTEMPTS": "1",
    }


@contextmanager
def fresh_bucket(server: S3, name: str) -> Iterator[S3]:
    """The server with a bucket of its own, and an environment in which it is S3, until the block is left."""
    with mock.patch.dict(os.environ, environment(server)):
        server.bucket = name
        server.client.create_bucket(Bucket=name)
        server.asked.clear()
        try:
            yield server
        finally:
            server.before = server.after = None
            server.seconds = 0.0


def _asked(environ: dict[str, Any]) -> Asked:
    bucket, _, key = environ["PATH_INFO"].encode("latin-1").decode().lstrip("/").partition("/")
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"], keep_blank_values=True).items()}
    headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    return Asked(environ["REQUEST_METHOD"], bucket, key, query, headers)


def _refuse(start: Callable[..., Any], status: int) -> list[bytes]:
    code = {403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed", 503: "ServiceUnavailable"}
    body = f"<Error><Code>{code.get(status, 'InternalError')}</Code><Message>refused by a test</Message></Error>"
    start(f"{status} Refused", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body.encode()]
