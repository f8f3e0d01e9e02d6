"""What one evaluation is made of: the labelled images, those that are predicted, and what ties them together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow.compute as pc

from fpve.classify import check_votes, read_labels
from fpve.errors import QueryError
from fpve.evaluate.bootstrap import SEED
from fpve.evaluate.labelled import Labelled
from fpve.evaluate.pairs import Ballot, Comparison, Pairs
from fpve.fusion import Blocks, Centre
from fpve.groups import groups_of
from fpve.search import Searcher

# So many rows tell an accuracy to about a point; of 100,000 all would take hours.
SAMPLE = 5000


class Trial:
    """Labelled images of a snapshot, of which each that is predicted is left out of its own vote.

    Attributes:
        images: all that may vote.
        label: the column of classes.
        codes: (n,) class numbers of the images.
        queries: (q,) which of them are predicted.
        truth: (q,) their class numbers.
        prefixed: (q,) which of them have a prefix.
        has_prefixes: whether any that may vote has one.
        clusters: (q,) what is resampled together.
        warnings: what a reader of the figures should know.
    """

    def __init__(
        self,
        searcher: Searcher,
        *,
        label: str,
        k: int,
        temperature: float,
        where: str | None,
        sample: int | None = None,
        prefixed: bool = False,
    ) -> None:
        """Read labels and groups.

        Args:
            searcher: over the images.
            label: the column of classes.
            k: how many neighbours vote.
            temperature: tau of their weights exp(score / tau).
            where: an SQL condition on all images that take part.
            sample: predict so many, drawn at random with a fixed seed, if there are more; all may vote.
            prefixed: predict images with a prefix only.

        Raises:
            QueryError: no such label column, fewer than two labelled rows or classes, or a wrong k or temperature.
        """
        check_votes(k, temperature)
        self._searcher, self._k, self._temperature = searcher, k, temperature
        labels = read_labels(searcher, label)
        allowed = labels.labelled if where is None else labels.labelled & searcher.matching(where)
        self._rows = np.flatnonzero(allowed)
        groups, warnings = groups_of(searcher, label, labels.codes, self._rows)
        has_prefix = pc.is_valid(searcher.snapshot.rows.column("prefix_id")).to_numpy()[self._rows]
        codes = labels.codes[self._rows]
        self.images = Labelled(label, labels.names, codes, has_prefix, groups.at(self._rows), warnings)
        self.label, self.codes, self.warnings = label, codes, warnings
        self.has_prefixes = bool(has_prefix.any())
        queries = np.flatnonzero(has_prefix) if prefixed else np.arange(len(self._rows))
        if sample is not None and len(queries) > sample:
            queries = np.sort(np.random.default_rng(SEED).choice(queries, sample, replace=False))
        self.queries = queries
        self.prefixed = has_prefix[queries]
        self.truth = codes[queries]
        self.clusters = self.images.groups.at(queries).clusters()

    @cached_property
    def centre(self) -> Centre | None:
        """The means of centred comparisons; None where the store has too little to centre by."""
        return self._searcher.variant(mode="balanced", centred=True, predicted=False).fusion.centre

    def weight(self, image_weight: float | None) -> float:
        """One weight for all queries: the given one, else the store's; 1 where no image has a prefix.

        Raises:
            QueryError: it is not in [0, 1], or leaves nothing to compare.
        """
        if image_weight is None:
            return self._searcher.snapshot.manifest.fusion.image_weight if self.has_prefixes else 1.0
        if image_weight == 0 and not self.has_prefixes:
            raise QueryError("image weight 0 compares texts alone, but none of these images has a prefix")
        one = np.ones((1, 1), np.float32)
        return float(self._searcher.weights(Blocks(one, one), image_weight)[0])

    def predict(self, comparisons: Sequence[Comparison], *, naive: bool = True) -> Ballot:
        """Predict the queries under several comparisons."""
        pairs = self._centred if any(one.centred for one in comparisons) else self._raw
        return pairs.predict(comparisons, self.codes, k=self._k, temperature=self._temperature, naive=naive)

    @cached_property
    def _raw(self) -> Pairs:
        return Pairs(self._searcher.blocks_of(self._rows), self.queries, self.images.groups)

    @cached_property
    def _centred(self) -> Pairs:
        blocks = self._searcher.blocks_of(self._rows)
        return Pairs(blocks, self.queries, self.images.groups, centre=self.centre)
