"""Files in a store's directories that no manifest names: what killed writers and pruned snapshots left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fpve.store.files import is_ours
from fpve.store.manifest import Manifest

# Where each file is named by a manifest, or has no business.
_NAMED = ("images", "vectors", "tables")
_TEMPORARY = ".*.tmp"


def unnamed_files(root: Path, manifests: Iterable[Manifest]) -> Iterator[Path]:
    """Files that none of the manifests names, temporary ones of other directories among them; never in `pending/`.

    Files that are not called as those of a store are somebody else's.
    """
    named = {root / name for manifest in manifests for name in _names(manifest)}
    for folder in _NAMED:
        yield from (path for path in _files(root / folder) if path not in named and is_ours(path))
    for folder in ("snapshots", "runs", "state"):
        yield from sorted((root / folder).rglob(_TEMPORARY))


def _names(manifest: Manifest) -> Iterator[str]:
    yield from (file.path for file in manifest.files)
    for segment in manifest.segments:
        folder = segment.file.path.rpartition("/")[0]
        yield from (f"{folder}/{name}" for name in segment.derived)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink())
