"""Classifications: queries encoded, classified by what a store knows of a label, and told by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from fpve.classify import Abstention, KnnClassifier, Voting, schema_of, told, told_of_head
from fpve.config import HEADS, HeadName
from fpve.errors import QueryError, nearest
from fpve.fusion import Blocks, Floats
from fpve.heads.head import Head
from fpve.heads.stored import load_head
from fpve.opened import Opened
from fpve.queries import Asked, Picture, Queries, ask, check_weight
from fpve.records import Response

# Queries that are classified at once: probabilities of a thousand classes are 8 MB.
_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a classification, whatever its queries are.

    Attributes:
        label: the metadata column of classes.
        head: what classifies: the votes of neighbours, or a head that was trained.
        voting: how neighbours vote.
        calibrate: whether temperature and prior are fitted to held-out images.
        image_weight: the weight A in [0, 1] of the image block; None takes what fits each query.
        where: an SQL condition on the images that vote.
        abstention: when no class is predicted.
    """

    label: str
    head: HeadName = "knn"
    voting: Voting = Voting()  # noqa: RUF009 (frozen)
    calibrate: bool = True
    image_weight: float | None = None
    where: str | None = None
    abstention: Abstention = Abstention()  # noqa: RUF009 (frozen)


class Classification:
    """A classification that any queries can be put to: by the votes of neighbours, or by a head.

    Attributes:
        wanted: what is wanted.
        name: what it does, for whoever shows its progress.
        image_weight: the weight that all queries get, if any.
        rows_each: how many rows a query is answered with.
        schema: the columns of answers.

    Raises:
        QueryError: there is no such label column, no image has a value in it, or an option is wrong.
    """

    name = "classify"
    rows_each = 1

    def __init__(self, opened: Opened, wanted: Wanted) -> None:
        self._opened = opened
        self.wanted = wanted
        self.image_weight = wanted.image_weight
        # Of no queries: a weight that is none is refused before a model is loaded.
        opened.searcher.weights(Blocks(*np.zeros((2, 0, 0), np.float32)), wanted.image_weight)
        _check(wanted)
        self._classifier = opened.remembered(replace(wanted, abstention=Abstention()), self._opened_classifier)
        by_lists = isinstance(self._classifier, KnnClassifier) and self._classifier.labels.is_multiple
        self.schema = schema_of(is_multiple=by_lists)

    def _opened_classifier(self) -> KnnClassifier | Head:
        wanted, searcher = self.wanted, self._opened.searcher
        if wanted.head != "knn":
            return load_head(searcher.snapshot, wanted.label, wanted.head)
        return KnnClassifier(
            searcher,
            label=wanted.label,
            voting=wanted.voting,
            calibrate=wanted.calibrate,
            image_weight=wanted.image_weight,
            where=wanted.where,
        )

    def respond(self, queries: Queries) -> Response:
        """Classify some of many queries.

        Raises:
            QueryError, ImageNotFound, ImageError: as `answer`.
        """
        table = self.answer(queries)
        return Response(table, np.arange(len(table)), None)

    def answer(self, queries: Queries) -> pa.Table:
        """Encode queries, and classify them: one row each.

        An image of the store has no vote for itself.

        Raises:
            QueryError: they name nothing, or too much; or the weight leaves nothing of them.
            ImageNotFound: no image has one of the ids.
            ImageError: a picture can't be decoded.
        """
        searcher = self._opened.searcher
        check_weight(self.wanted.image_weight, given=set(queries.kinds), snapshot=searcher.snapshot)
        asked = ask(queries, searcher, self._opened.encoders)
        if asked.across:
            raise QueryError("a text alone can't be classified by pictures; give it a picture")
        parts = [self._answer(asked, start) for start in range(0, len(asked.blocks.image), _AT_ONCE)]
        return pa.concat_tables([self.schema.empty_table(), *parts])

    def answer_mixed(
        self,
        images: Sequence[Picture] | None,
        texts: Sequence[str | None] | None,
        ids: Sequence[str] | None = None,
        vectors: Floats | None = None,
    ) -> pa.Table:
        """Classify pictures of which some may have no text, or images of the store, or vectors; in their order.

        Raises:
            QueryError, ImageNotFound, ImageError: as `answer`.
        """
        worded = [number for number, text in enumerate(texts or ()) if text is not None]
        is_mixed = texts is not None and len(worded) < len(texts)
        if not is_mixed or images is None or texts is None or ids is not None or vectors is not None:
            if is_mixed:
                raise QueryError("a text that is None leaves a picture without one: expected pictures alone beside it")
            known = None if texts is None else [text or "" for text in texts]
            return self.answer(Queries(images, known, ids, vectors))
        bare = [number for number, text in enumerate(texts) if text is None]
        parts = [
            self.answer(Queries([images[at] for at in worded], [texts[at] or "" for at in worded])),
            self.answer(Queries([images[at] for at in bare])),
        ]
        order = np.argsort(np.array([*worded, *bare]))
        return pa.concat_tables(parts).take(pa.array(order))

    def _answer(self, asked: Asked, start: int) -> pa.Table:
        part = slice(start, start + _AT_ONCE)
        blocks = Blocks(asked.blocks.image[part], asked.blocks.prefix[part])
        searcher, abstention = self._opened.searcher, self.wanted.abstention
        if isinstance(self._classifier, Head):
            head = self._classifier
            queries = searcher.variant(predicted=False).fusion.query(*blocks, head.image_weight)
            if not queries.any(axis=1).all():
                raise QueryError(
                    f"the {head.kind} head for {head.label!r} has image weight {head.image_weight:g}, which leaves "
                    f"nothing of a query without a {'text' if head.image_weight < 1 else 'picture'}; give it one, or "
                    "train a head with another weight"
                )
            return told_of_head(head.probabilities(queries), head.names, abstention)
        exclude = None if asked.exclude is None else asked.exclude[part]
        found = self._classifier.classify(blocks, exclude=exclude)
        return told(found, self._classifier.labels, searcher.snapshot.rows, abstention)


def _check(wanted: Wanted) -> None:
    """Refuse a classifier that there is not, and options that a head has not.

    Raises:
        QueryError: naming it.
    """
    if wanted.head not in HEADS:
        raise QueryError(f"head: expected {', '.join(HEADS)}, found {wanted.head!r}{nearest(str(wanted.head), HEADS)}")
    if wanted.head == "knn":
        if wanted.abstention.novel is not None and not (wanted.calibrate and wanted.voting.weights == "softmax"):
            raise QueryError(
                "abstain_novel: novelty is known of calibrated votes; leave out the temperature, and weights other "
                "than softmax"
            )
        return
    given = {
        "image_weight": wanted.image_weight is not None,
        "where": wanted.where is not None,
        "k, weights or temperature": wanted.voting != Voting() or not wanted.calibrate,
        "abstain_novel": wanted.abstention.novel is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise QueryError(f"{name}: an option of k-NN; the head {wanted.head!r} is as it was trained: leave it out")
