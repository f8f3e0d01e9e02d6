"""The application: routes, refusals, and the files of the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from fpve._version import __version__
from fpve.web.refusals import REFUSALS, add_handlers
from fpve.web.routes import ROUTERS
from fpve.web.served import Served
from fpve.web.settings import Settings

STATIC = Path(__file__).parent / "static"


def create_app(path: str | Path, settings: Settings | None = None, *, at: int | None = None) -> FastAPI:
    """The gallery of a store as an ASGI application.

    Raises:
        StoreNotFound: there is no store at `path`, or no snapshot `at`.
        StoreCorrupt: its manifest is damaged.
    """
    served = Served(path, settings or Settings(), at=at)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        served.start()
        yield
        served.stop()

    app = FastAPI(
        title="fpve",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
        lifespan=lifespan,
    )
    app.state.served = served
    add_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app
