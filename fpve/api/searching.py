"""The part of a store's API that searches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import overload

from fpve.api.batches import batch_of
from fpve.batch import Batch
from fpve.engines.cluster.cluster import Cluster
from fpve.engines.named import EngineName
from fpve.errors import QueryError
from fpve.fusion import Floats
from fpve.mapper import Mapper
from fpve.opened import Opened
from fpve.progress import Progress
from fpve.queries import Picture, Queries
from fpve.records import Hits
from fpve.retrieval import Search, Wanted
from fpve.search import DEFAULT_K
from fpve.selection import Selection


class Searching:
    """A store that can be searched."""

    _open: Opened

    @overload
    def search(
        self,
        *,
        image: Picture | None = ...,
        id: str | None = ...,
        text: str | None = ...,
        vector: Floats | None = ...,
        image_weight: float | None = ...,
        k: int = ...,
        where: str | None = ...,
        exact: bool = ...,
        min_score: float | None = ...,
        offset: int = ...,
        dedup: float | None = ...,
        group_by: str | None = ...,
    ) -> Hits: ...
    @overload
    def search(
        self,
        *,
        images: Sequence[Picture] | None = ...,
        ids: Sequence[str] | None = ...,
        texts: Sequence[str] | None = ...,
        vectors: Floats | None = ...,
        image_weight: float | None = ...,
        k: int = ...,
        where: str | None = ...,
        exact: bool = ...,
        min_score: float | None = ...,
        offset: int = ...,
        dedup: float | None = ...,
        group_by: str | None = ...,
    ) -> list[Hits]: ...
    def search(
        self,
        *,
        image: Picture | None = None,
        id: str | None = None,  # noqa: A002 (what people call it)
        text: str | None = None,
        vector: Floats | None = None,
        images: Sequence[Picture] | None = None,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        vectors: Floats | None = None,
        image_weight: float | None = None,
        k: int = DEFAULT_K,
        where: str | None = None,
        exact: bool = False,
        min_score: float | None = None,
        offset: int = 0,
        dedup: float | None = None,
        group_by: str | None = None,
    ) -> Hits | list[Hits]:
        """Find the k images most like a picture, a text, both, an image of the store, or a vector.

        The score is A cos_image + (1 - A) cos_prefix. Without a text A is 1, without a picture 0, and with both, or by
        id, it is `image_weight`, by default the store's own.

        In a store whose encoders embed pictures and texts into one space, such as CLIP's, a text alone is compared with
        the pictures as well: cos_image is then that of text and picture, which hits show as `cross_score`. A is the
        store's own there, and 1 where no image has a prefix.

        Args:
            image: a file, its bytes, or a Pillow image.
            id: an image_id; the image itself is not among its hits.
            text: compared with the prefixes, and with the pictures where they share its space.
            vector: a fused vector (dim,), or an image block (image_dim,).
            images: several queries at once, one Hits for each; they pair up with `texts` if both are given.
            ids: several queries at once.
            texts: several queries at once.
            vectors: several queries (m, dim) or (m, image_dim) at once.
            image_weight: the weight A in [0, 1].
            k: how many hits; fewer if fewer images are left by what follows.
            where: an SQL condition over the columns of `images`.
            exact: whether every vector is to be scored, whatever index there is.
            min_score: the lowest score of a hit.
            offset: how many hits to skip: k = 10 at offset 20 are the last ten of the first thirty.
            dedup: a cosine in (0, 1]; images whose pictures are that near to a better hit's are left out.
            group_by: a column of `images`; of those with the same value only the best is a hit, null is no value.

        Raises:
            QueryError: the query names nothing, or too much; or an option is wrong.
            ImageNotFound: no image has this id.
            ImageError: the picture can't be decoded.
        """
        one = Queries.one(image=image, text=text, id=id, vector=vector)
        many = Queries(images, texts, ids, vectors)
        if one.kinds and many.kinds:
            raise QueryError(f"expected one query or several, found one of {one.kinds} and several {many.kinds}")
        # What is wanted first: a mistake in it is found before a model is loaded.
        search = Search(
            self._open, Wanted(Selection(k, offset, min_score, dedup, group_by), image_weight, where, exact)
        )
        hits = search.answer(one if one.kinds else many).each()
        return hits[0] if one.kinds else hits

    def search_many(
        self,
        source: str | os.PathLike[str],
        *,
        image_weight: float | None = None,
        k: int = DEFAULT_K,
        where: str | None = None,
        exact: bool = False,
        min_score: float | None = None,
        offset: int = 0,
        dedup: float | None = None,
        group_by: str | None = None,
        progress: Progress | None = None,
        engine: EngineName | Mapper = "local",
        cluster: Cluster | None = None,
    ) -> Batch:
        """Find the k images most like each query of a source: pictures, or a table with columns such as `text`.

        `write("hits.parquet")` answers all of them, `collect()` returns the hits, and going through the batch gives
        them part by part. A query that can't be answered, such as a broken picture, is named with the reason, and the
        others are answered. The options are those of `search`; `fpve.sources.queries` says how a table is read.
        With the engine `ray` the segments are searched by workers of a Ray cluster, with the same results; or give a
        `RayMapper` that stays open for several batches.

        Raises:
            QueryError: an option is wrong, or the source has nothing to search by.
            SourceError, MetadataError: the source is not there, empty or broken.
            ClusterError: there is no such engine or cluster.
        """
        wanted = Wanted(Selection(k, offset, min_score, dedup, group_by), image_weight, where, exact)
        # What is wanted first: a folder of a million files takes longer to be looked through.
        return batch_of(
            self._open, source, lambda opened: Search(opened, wanted), progress=progress, engine=engine, cluster=cluster
        )
