"""The pictures that are looked at: each content once, however many images have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fpve.errors import QueryError
from fpve.neighbours import Mask, Rows
from fpve.search import Searcher
from fpve.selection import codes_of

# Images whose vectors are held at once: 29 MB of 896 numbers, and what a search of as many queries needs.
AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class Contents:
    """Images with a picture, and which of them have the same one, byte by byte.

    Attributes:
        rows: (n,) numbers of the images, ascending.
        content: (n,) number of each one's content, from 0.
        first: (c,) the first image of each content, ascending: what a search is to find, so that no list is filled by
            copies.
    """

    rows: Rows
    content: Rows
    first: Rows

    @classmethod
    def of(cls, searcher: Searcher, where: str | None = None) -> Contents:
        """The images of a snapshot, or those that meet an SQL condition.

        Raises:
            QueryError: it is no SQL condition over the columns of `images`.
        """
        every = np.arange(searcher.rows)
        image_norm, _ = searcher.norms_of(every)
        allowed = image_norm > 0
        if where is not None:
            allowed &= searcher.matching(where)
        rows = every[allowed]
        code = codes_of(searcher.snapshot.rows.column("content_hash"))[rows]
        # Without a hash nothing is known to be the same.
        code = np.where(code < 0, code.max(initial=-1) + 1 + np.arange(len(code)), code)
        _, place, content = np.unique(code, return_index=True, return_inverse=True)
        # Numbered in the order of their first images.
        order = np.argsort(place)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return cls(rows, rank[content.reshape(-1)], rows[place[order]])

    def copies(self) -> tuple[Rows, Rows]:
        """The images sorted by content, and where those of each content begin, and at the end their number."""
        order = np.argsort(self.content, kind="stable")
        return self.rows[order], np.searchsorted(self.content[order], np.arange(len(self.first) + 1))


def meeting(searcher: Searcher, option: str, condition: str) -> Mask:
    """Which image rows (rows,) meet the SQL condition of an option other than `where`.

    Raises:
        QueryError: it is no SQL condition over the columns of `images`; says of which option it is.
    """
    try:
        return searcher.matching(condition)
    except QueryError as error:
        raise QueryError(f"{option}: {str(error).removeprefix('where: ')}") from None


# What is told of every image, beside what was found.
NAMED = ("image_id", "collection", "path", "prefix")


def told(searcher: Searcher, rows: Rows, columns: Sequence[str]) -> dict[str, pa.Array]:
    """What is told of image rows (n,) besides what was found."""
    found = searcher.snapshot.rows.take(rows, list(columns))
    return {name: found[name].combine_chunks() for name in columns}
