"""Sizes and times of files that a table names."""

from __future__ import annotations

import os
import stat
import unicodedata
from dataclasses import dataclass

import pyarrow as pa

# So many are Python objects at once.
_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Stats:
    """What the file system says of n files.

    Attributes:
        paths: (n,) their paths, in the spelling by which they can be opened.
        size, mtime_ns: (n,) int64; 0 of files that are not there, or not to be looked at.
        odd: (n,) which are there and no regular files: a folder, or a fifo that nobody may ever write to.
        there, missing: how many are there, and are not.
    """

    paths: pa.Array
    size: pa.Array
    mtime_ns: pa.Array
    odd: pa.Array
    there: int
    missing: int

    def filter(self, chosen: pa.Array) -> Stats:
        """Those of chosen (n,) files."""
        paths, size, times, odd = (one.filter(chosen) for one in (self.paths, self.size, self.mtime_ns, self.odd))
        return Stats(paths, size, times, odd, self.there, self.missing)


def file_stats(folder: bytes, paths: pa.Array) -> Stats:
    """Look at the files at paths (n,), relative to a folder or absolute."""
    parts = [_look(folder, paths.slice(start, _AT_ONCE)) for start in range(0, len(paths), _AT_ONCE)]
    return Stats(
        paths=pa.concat_arrays([part.paths for part in parts]),
        size=pa.concat_arrays([part.size for part in parts]),
        mtime_ns=pa.concat_arrays([part.mtime_ns for part in parts]),
        odd=pa.concat_arrays([part.odd for part in parts]),
        there=sum(part.there for part in parts),
        missing=sum(part.missing for part in parts),
    )


def _look(folder: bytes, paths: pa.Array) -> Stats:
    base = folder + b"/"
    names, sizes, times, odd = paths.to_pylist(), [], [], []
    there = respelt = 0
    for at, path in enumerate(names):
        status = _status(base, path)
        if status is None and not path.isascii():
            # Tables are written where names are normalised, and files are where they are not.
            for form in ("NFC", "NFD"):
                other = unicodedata.normalize(form, path)
                status = status or _status(base, other)
                if status is not None:
                    names[at], respelt = other, respelt + 1
                    break
        there += status is not None
        sizes.append(status.st_size if status else 0)
        times.append(status.st_mtime_ns if status else 0)
        odd.append(status is not None and not stat.S_ISREG(status.st_mode))
    return Stats(
        pa.array(names, pa.string()) if respelt else paths,
        pa.array(sizes, pa.int64()),
        pa.array(times, pa.int64()),
        pa.array(odd, pa.bool_()),
        there,
        len(names) - there,
    )


def _status(base: bytes, path: str) -> os.stat_result | None:
    try:
        return os.stat(path if path.startswith("/") else base + path.encode())  # noqa: PTH116 (bytes, and fast)
    except (OSError, ValueError):
        return None
