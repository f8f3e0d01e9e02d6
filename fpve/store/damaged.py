"""Where `repair` puts what it takes out: outside all snapshots, until `prune` deletes it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fpve.replica import replica_of
from fpve.store.files import fsync_directory, make_directory, our_files

_FOLDER = ("state", "damaged")


def set_aside(root: Path, file: str, *, ready: Callable[[], object] = lambda: None) -> None:
    """Move a file of the store out of every reader's way, if it is there.

    Args:
        root: the store.
        file: relative to it.
        ready: called before it is deleted in a bucket, where it has to be copied first; what it raises ends this.
    """
    folder = make_directory(root, *_FOLDER)
    path = root / file
    # A flat name that says where it was; the random part, because it may have been damaged before.
    target = folder / f"{file.replace('/', '_')}.{secrets.token_hex(4)}"
    replica = replica_of(root)
    if replica is not None:
        with suppress(FileNotFoundError):
            replica.copy(file, target.relative_to(root).as_posix())
            ready()
            replica.remove([file])
        return
    try:
        path.rename(target)
    except FileNotFoundError:
        return
    fsync_directory(path.parent)
    fsync_directory(folder)


def set_aside_files(root: Path) -> list[Path]:
    """Everything that was set aside."""
    folder = root.joinpath(*_FOLDER)
    return [path for path in our_files(root, _FOLDER[0]) if path.parent == folder]
