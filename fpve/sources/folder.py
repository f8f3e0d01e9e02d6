"""A folder of pictures as a source: finding its files without opening them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fpve.errors import SourceError, SourceNotFound
from fpve.sources.inputs import Files, Inputs, PathsBelow
from fpve.sources.metadata import TABLE_SUFFIXES
from fpve.sources.names import normalised, text_path, text_paths
from fpve.sources.objects import Objects, find_objects
from fpve.sources.places import real_path
from fpve.sources.scan import Globs, Scan, Skipped, each_once, tabulate
from fpve.sources.walk import PICTURES, Found, walk
from fpve.urls import BucketPath


def find_files(folder: Path, globs: Globs, suffixes: frozenset[bytes] = PICTURES) -> Found:
    """Walk a folder for files with these extensions, as far as the globs take them.

    Raises:
        SourceNotFound, SourceError: there is no such folder, or it or a folder in it can't be read.
    """
    if isinstance(folder, BucketPath):
        found = find_objects(folder, globs.take if globs else None, suffixes)
        if found is None:
            raise no_source(folder)
        return found
    check_folder(folder)
    root = os.fsencode(folder)

    def chosen(path: bytes) -> bool:
        return globs.take(text_path(path))

    def unreadable(relative: bytes, error: OSError) -> None:
        base = text_path(relative) + "/" if relative else ""
        if not globs.exclude(base):
            # Passed over, its pictures would count as deleted.
            raise SourceError(
                f"{os.fsdecode(root + b'/' * bool(relative) + relative)}: can't be read: {error.strerror}; "
                f'if its pictures are not wanted, exclude = ["{base}*"]'
            ) from error

    return walk(root, chosen=chosen if globs else None, unreadable=unreadable, suffixes=suffixes)


def scan_found(folder: Path, found: Found, *, collection: str, globs: Globs) -> Scan:
    """Make a scan of the pictures that were found below a folder.

    Raises:
        SourceError: there are none.
    """
    # Sorted before the columns are made of it, so that they are made once.
    order, clashes = each_once(text_paths(found.raw_path))
    raw = found.raw_path.take(order)
    # Without a copy of its own, where all names are UTF-8.
    path = text_paths(raw)
    files = tabulate(
        collection,
        normalised(path),
        path=path,
        inside=path,
        number=pa.array(np.arange(len(order))),
        size=found.size.take(order),
        mtime_ns=found.mtime_ns.take(order),
        origin=pa.nulls(len(order), pa.string()) if found.tag is None else found.tag.take(order),
    )
    skipped = (*(Skipped(text_path(path), reason) for path, reason in found.odd), *clashes)
    if not len(order):
        raise SourceError(_nothing(folder, found, filtered=bool(globs), skipped=skipped))

    size, mtime_ns = (files[name].combine_chunks() for name in ("size", "mtime_ns"))

    def inputs(numbers: NDArray[np.int64]) -> Inputs:
        at = pa.array(numbers)
        if found.tag is None:
            return Files(PathsBelow(os.fsencode(folder), raw.take(at)))
        return Objects(os.fsencode(folder), path.take(at), size.take(at), mtime_ns.take(at))

    tagged = found.tag is not None and not files["origin"].null_count
    return Scan(
        files, skipped, inputs, real_path(folder), folder, (folder,), undecodable=found.undecodable, tagged=tagged
    )


def no_source(file: Path) -> SourceError:
    """The error for a file that is no source."""
    return SourceError(
        f"{file}: expected a folder of pictures, a .tar archive or a table ({', '.join(TABLE_SUFFIXES)}), found a file"
    )


def check_folder(folder: Path) -> None:
    """Refuse what is no folder that can be read.

    Raises:
        SourceNotFound, SourceError: it is not there, is a file, can't be read, or has a name that is no text.
    """
    if not folder.exists():
        raise SourceNotFound(f"{folder}: no such folder; is its disk mounted?")
    if not folder.is_dir():
        raise SourceError(f"{folder}: expected a folder of pictures, found a file")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(f"{folder}: can't be read: permission denied")
    check_name(folder)


def check_name(path: Path) -> None:
    """Refuse a path that is not UTF-8: the manifest names it.

    Raises:
        SourceError: naming the remedy.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise SourceError(
            f"{str(path)!a}: expected a path in UTF-8; rename what is not, or make a link to it"
        ) from None


def _nothing(folder: Path, found: Found, *, filtered: bool, skipped: tuple[Skipped, ...]) -> str:
    if skipped:
        return f"{folder}: no picture can be read; {skipped[0].path}: {skipped[0].reason}"
    if found.undecodable:
        kinds = ", ".join(found.undecodable)
        return f"{folder}: only pictures of formats that can't be decoded ({kinds}): convert them to JPEG or PNG"
    if not found.any_file:
        return f"{folder}: the folder is empty; is its disk mounted?"
    if filtered:
        return f"{folder}: no picture is left by include and exclude"
    return f"{folder}: no pictures in it (.jpg, .png, .webp, .tif, …)"
