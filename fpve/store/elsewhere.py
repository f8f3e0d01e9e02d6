"""A snapshot as other processes open it, on this machine or on others that see the same store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from fpve.replica import located, replica_of, shown
from fpve.store.manifest import Manifest, Segment
from fpve.store.snapshot import Snapshot
from fpve.store.tables import MEANS, PREDICTED


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """Some segments of a snapshot, published or not, for who works on their vectors: it is small, and can be pickled.

    Whoever made it keeps the snapshot from being pruned for as long as it is used.

    Attributes:
        root: where the store is, as every machine understands it: an absolute path, or the URL of one in a bucket.
        manifest: that of the snapshot, with what tells how its vectors are searched, and these segments alone.
    """

    root: str
    manifest: Manifest

    @classmethod
    def of(cls, snapshot: Snapshot, segments: Iterable[Segment]) -> SnapshotRef:
        """The part of a snapshot that has these segments; what of it was written here is put where others find it.

        Raises:
            BucketError: the store is in a bucket, and a file can't be put there.
        """
        manifest = snapshot.manifest
        derived = tuple(one for name in (MEANS, PREDICTED) for one in manifest.tables_named(name))
        small = replace(
            manifest, collections=(), columns=(), segments=tuple(segments), tables=derived, heads=(), predict=()
        )
        replica = replica_of(snapshot.root)
        if replica is not None:
            # Of one that is not published yet, means and predictions are on this machine only.
            replica.push(small.names)
        return cls(shown(snapshot.root.absolute()), small)

    def open(self) -> Snapshot:
        """The snapshot with these segments, and without images, as this machine has it."""
        return Snapshot(located(self.root), self.manifest)


class WithSnapshot:
    """What another process is asked to do with parts of a snapshot, which it opens once for all of them.

    Args:
        ref: the snapshot.
    """

    def __init__(self, ref: SnapshotRef) -> None:
        self._ref = ref

    @cached_property
    def snapshot(self) -> Snapshot:
        """The snapshot, as this process has opened it."""
        return self._ref.open()
