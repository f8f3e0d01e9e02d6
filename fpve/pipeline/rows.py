"""Image rows: what a page holds of each image, made only for the pages that change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.pipeline.contents import Contents
from fpve.prefixes import prefix_ids
from fpve.store.manifest import Page
from fpve.store.pages import read_columns

SIZES = ("content_hash", "width", "height")
_FROM_CONTENT = ("bytes", "width", "height")
_FROM_VECTOR = ("segment", "row")


@dataclass(frozen=True, slots=True)
class Ready:
    """A collection with everything that its pages need.

    Attributes:
        contents: what its files hold.
        settled: (n,) which files are images whose vectors are where they were.
        place: `segment` and `row` of the vectors of the other images, in their order.
        quarantine: rows for the quarantine table.
    """

    contents: Contents
    settled: pa.Array
    place: pa.Table
    quarantine: pa.Table


class ImageRows:
    """The rows of a collection's images, sorted by image_id as its files are.

    What is as it was is taken from the pages of the last snapshot.

    Args:
        root: the store.
        ready: the collection.
        schema: of the rows.
        old: its pages in the last snapshot.
        sizes: SIZES of pictures that are new, or that other images have.
    """

    def __init__(self, root: Path, ready: Ready, schema: pa.Schema, *, old: tuple[Page, ...], sizes: pa.Table) -> None:
        self._root = root
        self._ready = ready
        self._schema = schema
        self._old = old
        self._sizes = sizes.combine_chunks()
        good = ready.contents.good
        self._files = np.flatnonzero(good.to_numpy(zero_copy_only=False))
        self._same = ready.contents.same
        self.image_ids = ready.contents.plan.files["image_id"].combine_chunks().filter(good)
        # Which of the places that were looked up is that of a file, if it is one of those.
        unsettled = pc.and_not(good, ready.settled).to_numpy(zero_copy_only=False)
        self._place: NDArray[np.int64] = np.cumsum(unsettled) - 1

    def slice(self, start: int, end: int) -> pa.Table:
        """The rows from `start` to `end`."""
        contents, plan = self._ready.contents, self._ready.contents.plan
        rows = self._files[start:end]
        at = pa.array(rows)
        files = plan.files.select(["image_id", "path"]).take(at)
        content_hash = contents.content_hash.take(at)
        prefix = plan.own.prefix.take(at)
        arrays = {
            "image_id": files["image_id"],
            "collection": pa.repeat(plan.name, len(files)),
            "path": files["path"],
            "content_hash": content_hash,
            "bytes": contents.size.take(at),
            "prefix_id": prefix_ids(prefix),
            "prefix": prefix,
            **{name: plan.own.metadata[name].take(at) for name in plan.own.metadata.column_names},
        }
        sizes = self._sizes.take(pc.index_in(content_hash, self._sizes["content_hash"].combine_chunks()))
        arrays |= {name: sizes[name] for name in ("width", "height")}
        settled = self._ready.settled.take(at)
        place = self._ready.place.take(pa.array(self._place[rows], mask=settled.to_numpy(zero_copy_only=False)))
        arrays |= {name: place[name] for name in _FROM_VECTOR}
        same = self._same.take(at)
        if pc.any(same).as_py():
            then = self._rows_then(files["image_id"].combine_chunks())
            arrays |= {name: pc.if_else(same, then[name], arrays[name]) for name in _FROM_CONTENT}
            arrays |= {name: pc.if_else(settled, then[name], arrays[name]) for name in _FROM_VECTOR}
        made = [arrays[one.name] if one.name in arrays else pa.nulls(len(files), one.type) for one in self._schema]
        return pa.table(made, schema=self._schema)

    def _rows_then(self, image_ids: pa.Array) -> pa.Table:
        """What the last snapshot has of the images, null where it has none; reads the pages in which they would be."""
        first, last = (image_ids[at].as_py() for at in (0, -1))
        pages = [page for page in self._old if page.first <= last and page.last >= first]
        then = read_columns(self._root, pages, ["image_id", *_FROM_CONTENT, *_FROM_VECTOR])
        return then.take(pc.index_in(image_ids, then["image_id"].combine_chunks()))
