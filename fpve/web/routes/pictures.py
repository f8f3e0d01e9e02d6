"""Originals as JPEGs of a bounded size."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Query
from fastapi.responses import Response

from fpve import images
from fpve.errors import ImageError
from fpve.web.pictures import original_of
from fpve.web.refusals import Refused
from fpve.web.routing import StoreRouter
from fpve.web.served import PinnedStore, ServedStore

router = StoreRouter(tags=["images"])

_DEFAULT_SIDE = 1_600
_LARGEST_SIDE = 2_048
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "The picture."},
    304: {"description": "The client has it."},
}


@router.get(
    "/api/pictures/{image_id:any}",
    summary="An image's original, reduced",
    response_class=Response,
    responses=_JPEG,
)
def picture(
    image_id: str,
    store: PinnedStore,
    served: ServedStore,
    side: Annotated[
        int, Query(ge=1, le=_LARGEST_SIDE, description="Pixels of the longer side at most.")
    ] = _DEFAULT_SIDE,
    if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """A JPEG of the image's file, if that is at hand, and still the one that the store knows."""
    original = original_of(store, store.opened.searcher.row_of(image_id))
    if original is None:
        raise Refused(404, f"{image_id}: it was imported, without a picture")
    tag = f'"{original.content_hash}-{side}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if if_none_match == tag:
        return Response(status_code=304, headers=headers)
    with served.turns.take():
        data = original.read()
        try:
            jpeg = images.thumbnail(images.decode(data, enough=side).image, side)
        except ImageError as error:
            raise Refused(404, f"{image_id}: its file can't be shown: {error}") from None
    return Response(jpeg, media_type="image/jpeg", headers=headers)
