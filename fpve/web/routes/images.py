"""One image: all that the store knows of it."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from fpve.api import Store
from fpve.store import tables
from fpve.web.pictures import original_of
from fpve.web.routing import StoreRouter
from fpve.web.rows import ImageRow, image_rows
from fpve.web.served import PinnedStore

router = StoreRouter(tags=["images"])

# Copies of a picture that are named: of one that is there a thousand times nobody reads more.
_COPIES = 20


class Provenance(BaseModel):
    """Where a prefix came from."""

    origin: str = Field(description="What wrote it: a template, a column, a language model, a person.")
    template: str | None
    model: str | None
    prompt: str | None
    created_at: datetime


class ImageDetails(ImageRow):
    """All that the store knows of an image."""

    snapshot: int
    content_hash: str | None = Field(description="SHA-256 of its file.")
    bytes: int | None = Field(description="Size of its file.")
    prefix_id: str | None
    provenance: Provenance | None
    copies: list[str] = Field(description=f"Other images with the same content, {_COPIES} at most.")
    has_picture: bool = Field(description="Whether its file seems to be at hand.")


@router.get("/api/images/{image_id:any}", summary="One image in full")
def image(image_id: str, store: PinnedStore) -> ImageDetails:
    """Say all that the store knows of an image."""
    searcher = store.opened.searcher
    row = searcher.row_of(image_id)
    rows = searcher.snapshot.rows
    told = image_rows(store, [row])[0]
    more = rows.take([row], ["content_hash", "bytes", "prefix_id"]).to_pylist()[0]
    original = original_of(store, row)
    return ImageDetails(
        **dict(told),
        **more,
        snapshot=store.snapshot,
        provenance=_provenance(store, more["prefix_id"]),
        copies=_copies(store, row, more["content_hash"]),
        has_picture=original is not None and original.is_at_hand,
    )


def _copies(store: Store, row: int, content_hash: str | None) -> list[str]:
    """Other images of the same content."""
    if content_hash is None:
        return []
    rows = store.opened.searcher.snapshot.rows
    same = pc.indices_nonzero(pc.equal(rows.column("content_hash"), content_hash)).to_numpy()
    others = same[same != row][:_COPIES].astype(np.int64)
    found: list[str] = rows.take(others, ["image_id"])["image_id"].to_pylist()
    return found


def _provenance(store: Store, prefix_id: str | None) -> Provenance | None:
    """Where a prefix came from."""
    if prefix_id is None:
        return None
    snapshot = store.opened.searcher.snapshot
    known: pa.Table = store.opened.remembered("prefixes", lambda: snapshot.table(tables.PREFIXES))
    found = known.filter(pc.equal(known["prefix_id"], prefix_id)).to_pylist()
    if not found:
        return None
    one = found[0]
    said = {"model": None, "prompt": None}
    if one["generation_id"] is not None:
        named = ["generation_id", "model", "prompt"]
        answers: pa.Table = store.opened.remembered("answers", lambda: snapshot.table(tables.GENERATED, named))
        generated = answers.filter(pc.equal(answers["generation_id"], one["generation_id"])).to_pylist()
        said = {name: generated[0][name] for name in said} if generated else said
    return Provenance(origin=one["origin"], template=one["template"], created_at=one["created_at"], **said)
