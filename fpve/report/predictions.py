"""A page that shows predictions: each query's picture, what it was taken for, how surely, and who voted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpve.api import Store
from fpve.classify import Abstention
from fpve.queries import Picture
from fpve.records import Predictions, Record
from fpve.report.page import percent, write_page
from fpve.report.pictures import Shown, asked, stored

# With their neighbours they are about 30 MB, which a browser still opens at once.
_MOST = 500
# Of the nearest voters there is a picture; all are counted.
_VOTERS = 8
# Probabilities that are drawn, and below which none is: the first that is not shown as less than 0.1 %.
_TOP = 5
_WORTH = 0.0005
# Classes that are counted above all.
_COUNTED = 12


@dataclass(frozen=True, slots=True)
class Voter:
    """A neighbour that voted: its class or classes, score, picture, and whether it is of the most probable class."""

    label: str
    score: float
    picture: Shown
    agrees: bool


@dataclass(frozen=True, slots=True)
class Card:
    """A query and its answer.

    Attributes:
        picture: the query's.
        classes: what it was predicted as; None where it was not.
        reason: why not.
        confidence: the probability that the prediction is right.
        novelty: share of the store's images that are more usual than it is, if that is known.
        top: the most probable classes, with their probabilities.
        rest: what is left of 1.
        voted: how many voted.
        voters: the nearest of them.
        votes: the classes of all, and how many have each.
    """

    picture: Shown
    classes: tuple[str, ...] | None
    reason: str
    confidence: float
    novelty: float | None
    top: tuple[tuple[str, float], ...]
    rest: float
    voted: int
    voters: tuple[Voter, ...]
    votes: tuple[tuple[str, int], ...]


def write_predictions(
    path: str | os.PathLike[str],
    predictions: Predictions,
    names: Sequence[str],
    pictures: Sequence[Picture | None],
    store: Store,
    *,
    label: str,
    abstention: Abstention | None = None,
) -> None:
    """Write a self-contained page about predictions, of the first 500 queries one by one.

    Args:
        path: of the HTML file.
        predictions: one for each of m queries.
        names: (m,) what the queries are called.
        pictures: (m,) files, their bytes, or Pillow images; None for a query without one.
        store: where the neighbours are; one that is no longer there, or has no thumbnail, is named only.
        label: the column that was predicted.
        abstention: when nothing was predicted, so that the page can say why.

    Raises:
        ValueError: there are more or fewer names or pictures than predictions.
    """
    shown = predictions[:_MOST]
    neighbours = stored(store, [voter["image_id"] for row in shown for voter in (row.neighbours or [])[:_VOTERS]])
    queries = list(zip(predictions, names, pictures, strict=True))
    cards = [_card(row, asked(name, picture), neighbours, abstention) for row, name, picture in queries[:_MOST]]
    # Of all queries, shown or not.
    predicted = [row for row, _, _ in queries if row.prediction is not None]
    counts = Counter(name for row in predicted for name in _names(row.prediction)).most_common()
    write_page(
        Path(path),
        "predictions.html",
        label=label,
        queries=len(predictions),
        answered=len(predicted),
        share=predictions.answered,
        confidence=sum(row.confidence for row in predicted) / len(predicted) if predicted else None,
        counts=counts[:_COUNTED],
        more=len(counts[_COUNTED:]),
        cards=cards,
        has_voters=any(card.voters for card in cards),
        has_novelty=any(card.novelty is not None for card in cards),
        worth=_WORTH,
    )


def _card(row: Record, picture: Shown, neighbours: dict[str, Shown], abstention: Abstention | None) -> Card:
    probabilities = [(one["label"], one["probability"]) for one in row.probabilities]
    top = [one for one in probabilities[:_TOP] if one[1] >= _WORTH]
    voters = row.neighbours or []
    best = set(_names(row.prediction)) if row.prediction is not None else {name for name, _ in probabilities[:1]}
    is_multiple = isinstance(row.prediction, list) or any(isinstance(one["label"], list) for one in voters)
    return Card(
        picture=picture,
        classes=None if row.prediction is None else tuple(_names(row.prediction)),
        reason=_reason(row, abstention or Abstention()),
        confidence=row.confidence,
        novelty=row.novelty,
        top=tuple(top),
        # Of lists each class has a probability of its own: nothing is left of a sum.
        rest=0.0 if is_multiple else max(0.0, 1 - sum(value for _, value in top)),
        voted=len(voters),
        voters=tuple(
            Voter(
                ", ".join(_names(one["label"])),
                one["score"],
                neighbours[one["image_id"]],
                not best.isdisjoint(_names(one["label"])),
            )
            for one in voters[:_VOTERS]
        ),
        votes=tuple(Counter(name for one in voters for name in _names(one["label"])).most_common()),
    )


def _reason(row: Record, abstention: Abstention) -> str:
    """Why nothing was predicted."""
    reasons = []
    if abstention.below is not None and row.confidence < abstention.below:
        reasons.append(f"low confidence: {percent(row.confidence)} is less than {percent(abstention.below)}")
    if abstention.novel is not None and row.novelty is not None and row.novelty > abstention.novel:
        reasons.append(f"novelty: {row.novelty:.3f} is more than {abstention.novel:g}")
    if not reasons:
        reasons = [f"confidence {percent(row.confidence)}"]
        reasons += [] if row.novelty is None else [f"novelty {row.novelty:.3f}"]
    return "; ".join(reasons)


def _names(label: Any) -> list[str]:
    """The classes of a label: one, or those of a list; nulls are none."""
    return [one for one in (label if isinstance(label, list) else [label]) if one is not None]
