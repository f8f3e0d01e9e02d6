"""Tar archives as a source: their members are the pictures, read from where they lie."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.buckets import Bucket
from fpve.errors import BucketError, SourceError, SourceNotFound
from fpve.sources.folder import check_name, find_files
from fpve.sources.inputs import FILES_AT_ONCE, Reading, Stamp, check_size
from fpve.sources.metadata import Metadata, lossless, narrowed
from fpve.sources.names import normalised, text_path, text_paths
from fpve.sources.objects import OBJECTS_AT_ONCE, check_reach, named_objects
from fpve.sources.places import is_file, is_folder, real_path, stamp_of
from fpve.sources.scan import Globs, Index, Scan, Skipped, each_once, tabulate
from fpve.sources.tar import (
    COMPRESSED_SUFFIXES,
    FIELD,
    LOST,
    NAME,
    OFFSET,
    SIZE,
    compressed,
    damage_of,
    index_archive,
    join_indexes,
    skipped_in,
    with_lost,
)
from fpve.urls import BucketPath, any_path, is_url, split_url

# What is remembered of an archive, by its path without links.
Remembered = Callable[[bytes], Index | None]
_SUFFIX = ".tar"
_SUFFIXES = frozenset(Path(f"x{one}").suffix.encode() for one in (_SUFFIX, *COMPRESSED_SUFFIXES))


def remember_nothing(_: bytes) -> Index | None:
    """Nothing is known of any archive."""
    return None


def is_archive(path: Path) -> bool:
    """Whether a path is called like an archive, compressed ones included, or is a glob."""
    name = path.name.lower()
    return name.endswith((_SUFFIX, *COMPRESSED_SUFFIXES)) or (glob.has_magic(str(path)) and not _is_folder(path))


def archives_below(folder: Path, globs: Globs) -> list[bytes]:
    """Relative paths of the archives below a folder, sorted; without those of which `exclude` takes everything."""
    found = find_files(folder, Globs(None, globs.unwanted), _SUFFIXES).raw_path.to_pylist()
    archives = [one for one in found if text_path(one).lower().endswith((_SUFFIX, *COMPRESSED_SUFFIXES))]
    return sorted(one for one in archives if not globs.exclude(f"{text_path(one)}/"))


def named_archives(source: Path) -> tuple[Path, list[bytes]]:
    """The archives that a path or a glob names, relative to a folder.

    Raises:
        SourceNotFound: there are none.
        SourceError: the glob finds other files.
    """
    if isinstance(source, BucketPath) and glob.has_magic(str(source)):
        folder, objects = named_objects(source)
        return folder, _all_archives(source, [os.fsencode(one.name) for one in objects])
    if not glob.has_magic(str(source)) or source.exists():
        if not (is_file(source) if isinstance(source, BucketPath) else source.exists()):
            raise SourceNotFound(f"{source}: no such archive; is its disk mounted?")
        return source.parent, [os.fsencode(source.name)]
    first = next(part for part in source.parts if glob.has_magic(part))
    base = Path(*source.parts[: source.parts.index(first)])
    found = sorted(glob.glob(os.fsencode(source), recursive=True))  # noqa: PTH207 (bytes)
    return base, [os.path.relpath(one, os.fsencode(base)) for one in _all_archives(source, found)]


def _all_archives(source: Path, found: list[bytes]) -> list[bytes]:
    """What a glob found, if these are archives."""
    if not found:
        raise SourceNotFound(f"{source}: no file is called so; is its disk mounted?")
    for one in found:
        if not text_path(one).lower().endswith((_SUFFIX, *COMPRESSED_SUFFIXES)):
            raise SourceError(f"{source}: expected .tar archives, found {os.fsdecode(one)}; end the glob in .tar")
    return found


def _is_folder(path: Path) -> bool:
    return is_folder(path) if isinstance(path, BucketPath) else path.exists()


def scan_archives(
    source: Path,
    base: Path,
    archives: list[bytes],
    *,
    collection: str,
    globs: Globs,
    remembered: Remembered = remember_nothing,
) -> Scan:
    """Find the pictures in archives without reading one; of an archive that is remembered not even the headers.

    Args:
        source: what the job names.
        base: the folder of the archives, at which paths begin.
        archives: their relative paths.
        collection: the first part of every image_id.
        globs: which pictures are taken, by `archive.tar/member`.
        remembered: what is known of archives.

    Raises:
        SourceError: an archive is compressed or can't be read, or none holds a picture.
    """
    check_name(base)
    known: list[_Archive] = []
    skipped: list[Skipped] = []

    def look(relative: bytes) -> tuple[list[_Archive], list[Skipped]]:
        why: list[Skipped] = []
        return _look(base, relative, remembered, why), why

    # A store takes its time for each, whatever else it is asked.
    looked = Bucket(base).each(look, archives) if isinstance(base, BucketPath) else map(look, archives)
    for found, why in looked:
        known += found
        skipped += why
    index = join_indexes([one.index for one in known] or [index_of_nothing()])
    counts = [len(one.index) for one in known]
    of = np.repeat(np.arange(len(known), dtype=np.int32), counts)
    names = index[NAME].combine_chunks()
    heads = pa.array([one.relative for one in known], pa.binary()).take(pa.array(of))
    path = text_paths(pc.binary_join_element_wise(heads, names, b"/"))
    chosen = pc.indices_nonzero(globs.mask(path))
    order, clashes = each_once(path.take(chosen))
    order = chosen.take(order).cast(pa.int64())
    skipped += clashes
    if not len(order):
        first = f"; {skipped[0].path}: {skipped[0].reason}" if skipped else ""
        rest = "is left by include and exclude" if globs and len(path) else f"in {len(archives)} archives"
        raise SourceError(f"{source}: no picture {rest}{first}")
    mine = of[order.to_numpy()]
    files = tabulate(
        collection,
        normalised(path.take(order)),
        path=path.take(order),
        inside=text_paths(names.take(order)),
        number=order,
        size=index[SIZE].take(order).combine_chunks(),
        mtime_ns=pa.array(np.array([one.stamp.mtime_ns for one in known], np.int64)[mine]),
        origin=pc.binary_join_element_wise(
            pa.array([":".join((*one.stamp.tag.split(), str(one.stamp.size))) for one in known], pa.string()).take(
                pa.array(mine)
            ),
            index[OFFSET].take(order).combine_chunks().cast(pa.string()),
            ":",
        ),
    )
    offset, size = (index[name].to_numpy() for name in (OFFSET, SIZE))

    def inputs(numbers: NDArray[np.int64]) -> Members:
        return Members(
            [one.path for one in known], [one.stamp for one in known], of[numbers], offset[numbers], size[numbers]
        )

    return Scan(
        files,
        tuple(skipped),
        inputs,
        real_path(source),
        base,
        (base, *(any_path(os.fsdecode(one.path)) for one in known)),
        _metadata(source, path, index),
        sidecars=True,
        shared_times=True,
        indexes=tuple(Index(one.path, one.stamp, one.index) for one in known if one.fresh),
        tagged=all(one.stamp.tag for one in known),
    )


def index_of_nothing() -> pa.Table:
    """The index of an archive without pictures."""
    return pa.table({NAME: pa.array([], pa.binary()), OFFSET: pa.array([], pa.int64()), SIZE: pa.array([], pa.int64())})


@dataclass(frozen=True, slots=True)
class _Archive:
    """An archive of which it is known what it holds; `fresh` if that is worth to be remembered."""

    relative: bytes
    path: bytes
    stamp: Stamp
    index: pa.Table
    fresh: bool


def _look(base: Path, relative: bytes, remembered: Remembered, skipped: list[Skipped]) -> list[_Archive]:
    """The archive at a path, if it is one; why not, and what in it can't be read, is added to `skipped`."""
    shown = text_path(relative)
    path = os.path.join(os.fsencode(base), relative)  # noqa: PTH118 (bytes)
    if not isinstance(base, BucketPath):
        path = os.path.realpath(path)
    if shown.lower().endswith(COMPRESSED_SUFFIXES):
        raise compressed(str(base / shown))
    try:
        if not isinstance(base, BucketPath) and not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 (bytes)
            skipped.append(Skipped(shown, "not a regular file"))
            return []
        stamp, before = stamp_of(path), remembered(path)
        fresh = before is None or before.stamp != stamp
        index = index_archive(path) if before is None or fresh else before.members
    except OSError as error:
        # Passed over, its pictures would count as deleted.
        raise SourceError(
            f'{base / shown}: can\'t be read: {error.strerror}; if its pictures are not wanted, exclude = ["{shown}/*"]'
        ) from error
    damage = damage_of(index)
    if damage is not None:
        skipped.append(Skipped(shown, damage))
        index = with_lost(index, before.members) if before is not None else index
    skipped += [Skipped(f"{shown}/{name}", reason) for name, reason in skipped_in(index)]
    # What was in a damaged one is to be known until it is whole again.
    return [_Archive(relative, path, stamp, index, fresh and damage is None)]


def _metadata(source: Path, path: pa.Array, index: pa.Table) -> Metadata | None:
    """What the sidecars of all members say."""
    fields = [name for name in index.column_names if name.startswith(FIELD)]
    if not fields:
        return None
    texts = index.select(fields).rename_columns([name.removeprefix(FIELD) for name in fields])
    columns = texts
    for at, name in enumerate(texts.column_names):
        # A class is written as a text, whatever it is.
        column = narrowed(texts[name]) if name == "cls" else lossless(source, texts[name])
        columns = columns.set_column(at, name, column)
    return Metadata(source, path, columns, texts)


class Members:
    """Members of archives, by where they lie.

    Args:
        archives, stamps: paths of archives, and what they were when they were scanned.
        of: (n,) in which archive each member is.
        offset, size: (n,) where it is there; the offset LOST is nowhere.
    """

    def __init__(
        self,
        archives: list[bytes],
        stamps: list[Stamp],
        of: NDArray[np.int32],
        offset: NDArray[np.int64],
        size: NDArray[np.int64],
    ) -> None:
        self._archives = archives
        self._stamps = stamps
        self._of = of
        self._offset = offset
        self._size = size
        self._in_stores = any(is_url(os.fsdecode(one)) for one in archives)
        # A file system each, with its connections.
        self._buckets: dict[bytes, Bucket] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process needs to read them: no connections."""
        return Members, (self._archives, self._stamps, self._of, self._offset, self._size)

    @property
    def at_once(self) -> int:
        """How many are best read at the same time."""
        return OBJECTS_AT_ONCE if self._in_stores else FILES_AT_ONCE

    def __len__(self) -> int:
        return len(self._of)

    def read(self, number: int) -> Reading:
        """Read the member of this number."""
        at, offset, size = int(self._of[number]), int(self._offset[number]), int(self._size[number])
        if offset == LOST:
            raise OSError(errno.EIO, "its archive is damaged, and held it when it was whole")
        check_size(size)
        if self._in_stores:
            data = self._part(self._archives[at], offset, size)
            return Reading(data, size, self._stamps[at].mtime_ns)
        # Opened each time: descriptors that many threads share would have to be counted, and this costs microseconds.
        with open(self._archives[at], "rb", buffering=0) as file:  # noqa: PTH123 (a path of bytes)
            self._stamps[at].check(file.fileno())
            data = os.pread(file.fileno(), size, offset)
        if len(data) < size:
            raise OSError(errno.EIO, "its archive is cut off")
        return Reading(data, size, self._stamps[at].mtime_ns)

    def _part(self, archive: bytes, offset: int, size: int) -> bytes:
        top, name = split_url(os.fsdecode(archive))
        if not size:
            # Of nothing no store gives a part.
            return b""
        try:
            data = self._buckets.setdefault(archive, Bucket(top)).part(name, offset, offset + size)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "its archive is not there any more") from None
        except BucketError as error:
            check_reach(error, any_path(os.fsdecode(archive)))
            raise
        if len(data) < size:
            raise OSError(errno.ESTALE, "its archive changed after it had been listed")
        return data
