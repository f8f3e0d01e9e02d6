"""Images of a store classified by the others: what calibration is fitted to, found through the index."""

from __future__ import annotations

import numpy as np

from fpve.fusion import Blocks, unit
from fpve.groups import Groups
from fpve.neighbours import Mask, Neighbours, Panel, Rows
from fpve.search import Searcher, nearest_others
from fpve.splits import NEAR_DUPLICATE


def neighbours_of_others(
    searcher: Searcher,
    rows: Rows,
    blocks: Blocks,
    *,
    groups: Groups,
    image_weight: float,
    k: int,
    allowed: Mask | None,
) -> Panel:
    """The k nearest images of each of n images of a store that are not of its own group.

    Of one group are copies, near-duplicates, and images with the same prefix.

    Args:
        searcher: over the images.
        rows: (n,) the images.
        blocks: raw blocks of their queries, maybe without one that the images have.
        groups: what ties all images of the store together.
        image_weight: the weight A of the queries.
        k: how many.
        allowed: (all,) which images may be found; None means all.
    """

    def tied(own: Rows, found: Neighbours) -> Mask:
        return _tied(searcher, own, found, groups)

    return nearest_others(searcher, rows, blocks, tied=tied, image_weight=image_weight, k=k, allowed=allowed)


def _tied(searcher: Searcher, rows: Rows, found: Neighbours, groups: Groups) -> Mask:
    """Which neighbours (t,) are of the group of the image (m,) that they are neighbours of."""
    own = rows[found.query]
    prefix = groups.prefix[own]
    tied: Mask = groups.content[own] == groups.content[found.row]
    tied |= (prefix >= 0) & (prefix == groups.prefix[found.row])
    known = np.isfinite(found.image_score)
    if searcher.fusion.centre is None and known.any():
        # Queries have their pictures, and so the search has compared them.
        return tied | (known & (found.image_score >= NEAR_DUPLICATE))
    left = np.flatnonzero(~tied)
    names, place = np.unique(np.concatenate([own[left], found.row[left]]), return_inverse=True)
    image = unit(searcher.blocks_of(names).image)
    one, other = np.split(place, 2)
    tied[left] = np.einsum("td,td->t", image[one], image[other]) >= NEAR_DUPLICATE
    return tied
