"""Similarity search over a snapshot: nearest images of query blocks, at any weight, filtered or not."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.analytics import matching_rows
from fpve.errors import ImageNotFound, QueryError
from fpve.errors import nearest as nearest_word
from fpve.fusion import Blocks, Floats, FusedRows, Fusion, Mode
from fpve.index import SegmentIndex, index_in_memory, open_index
from fpve.neighbours import Mask, Neighbours, Rows, ranks
from fpve.records import Step
from fpve.store import means
from fpve.store.manifest import Segment
from fpve.store.searched import digest_of, searched_fusion, searched_vectors
from fpve.store.snapshot import Snapshot

DEFAULT_K = 10
# Scores that agree to this many decimals are ties, to be broken by image_id: float32 rounding differs between
# machines in the seventh.
_TIE_DECIMALS = 6
_TIE_WIDTH = 2 * 10**-_TIE_DECIMALS
# Fetched beyond k at first, so that most ties at the k-th place are settled at once.
_MARGIN = 16
# Ties wider than this (all prefixes the same, say) are broken among the first so many vectors only.
_MAX_TIES = 16_384
# Floats held at once while candidates are scored block by block: 256 MB.
_SCORING_FLOATS = 64_000_000


class _Reach(NamedTuple):
    """What one search may find.

    Attributes:
        mask: (all vectors,) which vectors belong to an image that is allowed.
        images: rows of these images, in the order of their vectors, then of their ids.
        starts: (all vectors + 1,) where each vector's images begin in `images`.
        vectors: how many vectors are in `mask`.
    """

    mask: Mask
    images: Rows
    starts: Rows
    vectors: int


class Searcher:
    """Search in one snapshot. Safe to use from many threads.

    Attributes:
        snapshot: what is searched.
        fusion: mode and centre of what is searched; its `centre` is None where blocks are compared raw.
        predicted: whether images without a prefix are compared by one that was predicted for them.
    """

    def __init__(self, snapshot: Snapshot, *, fusion: Fusion | None = None, predicted: bool = True) -> None:
        self.snapshot = snapshot
        self.fusion = fusion or searched_fusion(snapshot)
        self.predicted = predicted and snapshot.has_predictions
        self._lock = Lock()
        self._indexes: list[SegmentIndex] | None = None
        self._variants: dict[tuple[Mode, bool, bool], Searcher] = {}

    def variant(
        self, *, mode: Mode | None = None, centred: bool | None = None, predicted: bool | None = None
    ) -> Searcher:
        """A searcher over the same rows in another way; what the store has no index for is made in memory, once.

        `variant(predicted=False)` compares real blocks only. Evaluation and classification need that: a prediction is
        made of the neighbours' prefixes, and would tell each image what its near-duplicates are called.

        Args:
            mode: another fusion mode; `concat` is the bare formula, and so not centred unless it is asked for.
            centred: whether blocks are centred: by the store's means, or if it has none, by such as it would have. A
                block of which there are too few is not.
            predicted: whether images without a prefix are compared by predictions, if the store has any.
        """
        chosen = mode or self.fusion.mode
        wanted = (self.fusion.centre is not None and chosen == "balanced") if centred is None else centred
        guess = self.predicted if predicted is None else predicted and self.snapshot.has_predictions
        key = (chosen, wanted, guess)
        if key == (self.fusion.mode, self.fusion.centre is not None, self.predicted):
            return self
        with self._lock:
            if key not in self._variants:
                centre = self.snapshot.centre if wanted else None
                if wanted and centre is None:
                    centre = means.centre_of(means.fit(self.snapshot))
                fusion = replace(self.fusion, mode=chosen, centre=centre)
                self._variants[key] = Searcher(self.snapshot, fusion=fusion, predicted=guess)
            return self._variants[key]

    @property
    def rows(self) -> int:
        """Number of images."""
        return self.snapshot.manifest.rows

    @cached_property
    def _offsets(self) -> Rows:
        """Position of each segment's first vector among all vectors, and at the end their number."""
        return np.cumsum([0, *(segment.rows for segment in self.snapshot.manifest.segments)])

    @cached_property
    def _position(self) -> Rows:
        """Position of each image's vector."""
        images = self.snapshot.images
        names = [segment.name for segment in self.snapshot.manifest.segments]
        segment = pc.index_in(images["segment"], pa.array(names, pa.string())).to_numpy()
        position: Rows = self._offsets[segment] + images["row"].to_numpy()
        return position

    def row_of(self, image_id: str) -> int:
        """Number of an image's row.

        Raises:
            ImageNotFound: no image has this id; the text names the most similar one.
        """
        ids = self.snapshot.images["image_id"]
        row = pc.index(ids, pa.scalar(image_id, pa.string())).as_py()
        if row < 0:
            # Similar names are looked for in the same folder only: a million ids take a minute to compare.
            near = pc.drop_null(ids.filter(pc.starts_with(ids, image_id.rpartition("/")[0]))).slice(0, 10_000)
            raise ImageNotFound(
                f"no image {image_id!r} in {self.snapshot.root}{nearest_word(image_id, near.to_pylist())}"
            )
        return int(row)

    def blocks_of(self, rows: Rows) -> Blocks:
        """Raw image features and prefix embeddings of image rows (n,), as they were before fusion: real ones only."""
        return self.fusion.recovered(self._searched_rows(rows))

    def _searched_rows(self, rows: Rows) -> FusedRows:
        """Searched vectors of image rows (n,), with the norms of their raw blocks."""
        positions = self._position[rows]
        image_norm, prefix_norm = self._norms
        return FusedRows(self._vectors(positions), image_norm[positions], prefix_norm[positions])

    @cached_property
    def _norms(self) -> tuple[Floats, Floats]:
        keys = [self.snapshot.segment_keys(segment) for segment in self.snapshot.manifest.segments]
        return (
            np.concatenate([table["image_norm"].to_numpy() for table in keys]),
            np.concatenate([table["prefix_norm"].to_numpy() for table in keys]),
        )

    def split(self, vectors: Floats) -> Blocks:
        """The blocks of given query vectors, raw: fused ones (m, dim), or image blocks (m, image_dim).

        Raises:
            QueryError: they have another length, or one is zero or not finite.
        """
        fusion = self.fusion
        if vectors.ndim != 2 or vectors.shape[1] not in (fusion.dim, fusion.image_dim):
            raise QueryError(
                f"vector: expected {fusion.dim} numbers ({fusion.image_dim} of the image, {fusion.prefix_dim} of the "
                f"prefix), or {fusion.image_dim} of an image, found {vectors.shape[-1]}"
            )
        if not np.isfinite(vectors).all() or not np.any(vectors, axis=1).all():
            raise QueryError("vector: expected finite numbers that are not all zero")
        prefix = vectors[:, fusion.image_dim :]
        return Blocks(
            vectors[:, : fusion.image_dim],
            prefix if prefix.shape[1] else np.zeros((len(vectors), fusion.prefix_dim), np.float32),
        )

    def matching(self, where: str) -> Mask:
        """Which image rows (rows,) meet an SQL condition.

        Raises:
            QueryError: it is not an SQL condition over the columns of `images`.
        """
        mask = np.zeros(self.rows, bool)
        mask[matching_rows(self.snapshot, where)] = True
        return mask

    def weights(self, blocks: Blocks, image_weight: float | None) -> Floats:
        """The weights A (m,) of queries: the given one, or what fits the blocks that each has.

        A query with a picture only has 1, one with a text only 0, one with both the store's own.

        Raises:
            QueryError: the given weight is not in [0, 1].
        """
        if image_weight is None:
            has_image, has_prefix = np.any(blocks.image, axis=1), np.any(blocks.prefix, axis=1)
            both = self.snapshot.manifest.fusion.image_weight
            return np.where(has_image & has_prefix, both, has_image).astype(np.float32)
        if not 0 <= image_weight <= 1:
            raise QueryError(
                f"image weight: expected a number from 0 (text only) to 1 (picture only), found {image_weight}"
            )
        return np.full(len(blocks.image), image_weight, np.float32)

    def nearest(
        self,
        blocks: Blocks,
        *,
        image_weight: float | Floats,
        k: int,
        allowed: Mask | None = None,
        exclude: Rows | None = None,
        across: bool = False,
        exact: bool = False,
        steps: list[Step] | None = None,
    ) -> Neighbours:
        """Find the k best images for each of m queries, ties broken by image_id.

        Args:
            blocks: raw or unit blocks (m, image_dim) and (m, prefix_dim); a zero row is a missing block.
            image_weight: the weight A in [0, 1], one or (m,).
            k: how many images for each query; fewer where fewer are allowed.
            allowed: (rows,) which images may be found.
            exclude: (m,) an image row that query may not find, such as itself.
            across: whether the image blocks are embeddings of texts, in a space of both.
            exact: whether every vector is to be scored, whatever index there is.
            steps: takes what was done.
        """
        fusion = self.fusion.across if across else self.fusion
        reach = self._reach(allowed)
        if steps is not None:
            steps.append(Step("exact", len(self.snapshot.manifest.segments), reach.vectors, ""))
        weights = np.broadcast_to(np.asarray(image_weight, np.float32), len(blocks.image))
        found: list[Neighbours] = []
        waiting, fetch = np.arange(len(blocks.image)), k + 1 + _MARGIN
        while len(waiting):
            fetch = min(fetch, reach.vectors)
            is_last = fetch >= min(reach.vectors, _MAX_TIES + k)
            step = max(1, _SCORING_FLOATS // (self.fusion.dim * max(fetch, 1)))
            unfinished = []
            for start in range(0, len(waiting), step):
                mine = waiting[start : start + step]
                chosen = Blocks(blocks.image[mine], blocks.prefix[mine])
                part = self._candidates(
                    fusion, chosen, weights[mine], fetch, k, reach, None if exclude is None else exclude[mine]
                )
                complete = np.ones(len(mine), bool) if is_last else _is_complete(part, len(mine), k)
                part = part.where(complete[part.query]).first(k)
                found.append(part._replace(query=mine[part.query]))
                unfinished.append(mine[~complete])
            waiting, fetch = np.concatenate(unfinished), fetch * 4
        if not found:
            nothing = np.zeros(0, np.float32)
            return Neighbours(np.zeros(0, np.int64), np.zeros(0, np.int64), nothing, nothing, nothing)
        joined = Neighbours._make(np.concatenate(columns) for columns in zip(*found, strict=True))
        return joined.taken(np.argsort(joined.query, kind="stable"))

    def hits(self, found: Neighbours, *, across: bool = False) -> pa.Table:
        """The image rows of t neighbours with their scores: image_id, collection, path, scores, prefix, metadata.

        In a snapshot with predictions there is a column `prefix_predicted`: whether an image without a prefix was
        compared by a predicted one. `prefix_score` is the cosine with the prediction then, which counts in `score`
        times the prediction's length.

        Where pictures and texts share a space there is a column `cross_score`. It takes the place of `image_score`
        where the queries' image blocks were embeddings of texts (`across`), and is null otherwise.
        """
        images = self.snapshot.images.take(pa.array(found.row))
        scores = {
            name: pa.array(getattr(found, name), from_pandas=True) for name in ("score", "image_score", "prefix_score")
        }
        if self.snapshot.shares_space:
            scores["cross_score"] = pa.nulls(len(images), pa.float32())
        if across:
            scores["cross_score"], scores["image_score"] = scores["image_score"], scores["cross_score"]
        if self.snapshot.has_predictions:
            scores["prefix_predicted"] = pa.array(self._is_predicted[found.row])
        first = {name: images[name] for name in ("image_id", "collection", "path")}
        rest = {name: images[name] for name in ("prefix", *(column.name for column in self.snapshot.manifest.columns))}
        return pa.table({**first, **scores, **rest})

    @cached_property
    def _is_predicted(self) -> Mask:
        """(rows,) which images are compared by a predicted prefix block."""
        if not self.predicted:
            return np.zeros(self.rows, bool)
        _, prefix_norm = self._norms
        known = pc.is_in(self.snapshot.images["content_hash"], value_set=self.snapshot.predicted_content)
        found: Mask = known.to_numpy() & (prefix_norm[self._position] == 0)
        return found

    def _candidates(
        self,
        fusion: Fusion,
        blocks: Blocks,
        weights: Floats,
        fetch: int,
        k: int,
        reach: _Reach,
        exclude: Rows | None,
    ) -> Neighbours:
        """The images of the `fetch` best vectors of m queries, best first; of one vector's images k + 1 at most."""
        positions = self._best_positions(fusion.query(*blocks, weights), fetch, reach.mask)
        real = positions >= 0
        vectors = self._vectors(np.where(real, positions, 0).ravel()).reshape(*positions.shape, self.fusion.dim)
        scores = fusion.scores(*blocks, weights, vectors)
        # One row for each image of each vector. They are in the order of their ids, so the first k, and one in place of
        # what is excluded, are those that count.
        flat = positions[real]
        counts = np.minimum(reach.starts[flat + 1] - reach.starts[flat], k + 1)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = reach.images[np.repeat(reach.starts[flat], counts) + within]
        query = np.repeat(np.nonzero(real)[0], counts)
        expanded = Neighbours(query, rows, *(np.repeat(column[real], counts) for column in scores))
        if exclude is not None:
            expanded = expanded.where(rows != exclude[query])
        rounded = expanded.score.astype(np.float64).round(_TIE_DECIMALS)
        return expanded.taken(np.lexsort((expanded.row, -rounded, expanded.query)))

    def _best_positions(self, queries: Floats, fetch: int, mask: Mask) -> Rows:
        """Positions (m, fetch) of the best vectors over all segments; -1 where there are fewer."""
        scores, positions = [], []
        for index, offset in zip(self._open_indexes(), self._offsets[:-1], strict=True):
            here = mask[offset : offset + len(index)]
            own = int(here.sum())
            if not own:
                continue
            found = index.search(queries, min(fetch, own), None if own == len(index) else here)
            scores.append(np.where(found.rows < 0, -np.inf, found.scores))
            positions.append(np.where(found.rows < 0, -1, found.rows + offset))
        if not scores:
            return np.full((len(queries), fetch), -1, np.int64)
        score, position = np.hstack(scores), np.hstack(positions)
        best = np.argsort(-score, axis=1, kind="stable")[:, :fetch]
        return np.take_along_axis(position, best, axis=1)

    def _reach(self, allowed: Mask | None) -> _Reach:
        """What a search may find: the vectors of images that are allowed. One that no image names is dead."""
        if allowed is None:
            return self._everything
        return self._reach_of(np.flatnonzero(allowed))

    @cached_property
    def _everything(self) -> _Reach:
        return self._reach_of(np.arange(len(self._position)))

    def _reach_of(self, rows: Rows) -> _Reach:
        positions = self._position[rows]
        order = np.argsort(positions, kind="stable")
        starts = np.searchsorted(positions[order], np.arange(self._offsets[-1] + 1))
        mask = np.diff(starts) > 0
        return _Reach(mask, rows[order], starts, int(mask.sum()))

    def _vectors(self, positions: Rows) -> Floats:
        """Searched vectors (n, dim) at positions (n,)."""
        out = np.empty((len(positions), self.fusion.dim), np.float32)
        segment = np.searchsorted(self._offsets, positions, side="right") - 1
        indexes = self._open_indexes()
        for number in np.unique(segment):
            mine = segment == number
            out[mine] = indexes[number].vectors(positions[mine] - self._offsets[number])
        return out

    def _open_indexes(self) -> list[SegmentIndex]:
        with self._lock:
            if self._indexes is None:
                self._indexes = [self._open_index(segment) for segment in self.snapshot.manifest.segments]
            return self._indexes

    def _open_index(self, segment: Segment) -> SegmentIndex:
        snapshot, fusion = self.snapshot, self.fusion
        if fusion == searched_fusion(snapshot) and self._takes_the_same(segment):
            return open_index(snapshot, segment)
        return index_in_memory(searched_vectors(snapshot, segment, fusion, predicted=self.predicted))

    def _takes_the_same(self, segment: Segment) -> bool:
        """Whether the stored index of a segment has the predictions that are wanted: it may take none."""
        snapshot, centre = self.snapshot, self.fusion.centre
        return self.predicted == snapshot.has_predictions or digest_of(snapshot, segment, centre) == digest_of(
            snapshot, segment, centre, predicted=False
        )


def _is_complete(part: Neighbours, queries: int, k: int) -> Mask:
    """Which of the queries surely have their k best: the k-th is clearly better than the worst that was fetched."""
    worst = np.full(queries, np.inf)
    np.minimum.at(worst, part.query, part.score)
    kth = np.full(queries, -np.inf)
    last = part.where(ranks(part.query) == k - 1)
    kth[last.query] = last.score
    complete: Mask = kth > worst + _TIE_WIDTH
    return complete
