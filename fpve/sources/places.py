"""Places: files of this machine and objects in stores alike, by their paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from fpve.buckets import Bucket
from fpve.errors import BucketError
from fpve.sources.inputs import Stamp
from fpve.urls import BucketPath, is_url, split_url


def is_file(path: Path) -> bool:
    """Whether there is a file, or an object of this very name.

    Raises:
        BucketError: its store can't be asked.
    """
    return path.is_file() if not isinstance(path, BucketPath) else _look(str(path)) is not None


def is_folder(path: Path) -> bool:
    """Whether there is a folder; in a store that is what has objects below it.

    Raises:
        BucketError: its store can't be asked.
    """
    if not isinstance(path, BucketPath):
        return path.is_dir()
    # Of an object there may be others below it, which is odd: then it is taken for what it is called.
    return not is_file(path) and Bucket(path).there()


def files_in(folder: Path) -> list[Path]:
    """The files, or the objects, of a folder itself.

    Raises:
        OSError: it can't be listed.
    """
    if isinstance(folder, BucketPath):
        return [folder / one.name for one in Bucket(folder).objects() if "/" not in one.name]
    return [one for one in folder.iterdir() if one.is_file()]


def stamp_of(path: bytes) -> Stamp:
    """The stamp of a file or an object.

    Raises:
        OSError: it is not there, or can't be looked at.
    """
    url = os.fsdecode(path)
    if not is_url(url):
        return Stamp.of(os.stat(path))  # noqa: PTH116 (bytes)
    found = _look(url)
    if found is None:
        raise FileNotFoundError(url)
    return found


def open_place(path: bytes | Path) -> BinaryIO:
    """Open a file or an object to be read here and there; of an object only what is read is fetched.

    Raises:
        OSError: it is not there, or can't be read.
    """
    text = os.fsdecode(path)
    if is_url(text):
        top, name = split_url(text)
        return Bucket(top).open(name)
    return open(path, "rb")  # noqa: PTH123 (a path of bytes; whoever asks for it closes it)


def read_place(path: Path) -> bytes:
    """The bytes of a file or an object.

    Raises:
        OSError: it is not there, or can't be read.
    """
    if not isinstance(path, BucketPath):
        return path.read_bytes()
    top, name = split_url(str(path))
    return Bucket(top).read(name)


def real_path(path: Path) -> bytes:
    """A path without links, as the operating system has it; of an object its URL."""
    return os.fsencode(path) if isinstance(path, BucketPath) else os.path.realpath(os.fsencode(path))


def full_path(folder: bytes, path: bytes) -> bytes:
    """A path from a folder; one that is absolute, or a URL, is what it is."""
    if is_url(os.fsdecode(path)):
        return path
    # Not by `os.path.join` where names are no paths: `a//b` is another object than `a/b`.
    return os.path.join(folder, path)  # noqa: PTH118 (bytes)


def has_vanished(root: Path) -> bool:
    """Whether a folder or a file that was scanned is gone by now: removed, unreadable, or an empty mount point.

    So is all of a store that can't be asked.
    """
    if isinstance(root, BucketPath):
        try:
            return not Bucket(root).there()
        except BucketError:
            return True
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except NotADirectoryError:
        return False
    except OSError:
        return True


def _look(url: str) -> Stamp | None:
    top, name = split_url(url)
    found = Bucket(top).look(name) if name else None
    return None if found is None else Stamp(found.size, found.mtime_ns, found.tag)
