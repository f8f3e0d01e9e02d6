"""What became of a collection between two snapshots: its classes, its pictures on the whole, and what was never there.

Shares are compared by the population stability index, the sum over classes of (q - p) ln(q / p): below 0.1 it is
usually called stable, above 0.25 changed (Siddiqi 2006, Credit Risk Scorecards).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.classify import read_labels
from fpve.curation.contents import AT_ONCE, Contents
from fpve.curation.space import points_in_parts, points_of
from fpve.errors import QueryError
from fpve.neighbours import Exact, Mask, Rows
from fpve.progress import Progress, SilentProgress
from fpve.search import Searcher
from fpve.splits import components

# A class that is empty on one side counts as half an image, so that its logarithm is one.
_HALF = 0.5
# Pictures whose distance to their nearest tells how near pictures of a collection are, and beyond which a new one is
# unlike them: one of a hundred old ones is.
_REFERENCE, _SEED, _QUANTILE = 5_000, 0, 0.99
# Fewer new pictures of one kind are no cluster; and by how many of its nearest each is joined to others.
_FEWEST, _LINKS = 3, 8

# Of distances of mean pictures: the points are float32, and equal means are equal to so many.
_DECIMALS = 9

SCHEMA = pa.schema(
    [
        ("measure", pa.string()),
        ("name", pa.string()),
        ("before", pa.float64()),
        ("after", pa.float64()),
        ("change", pa.float64()),
        ("chance", pa.float64()),
    ]
)


class Row(NamedTuple):
    """One line of the table; what does not apply is None."""

    measure: str
    name: str
    before: float | None = None
    after: float | None = None
    change: float | None = None
    chance: float | None = None


def drift(before: Searcher, after: Searcher, *, label: str | None = None, progress: Progress | None = None) -> pa.Table:
    """What became of a store's images between two of its snapshots.

    Args:
        before: over the older snapshot.
        after: over the newer one.
        label: a column whose classes are compared as well.
        progress: is told of each new picture that is looked at.

    Returns:
        The columns of `SCHEMA`, by `measure`:

        images    how many there are, of all and of each collection
        share     which share of the labelled images a class is, the largest change first
        psi       the population stability index of the collections, and of the label
        centroid  1 - cosine of the mean pictures, of all and of each collection and class; `chance` is what two random
                  draws of as many images would differ by, tr(S) (1/m + 1/n) / (2 ||mu||^2) of their covariance and mean
        cluster   new pictures, `after` of them, that are farther from all old ones than 99 of 100 old pictures are from
                  each other: `name` is their most typical image, `change` its distance to the nearest old one, and
                  `chance` that distance which 99 of 100 keep

    Raises:
        QueryError: the snapshots have different encoders, or there is no such column.
    """
    mine, theirs = after.snapshot.manifest, before.snapshot.manifest
    if mine.encoders["image"] != theirs.encoders["image"]:
        raise QueryError(
            f"drift: expected one image encoder, found {theirs.encoders['image']} in snapshot {theirs.snapshot} and "
            f"{mine.encoders['image']} in snapshot {mine.snapshot}; their pictures can't be compared"
        )
    old, new = (_Side.of(one.variant(centred=False, predicted=False), label) for one in (before, after))
    rows = [*_counted(old, new), *_centroids(old, new), *_new_clusters(old, new, progress or SilentProgress())]
    columns = {name: [getattr(row, name) for row in rows] for name in Row._fields}
    return pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


class _Side(NamedTuple):
    """One snapshot: its images with a picture, and the groups that each is of.

    Attributes:
        searcher: over the snapshot, raw.
        contents: its pictures.
        groups: by what they are called, (n,) numbers of their names, -1 for none; and the names.
    """

    searcher: Searcher
    contents: Contents
    groups: dict[str, tuple[Rows, list[str]]]

    @classmethod
    def of(cls, searcher: Searcher, label: str | None) -> _Side:
        contents = Contents.of(searcher)
        collections = searcher.snapshot.rows.column("collection").take(pa.array(contents.rows)).combine_chunks()
        coded = collections.dictionary_encode()
        groups = {"collection": (coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist())}
        if label is not None:
            labels = read_labels(searcher, label)
            groups[label] = (labels.codes[contents.rows], list(labels.names))
        return cls(searcher, contents, groups)

    def counts(self, name: str) -> dict[str, int]:
        """How many images each group has."""
        codes, names = self.groups[name]
        counted = np.bincount(codes[codes >= 0], minlength=len(names))
        return dict(zip(names, counted.tolist(), strict=True))


def _counted(before: _Side, after: _Side) -> Iterator[Row]:
    old, new = len(before.contents.rows), len(after.contents.rows)
    yield Row("images", "all", old, new, new - old)
    shares = []
    for name in before.groups:
        was, is_now = before.counts(name), after.counts(name)
        every = sorted({one for counts in (was, is_now) for one, count in counts.items() if count})
        if name == "collection":
            yield from (
                Row("images", one, was.get(one, 0), is_now.get(one, 0), is_now.get(one, 0) - was.get(one, 0))
                for one in every
            )
        else:
            total = max(sum(was.values()), 1), max(sum(is_now.values()), 1)
            for one in every:
                share = was.get(one, 0) / total[0], is_now.get(one, 0) / total[1]
                shares.append(Row("share", one, *share, share[1] - share[0]))
        counts = np.array([[side.get(one, 0) for one in every] for side in (was, is_now)], float)
        if counts.sum(axis=1).all():
            yield Row("psi", name, change=_stability(counts))
    yield from sorted(shares, key=lambda row: (-abs(row.change or 0), row.name))


def _stability(counts: Exact) -> float:
    """The population stability index of counts (2, classes)."""
    p, q = np.maximum(counts, _HALF) / np.maximum(counts, _HALF).sum(axis=1, keepdims=True)
    return float(np.sum((q - p) * np.log(q / p)))


def _centroids(before: _Side, after: _Side) -> Iterator[Row]:
    old, new = _means(before), _means(after)
    for group in old:
        if group not in new:
            continue
        (one, m), (other, n) = old[group], new[group]
        lengths = np.linalg.norm(one), np.linalg.norm(other)
        if not all(lengths):
            continue
        # Rounding of equal means can leave more than nothing, and less.
        change = max(0.0, round(1 - float(one @ other) / float(lengths[0] * lengths[1]), _DECIMALS))
        square = float(one @ one)
        yield Row("centroid", group, change=change, chance=max(0.0, 1 - square) * (1 / m + 1 / n) / (2 * square))


def _means(side: _Side) -> dict[str, tuple[Exact, int]]:
    """The mean pictures (d,) of all and of each group, and of how many they are."""
    from scipy.sparse import csr_array

    rows, groups = side.contents.rows, [("all", np.zeros(len(side.contents.rows), np.int64), ["all"])]
    groups += [(name, codes, names) for name, (codes, names) in side.groups.items()]
    sums = [np.zeros((len(names), side.searcher.fusion.image_dim)) for _, _, names in groups]
    start = 0
    for part in points_in_parts(side.searcher, rows, 1.0):
        for (_, codes, names), total in zip(groups, sums, strict=True):
            mine = codes[start : start + len(part)]
            place = np.flatnonzero(mine >= 0)
            ones = csr_array((np.ones(len(place)), (mine[place], place)), shape=(len(names), len(part)))
            total += ones @ part
        start += len(part)
    found: dict[str, tuple[Exact, int]] = {}
    for (kind, codes, names), total in zip(groups, sums, strict=True):
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        prefix = "" if kind == "all" else f"{kind}: "
        found |= {
            f"{prefix}{name}": (total[at] / count, int(count))
            for at, (name, count) in enumerate(zip(names, counts, strict=True))
            if count
        }
    return found


def _new_clusters(before: _Side, after: _Side, progress: Progress) -> Iterator[Row]:
    """What is new and unlike all that was there, by kinds."""
    searcher, first = after.searcher, after.contents.first
    hashes = [
        side.searcher.snapshot.rows.column("content_hash").take(pa.array(side.contents.first)).combine_chunks()
        for side in (before, after)
    ]
    is_new = ~pc.is_in(hashes[1], value_set=hashes[0]).to_numpy(zero_copy_only=False)
    arrived = first[is_new]
    old = before.contents.first
    if not len(arrived) or len(old) < 2:
        return
    # Each old picture once. Made once, too: a search remembers what may be found.
    allowed = before.searcher.only(old)
    with progress.stage("compare", len(arrived)) as stage:
        distance = np.full(len(arrived), np.inf)
        for start in range(0, len(arrived), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            distance[part] = _nearest(before, allowed, searcher, arrived[part], None)
            stage.advance(len(distance[part]))
    some = old
    if len(old) > _REFERENCE:
        some = np.sort(np.random.default_rng(_SEED).choice(old, _REFERENCE, replace=False))
    usual = _nearest(before, allowed, before.searcher, some, some)
    cut = float(np.quantile(usual, _QUANTILE))
    novel = np.flatnonzero(distance > cut)
    if not len(novel):
        return
    kind = _kinds(searcher, arrived[novel], cut)
    points = points_of(searcher, arrived[novel], 1.0)
    found = []
    for number in np.flatnonzero(np.bincount(kind) >= _FEWEST).tolist():
        members = np.flatnonzero(kind == number)
        typical = members[np.argmax(points[members] @ points[members].mean(axis=0))]
        found.append((len(members), novel[typical]))
    found.sort(key=lambda one: (-one[0], one[1]))
    named = arrived[np.array([at for _, at in found], np.int64)]
    ids = searcher.snapshot.rows.take(named, ["image_id"])["image_id"].to_pylist()
    for (size, at), name in zip(found, ids, strict=True):
        yield Row("cluster", name, None, size, float(distance[at]), cut)


def _kinds(searcher: Searcher, rows: Rows, cut: float) -> Rows:
    """Numbers (n,) of the kinds of image rows (n,): chains of pictures as near as old ones join them."""
    allowed = searcher.only(rows)
    place = np.full(searcher.rows, -1)
    place[rows] = np.arange(len(rows))
    pairs = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for start in range(0, len(rows), AT_ONCE):
        mine = rows[start : start + AT_ONCE]
        blocks = searcher.blocks_of(mine)
        found = searcher.nearest(blocks, image_weight=1.0, k=_LINKS, allowed=allowed, exclude=mine)
        near = 1 - found.score <= cut
        pairs.append((start + found.query[near], place[found.row[near]]))
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return components([np.arange(len(rows))], (one, other))


def _nearest(before: _Side, allowed: Mask | None, searcher: Searcher, rows: Rows, exclude: Rows | None) -> Exact:
    """How far image rows (n,) of a searcher are from the nearest old picture; `exclude` names them among these."""
    blocks = searcher.blocks_of(rows)
    found = before.searcher.nearest(blocks, image_weight=1.0, k=1, allowed=allowed, exclude=exclude)
    panel = found.panel(len(rows), 1)
    distance: Exact = np.where(panel.row[:, 0] >= 0, 1 - panel.score[:, 0], np.inf)
    return distance
