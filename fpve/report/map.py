"""A page with the map of a store: points to be zoomed, searched and filtered, and the pictures at them."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.api import Store
from fpve.curation.map import Map
from fpve.fusion import Floats
from fpve.neighbours import Rows
from fpve.replica import shown as url_or_path
from fpve.report.colouring import CLASSES, DARK, LIGHT, Colouring, colouring_of
from fpve.report.page import write_page

# Of all pictures as they stand in the page: with names and captions of 100,000 images that is 40 MB, which a phone
# still opens.
_MOST_BYTES = 27_000_000
# Sides of pictures, the first of which all fit; where they don't even at the last, some images have none.
_SIDES = (160, 96, 64, 48)
# That some images have a picture of this side is better than that a few more have a smaller one.
_SIDE_OF_SOME = 64
# Seen at the size of a stamp, WebP at 60 is as good as JPEG at 75, of half the bytes.
_QUALITY = 60
# Pictures that tell how large all will be.
_SAMPLE = 128
# More of a caption is not read on a card.
_LONGEST = 400
# Halvings of the map's width, by which points are spread: 4,096 columns of a screen.
_LEVELS = 12
# Pictures that are read from the store at once.
_PART = 1024


def write_map(path: str | os.PathLike[str], found: Map, store: Store) -> None:
    """Write a self-contained page of a map: nothing is fetched, it opens from a disk.

    All images are points; pictures are there for as many as fit into 27 MB, spread over the map.

    Args:
        path: of the HTML file.
        found: the places. Their colours are by its column, or by collection where there are several.
        store: where captions and pictures are; an image that is not in it has neither.
    """
    places = found.to_arrow()
    points = np.stack([places["x"].to_numpy(), places["y"].to_numpy()], axis=1).astype(np.float32)
    order = spread(points)
    ids = places["image_id"].take(pa.array(order))
    images = store.images.select(["image_id", "prefix", "collection", "content_hash"])
    rows = pc.index_in(ids, value_set=images["image_id"])
    captions = images["prefix"].take(rows)
    name, colouring = _colouring(found, order, images["collection"].take(rows))
    names = ids.to_pylist()
    pictures = _pictures(store, names, images["content_hash"].take(rows).to_pylist())
    shown = sum(map(bool, pictures))
    # By what they are called on the page.
    texts, caption = _coded(pc.utf8_slice_codeunits(captions, 0, _LONGEST))
    data: dict[str, Any] = {
        "ids": names,
        "points": _packed(points[order], "<f4"),
        "captions": texts,
        "caption": _packed(caption, "<i4"),
        "kind": colouring.kind,
        "column": name,
        "names": colouring.names,
        "codes": _packed(colouring.codes, "<i4"),
        "values": _packed(colouring.values, "<f8"),
        "classes": CLASSES,
    }
    write_page(
        Path(path),
        "map.html",
        store=Path(url_or_path(store.path.resolve())).name,
        images=len(names),
        method=found.method,
        image_weight=found.image_weight,
        share=found.share,
        column=name,
        counts=colouring.counts()[:CLASSES],
        more=max(0, len(colouring.names) - CLASSES),
        shown=shown,
        light=LIGHT,
        dark=DARK,
        data=data,
        # In the order of the points: those at the end that have none need no line.
        pictures="\n".join(one or "-" for one in pictures),
    )


def spread(points: Floats) -> Rows:
    """An order of points (n, 2) of which any beginning is spread over all: of each cell one, of ever smaller cells.

    What is left when cells are a 4,096th of the width comes last, at random.
    """
    count = len(points)
    drawn: Rows = np.random.default_rng(0).permutation(count)
    if count < 2:
        return drawn
    low, width = points.min(axis=0), float(np.ptp(points, axis=0).max()) or 1.0
    level = np.full(count, _LEVELS + 1)
    for depth in range(_LEVELS + 1):
        side = 2**depth
        cell = np.minimum((points[drawn] - low) / width * side, side - 1).astype(np.int64)
        _, first = np.unique(cell[:, 0] * side + cell[:, 1], return_index=True)
        level[first] = np.minimum(level[first], depth)
    found: Rows = drawn[np.argsort(level, kind="stable")]
    return found


def _colouring(found: Map, order: Rows, collections: pa.ChunkedArray) -> tuple[str | None, Colouring]:
    """The name of the column that points are coloured by, and their colours; of one class where there is none."""
    places = found.to_arrow()
    if found.color is not None:
        column = places[places.column_names[-1]] if len(places.column_names) > 3 else places["image_id"]
        return found.color, colouring_of(column.take(pa.array(order)))
    several = colouring_of(collections)
    if len(several.names) > 1:
        return "collection", several
    return None, Colouring("classes", ("images",), np.zeros(len(order), np.int64), np.zeros(0))


def _pictures(store: Store, names: Sequence[str], contents: Sequence[str | None]) -> list[str]:
    """Small pictures of the first images, as many as fit, each in base64; empty for one without a picture.

    Args:
        store: where thumbnails are.
        names: (n,) image_ids.
        contents: (n,) the hash of each one's content; None where the store has no such image.
    """
    known = [at for at, content in enumerate(contents) if content is not None]
    sample = store.thumbnails([names[at] for at in known[:_SAMPLE]])
    sizes = {side: _expected(sample.values(), side) for side in _SIDES}
    side = next((side for side in _SIDES if sizes[side] * len(known) <= _MOST_BYTES), _SIDE_OF_SOME)
    # Thumbnails lie in the order of their content: read in that, each part of the file is read once.
    some = known[: int(_MOST_BYTES / max(sizes[side], 1))]
    some.sort(key=lambda at: contents[at] or "")
    found = [""] * (max(some, default=-1) + 1)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(some), _PART):
            thumbnails = store.thumbnails([names[at] for at in some[start : start + _PART]])
            part = [at for at in some[start : start + _PART] if names[at] in thumbnails]
            for at, small in zip(
                part, pool.map(partial(_shrunk, side=side), [thumbnails[names[at]] for at in part]), strict=True
            ):
                found[at] = base64.b64encode(small).decode("ascii")
    # What was expected may be too much, by a little.
    fits = int(np.searchsorted(np.cumsum([len(one) + 1 for one in found]), _MOST_BYTES, side="right"))
    return found[:fits]


def _expected(sample: Collection[bytes], side: int) -> float:
    """How many characters a picture of this side takes in the page, and a little more, by a sample of them."""
    sizes = [len(_shrunk(one, side)) for one in sample]
    return 1.05 * 4 / 3 * sum(sizes) / max(1, len(sizes))


def _shrunk(thumbnail: bytes, side: int) -> bytes:
    """A thumbnail of the store as a smaller picture."""
    from PIL import Image

    with Image.open(io.BytesIO(thumbnail)) as image:
        image.draft("RGB", (side, side))
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Method 2 of 6: the slowest saves a twentieth of the bytes, in twice the time.
    small.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()


def _coded(texts: pa.ChunkedArray) -> tuple[list[str], Rows]:
    """Texts that differ, and (n,) the number of each; -1 for null."""
    found = texts.combine_chunks().dictionary_encode()
    codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return found.dictionary.to_pylist(), codes


def _packed(numbers: NDArray[Any], kind: str) -> str:
    """Numbers in base64, little-endian as browsers have them: a quarter of what they are as text."""
    return base64.b64encode(np.ascontiguousarray(numbers, kind).tobytes()).decode("ascii")
