"""What is told to a reader whose snapshot is pruned while it has it open, as another machine may do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fpve.errors import SnapshotPruned, StoreCorrupt
from fpve.replica import replica_of
from fpve.store import manifest as manifests


@contextmanager
def reading(root: Path, number: int) -> Iterator[None]:
    """Tell a file of a snapshot that is missing because the snapshot is from one that is missing or damaged.

    Raises:
        SnapshotPruned: it is no longer there, and there are newer ones.
    """
    try:
        yield
    except SnapshotPruned:
        raise
    except (StoreCorrupt, FileNotFoundError) as error:
        if _is_pruned(root, number):
            raise manifests.pruned(root, number) from error
        raise


def _is_pruned(root: Path, number: int) -> bool:
    """Whether the manifest of a snapshot is gone, and not with the whole store; one yet to be published is the last."""
    replica, name = replica_of(root), manifests.name_of(number)
    try:
        is_there = (root / name).exists() if replica is None else replica.bucket.look(name) is not None
        return not is_there and max(manifests.numbers(root), default=0) > number
    except OSError:
        # Of what can't be asked nothing is known.
        return False
