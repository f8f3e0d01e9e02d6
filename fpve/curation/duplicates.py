"""Pictures that are there more than once: copies by their hash, near-duplicates by the cosine of their features.

Clusters are stars: each member is near to the centre, not only to another member as in single linkage, whose chains
join pictures that have nothing to do with each other. What stays is settled from the best picture down (the largest
one), as non-maximum suppression does with detections: a picture goes if it is near to a better one that stays. Each
that goes is a member of the cluster of the nearest one that stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fpve.curation.contents import AT_ONCE, Contents, meeting, told
from fpve.curation.pixels import Pixels
from fpve.errors import QueryError
from fpve.fusion import Blocks, unit
from fpve.neighbours import Exact, Mask, Neighbours, Rows
from fpve.progress import Progress, SilentProgress, Stage
from fpve.search import Searcher

# Measured with the packaged encoder on photographs and drawings: mirrored pictures have cosines from 0.91 up, nineteen
# of twenty from 0.945; of pairs of different photographs one in ten thousand has 0.93.
THRESHOLD = 0.92
# Below it pictures of other things begin that are drawn alike, such as the faces of a series; mirrored and re-encoded
# pictures are above 0.91.
PIXELS = 0.9
# Neighbours of each picture that are fetched at first; most have few near ones. Who has more is asked for more.
_FIRST = 8
_DEEPER = 8
# Cosines are compared to six decimals: float32 leaves no more, and a copy of a picture has 0.9999999.
_DECIMALS = 6

_TOLD = ("image_id", "collection", "path", "width", "height", "bytes", "prefix")
SCHEMA = pa.schema(
    [
        ("cluster", pa.int64()),
        ("image_id", pa.string()),
        ("collection", pa.string()),
        ("path", pa.string()),
        ("action", pa.string()),
        ("kind", pa.string()),
        ("cosine", pa.float64()),
        ("mirrored", pa.bool_()),
        ("pixels", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("prefix", pa.string()),
    ]
)


class Near(NamedTuple):
    """What is near to centres: t members, those of a centre together.

    Attributes:
        centre, member: (t,) numbers of contents.
        cosine: (t,) of their pictures.
        pixels: (t,) correlation of their thumbnails; NaN where unknown.
        mirrored: (t,) whether they agree as mirrored pictures.
    """

    centre: Rows
    member: Rows
    cosine: Exact
    pixels: Exact
    mirrored: Mask

    def where(self, chosen: Mask | Rows) -> Near:
        """Some of the members."""
        return Near._make(column[chosen] for column in self)


def duplicates(
    searcher: Searcher,
    *,
    threshold: float = THRESHOLD,
    pixels: float = PIXELS,
    where: str | None = None,
    prefer: str | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """Clusters of images with the same picture, or nearly the same, largest first; nothing is removed.

    Near pictures are found through the index and compared by their raw features, centred store or not. Where both have
    thumbnails these have to agree as well.

    Args:
        searcher: over the images.
        threshold: the least cosine in (0, 1] of a member's picture with that of its cluster's centre.
        pixels: the least correlation of their thumbnails, in [-1, 1], as they are or mirrored; -1 takes any.
        where: an SQL condition on the images that are looked at.
        prefer: an SQL condition on images that are better than all others, however small: of one collection, say.
        progress: is told of each picture that is looked at.

    Returns:
        The columns of `SCHEMA`: of each cluster the image to `keep` first, then those that could go (`remove`), the
        nearest first. `kind` is `exact` where both files have the same bytes, else `near`.

    Raises:
        QueryError: an option is wrong.
    """
    if not 0 < threshold <= 1:
        raise QueryError(f"threshold: expected a cosine above 0 and at most 1, such as {THRESHOLD}, found {threshold}")
    if not -1 <= pixels <= 1:
        raise QueryError(f"pixels: expected a correlation from -1 to 1, such as {PIXELS}, found {pixels}")
    contents = Contents.of(searcher, where)
    better = np.zeros(searcher.rows, bool) if prefer is None else meeting(searcher, "prefer", prefer)
    with (progress or SilentProgress()).stage("compare", len(contents.first)) as stage:
        near = _clustered(_Lists(searcher, contents, threshold, stage), _best_first(searcher, contents, better), pixels)
    return _told(searcher, contents, near, better)


class _Lists:
    """The near contents of each content: those that were fetched for all, and longer lists for whoever needs one."""

    def __init__(self, searcher: Searcher, contents: Contents, threshold: float, stage: Stage) -> None:
        self.searcher, self.contents, self._threshold = searcher, contents, threshold
        self._allowed = contents.allowed(searcher.rows)
        self._number = np.full(searcher.rows, -1)
        self._number[contents.first] = np.arange(len(contents.first))
        parts = [_NOTHING, *self._fetched(stage)]
        one, other, cosine = (np.concatenate(column) for column in zip(*parts, strict=True))
        # Who is in the list of another is near to it, whether or not the other is in its own: an index may miss it.
        both = np.concatenate([one, other]), np.concatenate([other, one])
        order = np.lexsort((both[1], both[0]))
        pairs = np.stack([both[0][order], both[1][order]])
        once = np.ones(pairs.shape[1], bool)
        once[1:] = np.any(pairs[:, 1:] != pairs[:, :-1], axis=0)
        self._member, self._cosine = pairs[1][once], np.concatenate([cosine, cosine])[order][once]
        self._starts = np.searchsorted(pairs[0][once], np.arange(len(contents.first) + 1))

    @property
    def paired(self) -> Rows:
        """The contents that have a near one."""
        return np.flatnonzero(np.diff(self._starts))

    def _fetched(self, stage: Stage) -> Iterator[tuple[Rows, Rows, Exact]]:
        """Pairs of contents in which the second is among the first neighbours of the first, and near."""
        first = self.contents.first
        self._is_short = np.zeros(len(first), bool)
        for start in range(0, len(first), AT_ONCE):
            mine = np.arange(start, min(start + AT_ONCE, len(first)))
            query, member, cosine, lowest = self._near(mine, _FIRST)
            self._is_short[mine] = lowest >= self._threshold
            yield mine[query], member, cosine
            stage.advance(len(mine))

    def of(self, content: int) -> tuple[Rows, Exact]:
        """The contents that are near to one, and their cosines with it."""
        if not self._is_short[content]:
            part = slice(self._starts[content], self._starts[content + 1])
            return self._member[part], self._cosine[part]
        depth = _FIRST
        while True:
            depth *= _DEEPER
            _, member, cosine, lowest = self._near(np.array([content]), depth)
            if depth >= len(self.contents.first) or lowest[0] < self._threshold:
                return member, cosine

    def _near(self, mine: Rows, k: int) -> tuple[Rows, Rows, Exact, Exact]:
        """Of the k nearest contents of m contents those that are near: of whom, which, the cosine; and the lowest of k.

        The lowest (m,) is -inf where there are fewer than k.
        """
        rows = self.contents.first[mine]
        blocks = self.searcher.blocks_of(rows)
        found = self.searcher.nearest(
            Blocks(blocks.image, np.zeros_like(blocks.prefix)),
            image_weight=1.0,
            k=k,
            allowed=self._allowed,
            exclude=rows,
        )
        cosine = self._cosines(blocks, found)
        lowest = np.full(len(mine), np.inf)
        np.minimum.at(lowest, found.query, cosine)
        lowest[np.bincount(found.query, minlength=len(mine)) < k] = -np.inf
        near = cosine >= self._threshold
        return found.query[near], self._number[found.row[near]], cosine[near], lowest

    def _cosines(self, blocks: Blocks, found: Neighbours) -> Exact:
        """Cosines (t,) of raw features."""
        if self.searcher.fusion.centre is None:
            cosine = found.image_score
        else:
            names, place = np.unique(found.row, return_inverse=True)
            theirs = unit(self.searcher.blocks_of(names).image)
            cosine = np.einsum("td,td->t", unit(blocks.image)[found.query], theirs[place.reshape(-1)])
        return np.minimum(np.round(cosine.astype(np.float64), _DECIMALS), 1.0)


_NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def _best_first(searcher: Searcher, contents: Contents, better: Mask) -> Rows:
    """The contents (c,) that a better image (rows,) has first; then by number of pixels, bytes, and image_id."""
    preferred = np.bincount(contents.content, better[contents.rows], minlength=len(contents.first)) > 0
    told = searcher.snapshot.rows.take(contents.first, ["width", "height", "bytes"])
    width, height, size = (told[name].fill_null(0).to_numpy().astype(np.int64) for name in told.column_names)
    return np.lexsort((np.arange(len(width)), -size, -width * height, ~preferred))


def _clustered(lists: _Lists, order: Rows, pixels: float) -> Near:
    """What could go, and the nearest of those pictures that then stay."""
    rows = lists.contents.first
    paired = np.zeros(len(rows), bool)
    paired[lists.paired] = True
    small = Pixels(lists.searcher.snapshot, rows[paired]) if pixels > -1 else None
    goes, stays = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    parts = [Near(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64, np.float64, bool)))]
    for centre in order[paired[order]].tolist():
        if goes[centre]:
            continue
        member, cosine = lists.of(centre)
        agreement, mirrored = np.full(len(member), np.nan), np.zeros(len(member), bool)
        if small is not None:
            agreement, mirrored = small.compare(int(rows[centre]), rows[member])
        same = ~(agreement < pixels)
        near = Near(np.full(len(member), centre), member, cosine, agreement, mirrored).where(same)
        better = stays[near.member]
        if better.any():
            # An index may miss in one direction what it finds in the other.
            near = near.where(better)
            near = near._replace(centre=near.member, member=near.centre)
        else:
            stays[centre] = True
        parts.append(near)
        goes[near.member] = True
    every = Near(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    # Each goes with the nearest of those that stay, or of equally near ones with the best.
    ranked = every.where(np.lexsort((np.arange(len(every.member)), -every.cosine, every.member)))
    return ranked.where(np.diff(ranked.member, prepend=-1) != 0)


def _told(searcher: Searcher, contents: Contents, near: Near, better: Mask) -> pa.Table:
    """All images of the clusters: of near contents, and of contents that several images have."""
    images, starts = contents.copies()
    counts = np.diff(starts)
    centre = np.arange(len(counts))
    centre[near.member] = near.centre
    cosine, pixels = np.ones(len(counts)), np.full(len(counts), np.nan)
    mirrored = np.zeros(len(counts), bool)
    cosine[near.member], pixels[near.member], mirrored[near.member] = near.cosine, near.pixels, near.mirrored
    size = np.bincount(centre, counts, minlength=len(counts)).astype(np.int64)
    content = np.repeat(np.arange(len(counts)), counts)
    own = centre[content]
    chosen = size[own] > 1
    content, own, images = content[chosen], own[chosen], images[chosen]
    # Largest cluster first; in it the centre's own images, a better one before others, then the nearest.
    order = np.lexsort((images, ~better[images], -cosine[content], content != own, own, -size[own]))
    content, own, images = content[order], own[order], images[order]
    is_first = np.ones(len(own), bool)
    is_first[1:] = own[1:] != own[:-1]
    exact = content == own
    known = ~exact & np.isfinite(pixels[content])
    kinds = np.where(exact, "exact", "near").tolist()
    columns = {
        **told(searcher, images, _TOLD),
        "cluster": pa.array(np.cumsum(is_first)),
        "action": pa.array(np.where(is_first, "keep", "remove").tolist(), pa.string()),
        "kind": pa.array([None if first else kind for first, kind in zip(is_first, kinds, strict=True)], pa.string()),
        "cosine": pa.array(cosine[content]),
        "mirrored": pa.array(mirrored[content], mask=~known),
        "pixels": pa.array(np.minimum(np.round(pixels[content], _DECIMALS), 1.0), mask=~known),
    }
    return pa.table([columns[field.name] for field in SCHEMA], schema=SCHEMA)
