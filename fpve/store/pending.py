"""Finished shards of a run that is not published yet; a later run takes up those whose inputs are unchanged."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from fpve.store import answers, segments, tables
from fpve.store.files import (
    NAME_DIGITS,
    fsync_directory,
    link_as,
    make_directory,
    our_files,
    ref,
    sha256_of,
    status_of,
)
from fpve.store.manifest import Segment, Table

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
    def rows_file(self) -> Path:
        """Its vector rows."""
        return self.path / segments.ROWS_FILE

    @property
    def thumbnails_file(self) -> Path:
        """Its thumbnails."""
        return self.path / _THUMBNAILS_FILE


def write_shard(root: Path, recipe: Recipe, rows: pa.Table, thumbnails: pa.Table) -> Shard:
    """Write a shard durably; it gets its name only when it is complete."""
    pending = make_directory(root, "pending")
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
        # What has the name is the same shard, or was it before it was damaged.
        discard(shard)
        temporary.rename(shard.path)
        fsync_directory(pending)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return shard


def finished_shards(root: Path, verified: Mapping[str, Shard]) -> Iterator[Shard]:
    """The complete and undamaged shards in `pending/`, by name; those that were found so before are not read again."""
    for receipt in sorted((root / "pending").glob(f"*/{_RECEIPT}")):
        if not _NAME.fullmatch(receipt.parent.name):
            continue
        if receipt.parent.name in verified:
            yield verified[receipt.parent.name]
            continue
        try:
            content = json.loads(receipt.read_text(encoding="utf-8"))
            recipe = Recipe(**content.pop("recipe"))
            shard = Shard(receipt.parent.name, receipt.parent, recipe, **content)
        except (OSError, ValueError, TypeError, KeyError):
            # Of another version, or damaged: what it holds is made again.
            continue
        if _is_whole(shard):
            yield shard


def sweep(root: Path) -> None:
    """Remove what killed writers left half-written; only for who holds the writer's lock."""
    for path in (root / "pending").glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def files_before(root: Path, time: float) -> list[Path]:
    """Files of shards that were finished, or left half-written, before a time in seconds since the epoch."""
    # Answers of language models are there too, which are never given up.
    files = [file for file in our_files(root, "pending") if file.parent.name != answers.FOLDER]
    folders = {file.parent: status_of(file.parent) for file in files}
    old = {folder for folder, status in folders.items() if status is not None and status.st_mtime < time}
    return [file for file in files if file.parent in old]


def adopt_rows(root: Path, shard: Shard) -> Segment:
    """Make a shard's rows a segment; the shard stays until it is discarded."""
    path = make_directory(root, "vectors", shard.name) / segments.ROWS_FILE
    link_as(shard.rows_file, path)
    return Segment(shard.name, ref(root, path, shard.sha256[segments.ROWS_FILE]), shard.rows, derived=())


def adopt_thumbnails(root: Path, shard: Shard) -> Table:
    """Make a shard's thumbnails a file of their table."""
    digest = shard.sha256[_THUMBNAILS_FILE]
    path = make_directory(root, "tables", tables.THUMBNAILS) / f"{digest[:NAME_DIGITS]}.parquet"
    link_as(shard.thumbnails_file, path)
    return Table(tables.THUMBNAILS, ref(root, path, digest), shard.pictures)


def discard(shard: Shard) -> None:
    """Remove a shard that has been published, or that no run can use."""
    shutil.rmtree(shard.path, ignore_errors=True)


def _is_whole(shard: Shard) -> bool:
    try:
        return all(sha256_of(shard.path / name) == digest for name, digest in shard.sha256.items())
    except OSError:
        return False
