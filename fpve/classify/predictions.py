"""What is told of a classification: the class, how sure that is, and who voted."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
import pyarrow as pa

from fpve.classify.knn import Classified
from fpve.classify.labels import LabelSets
from fpve.errors import QueryError
from fpve.neighbours import Exact, Mask, Neighbours, Rows
from fpve.store.mapped import MappedRows

# Of lists, the classes that an image is said to have: those that are more probable than not.
_HAS = 0.5
# Of a head every class has a probability; those below are not worth telling.
_WORTH_TELLING = 1e-3


@dataclass(frozen=True, slots=True)
class Abstention:
    """When no class is predicted.

    Attributes:
        below: where the confidence is lower than this, from 0 to 1.
        novel: where the novelty is higher than this, from 0 to 1.

    Raises:
        QueryError: one is no such share.
    """

    below: float | None = None
    novel: float | None = None

    def __post_init__(self) -> None:
        """Check the shares."""
        for name, value in (("abstain_below", self.below), ("abstain_novel", self.novel)):
            if value is not None and not (isinstance(value, Real) and 0 <= value <= 1):
                raise QueryError(f"{name}: expected a number from 0 to 1, found {value!r}")

    def applies(self, confidence: Exact, novelty: Exact) -> Mask:
        """To which of m predictions it applies."""
        mask = np.zeros(len(confidence), bool)
        if self.below is not None:
            mask |= confidence < self.below
        if self.novel is not None:
            # Not of NaN: what is not known is no reason.
            mask |= novelty > self.novel
        return mask


def schema_of(*, is_multiple: bool) -> pa.Schema:
    """The columns of predictions; by lists of classes they are lists."""
    label = pa.list_(pa.string()) if is_multiple else pa.string()
    probability = pa.struct([("label", pa.string()), ("probability", pa.float64())])
    neighbour = pa.struct([("image_id", pa.string()), ("label", label), ("score", pa.float64())])
    return pa.schema(
        [
            pa.field("prediction", label),
            pa.field("confidence", pa.float64()),
            pa.field("novelty", pa.float64()),
            pa.field("probabilities", pa.list_(probability)),
            pa.field("neighbours", pa.list_(neighbour)),
        ]
    )


def told(classified: Classified, labels: LabelSets, images: MappedRows, abstention: Abstention) -> pa.Table:
    """Predictions by name, one row for each of m queries.

    Of the classes those are told that a neighbour has, the most probable first, of equals by name; what is left of 1 is
    the prior's share of the others. Of neighbours all, nearest first.
    """
    probabilities, found = classified.probabilities, classified.neighbours
    has, confidence = decided(probabilities, is_multiple=labels.is_multiple)
    place, code = labels.pairs(found.row)
    cells = [found.query[place] * probabilities.shape[1] + code, np.flatnonzero(has)]
    listed = _listed(probabilities, labels.names, np.unique(np.concatenate(cells)))
    silent = abstention.applies(confidence, classified.novelty)
    # Nobody voted: there is nothing to be said.
    silent |= np.bincount(found.query, minlength=len(probabilities)) == 0
    columns = {
        "prediction": _predicted(has, silent, labels.names, is_multiple=labels.is_multiple),
        "confidence": pa.array(confidence),
        "novelty": pa.array(classified.novelty, from_pandas=True),
        "probabilities": listed,
        "neighbours": _neighbours(found, len(probabilities), labels, images),
    }
    return pa.table(columns, schema=schema_of(is_multiple=labels.is_multiple))


def told_of_head(probabilities: Exact, names: tuple[str, ...], abstention: Abstention) -> pa.Table:
    """Predictions (m,) of a head by name; nobody voted."""
    count = len(probabilities)
    has, confidence = decided(probabilities, is_multiple=False)
    unknown = np.full(count, np.nan)
    columns = {
        "prediction": _predicted(has, abstention.applies(confidence, unknown), names, is_multiple=False),
        "confidence": pa.array(confidence),
        "novelty": pa.nulls(count, pa.float64()),
        "probabilities": _listed(probabilities, names, np.flatnonzero(has | (probabilities >= _WORTH_TELLING))),
        "neighbours": pa.nulls(count, schema_of(is_multiple=False).field("neighbours").type),
    }
    return pa.table(columns, schema=schema_of(is_multiple=False))


def decided(probabilities: Exact, *, is_multiple: bool) -> tuple[Mask, Exact]:
    """Which classes (m, classes) are predicted, and the probability (m,) that this is right.

    Of one class an image it is the most probable, of equals the first by name. Of lists they are those with more than
    one half, and the confidence is that of the least certain class.
    """
    if is_multiple:
        has: Mask = probabilities > _HAS
        return has, np.where(has, probabilities, 1 - probabilities).min(axis=1, initial=1)
    best = probabilities.argmax(axis=1)
    has = np.zeros(probabilities.shape, bool)
    has[np.arange(len(best)), best] = True
    return has, probabilities[np.arange(len(best)), best]


def _predicted(has: Mask, silent: Mask, names: tuple[str, ...], *, is_multiple: bool) -> pa.Array:
    """The predicted classes (m,) by name, null where nothing is said."""
    known = pa.array(names, pa.string())
    if not is_multiple:
        return known.take(pa.array(has.argmax(axis=1), mask=silent))
    query, code = np.nonzero(has)
    starts = np.searchsorted(query, np.arange(len(has) + 1)).astype(np.int32)
    # Arrow takes a list for null where its beginning is.
    return pa.ListArray.from_arrays(pa.array(starts, mask=np.append(silent, [False])), known.take(pa.array(code)))


def _listed(probabilities: Exact, names: tuple[str, ...], cells: Rows) -> pa.Array:
    """Lists (m,) of some of the cells of probabilities (m, classes), given as numbers in the flattened matrix."""
    query, code = np.divmod(cells, probabilities.shape[1])
    value = probabilities.reshape(-1)[cells]
    order = np.lexsort((code, -value, query))
    of = pa.array(names, pa.string()).take(pa.array(code[order]))
    structs = pa.StructArray.from_arrays([of, pa.array(value[order])], ["label", "probability"])
    return _lists(query, len(probabilities), structs)


def _neighbours(found: Neighbours, queries: int, labels: LabelSets, images: MappedRows) -> pa.Array:
    names = pa.array(labels.names, pa.string())
    place, code = labels.pairs(found.row)
    own = names.take(pa.array(code))
    if labels.is_multiple:
        own = _lists(place, len(found.row), own)
    ids = images.take(found.row, ["image_id"])["image_id"]
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    structs = pa.StructArray.from_arrays([ids, own, pa.array(found.score.astype(np.float64))], _NEIGHBOUR)
    return _lists(found.query, queries, structs)


_NEIGHBOUR = ["image_id", "label", "score"]


def _lists(group: Rows, count: int, values: pa.Array) -> pa.Array:
    """Lists (count,) of values (t,), those of a group (t,), ascending, together."""
    offsets = np.searchsorted(group, np.arange(count + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
