"""Object stores: objects by name below one URL, through whichever file system fsspec knows for it.

Credentials, regions and endpoints come from where each store's own tools take them (for S3: `AWS_…`, `~/.aws`, or the
machine's role), never from a job file.
"""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from fpve.errors import BucketError
from fpve.urls import PACKAGES, bucket_path

# A conditional put whose answer got lost is looked at, and done up to so often; each time twice as long after.
_TRIES, _PAUSE = 4, 0.1
# Requests at once: enough to fill a fast line with objects of some MB, and far below what a bucket allows.
_AT_ONCE = 16
# Seconds. A packet that is lost is sent again after one; a server that says nothing for thirty has lost the request.
# The answer to a put is waited for from its first byte on, so what is put has ten minutes to go, and a copy to be made.
_CONNECT, _ANSWER, _TRANSFER = 3, 30, 600
# Files are put in parts of so many bytes, so many at once. 16 such files are no more than a line of 8 Mbit/s takes in
# those ten minutes, and half a gigabyte of memory; the largest file has 64 parts.
_PART, _PARTS_AT_ONCE = 16 << 20, 2
# How often a request is made again, botocore knows: five times, a second or two apart, or as AWS_MAX_ATTEMPTS and
# ~/.aws have it. So a server that is not there is told in some 20 seconds; s3fs would repeat it all five times more.
_S3FS_TRIES = 1
# What libraries raise where an answer breaks off, which botocore does not ask for again.
_BROKEN_OFF = ("ClientPayloadError", "IncompleteRead", "IncompleteReadError", "ResponseStreamingError")
# What only a disk of this machine says.
_FULL = (errno.ENOSPC, errno.EDQUOT)
# So much is fetched of an object of which parts are read: a Parquet footer, or a column of names, comes in one piece.
_BLOCK = 1 << 20

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Object:
    """What a listing says of an object.

    Attributes:
        name: below the bucket's URL, with `/`.
        size: in bytes.
        mtime_ns: when it was put, in nanoseconds since the epoch; 0 where that is not told.
        tag: another one as soon as its content is another; empty where there is none.
    """

    name: str
    size: int
    mtime_ns: int
    tag: str

    @property
    def put_at(self) -> datetime | None:
        """When it was put, by the clock of the store; None where that is not told."""
        return datetime.fromtimestamp(self.mtime_ns / 1e9, UTC) if self.mtime_ns else None


class Bucket:
    """The objects below a URL. Safe to use from many threads; a copy of it can be sent to another process.

    Every method raises a BucketError where the store can't be reached, or refuses.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        found = bucket_path(url)
        if found is None:
            raise BucketError(f"{url}: expected a URL of an object store, such as s3://bucket/folder")
        self.url = str(found).rstrip("/")

    def __reduce__(self) -> tuple[type[Bucket], tuple[str]]:
        return Bucket, (self.url,)

    def __str__(self) -> str:
        return self.url

    def objects(self, folder: str = "") -> Iterator[Object]:
        """All objects below a folder, sorted by name."""
        top = self._key(folder)
        try:
            found = self._ask(lambda: self._found(top), top)
        except FileNotFoundError:
            # Some say so of a folder without objects, and all of a bucket that is not there.
            bucket = self._root.partition("/")[0]
            if not self._ask(lambda: self._fs.exists(bucket), bucket):
                raise BucketError(f"{self.url}: no such bucket") from None
            return
        base = len(self._root) + 1
        for key in sorted(found):
            if found[key].get("type") != "directory" and not key.endswith("/"):
                yield _object(key.lstrip("/")[base:], found[key])

    def there(self) -> bool:
        """Whether there is an object of this very URL, or any below it."""
        found: bool = self._ask(lambda: self._fs.exists(self._root), self._root)
        return found

    def look(self, name: str) -> Object | None:
        """What is said of one object; None if there is none."""
        key = self._key(name)
        try:
            found = self._ask(lambda: self._info(key), key)
        except FileNotFoundError:
            return None
        return None if found.get("type") == "directory" else _object(name, found)

    def read(self, name: str) -> bytes:
        """The bytes of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        key = self._key(name)
        # In one request: to fetch large ones in parts, s3fs would ask for the size of each before.
        data: bytes = self._ask(lambda: self._fs.cat_file(key, max_concurrency=1), key)
        return data

    def part(self, name: str, start: int, end: int) -> bytes:
        """The bytes of an object from `start` to before `end`.

        Raises:
            FileNotFoundError: there is none.
        """
        key = self._key(name)
        data: bytes = self._ask(lambda: self._fs.cat_file(key, start=start, end=end), key)
        return data

    def open(self, name: str) -> BinaryIO:
        """An object as a file of which only what is read is fetched.

        Raises:
            FileNotFoundError: there is none.
        """
        key = self._key(name)
        file = self._ask(lambda: self._fs.open(key, "rb", block_size=_BLOCK, cache_type="readahead"), key)
        return cast("BinaryIO", _File(file, lambda request: self._ask(request, key)))

    def fetch(self, name: str, path: Path) -> None:
        """Copy an object into a file, which may be left half-written where that fails.

        Raises:
            FileNotFoundError: there is none.
            OSError: the file can't be written.
        """
        key = self._key(name)
        self._ask(lambda: self._fs.get_file(key, str(path)), key)

    def put(self, name: str, file: Path) -> None:
        """Make an object of a file, in the place of one of that name; it is there when it is whole.

        Raises:
            OSError: the file can't be read.
        """
        key = self._key(name)
        parts = {"chunksize": _PART, "max_concurrency": _PARTS_AT_ONCE} if self._is_s3 else {}
        self._ask(lambda: self._transfers.put_file(str(file), key, **parts), key)

    def write(self, name: str, content: bytes) -> None:
        """Make an object of some bytes, in the place of one of that name."""
        key = self._key(name)
        self._ask(lambda: self._fs.pipe_file(key, content), key)

    def put_new(self, name: str, content: bytes, *, ready: Callable[[], object] | None = None) -> bool:
        """Make an object if there is none of that name, in one step; whether it is there and has this content.

        A put whose answer is lost may have been done: so it is looked at before it is tried again. `ready` is called
        before each try, and what it raises ends this.
        """
        key = self._key(name)
        tries = 0
        while True:
            if ready is not None:
                ready()
            try:
                self._ask(lambda: self._fs.pipe_file(key, content, mode="create"), key)
            except FileExistsError:
                return self.read(name) == content
            except BucketError:
                found = self._content(name)
                if found is not None:
                    return found == content
                tries += 1
                if tries == _TRIES:
                    raise
                time.sleep(_PAUSE * 2**tries)
            else:
                return True

    def copy(self, name: str, other: str) -> None:
        """Copy an object within the store, without fetching it.

        Raises:
            FileNotFoundError: there is none.
        """
        source, target = self._key(name), self._key(other)
        self._ask(lambda: self._transfers.cp_file(source, target), source)

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects; those that are not there are passed over."""

        def one(name: str) -> None:
            key = self._key(name)
            with suppress(FileNotFoundError):
                self._ask(lambda: self._fs.rm_file(key), key)

        self.each(one, names)

    def as_arrow(self) -> tuple[str, Any]:
        """Where the bucket's objects begin, and the file system in which they do, as Arrow takes them."""
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        return self._root, PyFileSystem(FSSpecHandler(self._fs))

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Do something for several items, some at once; the first failure is raised."""
        items = list(items)
        if len(items) < 2:
            return [work(one) for one in items]
        pool = ThreadPoolExecutor(min(_AT_ONCE, len(items)), thread_name_prefix="fpve-bucket")
        try:
            done = list(pool.map(work, items))
        except BaseException as error:
            # Who interrupts does not wait for what is under way, which may take minutes, and may yet be done.
            pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
            raise
        pool.shutdown()
        return done

    @cached_property
    def _fs(self) -> Any:
        """What asks for small things, and for large ones bit by bit."""
        return self._file_system(_ANSWER)

    @cached_property
    def _transfers(self) -> Any:
        """What asks for things that take their time before there is an answer."""
        return self._file_system(_TRANSFER)

    def _file_system(self, patience: int) -> Any:
        import fsspec

        scheme = self.url.partition(":")[0]
        try:
            # A listing that is remembered does not know what others have put since.
            made = fsspec.filesystem(scheme, use_listings_cache=False, **self._options(patience, fsspec.config.conf))
        except (ImportError, ValueError) as error:
            package = PACKAGES[scheme]
            remedy = "pip install 'fpve[s3]'" if package == "s3fs" else f"pip install {package}"
            raise BucketError(f"{self.url}: needs the package {package}: {remedy}") from error
        if self._is_s3:
            from botocore.handlers import add_expect_header

            made.retries = _S3FS_TRIES
            # A server that is asked whether a file may come, and says nothing, is waited for without an end.
            made.s3.meta.events.unregister("before-call.s3", add_expect_header)
        return made

    def _options(self, patience: int, own: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """What a file system is made with, given what the user has configured for fsspec, which goes before."""
        if not self._is_s3:
            return {}
        scheme = self.url.partition(":")[0]
        # s3fs has ten connections, for which the others would wait.
        config = {"max_pool_connections": 2 * _AT_ONCE, "connect_timeout": _CONNECT, "read_timeout": patience}
        return {"config_kwargs": {**config, **own.get(scheme, {}).get("config_kwargs", {})}}

    @cached_property
    def _root(self) -> str:
        """The key of the URL itself: the bucket, and what follows."""
        return self.url.partition("://")[2].strip("/")

    @property
    def _is_s3(self) -> bool:
        return PACKAGES[self.url.partition(":")[0]] == "s3fs"

    def _found(self, top: str) -> dict[str, dict[str, Any]]:
        """What there is below a key."""
        bucket, _, name = top.partition("/")
        # Of a folder without objects s3fs would look whether it is an object, and then whether it is a folder.
        narrow = {"prefix": f"{name}/"} if name and self._is_s3 else {}
        found: dict[str, dict[str, Any]] = self._fs.find(bucket if narrow else top, detail=True, **narrow)
        return found

    def _info(self, key: str) -> dict[str, Any]:
        """What is known of an object."""
        bucket, _, name = key.partition("/")
        if not name or not self._is_s3:
            found: dict[str, Any] = self._fs.info(key)
            return found
        # Of one that is not there s3fs would look whether it is a folder.
        head = self._fs.call_s3("head_object", Bucket=bucket, Key=name)
        return {**head, "size": head["ContentLength"]}

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _content(self, name: str) -> bytes | None:
        try:
            return self.read(name)
        except (FileNotFoundError, BucketError):
            return None

    def _ask(self, request: Callable[[], Result], key: str, *, is_first: bool = True) -> Result:
        """Make a request; what fails the libraries repeat by themselves, and what breaks off is asked for once more."""
        try:
            return request()
        except (FileNotFoundError, FileExistsError, BucketError):
            raise
        except OSError as error:
            # Of files of this machine, which can't be read; a disk that is full is told without a name.
            if (error.filename is not None and key not in str(error.filename)) or error.errno in _FULL:
                raise
            raise self._failed(key, error) from error
        except Exception as error:
            if is_first and type(error).__name__ in _BROKEN_OFF:
                return self._ask(request, key, is_first=False)
            # Of the libraries underneath: no credentials, no such host, no answer in time.
            raise self._failed(key, error) from error

    def _failed(self, key: str, error: Exception) -> BucketError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        scheme = self.url.partition(":")[0]
        return BucketError(f"{scheme}://{key}: the object store can't be asked, or refuses: {reason}")


class _File(io.RawIOBase):
    """An object that is read here and there; what goes wrong is told as by the other methods of its bucket."""

    def __init__(self, file: Any, ask: Callable[[Callable[[], Any]], Any]) -> None:
        self._file = file
        self._ask = ask

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte; asks for nothing."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """At which byte it is."""
        return int(self._file.tell())

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, or all that is left; fewer only at the end."""
        data: bytes = self._ask(lambda: self._file.read(-1 if size is None else size))
        return data

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Read no more."""
        self._file.close()
        super().close()


# What file systems call the time at which an object was put.
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")


def _object(name: str, found: dict[str, Any]) -> Object:
    put = next((found[key] for key in _TIMES if key in found), None)
    if isinstance(put, str):
        put = datetime.fromisoformat(put)
    seconds = put.timestamp() if isinstance(put, datetime) else float(put or 0)
    tag = found.get("ETag") or found.get("etag") or found.get("md5Hash") or ""
    # Stores tell seconds or milliseconds; a float has no more digits than that.
    return Object(name, int(found["size"] or 0), round(seconds * 1000) * 10**6, str(tag).strip('"'))
