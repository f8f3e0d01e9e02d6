"""Walking a folder: the files below it, as columns, with no Python object kept for any of them."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.images import EXTENSIONS

# Names, sizes and times of so many files are Python objects at once, some 20 MB: enough to make the turning of them
# into columns cheap.
_AT_ONCE = 65_536
_DOT = ord(".")
PICTURES = frozenset(one.encode() for one in EXTENSIONS)
# Pictures that can't be decoded here: of phones, of cameras, of programs, and drawings.
UNDECODABLE = frozenset(
    b".heic .heif .dng .raw .cr2 .cr3 .crw .nef .nrw .arw .sr2 .raf .orf .rw2 .pef .psd .xcf .exr .jxl .svg".split()
)


@dataclass
class Found:
    """What a walk found, in no order.

    Attributes:
        raw_path: (n,) binary relative paths of files.
        size, mtime_ns: (n,) int64.
        odd: relative paths that have such a file's name and can't be one, with the reason.
        any_file: whether there was any file at all, hidden ones apart.
        undecodable: how many files there were of each of UNDECODABLE.
        tag: (n,) of objects in stores, what is another one as soon as their content is; None of files.
    """

    raw_path: pa.Array
    size: pa.Array
    mtime_ns: pa.Array
    odd: list[tuple[bytes, str]]
    any_file: bool
    undecodable: dict[str, int]
    tag: pa.Array | None = None


def walk(
    folder: bytes,
    *,
    chosen: Callable[[bytes], bool] | None,
    unreadable: Callable[[bytes, OSError], None],
    suffixes: frozenset[bytes] = PICTURES,
) -> Found:
    """Find the files below a folder that have one of these extensions; depth first, without recursion.

    Hidden files and folders are left out, links to folders are not followed.

    Args:
        folder: where to begin.
        chosen: which files are wanted, by relative path; the others are not even looked at.
        unreadable: told of a folder that can't be read, by its relative path; raises if it is not to be left out.
        suffixes: extensions in lower case, those of pictures unless others are asked for.
    """
    columns = _Columns()
    odd: list[tuple[bytes, str]] = []
    any_file = False
    undecodable: Counter[bytes] = Counter()
    # Per file this loop costs hardly more than listing it and asking for its status, and is to stay so.
    names, sizes, times, is_regular = columns.names, columns.sizes, columns.times, stat.S_ISREG
    stack = [b""]
    while stack:
        base = stack.pop()
        columns.enter(base)
        try:
            with os.scandir(folder + b"/" + base[:-1] if base else folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] == _DOT:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(base + name + b"/")
                        continue
                    suffix = name[name.rfind(b".") :]
                    if suffix not in suffixes and suffix.lower() not in suffixes:
                        any_file = any_file or not _is_folder(entry)
                        if suffix.lower() in UNDECODABLE and (chosen is None or chosen(base + name)):
                            undecodable[suffix.lower()] += 1
                        continue
                    if chosen is not None and not chosen(base + name):
                        any_file = any_file or not _is_folder(entry)
                        continue
                    try:
                        status = entry.stat()
                    except OSError as error:
                        odd.append((base + name, f"can't be read: {error.strerror}"))
                        continue
                    if not is_regular(status.st_mode):
                        if not stat.S_ISDIR(status.st_mode):
                            odd.append((base + name, "not a regular file"))
                        continue
                    names.append(name)
                    sizes.append(status.st_size)
                    times.append(status.st_mtime_ns)
                    if len(names) == _AT_ONCE:
                        columns.flush()
        except OSError as error:
            unreadable(base.removesuffix(b"/"), error)
    found = columns.finish()
    by_suffix = {suffix.decode(): count for suffix, count in undecodable.most_common()}
    return Found(*found, odd, any_file or bool(odd) or len(found[0]) > 0, by_suffix)


@dataclass
class _Columns:
    """Files that were found, turned into columns a part at a time."""

    names: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    # The folders that hold them, and at which of the names each begins.
    _bases: list[bytes] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _parts: list[tuple[pa.Array, pa.Array, pa.Array]] = field(default_factory=list)

    def enter(self, base: bytes) -> None:
        """What follows lies in this folder."""
        if self._starts and self._starts[-1] == len(self.names):
            self._bases[-1] = base
        else:
            self._bases.append(base)
            self._starts.append(len(self.names))

    def flush(self) -> None:
        """Turn what there is into columns."""
        if not self.names:
            return
        counts = np.diff([*self._starts, len(self.names)])
        bases = pa.array(self._bases, pa.binary()).take(pa.array(np.repeat(np.arange(len(counts)), counts)))
        paths = pc.binary_join_element_wise(bases, pa.array(self.names, pa.binary()), b"")
        self._parts.append((paths, pa.array(self.sizes, pa.int64()), pa.array(self.times, pa.int64())))
        current = self._bases[-1]
        for one in (self.names, self.sizes, self.times, self._bases, self._starts):
            one.clear()
        self.enter(current)

    def finish(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        """All columns."""
        self.flush()
        empty = tuple(pa.array([], kind) for kind in (pa.binary(), pa.int64(), pa.int64()))
        paths, sizes, times = (pa.concat_arrays(column) for column in zip(empty, *self._parts, strict=True))
        return paths, sizes, times


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Whether a name that is no folder is a link to one."""
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:
        return False
