"""Sizes and times of files that a table names."""

from __future__ import annotations

import os
import stat
import unicodedata
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.sources.objects import are_urls, look_at
from fpve.urls import is_url

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
        tag: (n,) of objects in stores, what is another one as soon as their content is; null of files.
    """

    paths: pa.Array
    size: pa.Array
    mtime_ns: pa.Array
    odd: pa.Array
    there: int
    missing: int
    tag: pa.Array

    def filter(self, chosen: pa.Array) -> Stats:
        """Those of chosen (n,) files."""
        columns = (self.paths, self.size, self.mtime_ns, self.odd, self.tag)
        paths, size, times, odd, tag = (one.filter(chosen) for one in columns)
        return Stats(paths, size, times, odd, self.there, self.missing, tag)


def file_stats(folder: bytes, paths: pa.Array) -> Stats:
    """Look at the files and objects at paths (n,), relative to a folder or absolute, or URLs.

    Raises:
        SourceNotFound: a store can't be asked.
    """
    urls = are_urls(paths)
    if is_url(os.fsdecode(folder)):
        urls = pc.or_(urls, pc.invert(pc.starts_with(paths, "/")))
    if pc.any(urls).as_py():
        return _look_both(folder, paths, urls.to_numpy(zero_copy_only=False))
    parts = [_look(folder, paths.slice(start, _AT_ONCE)) for start in range(0, len(paths), _AT_ONCE)]
    return Stats(
        paths=pa.concat_arrays([part.paths for part in parts]),
        size=pa.concat_arrays([part.size for part in parts]),
        mtime_ns=pa.concat_arrays([part.mtime_ns for part in parts]),
        odd=pa.concat_arrays([part.odd for part in parts]),
        there=sum(part.there for part in parts),
        missing=sum(part.missing for part in parts),
        tag=pa.nulls(len(paths), pa.string()),
    )


def _look_both(folder: bytes, paths: pa.Array, urls: NDArray[np.bool_]) -> Stats:
    """Look at objects, and at the files among them."""
    files = file_stats(os.path.sep.encode(), paths.filter(pa.array(~urls))) if not urls.all() else None
    spelt, found = look_at(folder, paths.filter(pa.array(urls)).to_pylist())
    sizes, times = ([getattr(one, name, 0) for one in found] for name in ("size", "mtime_ns"))
    tags = [one.tag or None if one is not None else None for one in found]
    columns = [(spelt, pa.string()), (sizes, pa.int64()), (times, pa.int64()), ([False] * len(found), pa.bool_())]
    objects = [pa.array(values, kind) for values, kind in (*columns, (tags, pa.string()))]
    there = sum(one is not None for one in found)
    if files is not None:
        # In the order of the table.
        order = pa.array(np.argsort(np.r_[np.flatnonzero(urls), np.flatnonzero(~urls)]))
        theirs = (files.paths, files.size, files.mtime_ns, files.odd, files.tag)
        objects = [pa.concat_arrays(both).take(order) for both in zip(objects, theirs, strict=True)]
        there += files.there
    path, size, mtime_ns, odd, tag = objects
    return Stats(path, size, mtime_ns, odd, there, len(paths) - there, tag)


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
        pa.nulls(len(names), pa.string()),
    )


def _status(base: bytes, path: str) -> os.stat_result | None:
    try:
        return os.stat(path if path.startswith("/") else base + path.encode())  # noqa: PTH116 (bytes, and fast)
    except (OSError, ValueError):
        return None
