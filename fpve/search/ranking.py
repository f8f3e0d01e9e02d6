"""Queries and the images that are nearest to them, in order, over whatever indexes there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fpve.fusion import Blocks, Floats, Fusion, weighted
from fpve.neighbours import Mask, Neighbours, Rows, ranks
from fpve.records import Step
from fpve.search.prefixes import PrefixGroups
from fpve.search.reach import Reach
from fpve.search.vectors import Vectors

# Scores that agree to this many decimals are ties, to be broken by image_id: float32 rounding differs between
# machines in the seventh.
_TIE_DECIMALS = 6
_TIE_WIDTH = 2 * 10**-_TIE_DECIMALS
# Fetched beyond k at first, so that most ties at the k-th place are settled at once.
_MARGIN = 16
# Ties wider than this (all prefixes the same, say) are broken among the first so many vectors only.
_MAX_TIES = 16_384
# Candidates that are ranked at once: some arrays of 16 MB.
_CANDIDATES = 2_000_000


class Asked(NamedTuple):
    """Queries as they are searched.

    Attributes:
        fusion: how their blocks are made into queries.
        blocks: raw ones (m, image_dim) and (m, prefix_dim); a zero row is a missing block.
        directions: the same of length 1, centred if the fusion is.
        weights: (m,) of the image block.
        exclude: (m,) an image row that each may not find, or None.
        across: whether the image blocks are embeddings of texts.
    """

    fusion: Fusion
    blocks: Blocks
    directions: Blocks
    weights: Floats
    exclude: Rows | None
    across: bool

    def some(self, mine: Rows) -> Asked:
        """Those of the queries that have these numbers."""
        if len(mine) == len(self.weights):
            return self
        blocks, directions = (Blocks(two.image[mine], two.prefix[mine]) for two in (self.blocks, self.directions))
        exclude = None if self.exclude is None else self.exclude[mine]
        return self._replace(blocks=blocks, directions=directions, weights=self.weights[mine], exclude=exclude)

    def vectors(self) -> Floats:
        """The queries as vectors (m, dim), whose products with stored ones are scores."""
        if self.fusion.mode == "balanced":
            return weighted(self.directions, self.weights)
        return self.fusion.query(*self.blocks, self.weights)

    def without_excluded(self, found: Neighbours) -> Neighbours:
        """The neighbours that the queries may find."""
        return found if self.exclude is None else found.where(found.row != self.exclude[found.query])


class Ranking(NamedTuple):
    """What queries are ranked over.

    Attributes:
        vectors: all of them, with their indexes.
        reach: which of their images may be found.
        position: (rows,) position of each image's vector.
        groups: the images that may be found by their prefix, where a search by the prefix alone goes by these.
    """

    vectors: Vectors
    reach: Reach
    position: Rows
    groups: PrefixGroups | None

    def nearest(self, asked: Asked, k: int, *, exact: bool, steps: list[Step] | None) -> Neighbours:
        """Find the k best images for each query, ties broken by the image's row.

        Args:
            asked: the queries.
            k: how many images for each; fewer where fewer may be found.
            exact: whether every vector is to be scored, whatever index there is.
            steps: takes what was done.
        """
        waiting = np.arange(len(asked.weights))
        found: list[Neighbours] = []
        if not exact:
            by_prefix = (asked.weights == 0) & (self.groups is not None)
            if self.groups is not None and by_prefix.any():
                found.append(self._by_prefix(self.groups, asked, waiting[by_prefix], k, steps))
            parts, waiting = self._by_index(asked, waiting[~by_prefix], k, steps)
            found += parts
        if len(waiting):
            if steps is not None:
                tied = f"{len(waiting):,} queries whose last hits are tied, or that found too few"
                why = "asked for" if exact else tied
                steps.append(Step("exact", self.reach.segments, self.reach.vectors, why))
            found += self._by_all(asked, waiting, k)
        parts = [part for part in found if len(part.row)]
        if len(parts) < 2:
            return parts[0] if parts else _nothing()
        return Neighbours.joined(parts)

    def _by_prefix(
        self, groups: PrefixGroups, asked: Asked, mine: Rows, k: int, steps: list[Step] | None
    ) -> Neighbours:
        """The k best images for some queries by the prefix alone, exactly."""
        if steps is not None:
            note = f"{len(groups.blocks):,} prefixes scored"
            steps.append(Step("prefixes", self.reach.segments, self.reach.vectors, note))
        some = asked.some(mine)
        query, row, score = groups.best(some.directions.prefix, k + (some.exclude is not None))
        nothing = np.zeros(len(row), np.float32)
        found = _sorted(some.without_excluded(Neighbours(query, row, score, nothing, nothing))).first(k)
        # The cosines of both blocks, as any other search has them. The score stays that of the prefix, which is one for
        # all its images: computed for each, it could differ in the last digit, and ties would be broken by that.
        places = np.full((len(mine), k), -1, np.int64)
        rank = ranks(found.query)
        places[found.query, rank] = self.position[found.row]
        scores = self.vectors.scores(some.fusion, some.blocks, some.directions, some.weights, places)
        image, prefix = scores.image[found.query, rank], scores.prefix[found.query, rank]
        return _numbered(found._replace(image_score=image, prefix_score=prefix), mine)

    def _by_index(self, asked: Asked, waiting: Rows, k: int, steps: list[Step] | None) -> tuple[list[Neighbours], Rows]:
        """The k best images for some queries by whatever index there is, and the queries whose last hits are tied."""
        found, tied = [], [np.zeros(0, np.int64)]
        fetch = min(k + 1 + _MARGIN, self.reach.vectors)
        for weight, mine in _of_one_weight(asked.weights, waiting, max(1, _CANDIDATES // max(fetch, 1))):
            some = asked.some(mine)
            # No index was tested with other queries.
            tested = None if asked.across or asked.fusion.mode != "balanced" else weight
            wanted = k + (asked.exclude is not None)
            positions = self.vectors.about_best(
                some.vectors(), wanted, max(fetch, wanted), self.reach, weight=tested, steps=steps
            )
            part = self._ranked(some, positions, k)
            settled = _is_complete(part, len(mine), k) | (fetch >= min(self.reach.vectors, _MAX_TIES + k))
            kept = part if settled.all() else part.where(settled[part.query])
            found.append(_numbered(kept.first(k), mine))
            tied.append(mine[~settled])
        return found, np.concatenate(tied)

    def _by_all(self, asked: Asked, waiting: Rows, k: int) -> list[Neighbours]:
        """The k best images for some queries, every vector scored, as many ranked as it takes to settle ties."""
        found, fetch = [], k + 1 + _MARGIN
        while len(waiting):
            fetch = min(fetch, self.reach.vectors)
            is_last = fetch >= min(self.reach.vectors, _MAX_TIES + k)
            unfinished = []
            for mine in _parts(waiting, max(1, _CANDIDATES // max(fetch, 1))):
                some = asked.some(mine)
                part = self._ranked(some, self.vectors.best(some.vectors(), fetch, self.reach), k)
                complete = np.ones(len(mine), bool) if is_last else _is_complete(part, len(mine), k)
                found.append(_numbered(part.where(complete[part.query]).first(k), mine))
                unfinished.append(mine[~complete])
            waiting, fetch = np.concatenate(unfinished), fetch * 4
        return found

    def _ranked(self, asked: Asked, positions: Rows, k: int) -> Neighbours:
        """The images of candidates (m, n), best first; of one vector's images k + 1 at most."""
        scores = self.vectors.scores(asked.fusion, asked.blocks, asked.directions, asked.weights, positions)
        real = positions >= 0
        # One row for each image of each vector. They are in the order of their ids, so the first k, and one in place of
        # what is excluded, are those that count.
        rows, of = self.reach.images.expanded(positions[real], k + 1)
        found = Neighbours(np.nonzero(real)[0][of], rows, *(column[real][of] for column in scores))
        return _sorted(asked.without_excluded(found))


def _of_one_weight(weights: Floats, numbers: Rows, most: int) -> Iterator[tuple[float, Rows]]:
    """The weights of some queries, each with the numbers of those that have it, at most so many at a time."""
    mine = weights[numbers]
    for weight in sorted(set(mine.tolist())):
        for part in _parts(numbers[mine == weight], most):
            yield weight, part


def _parts(numbers: Rows, most: int) -> Iterator[Rows]:
    """The numbers, at most so many at a time."""
    return (numbers[start : start + most] for start in range(0, len(numbers), most))


def _nothing() -> Neighbours:
    nothing = np.zeros(0, np.float32)
    return Neighbours(np.zeros(0, np.int64), np.zeros(0, np.int64), nothing, nothing, nothing)


def _numbered(part: Neighbours, mine: Rows) -> Neighbours:
    """The neighbours of some queries, by the numbers that these have among all."""
    return part._replace(query=mine[part.query])


def _sorted(found: Neighbours) -> Neighbours:
    """Neighbours by query, best first, ties in the order of image_id."""
    rounded = found.score.astype(np.float64).round(_TIE_DECIMALS)
    return found.taken(np.lexsort((found.row, -rounded, found.query)))


def _is_complete(part: Neighbours, queries: int, k: int) -> Mask:
    """Which of the queries surely have their k best: the k-th is clearly better than the worst that was fetched."""
    bounds = np.searchsorted(part.query, np.arange(queries + 1))
    last = bounds[:-1] + k - 1
    enough = last < bounds[1:]
    kth, worst = part.score[last[enough]], part.score[bounds[1:][enough] - 1]
    complete = np.zeros(queries, bool)
    complete[enough] = kth > worst + _TIE_WIDTH
    return complete
