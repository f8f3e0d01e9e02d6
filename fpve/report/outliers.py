"""A page that shows outliers: the images that are least like any others, each beside the one that is nearest to it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fpve.api import Store
from fpve.records import Record, Records
from fpve.report.arranging import Keys, Order, keys
from fpve.report.page import plural, write_page
from fpve.report.pictures import Shown, fitting
from fpve.report.scope import command, images

_ORDERS = (
    Order("rank", "rank, oddest first", falls=False),
    Order("distance", "distance"),
    Order("id", "image_id", is_text=True, falls=False),
    Order("nearest", "image_id of the nearest", is_text=True, falls=False),
)


@dataclass(frozen=True, slots=True)
class Odd:
    """An outlier.

    Attributes:
        picture: the picture.
        nearest: that of the image which is most like it; None where there is no other image.
        row: its row.
        is_usual: whether its z-score is below the cut.
    """

    picture: Shown
    nearest: Shown | None
    row: Record
    is_usual: bool

    @property
    def keys(self) -> Keys:
        """What orders compare."""
        row = self.row
        return keys(rank=row.rank, distance=row.distance, id=row.image_id, nearest=row.nearest)


def write_outliers(
    path: str | os.PathLike[str],
    records: Records,
    store: Store,
    *,
    k: int,
    cut: float,
    image_weight: float | None = None,
    where: str | None = None,
) -> None:
    """Write a self-contained page about outliers, of as many as fit.

    Args:
        path: of the HTML file.
        records: the rows of `store.outliers`, the oddest first.
        store: where the images are; one that is no longer there, or has no thumbnail, is named only.
        k: how many nearest images the distance is the mean of.
        cut: the z-score from which on images are outliers; rows below it are shown as usual ones.
        image_weight: the weight A of the picture, where it is not 1.
        where: the condition on the images that were looked at.
    """
    rows = list(records)
    shown = [[row.image_id, *([row.nearest] if row.nearest is not None else [])] for row in rows]
    count, pictures = fitting(store, shown)
    outliers = sum(row.z >= cut for row in rows)
    looked_at = images(store, where)
    write_page(
        Path(path),
        "outliers.html",
        headline=_headline(outliers, looked_at),
        images=looked_at,
        share=outliers / looked_at if looked_at else 0.0,
        where=where,
        outliers=outliers,
        rows=len(rows),
        k=k,
        cut=cut,
        weight=1.0 if image_weight is None else image_weight,
        highest=max((row.z for row in rows), default=None),
        farthest=max((row.distance for row in rows), default=None),
        odd=[Odd(pictures[row.image_id], pictures.get(row.nearest), row, row.z < cut) for row in rows[:count]],
        orders=_ORDERS,
        command=command("outliers", store, "outliers.csv", k=k, cut=cut, image_weight=image_weight, where=where),
    )


def _headline(outliers: int, looked_at: int) -> str:
    if not outliers:
        return "No image stands apart"
    return f"{outliers:,} of {plural(looked_at, 'image')} stand{'s' if outliers == 1 else ''} apart"
