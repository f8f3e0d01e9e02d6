"""Rankings that are fetched page after page, from searches that find more when they are asked for more."""

from __future__ import annotations

import numpy as np
import pytest

from fpve.deepening import Deepened
from fpve.neighbours import Mask, Neighbours, Rows

COUNT = 200


class Graph:
    """Two queries over 200 images, of which query 0 ranks the first one best, and query 1 the last one.

    A search misses every seventh image unless it goes at least 50 deep, and every third unless 12 deep; beyond 100 it
    is no graph's, and misses none.

    Attributes:
        depths: how deep each search went.
    """

    def __init__(self) -> None:
        self.depths: list[int] = []

    def __call__(self, numbers: Rows, k: int, allowed: Mask | None) -> tuple[Neighbours, bool]:
        """The best k of what it does not miss."""
        self.depths.append(k)
        rows = np.arange(COUNT)
        found = rows[
            ((rows % 7 > 0) | (k >= 50)) & ((rows % 3 > 0) | (k >= 12)) & (True if allowed is None else allowed)
        ]
        best = np.concatenate([(found if number == 0 else found[::-1])[:k] for number in numbers.tolist()])
        query = np.repeat(np.arange(len(numbers)), min(k, len(found)))
        score = np.zeros(len(best), np.float32)
        return Neighbours(query, best, score, score, score), k <= 100


def pages(size: int, number: int) -> list[int]:
    """The rows of query 0, of so many pages."""
    found: list[int] = []
    for at in range(number):
        ranked = Deepened(Graph(), size, rows=COUNT)(np.array([0]), (at + 1) * size, None)
        found += ranked.row[at * size :].tolist()
    return found


@pytest.mark.parametrize("size", [1, 5, 20, 30, 200])
def test_pages_hold_each_image_once(size: int) -> None:
    """Whatever shallower searches have missed comes with the deeper ones, and what they found stays where it was."""
    found = pages(size, COUNT // size + (COUNT % size > 0))

    assert sorted(found) == list(range(COUNT))
    alone, _ = Graph()(np.array([0]), size, None)
    assert found[:size] == alone.row.tolist()


def test_what_was_missed_follows() -> None:
    """Pages of five: the searches of 5, 10 and 20 images miss some, each fewer, which the next one brings."""
    assert pages(5, 4) == [1, 2, 4, 5, 8, 10, 11, 13, 16, 17, 3, 6, 9, 12, 15, 18, 19, 20, 22, 23]


def test_searches_go_twice_as_deep_until_no_graph_is_walked() -> None:
    """After that all that is wanted is searched for at once; a deep page takes a few searches, not a hundred."""
    for k, depths in ((5, [5]), (6, [5, 10]), (21, [5, 10, 20, 40]), (199, [5, 10, 20, 40, 80, 160, 199])):
        graph = Graph()
        assert len(Deepened(graph, 5, rows=COUNT)(np.array([0]), k, None).row) == k
        assert graph.depths == depths


def test_nothing_is_done_twice_without_a_graph() -> None:
    """Where nothing can be missed, and where some images only are ranked, one search goes as deep as is wanted."""
    for first, allowed in ((None, None), (5, np.arange(COUNT) < 90)):
        graph = Graph()
        found = Deepened(graph, first, rows=COUNT)(np.array([0]), 60, allowed)
        assert (found.row.tolist(), graph.depths) == (list(range(60)), [60])


def test_queries_are_ranked_each_by_itself() -> None:
    """Each keeps its own beginning."""
    found = Deepened(Graph(), 5, rows=COUNT)(np.array([0, 1]), 10, None)

    assert found.row[found.query == 0].tolist() == [1, 2, 4, 5, 8, 10, 11, 13, 16, 17]
    assert found.row[found.query == 1].tolist() == [199, 197, 194, 193, 191, 190, 188, 187, 185, 184]
