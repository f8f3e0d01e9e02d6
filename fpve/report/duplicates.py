"""A page that shows clusters of duplicates: which picture of each is to stay, and which could go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from fpve.api import Store
from fpve.records import Record, Records
from fpve.report.arranging import Keys, Order, keys
from fpve.report.page import plural, write_page
from fpve.report.pictures import Shown, fitting
from fpve.report.scope import command, images

# Of a larger cluster the rows tell the rest: more pictures of one thing than a person compares.
_MEMBERS = 24

_ORDERS = (
    Order("cluster", "cluster number", falls=False),
    Order("size", "pictures in it"),
    Order("lowest", "lowest cosine", falls=False),
    Order("freed", "bytes that could go"),
    Order("id", "image_id of the kept", is_text=True, falls=False),
)
_COPIES = ("a copy", "copies")


@dataclass(frozen=True, slots=True)
class Member:
    """A picture of a cluster.

    Attributes:
        picture: the picture.
        tags: what kind of a copy it is; of the one that is kept there is none.
        row: what is known of it, as the columns of duplicates.
    """

    picture: Shown
    tags: tuple[str, ...]
    row: Record


@dataclass(frozen=True, slots=True)
class Cluster:
    """Pictures that show the same.

    Attributes:
        number: from 1 on.
        members: of which there are pictures, the one that is kept first.
        size: how many there are.
        exact, near: how many of those that could go are files of the same content, and how many look alike.
        lowest: cosine of the least similar one to the kept one; None where no cosine is known.
        freed: bytes of those that could go, as far as they are known.
    """

    number: int
    members: tuple[Member, ...]
    size: int
    exact: int
    near: int
    lowest: float | None
    freed: int

    @property
    def keys(self) -> Keys:
        """What orders compare."""
        return keys(
            cluster=self.number, size=self.size, lowest=self.lowest, freed=self.freed, id=self.members[0].picture.name
        )


def write_duplicates(
    path: str | os.PathLike[str],
    records: Records,
    store: Store,
    *,
    threshold: float,
    pixels: float | None = None,
    where: str | None = None,
    prefer: str | None = None,
) -> None:
    """Write a self-contained page about duplicates, of as many clusters as fit.

    Args:
        path: of the HTML file.
        records: the rows of `store.duplicates`.
        store: where the images are; one that is no longer there, or has no thumbnail, is named only.
        threshold: the cosine from which on pictures look alike.
        pixels: the least correlation of their thumbnails, where these are known; None if the page need not say it.
        where: the condition on the images that were looked at.
        prefer: the condition on images that were kept rather than others.
    """
    clusters = [_sorted(list(rows)) for _, rows in groupby(records, key=lambda row: row.cluster)]
    count, pictures = fitting(store, [[row.image_id for row in rows[:_MEMBERS]] for rows in clusters])
    removed = [row for rows in clusters for row in rows if row.action != "keep"]
    looked_at = images(store, where)
    write_page(
        Path(path),
        "duplicates.html",
        headline=_headline(len(removed), looked_at),
        images=looked_at,
        where=where,
        prefer=prefer,
        threshold=threshold,
        pixels=pixels,
        removed=len(removed),
        share=len(removed) / looked_at if looked_at else 0.0,
        exact=sum(row.kind == "exact" for row in removed),
        freed=sum(row.bytes or 0 for row in removed),
        found=len(clusters),
        clusters=[_cluster(rows, pictures) for rows in clusters[:count]],
        orders=_ORDERS,
        command=command(
            "duplicates", store, "plan.csv", threshold=threshold, pixels=pixels, where=where, prefer=prefer
        ),
    )


def _headline(removed: int, looked_at: int) -> str:
    if not removed:
        return "No picture looks like a copy of another"
    return (
        f"{removed:,} of {plural(looked_at, 'picture')} look{'s' if removed == 1 else ''} like {_COPIES[removed > 1]}"
    )


def _sorted(rows: list[Record]) -> list[Record]:
    """The rows of a cluster, the one that is kept first."""
    return sorted(rows, key=lambda row: row.action != "keep")


def _cluster(rows: Sequence[Record], pictures: dict[str, Shown]) -> Cluster:
    others = [row for row in rows if row.action != "keep"]
    return Cluster(
        number=rows[0].cluster,
        members=tuple(Member(pictures[row.image_id], _tags(row), row) for row in rows[:_MEMBERS]),
        size=len(rows),
        exact=sum(row.kind == "exact" for row in others),
        near=sum(row.kind == "near" for row in others),
        lowest=min((row.cosine for row in others if row.cosine is not None), default=None),
        freed=sum(row.bytes or 0 for row in others),
    )


def _tags(row: Record) -> tuple[str, ...]:
    named = {"exact": "same file", "near": "looks alike"}
    tags = [named.get(row.kind, row.kind)] if row.kind else []
    return (*tags, "mirrored") if row.mirrored else tuple(tags)
