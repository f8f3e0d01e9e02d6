"""Pictures on pages: those of a store, and those that were asked about."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fpve.api import Store
from fpve.errors import ImageError
from fpve.images import decode, from_picture, thumbnail, without_warnings
from fpve.queries import Picture
from fpve.report.page import data_uri
from fpve.sources.places import read_place
from fpve.urls import any_path

# A page of 30 MB is still opened at once by a browser, and sent by mail.
_MOST_BYTES = 28_000_000
# What a picture brings with it, beside three times its caption: names, figures, attributes to sort by.
_AROUND = 1_200
# More cards than a person looks through.
_MOST_CARDS = 500


@dataclass(frozen=True, slots=True)
class Shown:
    """An image as a page shows it.

    Attributes:
        name: its image_id, or what a query is called.
        caption: its prefix, if it has one.
        address: of its thumbnail; None where there is none.
    """

    name: str
    caption: str | None = None
    address: str | None = None

    @property
    def alt(self) -> str:
        """What is read out in place of the picture."""
        return self.caption or self.name

    @property
    def title(self) -> str:
        """What is shown when it is pointed at."""
        return f"{self.name}\n{self.caption}" if self.caption else self.name


def stored(store: Store, image_ids: Iterable[str]) -> dict[str, Shown]:
    """Images of a store by image_id; one that is not in the store has its name only."""
    wanted = list(dict.fromkeys(image_ids))
    images = store.images.select(["image_id", "prefix"])
    rows = images.filter(pc.is_in(images["image_id"], pa.array(wanted, images.schema.field("image_id").type)))
    captions = dict(zip(rows["image_id"].to_pylist(), rows["prefix"].to_pylist(), strict=True))
    thumbnails = store.thumbnails(list(captions))
    return {
        name: Shown(name, captions.get(name), data_uri(thumbnails[name]) if name in thumbnails else None)
        for name in wanted
    }


def fitting(
    store: Store, cards: Sequence[Sequence[str]], *, more: Sequence[Shown | None] | None = None
) -> tuple[int, dict[str, Shown]]:
    """How many of some cards fit on a page, from the first on, and their pictures by image_id.

    Args:
        store: where the pictures are.
        cards: the image_ids that each shows; one that is shown twice counts twice.
        more: a picture that each shows beside them, or None.
    """
    cards = cards[:_MOST_CARDS]
    pictures = stored(store, [one for card in cards for one in card])
    left = _MOST_BYTES
    for number, card in enumerate(cards):
        shown = [pictures[one] for one in card] + [one for one in (more or ())[number : number + 1] if one]
        left -= sum(len(one.address or "") + 3 * len(one.caption or "") + _AROUND for one in shown)
        if left < 0 and number:
            return number, pictures
    return len(cards), pictures


def asked(name: str, picture: Picture | None) -> Shown:
    """A query's picture; without a thumbnail where it has none, or can't be read any more."""
    if picture is None:
        return Shown(name)
    try:
        with without_warnings():
            return Shown(name, address=data_uri(_jpeg(picture)))
    except (OSError, ImageError):
        return Shown(name)


def _jpeg(picture: Picture) -> bytes:
    if isinstance(picture, str | os.PathLike):
        picture = read_place(any_path(picture))
    decoded = decode(picture) if isinstance(picture, bytes) else from_picture(picture)
    return thumbnail(decoded.image)
