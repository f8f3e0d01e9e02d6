"""Pictures that are there more than once: copies by their hash, near-duplicates by the cosine of their features.

Clusters are stars: each member is near to the centre, not only to another member as in single linkage, whose chains
join pictures that have nothing to do with each other. What stays is settled from the best picture down (the largest
one), as non-maximum suppression does with detections: a picture goes if it is near to a better one that stays. Each
that goes is a member of the cluster of the nearest one that stays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fpve.curation.contents import Contents, meeting, told
from fpve.curation.near import NearContents, Pairs
from fpve.curation.pixels import Pixels
from fpve.errors import QueryError
from fpve.neighbours import Exact, Mask, Rows
from fpve.progress import Progress, SilentProgress
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot

# Measured with the packaged encoder on photographs and drawings: mirrored pictures have cosines from 0.91 up, nineteen
# of twenty from 0.945; of pairs of different photographs one in ten thousand has 0.93.
THRESHOLD = 0.92
# Below it pictures of other things begin that are drawn alike, such as the faces of a series; mirrored and re-encoded
# pictures are above 0.91.
PIXELS = 0.9
# Centres whose members are compared at once, and at most how many pairs: 100 MB.
_CENTRES = 64
_PAIRS = 4_000_000

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


class Members(NamedTuple):
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

    def where(self, chosen: Mask | Rows | slice) -> Members:
        """Some of the members."""
        return Members._make(column[chosen] for column in self)


class Found(NamedTuple):
    """Members of some centres, with the place (t,) of each one's centre among these, ascending."""

    query: Rows
    members: Members


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
        near = NearContents(searcher, contents, threshold, stage)
    order = _best_first(searcher, contents, better)
    members = _clustered(near, contents.first, order, searcher.snapshot, pixels)
    return _told(searcher, contents, members, better)


def _best_first(searcher: Searcher, contents: Contents, better: Mask) -> Rows:
    """The contents (c,) that a better image (rows,) has first; then by number of pixels, bytes, and image_id."""
    preferred = np.bincount(contents.content, better[contents.rows], minlength=len(contents.first)) > 0
    told = searcher.snapshot.rows.take(contents.first, ["width", "height", "bytes"])
    width, height, size = (told[name].fill_null(0).to_numpy().astype(np.int64) for name in told.column_names)
    return np.lexsort((np.arange(len(width)), -size, -width * height, ~preferred))


def _clustered(near: NearContents, rows: Rows, order: Rows, snapshot: Snapshot, pixels: float) -> Members:
    """What could go, and the nearest of those pictures that then stay.

    Args:
        near: which contents are near to which.
        rows: (c,) an image of each content.
        order: (c,) the contents, the best first.
        snapshot: which has their thumbnails.
        pixels: from which correlation of these two pictures agree.
    """
    paired = np.zeros(len(rows), bool)
    paired[near.paired] = True
    order = order[paired[order]]
    small = Pixels(snapshot, rows[near.paired]) if pixels > -1 else None
    goes, stays = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    parts = [Members(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64, np.float64, bool)))]
    step = max(1, min(_CENTRES, _PAIRS // max(1, len(near.paired))))
    for start in range(0, len(order), step):
        centres = order[start : start + step]
        centres = centres[~goes[centres]]
        pairs = near.of(centres)
        # That they don't agree was found when the other one was the centre: both lists are complete.
        settled = stays[pairs.member] & near.is_cut[pairs.member] & near.is_cut[centres[pairs.query]]
        found = _agreeing(pairs.where(~settled), centres, rows, small, pixels)
        bounds = np.searchsorted(found.query, np.arange(len(centres) + 1)).tolist()
        for centre, first, last in zip(centres.tolist(), bounds, bounds[1:], strict=False):
            if goes[centre]:
                continue
            mine = found.members.where(slice(first, last))
            better = stays[mine.member]
            if better.any():
                # An index may miss in one direction what it finds in the other.
                mine = mine.where(better)
                mine = mine._replace(centre=mine.member, member=mine.centre)
            else:
                stays[centre] = True
            parts.append(mine)
            goes[mine.member] = True
    every = Members(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    # Each goes with the nearest of those that stay, or of equally near ones with the best.
    ranked = every.where(np.lexsort((np.arange(len(every.member)), -every.cosine, every.member)))
    return ranked.where(np.diff(ranked.member, prepend=-1) != 0)


def _agreeing(pairs: Pairs, centres: Rows, rows: Rows, small: Pixels | None, pixels: float) -> Found:
    """The pairs of centres (m,) and contents near to them whose pictures agree, or of which nothing else is known."""
    agreement, mirrored = np.full(len(pairs.query), np.nan), np.zeros(len(pairs.query), bool)
    if small is not None and len(pairs.query):
        others, place = np.unique(pairs.member, return_inverse=True)
        compared = small.compare(rows[centres], rows[others])
        at = pairs.query, place.reshape(-1)
        agreement, mirrored = compared.correlation[at], compared.mirrored[at]
    same = ~(agreement < pixels)
    members = Members(centres[pairs.query], pairs.member, pairs.cosine, agreement, mirrored)
    return Found(pairs.query[same], members.where(same))


def _told(searcher: Searcher, contents: Contents, members: Members, better: Mask) -> pa.Table:
    """All images of the clusters: of near contents, and of contents that several images have."""
    images, starts = contents.copies()
    counts = np.diff(starts)
    centre = np.arange(len(counts))
    centre[members.member] = members.centre
    cosine, pixels = np.ones(len(counts)), np.full(len(counts), np.nan)
    mirrored = np.zeros(len(counts), bool)
    cosine[members.member], pixels[members.member], mirrored[members.member] = (
        members.cosine,
        members.pixels,
        members.mirrored,
    )
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
        "pixels": pa.array(pixels[content], mask=~known),
    }
    return pa.table([columns[field.name] for field in SCHEMA], schema=SCHEMA)
