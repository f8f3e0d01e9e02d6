"""Files in a store's directories that no manifest names: what killed writers and pruned snapshots left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fpve.store.files import our_files
from fpve.store.manifest import Manifest

# Where each file is named by a manifest, or has no business.
_NAMED = ("images", "vectors", "tables", "heads")


def unnamed_files(root: Path, manifests: Iterable[Manifest]) -> Iterator[Path]:
    """Files that none of the manifests names, temporary ones of other directories among them; never in `pending/`.

    Files that a store would not put there, or not call so, are somebody else's.
    """
    named = {root / name for manifest in manifests for name in manifest.names}
    for folder in _NAMED:
        yield from (path for path in our_files(root, folder) if path not in named)
    for folder in ("snapshots", "saved", "runs", "state"):
        yield from (path for path in our_files(root, folder) if is_temporary(path))


def is_temporary(path: Path) -> bool:
    """Whether a file of the store has not got its name yet."""
    return path.suffix == ".tmp"
