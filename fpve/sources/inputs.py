"""Inputs: the bytes of the pictures that a source holds, by number."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Reading(NamedTuple):
    """What was read of an input.

    Attributes:
        data: the bytes of the picture's file.
        size, mtime_ns: what they were when it was read; the input may have changed since it was scanned.
    """

    data: bytes
    size: int
    mtime_ns: int


class Inputs(Protocol):
    """Numbered inputs of one source. Read from many threads."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def read(self, number: int) -> Reading:
        """Read the input of this number.

        Raises:
            OSError: it can't be read; `strerror` says why.
        """
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """Files of their own, by full paths as the operating system has them."""

    paths: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, number: int) -> Reading:
        """Read the file of this number."""
        with open(self.paths[number], "rb") as handle:  # noqa: PTH123 (a path of bytes, which pathlib has not)
            status = os.fstat(handle.fileno())
            return Reading(handle.read(), status.st_size, status.st_mtime_ns)
