"""What queries answer with: hits, predictions and evaluations. Arrow tables underneath."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


class Record(Mapping[str, Any]):
    """One row of a result: columns as attributes (`hit.score`) or as keys (`hit["unit price"]`)."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no column {name!r}; there is {', '.join(self._values)}") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Record({self._values!r})"


class Records(Sequence[Record]):
    """Rows of a result, over an Arrow table."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas DataFrame; needs pandas."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Record | Self:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._of(self.to_arrow().take(pa.array(range(start, stop, step), pa.int64())))
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return Record(self.to_arrow().slice(index % len(self), 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Record]:
        return map(Record, self.to_arrow().to_pylist())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows: {', '.join(self._table.column_names)})"

    def _of(self, table: pa.Table) -> Self:
        """The same result with other rows."""
        return type(self)(table)


Way = Literal["exact", "codes", "graph", "prefixes"]


@dataclass(frozen=True, slots=True)
class Step:
    """What a search did in some of the segments.

    Attributes:
        way: `exact`: every vector was scored; `codes`: all compressed ones were, and the best of them again exactly;
            `graph`: an ANN index found what was scored; `prefixes`: every prefix was scored, not every vector.
        segments: in how many segments.
        vectors: how many vectors these hold that the condition allows.
        note: what else is to be said of it, such as the width of a search, and why this way was taken.
    """

    way: Way
    segments: int
    vectors: int
    note: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a search did to find its hits.

    Attributes:
        queries: how many queries were answered at once.
        images: how many images they were allowed to find.
        weights: the smallest and the largest weight A of the image block among the queries.
        ranked: how many of its best images were fetched for a query, at most, to choose its hits from.
        steps: what was done where.
        target_recall: what share of the true hits an ANN index was built to find; None where all hits are exact.
    """

    queries: int
    images: int
    weights: tuple[float, float]
    ranked: int
    steps: tuple[Step, ...]
    target_recall: float | None


class Response(NamedTuple):
    """What some of many queries are answered with.

    Attributes:
        table: t rows, those of a query together and in their order.
        query: (t,) number of the query that each is of, ascending.
        explanation: what a search did; None of other answers.
    """

    table: pa.Table
    query: NDArray[np.int64]
    explanation: Explanation | None


class Hits(Records):
    """Images found, best first: image_id, collection, path, score, image_score, prefix_score, prefix, and the metadata.

    `image_score` and `prefix_score` are cosines of the blocks, null where the query or the row lacks the block. Where
    one space holds pictures and texts there is `cross_score`, the cosine of the query's text with the picture, null
    where the query has a picture of its own.

    Attributes:
        explanation: what the search did to find them.
    """

    def __init__(self, table: pa.Table, explanation: Explanation, *, start: int = 0, stop: int | None = None) -> None:
        super().__init__(table)
        self.explanation = explanation
        self._start = start
        self._stop = table.num_rows if stop is None else stop

    def to_arrow(self) -> pa.Table:
        """The hits as an Arrow table."""
        # Cut out where it is looked at: doing so for thousands of queries takes longer than some searches.
        return self._table.slice(self._start, len(self))

    def __len__(self) -> int:
        return self._stop - self._start

    def _of(self, table: pa.Table) -> Self:
        return type(self)(table, self.explanation)


class Predictions(Records):
    """One row for each query: `prediction`, `confidence`, `novelty`, `probabilities`, `neighbours`.

    `prediction` is null where it abstains. `confidence` is the probability that it is right, and `probabilities` a list
    of `{label, probability}`, largest first: of k-NN those of the neighbours' classes, what is left of 1 is the prior's
    share of the others. `neighbours` is a list of `{image_id, label, score}`, nearest first: those that voted.
    `novelty` is the share of the store's labelled images that are nearer to their k-th neighbour than the query is:
    0.99 says that it is like few things in the store. It is null where that is not known, as `neighbours` is of a head.

    Of a column of lists `prediction` and the neighbours' labels are lists, and each label has a probability of its own;
    `confidence` is that of the least certain one.

    Attributes:
        notes: what somebody should know who relies on them.
    """

    def __init__(self, table: pa.Table, notes: tuple[str, ...] = ()) -> None:
        super().__init__(table)
        self.notes = notes

    def _of(self, table: pa.Table) -> Self:
        return type(self)(table, self.notes)

    @property
    def answered(self) -> float:
        """Share of the queries that have a prediction, in [0, 1]."""
        return 1 - int(self._table["prediction"].null_count) / max(1, len(self))


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class fared: precision, recall and F1 in [0, 1], and its number of evaluated rows."""

    label: str
    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """What is left when only the most confident predictions are given.

    Attributes:
        coverage: share of the rows that are answered.
        accuracy: of these.
        confidence: the lowest among them: `abstain_below` for this coverage.
    """

    coverage: float
    accuracy: float
    confidence: float


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions of about the same confidence: one bar of a reliability diagram.

    Attributes:
        confidence: its mean, in [0, 1].
        accuracy: share of them that is right.
        rows: how many there are, at least one.
    """

    confidence: float
    accuracy: float
    rows: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that was predicted wrong.

    Attributes:
        image_id: the image.
        truth, prediction: its class, and what it was taken for.
        confidence: the probability that the prediction had.
        neighbours: image_id, class and score of those that voted, nearest first; of a head none.
    """

    image_id: str
    truth: str
    prediction: str
    confidence: float
    neighbours: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluation of a classifier on a label column.

    Intervals hold 95 % of bootstrap resamples of clusters: images that share their content or their prefix rise and
    fall together.

    Attributes:
        label: the column of true classes.
        head: the classifier: `knn`, `logistic` or `mlp`.
        protocol: who is predicted by whom: `leave-one-out`, `split` by a column, or `folds`.
        accuracy: share of rows predicted right, in [0, 1]; nothing of a row's own group takes part in predicting it.
        accuracy_low, accuracy_high: its interval.
        accuracy_without_prefix: accuracy when the predicted rows come without their prefix, as a new picture often
            does, and the others keep theirs; None where that was not evaluated. With k-NN such a query has weight 1, so
            in `balanced` it is the accuracy of pictures alone, whatever `image_weight` is.
        balanced_accuracy: mean recall of the classes.
        balanced_accuracy_low, balanced_accuracy_high: its interval.
        macro_f1: mean F1 of the classes.
        naive_accuracy: accuracy when only the row itself is left out, so that duplicates and shared captions vote.
        naive_accuracy_without_prefix: the same of queries without their prefix.
        calibration_error: expected calibration error, in [0, 1]: by how much confidence and accuracy differ.
        votes_calibration_error: that of bare shares of votes, or of a head's probabilities before their temperature.
        reliability: accuracy by confidence, in bins from low to high; those without a row are left out.
        log_loss: mean of -log of the true classes' probabilities; None if one is 0.
        without_votes: share of rows whose true class has no vote at all.
        risk_coverage: accuracy of the most confident predictions.
        rows: how many rows were evaluated.
        voters: how many images could vote, or be learnt from.
        clusters: how many clusters the rows are of.
        rows_without_neighbours: how many of them had no neighbour outside their group; they count as wrong.
        k, weights: neighbours that voted, and what their votes weigh.
        temperature: tau of softmax weights exp(score / tau). If it was fitted, rows were predicted with those that fit
            the rows of other clusters, and this one fits all.
        prior_score: at which score the prior votes like one more neighbour, fitted likewise; None where it does not.
        sharpness: to which power probabilities are raised then.
        image_weight: the weight A of the image block in all queries.
        mode: fusion mode that was evaluated.
        centred: whether blocks were centred.
        classes: per-class scores, by label.
        confusion: rows of true class by columns of predicted class, in the order of `classes`.
        mistakes: the most confident ones, at most 24.
        warnings: what a reader of the figures should know, such as a prefix that gives the label away.
    """

    label: str
    head: str
    protocol: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    accuracy_without_prefix: float | None
    balanced_accuracy: float
    balanced_accuracy_low: float
    balanced_accuracy_high: float
    macro_f1: float
    naive_accuracy: float
    naive_accuracy_without_prefix: float | None
    calibration_error: float
    votes_calibration_error: float
    reliability: tuple[ReliabilityBin, ...]
    log_loss: float | None
    without_votes: float
    risk_coverage: tuple[RiskPoint, ...]
    rows: int
    voters: int
    clusters: int
    rows_without_neighbours: int
    k: int | None
    weights: str | None
    temperature: float | None
    prior_score: float | None
    sharpness: float | None
    image_weight: float
    mode: str
    centred: bool
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FittedWeight:
    """The image weight of the best leave-one-out accuracy, and how sure it is.

    Attributes:
        image_weight: the chosen weight A, a multiple of 0.05; of equally good ones the nearest to 0.5.
        low, high: between which 95 % of bootstrap resamples choose theirs.
        accuracy: of rows at a weight that was chosen without them (out of bag), so that choosing is not rewarded.
        accuracy_low, accuracy_high: interval of the accuracy at the chosen weight, less what choosing gained.
        rows: how many images were predicted; those without a prefix were not.
        label: the column of true classes.
        curve: pairs of a weight and the accuracy at it, from 0 to 1; optimistic at the chosen one.
        warnings: what a reader should know, such as a prefix that gives the label away, and so draws the weight to 0.
    """

    image_weight: float
    low: float
    high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    rows: int
    label: str
    curve: tuple[tuple[float, float], ...]
    warnings: tuple[str, ...]
