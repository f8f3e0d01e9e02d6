"""The images of a store, a page at a time, and their names."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from fpve.web.filters import ChosenImages
from fpve.web.routing import StoreRouter
from fpve.web.rows import ImageRow, image_rows
from fpve.web.served import PinnedStore

router = StoreRouter(tags=["images"])

_DEFAULT_LIMIT = 100
_MOST = 1_000

Sort = Annotated[
    str | None,
    Query(description="A column, or with a - before it falling; by default image_id. Without a value comes last."),
]


class ImageList(BaseModel):
    """Images in an order."""

    snapshot: int
    total: int = Field(description="How many images meet the condition.")
    offset: int
    condition: str | None = Field(description="The SQL condition that `where` and `filters` come to.")
    images: list[ImageRow]


class Names(BaseModel):
    """The names of all images that meet a condition."""

    snapshot: int
    total: int
    condition: str | None
    ids: list[str]


@router.get("/api/images", summary="Images that meet a condition, a page at a time")
def images(
    store: PinnedStore,
    chosen: ChosenImages,
    sort: Sort = None,
    offset: Annotated[int, Query(ge=0, description="How many images to skip.")] = 0,
    limit: Annotated[int, Query(ge=0, le=_MOST, description="How many images.")] = _DEFAULT_LIMIT,
) -> ImageList:
    """List images in the order of their names, or sorted by a column."""
    rows = store.opened.browser.rows(chosen.where, chosen.filters, sort or None)
    return ImageList(
        snapshot=store.snapshot,
        total=len(rows),
        offset=offset,
        condition=chosen.condition,
        images=image_rows(store, rows[offset : offset + limit]),
    )


@router.get("/api/ids", summary="Names of all images that meet a condition")
def ids(store: PinnedStore, chosen: ChosenImages, sort: Sort = None) -> Names:
    """List the names of images, as `/api/images` sorts them."""
    page = store.browse(where=chosen.where, filters=chosen.filters, sort=sort or None, limit=None, columns=["image_id"])
    names = page.to_arrow()["image_id"].to_pylist()
    return Names(snapshot=store.snapshot, total=page.total, condition=chosen.condition, ids=names)
