"""Label columns as classes: of one value an image, or of lists of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.neighbours import Mask, Rows
from fpve.search import Searcher


class Labels(NamedTuple):
    """A label column of one class an image.

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


class LabelSets(NamedTuple):
    """A label column of any number of classes an image.

    Attributes:
        names: the classes, sorted.
        starts: (rows + 1,) where each image's classes begin in `members`, and at the end their number.
        members: (t,) class numbers.
        labelled: (rows,) which images have a label; an empty list is one, and says that no class applies.
        is_multiple: whether the column holds lists, so that an image can have several classes.
    """

    names: tuple[str, ...]
    starts: Rows
    members: Rows
    labelled: Mask
    is_multiple: bool

    @classmethod
    def of(cls, labels: Labels) -> LabelSets:
        """Of a column of one class an image."""
        labelled = labels.labelled
        starts = np.concatenate([[0], np.cumsum(labelled)])
        return cls(labels.names, starts, labels.codes[labelled], labelled, is_multiple=False)

    @property
    def codes(self) -> Rows:
        """Number (rows,) of each image's class; of one with several that of the first, -1 of one with none."""
        found = np.full(len(self.labelled), -1)
        has = np.flatnonzero(np.diff(self.starts))
        found[has] = self.members[self.starts[has]]
        return found

    def pairs(self, rows: Rows) -> tuple[Rows, Rows]:
        """Pairs (t,) and (t,) of a place in image rows (n,) and a class of the image there."""
        if not self.is_multiple:
            # One each, and only labelled ones vote.
            return np.arange(len(rows)), self.members[self.starts[rows]]
        counts = self.starts[rows + 1] - self.starts[rows]
        place = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return place, self.members[self.starts[rows][place] + within]

    def matrix(self, rows: Rows) -> Mask:
        """Which of image rows (n,) have which class (n, classes)."""
        has = np.zeros((len(rows), len(self.names)), bool)
        has[self.pairs(rows)] = True
        return has

    def prior(self, allowed: Mask) -> NDArray[np.float64]:
        """Shares (classes,) of the labelled images among `allowed` (rows,) that have each class; none is 0.

        Each class counts as if one image more had it (Laplace), or of lists as if half of two more did.
        """
        rows = np.flatnonzero(allowed & self.labelled)
        counts = np.bincount(self.pairs(rows)[1], minlength=len(self.names))
        more = 2 if self.is_multiple else len(self.names)
        return (counts + 1) / (len(rows) + more)


def read_labels(searcher: Searcher, label: str) -> Labels:
    """Read a metadata column as classes, one an image.

    Raises:
        QueryError: there is no such column, it holds lists, or no image has a value in it.
    """
    column = _column(searcher, label)
    if pa.types.is_list(column.type):
        raise QueryError(
            f"label column {label!r} holds lists; expected one class an image (k-NN classifies by lists as well, but "
            "what is evaluated, trained or weighed needs one class)"
        )
    values = as_text(column)
    names = _names(label, values)
    codes = pc.fill_null(pc.index_in(values, pa.array(names, pa.string())), -1).to_numpy().astype(np.int64)
    return Labels(tuple(names), codes)


def read_label_sets(searcher: Searcher, label: str) -> LabelSets:
    """Read a metadata column as classes: of one value an image, or of lists of them.

    Raises:
        QueryError: there is no such column, or no image has a value in it.
    """
    column = _column(searcher, label)
    if not pa.types.is_list(column.type):
        return LabelSets.of(read_labels(searcher, label))
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = as_text(lists.flatten())
    names = _names(label, values)
    codes = pc.fill_null(pc.index_in(values, pa.array(names, pa.string())), -1).to_numpy(zero_copy_only=False)
    # A value that stands in a list twice is one class, and one that is null is none.
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    pairs = np.unique(np.stack([parents, codes])[:, codes >= 0].astype(np.int64), axis=1)
    starts = np.searchsorted(pairs[0], np.arange(len(lists) + 1))
    labelled = lists.is_valid().to_numpy(zero_copy_only=False)
    return LabelSets(tuple(names), starts, pairs[1], labelled, is_multiple=True)


def as_text(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Values (n,) as texts; NaN is no value."""
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return pc.cast(values, pa.string())


def _column(searcher: Searcher, label: str) -> pa.ChunkedArray:
    columns = [column.name for column in searcher.snapshot.manifest.columns]
    if not isinstance(label, str):
        raise QueryError(f"label: expected the name of a column, found {label!r}")
    if label not in columns:
        known = ", ".join(columns) or "no metadata column at all"
        raise QueryError(f"no label column {label!r}{nearest_word(label, columns)}; the store has {known}")
    return searcher.snapshot.rows.column(label)


def _names(label: str, values: pa.Array | pa.ChunkedArray) -> list[str]:
    names = sorted(pc.unique(values).drop_null().to_pylist())
    if not names:
        raise QueryError(f"label column {label!r} has no values; label some images first")
    return names
