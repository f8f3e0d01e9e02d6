"""The application: its routes, its refusals, and what is around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from fpve._version import __version__
from fpve.images import without_warnings
from fpve.web.guard import Guard
from fpve.web.metrics import Measured, Metrics
from fpve.web.page_files import PageFiles
from fpve.web.refusals import REFUSALS, add_handlers
from fpve.web.routes import ROUTERS
from fpve.web.served import Served
from fpve.web.settings import Settings


class _Gallery(FastAPI):
    """An application that is guarded as a whole: what FastAPI itself answers to errors, too.

    Args:
        guarded: puts a guard around an application.
        options: as FastAPI has them.
    """

    def __init__(self, guarded: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._guarded = guarded

    def build_middleware_stack(self) -> ASGIApp:
        return self._guarded(super().build_middleware_stack())


def create_app(path: str | Path, settings: Settings | None = None, *, at: int | None = None) -> FastAPI:
    """The gallery of a store as an ASGI application, for any server: `uvicorn.run(create_app("indexes/demo"))`.

    It stands at the root of a host, and not below a path of another application: there its page would not find its
    files, and its lifespan, in which newer snapshots are looked for, would not run. It is of one process: another one
    knows nothing of what was uploaded to this one, or is computed in it.

    Args:
        path: of the store.
        settings: by which names it may be called, with which token, and within which bounds. That there is a token
            where others can reach it, `fpve serve` sees to; here whoever serves it does.
        at: a snapshot to stay at; by default it moves on to newer ones.

    Raises:
        StoreNotFound: there is no store at `path`, or no snapshot `at`.
        StoreCorrupt: its manifest is damaged.
    """
    served = Served(path, settings or Settings(), at=at)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        served.start()
        try:
            with without_warnings():
                yield
        finally:
            served.stop()

    metrics = Metrics(served)

    def guarded(app: ASGIApp) -> ASGIApp:
        return Measured(Guard(app, served.settings), metrics)

    app = _Gallery(
        guarded,
        title="fpve",
        summary="A store of images, their texts and their vectors: looked through, searched, and asked in SQL.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
        lifespan=lifespan,
    )
    app.state.served, app.state.metrics, app.state.page_files = served, metrics, PageFiles()
    add_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
