"""What a manifest says of the ANN index of a segment: its graphs, and the recall that was measured with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import ConfigDict

_STRICT = ConfigDict(extra="forbid", strict=True)


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

    def plan(self, k: int, weight: float) -> Plan | None:
        """How the k best for a query of a weight are found with the target recall; None if only by other means.

        A weight between two tested ones needs what both need. For a k that was not tested a larger one's width serves,
        and beyond the largest a width in proportion to k.
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
        around = [measured.width[at] for at in self._around(weight)]
        found = [width for width in around if width is not None]
        return math.ceil(max(found) * max(1.0, k / measured.k)) if len(found) == len(around) else None

    def _around(self, weight: float) -> list[int]:
        """The tested weights that a weight is at, or between."""
        below = max(at for at, tested in enumerate(self.weights) if tested <= weight + _SAME)
        return [below] if abs(self.weights[below] - weight) <= _SAME else [below, below + 1]

    @staticmethod
    def _measured(graph: GraphRef, k: int) -> Measured | None:
        return next((one for one in graph.measured if one.k >= k), graph.measured[-1] if graph.measured else None)


# Weights are float32 where they come from queries.
_SAME = 1e-6
