"""Fixtures of the gallery's tests: a store that nobody changes, one that is a test's own, and clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from web.asking import gallery as asked_gallery
from web.asking import make_store

import fpve
from fpve.config import Job
from fpve.web.app import create_app
from fpve.web.settings import Settings

Gallery = Callable[..., TestClient]


@pytest.fixture(scope="session")
def asked_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of `make_store`, one for all tests here: none changes it."""
    return make_store(tmp_path_factory.mktemp("asked"))


@pytest.fixture(scope="module")
def client(asked_store: Path) -> Iterator[TestClient]:
    """A client of a gallery over `asked_store`."""
    with asked_gallery(asked_store) as client:
        yield client


@pytest.fixture
def gallery() -> Iterator[Gallery]:
    """Serves a store within this process: `gallery(store, token=…)` is a client of it, called as a browser would."""
    with ExitStack() as stack:

        def serve(store: Path, *, at: int | None = None, **options: object) -> TestClient:
            app = create_app(store, Settings(**options), at=at)
            client = TestClient(app, "http://127.0.0.1:8000", raise_server_exceptions=False)
            return stack.enter_context(client)

        yield serve


@pytest.fixture
def own_store(job: Job) -> Path:
    """A store of 12 pictures that a test may change, by its `job`."""
    fpve.run(job)
    return job.store
