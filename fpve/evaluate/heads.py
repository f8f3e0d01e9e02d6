"""Honest evaluation of heads: each side of the images is predicted by a head that has learnt from the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fpve.errors import QueryError
from fpve.evaluate.evaluation import Found, Setting, evaluations
from fpve.evaluate.knn import Outcome, Query, check_variant, setting_of
from fpve.evaluate.labelled import Labelled
from fpve.evaluate.mistakes import mistakes_of
from fpve.evaluate.sides import Sides
from fpve.evaluate.trial import SAMPLE, Trial
from fpve.evaluate.verdicts import Verdict
from fpve.fusion import Blocks, Fusion, Mode
from fpve.heads.classifier import Classifier
from fpve.heads.settings import HeadSettings
from fpve.heads.training import train_head
from fpve.neighbours import Rows
from fpve.progress import Progress, SilentProgress
from fpve.records import Evaluation
from fpve.search import Searcher

# As many as scikit-learn's cross-validation takes: each head learns from four fifths of the images.
DEFAULT_FOLDS = 5


def evaluate_head(
    searcher: Searcher,
    *,
    label: str,
    settings: HeadSettings,
    image_weight: float | None = None,
    mode: Mode | None = None,
    centred: bool | None = None,
    query: Query = "with",
    where: str | None = None,
    split: str | None = None,
    folds: int | None = None,
    sample: int | None = SAMPLE,
    progress: Progress | None = None,
) -> Evaluation:
    """Accuracy of a head on a label column, grouped and naive, and how far its confidence can be trusted.

    Heads are learnt anew for that, from images that share nothing with those they predict; for the naive figures from
    others. None is saved, and none that is saved takes part.

    Args:
        searcher: over the images.
        label: the column of classes.
        settings: how heads learn.
        image_weight: the weight A of their queries; by default the store's, or 1 where no image has a prefix.
        mode: another fusion mode than the store's.
        centred: whether blocks are centred; by default as the store does.
        query: `without` leaves the query's prefix out; heads have learnt with and without.
        where: an SQL condition on all images that take part.
        split: a column that says which images are predicted (`test`), and which are learnt from (`train`).
        folds: into how many parts images are divided, each of which is predicted by the others; 5 if there is no split.
        sample: predict so many images at most, drawn with a fixed seed. None predicts all.
        progress: is told of each head.

    Raises:
        QueryError: no such column, fewer than two labelled rows or classes, too few to learn from, or a wrong option.
    """
    check_variant(query, mode)
    searcher = searcher.variant(mode=mode, centred=centred, predicted=False)
    parts = DEFAULT_FOLDS if folds is None and split is None else folds
    trial = Trial(searcher, label=label, where=where, split=split, folds=parts, sample=sample)
    if trial.sides is None:
        raise ValueError("expected a protocol with sides")
    weight = trial.weight(image_weight)
    if query == "without" and weight == 0:
        raise QueryError("image weight 0 learns from texts alone, and a query without its prefix has none")
    lesson = Lesson(trial.blocks, trial.codes, trial.ties[0], len(trial.images.names), searcher.fusion, weight)
    count = len(np.unique(trial.sides.grouped[trial.queries])) + len(np.unique(trial.sides.naive[trial.queries]))
    with (progress or SilentProgress()).stage("evaluate", count) as stage:
        grouped = lesson.verdicts(trial.sides.grouped, trial.queries, settings, apart=True, advance=stage.advance)
        naive = lesson.verdicts(trial.sides.naive, trial.queries, settings, apart=False, advance=stage.advance)
    found = found_of(grouped, naive, settings, lesson, without=query == "without")
    told = evaluations(setting_of(trial), {"": found})[""]
    return mistakes_of(told, trial, found.verdict, None)


class Verdicts(NamedTuple):
    """What heads say of q images: of queries as they are, and without their prefix; calibrated, and before that."""

    whole: Verdict
    whole_bare: Verdict
    without: Verdict
    without_bare: Verdict


@dataclass(frozen=True, slots=True)
class Lesson:
    """What heads learn from, and are examined on.

    Attributes:
        blocks: raw ones of the n images.
        codes: (n,) class numbers.
        ties: (n,) numbers of what belongs together.
        classes: how many there are.
        fusion: how queries are made of blocks.
        image_weight: the weight A of these.
        asked: raw blocks of the images when they are predicted, where these are others than those that are learnt from.
    """

    blocks: Blocks
    codes: Rows
    ties: Rows
    classes: int
    fusion: Fusion
    image_weight: float
    asked: Blocks | None = None

    def verdicts(
        self,
        sides: Rows,
        queries: Rows,
        settings: HeadSettings,
        *,
        apart: bool,
        advance: Callable[[], object] = lambda: None,
    ) -> Verdicts:
        """What heads say of images (q,) that have learnt from those on other sides.

        Args:
            sides: (n,) on which each image is.
            queries: (q,) the images.
            settings: how heads learn.
            apart: whether what is tied to an image that is predicted is not learnt from.
            advance: is called after each head.

        Raises:
            QueryError: too little is left to learn from.
        """
        vectors = self.fusion.query(*self.blocks, self.image_weight)
        image, prefix = self.blocks if self.asked is None else self.asked
        whole = self.fusion.query(image, prefix, self.image_weight)
        bare = self.fusion.query(image, np.zeros_like(prefix), self.image_weight)
        found = np.zeros((4, len(queries), self.classes))
        for number in np.unique(sides[queries]):
            mine = np.flatnonzero(sides[queries] == number)
            learnt = sides != number
            if apart:
                learnt &= ~np.isin(self.ties, self.ties[queries[mine]])
            rows = np.flatnonzero(learnt)
            trained = train_head(
                vectors[rows], self.codes[rows], self.ties[rows], fusion=self.fusion, settings=settings
            )
            plain = _uncalibrated(trained.classifier)
            asked = queries[mine]
            for at, (classifier, of) in enumerate(
                ((trained.classifier, whole), (plain, whole), (trained.classifier, bare), (plain, bare))
            ):
                found[at][np.ix_(mine, trained.classes)] = classifier.probabilities(of[asked])
            advance()
        truth = self.codes[queries]
        return Verdicts(*(Verdict.of(one, truth) for one in found))


def evaluate_lesson(images: Labelled, lesson: Lesson, sides: Sides, settings: HeadSettings) -> Outcome:
    """Evaluate heads on blocks that are in memory, in folds; there are no naive figures of their own.

    Raises:
        QueryError: too little is left to learn from.
    """
    queries = np.arange(len(images.codes))
    verdicts = lesson.verdicts(sides.grouped, queries, settings, apart=True)
    found = found_of(verdicts, verdicts, settings, lesson, without=False)
    told = evaluations(Setting(images, queries, "folds", len(queries)), {"": found})[""]
    return Outcome(told, found.verdict.predicted)


def found_of(grouped: Verdicts, naive: Verdicts, settings: HeadSettings, lesson: Lesson, *, without: bool) -> Found:
    """The verdicts of one kind of head, of queries with their prefix or without, as figures are made of them."""
    has_both = bool(lesson.blocks.prefix.any()) and lesson.image_weight < 1
    return Found(
        head=settings.kind,
        verdict=grouped.without if without else grouped.whole,
        bare=grouped.without_bare if without else grouped.whole_bare,
        naive=naive.without if without else naive.whole,
        without=grouped.without if has_both else grouped.whole,
        naive_without=naive.without if has_both else naive.whole,
        image_weight=lesson.image_weight,
        mode=lesson.fusion.mode,
        centred=lesson.fusion.centre is not None,
    )


def _uncalibrated(classifier: Classifier) -> Classifier:
    """The same without temperatures."""
    full, bare = (None if one is None else replace(one, temperature=1.0) for one in (classifier.full, classifier.bare))
    return replace(classifier, full=full, bare=bare)
