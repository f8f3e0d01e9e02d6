"""Inputs: the bytes of the pictures that a source holds, by number."""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Protocol, overload

import pyarrow as pa

from fpve.images import MAX_FILE_BYTES, TOO_LARGE


class Reading(NamedTuple):
    """What was read of an input.

    Attributes:
        data: the bytes of the picture's file.
        size, mtime_ns: what they were when it was read; the input may have changed since it was scanned.
    """

    data: bytes
    size: int
    mtime_ns: int


class Stamp(NamedTuple):
    """What is other as soon as a file may be another; of an object in a store also its tag, if it has one."""

    size: int
    mtime_ns: int
    tag: str = ""

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """That of a file."""
        return cls(status.st_size, status.st_mtime_ns)

    def check(self, file: int) -> None:
        """Refuse to read an open file that is not what was scanned.

        Raises:
            OSError: it has changed.
        """
        if Stamp.of(os.fstat(file)) != self:
            raise OSError(errno.ESTALE, "its file changed after it had been scanned")


# So many files are read at once: a disk answers several questions sooner than one after the other.
FILES_AT_ONCE = 4


class Inputs(Protocol):
    """Numbered inputs of one source. Read from many threads; can be pickled, to be read by other processes."""

    @property
    def at_once(self) -> int:
        """How many are best read at the same time."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def read(self, number: int) -> Reading:
        """Read the input of this number.

        Raises:
            OSError: it can't be read; `strerror` says why.
        """
        ...


def check_size(size: int) -> None:
    """Refuse to take so many bytes into memory as one picture.

    Raises:
        OSError: they are more than MAX_FILE_BYTES.
    """
    if size > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Files:
    """Files of their own, by full paths as the operating system has them."""

    paths: Sequence[bytes]

    @property
    def at_once(self) -> int:
        """How many are best read at the same time."""
        return FILES_AT_ONCE

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, number: int) -> Reading:
        """Read the file of this number."""
        return read_file(self.paths[number])


def read_file(path: bytes) -> Reading:
    """Read a regular file whole.

    Raises:
        OSError: it is no regular file, larger than MAX_FILE_BYTES, can't be read, or changes while it is read.
    """
    with open(path, "rb", opener=_without_waiting) as handle:
        status = os.fstat(handle.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        check_size(status.st_size)
        # Room is made for as much as is asked for; one more tells of a file that grows.
        data = handle.read(status.st_size + 1)
    if len(data) != status.st_size:
        # Half a picture may look like a whole one.
        raise OSError(errno.ESTALE, "its file changed while it was read")
    return Reading(data, status.st_size, status.st_mtime_ns)


def _without_waiting(path: str, flags: int) -> int:
    """Open what was a file when it was found and may be a pipe by now, which would be waited for for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


class PathsBelow(Sequence[bytes]):
    """Full paths of files, made when they are asked for: a million of them are no million objects.

    Args:
        folder: what the relative ones begin at.
        paths: (n,) binary or string; what is absolute stays.
    """

    def __init__(self, folder: bytes, paths: pa.Array) -> None:
        self._folder = folder
        self._paths = paths.cast(pa.binary())

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> PathsBelow: ...
    def __getitem__(self, index: int | slice) -> bytes | PathsBelow:
        if isinstance(index, slice):
            return PathsBelow(self._folder, self._paths[index])
        return os.path.join(self._folder, self._paths[index].as_py())  # noqa: PTH118 (bytes)


class Joined:
    """The inputs of several sources, one after the other."""

    def __init__(self, parts: Sequence[Inputs]) -> None:
        self._parts = tuple(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    @property
    def at_once(self) -> int:
        """How many are best read at the same time: as many as of the slowest source."""
        return max((part.at_once for part in self._parts), default=FILES_AT_ONCE)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, number: int) -> Reading:
        """Read the input of this number, from the source that it is of."""
        at = bisect_right(self._ends, number)
        return self._parts[at].read(number - (self._ends[at - 1] if at else 0))
