"""Finished shards of a run that is not published yet; a later run takes up those whose inputs are unchanged."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from fpve.errors import SnapshotTaken
from fpve.replica import replica_of
from fpve.store import answers, segments, tables
from fpve.store.files import (
    NAME_DIGITS,
    FileRef,
    at_hand,
    fsync_directory,
    link_as,
    make_directory,
    our_files,
    push,
    ref,
    sha256_of,
    status_of,
)
from fpve.store.manifest import Segment, Table
from fpve.store.parquet import read_part

_FOLDER = "pending"
_RECEIPT = "shard.json"
_NAME = re.compile(rf"[0-9a-f]{{{NAME_DIGITS}}}")
_TEMPORARY = re.compile(rf"\.[0-9a-f]{{{NAME_DIGITS}}}\.tmp")
_THUMBNAILS_FILE = "thumbnails.parquet"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What made the vectors of a shard: only shards of the run's own recipe are of use to it."""

    image: str
    text: str | None
    mode: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard: vector rows and the thumbnails of the pictures that were encoded for it.

    Attributes:
        name: its directory under `pending/`, and of the segment that it becomes.
        path: that directory.
        rows: how many vector rows it has.
        pictures: how many thumbnails it has.
        sha256: hex digest of each of its files.
    """

    name: str
    path: Path
    recipe: Recipe
    rows: int
    pictures: int
    sha256: dict[str, str]

    @property
    def root(self) -> Path:
        """The store."""
        return self.path.parent.parent

    @property
    def rows_file(self) -> Path:
        """Its vector rows, which are fetched if they are in a bucket."""
        return at_hand(self.root, self._named(segments.ROWS_FILE))

    def read_pictures(self) -> pa.Array:
        """Content hashes of the pictures that it has thumbnails of."""
        found = read_part(self.root, self._named(_THUMBNAILS_FILE), ["content_hash"])
        return found["content_hash"].combine_chunks()

    def read_keys(self) -> pa.Table:
        """Names and norms of its vector rows."""
        return segments.read_keys(self.root, self._named(segments.ROWS_FILE))

    def _named(self, file: str) -> str:
        return f"{_FOLDER}/{self.name}/{file}"


def write_shard(root: Path, recipe: Recipe, rows: pa.Table, thumbnails: pa.Table) -> Shard:
    """Write a shard durably; it gets its name only when it is complete."""
    pending = make_directory(root, _FOLDER)
    temporary = pending / f".{secrets.token_hex(8)}.tmp"
    temporary.mkdir()
    try:
        segments.write_rows(rows, temporary / segments.ROWS_FILE)
        tables.write_thumbnails([thumbnails], temporary / _THUMBNAILS_FILE)
        digests = {name: sha256_of(temporary / name) for name in (segments.ROWS_FILE, _THUMBNAILS_FILE)}
        name = digests[segments.ROWS_FILE][:NAME_DIGITS]
        shard = Shard(
            name,
            pending / name,
            recipe,
            rows=len(rows),
            pictures=len(thumbnails),
            sha256=digests,
        )
        receipt = {key: value for key, value in asdict(shard).items() if key not in ("name", "path")}
        (temporary / _RECEIPT).write_text(json.dumps(receipt), encoding="utf-8")
        for file in temporary.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        fsync_directory(temporary)
        _give_name(temporary, shard)
        fsync_directory(pending)
        push(root, *(shard.path / file for file in digests))
        # Who finds it finds the others.
        push(root, shard.path / _RECEIPT)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return shard


def _give_name(temporary: Path, shard: Shard) -> None:
    """Give a shard its name; what has it is the same one, which another worker finished, or was it before it broke.

    Raises:
        OSError: it can't be given.
    """
    with suppress(OSError):
        if (shard.path / _RECEIPT).read_bytes() == (temporary / _RECEIPT).read_bytes() and _is_whole(shard):
            return
    shutil.rmtree(shard.path, ignore_errors=True)
    try:
        temporary.rename(shard.path)
    except OSError:
        # Another one came first.
        if not _is_whole(shard):
            raise


def finished_shards(root: Path, verified: Mapping[str, Shard], written: Iterable[str] = ()) -> Iterator[Shard]:
    """The complete and undamaged shards in `pending/`, by name; those that were found so before are not read again.

    Args:
        root: the store.
        verified: those that were found so before.
        written: names of shards that are there, whatever a listing says that is behind.
    """
    files = set(our_files(root, _FOLDER))
    for receipt in sorted(files | {root / _FOLDER / name / _RECEIPT for name in written}):
        if receipt.name != _RECEIPT or not _NAME.fullmatch(receipt.parent.name):
            continue
        if receipt.parent.name in verified:
            yield verified[receipt.parent.name]
            continue
        try:
            content = json.loads(at_hand(root, receipt.relative_to(root).as_posix()).read_text(encoding="utf-8"))
            recipe = Recipe(**content.pop("recipe"))
            shard = Shard(receipt.parent.name, receipt.parent, recipe, **content)
        except (OSError, ValueError, TypeError, KeyError):
            # Of another version, or damaged: what it holds is made again.
            continue
        # An object in a bucket is whole, or not there.
        if _has_all(shard, files) if replica_of(root) is not None else _is_whole(shard):
            yield shard


def sweep(root: Path) -> None:
    """Remove what killed writers left half-written; only for who holds the writer's lock."""
    for path in (root / _FOLDER).glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def files_before(root: Path, time: float) -> list[Path]:
    """Files of shards that were finished, or left half-written, before a time in seconds since the epoch."""
    # Answers of language models are there too, which are never given up.
    files = [file for file in our_files(root, _FOLDER) if file.parent.name != answers.FOLDER]
    folders = {file.parent: status_of(root, file if replica_of(root) else file.parent) for file in files}
    old = {folder for folder, status in folders.items() if status is not None and status.mtime < time}
    return [file for file in files if file.parent in old]


def adopt_rows(root: Path, shard: Shard) -> Segment:
    """Make a shard's rows a segment; the shard stays until it is discarded."""
    path = make_directory(root, "vectors", shard.name) / segments.ROWS_FILE
    return Segment(shard.name, _adopt(shard, segments.ROWS_FILE, path), shard.rows, derived=())


def adopt_thumbnails(root: Path, shard: Shard) -> Table:
    """Make a shard's thumbnails a file of their table."""
    digest = shard.sha256[_THUMBNAILS_FILE]
    path = make_directory(root, "tables", tables.THUMBNAILS) / f"{digest[:NAME_DIGITS]}.parquet"
    return Table(tables.THUMBNAILS, _adopt(shard, _THUMBNAILS_FILE, path), shard.pictures)


def discard(shard: Shard) -> None:
    """Remove a shard that has been published, or that no run can use."""
    replica = replica_of(shard.root)
    if replica is not None:
        # First that by which it is found.
        replica.remove([shard._named(_RECEIPT)])
        replica.remove(map(shard._named, shard.sha256))
    shutil.rmtree(shard.path, ignore_errors=True)


def _adopt(shard: Shard, file: str, path: Path) -> FileRef:
    """Give a file of a shard its name in the store, without reading it."""
    root, replica = shard.root, replica_of(shard.root)
    if replica is None:
        link_as(shard.path / file, path)
        return ref(root, path, shard.sha256[file])
    name = path.relative_to(root).as_posix()
    # Where another machine took it up, and has published it, what has that name is the same.
    with suppress(FileNotFoundError):
        replica.copy(shard._named(file), name)
    status = replica.status(name)
    if status is None:
        raise SnapshotTaken(f"{root}: another writer took up the shard {shard.name}; run again")
    return FileRef(name, status.size, shard.sha256[file])


def _has_all(shard: Shard, listed: Set[Path]) -> bool:
    """Whether all files of a shard are in the bucket.

    The receipt was put last; but another machine that made the same may have published it before that, and removed it.
    """
    paths = [shard.path / name for name in shard.sha256]
    return all(one in listed or status_of(shard.root, one) is not None for one in paths)


def _is_whole(shard: Shard) -> bool:
    try:
        return all(sha256_of(shard.path / name) == digest for name, digest in shard.sha256.items())
    except OSError:
        return False
