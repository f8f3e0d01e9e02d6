"""Copies, oddities and doubtful labels: computed in the background, and told a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from fpve.api import Store
from fpve.classify import DEFAULT_K as DEFAULT_VOTERS
from fpve.curation.duplicates import PIXELS, THRESHOLD
from fpve.curation.mislabeled import Doubts
from fpve.curation.outliers import CUT, DEFAULT_K
from fpve.progress import Progress
from fpve.records import Records
from fpve.web.filters import Chosen, ChosenImages
from fpve.web.jobs import RUNNING, Done, Running
from fpve.web.routing import StoreRouter
from fpve.web.rows import ImageRow, image_rows
from fpve.web.served import PinnedStore, Served, ServedStore

router = StoreRouter(tags=["curation"])

_DEFAULT_LIMIT = 50
_MOST = 500
# Of a larger cluster the rest has names only: more pictures of one thing than a person compares.
_MEMBERS = 200
_MOST_NEIGHBOURS = 1_000
# Of the tables what is told beside the image.
_OF_DUPLICATES = ("cluster", "action", "kind", "cosine", "mirrored", "pixels", "bytes")
_OF_OUTLIERS = ("rank", "distance", "z", "nearest")
_OF_DOUBTS = ("rank", "label", "prediction", "confidence", "label_probability")

Offset = Annotated[int, Query(ge=0, description="How many to skip.")]
Limit = Annotated[int, Query(ge=0, le=_MOST, description="How many.")]
Threshold = Annotated[float, Query(gt=0, le=1, description="The least cosine of raw features.")]
Pixels = Annotated[float, Query(ge=-1, le=1, description="The least correlation of thumbnails.")]
Weight = Annotated[float | None, Query(ge=0, le=1, description="Weight A of the picture; by default what fits.")]


class Computed(BaseModel):
    """What was computed of the images that meet a condition."""

    snapshot: int
    state: Literal["done"] = "done"
    total: int = Field(description="How many rows there are.")
    offset: int
    condition: str | None = Field(description="The SQL condition that `where` and `filters` come to.")
    seconds: float = Field(description="How long it took to compute.")
    notes: list[str] = Field(description="What a reader should know of how it was found.")


class Duplicate(BaseModel):
    """An image of a cluster of those that show the same."""

    cluster: int = Field(description="Number of the cluster, from 1; the largest is first.")
    cluster_size: int = Field(description=f"How many images it has; {_MEMBERS} of them are told.")
    action: str = Field(description="`keep` or `remove`.")
    kind: str | None = Field(description="`exact`: the same bytes as the kept one, or `near`; null of the kept one.")
    cosine: float = Field(description="Of its picture with the kept one.")
    mirrored: bool | None
    pixels: float | None = Field(description="Correlation of the thumbnails.")
    bytes: int | None
    image: ImageRow


class Duplicates(Computed):
    """Clusters of images that show the same, largest first. `offset` and `limit` count clusters."""

    clusters: int = Field(description="How many clusters there are.")
    removable: int = Field(description="How many images could go.")
    removable_bytes: int = Field(description="Bytes of these, as far as they are known.")
    rows: list[Duplicate]


class Removable(BaseModel):
    """The names of images that could go."""

    snapshot: int
    state: Literal["done"] = "done"
    total: int
    condition: str | None = Field(description="The SQL condition that `where` and `filters` come to.")
    ids: list[str]


class Outlier(BaseModel):
    """An image that is far from all others."""

    rank: int
    distance: float = Field(description="Mean distance to its nearest.")
    z: float = Field(description="Its robust z-score.")
    nearest: str | None = Field(description="The image that is most like it.")
    nearest_image: ImageRow | None
    image: ImageRow


class Outliers(Computed):
    """Images that are far from all others, the farthest first."""

    rows: list[Outlier]


class Witness(BaseModel):
    """A neighbour that voted."""

    image_id: str
    label: str
    score: float
    thumbnail: str | None


class Doubt(BaseModel):
    """An image whose label is doubted."""

    rank: int
    label: str = Field(description="Its label.")
    prediction: str = Field(description="What the others say.")
    confidence: float = Field(description="Probability of the prediction.")
    label_probability: float = Field(description="Probability of the label.")
    neighbours: list[Witness] = Field(description="The nearest of those that voted.")
    image: ImageRow


class Mislabeled(Computed):
    """Images whose label is doubted, the surest disagreement first."""

    label: str
    rows: list[Doubt]


@router.get(
    "/api/duplicates", summary="Images with the same picture, or nearly", response_model=Duplicates, responses=RUNNING
)
def duplicates(
    served: ServedStore,
    store: PinnedStore,
    chosen: ChosenImages,
    threshold: Threshold = THRESHOLD,
    pixels: Pixels = PIXELS,
    offset: Offset = 0,
    limit: Limit = _DEFAULT_LIMIT,
) -> Duplicates | JSONResponse:
    """Find images with the same picture: of each cluster which to keep, and which could go."""
    done = _duplicates(served, store, chosen, threshold, pixels)
    if isinstance(done, Running):
        return done.response(store.snapshot)
    table = done.found.to_arrow()
    page, sizes = _clusters(table, offset, limit)
    return Duplicates(
        **_computed(store, done, chosen, offset),
        clusters=len(sizes),
        removable=len(table) - len(sizes),
        removable_bytes=pc.sum(table["bytes"].filter(pc.equal(table["action"], "remove"))).as_py() or 0,
        rows=[
            Duplicate(**row, cluster_size=sizes[row["cluster"] - 1], image=image)
            for row, image in _told(store, page, _OF_DUPLICATES)
        ],
    )


@router.get(
    "/api/duplicates/ids", summary="Names of all images that could go", response_model=Removable, responses=RUNNING
)
def removable(
    served: ServedStore,
    store: PinnedStore,
    chosen: ChosenImages,
    threshold: Threshold = THRESHOLD,
    pixels: Pixels = PIXELS,
) -> Removable | JSONResponse:
    """List the images of which `/api/duplicates` keeps another one, however large a cluster is."""
    done = _duplicates(served, store, chosen, threshold, pixels)
    if isinstance(done, Running):
        return done.response(store.snapshot)
    table = done.found.to_arrow()
    ids = table["image_id"].filter(pc.equal(table["action"], "remove")).to_pylist()
    return Removable(snapshot=store.snapshot, total=len(ids), condition=chosen.condition, ids=ids)


def _duplicates(
    served: Served, store: Store, chosen: Chosen, threshold: float, pixels: float
) -> Done[Records] | Running:
    """Images with the same picture, computed in the background."""

    def find(progress: Progress) -> Records:
        return store.duplicates(threshold=threshold, pixels=pixels, where=chosen.condition, progress=progress)

    return served.jobs.ask(store.snapshot, ("duplicates", threshold, pixels, chosen.condition), find)


@router.get("/api/outliers", summary="Images that are far from all others", response_model=Outliers, responses=RUNNING)
def outliers(
    served: ServedStore,
    store: PinnedStore,
    chosen: ChosenImages,
    k: Annotated[int, Query(ge=1, le=_MOST_NEIGHBOURS, description="How many neighbours.")] = DEFAULT_K,
    cut: Annotated[float, Query(allow_inf_nan=False, description="From which robust z-score on.")] = CUT,
    image_weight: Annotated[float, Query(ge=0, le=1, description="Weight A of the picture.")] = 1.0,
    offset: Offset = 0,
    limit: Limit = _DEFAULT_LIMIT,
) -> Outliers | JSONResponse:
    """Find images whose mean distance to their nearest is beyond a robust cut."""

    def find(progress: Progress) -> Records:
        return store.outliers(k=k, cut=cut, image_weight=image_weight, where=chosen.condition, progress=progress)

    done = served.jobs.ask(store.snapshot, ("outliers", k, cut, image_weight, chosen.condition), find)
    if isinstance(done, Running):
        return done.response(store.snapshot)
    page = done.found.to_arrow().slice(offset, limit)
    near = _images(store, [one for one in page["nearest"].to_pylist() if one is not None])
    return Outliers(
        **_computed(store, done, chosen, offset),
        rows=[
            Outlier(**row, nearest_image=near.get(row["nearest"]), image=image)
            for row, image in _told(store, page, _OF_OUTLIERS)
        ],
    )


@router.get("/api/mislabeled", summary="Images whose label is doubted", response_model=Mislabeled, responses=RUNNING)
def mislabeled(
    served: ServedStore,
    store: PinnedStore,
    chosen: ChosenImages,
    label: Annotated[str, Query(description="The column of classes.")],
    k: Annotated[int, Query(ge=1, le=_MOST_NEIGHBOURS, description="How many neighbours vote.")] = DEFAULT_VOTERS,
    image_weight: Weight = None,
    offset: Offset = 0,
    limit: Limit = _DEFAULT_LIMIT,
) -> Mislabeled | JSONResponse:
    """Find images whose label is not what the others say."""

    def find(progress: Progress) -> Doubts:
        return store.mislabeled(label=label, k=k, image_weight=image_weight, where=chosen.condition, progress=progress)

    done = served.jobs.ask(store.snapshot, ("mislabeled", label, k, image_weight, chosen.condition), find)
    if isinstance(done, Running):
        return done.response(store.snapshot)
    page = done.found.to_arrow().slice(offset, limit)
    near = _images(store, [one["image_id"] for row in page["neighbours"].to_pylist() for one in row])
    return Mislabeled(
        **_computed(store, done, chosen, offset, done.found.notes),
        label=label,
        rows=[
            Doubt(
                **row,
                neighbours=[Witness(**one, thumbnail=near[one["image_id"]].thumbnail) for one in neighbours],
                image=image,
            )
            for (row, image), neighbours in zip(
                _told(store, page, _OF_DOUBTS), page["neighbours"].to_pylist(), strict=True
            )
        ],
    )


def _computed(store: Store, done: Done[Any], chosen: Chosen, offset: int, notes: Sequence[str] = ()) -> dict[str, Any]:
    """What is told of everything that was computed, as fields of Computed."""
    return {
        "snapshot": store.snapshot,
        "total": len(done.found),
        "offset": offset,
        "condition": chosen.condition,
        "seconds": round(done.seconds, 3),
        "notes": list(notes),
    }


def _clusters(table: pa.Table, offset: int, limit: int) -> tuple[pa.Table, list[int]]:
    """The rows of some clusters, and how many images each of all clusters has."""
    cluster = table["cluster"].to_numpy()
    # They are numbered from 1, and stand together.
    bounds = np.searchsorted(cluster, np.arange(1, cluster.max(initial=0) + 2))
    first = min(offset, len(bounds) - 1)
    page = zip(bounds[first : first + limit].tolist(), bounds[first + 1 : first + limit + 1].tolist(), strict=False)
    shown = [np.arange(start, min(start + _MEMBERS, stop)) for start, stop in page]
    rows = np.concatenate([np.zeros(0, np.int64), *shown])
    return table.take(pa.array(rows)), np.diff(bounds).tolist()


def _told(store: Store, table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], ImageRow]]:
    """Some columns of rows, and the image of each."""
    searcher = store.opened.searcher
    rows = [searcher.row_of(image_id) for image_id in table["image_id"].to_pylist()]
    return zip(table.select(list(columns)).to_pylist(), image_rows(store, rows), strict=True)


def _images(store: Store, image_ids: Sequence[str]) -> dict[str, ImageRow]:
    """Images by their names."""
    searcher = store.opened.searcher
    names = list(dict.fromkeys(image_ids))
    return dict(zip(names, image_rows(store, [searcher.row_of(one) for one in names]), strict=True))
