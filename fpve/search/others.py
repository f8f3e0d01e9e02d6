"""The nearest images of images of a store that are tied to none of them: no copies of it, say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fpve.fusion import Blocks
from fpve.neighbours import Mask, Neighbours, Panel, Rows
from fpve.search.searcher import Searcher

# Fetched beyond k at first: most images have few copies. Where what is tied to an image fills its list, many times
# more, and in the end as many as a search can still rank at once.
_SPARE = 16
_DEEPER = 4
_DEEPEST = 2_048
# Vectors of neighbours that are held at once: 200 MB of 896 numbers.
_HELD = 50_000

# Which neighbours (t,) are tied to the image (m,) that they are neighbours of.
Tied = Callable[[Rows, Neighbours], Mask]


def nearest_others(
    searcher: Searcher,
    rows: Rows,
    blocks: Blocks,
    *,
    tied: Tied,
    image_weight: float,
    k: int,
    allowed: Mask | None,
) -> Panel:
    """The k nearest images of each of n images of a store that are not tied to it; itself is none of them.

    Args:
        searcher: over the images.
        rows: (n,) the images.
        blocks: raw blocks of their queries, maybe without one that the images have.
        tied: which neighbours are tied to whom.
        image_weight: the weight A of the queries.
        k: how many.
        allowed: (all,) which images may be found; None means all.
    """
    panel = Panel(np.full((len(rows), k), -1), np.full((len(rows), k), -np.inf))
    waiting, depth = np.arange(len(rows)), k + _SPARE
    while len(waiting):
        step = max(1, _HELD // depth)
        short = []
        for start in range(0, len(waiting), step):
            mine = waiting[start : start + step]
            found = searcher.nearest(
                Blocks(blocks.image[mine], blocks.prefix[mine]),
                image_weight=image_weight,
                k=depth,
                allowed=allowed,
                exclude=rows[mine],
            )
            free = found.where(~tied(rows[mine], found)).first(k)
            panel.row[mine], panel.score[mine] = free.panel(len(mine), k)
            # Who got fewer images than were asked for has seen all.
            more = np.bincount(found.query, minlength=len(mine)) >= depth
            short.append(mine[more & (panel.row[mine, -1] < 0)])
        waiting = np.concatenate(short)
        if depth >= _DEEPEST:
            break
        depth = min(depth * _DEEPER, _DEEPEST)
    return panel
