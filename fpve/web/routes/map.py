"""The map of a store: where its images lie in a plane, and by what they are coloured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from fastapi import Query, Response
from pydantic import BaseModel, Field

from fpve.api import Store
from fpve.curation.projection import DEFAULT_METHOD, Method
from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.fusion import Floats
from fpve.neighbours import Exact, Rows
from fpve.progress import Progress
from fpve.report.colouring import colouring_of
from fpve.report.map import spread
from fpve.web.filters import ChosenImages
from fpve.web.jobs import RUNNING, Running
from fpve.web.routing import StoreRouter
from fpve.web.served import PinnedStore, ServedStore

router = StoreRouter(tags=["map"])

# Digits of a place: a hundred-thousandth of the map's width is a tenth of a pixel of any screen, zoomed ten times.
_DIGITS = 5


class Colours(BaseModel):
    """By what points are coloured."""

    column: str
    kind: Literal["classes", "numbers", "integers", "times"] = Field(
        description="Classes; or what numbers are, of which times are seconds since 1970, UTC."
    )
    names: list[str] | None = Field(None, description="Of classes, the largest first.")
    counts: list[int] | None = Field(None, description="How many images each class has.")
    codes: list[int] | None = Field(None, description="The class of each point; -1 is none.")
    values: list[float | None] | None = Field(None, description="The number of each point.")


class Places(BaseModel):
    """Images in a plane, in an order of which any beginning is spread over all of it."""

    snapshot: int
    state: Literal["done"] = "done"
    condition: str | None = Field(description="The SQL condition that `where` and `filters` come to.")
    seconds: float = Field(description="How long it took to compute.")
    method: Method
    image_weight: float = Field(description="The weight A of the picture in the vectors that are placed.")
    share: float | None = Field(description="Of the variance, that the plane shows; of `pca`.")
    image_id: list[str]
    x: list[float]
    y: list[float]
    color: Colours | None


@dataclass(frozen=True, slots=True)
class _Map:
    """The places of images, spread.

    Attributes:
        rows: (n,) numbers of their rows.
        points: (n, 2) where they are.
        image_weight: of the picture.
        share: of the variance; None of a method that has none.
    """

    rows: Rows
    points: Floats
    image_weight: float
    share: float | None


@router.get("/api/map", summary="Where images lie in a plane", response_model=Places, responses=RUNNING)
def places(
    served: ServedStore,
    store: PinnedStore,
    chosen: ChosenImages,
    method: Annotated[Method, Query(description="`umap` needs the extra `map`, and minutes.")] = DEFAULT_METHOD,
    image_weight: Annotated[
        float | None, Query(ge=0, le=1, description="Weight A of the picture; by default the store's.")
    ] = None,
    color: Annotated[str | None, Query(description="A column to colour by.")] = None,
) -> Response:
    """Place images in a plane by the vectors that a search compares: what is alike is near."""
    known = store.opened.searcher.snapshot.rows.schema.names
    if color and color not in known:
        raise QueryError(f"color: no column {color[:60]!r}{nearest_word(color[:60], known)}")

    def find(progress: Progress) -> _Map:
        return _placed(store, method, image_weight, chosen.condition, progress)

    done = served.jobs.ask(store.snapshot, ("map", method, image_weight, chosen.condition), find)
    if isinstance(done, Running):
        return done.response(store.snapshot)
    found = done.found
    x, y = _rounded(found.points).T.tolist()
    images = store.opened.searcher.snapshot.rows.take(found.rows, sorted({"image_id", color or "image_id"}))
    told = Places.model_construct(
        snapshot=store.snapshot,
        state="done",
        condition=chosen.condition,
        seconds=round(done.seconds, 3),
        method=method,
        image_weight=found.image_weight,
        share=found.share,
        image_id=images["image_id"].to_pylist(),
        x=x,
        y=y,
        color=_colours(color, images[color]) if color else None,
    )
    # As a text: to look at each of 300,000 numbers once more takes longer than to write them.
    return Response(told.model_dump_json(), media_type="application/json")


def _placed(
    store: Store, method: Method, image_weight: float | None, condition: str | None, progress: Progress
) -> _Map:
    found = store.map(method=method, image_weight=image_weight, where=condition, progress=progress)
    table = found.to_arrow()
    points = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    order = spread(points)
    rows = store.opened.browser.rows(condition)
    return _Map(rows[order], points[order], found.image_weight, found.share)


def _rounded(points: Floats) -> Exact:
    """Places (n, 2) with as many digits as can be seen."""
    width = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    return points.astype(np.float64).round(_DIGITS - math.ceil(math.log10(width or 1.0)))


def _colours(column: str, values: pa.ChunkedArray) -> Colours:
    """How points are coloured by the values of a column."""
    found = colouring_of(values)
    if found.kind != "classes":
        # NaN is null in JSON.
        return Colours.model_construct(column=column, kind=found.kind, values=found.values.tolist())
    sizes = [size for _, size in found.counts()]
    return Colours.model_construct(
        column=column, kind=found.kind, names=list(found.names), counts=sizes, codes=found.codes.tolist()
    )
