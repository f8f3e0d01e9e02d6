"""Small JPEGs of images, as the store keeps them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Query
from fastapi.responses import Response

from fpve.web.refusals import Refused
from fpve.web.routing import StoreRouter
from fpve.web.rows import version_of
from fpve.web.served import PinnedStore

router = StoreRouter(tags=["images"])

# A year, which is what caches take for ever to be.
_FOR_EVER = "private, max-age=31536000, immutable"
_ASK_AGAIN = "private, no-cache"
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "The picture."}}


@router.get(
    "/api/thumbnails/{image_id:any}", summary="A small JPEG of an image", response_class=Response, responses=_JPEG
)
def thumbnail(
    image_id: str,
    store: PinnedStore,
    v: Annotated[str | None, Query(description="The first 16 digits of its content hash.", max_length=64)] = None,
    if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """At most 256 pixels a side. With `v`, as in `thumbnail` of an image, browsers need never ask for it again."""
    searcher = store.opened.searcher
    row = searcher.row_of(image_id)
    content_hash = searcher.snapshot.rows.take([row], ["content_hash"])["content_hash"][0].as_py()
    tag = f'"{content_hash}"'
    headers = {"ETag": tag, "Cache-Control": _FOR_EVER if v == version_of(content_hash) else _ASK_AGAIN}
    if if_none_match == tag:
        return Response(status_code=304, headers=headers)
    found = {} if content_hash is None else searcher.snapshot.thumbnails([content_hash])
    if content_hash not in found:
        raise Refused(404, f"{image_id}: the store has no thumbnail of it")
    return Response(found[content_hash], media_type="image/jpeg", headers=headers)
