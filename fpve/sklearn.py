"""k-NN as a scikit-learn estimator: the votes that classify a store's images, over any vectors or over a store.

    KNNClassifier().fit(X, y)                           rows in memory, every one compared with every query
    KNNClassifier.from_store(store, label="species")    the labelled images of a store, searched through its index

Rows are compared by the cosine s of the angle between them: their lengths say nothing, so whoever has vectors whose
lengths matter takes scikit-learn's own `KNeighborsClassifier`. Distances are those of the rows at length 1,
sqrt(2 (1 - s)), which rank as cosines do. A row of zeros has no direction: its cosine with all others is 0. Over a
store the score takes the place of the cosine: A cos_image + (1 - A) cos_prefix.

Neighbours whose scores agree to six decimals are in the order of the rows, and of equally probable classes the first is
predicted. How votes are weighed is told in `fpve.classify.voting`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import normalize
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data

from fpve.classify import (
    DEFAULT_K,
    DEFAULT_TEMPERATURE,
    DEFAULT_WEIGHTS,
    MIN_ROWS,
    KnnClassifier,
    Voting,
    Weights,
    vote,
)
from fpve.classify.calibration import HeldOut, fit, sampled
from fpve.classify.labels import Labels, LabelSets
from fpve.classify.predictions import decided
from fpve.classify.voting import distances
from fpve.evaluate.pairs import nearest_columns
from fpve.fusion import Blocks
from fpve.neighbours import Exact, Panel, Rows
from fpve.replica import located
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot

if TYPE_CHECKING:
    from fpve.api import Store

Vectors = NDArray[np.floating]

# Scores that are held at once: 128 MB in float64.
_SCORES = 16_000_000
# Images of a store that are classified, or searched for, at once.
_AT_ONCE = 1_000


class KNNClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Classifies rows by the votes of the k nearest known ones.

    Args:
        n_neighbors: how many vote; all where there are fewer.
        weights: what a vote weighs: `softmax`, `distance` or `uniform`.
        temperature: of softmax votes, exp(score / temperature), above 0. None fits it, and a prior that votes along, to
            known rows that are classified by the others, so that probabilities mean something; of fewer than 50 rows it
            is 0.07. Over rows in memory copies are not told apart from others, so there should be none.

    Attributes:
        classes_: (classes,) the classes, sorted; of an indicator matrix the numbers of its columns.
        n_features_in_: the length of a row.
        n_samples_fit_: how many rows are known.
        voting_: how neighbours vote, as it was fitted; None over a store, where it differs from query to query.
    """

    def __init__(
        self,
        n_neighbors: int = DEFAULT_K,
        *,
        weights: Weights = DEFAULT_WEIGHTS,
        temperature: float | None = DEFAULT_TEMPERATURE,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.temperature = temperature

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 (as scikit-learn has it)
        """Remember rows and their classes.

        Args:
            X: (n, d) rows.
            y: (n,) their classes, or an indicator matrix (n, labels) of any number of labels each.

        Raises:
            ValueError: shapes don't fit, a value is not finite, or an option is wrong.
        """
        voting = Voting.given(self.n_neighbors, self.weights, self.temperature)
        rows, truth = validate_data(self, X, y, multi_output=True, dtype=(np.float64, np.float32))
        check_classification_targets(truth)
        self.classes_, labels = _labels(truth)
        self._known: _Known = _InMemory.of(rows, labels, voting, calibrate=self.temperature is None)
        self.voting_: Voting | None = self._known.voting
        self.n_samples_fit_ = len(rows)
        return self

    @classmethod
    def from_store(
        cls,
        store: Store | str | os.PathLike[str],
        *,
        label: str,
        n_neighbors: int = DEFAULT_K,
        weights: Weights = DEFAULT_WEIGHTS,
        temperature: float | None = None,
        image_weight: float | None = None,
        where: str | None = None,
    ) -> Self:
        """A fitted classifier over the labelled images of a store.

        It takes fused vectors (m, dim), or image blocks (m, image_dim). It searches the snapshot that is open now,
        through its index. Pickled, it keeps where that is, and opens it again; its clone is not fitted, as any clone.

        Args:
            store: the store, or its path.
            label: the metadata column of classes; if it holds lists, predictions are an indicator matrix.
            n_neighbors: how many vote.
            weights: what their votes weigh.
            temperature: of softmax votes; None calibrates them as `Store.classify` does.
            image_weight: the weight A of the image block; by default the store's own, and 1 of image blocks.
            where: an SQL condition on the images that vote.

        Raises:
            QueryError: there is no such column, no image has a value in it, or an option is wrong.
            StoreNotFound: there is no store.
        """
        fitted = cls(n_neighbors, weights=weights, temperature=temperature)
        voting = Voting.given(n_neighbors, weights, temperature)
        path, at = (located(store), None) if isinstance(store, str | os.PathLike) else (store.path, store.snapshot)
        known = _Stored.opened(path.resolve(), at, _Asked(label, voting, temperature is None, image_weight, where))
        fitted.classes_ = np.array(known.labels.names, object)
        fitted._known, fitted.voting_ = known, None
        fitted.n_features_in_ = known.searcher.fusion.dim
        fitted.n_samples_fit_ = len(known.rows)
        return fitted

    @property
    def image_ids_(self) -> NDArray[np.object_]:
        """(n_samples_fit_,) image_ids of the rows of a store, to which the numbers of `kneighbors` refer.

        Raises:
            AttributeError: its rows are not those of a store.
        """
        check_is_fitted(self)
        if not isinstance(self._known, _Stored):
            raise AttributeError("image_ids_: rows in memory have none; see `from_store`")  # noqa: TRY004 (hasattr)
        return self._known.image_ids()

    def predict(self, X: ArrayLike | None) -> NDArray[Any]:  # noqa: N803
        """The most probable class (m,) of each row; or an indicator matrix (m, labels) of those that are above a half.

        Args:
            X: (m, d) rows; None are the known ones, each classified by the others.
        """
        probabilities = self.predict_proba(X)
        has, _ = decided(probabilities, is_multiple=self._known.labels.is_multiple)
        return has.astype(np.int64) if self._known.labels.is_multiple else self.classes_[has.argmax(axis=1)]

    def predict_proba(self, X: ArrayLike | None) -> Exact:  # noqa: N803
        """Probabilities (m, classes) of the classes, in the order of `classes_`; of labels each has one of its own.

        Args:
            X: (m, d) rows; None are the known ones, each classified by the others.
        """
        check_is_fitted(self)
        return self._known.probabilities(self._rows(X))

    def kneighbors(
        self,
        X: ArrayLike | None = None,  # noqa: N803
        n_neighbors: int | None = None,
        return_distance: bool = True,
    ) -> tuple[Exact, Rows] | Rows:
        """Distances (m, k) of the nearest known rows, and their numbers (m, k), nearest first; k as far as there are.

        Args:
            X: (m, d) rows; None are the known ones, without themselves.
            n_neighbors: how many, by default as many as vote.
            return_distance: whether distances are wanted.
        """
        check_is_fitted(self)
        voting = Voting.given(self.n_neighbors if n_neighbors is None else n_neighbors, self.weights, self.temperature)
        found = self._known.nearest(self._rows(X), voting.k)
        return (distances(found.score), found.row) if return_distance else found.row

    def _rows(self, rows: ArrayLike | None) -> Vectors | None:
        if rows is None:
            return None
        if isinstance(self._known, _Stored):
            # Two lengths are right.
            checked: Vectors = check_array(rows, dtype=np.float32)
        else:
            checked = validate_data(self, rows, reset=False, dtype=(np.float64, np.float32))
        return checked

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn should know."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class _Known(Protocol):
    """Rows whose classes are known."""

    @property
    def labels(self) -> LabelSets:
        """Their classes."""

    def nearest(self, queries: Vectors | None, k: int) -> Panel:
        """The k nearest of them, as far as there are, of queries (m, d); None are they themselves, each without it."""

    def probabilities(self, queries: Vectors | None) -> Exact:
        """Class probabilities (m, classes) of queries."""


class _InMemory(NamedTuple):
    """Known rows in memory.

    Attributes:
        rows: (n, d), of length 1 or 0.
        labels: their classes.
        voting: how they vote.
        prior: (classes,) shares of the classes.
    """

    rows: Vectors
    labels: LabelSets
    voting: Voting
    prior: Exact

    @classmethod
    def of(cls, rows: Vectors, labels: LabelSets, voting: Voting, *, calibrate: bool) -> _InMemory:
        """Rows (n, d) of any length; calibrated, where votes have a temperature and there are enough of them."""
        known = cls(normalize(rows), labels, voting, labels.prior(labels.labelled))
        if not calibrate or voting.weights != "softmax" or len(rows) < MIN_ROWS:
            return known
        held = sampled(np.arange(len(rows)), labels, voting.k)
        panel = known._best(known.rows[held], voting.k, own=held)
        return known._replace(voting=fit(HeldOut.of_sets(panel, labels, held, known.prior)).applied(voting))

    def nearest(self, queries: Vectors | None, k: int) -> Panel:
        """The k nearest rows, every one scored."""
        if queries is None:
            return self._best(self.rows, k, own=np.arange(len(self.rows)))
        return self._best(normalize(queries), k, own=None)

    def probabilities(self, queries: Vectors | None) -> Exact:
        """Class probabilities by the votes of the nearest rows."""
        found = self.nearest(queries, self.voting.k)
        return vote(found.flat(), self.labels, len(found.row), self.voting, self.prior)

    def _best(self, queries: Vectors, k: int, *, own: Rows | None) -> Panel:
        """The k nearest rows of queries (m, d) of length 1, without each one's own (m,)."""
        k = min(k, len(self.rows) - (own is not None))
        step = max(1, _SCORES // len(self.rows))
        row, score = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            scores = queries[part] @ self.rows.T
            if own is not None:
                scores[np.arange(len(scores)), own[part]] = -np.inf
            row[part] = nearest_columns(scores, k)
            score[part] = np.take_along_axis(scores, row[part], axis=1)
        return Panel(row, score)


class _Asked(NamedTuple):
    """What a store is asked for: see `KNNClassifier.from_store`."""

    label: str
    voting: Voting
    calibrate: bool
    image_weight: float | None
    where: str | None


class _Stored:
    """Known images of a store.

    Attributes:
        searcher: finds them.
        labels: their classes.
        rows: (n,) their numbers among all images, ascending.
    """

    def __init__(self, searcher: Searcher, asked: _Asked) -> None:
        self.searcher = searcher.variant(predicted=False)
        self._asked = asked
        self._classifier = KnnClassifier(searcher, **asked._asdict())
        self.labels = self._classifier.labels
        allowed = self._classifier.allowed
        self.rows: Rows = np.flatnonzero(allowed)
        self._reach = None if allowed.all() else allowed

    @classmethod
    def opened(cls, path: Path, at: int | None, asked: _Asked) -> _Stored:
        """Those of a snapshot of the store at a path, or of the newest."""
        return cls(Searcher(Snapshot.open(path, at)), asked)

    def __reduce__(self) -> tuple[Any, ...]:
        snapshot = self.searcher.snapshot
        return _Stored.opened, (snapshot.root, snapshot.manifest.snapshot, self._asked)

    def image_ids(self) -> NDArray[np.object_]:
        """Their image_ids (n,)."""
        ids = self.searcher.snapshot.rows.take(self.rows, ["image_id"])["image_id"]
        found: NDArray[np.object_] = ids.to_numpy()
        return found

    def nearest(self, queries: Vectors | None, k: int) -> Panel:
        """The k nearest images, as the index finds them."""
        k = min(k, len(self.rows) - (queries is None))
        parts = []
        for blocks, own in self._blocks(queries):
            weights = self.searcher.weights(blocks, self._asked.image_weight)
            found = self.searcher.nearest(blocks, image_weight=weights, k=k, allowed=self._reach, exclude=own)
            parts.append(found.panel(len(weights), k))
        row, score = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Panel(np.searchsorted(self.rows, row), score)

    def probabilities(self, queries: Vectors | None) -> Exact:
        """Class probabilities by the votes of the nearest images."""
        parts = [self._classifier.classify(blocks, exclude=own).probabilities for blocks, own in self._blocks(queries)]
        return np.concatenate(parts)

    def _blocks(self, queries: Vectors | None) -> Iterator[tuple[Blocks, Rows | None]]:
        """The blocks of some queries after the others, and which image each may not find."""
        count = len(self.rows) if queries is None else len(queries)
        for start in range(0, count, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            if queries is None:
                yield self.searcher.blocks_of(self.rows[part]), self.rows[part]
            else:
                yield self.searcher.split(queries[part]), None


def _labels(truth: NDArray[Any]) -> tuple[NDArray[Any], LabelSets]:
    """The classes, and those of rows (n,) or of an indicator matrix (n, labels).

    Raises:
        ValueError: they are of several columns of classes.
    """
    kind = type_of_target(truth)
    if kind.endswith("-multioutput"):
        raise ValueError(f"y: expected one class a row, or an indicator matrix of labels, found {kind}")
    if kind != "multilabel-indicator":
        classes, codes = np.unique(column_or_1d(truth, warn=True), return_inverse=True)
        return classes, LabelSets.of(Labels(_names(len(classes)), codes.astype(np.int64)))
    # It can be a sparse one.
    place, code = np.nonzero(truth.toarray() if hasattr(truth, "toarray") else truth)
    count, labels = truth.shape
    starts = np.searchsorted(place, np.arange(count + 1))
    return np.arange(labels), LabelSets(_names(labels), starts, code, np.ones(count, bool), is_multiple=True)


def _names(classes: int) -> tuple[str, ...]:
    """Nobody reads them: classes of rows in memory can be of any type."""
    return tuple(map(str, range(classes)))
