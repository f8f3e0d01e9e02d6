"""Predictions that still hold: which of those that a store has say what they would say if they were made again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.neighbours import Exact, Mask, Rows
from fpve.pipeline.voters import Change, vectors_named
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot

# Queries whose scores are made at once, with so many voters: 7 MB of vectors of 1,664 numbers, and 27 MB.
_QUERIES = 1_024
_VOTERS = 4_096
# A score of the same two differs in its seventh digit by how many are made at once, and ties are those of six.
_ROUNDING = 1e-5
_NAMES = ("image_id", "content_hash", "prefix_id")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Images whose label is to be predicted.

    Attributes:
        rows: (n,) numbers of their rows, ascending.
        names: (n rows) their `image_id`, `content_hash` and `prefix_id`.
        known: rows of the table `predictions`, for that label.
        place: (n,) which of these is of the image and its vector; -1 where none is.
    """

    rows: Rows
    names: pa.RecordBatch
    known: pa.Table
    place: Rows

    @classmethod
    def of(cls, snapshot: Snapshot, rows: Rows, known: pa.Table) -> Wanted:
        """Images of a snapshot, and what is known of them."""
        columns = [snapshot.rows.column(name).combine_chunks().take(pa.array(rows)) for name in _NAMES]
        names = pa.record_batch(columns, names=list(_NAMES))
        old = pa.record_batch([known[name].combine_chunks() for name in _NAMES], names=list(_NAMES))
        at = pc.index_in(names["image_id"], value_set=old["image_id"])
        same = pc.equal(vectors_named(old).take(at), vectors_named(names))
        place = pc.if_else(pc.fill_null(same, False), at, -1).to_numpy().astype(np.int64)
        return cls(rows, names, known, place)

    @property
    def held(self) -> Rows:
        """Numbers among the n of those of which something is known."""
        return np.flatnonzero(self.place >= 0)


def standing(wanted: Wanted, change: Change, searcher: Searcher, *, image_weight: float | None, k: int) -> Mask:
    """Which of the images (n,) have a prediction by votes that would be the same again.

    Args:
        wanted: the images; what is known of them was true before the change.
        change: of the voters.
        searcher: over the images as they are now.
        image_weight: the weight A of the queries; None takes what fits each.
        k: how many neighbours vote.
    """
    held = wanted.held
    neighbours = wanted.known["neighbours"].combine_chunks().take(pa.array(wanted.place[held]))
    voters, scores = (neighbours.flatten().field(name) for name in ("image_id", "score"))
    stale = np.zeros(len(held), bool)
    stale[pc.list_parent_indices(neighbours).filter(pc.is_in(voters, value_set=change.gone)).to_numpy()] = True
    rest = np.flatnonzero(~stale)
    floors = _floors(pc.list_value_length(neighbours).to_numpy(), scores.to_numpy(), k)
    reached = _reached(searcher, wanted.rows[held[rest]], floors[rest], change.added, image_weight)
    stale[rest[reached]] = True
    stands = np.zeros(len(wanted.rows), bool)
    stands[held[~stale]] = True
    return stands


def _floors(counts: Rows, scores: Exact, k: int) -> Exact:
    """The score (n,) that a voter needs to be among the k nearest; any will do where there are fewer."""
    floors = np.full(len(counts), -np.inf)
    full = counts >= k
    floors[full] = scores[np.cumsum(counts)[full] - 1]
    return floors


def _reached(searcher: Searcher, rows: Rows, floors: Exact, added: Rows, image_weight: float | None) -> Mask:
    """Which of the images (n,) some of the added voters score so high for that it may be among their nearest."""
    reached = np.zeros(len(rows), bool)
    for first in range(0, len(added), _VOTERS):
        voters = searcher.vectors_of(added[first : first + _VOTERS]).T
        for start in range(0, len(rows), _QUERIES):
            part = slice(start, start + _QUERIES)
            blocks = searcher.blocks_of(rows[part])
            queries = searcher.fusion.query(*blocks, searcher.weights(blocks, image_weight))
            reached[part] |= (queries @ voters).max(axis=1) >= floors[part] - _ROUNDING
    return reached
