"""Rankings that are fetched deeper and deeper, page after page, of which the beginning stays what it was.

A graph that is asked for more hits walks farther, and finds images that it missed before, some of them better than what
it had found. Pages of such rankings would repeat images, and leave others out. So what a shallower search finds comes
first, and after it, of a search that goes twice as deep, what is not among it; and so on. Which searches these are
depends on the length of a page, and not on its number: all pages are of one ranking, without the others being known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fpve.neighbours import Mask, Neighbours, Rows

# How much deeper the next search goes.
_DEEPER = 2

# Ranks the queries of these numbers, the best k images of each, of those that are allowed, None meaning all that are;
# and says whether a graph was walked for it, which may have missed some.
Search = Callable[[Rows, int, Mask | None], tuple[Neighbours, bool]]


class Deepened:
    """A ranking of queries, of which the best k are the first k of the best that are more.

    Args:
        search: ranks them.
        first: how deep the first search goes; None where there is no graph, and nothing can be missed.
        rows: how many images there are.
    """

    def __init__(self, search: Search, first: int | None, *, rows: int) -> None:
        self._search = search
        self._first = first
        self._rows = max(1, rows)

    def __call__(self, numbers: Rows, k: int, allowed: Mask | None) -> Neighbours:
        """The best k images for the queries of these numbers, of those that are allowed; None means all that are."""
        k = min(k, self._rows)
        depth = k if allowed is not None or self._first is None else min(self._first, self._rows)
        found, is_walked = self._search(numbers, depth, allowed)
        while depth < k:
            # What no graph has found is a beginning of whatever is deeper.
            depth = min(_DEEPER * depth, self._rows) if is_walked else k
            deeper, is_walked = self._search(numbers, depth, allowed)
            found = _joined(found, deeper, self._rows).first(depth)
        return found.first(k) if depth > k else found


def _joined(found: Neighbours, deeper: Neighbours, rows: int) -> Neighbours:
    """Of each query what was found, and then what else is found deeper."""
    is_new = ~np.isin(deeper.query * rows + deeper.row, found.query * rows + found.row)
    return Neighbours.joined([found, deeper.where(is_new)])
