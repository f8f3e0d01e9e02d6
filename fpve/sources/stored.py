"""Pictures that a store names by their full paths: files, and members of archives."""

from __future__ import annotations

import os
from functools import lru_cache

from fpve.sources.inputs import Stamp, check_size, read_file
from fpve.sources.objects import read_object
from fpve.sources.places import is_file, open_place, stamp_of
from fpve.sources.tar import NAME, OFFSET, SIZE, index_archive
from fpve.urls import any_path, is_url

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
        return read_picture(path)
    except (NotADirectoryError, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) and not is_url(os.fsdecode(path)):
            raise
        archive, name = _split(path)
        place = _members(archive, stamp_of(archive)).get(name)
        if place is None:
            raise FileNotFoundError(f"{os.fsdecode(archive)} has no member {os.fsdecode(name)}") from None
        check_size(place[1])
        with open_place(archive) as tar:
            tar.seek(place[0])
            return tar.read(place[1])


def read_picture(path: bytes) -> bytes:
    """The bytes of the picture that is a file, or an object.

    Raises:
        OSError: it is not there, can't be read, is no regular file, or too large.
    """
    url = os.fsdecode(path)
    return read_object(url) if is_url(url) else read_file(path).data


def seems_there(path: bytes) -> bool:
    """Whether there is a file at a full path, or an archive that it leads into; neither is read.

    Of what is in an object store that is assumed: to ask takes as long as to read it.
    """
    if is_url(os.fsdecode(path)):
        return True
    try:
        return os.path.exists(path) or bool(_split(path))  # noqa: PTH110 (bytes)
    except FileNotFoundError:
        return False


def _split(path: bytes) -> tuple[bytes, bytes]:
    """The archive that a path leads into, and the rest of it."""
    at = path.lower().find(_IN_ARCHIVE)
    while at >= 0:
        end = at + len(_IN_ARCHIVE)
        if is_file(any_path(os.fsdecode(path[: end - 1]))):
            return path[: end - 1], path[end:]
        at = path.lower().find(_IN_ARCHIVE, end)
    raise FileNotFoundError(os.fsdecode(path))


@lru_cache(maxsize=_ARCHIVES_KNOWN)
def _members(archive: bytes, _stamp: Stamp) -> dict[bytes, tuple[int, int]]:
    """Where the pictures in an archive lie; for as long as it is what it was."""
    index = index_archive(archive)
    names, offsets, sizes = (index[name].to_pylist() for name in (NAME, OFFSET, SIZE))
    return dict(zip(names, zip(offsets, sizes, strict=True), strict=True))
