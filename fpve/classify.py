"""Classification by the votes of the nearest labelled images (k-NN)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.fusion import Blocks
from fpve.neighbours import Mask, Neighbours, Rows
from fpve.search import Searcher

# The protocol of Wu et al. 2018 (Unsupervised Feature Learning via Non-Parametric Instance Discrimination), with the
# k that suits collections of thousands of images rather than a million.
DEFAULT_K = 20
DEFAULT_TEMPERATURE = 0.07


class Labels(NamedTuple):
    """A label column.

    Attributes:
        names: the classes, sorted.
        codes: (rows,) number of each image's class, -1 where it has none.
    """

    names: tuple[str, ...]
    codes: Rows

    @property
    def labelled(self) -> Mask:
        """Which images have a label."""
        return self.codes >= 0


def read_labels(searcher: Searcher, label: str) -> Labels:
    """Read a metadata column as classes.

    Raises:
        QueryError: there is no such column, or no image has a value in it.
    """
    rows = searcher.snapshot.rows
    columns = [column.name for column in searcher.snapshot.manifest.columns]
    if label not in columns:
        known = ", ".join(columns) or "no metadata column at all"
        raise QueryError(f"no label column {label!r}{nearest_word(label, columns)}; the store has {known}")
    if pa.types.is_list(rows.schema.field(label).type):
        raise QueryError(f"label column {label!r} holds lists; expected one class an image")
    values = pc.cast(rows.column(label), pa.string())
    names = sorted(pc.unique(values.drop_null()).to_pylist())
    if not names:
        raise QueryError(f"label column {label!r} has no values; label some images first")
    codes = pc.fill_null(pc.index_in(values, pa.array(names, pa.string())), -1).to_numpy().astype(np.int64)
    return Labels(tuple(names), codes)


def vote(neighbours: Neighbours, codes: Rows, queries: int, classes: int, temperature: float) -> NDArray[np.float64]:
    """Class probabilities (queries, classes): shares of votes weighing exp(score / temperature).

    A query without neighbours gets a row of zeros.
    """
    best = np.full(queries, -np.inf)
    np.maximum.at(best, neighbours.query, neighbours.score)
    # Relative to the query's best score, for exp would overflow at small temperatures; shares are the same.
    weights = np.exp((neighbours.score - best[neighbours.query]) / temperature)
    votes = np.zeros((queries, classes))
    np.add.at(votes, (neighbours.query, codes[neighbours.row]), weights)
    total = votes.sum(axis=1, keepdims=True)
    np.divide(votes, total, out=votes, where=total > 0)
    return votes


def classify(
    searcher: Searcher,
    blocks: Blocks,
    *,
    label: str,
    image_weight: float | None = None,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    where: str | None = None,
) -> pa.Table:
    """Predict the class of m queries from their k nearest labelled images.

    Returns:
        m rows: prediction, confidence, probabilities (largest first), neighbours (nearest first).

    Raises:
        QueryError: no such label column, no labelled image, or a wrong k, temperature, weight or condition.
    """
    check_votes(k, temperature)
    searcher = searcher.variant(predicted=False)
    labels = read_labels(searcher, label)
    allowed = labels.labelled if where is None else labels.labelled & searcher.matching(where)
    if not allowed.any():
        raise QueryError(f"no image with a value of {label!r} meets the condition {where!r}")
    weights = searcher.weights(blocks, image_weight)
    found = searcher.nearest(blocks, image_weight=weights, k=k, allowed=allowed)
    shares = vote(found, labels.codes, len(blocks.image), len(labels.names), temperature)
    # Of equal shares the class that comes first by name.
    order = np.argsort(-shares, axis=1, kind="stable")
    ids = searcher.snapshot.rows.take(found.row, ["image_id"])["image_id"].to_pylist()
    rows = []
    bounds = np.searchsorted(found.query, np.arange(len(shares) + 1))
    for number, share in enumerate(shares):
        voted = range(bounds[number], bounds[number + 1])
        rows.append(
            {
                "prediction": labels.names[order[number, 0]],
                "confidence": float(share[order[number, 0]]),
                "probabilities": [
                    {"label": labels.names[code], "probability": float(share[code])}
                    for code in order[number]
                    if share[code] > 0
                ],
                "neighbours": [
                    {
                        "image_id": ids[at],
                        "label": labels.names[labels.codes[found.row[at]]],
                        "score": float(found.score[at]),
                    }
                    for at in voted
                ],
            }
        )
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def check_votes(k: int, temperature: float) -> None:
    """Refuse a k below 1 and a temperature that is not positive.

    Raises:
        QueryError: naming the value.
    """
    if k < 1:
        raise QueryError(f"k: expected at least 1, found {k}")
    if not temperature > 0:
        raise QueryError(f"temperature: expected more than 0, found {temperature}")


_SCHEMA = pa.schema(
    [
        pa.field("prediction", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("probabilities", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())]))),
        pa.field(
            "neighbours",
            pa.list_(pa.struct([("image_id", pa.string()), ("label", pa.string()), ("score", pa.float64())])),
        ),
    ]
)
