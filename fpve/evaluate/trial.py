"""What one evaluation is made of: the labelled images, those that are predicted, and what ties them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pyarrow.compute as pc

from fpve.classify import Labels, Voting, read_labels
from fpve.errors import QueryError
from fpve.evaluate.bootstrap import SEED
from fpve.evaluate.labelled import Labelled
from fpve.evaluate.pairs import Comparison, Pairs
from fpve.evaluate.sides import Sides, clusters_of, folds_of, split_by
from fpve.evaluate.verdicts import Judged, Subject, judge
from fpve.fusion import Blocks, Centre
from fpve.groups import groups_of
from fpve.neighbours import Panel, Rows
from fpve.search import Searcher

# So many rows tell an accuracy to about a point; of 100,000 all would take hours.
SAMPLE = 5000

Protocol = Literal["leave-one-out", "split", "folds"]


class Judgement(NamedTuple):
    """What became of the queries under one comparison.

    Attributes:
        grouped: by images of other groups.
        naive: by all but the image itself; None where nobody asked.
        voters: who voted in `grouped`.
    """

    grouped: Judged
    naive: Judged | None
    voters: Panel


class Trial:
    """Labelled images of a snapshot, some or all of which are predicted by others.

    Attributes:
        images: all that may vote.
        label: the column of classes.
        codes: (n,) class numbers.
        rows: (n,) their image rows.
        queries: (q,) which of them are predicted.
        truth: (q,) their class numbers.
        prefixed: (q,) which of them have a prefix.
        has_prefixes: whether any that may vote has one.
        clusters: (q,) what is resampled together.
        protocol: who is predicted by whom.
        sides: on which sides the n images are; None: each is predicted by all others.
        voters: how many images vote.
        warnings: what a reader of the figures should know.
    """

    def __init__(
        self,
        searcher: Searcher,
        *,
        label: str,
        where: str | None = None,
        sample: int | None = None,
        prefixed: bool = False,
        split: str | None = None,
        folds: int | None = None,
    ) -> None:
        """Read labels and groups.

        Args:
            searcher: over the images.
            label: the column of classes.
            where: an SQL condition on all images that take part.
            sample: predict so many, drawn at random with a fixed seed, if there are more; all may vote.
            prefixed: predict images with a prefix only.
            split: a column that says of each image whether it is predicted, or predicts.
            folds: into how many parts images are divided, each of which is predicted by the others.

        Raises:
            QueryError: no such label column, fewer than two labelled rows or classes, both a split and folds, or one
                that leaves nothing to predict, or a sample of none.
        """
        if split is not None and folds is not None:
            raise QueryError("expected a split column or a number of folds, found both")
        if sample is not None and sample < 1:
            raise QueryError(f"sample: expected at least 1 image, found {sample}")
        self._searcher = searcher
        labels = read_labels(searcher, label)
        allowed = labels.labelled if where is None else labels.labelled & searcher.matching(where)
        self.rows = np.flatnonzero(allowed)
        self.protocol: Protocol = "leave-one-out"
        sides, tested = None, np.ones(len(self.rows), bool)
        if split is not None:
            self.protocol = "split"
            side, tested, taught = split_by(searcher, split, self.rows)
            part = tested | taught
            self.rows, tested, side = self.rows[part], tested[part], side[part]
            sides = Sides(side, side)
        groups, warnings = groups_of(searcher, label, labels.codes, self.rows)
        mine = groups.at(self.rows)
        has_prefix = pc.is_valid(searcher.snapshot.rows.column("prefix_id")).to_numpy()[self.rows]
        codes = labels.codes[self.rows]
        self._groups = mine
        images = Labelled(label, labels.names, codes, has_prefix, mine, warnings)
        if folds is not None:
            self.protocol = "folds"
            sides = folds_of(codes, self.ties[0], folds)
            images = replace(images, warnings=(*warnings, *self.ties[1]))
        self.sides: Sides | None = sides
        self.images = images
        self.label, self.codes, self.warnings = label, codes, images.warnings
        self.has_prefixes = bool(has_prefix.any())
        queries = np.flatnonzero(tested & has_prefix if prefixed else tested)
        if sample is not None and len(queries) > sample:
            queries = np.sort(np.random.default_rng(SEED).choice(queries, sample, replace=False))
        self.queries = queries
        # Of a split those that are predicted don't vote.
        self._votes = ~tested if split is not None else np.ones(len(tested), bool)
        self.voters = int(np.count_nonzero(self._votes))
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
        return self._searcher.checked_weight(image_weight)

    def judge(
        self, comparisons: Sequence[Comparison], voting: Voting, *, naive: bool = True, calibrate: bool = True
    ) -> list[Judgement]:
        """Predict the queries under each comparison."""
        pairs = self._centred if any(one.centred for one in comparisons) else self._raw
        found = []
        every = pairs.panels(comparisons, min(voting.k, len(self.codes)), naive=naive)
        for one, panels in zip(comparisons, every, strict=True):
            kinds = self.prefixed.astype(np.int64) if one.image_weight < 1 else np.zeros(len(self.queries), np.int64)
            grouped = self._judged(panels.grouped, kinds, voting, calibrate=calibrate)
            plain = None
            if panels.naive is not None:
                plain = self._judged(panels.naive, kinds, voting, calibrate=calibrate, like=grouped)
            found.append(Judgement(grouped, plain, panels.grouped))
        return found

    def _judged(
        self, panel: Panel, kinds: Rows, voting: Voting, *, calibrate: bool, like: Judged | None = None
    ) -> Judged:
        labels = Labels(self.images.names, self.codes)
        subject = Subject(self.truth, self.clusters, kinds)
        return judge(panel, labels, self._votes, subject, voting, calibrate=calibrate, like=like)

    @cached_property
    def _raw(self) -> Pairs:
        return Pairs(self.blocks, self.queries, self.images.groups, sides=self.sides)

    @cached_property
    def _centred(self) -> Pairs:
        return Pairs(self.blocks, self.queries, self.images.groups, centre=self.centre, sides=self.sides)

    @cached_property
    def ties(self) -> tuple[Rows, tuple[str, ...]]:
        """Numbers (n,) of what must stay on one side, near-duplicates included, and what is to be said of them."""
        return clusters_of(self._groups, self.blocks.image)

    @cached_property
    def blocks(self) -> Blocks:
        """Raw blocks of the n images."""
        return self._searcher.blocks_of(self.rows)

    def image_ids(self, rows: Rows) -> list[str]:
        """Names of images by their numbers (m,) among the n."""
        ids: list[str] = self._searcher.snapshot.rows.take(self.rows[rows], ["image_id"])["image_id"].to_pylist()
        return ids
