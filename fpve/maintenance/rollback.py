"""Going back to an older snapshot, by publishing it once more."""

from __future__ import annotations

import os
from pathlib import Path

from fpve.errors import StoreNotFound
from fpve.store import manifest as manifests
from fpve.store.lock import writer_lock


def rollback(path: str | os.PathLike[str], to: int | None = None) -> int:
    """Publish a new snapshot that holds what snapshot `to` held, by default the last one before the newest.

    Nothing is deleted, so a rollback can be rolled back. A damaged newest snapshot is gone back from in the same way.
    The next run brings the store up to date with its sources again.

    Returns:
        The new snapshot's number.

    Raises:
        StoreNotFound: there is no store, or no whole snapshot to go back to.
        StoreCorrupt: a file of that snapshot is not there any more.
    """
    root = Path(path)
    known = manifests.numbers(root)
    if not known:
        raise StoreNotFound(f"{root}: no store here; `fpve run` or `fpve encode` makes one")
    with writer_lock(root, "fpve rollback"):
        found, _ = manifests.load_all(root)
        newest = manifests.numbers(root)[-1]
        target = max((one for one in found if one < newest), default=None) if to is None else to
        if target not in found or target == newest:
            older = ", ".join(str(one) for one in sorted(found) if one != newest) or "none"
            asked = "an older snapshot" if to is None else f"snapshot {to}"
            raise StoreNotFound(f"{root}: can't go back to {asked}; the newest is {newest}, before it there is {older}")
        manifest = manifests.successor(found[target], newest, operation=f"rollback to {target}")
        manifests.publish(root, manifest)
    return manifest.snapshot
