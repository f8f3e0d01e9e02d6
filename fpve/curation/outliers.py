"""Pictures unlike all others: far from their nearest neighbours, by a cut that the far ones don't move."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.curation.contents import AT_ONCE, NAMED, Contents, told
from fpve.curation.space import weight_of_pictures
from fpve.errors import QueryError
from fpve.neighbours import Exact, Rows
from fpve.progress import Progress, SilentProgress
from fpve.search import Searcher

# Enough that a few odd pictures of one kind are still odd together, and few enough to be of one place.
DEFAULT_K = 10
# Iglewicz and Hoaglin 1993 (How to Detect and Handle Outliers).
CUT = 3.5
# The median absolute deviation, and the mean one, of a normal distribution of standard deviation 1.
_MEDIAN, _MEAN = 0.6745, 0.7979

SCHEMA = pa.schema(
    [
        ("rank", pa.int64()),
        ("image_id", pa.string()),
        ("collection", pa.string()),
        ("path", pa.string()),
        ("distance", pa.float64()),
        ("z", pa.float64()),
        ("nearest", pa.string()),
        ("prefix", pa.string()),
    ]
)


def outliers(
    searcher: Searcher,
    *,
    k: int = DEFAULT_K,
    cut: float = CUT,
    image_weight: float = 1.0,
    where: str | None = None,
    everything: bool = False,
    progress: Progress | None = None,
) -> pa.Table:
    """Images whose mean distance to their k nearest is far above that of most, the oddest first.

    The distance is 1 - score, the neighbours are found through the index, and copies of a picture count as one. The
    z-score is (distance - median) / (MAD / 0.6745), with the median absolute deviation of those above the median: few
    pictures are much nearer to others than most, and many farther.

    Args:
        searcher: over the images.
        k: how many neighbours.
        cut: from which z-score an image is an outlier.
        image_weight: the weight A of the picture in the score; below 1 the prefixes count as well.
        where: an SQL condition on the images that are looked at, and compared with.
        everything: tell of all images, not only of outliers.
        progress: is told of each picture that is looked at.

    Returns:
        The columns of `SCHEMA`; `nearest` is the image_id of the nearest neighbour.

    Raises:
        QueryError: an option is wrong.
    """
    if k < 1:
        raise QueryError(f"k: expected at least 1, found {k}")
    if not np.isfinite(cut):
        raise QueryError(f"cut: expected a z-score such as {CUT}, found {cut}")
    weight = weight_of_pictures(searcher, image_weight)
    contents = Contents.of(searcher, where)
    first, allowed = contents.first, searcher.only(contents.first)
    distance, nearest = np.full(len(first), np.nan), np.full(len(first), -1)
    with (progress or SilentProgress()).stage("compare", len(first)) as stage:
        for start in range(0, len(first), AT_ONCE):
            mine = first[start : start + AT_ONCE]
            found = searcher.nearest(searcher.blocks_of(mine), image_weight=weight, k=k, allowed=allowed, exclude=mine)
            panel = found.panel(len(mine), k)
            known = panel.row >= 0
            has = known.any(axis=1)
            part = slice(start, start + len(mine))
            nearest[part] = np.where(has, panel.row[:, 0], -1)
            total = np.where(known, 1 - panel.score, 0).sum(axis=1)
            distance[part][has] = total[has] / known.sum(axis=1)[has]
            stage.advance(len(mine))
    content = contents.content
    return _told(
        searcher, contents, distance[content], robust_z(distance)[content], nearest, -np.inf if everything else cut
    )


def robust_z(distances: Exact) -> Exact:
    """Modified z-scores (n,) of distances (n,), NaN where one is NaN: by the deviations above the median.

    Iglewicz and Hoaglin 1993. Where more than half of the distances are the same their mean deviation is taken.
    """
    known = distances[np.isfinite(distances)]
    if not len(known):
        return np.full(len(distances), np.nan)
    middle = np.median(known)
    above = known[known >= middle] - middle
    spread = np.median(above) / _MEDIAN or above.mean() / _MEAN
    if spread == 0:
        return np.where(np.isfinite(distances), 0.0, np.nan)
    scores: Exact = (distances - middle) / spread
    return scores


def _told(searcher: Searcher, contents: Contents, distance: Exact, z: Exact, nearest: Rows, cut: float) -> pa.Table:
    chosen = np.flatnonzero(z >= cut)
    chosen = chosen[np.lexsort((contents.rows[chosen], -distance[chosen]))]
    rows = contents.rows[chosen]
    other = nearest[contents.content[chosen]]
    names = searcher.snapshot.rows.take(np.maximum(other, 0), ["image_id"])["image_id"].combine_chunks()
    columns = {
        **told(searcher, rows, NAMED),
        "rank": pa.array(np.arange(1, len(rows) + 1)),
        "distance": pa.array(distance[chosen]),
        "z": pa.array(z[chosen]),
        "nearest": pc.if_else(pa.array(other >= 0), names, pa.scalar(None, pa.string())),
    }
    return pa.table([columns[field.name] for field in SCHEMA], schema=SCHEMA)
