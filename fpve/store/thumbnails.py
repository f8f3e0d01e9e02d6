"""Thumbnails as readers ask for them: a few of a hundred thousand by their content, without reading the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fpve.store.files import at_hand
from fpve.store.manifest import Table
from fpve.store.parquet import damaged

# So many digits of a content hash tell contents apart almost always, in a quarter of the memory; the whole hash is
# compared when a thumbnail is read.
_DIGITS = 16


class Thumbnails:
    """The thumbnails of one snapshot. Safe to use from many threads.

    Args:
        root: of the store.
        tables: their files.
    """

    def __init__(self, root: Path, tables: Collection[Table]) -> None:
        self._files = [_File(root, one.file.path) for one in tables]

    def read(self, content_hashes: Collection[str]) -> dict[str, bytes]:
        """JPEGs by content hash, as far as there are any.

        Raises:
            StoreCorrupt: a file is missing or damaged.
        """
        wanted = pa.array(sorted(set(content_hashes)), pa.string())
        found: dict[str, bytes] = {}
        for file in self._files:
            part = file.read(wanted)
            found |= dict(zip(part["content_hash"].to_pylist(), part["jpeg"].to_pylist(), strict=True))
        return found


class _File:
    """A file of thumbnails, of which is remembered what is where."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._name = name

    @property
    def _path(self) -> Path:
        return at_hand(self._root, self._name)

    def read(self, wanted: pa.Array) -> pa.Table:
        """The rows of these content hashes.

        Raises:
            StoreCorrupt: the file is missing or damaged.
        """
        try:
            part = self._groups(self._groups_of(_keys(wanted)), ["content_hash", "jpeg"])
        except (OSError, pa.ArrowException) as error:
            raise damaged(self._path, error) from error
        return part.filter(pc.is_in(part["content_hash"], value_set=wanted))

    def _groups(self, groups: Sequence[int] | None, columns: list[str]) -> pa.Table:
        """Some columns of some row groups, or of all."""
        # A file that is open is of one thread only. To open it is quick with its footer, and slow without it.
        with pq.ParquetFile(self._path, metadata=self._footer, page_checksum_verification=True) as file:
            return file.read(columns) if groups is None else file.read_row_groups(groups, columns)

    @cached_property
    def _footer(self) -> pq.FileMetaData:
        return pq.read_metadata(self._path)

    @cached_property
    def _index(self) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
        """The beginnings of all content hashes (n,), ascending, and the row group (n,) that each is in."""
        keys = _keys(self._groups(None, ["content_hash"])["content_hash"])
        counts = [self._footer.row_group(number).num_rows for number in range(self._footer.num_row_groups)]
        order = np.argsort(keys, kind="stable")
        return keys[order], np.repeat(np.arange(len(counts)), counts)[order]

    def _groups_of(self, keys: NDArray[np.bytes_]) -> list[int]:
        """The row groups that hold content hashes with these beginnings (m,)."""
        known, groups = self._index
        first, last = (np.searchsorted(known, keys, side=side) for side in ("left", "right"))
        spans = [groups[start:stop] for start, stop in zip(first.tolist(), last.tolist(), strict=True) if start < stop]
        found: list[int] = np.unique(np.concatenate(spans)).tolist() if spans else []
        return found


def _keys(content_hashes: pa.Array | pa.ChunkedArray) -> NDArray[np.bytes_]:
    """The beginnings (n,) of content hashes."""
    keys: NDArray[np.bytes_] = np.asarray(pc.utf8_slice_codeunits(content_hashes, 0, _DIGITS), f"S{_DIGITS}")
    return keys
