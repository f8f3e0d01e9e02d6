"""Deleting old snapshots, and the files that no kept one names."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from fpve.errors import StoreCorrupt
from fpve.replica import FileStatus, located
from fpve.store import manifest as manifests
from fpve.store import pending
from fpve.store.damaged import set_aside_files
from fpve.store.files import fsync_directory, remove_files, status_of
from fpve.store.lease import is_claimed, remove_unclaimed
from fpve.store.leftovers import is_temporary, unnamed_files
from fpve.store.lock import writer_lock
from fpve.store.manifest import Manifest

# Long enough for programs that open the Parquet files of a snapshot without fpve, and hold no lease.
DEFAULT_GRACE = timedelta(hours=1)
# Finished shards of a run that nobody has repeated for so long are given up.
_PENDING_DAYS = timedelta(days=7)
# These are written without the writer's lock, so a young temporary file may be somebody's at the moment.
_UNLOCKED_AGE = timedelta(hours=1)
_UNLOCKED = ("saved", "runs", "state")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune deleted, or would delete.

    Attributes:
        removed, kept: numbers of snapshots.
        held: of those kept, the ones that a reader has open.
        files, bytes: what was deleted besides manifests; 0 bytes for files that another name still holds.
        dry_run: whether nothing was deleted.
    """

    removed: tuple[int, ...]
    kept: tuple[int, ...]
    held: tuple[int, ...]
    files: int
    bytes: int
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return asdict(self)


def prune(
    path: str | os.PathLike[str],
    *,
    keep: int | None = None,
    newer_than: timedelta | None = None,
    grace: timedelta = DEFAULT_GRACE,
    dry_run: bool = False,
) -> Pruned:
    """Delete snapshots beyond the newest `keep` that are not `newer_than` so long, and files that no other one names.

    Always kept: the newest snapshot, those that a reader has open on this machine, those that were the newest within
    the grace period, and files that were written within it. A dry run waits for no writer, and writes nothing.

    Raises:
        ValueError: neither `keep` nor `newer_than` says what is to be kept.
        StoreNotFound: there is no store at `path`.
        StoreCorrupt: a manifest is damaged, so that nobody knows what it needs.
    """
    if keep is None and newer_than is None:
        raise ValueError("prune: expected keep or newer_than, found neither")
    if keep is not None and keep < 1:
        raise ValueError(f"prune: expected to keep at least 1 snapshot, found {keep}")
    root = located(path)
    if not manifests.numbers(root):
        raise manifests.no_store(root)
    with nullcontext() if dry_run else writer_lock(root, "fpve prune"):
        found, damaged = manifests.load_all(root)
        if damaged:
            raise StoreCorrupt(
                f"{root}: snapshot {min(damaged)} is damaged, so what it needs is not known; "
                f"`fpve repair {root}` sets it aside"
            )
        now = datetime.now(UTC)
        chosen = _superseded(found, keep, newer_than, now - grace, now)
        # Manifests first: one that names a missing file would be a torn snapshot.
        removed = [one for one in chosen if _let_go(root, one, dry_run=dry_run)]
        if removed and not dry_run:
            fsync_directory(manifests.path_of(root, removed[0]).parent)
        rest = [manifest for number, manifest in found.items() if number not in removed]
        files, size = _delete(root, _old_files(root, rest, grace), dry_run=dry_run)
    return Pruned(
        removed=tuple(removed),
        kept=tuple(sorted(set(found) - set(removed))),
        held=tuple(one for one in chosen if one not in removed),
        files=files,
        bytes=size,
        dry_run=dry_run,
    )


def _let_go(root: Path, number: int, *, dry_run: bool) -> bool:
    """Delete a manifest unless a reader has it open on this machine, or only say whether none has."""
    manifest = manifests.path_of(root, number)
    if dry_run or not remove_unclaimed(manifest):
        return dry_run and not is_claimed(manifest)
    remove_files(root, [manifest])
    return True


def _superseded(
    found: dict[int, Manifest], keep: int | None, newer_than: timedelta | None, calm: datetime, now: datetime
) -> list[int]:
    """Numbers of the snapshots that may go: not among those to be kept, and out of use since `calm`."""
    known = sorted(found)
    since = _there_since(found, now)
    kept = set(known[-keep:]) if keep is not None else {known[-1]}
    if newer_than is not None:
        kept |= {number for number in known if since[number] > now - newer_than}
    return [number for number, after in pairwise(known) if number not in kept and since[after] <= calm]


def _there_since(found: dict[int, Manifest], now: datetime) -> dict[int, datetime]:
    """When each snapshot was published, also where a clock was behind (not before an earlier one) or ahead."""
    since: dict[int, datetime] = {}
    latest = datetime.min.replace(tzinfo=UTC)
    for number in sorted(found):
        since[number] = datetime.fromisoformat(found[number].created_at)
        if since[number] <= now:
            since[number] = latest = max(since[number], latest)
    # What is of the future was there before the one after it, whose time can be believed.
    for number, after in reversed(list(pairwise(sorted(found)))):
        if since[number] > now:
            since[number] = since[after]
    return since


def _old_files(root: Path, rest: list[Manifest], grace: timedelta) -> dict[Path, FileStatus]:
    """What may be deleted: files that nobody names, damaged ones that were set aside, and shards that were given up."""
    now = time.time()
    found = {path: now - _least_age(root, path, grace) for path in (*unnamed_files(root, rest), *set_aside_files(root))}
    given_up = now - max(grace, _PENDING_DAYS).total_seconds()
    # Of a shard its directory tells the age.
    found |= dict.fromkeys(pending.files_before(root, given_up), math.inf)
    known = ((path, calm, status_of(root, path)) for path, calm in found.items())
    return {path: status for path, calm, status in known if status is not None and status.mtime <= calm}


def _least_age(root: Path, path: Path, grace: timedelta) -> float:
    unlocked = is_temporary(path) and path.relative_to(root).parts[0] in _UNLOCKED
    return (max(grace, _UNLOCKED_AGE) if unlocked else grace).total_seconds()


def _delete(root: Path, files: dict[Path, FileStatus], *, dry_run: bool) -> tuple[int, int]:
    # A segment can share its bytes with the shard that it was: they are free when the last name goes.
    names = Counter(status.same for status in files.values())
    sizes = {one.same: one.size for one in files.values() if names[one.same] == one.names}
    if not dry_run:
        remove_files(root, files)
        for folder in {path.parent for path in files}:
            _remove_empty(folder, root)
    return len(files), sum(sizes.values())


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a directory, and those above it, as far as they are empty; never those of the store's layout."""
    while folder.parent != root and folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
