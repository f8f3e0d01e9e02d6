"""The map of a store: where each image lies in a plane, by what a search compares."""

from __future__ import annotations

from typing import Self

import numpy as np
import pyarrow as pa

from fpve.curation.projection import DEFAULT_METHOD, DEFAULT_SEED, Method, plane_of, weight_of
from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.progress import Progress
from fpve.records import Records
from fpve.search import Searcher

_PLACES = ("image_id", "x", "y")


class Map(Records):
    """Images in a plane, by image_id: `image_id`, `x`, `y` (float32), and the column that they are coloured by.

    A column that is itself called x or y is here called x_1 or y_1.

    Attributes:
        method: by which they are placed.
        image_weight: the weight A of the picture in the vectors that are placed.
        share: of the variance of these vectors, that the plane shows; None of a method that has none.
        color: name of the column that they are coloured by, as the store has it.
    """

    def __init__(
        self, table: pa.Table, *, method: Method, image_weight: float, share: float | None, color: str | None
    ) -> None:
        super().__init__(table)
        self.method = method
        self.image_weight = image_weight
        self.share = share
        self.color = color

    def _of(self, table: pa.Table) -> Self:
        return type(self)(table, method=self.method, image_weight=self.image_weight, share=self.share, color=self.color)


def map_images(
    searcher: Searcher,
    *,
    method: Method = DEFAULT_METHOD,
    image_weight: float | None = None,
    where: str | None = None,
    color: str | None = None,
    seed: int = DEFAULT_SEED,
    progress: Progress | None = None,
) -> Map:
    """Place images in a plane.

    Args:
        searcher: over whose images.
        method: `pca`, or `umap`, which needs the extra `map`.
        image_weight: the weight A of the picture in [0, 1]; by default the store's, and 1 where no image has a prefix.
        where: an SQL condition over the columns of `images`; the others are not placed, nor do they count.
        color: a column of `images` to have beside.
        seed: of what UMAP draws at random.
        progress: is told of each image that is looked at.

    Raises:
        QueryError: an option is wrong, or a library is missing.
    """
    known = searcher.snapshot.rows.schema.names
    if color is not None and color not in known:
        raise QueryError(f"color: no column {color!r}{nearest_word(color, known)}")
    rows = np.arange(searcher.rows) if where is None else np.flatnonzero(searcher.matching(where))
    plane = plane_of(searcher, rows, method=method, image_weight=image_weight, seed=seed, progress=progress)
    images = searcher.snapshot.rows
    table = pa.table(
        {
            "image_id": images.take(rows, ["image_id"])["image_id"],
            "x": np.ascontiguousarray(plane.points[:, 0]),
            "y": np.ascontiguousarray(plane.points[:, 1]),
        }
    )
    if color is not None and color != "image_id":
        name = f"{color}_1" if color in _PLACES else color
        table = table.append_column(name, images.take(rows, [color])[color])
    weight = weight_of(searcher, image_weight)
    return Map(table, method=method, image_weight=weight, share=plane.share, color=color)
