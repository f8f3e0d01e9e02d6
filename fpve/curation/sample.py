"""A diverse subset: each image is the one farthest from those that were chosen before it (greedy k-centre).

Gonzalez 1985 (Clustering to Minimize the Maximum Intercluster Distance): the farthest image from the subset is at most
twice as far as it is from the best subset of the same size. Every beginning of the list is such a subset itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from fpve.curation.contents import NAMED, Contents, meeting, told
from fpve.curation.space import points_of, weight_of_pictures
from fpve.errors import QueryError
from fpve.fusion import Floats
from fpve.neighbours import Exact, Rows
from fpve.progress import Progress, SilentProgress
from fpve.search import Searcher

# Images whose distances to all others are computed at once: of 100,000 images they are 26 MB, and the product is long
# enough for all threads. Some of them turn out to be next.
_AT_ONCE = 64

SCHEMA = pa.schema(
    [
        ("rank", pa.int64()),
        ("image_id", pa.string()),
        ("collection", pa.string()),
        ("path", pa.string()),
        ("distance", pa.float64()),
        ("prefix", pa.string()),
    ]
)


def sample(
    searcher: Searcher,
    *,
    n: int,
    image_weight: float = 1.0,
    where: str | None = None,
    beside: str | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """A diverse subset of n images: each is the farthest from all that were chosen before it; exact, not approximate.

    The first is the nearest to the mean. Distances are 1 - score. Of copies one is taken.

    Args:
        searcher: over the images.
        n: how many; fewer if there are fewer different pictures.
        image_weight: the weight A of the picture in the score; below 1 the prefixes count as well.
        where: an SQL condition on the images that may be chosen.
        beside: an SQL condition on images that are there already, such as those with a label: what is chosen is far
            from them.
        progress: is told of each image that is chosen.

    Returns:
        The columns of `SCHEMA`; `distance` is that to the nearest of those chosen before, or `beside`; null for the
        first if there are none. All other images are at most as far from the subset as the last one was.

    Raises:
        QueryError: an option is wrong.
    """
    if n < 1:
        raise QueryError(f"n: expected at least 1 image, found {n}")
    weight = weight_of_pictures(searcher, image_weight)
    rows = Contents.of(searcher, where).first
    points = points_of(searcher, rows, weight)
    nearest = np.full(len(rows), np.inf)
    if beside is not None:
        there = np.flatnonzero(meeting(searcher, "beside", beside))
        for start in range(0, len(there), _AT_ONCE):
            others = points_of(searcher, there[start : start + _AT_ONCE], weight)
            np.minimum(nearest, (1 - points @ others.T).min(axis=1), out=nearest)
        # They are there, and so are their copies.
        nearest[np.isin(rows, there)] = -np.inf
    chosen, distances = [], []
    with (progress or SilentProgress()).stage("choose", min(n, len(rows))) as stage:
        for place, distance in _farthest_first(points, nearest):
            chosen.append(place)
            distances.append(distance)
            stage.advance()
            if len(chosen) == n:
                break
    columns = {
        **told(searcher, rows[np.array(chosen, np.int64)], NAMED),
        "rank": pa.array(np.arange(1, len(chosen) + 1)),
        "distance": pa.array(np.maximum(np.array(distances, float), 0), mask=np.isinf(np.array(distances, float))),
    }
    return pa.table([columns[field.name] for field in SCHEMA], schema=SCHEMA)


def _farthest_first(points: Floats, nearest: Exact) -> Iterator[tuple[int, float]]:
    """Points one after the other, each the farthest from those before, and how far; of equally far ones the first.

    Args:
        points: (n, d) rows of products.
        nearest: (n,) distance of each to what is there already, inf where nothing is; -inf leaves a point out.
    """
    if not len(points):
        return
    if np.isinf(nearest).all() and (nearest > 0).any():
        first = int(np.argmax(np.where(nearest > 0, points @ points.mean(axis=0), -np.inf)))
        yield first, np.inf
        np.minimum(nearest, 1 - points @ points[first], out=nearest)
        nearest[first] = -np.inf
    while True:
        likely = _farthest(nearest, min(_AT_ONCE, len(nearest)))
        distances = 1 - points @ points[likely].T
        column = {int(place): number for number, place in enumerate(likely)}
        while True:
            farthest = int(np.argmax(nearest))
            if nearest[farthest] == -np.inf:
                return
            if farthest not in column:
                break
            yield farthest, float(nearest[farthest])
            np.minimum(nearest, distances[:, column[farthest]], out=nearest)
            nearest[farthest] = -np.inf


def _farthest(nearest: Exact, count: int) -> Rows:
    """The `count` farthest of distances (n,), of equally far ones the first: so the first of the farthest is one."""
    least = np.partition(nearest, -count)[-count]
    beyond = np.flatnonzero(nearest > least)
    return np.concatenate([beyond, np.flatnonzero(nearest == least)[: count - len(beyond)]])
