"""Protocols of an evaluation: who is predicted by whom."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.fusion import Floats, unit
from fpve.groups import Groups
from fpve.neighbours import Mask, Rows
from fpve.search import Searcher
from fpve.splits import components, near_duplicates

# What the side that is predicted is called in the split columns of datasets, and the one that it is predicted by.
TEST, TRAIN = "test", "train"
# Any; the same one divides the same images in the same way each time.
SEED = 0
# All pairs of so many pictures are compared in half a minute; of more, copies are told by their content alone.
MOST_COMPARED = 30_000


class Sides(NamedTuple):
    """On which sides n images are: each is predicted by those of other sides.

    Attributes:
        grouped: (n,) numbers; images of one group are on one side, as far as the protocol can see to it.
        naive: (n,) numbers, whatever groups there are.
    """

    grouped: Rows
    naive: Rows


def clusters_of(groups: Groups, image: Floats | None) -> tuple[Rows, tuple[str, ...]]:
    """Numbers (n,) of what must stay on one side, and what a reader should know of them.

    Images are of one cluster if a chain of shared content, shared prefixes or near-duplicates connects them.

    Args:
        groups: of the n images.
        image: (n, image_dim) raw image blocks; None where there are too many to compare.
    """
    codes = [groups.content, groups.prefix]
    if image is None or len(image) > MOST_COMPARED:
        count = len(groups.content)
        note = f"near-duplicates among {count:,} images may be on both sides: copies were told by their content"
        return components(codes), (note,)
    return components(codes, near_duplicates(unit(image))), ()


def folds_of(codes: Rows, clusters: Rows, count: int) -> Sides:
    """Divide n images into folds, by whole clusters and without regard for them, each with its share of each class.

    Args:
        codes: (n,) class numbers.
        clusters: (n,) numbers of what must stay in one fold.
        count: how many folds.

    Raises:
        QueryError: that is fewer than 2, or more than there are clusters.
    """
    most = len(np.unique(clusters))
    if not 2 <= count <= most:
        raise QueryError(
            f"folds: expected 2 to {most:,}, as many as there are images that share nothing, found {count}"
        )
    return Sides(_dealt(codes, clusters, count), _dealt(codes, np.arange(len(codes)), count))


def _dealt(codes: Rows, clusters: Rows, count: int) -> Rows:
    """Fold (n,) of each image: clusters are dealt out by class, the largest first, each to the fold that needs it most.

    Greedy, as in scikit-learn's StratifiedGroupKFold, but in time linear in the number of clusters.
    """
    random = np.random.default_rng(SEED)
    names, cluster, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    cluster = cluster.reshape(-1)
    # A cluster counts for the class of most of its images.
    pairs, counts = np.unique(np.stack([cluster, codes]), axis=1, return_counts=True)
    order = np.lexsort((-counts, pairs[0]))
    first = np.searchsorted(pairs[0][order], np.arange(len(names)))
    of = pairs[1][order][first]
    shuffled = random.permutation(len(names))
    shuffled = shuffled[np.lexsort((-sizes[shuffled], of[shuffled]))]
    fold = np.zeros(len(names), np.int64)
    total = np.zeros(count, np.int64)
    start = 0
    while start < len(shuffled):
        stop = start + int(np.searchsorted(of[shuffled[start:]], of[shuffled[start]], side="right"))
        mine = np.zeros(count, np.int64)
        for one in shuffled[start:stop]:
            # The fold with the fewest of this class, and of these the smallest.
            chosen = np.lexsort((total, mine))[0]
            fold[one] = chosen
            mine[chosen] += sizes[one]
            total[chosen] += sizes[one]
        start = stop
    return fold[cluster]


def split_by(searcher: Searcher, column: str, rows: Rows) -> tuple[Rows, Mask, Mask]:
    """Sides (n,) of images by a column of the store, and which of them are predicted, and vote.

    Those whose value is `test`, or true, are predicted, by those whose value is `train`, or false; or if there are no
    such, by all others that have a value.

    Raises:
        QueryError: there is no such column, or nothing to predict or to predict by.
    """
    known = [one.name for one in searcher.snapshot.manifest.columns]
    if column not in known:
        raise QueryError(f"no column {column!r}{nearest_word(column, known)}; the store has {', '.join(known)}")
    values = searcher.snapshot.rows.column(column)
    if pa.types.is_nested(values.type):
        raise QueryError(f"split column {column!r} holds lists; expected {TRAIN!r} or {TEST!r} of each image")
    texts = pc.cast(values, pa.string()).take(pa.array(rows)).combine_chunks()
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    tested = pc.is_in(texts, value_set=pa.array([TEST, "true"])).to_numpy(zero_copy_only=False)
    taught = pc.is_in(texts, value_set=pa.array([TRAIN, "false"])).to_numpy(zero_copy_only=False)
    if not taught.any():
        taught = texts.is_valid().to_numpy(zero_copy_only=False) & ~tested
    if not tested.any() or not taught.any():
        found = ", ".join(repr(one) for one in texts.unique().drop_null().slice(0, 5).to_pylist()) or "no value"
        missing = TEST if not tested.any() else TRAIN
        raise QueryError(
            f"split column {column!r}: expected labelled images with {TEST!r} and others with {TRAIN!r}, found none "
            f"with {missing!r} ({found})"
        )
    return tested.astype(np.int64), tested, taught
