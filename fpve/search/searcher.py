"""A snapshot that can be searched: its vectors, what of them may be found, and what is told of a hit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from numbers import Real
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.analytics import matching_rows
from fpve.errors import ImageNotFound, QueryError
from fpve.errors import nearest as nearest_word
from fpve.fusion import Blocks, Floats, FusedRows, Fusion, Mode
from fpve.mapper import Mapper
from fpve.neighbours import Mask, Neighbours, Rows
from fpve.records import Step
from fpve.remembered import Remembered
from fpve.search.elsewhere import Elsewhere
from fpve.search.grouped import Grouped
from fpve.search.norms import Norms
from fpve.search.opening import open_together
from fpve.search.prefixes import PrefixGroups
from fpve.search.ranking import Asked, Ranking
from fpve.search.reach import Reach
from fpve.search.vectors import Vectors
from fpve.store import means, tables
from fpve.store.searched import searched_fusion
from fpve.store.snapshot import Snapshot

DEFAULT_K = 10
# A search by the prefix alone goes by the prefixes where there are so many vectors to each, and few enough to be held:
# 50,000 of 384 numbers are 77 MB.
_VECTORS_PER_PREFIX = 4
_MOST_PREFIXES = 50_000
# Of a longer id no similar ones are looked for, nor is it said again: paths end at 4,096 bytes.
_LONGEST = 5_000
# Conditions whose matching images are remembered: whoever pages, or asks again, asks with the same one, and facets are
# counted each under all others. A byte an image.
_REMEMBERED = 16

# The numbers of the image rows of a snapshot, ascending, that meet an SQL condition; or a QueryError.
Conditions = Callable[[Snapshot, str], Rows]


class Searcher:
    """Search in one snapshot. Safe to use from many threads.

    With a mapper `over` other processes the best vectors are found by these, and scored here in the end.

    Attributes:
        snapshot: what is searched.
        fusion: mode and centre of what is searched; its `centre` is None where blocks are compared raw.
        predicted: whether images without a prefix are compared by one that was predicted for them.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        fusion: Fusion | None = None,
        predicted: bool = True,
        conditions: Conditions = matching_rows,
        over: Mapper | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.fusion = fusion or searched_fusion(snapshot)
        self.predicted = predicted and snapshot.has_predictions
        self._conditions = conditions
        self._over = over
        self._lock = Lock()
        self._opened: Vectors | None = None
        self._variants: dict[tuple[Mode, bool, bool], Searcher] = {}
        self._matched: Remembered[str, Mask] = Remembered(_REMEMBERED)
        self._reached: list[tuple[Mask, Reach]] = []

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
                self._variants[key] = Searcher(
                    self.snapshot, fusion=fusion, predicted=guess, conditions=self._conditions, over=self._over
                )
            return self._variants[key]

    def over(self, mapper: Mapper) -> Searcher:
        """A searcher of the same that has its segments searched by other processes, with the same results."""
        return Searcher(
            self.snapshot, fusion=self.fusion, predicted=self.predicted, conditions=self._conditions, over=mapper
        )

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
        return self.snapshot.rows.positions

    def row_of(self, image_id: str) -> int:
        """Number of an image's row.

        Raises:
            ImageNotFound: no image has this id; the text names the most similar one.
        """
        row = self.snapshot.rows.row_of(image_id)
        if row is None and len(image_id) > _LONGEST:
            raise ImageNotFound(f"no image in {self.snapshot.root} has an id of {len(image_id):,} characters")
        if row is None:
            # Similar names are looked for in the same folder only: a million ids take a minute to compare.
            near = self.snapshot.rows.below(image_id.rpartition("/")[0], 10_000)
            raise ImageNotFound(f"no image {image_id!r} in {self.snapshot.root}{nearest_word(image_id, near)}")
        return row

    def blocks_of(self, rows: Rows) -> Blocks:
        """Raw image features and prefix embeddings of image rows (n,), as they were before fusion: real ones only."""
        return self.fusion.recovered(FusedRows(self.vectors_of(rows), *self.norms_of(rows)))

    def vectors_of(self, rows: Rows) -> Floats:
        """The searched vectors (n, dim) of image rows (n,): a query's products with them are their scores."""
        return self._vectors.at(self._position[rows])

    def norms_of(self, rows: Rows) -> tuple[Floats, Floats]:
        """Norms (n,) of the raw image blocks and prefix blocks of image rows (n,); 0 where one is missing."""
        return self._norms.at(self._position[rows])

    @cached_property
    def _norms(self) -> Norms:
        return Norms(self.snapshot, self._offsets)

    def split(self, vectors: Floats) -> Blocks:
        """The blocks of given query vectors, raw: fused ones (m, dim), or image blocks (m, image_dim).

        Raises:
            QueryError: they have another length, or one is zero or not finite.
        """
        fusion = self.fusion
        if vectors.ndim != 2:
            raise QueryError(f"vector: expected a matrix (m, {fusion.dim}), found an array of shape {vectors.shape}")
        if vectors.shape[1] not in (fusion.dim, fusion.image_dim):
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
        return self._matched.get(where, lambda: self._evaluated(where))

    def _evaluated(self, where: str) -> Mask:
        mask = np.zeros(self.rows, bool)
        mask[self._conditions(self.snapshot, where)] = True
        mask.flags.writeable = False
        return mask

    def only(self, rows: Rows) -> Mask | None:
        """(rows,) which images a search of image rows (n,) may find; None where these are all, as without a condition.

        It can't be written to, and so what a search makes of it is remembered.
        """
        mask = np.zeros(self.rows, bool)
        mask[rows] = True
        if mask.all():
            return None
        mask.flags.writeable = False
        return mask

    def checked_weight(self, image_weight: float) -> float:
        """A weight A of the picture.

        Raises:
            QueryError: it is not in [0, 1].
        """
        return float(self.weights(Blocks(*np.zeros((2, 1, 0), np.float32)), image_weight)[0])

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
        if not isinstance(image_weight, Real) or not 0 <= image_weight <= 1:
            raise QueryError(
                f"image weight: expected a number from 0 (text only) to 1 (picture only), found {image_weight!r}"
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
        # Nobody finds more than there are, and room is made for k.
        k = min(k, max(1, self.rows))
        fusion = self.fusion.across if across else self.fusion
        weights = np.broadcast_to(np.asarray(image_weight, np.float32), len(blocks.image))
        groups = None
        if not exact and not across and np.any(weights == 0) and self._has_groups:
            groups = self._groups if allowed is None else self._groups.filtered(allowed)
        ranking = Ranking(self._vectors, self._reach(allowed), self._position, groups)
        return ranking.nearest(
            Asked(fusion, blocks, fusion.directions(*blocks), weights, exclude, across), k, exact=exact, steps=steps
        )

    def hits(self, found: Neighbours, *, across: bool = False) -> pa.Table:
        """The image rows of t neighbours with their scores: image_id, collection, path, scores, prefix, metadata.

        In a snapshot with predictions there is a column `prefix_predicted`: whether an image without a prefix was
        compared by a predicted one. `prefix_score` is the cosine with the prediction then, which counts in `score`
        times the prediction's length.

        Where pictures and texts share a space there is a column `cross_score`. It takes the place of `image_score`
        where the queries' image blocks were embeddings of texts (`across`), and is null otherwise.
        """
        metadata = [column.name for column in self.snapshot.manifest.columns]
        images = self.snapshot.rows.take(found.row, ["image_id", "collection", "path", "prefix", *metadata])
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
        rest = {name: images[name] for name in ("prefix", *metadata)}
        return pa.table({**first, **scores, **rest})

    @cached_property
    def _is_predicted(self) -> Mask:
        """(rows,) which images are compared by a predicted prefix block."""
        if not self.predicted:
            return np.zeros(self.rows, bool)
        _, prefix_norm = self._norms.at(self._position)
        known = pc.is_in(self.snapshot.rows.column("content_hash"), value_set=self.snapshot.predicted_content)
        found: Mask = known.to_numpy() & (prefix_norm == 0)
        return found

    def _reach(self, allowed: Mask | None) -> Reach:
        """What a search may find: the vectors of images that are allowed."""
        if allowed is None:
            return self._everything
        with self._lock:
            known = next((reach for mask, reach in self._reached if mask is allowed), None)
        if known is not None:
            return known
        reach = self._everything.filtered(allowed, self._offsets)
        # What can't be written to stays what it is: the images that meet a condition.
        if not allowed.flags.writeable:
            with self._lock:
                self._reached = [*self._reached[1 - _REMEMBERED :], (allowed, reach)]
        return reach

    @cached_property
    def _everything(self) -> Reach:
        return Reach.of(Grouped.of(self._position, int(self._offsets[-1])), self._offsets)

    @cached_property
    def _has_groups(self) -> bool:
        """Whether a search by the prefix alone is one of prefixes: many vectors share one."""
        # Prefixes that no image has any more are few.
        prefixes = sum(one.rows for one in self.snapshot.manifest.tables_named(tables.PREFIXES))
        shared = prefixes * _VECTORS_PER_PREFIX <= self._offsets[-1] and prefixes <= _MOST_PREFIXES
        return bool(shared and self.fusion.mode == "balanced" and not self.predicted and self.fusion.prefix_dim)

    @cached_property
    def _groups(self) -> PrefixGroups:
        # As pages name them, for the names of vectors are in as many files as there are segments. Images without a
        # prefix are a group of their own.
        prefixes = self.snapshot.rows.column("prefix_id").combine_chunks()
        codes = prefixes.dictionary_encode("encode").indices.to_numpy().astype(np.int64)
        _, first = np.unique(codes, return_index=True)
        blocks = self._vectors.at(self._position[first])[:, self.fusion.image_dim :]
        return PrefixGroups.of(blocks, codes)

    @property
    def _vectors(self) -> Vectors:
        with self._lock:
            if self._opened is None:
                segments = (
                    open_together(self.snapshot, self.fusion, predicted=self.predicted)
                    if self._over is None
                    else Elsewhere(self._over, self.snapshot, self.fusion, predicted=self.predicted)
                )
                self._opened = Vectors(self.fusion, segments, None if self.predicted else self._norms)
            return self._opened
