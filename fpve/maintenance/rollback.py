"""Going back to an older snapshot, by publishing it once more."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from fpve.errors import StoreNotFound
from fpve.store import manifest as manifests
from fpve.store.files import is_there
from fpve.store.lock import writer_lock
from fpve.store.manifest import Manifest, Table
from fpve.store.tables import PREFIXES, THUMBNAILS, read_tables, write_table


def rollback(path: str | os.PathLike[str], to: int | None = None) -> int:
    """Publish a new snapshot that holds what snapshot `to` held, by default the last one before the newest.

    Nothing is deleted, so a rollback can be rolled back. A damaged newest snapshot is gone back from in the same way.
    The next run brings the store up to date with its sources again; vectors that were made since snapshot `to` are kept
    for it.

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
        manifest = manifests.successor(found[target], newest, operation="rollback", summary={"to": target})
        if newest in found:
            manifest = _with_vectors_of(found[newest], manifest, root)
        manifests.publish(root, manifest)
    return manifest.snapshot


def _with_vectors_of(newer: Manifest, manifest: Manifest, root: Path) -> Manifest:
    """A manifest that also names what a newer one has of vectors, thumbnails and prefixes, as far as it is there."""
    if [one.fingerprint for one in newer.encoders.values()] != [one.fingerprint for one in manifest.encoders.values()]:
        return manifest
    if newer.fusion.mode != manifest.fusion.mode:
        return manifest
    segments = {one.name: one for one in newer.segments if is_there(root, one.file)}
    # All that the older one needs; `publish` says what of that is gone.
    segments |= {one.name: one for one in manifest.segments}
    added = [one for one in newer.tables if one.name in (THUMBNAILS, PREFIXES) and is_there(root, one.file)]
    found = {*manifest.tables, *added}
    prefixes = sorted((one for one in found if one.name == PREFIXES), key=lambda one: one.file.path)
    return replace(
        manifest,
        segments=tuple(segments[name] for name in sorted(segments)),
        tables=tuple(
            sorted(
                found.difference(prefixes).union(_each_once(root, prefixes)), key=lambda one: (one.name, one.file.path)
            )
        ),
    )


def _each_once(root: Path, files: list[Table]) -> list[Table]:
    """Files of prefixes that hold each once: one file, where some of them were merged since."""
    rows = read_tables(root, PREFIXES, files).combine_chunks()
    codes = rows["prefix_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return files if len(first) == len(rows) else [write_table(root, PREFIXES, rows.take(pa.array(first)))]
