"""Publishing: a manifest that becomes the next snapshot, or is refused."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fpve._version import __version__
from fpve.errors import SnapshotTaken, StoreCorrupt, StoreError, StoreNotFound
from fpve.replica import Replica, replica_of
from fpve.store import manifest as manifests
from fpve.store.claims import Claim, publishing
from fpve.store.damaged import set_aside_files
from fpve.store.files import at_hand, fsync_directory, inside, is_ours, is_there, make_directory
from fpve.store.manifest import FOLDER, Manifest, Operation

_SET_ASIDE = re.compile(r"snapshots_(\d{20})\.json\.")


def next_number(root: Path, last: int) -> int:
    """The number of the snapshot after `last`, 0 for none: higher than those of damaged ones that were set aside.

    Of `last` it is what the new one is made from. Where another machine has published since, its number is taken, and
    what was published is not passed over.
    """
    aside = [_SET_ASIDE.match(path.name) for path in set_aside_files(root)]
    return max([last, *(int(match[1]) for match in aside if match)]) + 1


def publish(root: Path, manifest: Manifest) -> None:
    """Make a manifest the newest snapshot, atomically and durably; all its files must be durable already.

    Raises:
        SnapshotTaken: another writer published that number first.
        StoreLocked: another machine deletes files of a store in a bucket, and was waited for too long.
        StoreCorrupt: a file that it names is not there: somebody deleted it, or the whole store, in the meantime.
    """
    # Before looking: where the whole store is replaced after that, this directory is gone, and nothing can be named.
    make_directory(root, FOLDER)
    replica = replica_of(root)
    if replica is not None:
        _publish_in_bucket(replica, manifest)
        return
    for named in manifest.files:
        if not is_there(root, named):
            raise StoreCorrupt(
                f"{inside(root, named.path)}: a file of the store vanished or changed while it was being written to; "
                f"nothing was published. `fpve verify {root}` says what else is missing"
            )
    target = manifests.path_of(root, manifest.snapshot)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(manifests.dumps(manifest))
            file.flush()
            os.fsync(file.fileno())
        _give_name(temporary, target)
    except FileExistsError:
        raise _taken(root, manifest) from None
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(target.parent)


def _publish_in_bucket(replica: Replica, manifest: Manifest) -> None:
    """Put what is new into the bucket, then the manifest, if there is none of its number."""
    root = replica.root
    known: set[str] = set()
    if manifest.parent is not None:
        # Without the parent, which may be damaged, all are looked for.
        with suppress(StoreCorrupt, StoreNotFound):
            known = set(manifests.load(root, manifest.parent).names)
    new = [name for name in manifest.names if name not in known]
    # This takes long, and nobody has to wait for it: what is deleted meanwhile is put again.
    replica.put(new)
    with publishing(replica) as claim:
        if not _is_next(replica, manifest, claim.listed):
            raise _taken(root, manifest)
        try:
            replica.complete(new, ready=claim.keep)
        except FileNotFoundError as error:
            raise _vanished(root, manifest, str(error)) from None
        _put(replica, manifest, claim)
    at_hand(root, manifests.name_of(manifest.snapshot), changes=True)


def _is_next(replica: Replica, manifest: Manifest, listed: Collection[str]) -> bool:
    """Whether a manifest follows the newest snapshot, of which every file is there as long as nobody deletes."""
    own = manifests.name_of(manifest.snapshot)
    if any(name >= own and is_ours(replica.root, replica.root / name) for name in listed):
        # Its number may be free all the same: `prune` passes over what a reader has open, and deletes the next ones.
        return False
    parent = None if manifest.parent is None else manifests.name_of(manifest.parent)
    return parent is None or parent in listed or replica.bucket.look(parent) is not None


def _put(replica: Replica, manifest: Manifest, claim: Claim) -> None:
    """Put a manifest for good.

    Raises:
        SnapshotTaken: another writer was first.
    """
    name, content = manifests.name_of(manifest.snapshot), manifests.dumps(manifest)
    claim.keep()
    try:
        is_first = replica.bucket.put_new(name, content, ready=claim.keep)
    except BaseException:
        # It may yet arrive, and what it names is not to be deleted before.
        claim.leave()
        raise
    if not is_first:
        raise _taken(replica.root, manifest)


def _vanished(root: Path, manifest: Manifest, name: str) -> StoreError:
    """The error where a file is gone that a manifest of a store in a bucket is to name, and the last one does not."""
    if manifest.operation == "rollback":
        # It has made none of them, and would find the same again.
        return StoreCorrupt(
            f"{inside(root, name)}: a file of that snapshot is not there any more; nothing was published. "
            f"`fpve verify {root}` says what else is missing"
        )
    return SnapshotTaken(
        f"{inside(root, name)}: a file of the store was deleted by another machine while it was being written to; "
        "nothing was published; run again"
    )


def _taken(root: Path, manifest: Manifest) -> SnapshotTaken:
    return SnapshotTaken(f"{root}: snapshot {manifest.snapshot} was published by another writer; run again")


def successor(manifest: Manifest, newest: int, *, operation: Operation, **changes: Any) -> Manifest:
    """A manifest that follows snapshot `newest`, and holds what another one holds, but for `changes`."""
    return replace(
        manifest,
        snapshot=newest + 1,
        parent=newest,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        written_by=f"fpve {__version__}",
        operation=operation,
        **{"summary": {}, **changes},
    )


def _give_name(temporary: Path, target: Path) -> None:
    """Give a manifest its name, without replacing one that is there."""
    try:
        # Unlike a rename, a link can't replace anything.
        target.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: the writer's lock must do.
        if target.exists():
            raise FileExistsError(target) from None
        temporary.rename(target)
