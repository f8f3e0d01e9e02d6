"""A page that shows which labels may be wrong: each picture, its label, what others say it is, and who they are."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fpve.api import Store
from fpve.records import Record, Records
from fpve.replica import shown
from fpve.report.arranging import Keys, Order, keys
from fpve.report.page import write_page
from fpve.report.pictures import Shown, fitting
from fpve.report.scope import command, images

# Of the nearest voters there is a picture: as many as stand in a line.
_VOTERS = 8
# Confusions that are counted above all.
_COUNTED = 10

_ORDERS = (
    Order("rank", "rank, most doubtful first", falls=False),
    Order("confidence", "probability of the prediction"),
    Order("own", "probability of the label", falls=False),
    Order("label", "label", is_text=True, falls=False),
    Order("prediction", "prediction", is_text=True, falls=False),
    Order("id", "image_id", is_text=True, falls=False),
)


@dataclass(frozen=True, slots=True)
class Voter:
    """A neighbour that voted.

    Attributes:
        picture: its picture.
        label: its own label.
        score: its score.
        side: `label`, `prediction`, or neither: which of both it supports.
    """

    picture: Shown
    label: str
    score: float
    side: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image whose label may be wrong.

    Attributes:
        picture: the picture.
        row: its row.
        voters: the nearest of those that voted.
        label_votes, prediction_votes: how many of these support the one and the other.
    """

    picture: Shown
    row: Record
    voters: tuple[Voter, ...]
    label_votes: int
    prediction_votes: int

    @property
    def keys(self) -> Keys:
        """What orders compare."""
        row = self.row
        return keys(
            rank=row.rank,
            confidence=row.confidence,
            own=row.label_probability,
            label=row.label,
            prediction=row.prediction,
            id=row.image_id,
        )


def write_mislabeled(
    path: str | os.PathLike[str],
    records: Records,
    store: Store,
    *,
    label: str,
    k: int | None = None,
    image_weight: float | None = None,
    where: str | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write a self-contained page about labels that may be wrong, of as many images as fit.

    Args:
        path: of the HTML file.
        records: the rows of `store.mislabeled`, the most doubtful first.
        store: where the images are; one that is no longer there, or has no thumbnail, is named only.
        label: the column.
        k: how many neighbours voted, if the page is to say it.
        image_weight: the weight A of the picture, if the page is to name it in its command.
        where: the condition on the images that were looked at.
        notes: what a reader should know.
    """
    rows = list(records)
    cards = [[row.image_id, *(one["image_id"] for one in (row.neighbours or [])[:_VOTERS])] for row in rows]
    count, pictures = fitting(store, cards)
    labelled = images(store, where, having=label)
    counts = Counter((row.label, row.prediction) for row in rows).most_common()
    write_page(
        Path(path),
        "mislabeled.html",
        headline=_headline(len(rows)),
        label=label,
        labelled=labelled,
        share=len(rows) / labelled if labelled else 0.0,
        where=where,
        k=k,
        notes=notes,
        found=len(rows),
        confidence=sum(row.confidence for row in rows) / len(rows) if rows else None,
        counts=counts[:_COUNTED],
        more=len(counts[_COUNTED:]),
        suspects=[_suspect(row, pictures) for row in rows[:count]],
        orders=_ORDERS,
        command=command("mislabeled", store, "doubts.csv", label=label, k=k, image_weight=image_weight, where=where),
        store=shlex.quote(shown(store.path)),
    )


def _headline(found: int) -> str:
    if not found:
        return "No label is in doubt"
    return f"{found:,} label{' is' if found == 1 else 's are'} in doubt"


def _suspect(row: Record, pictures: dict[str, Shown]) -> Suspect:
    sides = {row.label: "label", row.prediction: "prediction"}
    voters = (row.neighbours or [])[:_VOTERS]
    votes = Counter(one["label"] for one in voters)
    return Suspect(
        picture=pictures[row.image_id],
        row=row,
        voters=tuple(
            Voter(pictures[one["image_id"]], one["label"], one["score"], sides.get(one["label"], "")) for one in voters
        ),
        label_votes=votes[row.label],
        prediction_votes=votes[row.prediction],
    )
