"""Which of its ranked images a query gets: those that score enough, one of each group, no picture twice, a page of it.

All of it is a rule over the complete ranking: walk down it, leave an image out that scores too little, or that has the
group of one that was kept or nearly its picture, and keep the others. Only as much of the ranking is fetched as that
takes: for all queries together while it is short, and for what is left one by one, without the images that can't be
kept any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.fusion import Floats, unit
from fpve.neighbours import Mask, Neighbours, Rows, ranks
from fpve.search import DEFAULT_K, Searcher

# Scores and cosines are compared to six decimals: float32 leaves no more, and a copy of a picture has 0.9999999.
_ROUNDING = 5e-7
# Images that are fetched at first for each one that is wanted: most collections have few copies.
_FIRST = 2
# How much deeper each time, for those queries that have too few.
_DEEPER = 4
# How deep the rankings of many queries are fetched at once; most end long before.
_DEEP = 1_024
# Fetched at once for one query, whose vectors are all in memory to be scored.
_MOST = 16_384
# Images of a ranking that are compared at once with those that are kept, and with one another.
_COMPARED = 16
# Neighbours, and floats of pictures, that are held at once: 160 MB and 128 MB.
_NEIGHBOURS = 5_000_000
_FLOATS = 32_000_000

Codes = NDArray[np.int32]
# Ranks the queries of these numbers: the best k images of each, of those that are allowed; None means all that are.
Rank = Callable[[Rows, int, Mask | None], Neighbours]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the ranked images a query gets.

    Attributes:
        k: how many, at least 1.
        offset: how many come before them.
        min_score: which score they have at least, to six decimals; any if it is None.
        dedup: a cosine in (0, 1]; no two hits have pictures that are so near, to six decimals.
        group_by: a column of `images`, in which no two hits have the same value; null is the same as nothing.
    """

    k: int = DEFAULT_K
    offset: int = 0
    min_score: float | None = None
    dedup: float | None = None
    group_by: str | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise QueryError(f"k: expected at least 1, found {self.k}")
        if self.offset < 0:
            raise QueryError(f"offset: expected at least 0, found {self.offset}")
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise QueryError(f"min_score: expected a score from -1 to 1, found {self.min_score}")
        if self.dedup is not None and not 0 < self.dedup <= 1:
            raise QueryError(f"dedup: expected a cosine above 0 and at most 1, such as 0.97, found {self.dedup}")

    @property
    def first(self) -> int:
        """How deep a ranking is fetched at first, to have the first k of it."""
        return self.k if self.dedup is None and self.group_by is None else _FIRST * self.k

    @property
    def end(self) -> int:
        """How many images are to be kept, to have k after those that are skipped."""
        return self.offset + self.k


class Selected(NamedTuple):
    """The hits of m queries, and how deep the deepest of the rankings was fetched to have them."""

    found: Neighbours
    ranked: int


class Selector:
    """Selects hits in one snapshot. Safe to use from many threads."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._lock = Lock()
        self._codes: dict[str, Codes] = {}

    def check(self, selection: Selection) -> None:
        """Refuse to group by what can't be grouped by.

        Raises:
            QueryError: there is no such column, or it holds lists.
        """
        name = selection.group_by
        if name is None:
            return
        schema = self._searcher.snapshot.rows.schema
        if name not in schema.names:
            raise QueryError(
                f"group_by: no column {name!r}{nearest_word(name, schema.names)}; there is {', '.join(schema.names)}"
            )
        if pa.types.is_nested(schema.field(name).type):
            raise QueryError(f"group_by: column {name!r} holds lists; expected one value an image")

    def select(self, rank: Rank, queries: int, selection: Selection, allowed: Mask | None = None) -> Selected:
        """Select the hits of m queries.

        Args:
            rank: ranks them.
            queries: their number m.
            selection: what is wanted, checked.
            allowed: (rows,) which images may be found at all.
        """
        waiting, parts = np.arange(queries), [_NOTHING]
        if selection.dedup is None and selection.group_by is None:
            found, _ = _enough(rank(waiting, selection.end, None), selection)
            return Selected(_page(found, selection), selection.end)
        codes = None if selection.group_by is None else self._codes_of(selection.group_by)
        rows = max(1, self._searcher.rows)
        end = min(selection.end, rows if codes is None else _groups(codes, allowed))
        first = min(_FIRST * selection.end, rows)
        depth = ranked = first
        while len(waiting) and depth <= max(_DEEP, first):
            left, ranked = [_NO_ROWS], depth
            for mine in _in_parts(waiting, self._at_once(depth, selection)):
                sieve = _Sieve(self._searcher, selection.dedup, codes, len(mine), end)
                found, is_last = _cut(rank(mine, depth, None), len(mine), depth, selection)
                found = found.where(sieve.take(found))
                done = is_last | sieve.is_full
                parts.append(_renumbered(found.where(done[found.query]), mine))
                left.append(mine[~done])
            waiting, depth = np.concatenate(left), depth * _DEEPER
        for number in waiting.tolist():
            sieve = _Sieve(self._searcher, selection.dedup, codes, 1, end)
            found, fetched = self._select_alone(rank, number, sieve, selection, allowed)
            parts.append(found)
            ranked = max(ranked, fetched)
        return Selected(_page(Neighbours.joined(parts), selection), ranked)

    def _select_alone(
        self, rank: Rank, number: int, sieve: _Sieve, selection: Selection, allowed: Mask | None
    ) -> tuple[Neighbours, int]:
        """The hits of one query, and how deep its ranking was fetched: piece by piece, each of what is left."""
        me = np.array([number])
        rows = self._searcher.rows
        left = np.ones(rows, bool) if allowed is None else allowed.copy()
        parts, fetched, depth = [], 0, min(_DEEPER * max(_DEEP, selection.end), _MOST)
        while True:
            ranked = rank(me, depth, left)
            found, is_last = _cut(ranked, 1, depth, selection)
            kept = found.where(sieve.take(found))
            parts.append(kept)
            fetched += len(ranked.row)
            if is_last[0] or sieve.is_full[0]:
                break
            left[ranked.row] = False
            if sieve.codes is not None:
                left &= ~np.isin(sieve.codes, sieve.codes[kept.row])
            depth = min(depth * _DEEPER, _MOST)
        return _renumbered(Neighbours.joined(parts), me), fetched

    def _at_once(self, depth: int, selection: Selection) -> int:
        """How many queries are looked at together, within bounds of memory."""
        most = _NEIGHBOURS // min(depth, max(self._searcher.rows, 1))
        if selection.dedup is not None:
            most = min(most, _FLOATS // (self._searcher.fusion.dim * (_COMPARED + selection.end)))
        return max(1, most)

    def _codes_of(self, name: str) -> Codes:
        """Numbers (rows,) that are equal where the values of a column are; those without a value have one each."""
        with self._lock:
            if name not in self._codes:
                codes = codes_of(self._searcher.snapshot.rows.column(name)).astype(np.int32)
                self._codes[name] = np.where(codes < 0, -1 - np.arange(len(codes), dtype=np.int32), codes)
            return self._codes[name]


class _Sieve:
    """Walks down the rankings of m queries, and keeps images until each query has as many as it wants.

    Attributes:
        codes: (rows,) the group of each image; None where they are not grouped.
        counts: (m,) how many are kept.
    """

    def __init__(self, searcher: Searcher, dedup: float | None, codes: Codes | None, queries: int, end: int) -> None:
        self.codes = codes
        self.counts = np.zeros(queries, np.int64)
        self._searcher = searcher
        self._dedup = dedup
        self._end = end
        # What is kept of each query, side by side: rows of images and pictures. A picture of zeros is near to none.
        self._kept = np.full((queries, end), -1, np.int64)
        dim = 0 if dedup is None else searcher.fusion.image_dim
        self._pictures = np.zeros((queries, end, dim), np.float32)

    @property
    def is_full(self) -> Mask:
        """(m,) which queries have all that they want."""
        full: Mask = self.counts >= self._end
        return full

    def take(self, found: Neighbours) -> Mask:
        """Which images (t,) of the rankings are kept; they follow on those that were taken before."""
        place = ranks(found.query)
        grid = np.full((len(self.counts), int(place.max(initial=-1)) + 1), -1, np.int64)
        grid[found.query, place] = found.row
        keep = np.zeros(grid.shape, bool)
        for start in range(0, grid.shape[1], _COMPARED):
            mine = np.flatnonzero(~self.is_full & (grid[:, start] >= 0))
            if not len(mine):
                break
            keep[mine, start : start + _COMPARED] = self._take(mine, grid[mine, start : start + _COMPARED])
        taken: Mask = keep[found.query, place]
        return taken

    def _take(self, mine: Rows, rows: Rows) -> Mask:
        """Which of the next images (n, b) of queries (n,) are kept; -1 stands for none."""
        pictures = self._pictures_of(rows)
        used = int(self.counts[mine].max())
        kept, kept_pictures = self._kept[mine, :used], self._pictures[mine, :used]
        alive = (rows >= 0) & ~self._clash(rows, pictures, kept, kept_pictures).any(axis=2)
        clash = self._clash(rows, pictures, rows, pictures)
        free = self._end - self.counts[mine]
        for at in range(rows.shape[1]):
            alive[:, at] &= free > 0
            free -= alive[:, at]
            alive[:, at + 1 :] &= ~(alive[:, at, None] & clash[:, at, at + 1 :])
        query, column = np.nonzero(alive)
        place = self.counts[mine[query]] + ranks(query)
        self._kept[mine[query], place] = rows[query, column]
        self._pictures[mine[query], place] = pictures[query, column]
        self.counts[mine] += alive.sum(axis=1)
        return alive

    def _clash(self, rows: Rows, pictures: Floats, others: Rows, other_pictures: Floats) -> Mask:
        """Which images (n, b) and others (n, c) can't both be hits (n, b, c): of one group, or of one picture."""
        clash = np.zeros((*rows.shape, others.shape[1]), bool)
        if self.codes is not None:
            same = self.codes[rows][:, :, None] == self.codes[others][:, None, :]
            clash |= same & (others >= 0)[:, None, :]
        if self._dedup is not None:
            clash |= pictures @ other_pictures.transpose(0, 2, 1) >= self._dedup - _ROUNDING
        return clash

    def _pictures_of(self, rows: Rows) -> Floats:
        """Unit image blocks (n, b, image_dim) of image rows (n, b), raw; zero where there is none."""
        if self._dedup is None:
            return np.zeros((*rows.shape, 0), np.float32)
        real = rows >= 0
        found = np.zeros((*rows.shape, self._searcher.fusion.image_dim), np.float32)
        found[real] = unit(self._searcher.blocks_of(rows[real]).image)
        return found


_NO_ROWS = np.zeros(0, np.int64)
_NOTHING = Neighbours(_NO_ROWS, _NO_ROWS, *(np.zeros(0, np.float32) for _ in range(3)))


def codes_of(values: pa.ChunkedArray | pa.Array) -> Rows:
    """Numbers (n,) that are equal where the values are; -1 for null."""
    one = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    codes: Rows = one.dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    return codes


def _groups(codes: Codes, allowed: Mask | None) -> int:
    """How many groups the images are of that are allowed."""
    mine = codes if allowed is None else codes[allowed]
    return int(np.count_nonzero(mine < 0) + np.count_nonzero(np.bincount(mine[mine >= 0])))


def _cut(ranked: Neighbours, queries: int, depth: int, selection: Selection) -> tuple[Neighbours, Mask]:
    """What is good enough of m rankings that were fetched so deep, and of which (m,) nothing more can come."""
    short = np.bincount(ranked.query, minlength=queries) < depth
    found, bad = _enough(ranked, selection)
    short[bad] = True
    return found, short


def _enough(found: Neighbours, selection: Selection) -> tuple[Neighbours, Rows]:
    """The images that score enough, and the numbers of queries with others."""
    if selection.min_score is None:
        return found, _NO_ROWS
    good = found.score >= selection.min_score - _ROUNDING
    return found.where(good), np.unique(found.query[~good])


def _page(found: Neighbours, selection: Selection) -> Neighbours:
    """What is wanted of those that were kept, of which no query has more than end with its page."""
    return found.where(ranks(found.query) >= selection.offset) if selection.offset else found


def _renumbered(found: Neighbours, numbers: Rows) -> Neighbours:
    return found._replace(query=numbers[found.query])


def _in_parts(numbers: Rows, size: int) -> Iterator[Rows]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
