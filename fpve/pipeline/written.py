"""What a run has written: the files that its snapshot names and the one before did not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fpve.store import manifest as manifests
from fpve.store.files import status_of
from fpve.store.manifest import Manifest

KINDS = ("images", "vectors", "indexes", "tables", "snapshots", "state")


def bytes_written(root: Path, manifest: Manifest | None, previous: Manifest | None) -> dict[str, int]:
    """Bytes of the files of a snapshot that the previous one has not, by kind; 0 where there is no new snapshot.

    `images` are pages and their copies, `vectors` rows, `indexes` what is derived of them, `tables` prefixes,
    quarantine and thumbnails, and `snapshots` manifests. `state`, the cache of scanned files, is no part of a snapshot:
    0 here.
    """
    counts = dict.fromkeys(KINDS, 0)
    if manifest is None:
        return counts
    known = set(previous.names) if previous is not None else set()
    for kind, path, size in _files(manifest):
        if path not in known:
            counts[kind] += _size(root, path) if size is None else size
    counts["snapshots"] = _size(root, manifests.name_of(manifest.snapshot))
    return counts


def _files(manifest: Manifest) -> Iterator[tuple[str, str, int | None]]:
    """Kind, path and size of each file; that of a derived one is not in the manifest."""
    for collection in manifest.collections:
        for page in collection.pages:
            yield "images", page.file.path, page.file.bytes
            yield from (("images", name, None) for name in page.copy)
    for segment in manifest.segments:
        yield "vectors", segment.file.path, segment.file.bytes
        yield from (("indexes", name, None) for name in segment.derived_files)
    yield from (("tables", table.file.path, table.file.bytes) for table in manifest.tables)


def _size(root: Path, name: str) -> int:
    """That of a file; 0 if it is gone again. What another machine wrote into a bucket is not here."""
    file = root / name
    if file.exists():
        return file.stat().st_size
    found = status_of(root, file)
    return 0 if found is None else found.size
