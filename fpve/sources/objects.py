"""Pictures in object stores: found by listings, read by one request each."""

from __future__ import annotations

import errno
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fpve.buckets import Bucket, Object
from fpve.errors import BucketError, SourceError, SourceNotFound
from fpve.sources.inputs import Reading, check_size, read_file
from fpve.sources.places import full_path, has_vanished, is_file
from fpve.sources.walk import PICTURES, UNDECODABLE, Found
from fpve.urls import URL_PATTERN, BucketPath, bucket_path, is_url, split_url

# A store answers after some hundredths of a second, whatever else it is asked meanwhile: so many readers get several
# hundred pictures a second. More would wait for one of the connections that a bucket has.
OBJECTS_AT_ONCE = 32
# Of so many objects a table names all that lie below their common folder are listed, a thousand by a request, rather
# than each of them asked for.
_LISTED_FROM = 1_000


class Objects:
    """Objects by their names below a folder, or by URLs; and files, where a table names these beside them.

    Args:
        folder: what names begin at: a URL, or a folder of this machine.
        paths: (n,) string.
        size, mtime_ns: (n,) int64, as they were listed. An object that was replaced since is read as it is now, and
            once more by the next run, whose listing says so.
    """

    def __init__(self, folder: bytes, paths: pa.Array, size: pa.Array, mtime_ns: pa.Array) -> None:
        self._folder = folder
        self._paths = paths
        self._size = size
        self._mtime_ns = mtime_ns
        # A file system each, with its connections.
        self._buckets: dict[str, Bucket] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process needs to read them: no connections."""
        return Objects, (self._folder, self._paths, self._size, self._mtime_ns)

    @property
    def at_once(self) -> int:
        """How many are best read at the same time."""
        return OBJECTS_AT_ONCE

    def read(self, number: int) -> Reading:
        """Read the object of this number.

        Raises:
            OSError: it can't be read; `strerror` says why.
            SourceError: its store, or the folder of it, is out of reach altogether: that is no picture's fault.
        """
        path = full_path(self._folder, self._paths[number].as_py().encode())
        if not is_url(os.fsdecode(path)):
            return read_file(path)
        check_size(self._size[number].as_py())
        top, name = split_url(os.fsdecode(path))
        data = self._read(self._buckets.setdefault(top, Bucket(top)), name)
        return Reading(data, len(data), self._mtime_ns[number].as_py())

    def _read(self, bucket: Bucket, name: str) -> bytes:
        try:
            return _whole(bucket, name)
        except BucketError as error:
            check_reach(error, bucket_path(os.fsdecode(self._folder)) or BucketPath(bucket.url))
            raise


def check_reach(error: BucketError, root: Path) -> None:
    """Refuse to go on where it is not one object that can't be read, but all that there is below a folder.

    Raises:
        SourceError: it is so.
    """
    # Of an object that may not be read others may be; what has no answer may have none for any.
    if not isinstance(error.__cause__, PermissionError) and has_vanished(root):
        raise SourceError(f"{error}; nothing was published, and what was encoded is kept for the next run") from error


def read_object(url: str) -> bytes:
    """The bytes of a picture's object, of which nothing is known but its URL.

    Raises:
        OSError: it is not there, can't be read, or is larger than a picture may be.
    """
    top, name = split_url(url)
    bucket = Bucket(top)
    found = bucket.look(name) if name else None
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such object", url)
    check_size(found.size)
    return _whole(bucket, name)


def _whole(bucket: Bucket, name: str) -> bytes:
    try:
        data = bucket.read(name)
    except FileNotFoundError:
        # Without a reason otherwise.
        raise FileNotFoundError(errno.ENOENT, "there is no such object any more") from None
    check_size(len(data))
    return data


def find_objects(
    folder: BucketPath,
    chosen: Callable[[str], bool] | None,
    suffixes: frozenset[bytes] = PICTURES,
) -> Found | None:
    """List the objects below a folder that have one of these extensions; hidden ones are left out, as hidden files are.

    None if it is no folder, but an object itself.

    Args:
        folder: where to begin.
        chosen: which are wanted, by relative path; all if it is None.
        suffixes: extensions in lower case, those of pictures unless others are asked for.

    Raises:
        SourceNotFound: there is no such bucket, or it can't be listed, or has nothing below this folder.
    """
    wanted, unwanted = ({one.decode() for one in some} for some in (suffixes, UNDECODABLE))
    found: list[Object] = []
    odd: list[tuple[bytes, str]] = []
    undecodable: Counter[str] = Counter()
    count = any_file = 0
    for one in list_objects(folder):
        name, count = one.name, count + 1
        if not name:
            return None
        suffix = name[name.rfind(".") :].lower()
        if _hidden(name):
            continue
        any_file += 1
        is_wanted = suffix in wanted
        if (not is_wanted and suffix not in unwanted) or (chosen is not None and not chosen(name)):
            continue
        reason = _unfit(name) if is_wanted else None
        if reason is not None:
            odd.append((name.encode(), reason))
        elif is_wanted:
            found.append(one)
        else:
            undecodable[suffix] += 1
    if not count and is_file(folder):
        return None
    if not count:
        raise SourceNotFound(f"{folder}: no object below it; is it spelt right, in this bucket and at this endpoint?")
    return Found(
        pa.array([one.name.encode() for one in found], pa.binary()),
        pa.array([one.size for one in found], pa.int64()),
        pa.array([one.mtime_ns for one in found], pa.int64()),
        odd,
        any_file > 0,
        dict(undecodable.most_common()),
        pa.array([one.tag or None for one in found], pa.string()),
    )


def list_objects(folder: BucketPath) -> Iterable[Object]:
    """The objects below a folder, sorted by name.

    Raises:
        SourceNotFound: there is no such bucket, or it can't be listed.
    """
    try:
        yield from Bucket(folder).objects()
    except BucketError as error:
        raise SourceNotFound(str(error)) from error


def named_objects(pattern: BucketPath) -> tuple[BucketPath, list[Object]]:
    """The objects whose URLs fit a glob, in which `*` crosses no folder and `**` does, and the folder they are below.

    Raises:
        SourceNotFound: there is no such bucket, or it can't be listed.
    """
    first = next(at for at, part in enumerate(pattern.parts) if any(one in part for one in "*?["))
    base, parts = BucketPath(*pattern.parts[:first]), pattern.parts[first:]
    objects = list(list_objects(base))
    # An object may be called like a glob.
    called = [one for one in objects if one.name == "/".join(parts)]
    if called:
        return base, called
    return base, [one for one in objects if not _hidden(one.name) and _fits(one.name.split("/"), parts)]


def _fits(names: list[str], parts: tuple[str, ...]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_fits(names[at:], parts[1:]) for at in range(len(names) + 1))
    return bool(names) and PurePosixPath(names[0]).match(parts[0]) and _fits(names[1:], parts[1:])


def _hidden(name: str) -> bool:
    if not (name.startswith(".") or "/." in name):
        return False
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def _unfit(name: str) -> str | None:
    """Why an object's name can't be that of an image: no file could be called so."""
    parts = name.split("/")
    if "" in parts or "." in parts or ".." in parts:
        return "an object whose name is no path: it has an empty part, '.' or '..'; copy it to another name"
    return "an object whose name has a NUL in it; copy it to another name" if "\0" in name else None


class Looked(NamedTuple):
    """What stores say of n objects.

    Attributes:
        paths: (n,) names below a folder, or URLs.
        found: (n,) the objects; None of those that are not there.
    """

    paths: list[str]
    found: list[Object | None]


def look_at(folder: bytes, paths: list[str]) -> Looked:
    """Look at objects whose names below a folder, or URLs, stand in a table.

    Raises:
        SourceNotFound: a store can't be asked.
    """
    full: list[str] = []
    spelt: list[str] = []
    for path in paths:
        url = os.fsdecode(full_path(folder, path.encode()))
        top, name = split_url(url)
        if ".." in name or "/./" in name:
            # Which a table may have, and a bucket has not.
            name = posixpath.normpath(name)
            url = path = f"{top}/{name}"
        full.append(url)
        spelt.append(path)
    by_bucket: dict[str, list[str]] = {}
    for url in full:
        top, name = split_url(url)
        by_bucket.setdefault(top, []).append(name)
    known: dict[str, Object] = {}
    for top, names in by_bucket.items():
        bucket = Bucket(top)
        try:
            if len(names) >= _LISTED_FROM:
                common = posixpath.commonpath([posixpath.dirname(one) for one in names])
                known |= {f"{top}/{one.name}": one for one in bucket.objects(common)}
            else:
                looked = zip(names, bucket.each(bucket.look, names), strict=True)
                known |= {f"{top}/{name}": one for name, one in looked if one is not None}
        except BucketError as error:
            raise SourceNotFound(str(error)) from error
    return Looked(spelt, [known.get(url) for url in full])


def are_urls(paths: pa.Array) -> pa.Array:
    """(n,) which paths are URLs of objects."""
    return pc.fill_null(pc.match_substring_regex(paths, URL_PATTERN), False)
