"""Deleting old snapshots, and the files that no kept one names."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from fpve.errors import StoreCorrupt
from fpve.replica import FileStatus, Replica, located, replica_of
from fpve.store import manifest as manifests
from fpve.store import pending
from fpve.store.claims import Claim, deleting, listing
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

Result = TypeVar("Result")


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
    the grace period, and files that were written within it. Of a store in a bucket the bucket's clock tells the time.
    A dry run waits for no writer, and writes nothing; so it goes by this machine's clock.

    Raises:
        ValueError: neither `keep` nor `newer_than` says what is to be kept.
        StoreNotFound: there is no store at `path`.
        StoreCorrupt: a manifest is damaged, so that nobody knows what it needs.
        StoreLocked: another writer holds the store, or publishes in its bucket.
        BucketError: the bucket can't be asked, or refuses; some may have been deleted.
    """
    if keep is None and newer_than is None:
        raise ValueError("prune: expected keep or newer_than, found neither")
    if keep is not None and keep < 1:
        raise ValueError(f"prune: expected to keep at least 1 snapshot, found {keep}")
    root = located(path)
    if not manifests.numbers(root):
        raise manifests.no_store(root)
    with _turn(root, dry_run=dry_run) as turn:
        found, damaged = manifests.load_all(root)
        if damaged:
            raise StoreCorrupt(
                f"{root}: snapshot {min(damaged)} is damaged, so what it needs is not known; "
                f"`fpve repair {root}` sets it aside"
            )
        since = _there_since(found, turn.now)
        kept = _kept(since, keep, newer_than, turn.now)
        put = turn.put_at(since)
        chosen = [one for one, after in pairwise(sorted(found)) if one not in kept and put[after] <= turn.now - grace]
        # Manifests first: one that names a missing file would be a torn snapshot.
        removed = [one for one in chosen if _let_go(turn, one)]
        if removed and not dry_run:
            fsync_directory(manifests.path_of(root, removed[0]).parent)
        rest = [manifest for number, manifest in found.items() if number not in removed]
        files, size = _delete(turn, _old_files(turn, rest, grace))
    return Pruned(
        removed=tuple(removed),
        kept=tuple(sorted(set(found) - set(removed))),
        held=tuple(one for one in chosen if one not in removed),
        files=files,
        bytes=size,
        dry_run=dry_run,
    )


@dataclass(frozen=True, slots=True)
class _Turn:
    """A time in which nobody else writes to a store.

    Attributes:
        root: the store.
        replica: where it is in a bucket.
        claim: what tells other machines so; None in a directory, and of a dry run.
        now: when it began, by the clock that tells the age of files; of a dry run by that of this machine.
        dry_run: whether nothing is to be deleted.
    """

    root: Path
    replica: Replica | None
    claim: Claim | None
    now: datetime
    dry_run: bool

    def put_at(self, since: Mapping[int, datetime]) -> Mapping[int, datetime]:
        """When readers could have each snapshot, by that clock; one that a listing does not have yet, now.

        Args:
            since: when each was published, by the clocks of those who did.
        """
        if self.replica is None:
            return since
        listed = self.claim.listed if self.claim is not None else listing(self.replica)
        times = ((number, listed.get(manifests.name_of(number))) for number in since)
        return {number: self.now if one is None else one.put_at or since[number] for number, one in times}

    def each(self, work: Callable[[Path], Result], paths: Iterable[Path]) -> list[Result]:
        """Do something for files; for those in a bucket some at once, each only as long as others know of it."""
        if self.replica is None:
            return [work(path) for path in paths]

        def one(path: Path) -> Result:
            if self.claim is not None:
                self.claim.keep()
            return work(path)

        return self.replica.bucket.each(one, paths)

    def remove(self, paths: Iterable[Path]) -> None:
        """Delete files of the store."""
        self.each(lambda path: remove_files(self.root, [path]), paths)


@contextmanager
def _turn(root: Path, *, dry_run: bool) -> Iterator[_Turn]:
    """Keep other writers out: those of this machine by its lock, others by a claim."""
    replica = replica_of(root)
    if dry_run:
        yield _Turn(root, replica, None, datetime.now(UTC), dry_run)
        return
    with writer_lock(root, "fpve prune"), deleting(root) as claim:
        yield _Turn(root, replica, claim, datetime.now(UTC) if claim is None else claim.now, dry_run)


def _let_go(turn: _Turn, number: int) -> bool:
    """Delete a manifest unless a reader has it open on this machine, or only say whether none has."""
    manifest = manifests.path_of(turn.root, number)
    if turn.dry_run or not remove_unclaimed(manifest):
        return turn.dry_run and not is_claimed(manifest)
    turn.remove([manifest])
    return True


def _kept(since: Mapping[int, datetime], keep: int | None, newer_than: timedelta | None, now: datetime) -> set[int]:
    """Numbers of the snapshots that are to be kept, given when each was published."""
    kept = set(sorted(since)[-(keep or 1) :])
    return kept if newer_than is None else kept | {number for number in since if since[number] > now - newer_than}


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


def _old_files(turn: _Turn, rest: list[Manifest], grace: timedelta) -> dict[Path, FileStatus]:
    """What may be deleted: files that nobody names, damaged ones that were set aside, and shards that were given up."""
    root, now = turn.root, turn.now.timestamp()
    found = {path: now - _least_age(root, path, grace) for path in (*unnamed_files(root, rest), *set_aside_files(root))}
    given_up = now - max(grace, _PENDING_DAYS).total_seconds()
    # Of a shard its directory tells the age.
    found |= dict.fromkeys(pending.files_before(root, given_up), math.inf)
    statuses = turn.each(lambda path: status_of(root, path), found)
    known = zip(found.items(), statuses, strict=True)
    return {path: status for (path, calm), status in known if status is not None and status.mtime <= calm}


def _least_age(root: Path, path: Path, grace: timedelta) -> float:
    unlocked = is_temporary(path) and path.relative_to(root).parts[0] in _UNLOCKED
    return (max(grace, _UNLOCKED_AGE) if unlocked else grace).total_seconds()


def _delete(turn: _Turn, files: dict[Path, FileStatus]) -> tuple[int, int]:
    # A segment can share its bytes with the shard that it was: they are free when the last name goes.
    names = Counter(status.same for status in files.values())
    sizes = {one.same: one.size for one in files.values() if names[one.same] == one.names}
    if not turn.dry_run:
        turn.remove(files)
        for folder in {path.parent for path in files}:
            _remove_empty(folder, turn.root)
    return len(files), sum(sizes.values())


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a directory, and those above it, as far as they are empty; never those of the store's layout."""
    while folder.parent != root and folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
