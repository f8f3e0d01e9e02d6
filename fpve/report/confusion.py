"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fpve.records import Evaluation

# As many rows and columns as fit on a screen, or nearly.
_MOST_CLASSES = 40
# As many as a person reads.
_MOST_CONFUSIONS = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """How many rows of a class were predicted as another, and which share of the class that is."""

    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Confused:
    """A class that was taken for another one, how often, and in which share of its rows."""

    truth: str
    prediction: str
    rows: int
    share: float


def matrix_of(evaluation: Evaluation) -> list[list[Cell]]:
    """Rows of true class by columns of predicted class; empty where there are more classes than a screen shows.

    Where some rows were not predicted, the last column is of these.
    """
    if len(evaluation.classes) > _MOST_CLASSES:
        return []
    rows = []
    for one, counts in zip(evaluation.classes, evaluation.confusion, strict=True):
        silent = [one.rows - sum(counts)] if evaluation.rows_without_neighbours else []
        rows.append([Cell(count, count / max(1, one.rows)) for count in (*counts, *silent)])
    return rows


def largest(evaluation: Evaluation) -> Sequence[Confused]:
    """The most frequent confusions, of equally frequent ones those of the larger share of their class."""
    classes = evaluation.classes
    found = [
        Confused(classes[row].label, classes[column].label, count, count / classes[row].rows)
        for row, counts in enumerate(evaluation.confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda one: (-one.rows, -one.share))[:_MOST_CONFUSIONS]
