"""Which pictures are near to which, by the cosine of their features: found through the index, or among many exactly."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fpve.curation.contents import AT_ONCE, Contents
from fpve.fusion import Blocks, Floats, unit
from fpve.neighbours import Exact, Mask, Neighbours, Rows
from fpve.progress import Stage
from fpve.search import Searcher

# Neighbours of each picture that are fetched from the index; most have few near ones.
_FIRST = 8
# Cosines are compared to six decimals: float32 leaves no more, and a copy of a picture has 0.9999999.
_DECIMALS = 6


class Pairs(NamedTuple):
    """What is near to some contents: t members, those of a content together.

    Attributes:
        query: (t,) whose they are, by its place among those that were asked for, ascending.
        member: (t,) number of the content that is near to it.
        cosine: (t,) of their pictures.
    """

    query: Rows
    member: Rows
    cosine: Exact

    def where(self, chosen: Mask | Rows) -> Pairs:
        """Some of the pairs."""
        return Pairs._make(column[chosen] for column in self)


class NearContents:
    """The contents that are near to each content.

    Attributes:
        paired: (p,) the contents that have a near one.
        is_cut: (c,) of which contents the index did not tell all: these are compared with all that are paired, exactly.
    """

    def __init__(self, searcher: Searcher, contents: Contents, threshold: float, stage: Stage) -> None:
        """Ask the index for the nearest of each content.

        Args:
            searcher: over the images.
            contents: the pictures.
            threshold: from which cosine of raw features they are near.
            stage: is told of each content.
        """
        self._searcher, self._first, self._threshold = searcher, contents.first, threshold
        self._allowed = searcher.only(contents.first)
        self._number = np.full(searcher.rows, -1)
        self._number[self._first] = np.arange(len(self._first))
        # Whose list ends with a near one: there may be more.
        self.is_cut: Mask = np.zeros(len(self._first), bool)
        parts = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)), *self._fetched(stage)]
        one, other, cosine = (np.concatenate(column) for column in zip(*parts, strict=True))
        # Who is in the list of another is near to it, whether or not the other is in its own: an index may miss it.
        both = np.concatenate([one, other]), np.concatenate([other, one])
        order = np.lexsort((both[1], both[0]))
        pairs = np.stack([both[0][order], both[1][order]])
        once = np.ones(pairs.shape[1], bool)
        once[1:] = np.any(pairs[:, 1:] != pairs[:, :-1], axis=0)
        self._member, self._cosine = pairs[1][once], np.concatenate([cosine, cosine])[order][once]
        self._starts = np.searchsorted(pairs[0][once], np.arange(len(self._first) + 1))
        self.paired: Rows = np.flatnonzero(np.diff(self._starts))

    def of(self, contents: Rows) -> Pairs:
        """What is near to contents (m,), of those that are paired at all."""
        parts = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
        known = np.flatnonzero(~self.is_cut[contents])
        starts, ends = self._starts[contents[known]], self._starts[contents[known] + 1]
        query = np.repeat(known, ends - starts)
        place = np.concatenate([np.zeros(0, np.int64), *map(np.arange, starts, ends)])
        parts.append(Pairs(query, self._member[place], self._cosine[place]))
        cut = np.flatnonzero(self.is_cut[contents])
        if len(cut):
            mine = np.searchsorted(self.paired, contents[cut])
            cosine = _rounded(self._units[mine] @ self._units.T)
            cosine[np.arange(len(mine)), mine] = -np.inf
            at, member = np.nonzero(cosine >= self._threshold)
            parts.append(Pairs(cut[at], self.paired[member], cosine[at, member]))
        found = Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        order = np.argsort(found.query, kind="stable")
        return found.where(order)

    @cached_property
    def _units(self) -> Floats:
        """The unit features (p, image_dim) of what is paired, all in memory: 100,000 of 1,280 numbers are 512 MB."""
        units = np.empty((len(self.paired), self._searcher.fusion.image_dim), np.float32)
        for start in range(0, len(self.paired), AT_ONCE):
            part = self.paired[start : start + AT_ONCE]
            units[start : start + len(part)] = unit(self._searcher.blocks_of(self._first[part]).image)
        return units

    def _fetched(self, stage: Stage) -> Iterator[Pairs]:
        """Pairs of contents, of which the second is among the first neighbours of the first, and near."""
        for start in range(0, len(self._first), AT_ONCE):
            mine = np.arange(start, min(start + AT_ONCE, len(self._first)))
            rows = self._first[mine]
            blocks = self._searcher.blocks_of(rows)
            found = self._searcher.nearest(
                Blocks(blocks.image, np.zeros_like(blocks.prefix)),
                image_weight=1.0,
                k=_FIRST,
                allowed=self._allowed,
                exclude=rows,
            )
            cosine = self._cosines(blocks, found)
            lowest = np.full(len(mine), np.inf)
            np.minimum.at(lowest, found.query, cosine)
            is_full = np.bincount(found.query, minlength=len(mine)) >= _FIRST
            self.is_cut[mine] = is_full & (lowest >= self._threshold)
            near = cosine >= self._threshold
            yield Pairs(mine[found.query[near]], self._number[found.row[near]], cosine[near])
            stage.advance(len(mine))

    def _cosines(self, blocks: Blocks, found: Neighbours) -> Exact:
        """Cosines (t,) of raw features."""
        if self._searcher.fusion.centre is None:
            return _rounded(found.image_score)
        names, place = np.unique(found.row, return_inverse=True)
        theirs = unit(self._searcher.blocks_of(names).image)
        return _rounded(np.einsum("td,td->t", unit(blocks.image)[found.query], theirs[place.reshape(-1)]))


def _rounded(cosines: Floats) -> Exact:
    found: Exact = np.minimum(np.round(cosines.astype(np.float64), _DECIMALS), 1.0)
    return found
