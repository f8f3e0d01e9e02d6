"""Publishing: a manifest that becomes the next snapshot, or is refused."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fpve._version import __version__
from fpve.errors import SnapshotTaken, StoreCorrupt, StoreNotFound
from fpve.replica import Replica, replica_of
from fpve.store import manifest as manifests
from fpve.store.damaged import set_aside_files
from fpve.store.files import at_hand, fsync_directory, inside, is_there, make_directory
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
    try:
        replica.complete([name for name in manifest.names if name not in known])
    except FileNotFoundError as error:
        raise StoreCorrupt(
            f"{inside(root, str(error))}: a file of the store vanished while it was being written to; nothing was "
            f"published. `fpve verify {root}` says what else is missing"
        ) from None
    name = manifests.name_of(manifest.snapshot)
    if not replica.bucket.put_new(name, manifests.dumps(manifest)):
        raise _taken(root, manifest)
    at_hand(root, name, changes=True)


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
