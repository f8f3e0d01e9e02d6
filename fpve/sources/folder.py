"""A folder of pictures as a source: finding its files without opening them."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.errors import SourceError, SourceNotFound
from fpve.sources.names import normalise, normalised, text_path, text_paths
from fpve.sources.walk import Found, walk

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        # Relative to the source, as the operating system has it; what is not UTF-8 is percent-escaped.
        pa.field("path", pa.string(), nullable=False),
        # The same byte for byte.
        pa.field("raw_path", pa.binary(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An input that was found but can't be an image of the collection."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What a folder holds.

    Attributes:
        files: pictures, sorted by image_id, with the columns of SCHEMA.
        skipped: files whose names clash, and pictures that are no regular files.
    """

    files: pa.Table
    skipped: tuple[Skipped, ...]


def scan_folder(folder: Path, *, collection: str, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Scan:
    """Find the pictures below a folder, by extension.

    Hidden files and folders are left out, links to folders are not followed.

    Raises:
        SourceNotFound: there is no such folder.
        SourceError: it is a file, it or a folder in it can't be read, or it holds no picture.
    """
    _check_folder(folder)
    try:
        # The manifest names it.
        str(folder).encode()
    except UnicodeEncodeError:
        raise SourceError(
            f"{str(folder)!a}: expected a path in UTF-8; rename the folder, or make a link to it"
        ) from None
    wanted, unwanted = _patterns(include), _patterns(exclude)
    found = _walk(folder, wanted, unwanted)
    files, clashes = _table(found, collection)
    skipped = (*(Skipped(text_path(path), reason) for path, reason in found.odd), *clashes)
    if not len(files):
        raise SourceError(_nothing(folder, seen_any=found.any_file, filtered=bool(wanted or unwanted), skipped=skipped))
    return Scan(files, skipped)


def has_vanished(folder: Path) -> bool:
    """Whether a folder that was scanned is gone by now: removed, unreadable, or an empty mount point."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise SourceNotFound(f"{folder}: no such folder; is its disk mounted?")
    if not folder.is_dir():
        raise SourceError(f"{folder}: expected a folder of pictures, found a file")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(f"{folder}: can't be read: permission denied")


def _walk(folder: Path, wanted: re.Pattern[str] | None, unwanted: re.Pattern[str] | None) -> Found:
    """The pictures that the patterns leave."""
    root = os.fsencode(folder)

    def chosen(path: bytes) -> bool:
        return _selected(text_path(path), wanted, unwanted)

    def unreadable(relative: bytes, error: OSError) -> None:
        base = text_path(relative) + "/" if relative else ""
        if unwanted is None or not unwanted.match(base):
            # Passed over, its pictures would count as deleted.
            raise SourceError(
                f"{os.fsdecode(root + b'/' * bool(relative) + relative)}: can't be read: {error.strerror}; "
                f'if its pictures are not wanted, exclude = ["{base}*"]'
            ) from error

    return walk(root, chosen=chosen if wanted or unwanted else None, unreadable=unreadable)


def _table(found: Found, collection: str) -> tuple[pa.Table, list[Skipped]]:
    """Files with the columns of SCHEMA, sorted by image_id, each id once; and those that were left out for that."""
    # Sorted before the columns are made of it, so that they are made once.
    order = pc.sort_indices(normalised(text_paths(found.raw_path)))
    raw = found.raw_path.take(order)
    # Without a copy of its own, where all names are UTF-8.
    path = text_paths(raw)
    name = normalised(path)
    columns = [name, path, raw, found.size.take(order), found.mtime_ns.take(order)]
    # Arrow's sort is stable: of several spellings of a name the one that was found first comes first.
    again = pc.equal(name.slice(1), name.slice(0, max(len(name) - 1, 0)))
    clashes: list[Skipped] = []
    if pc.any(again).as_py():
        once = pa.array(np.r_[True, ~again.to_numpy(zero_copy_only=False)])
        clashes = _clashes(name, path, once)
        columns = [column.filter(once) for column in columns]
    prefixed = pc.binary_join_element_wise(pa.scalar(collection), columns[0], "/")
    return pa.table([prefixed, *columns[1:]], schema=SCHEMA), clashes


def _clashes(name: pa.Array, path: pa.Array, once: pa.Array) -> list[Skipped]:
    """The files that are not taken, each with the one that is."""
    others = path.filter(pc.invert(once)).to_pylist()
    theirs = path.filter(pc.and_(once, pc.is_in(name, value_set=name.filter(pc.invert(once)))))
    taken = {normalise(one): one for one in theirs.to_pylist()}
    return [Skipped(one, f"its name is another spelling of {taken[normalise(one)]!r}") for one in others]


def _patterns(globs: Iterable[str]) -> re.Pattern[str] | None:
    """One pattern for several globs over relative paths; `*` crosses folders, `**/` is any folders or none."""
    parts = ["(?:.*/)?".join(fnmatch.translate(part)[:-2] for part in glob.split("**/")) + r"\Z" for glob in globs]
    return re.compile("|".join(parts), re.DOTALL) if parts else None


def _selected(path: str, wanted: re.Pattern[str] | None, unwanted: re.Pattern[str] | None) -> bool:
    return (wanted is None or bool(wanted.match(path))) and not (unwanted is not None and unwanted.match(path))


def _nothing(folder: Path, *, seen_any: bool, filtered: bool, skipped: tuple[Skipped, ...]) -> str:
    if skipped:
        return f"{folder}: no picture can be read; {skipped[0].path}: {skipped[0].reason}"
    if not seen_any:
        return f"{folder}: the folder is empty; is its disk mounted?"
    if filtered:
        return f"{folder}: no picture is left by include and exclude"
    return f"{folder}: no pictures in it (.jpg, .png, .webp, .tif, …)"
