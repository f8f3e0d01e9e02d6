"""Pictures that a store names by their full paths: files, and members of archives."""

from __future__ import annotations

import os
from functools import lru_cache

from fpve.sources.inputs import check_size, read_file
from fpve.sources.tar import NAME, OFFSET, SIZE, index_archive

# Pictures are asked for in the order of their paths, so those of one archive one after the other.
_ARCHIVES_KNOWN = 4
_IN_ARCHIVE = b".tar/"


def read_stored(path: bytes) -> bytes:
    """The bytes of the picture at a full path, which may lead into a tar archive.

    Raises:
        OSError: it is not there, can't be read, is no regular file, or too large.
        SourceError: its archive is compressed by now.
    """
    try:
        return read_file(path).data
    except NotADirectoryError:
        archive, name = _split(path)
        status = os.stat(archive)  # noqa: PTH116 (bytes)
        place = _members(archive, status.st_size, status.st_mtime_ns).get(name)
        if place is None:
            raise FileNotFoundError(f"{os.fsdecode(archive)} has no member {os.fsdecode(name)}") from None
        check_size(place[1])
        with open(archive, "rb", buffering=0) as tar:  # noqa: PTH123 (bytes)
            return os.pread(tar.fileno(), place[1], place[0])


def seems_there(path: bytes) -> bool:
    """Whether there is a file at a full path, or an archive that it leads into; neither is read."""
    try:
        return os.path.exists(path) or bool(_split(path))  # noqa: PTH110 (bytes)
    except FileNotFoundError:
        return False


def _split(path: bytes) -> tuple[bytes, bytes]:
    """The archive that a path leads into, and the rest of it."""
    at = path.lower().find(_IN_ARCHIVE)
    while at >= 0:
        end = at + len(_IN_ARCHIVE)
        if os.path.isfile(path[: end - 1]):  # noqa: PTH113 (bytes)
            return path[: end - 1], path[end:]
        at = path.lower().find(_IN_ARCHIVE, end)
    raise FileNotFoundError(os.fsdecode(path))


@lru_cache(maxsize=_ARCHIVES_KNOWN)
def _members(archive: bytes, _size: int, _mtime_ns: int) -> dict[bytes, tuple[int, int]]:
    """Where the pictures in an archive lie; for as long as it is what it was."""
    index = index_archive(archive)
    names, offsets, sizes = (index[name].to_pylist() for name in (NAME, OFFSET, SIZE))
    return dict(zip(names, zip(offsets, sizes, strict=True), strict=True))
