"""Classifications: queries encoded, classified by what a store knows of a label, and told by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from fpve.classify import Abstention, KnnClassifier, Voting, schema_of, told
from fpve.errors import QueryError
from fpve.fusion import Blocks
from fpve.opened import Opened
from fpve.queries import Asked, Queries, ask, check_weight

# Queries that are classified at once: probabilities of a thousand classes are 8 MB.
_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a classification, whatever its queries are.

    Attributes:
        label: the metadata column of classes.
        voting: how neighbours vote.
        calibrate: whether temperature and prior are fitted to held-out images.
        image_weight: the weight A in [0, 1] of the image block; None takes what fits each query.
        where: an SQL condition on the images that vote.
        abstention: when no class is predicted.
    """

    label: str
    voting: Voting = Voting()  # noqa: RUF009 (frozen)
    calibrate: bool = True
    image_weight: float | None = None
    where: str | None = None
    abstention: Abstention = Abstention()  # noqa: RUF009 (frozen)


class Classification:
    """A classification that any queries can be put to.

    Raises:
        QueryError: there is no such label column, no image has a value in it, or an option is wrong.
    """

    def __init__(self, opened: Opened, wanted: Wanted) -> None:
        self._opened = opened
        self.wanted = wanted
        # Of no queries: a weight that is none is refused before a model is loaded.
        opened.searcher.weights(Blocks(*np.zeros((2, 0, 0), np.float32)), wanted.image_weight)
        self.classifier = opened.remembered(
            replace(wanted, abstention=Abstention()),
            lambda: KnnClassifier(
                opened.searcher,
                label=wanted.label,
                voting=wanted.voting,
                calibrate=wanted.calibrate,
                image_weight=wanted.image_weight,
                where=wanted.where,
            ),
        )
        self.schema = schema_of(is_multiple=self.classifier.labels.is_multiple)

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

    def _answer(self, asked: Asked, start: int) -> pa.Table:
        part = slice(start, start + _AT_ONCE)
        blocks = Blocks(asked.blocks.image[part], asked.blocks.prefix[part])
        exclude = None if asked.exclude is None else asked.exclude[part]
        found = self.classifier.classify(blocks, exclude=exclude)
        return told(found, self.classifier.labels, self._opened.searcher.snapshot.rows, self.wanted.abstention)
