"""Searches: by a text, an image of the store, a picture, or a picture and a text."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from fpve.api import Store
from fpve.queries import Queries
from fpve.records import Step
from fpve.retrieval import Search, Wanted
from fpve.selection import Selection
from fpve.web.filters import FILTERS, LONGEST, WHERE, chosen_of
from fpve.web.rows import Hit, hits_of
from fpve.web.served import PinnedStore

router = APIRouter(tags=["search"])

_DEFAULT_K = 50
_MOST = 1_000
# What is fetched of a ranking to come to a page of it: more takes seconds, and nobody pages so far.
_DEEPEST = 100_000


class Question(BaseModel):
    """What was searched by."""

    text: str | None
    id: str | None
    picture: str | None = Field(description="Handle of an uploaded picture: SHA-256 of its bytes.")


class SearchAnswer(BaseModel):
    """Hits, best first."""

    snapshot: int
    total: int = Field(description="How many images may be found.")
    offset: int
    condition: str | None = Field(description="The SQL condition that `where` and `filters` come to.")
    image_weight: float = Field(description="The weight A of the picture that was used.")
    query: Question
    exact: bool = Field(description="Whether no hit can have been missed.")
    target_recall: float | None = Field(description="What share of the true hits an approximate index finds.")
    explanation: list[Step] = Field(description="What was done in which segments.")
    seconds: float
    hits: list[Hit]


class Options(BaseModel):
    """Which hits are wanted."""

    image_weight: float | None = Field(None, ge=0, le=1, description="Weight A of the picture; by default what fits.")
    k: int = Field(_DEFAULT_K, ge=1, le=_MOST, description="How many hits.")
    offset: int = Field(0, ge=0, le=_DEEPEST, description="How many hits to skip.")
    where: str | None = Field(None, max_length=LONGEST, description=WHERE)
    filters: str | None = Field(None, max_length=LONGEST, description=FILTERS)
    exact: bool = Field(False, description="Score every vector, whatever index there is.")
    min_score: float | None = Field(None, ge=-1, le=1, description="The lowest score of a hit.")
    dedup: float | None = Field(None, gt=0, le=1, description="Leave out pictures this near to a better hit's.")
    group_by: str | None = Field(None, description="Only the best hit of each value of this column.")
    text: str | None = Field(None, max_length=10_000, description="Compared with prefixes, or pictures.")
    id: str | None = Field(None, description="An image of the store, which is not among its own hits.")
    picture: str | None = Field(None, description="Handle of an uploaded picture.")


@router.get("/api/search", summary="Search by text, by an image of the store, or by an uploaded picture again")
def search(options: Annotated[Options, Query()], store: PinnedStore) -> SearchAnswer:
    """Find the images most like a text, an image of the store, or a picture that was uploaded before."""
    queries = Queries.one(image=None, text=options.text, id=options.id, vector=None)
    return answer(store, queries, options)


def answer(store: Store, queries: Queries, options: Options) -> SearchAnswer:
    """The hits of a query.

    Raises:
        QueryError, ImageNotFound, ImageError: as `Store.search`.
    """
    begun = time.perf_counter()
    selection = Selection(options.k, options.offset, options.min_score, options.dedup, options.group_by)
    chosen = chosen_of(store, options.where, options.filters)
    wanted = Wanted(selection, options.image_weight, chosen.condition, options.exact)
    found = Search(store.opened, wanted).answer(queries)
    explanation = found.explanation
    return SearchAnswer(
        snapshot=store.snapshot,
        total=explanation.images,
        offset=options.offset,
        condition=chosen.condition,
        image_weight=explanation.weights[0],
        query=Question(text=options.text, id=options.id, picture=options.picture),
        exact=explanation.target_recall is None,
        target_recall=explanation.target_recall,
        explanation=list(explanation.steps),
        seconds=time.perf_counter() - begun,
        hits=hits_of(store, found.row, found.table, first=options.offset + 1),
    )
