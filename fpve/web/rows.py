"""Images as they are told of over HTTP: their rows, and hits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field

from fpve.api import Store
from fpve.neighbours import Rows
from fpve.store import tables

_FIXED = ("image_id", "collection", "path", "prefix", "width", "height")
_SCORES = ("score", "image_score", "prefix_score", "cross_score", "prefix_predicted")
# So much of a content hash names it in a URL: two pictures that agree in 64 bits are none that differ.
_DIGITS = 16


class ImageRow(BaseModel):
    """An image of the store."""

    image_id: str = Field(description="Its name: collection/path.")
    collection: str
    path: str = Field(description="The full path of its file.")
    prefix: str | None = Field(description="Its frozen text.")
    width: int | None = Field(description="Pixels, upright.")
    height: int | None
    metadata: dict[str, Any] = Field(description="Its value of each metadata column.")
    thumbnail: str | None = Field(description="URL of a small JPEG, good for ever.")


class Hit(ImageRow):
    """An image that was found."""

    rank: int = Field(description="From 1, those that were skipped included.")
    score: float
    image_score: float | None = Field(description="Cosine of the image blocks.")
    prefix_score: float | None = Field(description="Cosine of the prefix blocks.")
    cross_score: float | None = Field(description="Cosine of the query's text and the picture, in a space of both.")
    prefix_predicted: bool | None = Field(description="Whether it was compared by a predicted prefix.")


def image_rows(store: Store, rows: Sequence[int] | Rows) -> list[ImageRow]:
    """The images of row numbers (n,)."""
    return [ImageRow.model_construct(**one) for one in _told(store, rows)]


def hits_of(store: Store, rows: Rows, table: pa.Table, *, first: int = 1) -> list[Hit]:
    """Hits: images of row numbers (t,), with the scores that stand in the table (t rows) that a search gave for them.

    Args:
        store: where they are.
        rows: numbers of their rows.
        table: with their scores.
        first: rank of the first of them.
    """
    nothing = [None] * len(rows)
    scores = [table[name].to_pylist() if name in table.column_names else nothing for name in _SCORES]
    found = []
    for rank, (told, *scored) in enumerate(zip(_told(store, rows), *scores, strict=True), first):
        found.append(Hit.model_construct(**told, rank=rank, **dict(zip(_SCORES, scored, strict=True))))
    return found


def thumbnail_url(image_id: str, content_hash: str) -> str:
    """Where the thumbnail of an image is; with other content it is another URL, so that it can be kept for ever."""
    return f"/api/thumbnails/{quote(image_id)}?v={version_of(content_hash)}"


def version_of(content_hash: str | None) -> str | None:
    """What names a content in the URL of its thumbnail."""
    return None if content_hash is None else content_hash[:_DIGITS]


def _told(store: Store, rows: Sequence[int] | Rows) -> Iterator[dict[str, Any]]:
    """What is told of the images of row numbers (n,), as fields of ImageRow."""
    snapshot = store.opened.searcher.snapshot
    names = [column.name for column in snapshot.manifest.columns]
    table = snapshot.rows.take(rows, [*_FIXED, "content_hash", *names])
    # Thumbnails are made where pictures are measured.
    pictured = any(one.rows for one in snapshot.manifest.tables_named(tables.THUMBNAILS))
    metadata = zip(*(_values(table[name]) for name in names), strict=True) if names else iter([()] * len(table))
    columns = (table[name].to_pylist() for name in (*_FIXED, "content_hash"))
    for *fixed, content_hash, values in zip(*columns, metadata, strict=True):
        told = dict(zip(_FIXED, fixed, strict=True))
        has_one = pictured and told["width"] is not None and content_hash is not None
        told["metadata"] = dict(zip(names, values, strict=True))
        told["thumbnail"] = thumbnail_url(told["image_id"], content_hash) if has_one else None
        yield told


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values (n,) of a metadata column; times as texts where any is of a year that Python has not."""
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        kind, number = ("M8[D]", pa.int32()) if pa.types.is_date(column.type) else ("M8[us]", pa.int64())
        numbers = column.cast(number).to_pylist()
        values = [None if one is None else str(np.array(one).astype(kind)) for one in numbers]
    return values
