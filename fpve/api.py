"""The Python API: a store that can be asked, and the calls behind every command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import pyarrow as pa

from fpve.analytics import list_prefixes, run_sql
from fpve.batch import Batch
from fpve.classify import DEFAULT_K as DEFAULT_VOTERS
from fpve.classify import DEFAULT_TEMPERATURE, DEFAULT_WEIGHTS, Abstention, Weights
from fpve.config import Job
from fpve.errors import QueryError
from fpve.evaluate import SAMPLE, Query, voting_of
from fpve.evaluate import ablation as ablation_of
from fpve.evaluate import evaluate as evaluate_rows
from fpve.evaluate import fit_weight as fit_image_weight
from fpve.fusion import Floats, Mode
from fpve.opened import Opened
from fpve.pipeline.journal import load_journaled
from fpve.pipeline.report import RunReport
from fpve.pipeline.run import run as run_job
from fpve.prediction import Classification
from fpve.prediction import Wanted as ClassificationWanted
from fpve.progress import Progress
from fpve.queries import Picture, Queries, QueryEncoders, encode_texts
from fpve.records import Evaluation, FittedWeight, Hits, Predictions
from fpve.retrieval import Search, Wanted
from fpve.search import DEFAULT_K, Searcher
from fpve.selection import Selection
from fpve.status import Status, status_of
from fpve.store import manifest as manifests
from fpve.store.manifest import Manifest
from fpve.store.schema import Column
from fpve.store.snapshot import Snapshot


class Store:
    """A store, open at one snapshot. Safe to use from many threads; `refresh` moves on to the newest snapshot.

    Raises:
        StoreNotFound: there is no store at `path`, or no snapshot `at`.
        StoreCorrupt: the manifest is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], at: int | None = None) -> None:
        self.path = Path(path)
        snapshot = Snapshot.open(self.path, at)
        self._open = Opened(Searcher(snapshot), QueryEncoders(snapshot.manifest))

    @property
    def snapshot(self) -> int:
        """Number of the snapshot that is open."""
        return self._manifest.snapshot

    @property
    def columns(self) -> tuple[Column, ...]:
        """The metadata columns."""
        return self._manifest.columns

    @property
    def images(self) -> pa.Table:
        """One row an image, sorted by image_id, without vectors."""
        return self._open.searcher.snapshot.images

    @property
    def _manifest(self) -> Manifest:
        return self._open.searcher.snapshot.manifest

    def close(self) -> None:
        """Let go of the snapshot, so that it can be pruned; the store is not to be used afterwards."""
        self._open.searcher.snapshot.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh(self) -> bool:
        """Move on to the newest snapshot; whether there was a newer one."""
        if manifests.numbers(self.path)[-1:] == [self.snapshot]:
            return False
        newest = Snapshot.open(self.path)
        same = newest.manifest.encoders == self._manifest.encoders
        # One assignment: a search in another thread works on the old snapshot or on the new one, never on both.
        self._open = Opened(Searcher(newest), self._open.encoders if same else QueryEncoders(newest.manifest))
        return True

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
    ) -> Batch:
        """Find the k images most like each query of a source: pictures, or a table with columns such as `text`.

        `write("hits.parquet")` answers all of them, `collect()` returns the hits, and going through the batch gives
        them part by part. A query that can't be answered, such as a broken picture, is named with the reason, and the
        others are answered. The options are those of `search`; `fpve.sources.queries` says how a table is read.

        Raises:
            QueryError: an option is wrong, or the source has nothing to search by.
            SourceError, MetadataError: the source is not there, empty or broken.
        """
        wanted = Wanted(Selection(k, offset, min_score, dedup, group_by), image_weight, where, exact)
        return Batch(self._open, source, wanted, progress)

    def classify(
        self,
        images: Sequence[Picture] | None = None,
        *,
        label: str,
        text: str | Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        vectors: Floats | None = None,
        image_weight: float | None = None,
        k: int = DEFAULT_VOTERS,
        weights: Weights = DEFAULT_WEIGHTS,
        temperature: float | None = None,
        where: str | None = None,
        abstain_below: float | None = None,
        abstain_novel: float | None = None,
    ) -> Predictions:
        """Predict a label for each picture by the votes of its k nearest labelled images.

        Probabilities are calibrated: the temperature of the votes, and how much the classes' own shares count beside
        them, are fitted to images of the store that are classified by the others.

        Args:
            images: files, their bytes, or Pillow images.
            label: the metadata column of classes; it can hold lists.
            text: what the pictures would be captioned, one for all or one each: queries are then fused as rows are.
            ids: images of the store instead, which have no vote for themselves.
            vectors: fused vectors (m, dim), or image blocks (m, image_dim), instead.
            image_weight: the weight A in [0, 1] of the picture; by default what fits each query.
            k: how many neighbours vote.
            weights: what a vote weighs: `softmax`, `distance` or `uniform`; only the first is calibrated.
            temperature: of softmax votes, exp(score / temperature), which are then not calibrated.
            where: an SQL condition on the images that vote.
            abstain_below: predict nothing where the confidence is lower.
            abstain_novel: predict nothing where the novelty is higher.

        Raises:
            QueryError: there is no such column, no image has a value in it, or an option is wrong.
            ImageNotFound: no image has one of the ids.
            ImageError: a picture can't be decoded.
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise QueryError(f"images: expected a list of pictures, found {images!r}")
        texts = [text] * len(images) if isinstance(text, str) and images is not None else text
        voting, calibrate = voting_of(k, weights, temperature)
        wanted = ClassificationWanted(
            label=label,
            voting=voting,
            calibrate=calibrate,
            image_weight=image_weight,
            where=where,
            abstention=Abstention(abstain_below, abstain_novel),
        )
        queries = Queries(images, None if texts is None else list(texts), ids, vectors)
        return Predictions(Classification(self._open, wanted).answer(queries))

    def evaluate(
        self,
        *,
        label: str,
        image_weight: float | None = None,
        mode: Mode | None = None,
        centred: bool | None = None,
        query: Query = "with",
        k: int = DEFAULT_VOTERS,
        weights: Weights = DEFAULT_WEIGHTS,
        temperature: float | None = None,
        where: str | None = None,
        split: str | None = None,
        folds: int | None = None,
        sample: int | None = SAMPLE,
    ) -> Evaluation:
        """Accuracy of k-NN on a label column, and how far its confidence can be trusted.

        Each image is predicted by all others, or as `split` or `folds` say; duplicates, near-duplicates and images with
        the same prefix don't vote for one another. With `query="without"` each is predicted as if it came without its
        prefix.

        Args:
            label: the column of classes.
            image_weight: the weight A of all queries; by default the store's, or 1 where no image has a prefix.
            mode: another fusion mode than the store's.
            centred: whether blocks are centred; by default as the store does.
            query: whether queries come with or without their prefix.
            k: how many neighbours vote.
            weights: what their votes weigh.
            temperature: of softmax votes; None fits it, and the prior, for each image to those of other clusters.
            where: an SQL condition on all images that take part.
            split: a column that says which images are predicted (`test`), and by which (`train`).
            folds: into how many parts images are divided, each of which is predicted by the others.
            sample: evaluate so many images at most, drawn with a fixed seed; all vote. None evaluates all.

        Raises:
            QueryError: there is no such column, too little is labelled, or an option is wrong.
        """
        return evaluate_rows(
            self._open.searcher,
            label=label,
            image_weight=image_weight,
            mode=mode,
            centred=centred,
            query=query,
            k=k,
            weights=weights,
            temperature=temperature,
            where=where,
            split=split,
            folds=folds,
            sample=sample,
        )

    def ablation(
        self,
        *,
        label: str,
        k: int = DEFAULT_VOTERS,
        weights: Weights = DEFAULT_WEIGHTS,
        temperature: float | None = None,
        where: str | None = None,
        split: str | None = None,
        folds: int | None = None,
        sample: int | None = SAMPLE,
    ) -> dict[str, Evaluation]:
        """Evaluate what the blocks and their fusion are worth: picture only, text only, concat and balanced.

        Each is centred as well, where the store has enough to centre by; text only, and what needs it, is left out
        where no image has a prefix. The options are those of `evaluate`.

        Raises:
            QueryError: there is no such column, too little is labelled, or an option is wrong.
        """
        return ablation_of(
            self._open.searcher,
            label=label,
            k=k,
            weights=weights,
            temperature=temperature,
            where=where,
            split=split,
            folds=folds,
            sample=sample,
        )

    def fit_weight(
        self,
        *,
        label: str,
        mode: Mode | None = None,
        centred: bool | None = None,
        k: int = DEFAULT_VOTERS,
        temperature: float = DEFAULT_TEMPERATURE,
        where: str | None = None,
    ) -> FittedWeight:
        """The image weight of the best leave-one-out accuracy on a label column, how sure it is, and the whole curve.

        Votes have one temperature at all weights, so that it is these that are compared.

        Raises:
            QueryError: no image has a prefix, there is no such column, or too little is labelled.
        """
        return fit_image_weight(
            self._open.searcher,
            label=label,
            mode=mode,
            centred=centred,
            k=k,
            temperature=temperature,
            where=where,
        )

    def sql(self, query: str) -> pa.Table:
        """Answer an SQL query over `images`, `vectors`, `prefixes`, `quarantine`, `labels` and `runs`.

        Where prefixes came from is in `generated` and `corrections`, too.

        Raises:
            QueryError: it is not one valid query over these views.
        """
        return run_sql(self._open.searcher.snapshot, query)

    def prefixes(self, *, where: str | None = None) -> pa.Table:
        """The prefixes: how many images have each, where it came from, and what a language model was asked for it.

        Columns: `prefix_id`, `images`, `corrected` (to how many images a person gave it), `text`, `origin`, `template`,
        `model`, `prompt`, `created_at`; most used ones first.

        Args:
            where: an SQL condition over these columns, and the others of the view `prefixes`.

        Raises:
            QueryError: the condition is none.
        """
        return list_prefixes(self._open.searcher.snapshot, where)

    def thumbnail(self, image_id: str) -> bytes | None:
        """A small JPEG of an image.

        Raises:
            ImageNotFound: no image has this id.
        """
        found = self.thumbnails([image_id])
        return found.get(image_id)

    def thumbnails(self, image_ids: Sequence[str]) -> dict[str, bytes]:
        """Small JPEGs by image_id.

        Raises:
            ImageNotFound: no image has one of these ids.
        """
        searcher = self._open.searcher
        snapshot = searcher.snapshot
        rows = [searcher.row_of(image_id) for image_id in image_ids]
        hashes = snapshot.rows.take(rows, ["content_hash"])["content_hash"].to_pylist()
        found = snapshot.thumbnails(hashes)
        return {image_id: found[one] for image_id, one in zip(image_ids, hashes, strict=True) if one in found}

    def status(self) -> Status:
        """The store in figures."""
        return status_of(self._open.searcher.snapshot)

    def encode_images(self, pictures: Sequence[Picture]) -> Floats:
        """Raw features (n, image_dim) of pictures, from the store's own vision model."""
        return self._open.encoders.encode_images(pictures)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Embeddings (n, prefix_dim) of texts, from the store's own text model.

        Raises:
            QueryError: a text is empty, or the store holds nothing that it could be compared with.
        """
        opened = self._open
        return encode_texts(texts, opened.searcher.snapshot, opened.encoders)


def open(path: str | os.PathLike[str], at: int | None = None) -> Store:  # noqa: A001 (as in gzip.open)
    """Open a store at its newest snapshot, or at an older one.

    Raises:
        StoreNotFound: there is no store at `path`, or no snapshot `at`.
        StoreCorrupt: the manifest is damaged.
    """
    return Store(path, at)


def run(
    job: Job | str | os.PathLike[str],
    *,
    dry_run: bool = False,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
    metrics: str | os.PathLike[str] | None = None,
) -> RunReport:
    """Bring a store up to date with its job (a job file, or a Job), and publish one snapshot if anything changed.

    With `retry_quarantined` files in quarantine are opened again though they did not change. With `wait` another writer
    of the store is waited for, instead of being an error.
    `metrics` names a file for Prometheus, written however the run ends. What happens is told to the logger `fpve`.

    Raises:
        FpveError: the job, a source, an encoder or the store is wrong, or a guard refused to publish.
        OSError: the disk is full, say, or there is no folder for the metrics.
    """
    target = None if metrics is None or dry_run else Path(metrics)
    job = job if isinstance(job, Job) else load_journaled(Path(job), metrics=target)
    return run_job(
        job,
        dry_run=dry_run,
        allow_removals=allow_removals,
        retry_quarantined=retry_quarantined,
        wait=wait,
        progress=progress,
        metrics=target,
    )
