"""Searches: queries encoded, images ranked, hits selected and told by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fpve.deepening import Deepened
from fpve.fusion import Blocks
from fpve.neighbours import Mask, Neighbours, Rows, ranks
from fpve.opened import Opened
from fpve.queries import Queries, ask, check_weight
from fpve.records import Explanation, Hits, Response, Step, Way
from fpve.selection import Selection

# What may miss a hit.
_APPROXIMATE: frozenset[Way] = frozenset({"codes", "graph"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a search, whatever its queries are.

    Attributes:
        selection: which of the ranked images.
        image_weight: the weight A in [0, 1] of the image block; None takes what fits each query.
        where: an SQL condition over the columns of `images`.
        exact: whether every vector is to be scored, whatever index there is.
    """

    selection: Selection = Selection()  # noqa: RUF009 (frozen)
    image_weight: float | None = None
    where: str | None = None
    exact: bool = False


class Answers(NamedTuple):
    """The hits of m queries.

    Attributes:
        table: t rows, those of a query together and best first.
        query: (t,) number of the query that each is of, ascending.
        bounds: (m + 1,) where the hits of each query begin, and at the end t.
        explanation: what was done.
        row: (t,) number of the image row that each is.
    """

    table: pa.Table
    query: Rows
    bounds: Rows
    explanation: Explanation
    row: Rows

    def each(self) -> list[Hits]:
        """The hits of each query."""
        bounds = self.bounds.tolist()
        return [Hits(self.table, self.explanation, start=start, stop=stop) for start, stop in pairwise(bounds)]


class Search:
    """A search that any queries can be put to: what is wanted is checked, and the condition is evaluated once.

    Attributes:
        wanted: what is wanted.
        name: what it does, for whoever shows its progress.
        image_weight: the weight that all queries get, if any.
        rows_each: how many hits a query has at most.

    Args:
        opened: the store.
        wanted: what is wanted.
        among: (rows,) the images that may be found, of those that meet the condition; None: all of them.

    Raises:
        QueryError: the condition, the weight or the column to group by is wrong.
    """

    name = "search"

    def __init__(self, opened: Opened, wanted: Wanted, *, among: Mask | None = None) -> None:
        self._opened = opened
        self.wanted = wanted
        self.image_weight = wanted.image_weight
        self.rows_each = wanted.selection.k
        opened.selector.check(wanted.selection)
        # Of no queries: a weight that is none is refused before a model is loaded.
        opened.searcher.weights(Blocks(*np.zeros((2, 0, 0), np.float32)), wanted.image_weight)
        self._allowed: Mask | None = None if wanted.where is None else opened.searcher.matching(wanted.where)
        if among is not None:
            self._allowed = among if self._allowed is None else among & self._allowed

    @cached_property
    def _images(self) -> int:
        """How many images may be found."""
        return self._opened.searcher.rows if self._allowed is None else int(np.count_nonzero(self._allowed))

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of responses."""
        return self.respond(Queries(ids=[])).table.schema

    def respond(self, queries: Queries) -> Response:
        """Find the hits of queries, with their `rank` from 1, those that were skipped included.

        Raises:
            QueryError, ImageNotFound, ImageError: as `answer`.
        """
        answers = self.answer(queries)
        rank = ranks(answers.query) + self.wanted.selection.offset + 1
        return Response(answers.table.add_column(0, "rank", pa.array(rank)), answers.query, answers.explanation)

    def answer(self, queries: Queries) -> Answers:
        """Encode queries, and find their hits.

        Raises:
            QueryError: they name nothing, or too much; or the weight leaves nothing of them.
            ImageNotFound: no image has one of the ids.
            ImageError: a picture can't be decoded.
        """
        wanted, searcher = self.wanted, self._opened.searcher
        check_weight(wanted.image_weight, given=set(queries.kinds), snapshot=searcher.snapshot)
        asked = ask(queries, searcher, self._opened.encoders)
        weights = searcher.weights(asked.blocks, wanted.image_weight)
        steps: list[Step] = []

        def rank(numbers: Rows, k: int, allowed: Mask | None) -> tuple[Neighbours, bool]:
            done: list[Step] = []
            found = searcher.nearest(
                asked.blocks_of(numbers),
                image_weight=weights[numbers],
                k=k,
                allowed=self._allowed if allowed is None else allowed,
                exclude=None if asked.exclude is None else asked.exclude[numbers],
                across=asked.across,
                exact=wanted.exact,
                steps=done,
            )
            # What is fetched of the rest of a ranking is searched for in the same way.
            steps.extend(done if allowed is None else ())
            return found, any(one.way == "graph" for one in done)

        count = len(weights)
        has_graphs = any(one.ann is not None and one.ann.graphs for one in searcher.snapshot.manifest.segments)
        first = wanted.selection.first if has_graphs and not wanted.exact else None
        deepened = Deepened(rank, first, rows=searcher.rows)
        found, ranked = self._opened.selector.select(deepened, count, wanted.selection, self._allowed)
        explanation = Explanation(
            queries=count,
            images=self._images,
            weights=(float(weights.min()), float(weights.max())) if count else (0.0, 0.0),
            ranked=min(ranked, self._images),
            steps=tuple(dict.fromkeys(steps)),
            target_recall=searcher.snapshot.manifest.target_recall
            if _APPROXIMATE & {one.way for one in steps}
            else None,
        )
        bounds = np.searchsorted(found.query, np.arange(count + 1))
        return Answers(searcher.hits(found, across=asked.across), found.query, bounds, explanation, found.row)
