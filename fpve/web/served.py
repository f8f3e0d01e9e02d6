"""The store that is served: open at the newest snapshot, with what is remembered of it between requests."""

from __future__ import annotations

import gc
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from fpve.api import Store
from fpve.queries import Queries
from fpve.replica import located, replica_of
from fpve.web.jobs import Jobs
from fpve.web.settings import Settings
from fpve.web.sql_pool import SqlPool
from fpve.web.turns import Turns
from fpve.web.uploads import Uploads

# Seconds that an end waits for what has been begun for the first search.
_END = 1.0
# Whether a bucket has a newer snapshot is asked no more often than that: each time is a request.
_BUCKET_SECONDS = 10.0


class Served:
    """A store that is served. Safe to use from many threads.

    Attributes:
        settings: how.
        sql: answers SQL, and evaluates conditions.
        jobs: computes what takes long.
        turns: of heavy work.
        exports: turns of writing files, of which a large one takes longer than a search can wait.
        uploads: pictures that were uploaded.
        store: moves on to newer snapshots; `pin()` it for whatever is to be of one.
        refresh_error: why the newest snapshot could not be opened, if it could not.
        is_alone: whether the process does nothing else.
        is_warm: whether what the first search needs is loaded.
        refreshes, refresh_errors: how often a newer one was opened, and how often that failed.
    """

    def __init__(self, path: str | Path, settings: Settings, *, at: int | None = None) -> None:
        self.settings = settings
        self.sql = SqlPool(located(path), settings)
        self.jobs = Jobs()
        self.turns = Turns()
        self.exports = Turns(1)
        self.uploads = Uploads()
        self.store = Store(path, at, conditions=self.sql.matching)
        self.is_alone = self.is_warm = False
        self.refresh_error: str | None = None
        self.refreshes = 0
        self.refresh_errors = 0
        self._moving = threading.Lock()
        self._stays = at is not None
        self._folders: set[str] = set()
        self._ended = threading.Event()
        self._warming = threading.Thread(target=self._begin, name="gallery-warm-up", daemon=True)

    def start(self) -> None:
        """Begin to look for newer snapshots, and to load what the first search needs."""
        self._ended.clear()
        if not self._stays:
            threading.Thread(target=self._follow, name="gallery-refresh", daemon=True).start()
        self._warming.start()

    def stop(self) -> None:
        """Look for nothing any more, and end what is being computed and the processes that answer SQL."""
        self._ended.set()
        self.jobs.close()
        self.sql.close()
        self._warming.join(_END)
        for folder in list(self._folders):
            # What writes there is a thread that nobody can end.
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder for a moment, which is gone at the end of the server, too.

        Raises:
            OSError: there can't be one.
        """
        with tempfile.TemporaryDirectory(prefix="fpve-serve-", ignore_cleanup_errors=True) as name:
            self._folders.add(name)
            try:
                yield Path(name)
            finally:
                self._folders.discard(name)

    def queries(self, store: Store, *, text: str | None, id: str | None, picture: str | None) -> Queries:  # noqa: A002
        """A single query, by an uploaded picture as well; what is empty is not given.

        Raises:
            Refused: the picture is no longer known.
        """
        return Queries(
            features=self.uploads.find(store, picture).features if picture else None,
            texts=[text] if text else None,
            ids=[id] if id else None,
        )

    def refresh(self) -> bool:
        """Move on to the newest snapshot; whether there was a newer one. One that is damaged changes nothing."""
        with self._moving:
            return self._refresh()

    def leave(self, snapshot: int) -> bool:
        """Move on from a snapshot that was pruned; whether another one is served now.

        Of many requests that find it gone one moves on, or fails to, for all of them.
        """
        failed = self.refresh_errors
        with self._moving:
            if not self._stays and self.store.snapshot == snapshot and self.refresh_errors == failed:
                self._refresh()
        return self.store.snapshot != snapshot

    def _refresh(self) -> bool:
        try:
            moved = self.store.refresh()
        # Whatever it is: nobody else looks for newer snapshots.
        except Exception as error:  # noqa: BLE001 (told, and tried again)
            self.refresh_errors += 1
            self.refresh_error = " ".join(str(error).split())
            return False
        self.refresh_error = None
        if moved:
            self.refreshes += 1
            # What refers to the old snapshot in a cycle would keep it from being pruned.
            gc.collect()
        return moved

    def _follow(self) -> None:
        seconds = self.settings.refresh_seconds
        if replica_of(self.store.path) is not None:
            seconds = max(seconds, _BUCKET_SECONDS)
        while not self._ended.wait(seconds):
            if self.refresh():
                self._warm_up()

    def _begin(self) -> None:
        self._warm_up()
        self.is_warm = True
        if self.is_alone:
            # Of the models alone are 600,000 objects: to look through them at each new snapshot would take half a
            # second, in which nobody is answered. What loading left behind, and refers to the snapshot, goes first.
            gc.collect()
            gc.freeze()

    def _warm_up(self) -> None:
        """Search once, so that the text model and the index are there when somebody does."""
        # What fails here fails again, and is told, when somebody asks; it must not end what looks for newer snapshots.
        with suppress(Exception):
            self.sql.warm_up()
            store = self.store.pin()
            for one in _first_searches(store):
                if not self._ended.is_set():
                    with suppress(Exception):
                        store.search(**one, k=1)


def _first_searches(store: Store) -> list[dict[str, Any]]:
    """By an image, and by a text where that finds any: all that a search may need."""
    snapshot = store.opened.searcher.snapshot
    ids = snapshot.rows.take([0] if len(snapshot.rows) else [], ["image_id"])["image_id"].to_pylist()
    searches: list[dict[str, Any]] = [{"id": one} for one in ids]
    if "text" in snapshot.manifest.encoders and (snapshot.has_prefixes or snapshot.shares_space):
        searches.append({"text": "a picture"})
    return searches


# Both are async so that no thread is waited for: there is nothing that takes time.


async def served_of(request: Request) -> Served:
    """What a request is about."""
    found: Served = request.app.state.served
    return found


async def pinned_store(served: Annotated[Served, Depends(served_of)]) -> Store:
    """The store at the snapshot that is newest when a request comes, for all of its answer."""
    return served.store.pin()


# Parameters of routes.
ServedStore = Annotated[Served, Depends(served_of)]
PinnedStore = Annotated[Store, Depends(pinned_store)]
