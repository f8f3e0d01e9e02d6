"""Searches: by a text, an image of the store, a picture, or a picture and a text."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field, ValidationError

from fpve.api import Store
from fpve.neighbours import Mask
from fpve.records import Step
from fpve.retrieval import Search, Wanted
from fpve.selection import Selection
from fpve.web.filters import FILTERS, LONGEST, WHERE, chosen_of
from fpve.web.forms import PictureForm, picture_form
from fpve.web.routing import StoreRouter
from fpve.web.rows import Hit, hits_of
from fpve.web.served import PinnedStore, Served, ServedStore
from fpve.web.settings import LONGEST_TEXT

router = StoreRouter(tags=["search"])

_DEFAULT_K = 50
_MOST = 1_000
# To come to a page of a ranking all before it is fetched: of more that takes seconds, and nobody pages so far.
_DEEPEST = 100_000
_HANDLE = r"^[0-9a-f]{64}$"
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "The picture."}}


class Options(BaseModel):
    """What is searched by, and which hits are wanted."""

    text: str | None = Field(
        None, max_length=LONGEST_TEXT, description="Compared with prefixes, and in a space of both with pictures."
    )
    id: str | None = Field(None, max_length=5_000, description="An image of the store; it is not among its own hits.")
    picture: str | None = Field(
        None, pattern=_HANDLE, description="An uploaded picture: its handle, the SHA-256 of its bytes in hexadecimal."
    )
    image_weight: float | None = Field(
        None, ge=0, le=1, description="The weight A of the picture in the score; by default what fits the query."
    )
    k: int = Field(_DEFAULT_K, ge=1, le=_MOST, description="How many hits.")
    offset: int = Field(0, ge=0, le=_DEEPEST - _MOST, description="How many hits to skip.")
    where: str | None = Field(None, max_length=LONGEST, description=WHERE)
    filters: str | None = Field(None, max_length=LONGEST, description=FILTERS)
    exact: bool = Field(False, description="Whether every vector is to be scored, whatever index there is.")
    min_score: float | None = Field(None, ge=-1, le=1, description="The lowest score of a hit.")
    dedup: float | None = Field(
        None, gt=0, le=1, description="A cosine: images whose pictures are that near to a better hit's are left out."
    )
    group_by: str | None = Field(
        None, max_length=1_000, description="A column: of images with the same value only the best is a hit."
    )


class Question(BaseModel):
    """What was searched by."""

    text: str | None
    id: str | None
    picture: str | None = Field(description="Handle of an uploaded picture, to go on with.")


class SearchAnswer(BaseModel):
    """Hits, best first."""

    snapshot: int
    total: int = Field(description="How many images may be found.")
    offset: int
    condition: str | None = Field(description="The SQL condition that `where` and `filters` come to.")
    image_weight: float = Field(description="The weight A of the picture that was used.")
    query: Question
    exact: bool = Field(description="Whether no hit can have been missed.")
    target_recall: float | None = Field(
        description="What share of the true hits an approximate index was built to find; null where all are exact."
    )
    explanation: list[Step] = Field(description="What was done, in how many segments.")
    seconds: float = Field(description="What it took, encoding included.")
    hits: list[Hit]


@router.get("/api/search", summary="Search by a text, an image of the store, or a picture that was uploaded before")
def search(options: Annotated[Options, Query()], store: PinnedStore, served: ServedStore) -> SearchAnswer:
    """Find the images that are most like a text, an image of the store, or a picture, or a picture and a text.

    The score is A cos_image + (1 - A) cos_prefix. What is left empty counts as not given.
    """
    return _answer(served, store, options)


@router.post(
    "/api/search",
    summary="Search by a picture",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {
                            "image": {"type": "string", "format": "binary", "description": "The picture's file."},
                            **{
                                name: one
                                for name, one in Options.model_json_schema()["properties"].items()
                                if name != "picture"
                            },
                        },
                    }
                }
            },
        }
    },
)
def search_by_picture(
    form: Annotated[PictureForm, Depends(picture_form)], store: PinnedStore, served: ServedStore
) -> SearchAnswer:
    """Find the images that are most like a picture, or a picture and a text.

    The picture is kept in memory, never on disk. `query.picture` of the answer is its handle: with it, GET pages on,
    or asks with another weight, without the picture being sent again.
    """
    try:
        options = Options.model_validate({**form.fields, "picture": None})
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from None
    with served.turns.take():
        handle = served.uploads.add(store, form.picture)
    return _answer(served, store, options.model_copy(update={"picture": handle}))


@router.get("/api/queries/{picture}", summary="A picture that was uploaded", response_class=Response, responses=_JPEG)
def uploaded(picture: str, store: PinnedStore, served: ServedStore) -> Response:
    """A JPEG of at most 512 pixels a side of a picture that was searched by; 410 when it is no longer known."""
    found = served.uploads.find(store, picture)
    return Response(found.jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


def _is_itself(store: Store, image_id: str | None, among: Mask | None) -> bool:
    """Whether an image that is searched by is one of those (n,) that might be found: it is not among its own hits."""
    if not image_id:
        return False
    return among is None or bool(among[store.opened.searcher.row_of(image_id)])


def _answer(served: Served, store: Store, options: Options) -> SearchAnswer:
    """The hits of a query.

    Raises:
        QueryError, ImageNotFound: as `Store.search`.
        Refused: an uploaded picture is no longer known.
    """
    begun = time.perf_counter()
    queries = served.queries(store, text=options.text, id=options.id, picture=options.picture)
    selection = Selection(options.k, options.offset, options.min_score, options.dedup, options.group_by or None)
    wanted = Wanted(selection, options.image_weight, exact=options.exact)
    chosen = chosen_of(store, options.where, options.filters)
    # Each condition by itself, as facets have evaluated them.
    among = store.opened.browser.matching(chosen.where, chosen.filters)
    with served.turns.take():
        found = Search(store.opened, wanted, among=among).answer(queries)
    told = found.explanation
    return SearchAnswer(
        snapshot=store.snapshot,
        total=told.images - _is_itself(store, options.id, among),
        offset=options.offset,
        condition=chosen.condition,
        image_weight=round(told.weights[0], 6),
        query=Question(text=options.text or None, id=options.id or None, picture=options.picture),
        exact=told.target_recall is None,
        target_recall=told.target_recall,
        explanation=list(told.steps),
        seconds=round(time.perf_counter() - begun, 6),
        hits=hits_of(store, found.row, found.table, first=options.offset + 1),
    )
