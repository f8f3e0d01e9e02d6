"""Columns as classes."""

from __future__ import annotations

import numpy as np
import pytest

import fpve
from fpve.classify import read_label_sets, read_labels
from fpve.errors import QueryError
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot


@pytest.fixture(scope="module")
def searcher(store: fpve.Store) -> Searcher:
    """The store, as the library searches it."""
    return Searcher(Snapshot.open(store.path))


def test_nan_is_no_class(searcher: Searcher) -> None:
    """A number that is not one labels nothing."""
    labels = read_labels(searcher, "weight")
    assert labels.names == ("0", "1", "2")
    assert int(labels.labelled.sum()) == 45


def test_a_column_of_lists_has_several_classes(searcher: Searcher) -> None:
    """Each image has those of its list; an empty list is a label, null is none."""
    sets = read_label_sets(searcher, "tags")
    assert sets.names == ("bird", "cat", "dog", "even")
    assert sets.is_multiple
    assert int(sets.labelled.sum()) == 80
    rows = np.array([2, 1, 4, 9])
    place, code = sets.pairs(rows)
    assert [(int(at), sets.names[one]) for at, one in zip(place, code, strict=True)] == [
        (0, "bird"),
        (0, "even"),
        (2, "dog"),
        (2, "even"),
    ]
    with pytest.raises(QueryError, match="holds lists; expected one class an image"):
        read_labels(searcher, "tags")


def test_one_class_an_image_is_a_set_of_one(searcher: Searcher) -> None:
    """Both readings of a column agree."""
    one, many = read_labels(searcher, "kind"), read_label_sets(searcher, "kind")
    np.testing.assert_array_equal(one.codes, many.codes)
    np.testing.assert_array_equal(one.labelled, many.labelled)
    assert many.prior(np.ones(90, bool)).sum() == pytest.approx(1)
