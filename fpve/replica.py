"""Stores in buckets: each machine works on a replica, a directory to which files come when they are asked for.

A replica is laid out as the store is, and is no more than a cache of it: what it holds can be deleted at any time that
nobody writes. Files that are as the bucket has them are read-only, and may be evicted where there is no room; what has
yet to be put into the bucket can be written to.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from fpve.buckets import Bucket, Object
from fpve.errors import BucketError
from fpve.origins import ORIGIN, origin_of, place_of, remember
from fpve.room import ARRIVING, EVICTED, is_clean, room_in, size_limit
from fpve.urls import bucket_path

# A file that is replaced while it is fetched is fetched again, so often.
_TRIES = 3
_SECOND = 10**9
_READ_ONLY = 0o444
# Threads that ask for the same file wait for the first of them; of others, one in so many does as well.
_LOCKS = 64
# What systems say of a disk that is full, and of a folder that can't be written to; with what to do about it.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_REMEDIES = {
    **dict.fromkeys(_FULL, "free some space, or name a folder on another disk by FPVE_CACHE"),
    **dict.fromkeys(_CLOSED, "what is fetched from buckets comes here; name another folder by FPVE_CACHE"),
}


class FileStatus(NamedTuple):
    """What is known of a file of a store, here or in its bucket.

    Attributes:
        size: in bytes.
        mtime: when it was written, in seconds since the epoch.
        same: of files that share their bytes, the same.
        names: how many files do.
    """

    size: int
    mtime: float
    same: tuple[int, int] | str
    names: int


class Replica:
    """What a machine has of a store in a bucket. Safe to use from many threads, and beside other processes.

    Attributes:
        root: the directory.
        bucket: the store.
    """

    def __init__(self, root: Path, bucket: Bucket) -> None:
        self.root = root
        self.bucket = bucket
        self._room = room_in(root.parent)
        self._locks = [Lock() for _ in range(_LOCKS)]
        # The last number that was known.
        self._last = 0

    def begin(self) -> None:
        """Make its directory, if it is not there: with the first file that comes, or before one is written.

        Raises:
            BucketError, OSError: as `begin_replica`.
        """
        begin_replica(self.root, self.bucket.url)

    def bring(self, name: str, *, changes: bool = False) -> Path:
        """The path of a file of the store, which is fetched if it is not here; it is not there if it is nowhere.

        Args:
            name: relative to the store.
            changes: whether it is one that is replaced under its name, so that a copy may be out of date.

        Raises:
            BucketError: the bucket can't be asked.
            OSError: there is no room on the disk.
        """
        path = self.root / name
        try:
            here = path.stat()
        except OSError:
            here = None
        if here is not None and changes and is_clean(here):
            there = self.bucket.look(name)
            if there is None or (there.size, _stamp(there)) != (here.st_size, here.st_mtime_ns):
                self.forget(name)
                here = None
        if here is None:
            self._fetch(name, path, again=changes)
        elif is_clean(here):
            try:
                # When it was asked for last; the other time is that of the bucket.
                os.utime(path, ns=(_now_ns(), here.st_mtime_ns))
            except FileNotFoundError:
                # Evicted in this moment.
                self._fetch(name, path)
            except OSError:
                # Another user's, who has the same cache.
                pass
        return path

    def bring_all(self, names: Collection[str]) -> None:
        """Fetch those files of the store that are not here, some at once.

        Raises:
            BucketError, OSError: as `bring`.
        """
        self.bucket.each(self.bring, names)

    def names(self, folder: str) -> list[str]:
        """All files of the store below one of its directories, sorted: those of the bucket, and those yet to be put.

        A listing may be behind, so what is here and not listed is looked for; if it is gone, it goes here as well.
        """
        listed = {one.name for one in self.bucket.objects(folder)}
        here = [(name, is_clean(found)) for name, found in self._files(folder)]
        unsure = [name for name, clean in here if clean and name not in listed and not name.endswith(".tmp")]
        there = set()
        for name, found in zip(unsure, self.bucket.each(self.bucket.look, unsure), strict=True):
            if found is None:
                self.forget(name)
            else:
                there.add(name)
        return sorted(listed | there | {name for name, clean in here if not clean})

    def written(self, folder: str) -> list[str]:
        """The files below one of the store's directories that were written here, and have yet to be put."""
        return [name for name, here in self._files(folder) if not is_clean(here)]

    def forget(self, name: str) -> None:
        """Let a file be fetched again when it is asked for, unless it was written here."""
        if not self._is_dirty(name):
            (self.root / name).unlink(missing_ok=True)

    def forget_all(self) -> None:
        """Let all large files be fetched again that were not written here: they may have been damaged here."""
        for folder in EVICTED:
            for name, here in self._files(folder):
                if is_clean(here):
                    self.forget(name)

    def status(self, name: str) -> FileStatus | None:
        """What is known of a file of the store; None if it is nowhere."""
        there = self.bucket.look(name)
        if there is not None:
            return FileStatus(there.size, there.mtime_ns / 1e9, name, 1)
        with suppress(OSError):
            here = (self.root / name).stat()
            if not is_clean(here):
                return FileStatus(here.st_size, here.st_mtime, name, 1)
        return None

    def push(self, names: Iterable[str]) -> None:
        """Put files into the bucket that are not yet as they are here.

        Raises:
            BucketError: one can't be put; others may have been.
        """
        self.bucket.each(self._push, [name for name in names if self._is_dirty(name)])

    def put(self, names: Iterable[str]) -> None:
        """Put files into the bucket that are not yet as they are here; `complete` looks what has come of it.

        Raises:
            BucketError: one can't be put; others may have been.
        """
        self.bucket.each(
            lambda name: self.bucket.put(name, self.root / name), [name for name in names if self._is_dirty(name)]
        )

    def complete(self, names: Collection[str], *, ready: Callable[[], object]) -> None:
        """See to it that the bucket has all of these files, of which those that were written here have been `put`.

        Args:
            names: relative to the store.
            ready: called before each is looked at; what it raises ends this.

        Raises:
            BucketError: the bucket can't be asked.
            FileNotFoundError: one is neither here nor there.
        """

        def one(name: str) -> None:
            ready()
            there, path = self.bucket.look(name), self.root / name
            if there is not None and not self._is_dirty(name):
                return
            if there is not None and path.stat().st_size == there.size:
                self._keep(path, there)
            elif path.exists():
                self._push(name)
            else:
                raise FileNotFoundError(name)

        self.bucket.each(one, names)

    def copy(self, name: str, other: str) -> None:
        """Give what a file holds a second name, in the bucket and, if it is here, here.

        Raises:
            BucketError: the bucket can't be asked.
            FileNotFoundError: there is none.
        """
        self.push([name])
        self.bucket.copy(name, other)
        path, target = self.root / name, self.root / other
        if path.exists():
            target.unlink(missing_ok=True)
            # What can't have two names here is fetched by the other one when it is asked for.
            with suppress(OSError):
                target.hardlink_to(path)

    def remove(self, names: Iterable[str]) -> None:
        """Delete files of the store, here and in the bucket; those that are nowhere are passed over."""
        names = list(names)
        for name in names:
            (self.root / name).unlink(missing_ok=True)
        self.bucket.remove(names)

    def last_number(self, listed: int, name: Callable[[int], str], *, known: int = 0) -> int:
        """The highest number of which there is a file, given the highest that is listed: a listing may be behind.

        Args:
            listed: 0 if there is none.
            name: what the file of a number is called.
            known: the highest of which there was one.
        """
        last = max(listed, known, self._last)
        if last > listed and self.bucket.look(name(last)) is None:
            # It is gone since.
            last = listed
        while self.bucket.look(name(last + 1)) is not None:
            last += 1
        self._last = last
        return last

    def _fetch(self, name: str, path: Path, *, again: bool = False) -> None:
        """Fetch a file, unless another thread has done so meanwhile; `again` fetches it all the same."""
        with self._locks[hash(name) % _LOCKS]:
            if again or not path.exists():
                with _remedied(self.root):
                    self._fetch_alone(name, path)

    def _fetch_alone(self, name: str, path: Path) -> None:
        arriving = path.with_name(f".{secrets.token_hex(8)}{ARRIVING}")
        for _ in range(_TRIES):
            # Before it is fetched: what is put meanwhile is another one the next time.
            there = self.bucket.look(name)
            if there is None:
                return
            self.begin()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._room.make(there.size)
            try:
                self._copy_here(name, arriving, there.size)
                if arriving.stat().st_size == there.size:
                    # Before it has its name: one that can be written to would be taken for one to be put.
                    self._keep(arriving, there)
                    if not self._is_dirty(name):
                        arriving.replace(path)
                    return
            except FileNotFoundError:
                return
            finally:
                arriving.unlink(missing_ok=True)
        raise BucketError(f"{self.bucket.url}/{name}: expected as many bytes as it has, found others {_TRIES} times")

    def _copy_here(self, name: str, path: Path, size: int) -> None:
        try:
            self.bucket.fetch(name, path)
        except OSError as error:
            # A disk can be full long before the bound is reached.
            if error.errno not in _FULL:
                raise
            self._room.make(size, disk_is_full=True)
            # Be it that nothing was evicted: another thread, or process, may just have done so.
            self.bucket.fetch(name, path)

    def _push(self, name: str) -> None:
        path = self.root / name
        size = path.stat().st_size
        self.bucket.put(name, path)
        there = self.bucket.look(name)
        if there is not None and there.size == size:
            self._keep(path, there)
        elif _never_changes(name):
            raise BucketError(f"{self.bucket.url}/{name}: expected what was put there, found it missing or cut off")
        else:
            # Another machine has put one since.
            path.unlink(missing_ok=True)

    def _keep(self, path: Path, there: Object) -> None:
        """Remember that a file is as the bucket has it, and since when."""
        path.chmod(_READ_ONLY)
        os.utime(path, ns=(_now_ns(), _stamp(there)))

    def _is_dirty(self, name: str) -> bool:
        try:
            return not is_clean((self.root / name).stat())
        except OSError:
            return False

    def _files(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        """The files that are here below a directory, by their names in the store."""
        for parent, _, names in os.walk(self.root / folder):
            for name in names:
                path = Path(parent, name)
                with suppress(OSError):
                    yield path.relative_to(self.root).as_posix(), path.stat()


def located(path: str | os.PathLike[str], *, begin: bool = False) -> Path:
    """The directory of a store: its path, or for the URL of one in a bucket that of its replica on this machine.

    Args:
        path: of the store.
        begin: whether to make the replica, so that other processes know what it is; else the first file does that
            comes, for there may be no such store.

    Raises:
        BucketError: it is a URL that names no bucket, or FPVE_CACHE_SIZE is no size.
        OSError: the replica can't be made.
    """
    url = bucket_path(path)
    if url is None:
        return Path(path)
    # Which would be said in the middle of something, or never.
    size_limit()
    text = str(url).rstrip("/")
    root = place_of(text)
    if begin:
        begin_replica(root, text)
    return root


@lru_cache(256)
def replica_of(root: Path) -> Replica | None:
    """The replica that a directory is; None if it is a store itself, or nothing yet."""
    url = origin_of(root)
    return None if url is None else Replica(root, Bucket(url))


def shown(root: Path) -> str:
    """What people call a store: its path, or the URL of which it is a replica."""
    return origin_of(root) or str(root)


def begin_replica(root: Path, url: str) -> None:
    """Make a directory the replica of a store.

    Raises:
        BucketError: its file system has no files that can't be written to, which tell what is as the bucket has it.
        OSError: it can't be made.
    """
    remember(root, url)
    mark = root / ORIGIN
    if mark.exists():
        return
    temporary = root / f".{secrets.token_hex(8)}{ARRIVING}"
    with _remedied(root):
        root.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"url": url}), encoding="utf-8")
    temporary.chmod(_READ_ONLY)
    if not is_clean(temporary.stat()):
        temporary.unlink()
        raise BucketError(
            f"{root.parent}: expected a file system that has read-only files, found one without; name a folder on "
            "another one by FPVE_CACHE"
        )
    temporary.replace(mark)


@contextmanager
def _remedied(root: Path) -> Iterator[None]:
    """Have errors of the disk on which a replica is say what to do."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)}; {remedy}", str(error.filename or root)) from error


def _never_changes(name: str) -> bool:
    """Whether a file of a store is what it is for good, as its name says."""
    return name.startswith(tuple(f"{folder}/" for folder in EVICTED))


def _stamp(there: Object) -> int:
    """What a file has for its time that is as the bucket has it: another one for another content.

    Stores tell the time to the second, within which a file can be replaced by one of the same size.
    """
    tag = int.from_bytes(sha256(there.tag.encode()).digest()[:8], "big")
    return there.mtime_ns // _SECOND * _SECOND + tag % _SECOND


def _now_ns() -> int:
    return time.time_ns()
