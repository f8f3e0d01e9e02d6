"""The part of a store's API that classifies, and says what that is worth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fpve.api.batches import batch_of
from fpve.batch import Batch
from fpve.classify import DEFAULT_K as DEFAULT_VOTERS
from fpve.classify import DEFAULT_TEMPERATURE, DEFAULT_WEIGHTS, Abstention, Weights
from fpve.config import HeadName
from fpve.engines.cluster.cluster import Cluster
from fpve.engines.named import EngineName
from fpve.errors import QueryError
from fpve.evaluate import SAMPLE, Query, evaluate_head, voting_of
from fpve.evaluate import ablation as ablation_of
from fpve.evaluate import evaluate as evaluate_rows
from fpve.evaluate import fit_weight as fit_image_weight
from fpve.fusion import Floats, Mode
from fpve.heads.settings import ClassWeight, HeadSettings
from fpve.mapper import Mapper
from fpve.opened import Opened
from fpve.planning.captions import Captions, captions
from fpve.prediction import Classification, Wanted
from fpve.progress import Progress
from fpve.queries import Picture
from fpve.records import Evaluation, FittedWeight, Predictions


class Classifying:
    """A store that classifies."""

    _open: Opened

    def classify(
        self,
        images: Sequence[Picture] | None = None,
        *,
        label: str,
        head: HeadName = "knn",
        text: str | Sequence[str | None] | None = None,
        metadata: str | os.PathLike[str] | None = None,
        collection: str | None = None,
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
        """Predict a label for each picture by the votes of its k nearest labelled images, or by a trained head.

        Probabilities are calibrated: the temperature of the votes, and how much the classes' own shares count beside
        them, are fitted to images of the store that are classified by the others.

        Args:
            images: files, their bytes, or Pillow images.
            label: the metadata column of classes; it can hold lists.
            head: `knn`; or `logistic` or `mlp`, a head that `fpve.train` has trained for this label, of which only the
                abstention by confidence is an option.
            text: what the pictures would be captioned, one for all or one each: queries are then fused as rows are.
            metadata: instead of texts, a table with a column of the files' paths (absolute, or relative to its own
                folder) and those that a collection's prefix is filled in with: queries get the prefixes that they would
                have in that collection.
            collection: which one, if several have prefixes.
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
        opened = self._open
        images = None if images is None else list(images)
        texts = list(text) if text is not None and not isinstance(text, str) else None
        if isinstance(text, str):
            # One for all pictures, or a query by itself.
            texts = [text] * len(images) if images is not None else [text]
        if metadata is None and collection is not None:
            raise QueryError("collection: says whose prefix metadata fills in; expected metadata beside it")
        notes: tuple[str, ...] = ()
        if metadata is not None:
            texts, notes = _captions(opened, images, texts, Path(metadata), collection)
        wanted = _wanted(
            label, head, k, weights, temperature, image_weight, where, Abstention(abstain_below, abstain_novel)
        )
        return Predictions(Classification(opened, wanted).answer_mixed(images, texts, ids, vectors), notes)

    def classify_many(
        self,
        source: str | os.PathLike[str],
        *,
        label: str,
        head: HeadName = "knn",
        image_weight: float | None = None,
        k: int = DEFAULT_VOTERS,
        weights: Weights = DEFAULT_WEIGHTS,
        temperature: float | None = None,
        where: str | None = None,
        abstain_below: float | None = None,
        abstain_novel: float | None = None,
        progress: Progress | None = None,
        engine: EngineName | Mapper = "local",
        cluster: Cluster | None = None,
    ) -> Batch:
        """Predict a label for each query of a source: pictures, or a table with columns such as `image_id` or `text`.

        `write("predictions.parquet")` answers all of them, `collect()` returns the predictions, and going through the
        batch gives them part by part, of as many queries as memory has room for. The options are those of `classify`;
        `fpve.sources.queries` says how a table is read. With the engine `ray` neighbours are looked for by workers of a
        Ray cluster, with the same results; or give a `RayMapper` that stays open for several batches.

        Raises:
            QueryError: an option is wrong, or the source has nothing to classify.
            SourceError, MetadataError: the source is not there, empty or broken.
            ClusterError: there is no such engine or cluster.
        """
        wanted = _wanted(
            label, head, k, weights, temperature, image_weight, where, Abstention(abstain_below, abstain_novel)
        )
        return batch_of(
            self._open,
            source,
            lambda opened: Classification(opened, wanted),
            progress=progress,
            engine=engine,
            cluster=cluster,
        )

    def evaluate(
        self,
        *,
        label: str,
        head: HeadName = "knn",
        image_weight: float | None = None,
        mode: Mode | None = None,
        centred: bool | None = None,
        query: Query = "with",
        k: int = DEFAULT_VOTERS,
        weights: Weights = DEFAULT_WEIGHTS,
        temperature: float | None = None,
        class_weight: ClassWeight | None = None,
        seed: int = 0,
        where: str | None = None,
        split: str | None = None,
        folds: int | None = None,
        sample: int | None = SAMPLE,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Accuracy of a classifier on a label column, and how far its confidence can be trusted.

        Each image is predicted by all others, or as `split` or `folds` say; duplicates, near-duplicates and images with
        the same prefix take no part in predicting one another. With `query="without"` each is predicted as if it came
        without its prefix. Heads are learnt anew, in five folds if nothing else is said; none is saved.

        Args:
            label: the column of classes.
            head: `knn`, `logistic` or `mlp`.
            image_weight: the weight A of all queries; by default the store's, or 1 where no image has a prefix.
            mode: another fusion mode than the store's.
            centred: whether blocks are centred; by default as the store does.
            query: whether queries come with or without their prefix.
            k: how many neighbours vote.
            weights: what their votes weigh.
            temperature: of softmax votes; None fits it, and the prior, for each image to those of other clusters.
            class_weight: of heads: `balanced` has every class count the same.
            seed: of heads.
            where: an SQL condition on all images that take part.
            split: a column that says which images are predicted (`test`), and by which (`train`).
            folds: into how many parts images are divided, each of which is predicted by the others.
            sample: evaluate so many images at most, drawn with a fixed seed; all vote. None evaluates all.
            progress: is told of each head that is learnt.

        Raises:
            QueryError: there is no such column, too little is labelled, or an option is wrong.
        """
        if head == "knn" and (class_weight is not None or seed != 0):
            raise QueryError("class_weight, seed: options of heads, found them with k-NN")
        if head != "knn":
            if (k, weights, temperature) != (DEFAULT_VOTERS, DEFAULT_WEIGHTS, None):
                raise QueryError(f"k, weights, temperature: options of k-NN, found them with the head {head!r}")
            return evaluate_head(
                self._open.searcher,
                label=label,
                settings=HeadSettings(kind=head, class_weight=class_weight, seed=seed),
                image_weight=image_weight,
                mode=mode,
                centred=centred,
                query=query,
                where=where,
                split=split,
                folds=folds,
                sample=sample,
                progress=progress,
            )
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


def _wanted(
    label: str,
    head: HeadName,
    k: int,
    weights: Weights,
    temperature: float | None,
    image_weight: float | None,
    where: str | None,
    abstention: Abstention,
) -> Wanted:
    voting, calibrate = voting_of(k, weights, temperature)
    return Wanted(label, head, voting, calibrate, image_weight, where, abstention)


def _captions(
    opened: Opened,
    images: Sequence[Picture] | None,
    texts: list[str | None] | None,
    metadata: Path,
    collection: str | None,
) -> Captions:
    """The texts of files by their metadata.

    Raises:
        QueryError: texts are given as well, or pictures that are no files.
    """
    if texts is not None:
        raise QueryError("expected a text or metadata to make it of, found both")
    if images is None or not all(isinstance(one, str | os.PathLike) for one in images):
        raise QueryError("metadata is matched with the paths of pictures; expected files")
    files = [Path(one) for one in images if isinstance(one, str | os.PathLike)]
    return captions(opened.searcher.snapshot.manifest, files, metadata, collection=collection)
