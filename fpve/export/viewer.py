"""What Embedding Atlas opens: thumbnails, points of a plane, and who is near whom.

Its columns are described at https://apple.github.io/embedding-atlas/tool.html: a picture is the bytes of its file, and
neighbours are `{"ids": […], "distances": […]}`, where an id is the number of a row of the file.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from fpve.curation.projection import Method, project
from fpve.export.rows import Chosen
from fpve.fusion import Floats
from fpve.neighbours import Rows
from fpve.progress import Progress
from fpve.rowfiles import write_rows

# As many as its own projection keeps of each image.
NEIGHBOURS = 15
_NEIGHBOURS = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float32()))])


@dataclass(frozen=True, slots=True)
class Names:
    """What its columns are called; metadata columns keep their names, and none of theirs begins with `__`."""

    x: str
    y: str
    neighbours: str
    image: str

    @classmethod
    def beside(cls, columns: tuple[str, ...]) -> Names:
        """Names that no metadata column has."""
        taken = {name.casefold() for name in columns}
        return cls(*(f"__{name}" if name in taken else name for name in ("x", "y", "neighbors", "image")))


def write_viewer(path: Path, chosen: Chosen, method: Method, progress: Progress) -> tuple[str, ...]:
    """Write image rows with thumbnails, coordinates and nearest images, part by part.

    Returns:
        The command that opens them, as its arguments.
    """
    names = Names.beside(chosen.columns)
    schema = chosen.schema
    for name, kind in (
        (names.image, pa.binary()),
        (names.x, pa.float32()),
        (names.y, pa.float32()),
        (names.neighbours, _NEIGHBOURS),
    ):
        schema = schema.append(pa.field(name, kind))

    def parts() -> Iterator[pa.Table]:
        if not len(chosen.rows):
            return
        points = project(chosen.searcher, chosen.rows, method=method)
        nearest = _Nearest(chosen)
        start = 0
        for rows in chosen.parts(progress):
            images = chosen.images(rows)
            place = points[start : start + len(rows)]
            start += len(rows)
            made = [_thumbnails(chosen, images), *(pa.array(place[:, at], pa.float32()) for at in (0, 1))]
            yield pa.table([*images.columns, *made, nearest.of(rows)], schema=schema)

    write_rows(path, schema, parts(), kind="parquet")
    shown = ["--x", names.x, "--y", names.y, "--neighbors", names.neighbours, "--image", names.image]
    texts = ["--text", "prefix"] if chosen.searcher.snapshot.has_prefixes else []
    return ("embedding-atlas", str(path), *shown, *texts)


def in_one_line(command: tuple[str, ...]) -> str:
    """A command as a shell takes it."""
    return shlex.join(command)


def _thumbnails(chosen: Chosen, images: pa.Table) -> pa.Array:
    hashes = images["content_hash"].to_pylist()
    found = chosen.searcher.snapshot.thumbnails(hashes)
    return pa.array([found.get(one) for one in hashes], pa.binary())


class _Nearest:
    """The nearest of the chosen images to each of them, by the store's own weight."""

    def __init__(self, chosen: Chosen) -> None:
        self._searcher = chosen.searcher
        self._rows = chosen.rows
        self._allowed = chosen.searcher.only(chosen.rows)

    def of(self, rows: Rows) -> pa.Array:
        """Those of some images (n,): numbers of rows of the file, nearest first, and 1 - score."""
        blocks = self._searcher.blocks_of(rows)
        found = self._searcher.nearest(
            blocks,
            image_weight=self._searcher.weights(blocks, None),
            k=NEIGHBOURS,
            allowed=self._allowed,
            exclude=rows,
        )
        counts = np.bincount(found.query, minlength=len(rows))
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        ids = np.searchsorted(self._rows, found.row)
        distances: Floats = np.maximum(1 - found.score, 0).astype(np.float32)
        lists = [pa.ListArray.from_arrays(offsets, pa.array(values)) for values in (ids, distances)]
        return pa.StructArray.from_arrays(lists, fields=list(_NEIGHBOURS))
