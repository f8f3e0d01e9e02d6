"""A store that can be asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import copy
from typing import Self

import pyarrow as pa

from fpve.analytics import matching_rows
from fpve.api.browsing import Browsing
from fpve.api.classifying import Classifying
from fpve.api.curating import Curating
from fpve.api.exporting import Exporting
from fpve.api.mapping import Mapping
from fpve.api.querying import Querying
from fpve.api.searching import Searching
from fpve.fusion import Floats
from fpve.opened import Opened
from fpve.queries import Picture, QueryEncoders, encode_texts
from fpve.replica import located, shown
from fpve.search import Conditions, Searcher
from fpve.status import Status, status_of
from fpve.store import manifest as manifests
from fpve.store.manifest import Manifest
from fpve.store.schema import Column
from fpve.store.snapshot import Snapshot


class Store(Searching, Browsing, Classifying, Querying, Curating, Exporting, Mapping):
    """A store, open at one snapshot. Safe to use from many threads; `refresh` moves on to the newest snapshot.

    Args:
        path: of the store.
        at: number of the snapshot; by default the newest.
        conditions: evaluates SQL conditions; by default DuckDB does in this process, within no bounds of time.

    Raises:
        StoreNotFound: there is no store at `path`, or no snapshot `at`.
        StoreCorrupt: the manifest is damaged.
    """

    def __init__(
        self, path: str | os.PathLike[str], at: int | None = None, *, conditions: Conditions = matching_rows
    ) -> None:
        self.path = located(path)
        self._conditions = conditions
        snapshot = Snapshot.open(self.path, at)
        self._open = Opened(self._searcher(snapshot), QueryEncoders(snapshot.manifest))

    def _searcher(self, snapshot: Snapshot) -> Searcher:
        return Searcher(snapshot, conditions=self._conditions)

    @property
    def opened(self) -> Opened:
        """What is open at the snapshot: for programs of this package that need more of it than is public."""
        return self._open

    @property
    def location(self) -> str:
        """Where it is: its path, or the URL of the bucket that it is in, of which `path` is this machine's replica."""
        return shown(self.path)

    def __repr__(self) -> str:
        return f"Store({self.location!r}, at={self.snapshot})"

    @property
    def snapshot(self) -> int:
        """Number of the snapshot that is open."""
        return self._manifest.snapshot

    @property
    def columns(self) -> tuple[Column, ...]:
        """The metadata columns."""
        return self._manifest.columns

    @property
    def images(self) -> pa.Table:
        """One row an image, sorted by image_id, without vectors."""
        return self._open.searcher.snapshot.images

    @property
    def _manifest(self) -> Manifest:
        return self._open.searcher.snapshot.manifest

    def close(self) -> None:
        """Let go of the snapshot, so that it can be pruned; the store is not to be used afterwards."""
        self._open.searcher.snapshot.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh(self) -> bool:
        """Move on to the newest snapshot; whether there was a newer one."""
        if manifests.is_newest(self.path, self.snapshot):
            return False
        newest = Snapshot.open(self.path)
        same = newest.manifest.encoders == self._manifest.encoders
        # One assignment: a search in another thread works on the old snapshot or on the new one, never on both.
        self._open = Opened(self._searcher(newest), self._open.encoders if same else QueryEncoders(newest.manifest))
        return True

    def pin(self) -> Self:
        """The same store at the snapshot that is open now, where it stays; what is in memory is shared.

        For whoever asks several things that are to agree, while another thread refreshes.
        """
        pinned = copy(self)
        pinned._open = self._open
        return pinned

    def thumbnail(self, image_id: str) -> bytes | None:
        """A small JPEG of an image.

        Raises:
            ImageNotFound: no image has this id.
        """
        found = self.thumbnails([image_id])
        return found.get(image_id)

    def thumbnails(self, image_ids: Sequence[str]) -> dict[str, bytes]:
        """Small JPEGs by image_id.

        Raises:
            ImageNotFound: no image has one of these ids.
        """
        searcher = self._open.searcher
        snapshot = searcher.snapshot
        rows = [searcher.row_of(image_id) for image_id in image_ids]
        hashes = snapshot.rows.take(rows, ["content_hash"])["content_hash"].to_pylist()
        found = snapshot.thumbnails(hashes)
        return {image_id: found[one] for image_id, one in zip(image_ids, hashes, strict=True) if one in found}

    def status(self) -> Status:
        """The store in figures."""
        return status_of(self._open.searcher.snapshot)

    def encode_images(self, pictures: Sequence[Picture]) -> Floats:
        """Raw features (n, image_dim) of pictures, from the store's own vision model."""
        return self._open.encoders.encode_images(pictures)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Embeddings (n, prefix_dim) of texts, from the store's own text model.

        Raises:
            QueryError: a text is empty, or the store holds nothing that it could be compared with.
        """
        opened = self._open
        return encode_texts(texts, opened.searcher.snapshot, opened.encoders)


def open(path: str | os.PathLike[str], at: int | None = None) -> Store:  # noqa: A001 (as in gzip.open)
    """Open a store at its newest snapshot, or at an older one.

    Raises:
        StoreNotFound: there is no store at `path`, or no snapshot `at`.
        StoreCorrupt: the manifest is damaged.
    """
    return Store(path, at)
