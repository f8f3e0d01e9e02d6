"""Images as points of a plane, by the vectors that a search compares.

What is projected are the points of `fpve.curation.space`, whose products are the scores by which one image finds
another.

`pca` is linear and exact: the two directions in which points vary most. `umap` (McInnes, Healy and Melville 2018) keeps
near images near, and says little of how far apart groups are; it starts from the plane of `pca`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

import numpy as np

from fpve.curation.space import PART, dim_of, points_in_parts
from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.fusion import Floats
from fpve.neighbours import Exact, Rows
from fpve.progress import Progress, SilentProgress, Stage
from fpve.search import Searcher

if TYPE_CHECKING:
    from umap import UMAP

Method = Literal["pca", "umap"]
DEFAULT_METHOD: Method = "pca"
DEFAULT_SEED = 0

# Over all images: for their mean, their scatter, and their places.
_PASSES = 3
# Of each image, itself included: UMAP's own default.
_NEIGHBOURS = 15
# Fewer have no neighbourhoods to keep.
_FEWEST = 5
# Of the width of the plane: parts points that are one there, and is not seen.
_JITTER = 1e-4


class Plane(NamedTuple):
    """Points (n, 2) float32, and what share in [0, 1] of the variance they show; None where that means nothing."""

    points: Floats
    share: float | None


def project(
    searcher: Searcher,
    rows: Rows,
    *,
    method: Method = DEFAULT_METHOD,
    image_weight: float | None = None,
    seed: int = DEFAULT_SEED,
) -> Floats:
    """Place image rows (n,) in a plane: (n, 2) float32, the same again for the same store, options and machine.

    Args:
        searcher: whose searched vectors are projected, centred where these are.
        rows: numbers of image rows.
        method: `pca`, or `umap`, which needs the extra `map`.
        image_weight: the weight A of the picture in [0, 1]; by default the store's, and 1 where no image has a prefix.
        seed: of what UMAP draws at random.

    Raises:
        QueryError: an option is wrong, or a library is missing.
    """
    return plane_of(searcher, rows, method=method, image_weight=image_weight, seed=seed).points


def plane_of(
    searcher: Searcher,
    rows: Rows,
    *,
    method: Method = DEFAULT_METHOD,
    image_weight: float | None = None,
    seed: int = DEFAULT_SEED,
    progress: Progress | None = None,
) -> Plane:
    """The same as `project`, with the share of the variance that is in the plane.

    `progress` is told of each image that is looked at: `project` looks at all of them three times, and `umap` also has
    a stage `compare`, with the neighbours of each, and `unfold`, of which nobody knows how far it is.
    """
    if method not in get_args(Method):
        raise QueryError(f"method: expected pca or umap, found {method!r}{nearest_word(str(method), get_args(Method))}")
    # Before anything is computed.
    umap = _umap() if method == "umap" else None
    weight = weight_of(searcher, image_weight)
    rows = np.asarray(rows, np.int64)
    progress = progress or SilentProgress()
    with progress.stage("project", _PASSES * len(rows)) as stage:
        plane = _principal(searcher, rows, weight, stage)
    if umap is None or len(rows) < _FEWEST or not np.any(plane.points):
        return plane
    with progress.stage("compare", len(rows)) as stage:
        near, far = _neighbourhoods(searcher, rows, weight, stage)
    with progress.stage("unfold", None):
        return Plane(_unfolded(umap, near, far, plane.points, seed), None)


def weight_of(searcher: Searcher, image_weight: float | None) -> float:
    """The weight A of the picture: the given one; else the store's, or 1 where no image has a prefix block.

    Raises:
        QueryError: the given weight is not in [0, 1].
    """
    snapshot = searcher.snapshot
    if image_weight is None:
        return snapshot.manifest.fusion.image_weight if snapshot.has_prefixes or searcher.predicted else 1.0
    return searcher.checked_weight(image_weight)


def _principal(searcher: Searcher, rows: Rows, weight: float, stage: Stage) -> Plane:
    """The plane of the two principal components, by the covariance, so that few rows are held at once.

    Each component points to where the largest of its loadings is positive; one in which nothing varies is zero.
    """
    points = np.zeros((len(rows), 2), np.float32)
    if len(rows) < 2:
        return Plane(points, None)
    mean: Exact = np.zeros(dim_of(searcher, weight))
    for part in points_in_parts(searcher, rows, weight):
        mean += part.sum(axis=0, dtype=np.float64)
        stage.advance(len(part))
    mean /= len(rows)
    # Less the mean first: the squares of what is left lose no digits in float32, and their sums are float64.
    centre = mean.astype(np.float32)
    scatter = np.zeros((len(mean), len(mean)))
    for part in points_in_parts(searcher, rows, weight):
        part -= centre
        scatter += part.T @ part
        stage.advance(len(part))
    total = float(np.trace(scatter))
    axes, variances = _largest(scatter)
    # What rounding leaves: of equal vectors 6e-8 of a length of 1, squared, for each row; and of products 1e-7, a third
    # of a pixel on a map of a thousand.
    axes[:, variances <= max(1e-12 * len(rows), 1e-7 * total)] = 0
    at = 0
    for part in points_in_parts(searcher, rows, weight):
        points[at : at + len(part)] = (part - centre) @ axes.astype(np.float32)
        at += len(part)
        stage.advance(len(part))
    return Plane(points, min(1.0, float(variances.sum()) / total) if np.any(axes) else None)


def _largest(scatter: Exact) -> tuple[Exact, Exact]:
    """The two eigenvectors (d, 2) with the largest eigenvalues (2,) of a symmetric matrix; zero where it has fewer."""
    from scipy.linalg import eigh

    dim = len(scatter)
    axes, values = np.zeros((dim, 2)), np.zeros(2)
    count = min(2, dim)
    found, vectors = eigh(scatter, subset_by_index=[dim - count, dim - 1])
    axes[:, :count], values[:count] = vectors[:, ::-1], np.maximum(found[::-1], 0)
    signs = np.sign(axes[np.argmax(np.abs(axes), axis=0), [0, 1]])
    return axes * np.where(signs == 0, 1, signs), values


def _unfolded(umap: type[UMAP], near: Rows, far: Floats, start: Floats, seed: int) -> Floats:
    """UMAP's plane, from neighbours (n, k) and how far they are (n, k), beginning at points (n, 2)."""
    random = np.random.default_rng(seed)
    width = float(np.ptp(start, axis=0).max())
    begin = start + random.normal(scale=_JITTER * width, size=start.shape).astype(np.float32)
    layout = umap(
        n_neighbors=near.shape[1],
        # Ours are found already, and what else of the data it looks at is their number.
        precomputed_knn=(near, far),
        init=begin,
        random_state=seed,
        # With a seed there is one thread; said, so that it does not warn of it.
        n_jobs=1,
    )
    with warnings.catch_warnings():
        # It can't place new images by neighbours alone: none are to be.
        warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]", category=UserWarning)
        return np.asarray(layout.fit_transform(begin), np.float32)


def _neighbourhoods(searcher: Searcher, rows: Rows, weight: float, stage: Stage) -> tuple[Rows, Floats]:
    """Of n images the nearest among them (n, k), each itself first, and how far they are (n, k): 1 less the score."""
    count = min(_NEIGHBOURS, len(rows) - 1)
    allowed = searcher.only(rows)
    place = np.full(searcher.rows, -1)
    place[rows] = np.arange(len(rows))
    near = np.empty((len(rows), count), np.int64)
    far = np.zeros((len(rows), count), np.float32)
    near[:, 0] = np.arange(len(rows))
    for at in range(0, len(rows), PART):
        mine = rows[at : at + PART]
        found = searcher.nearest(
            searcher.blocks_of(mine),
            image_weight=weight,
            k=count - 1,
            allowed=allowed,
            exclude=mine,
        ).panel(len(mine), count - 1)
        near[at : at + len(mine), 1:] = place[found.row]
        far[at : at + len(mine), 1:] = np.maximum(1 - found.score, 0)
        stage.advance(len(mine))
    return near, far


def _umap() -> type[UMAP]:
    """UMAP's class; importing it takes seconds, and compiles.

    Raises:
        QueryError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # It has a part for TensorFlow, which nobody needs here.
            warnings.simplefilter("ignore")
            from umap import UMAP
    except ImportError as error:
        raise QueryError(
            f"method umap: expected the package umap-learn, found none ({error.name}): `pip install 'fpve[map]'`, or "
            "take the method pca"
        ) from None
    return cast("type[Any]", UMAP)
