"""What a manifest says of the ANN index of a segment: its graphs, and the recall that was measured with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from pydantic import ConfigDict

_STRICT = ConfigDict(extra="forbid", strict=True)
# More than FAISS could be asked for.
_WIDEST = 1 << 30


@dataclass(frozen=True, slots=True)
class Measured:
    """Recall at k of one graph, for queries of each weight.

    Attributes:
        k: how many hits were asked for.
        width: at each weight the width of search (efSearch) that reaches the target; None where none does.
        recall: at each weight the recall at that width, or where there is none at the widest that was tried.
    """

    __pydantic_config__ = _STRICT

    k: int
    width: tuple[int | None, ...]
    recall: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what no search could go by.

        Raises:
            ValueError: saying what.
        """
        if self.k < 1 or any(width is not None and not 0 < width <= _WIDEST for width in self.width):
            raise ValueError(f"expected a k from 1 on and widths up to {_WIDEST:,}")
        if len(self.recall) != len(self.width):
            raise ValueError("expected a recall for each width")


@dataclass(frozen=True, slots=True)
class GraphRef:
    """One graph over a segment's vectors.

    Attributes:
        image_weight: the weight of the image block in the metric that its edges were chosen by.
        measured: for some k, ascending.
    """

    __pydantic_config__ = _STRICT

    image_weight: float
    measured: tuple[Measured, ...]

    def __post_init__(self) -> None:
        """Refuse a weight that is none.

        Raises:
            ValueError: saying what.
        """
        if not 0 <= self.image_weight <= 1 or not self.measured:
            raise ValueError("expected a weight from 0 to 1, and something measured")


@dataclass(frozen=True, slots=True)
class Plan:
    """By which graph queries are answered, and how wide the search has to be."""

    graph: int
    width: int


@dataclass(frozen=True, slots=True)
class AnnRef:
    """The ANN index of a segment.

    Recall is the share of the true k best that are found, by score: whatever scores at least the true k-th score less
    1e-4 counts. It was measured on held-out rows, which were not in the graphs yet.

    Attributes:
        target: the recall that it was built to reach.
        held_out: how many rows were queries.
        weights: the weights of the image block, ascending from 0 to 1, at which queries were tested.
        graphs: as many as it took.
    """

    __pydantic_config__ = _STRICT

    target: float
    held_out: int
    weights: tuple[float, ...]
    graphs: tuple[GraphRef, ...]

    def __post_init__(self) -> None:
        """Refuse what no search could go by.

        Raises:
            ValueError: saying what.
        """
        ends = self.weights[:1] + self.weights[-1:]
        if self.held_out < 0 or ends != (0, 1) or 0.5 not in self.weights:
            raise ValueError("expected rows that were held out, and weights from 0 by 0.5 to 1")
        if any(not low < high for low, high in pairwise(self.weights)):
            raise ValueError("expected weights in ascending order")
        if any(len(one.width) != len(self.weights) for graph in self.graphs for one in graph.measured):
            raise ValueError("expected a width for each weight")

    def plan(self, k: int, weight: float) -> Plan | None:
        """How the k best for a query of a weight are found with the target recall; None if only by other means.

        A weight between two tested ones needs what both need. A k between two tested ones needs a width in between, and
        one beyond the largest a width in proportion to k.
        """
        plans = [
            Plan(number, width)
            for number, graph in enumerate(self.graphs)
            if (width := self._width(graph, k, weight)) is not None
        ]
        return min(plans, key=lambda plan: plan.width, default=None)

    def recall(self, k: int) -> tuple[float, ...]:
        """At each weight the recall at a tested k of the graph that is used; 1 where none is, for that is exact."""
        best = []
        for at, weight in enumerate(self.weights):
            plan = self.plan(k, weight)
            found = None if plan is None else self._measured(self.graphs[plan.graph], k)
            best.append(1.0 if found is None else found.recall[at])
        return tuple(best)

    def _width(self, graph: GraphRef, k: int, weight: float) -> int | None:
        measured = self._measured(graph, k)
        if measured is None:
            return None
        width = self._width_at(measured, weight)
        if width is None or k >= measured.k:
            return None if width is None else math.ceil(width * k / measured.k)
        less = max((one for one in graph.measured if one.k <= k), key=lambda one: one.k, default=None)
        narrower = None if less is None else self._width_at(less, weight)
        if less is None or narrower is None:
            return width
        share = (k - less.k) / (measured.k - less.k)
        return math.ceil(narrower + max(0, width - narrower) * share)

    def _width_at(self, measured: Measured, weight: float) -> int | None:
        """The width that a weight needs."""
        around = [measured.width[at] for at in self._around(weight)]
        found = [width for width in around if width is not None]
        return max(found) if len(found) == len(around) else None

    def _around(self, weight: float) -> list[int]:
        """The tested weights that a weight is at, or between."""
        below = max(at for at, tested in enumerate(self.weights) if tested <= weight + _SAME)
        return [below] if abs(self.weights[below] - weight) <= _SAME else [below, below + 1]

    @staticmethod
    def _measured(graph: GraphRef, k: int) -> Measured | None:
        return next((one for one in graph.measured if one.k >= k), graph.measured[-1] if graph.measured else None)


# Weights are float32 where they come from queries.
_SAME = 1e-6
