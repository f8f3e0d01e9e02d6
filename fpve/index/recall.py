"""How wide a graph has to be searched to reach a recall, at each weight of the query: measured on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats, unit
from fpve.index.codes import Order
from fpve.index.exact import ExactVectors, Rows
from fpve.index.graph import Graph
from fpve.store.ann import Measured

# The weights A at which queries are tested: between two of them what both need is enough.
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
# For so many hits; a search for another number is as wide as for the next larger one.
KS = (10, 30, 100)
# Queries of which the mean recall is taken. A recall near 0.98 is then known to about 0.0035: some queries lie where a
# graph is thin, and find nothing.
HELD_OUT = 1_024
# Where a held-out row's k-th score is met to this, it counts: as in benchmarks of nearest neighbours.
_TOLERANCE = 1e-4
# The true mean is above the measured one less so many standard errors, for all weights and k at once in 19 of 20 cases.
_CONFIDENCE = 3.0
# With fewer queries than this nothing is known.
_LEAST = 20
_WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# Vectors that are compared with the queries at once: 60 MB of 896 numbers each.
_AT_ONCE = 16_384


def fetched(k: int) -> int:
    """How many vectors are taken from a graph, to score them exactly, where k are wanted: codes put some too low."""
    return k + max(8, k // 4)


class Queries(NamedTuple):
    """Held-out rows as queries, and the scores that their true neighbours have.

    Attributes:
        image, prefix: unit blocks (q, image_dim) and (q, prefix_dim); zero where one is missing.
        kth: (weights, q, largest k) scores of the best rows for each, descending.
    """

    image: Floats
    prefix: Floats
    kth: Floats

    def asking(self, weight: float) -> NDArray[np.bool_]:
        """(q,) which of them are queries of a weight: those that have what it weighs.

        A row without a prefix asks nothing by its prefix: all score 0, and whatever is found is right. Of both blocks
        those are asked for that have both, or where there are few, that have any.
        """
        image, prefix = np.any(self.image, axis=1), np.any(self.prefix, axis=1)
        asking: NDArray[np.bool_] = image & prefix
        if weight in (0.0, 1.0):
            asking = image if weight else prefix
        elif asking.sum() < _LEAST:
            asking = image | prefix
        return asking

    def at(self, weight: float) -> Floats:
        """The queries (q, dim) of a weight, whose product with a searched vector is the score."""
        both = np.hstack([self.image * np.float32(weight), self.prefix * np.float32(1 - weight)])
        return both * np.float32(np.sqrt(2))


def held_out_queries(exact: ExactVectors, order: Order, image_dim: int) -> Queries:
    """The rows that are held out, and the best scores that they have with all others."""
    places = order.all()
    first = order.rows - order.held_out
    mine = exact.vectors[places[first:]]
    image, prefix = unit(mine[:, :image_dim]), unit(mine[:, image_dim:])
    largest = max(KS)
    best = np.full((len(WEIGHTS), len(mine), largest), -np.inf, np.float32)
    for start in range(0, first, _AT_ONCE):
        part = exact.vectors[places[start : min(start + _AT_ONCE, first)]] * np.float32(np.sqrt(2))
        by_image, by_prefix = image @ part[:, :image_dim].T, prefix @ part[:, image_dim:].T
        for at, weight in enumerate(WEIGHTS):
            scores = by_image * np.float32(weight) + by_prefix * np.float32(1 - weight)
            best[at] = _best_of(best[at], scores.astype(np.float32, copy=False))
    return Queries(image, prefix, -np.sort(-best, axis=2))


def _best_of(best: Floats, scores: Floats) -> Floats:
    """The largest of the best scores so far (q, k) and of more (q, n), in no order."""
    kept = best.shape[1]
    query, place = np.nonzero(scores > best.min(axis=1)[:, None])
    counts = np.bincount(query, minlength=len(best))
    more = np.full((len(best), counts.max(initial=0)), -np.inf, np.float32)
    more[query, np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)] = scores[query, place]
    both = np.hstack([best, more])
    return np.partition(both, both.shape[1] - kept, axis=1)[:, -kept:]


def measure(exact: ExactVectors, graph: Graph, queries: Queries, target: float) -> tuple[Measured, ...]:
    """The widths at which a graph reaches a target recall, and the recall there, for each k and weight."""
    measured: list[Measured] = []
    for k in KS:
        found: list[tuple[int | None, float]] = []
        for at in range(len(WEIGHTS)):
            if measured and measured[-1].width[at] is None:
                # What fails for few hits is not looked for among more.
                found.append((None, measured[-1].recall[at]))
                continue
            # The next weight needs about the same width.
            hint = found[-1][0] if found and found[-1][0] is not None else None
            found.append(_Trial(exact, graph, queries, at, k, target).least_width(hint))
        measured.append(Measured(k, tuple(width for width, _ in found), tuple(recall for _, recall in found)))
    return tuple(measured)


def misses(measured: Sequence[Sequence[Measured]], queries: Queries) -> list[float]:
    """The weights at which no graph reaches the target for some k, of those that could be tested."""
    return [
        weight
        for at, weight in enumerate(WEIGHTS)
        if queries.asking(weight).sum() >= _LEAST
        and any(all(graph[number].width[at] is None for graph in measured) for number in range(len(KS)))
    ]


class _Trial:
    """Searches of a graph for k hits with queries of one weight."""

    def __init__(self, exact: ExactVectors, graph: Graph, queries: Queries, at: int, k: int, target: float) -> None:
        self._exact, self._graph, self._k, self._target = exact, graph, k, target
        mine = queries.asking(WEIGHTS[at])
        self._asked, self._kth = queries.at(WEIGHTS[at])[mine], queries.kth[at][mine]
        self._widths = [fetched(k), *(width for width in _WIDTHS if width > fetched(k))]

    def least_width(self, hint: int | None) -> tuple[int | None, float]:
        """The least width that reaches the target, or None, with the recall there, or at the widest that was tried.

        It is looked for from a hint on, or from the narrowest.
        """
        if len(self._asked) < _LEAST:
            return None, 0.0
        at = max((number for number, width in enumerate(self._widths) if width <= (hint or 0)), default=0)
        reached, recall = self._try(self._widths[at])
        while reached and at > 0:
            narrower, less = self._try(self._widths[at - 1])
            if not narrower:
                break
            at, recall = at - 1, less
        while not reached and at + 1 < len(self._widths):
            # At best twice the width halves what is missed.
            if (1 - recall) * self._widths[at] / self._widths[-1] > 1 - self._target:
                break
            at += 1
            reached, recall = self._try(self._widths[at])
        return (self._widths[at] if reached else None), recall

    def _try(self, width: int) -> tuple[bool, float]:
        """Whether a width surely reaches the target, and the recall."""
        found = self._graph.search(self._asked, fetched(self._k), width).rows
        each = _recalls(self._exact.products(self._asked, found), self._kth, self._k)
        recall = float(each.mean())
        return recall - _CONFIDENCE * float(each.std()) / np.sqrt(len(each)) >= self._target, round(recall, 4)


def _recalls(scores: Floats, kth: Floats, k: int) -> NDArray[np.float64]:
    """Share (q,) of the true k best that are among the found scores (q, r)."""
    best = -np.sort(-scores, axis=1)[:, :k]
    found: Rows = (best >= kth[:, k - 1 : k] - _TOLERANCE).sum(axis=1)
    return found / k
