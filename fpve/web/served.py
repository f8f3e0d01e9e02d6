"""The store that is served: open at the newest snapshot, with what is remembered of it between requests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from fpve.api import Store
from fpve.web.settings import Settings


class Served:
    """A store that is served. Safe to use from many threads.

    Attributes:
        settings: how.
        store: moves on to newer snapshots; `pin()` it for whatever is to be of one.
    """

    def __init__(self, path: str | Path, settings: Settings, *, at: int | None = None) -> None:
        self.settings = settings
        self.store = Store(path, at)
        self._at = at


def served_of(request: Request) -> Served:
    """What a request is about."""
    found: Served = request.app.state.served
    return found


def pinned_store(request: Request) -> Store:
    """The store at the snapshot that is newest when a request comes, for all of its answer."""
    return served_of(request).store.pin()


# Parameters of routes.
ServedStore = Annotated[Served, Depends(served_of)]
PinnedStore = Annotated[Store, Depends(pinned_store)]
