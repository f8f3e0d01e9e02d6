"""Images as points, by the vectors that a search compares.

A point is u = [ sqrt(A) f^ ; sqrt(1-A) p^ ], a missing block zero, so that for two images

    u·u' = A cos_image + (1-A) cos_prefix

which is the score by which one of them finds the other. In a centred store f~ and p~ are in the place of f^ and p^, and
a predicted prefix block keeps its length, as in the search.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fpve.errors import QueryError
from fpve.fusion import Floats, unit
from fpve.neighbours import Rows
from fpve.search import Searcher

# Rows that are read at once: of 2,000 numbers these are 32 MB, and a product of them is long enough for all threads.
PART = 4_096


def points_in_parts(searcher: Searcher, rows: Rows, image_weight: float) -> Iterator[Floats]:
    """The points (m, d) float32 of image rows (n,), some at a time; at weight 1 they have no prefix block."""
    fusion = searcher.fusion
    dims = [fusion.image_dim, dim_of(searcher, image_weight) - fusion.image_dim]
    # Balanced vectors have blocks of length 1/sqrt(2), or shorter ones that were predicted.
    is_balanced = fusion.mode == "balanced"
    scale = np.repeat(np.sqrt([image_weight, 1 - image_weight]), dims) * (math.sqrt(2) if is_balanced else 1)
    for start in range(0, len(rows), PART):
        vectors = searcher.vectors_of(rows[start : start + PART])
        if not is_balanced:
            vectors = np.hstack([unit(vectors[:, : dims[0]]), unit(vectors[:, fusion.image_dim :])])
        yield vectors[:, : sum(dims)] * scale.astype(np.float32)


def dim_of(searcher: Searcher, image_weight: float) -> int:
    """Length d of the points at a weight."""
    return searcher.fusion.image_dim + (searcher.fusion.prefix_dim if image_weight < 1 else 0)


def points_of(searcher: Searcher, rows: Rows, image_weight: float) -> Floats:
    """The points (n, d) of image rows (n,), all in memory: 100,000 of 1,280 numbers are 512 MB."""
    points = np.empty((len(rows), dim_of(searcher, image_weight)), np.float32)
    for number, part in enumerate(points_in_parts(searcher, rows, image_weight)):
        points[number * PART : number * PART + len(part)] = part
    return points


def weight_of_pictures(searcher: Searcher, image_weight: float) -> float:
    """The weight A in (0, 1] of the picture, of what is compared by its picture; at 1 prefixes don't count.

    Raises:
        QueryError: it is none, or leaves nothing of the pictures.
    """
    weight = searcher.checked_weight(image_weight)
    if weight == 0:
        raise QueryError("image weight: expected more than 0, for these are compared by their pictures, found 0")
    return weight
