"""What a source holds, found without opening a picture: the same for folders, tables and archives."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.sources.inputs import Inputs, Stamp
from fpve.sources.metadata import Metadata
from fpve.sources.names import normalise, normalised
from fpve.sources.places import has_vanished

FILES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        # Relative to the scan's folder, or absolute, as the operating system has it; what is not UTF-8 is
        # percent-escaped. In an archive the archive's path comes first.
        pa.field("path", pa.string(), nullable=False),
        # The same, but from the top of the archive or table that holds the picture.
        pa.field("inside", pa.string(), nullable=False),
        # By which the scan's inputs and its metadata know the picture.
        pa.field("number", pa.int64(), nullable=False),
        # Null where only reading tells it.
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        # What else must be as it was, if size and time are to prove that the picture is; null if nothing.
        pa.field("origin", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An input that was found but can't be an image of the collection."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Index:
    """What an archive holds, to be remembered by whoever scans it again.

    Attributes:
        archive: its path without links, as the operating system has it.
        stamp: of the file that was listed.
        members: its members, and what their sidecars say.
    """

    archive: bytes
    stamp: Stamp
    members: pa.Table


@dataclass(frozen=True, slots=True)
class Scan:
    """What a source holds.

    Attributes:
        files: pictures, sorted by image_id, with the columns of FILES.
        skipped: inputs that can't be images: names that clash, and what is no regular file.
        inputs: gives the inputs of these numbers, in this order.
        identity: names the source: sizes and times of another one prove nothing.
        folder: what relative paths begin at.
        roots: what must be there for the source to be there.
        metadata: what the source itself says of its pictures, by `number`; None if nothing.
        sidecars: whether that comes from files beside the pictures, whose fields nobody chose for a store.
        shared_times: whether the times are those of an archive or a table, and not the pictures' own.
        typical_size: bytes of a picture, roughly, where `size` is null.
        indexes: of archives, to be remembered.
        missing: how many files of a table of paths are not there.
        undecodable: how many files there are, by their extensions, of formats that can't be decoded.
        tagged: whether `origin` is another one as soon as the content is, whatever the time says.
    """

    files: pa.Table
    skipped: tuple[Skipped, ...]
    inputs: Callable[[NDArray[np.int64]], Inputs]
    identity: bytes
    folder: Path
    roots: tuple[Path, ...]
    metadata: Metadata | None = None
    sidecars: bool = False
    shared_times: bool = False
    typical_size: int = 0
    indexes: tuple[Index, ...] = ()
    missing: int = 0
    undecodable: Mapping[str, int] = field(default_factory=dict)
    tagged: bool = False

    def has_vanished(self) -> bool:
        """Whether the source that was scanned is gone by now."""
        return any(map(has_vanished, self.roots))


@dataclass(frozen=True, slots=True)
class Globs:
    """Which relative paths a collection takes."""

    wanted: re.Pattern[str] | None = None
    unwanted: re.Pattern[str] | None = None

    @classmethod
    def of(cls, include: Iterable[str], exclude: Iterable[str]) -> Globs:
        """`*` crosses folders, `**/` is any folders or none."""
        return cls(_pattern(include), _pattern(exclude))

    def __bool__(self) -> bool:
        return self.wanted is not None or self.unwanted is not None

    def take(self, path: str) -> bool:
        """Whether a path is taken; `exclude` wins."""
        return (self.wanted is None or bool(self.wanted.match(path))) and not self.exclude(path)

    def exclude(self, path: str) -> bool:
        """Whether a path is left out by `exclude`."""
        return self.unwanted is not None and bool(self.unwanted.match(path))

    def mask(self, paths: pa.Array) -> pa.Array:
        """(n,) which paths are taken."""
        return pa.array(map(self.take, paths.to_pylist()), pa.bool_()) if self else pa.repeat(True, len(paths))


def _pattern(globs: Iterable[str]) -> re.Pattern[str] | None:
    parts = ["(?:.*/)?".join(fnmatch.translate(part)[:-2] for part in glob.split("**/")) + r"\Z" for glob in globs]
    return re.compile("|".join(parts), re.DOTALL) if parts else None


def tabulate(collection: str, name: pa.Array, **columns: pa.Array) -> pa.Table:
    """Make the files of a scan from columns (n,) in the order of their names, which are the rest of the image_ids."""
    image_id = pc.binary_join_element_wise(pa.scalar(collection), name, "/")
    return pa.table([image_id, *(columns[key] for key in FILES.names[1:])], schema=FILES)


def each_once(paths: pa.Array) -> tuple[pa.Array, list[Skipped]]:
    """The order of paths (n,) by their NFC spelling, each of which is taken once, and the paths that are left out."""
    name = normalised(paths)
    # Arrow's sort is stable: of several spellings of a name the one that was found first comes first.
    order = pc.sort_indices(name)
    name = name.take(order)
    again = pc.equal(name.slice(1), name.slice(0, max(len(name) - 1, 0)))
    if not pc.any(again).as_py():
        return order, []
    once = pa.array(np.r_[True, ~again.to_numpy(zero_copy_only=False)])
    path = paths.take(order)
    others = path.filter(pc.invert(once)).to_pylist()
    theirs = path.filter(pc.and_(once, pc.is_in(name, value_set=name.filter(pc.invert(once)))))
    taken = {normalise(one): one for one in theirs.to_pylist()}
    clashes = [Skipped(one, f"its name is another spelling of {taken[normalise(one)]!r}") for one in others]
    return order.filter(once), clashes
