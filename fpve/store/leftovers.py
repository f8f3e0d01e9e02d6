"""Files in a store's directories that no manifest names: what killed writers and pruned snapshots left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fpve.replica import replica_of
from fpve.store.claims import is_claim
from fpve.store.files import our_files
from fpve.store.manifest import Manifest

# Where each file is named by a manifest, or has no business.
_NAMED = ("images", "vectors", "tables", "heads")


def unnamed_files(root: Path, manifests: Iterable[Manifest]) -> Iterator[Path]:
    """Files that none of the manifests names, temporary ones of other directories among them; never in `pending/`.

    Files that a store would not put there, or not call so, are somebody else's. Claims in a bucket are their owners',
    and expire; in a directory they are what was copied with the rest.
    """
    claimed = replica_of(root) is not None
    named = {root / name for manifest in manifests for name in manifest.names}
    for folder in _NAMED:
        yield from (path for path in our_files(root, folder) if path not in named)
    for folder in ("snapshots", "saved", "runs", "state"):
        for path in filter(is_temporary, our_files(root, folder)):
            if not (claimed and is_claim(path.relative_to(root).as_posix())):
                yield path


def is_temporary(path: Path) -> bool:
    """Whether a file of the store has not got its name yet."""
    return path.suffix == ".tmp"
