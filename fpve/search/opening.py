"""Indexes of a snapshot's segments opened to be searched, in one way or another."""

from __future__ import annotations

from fpve.errors import StoreError
from fpve.fusion import Fusion
from fpve.index import SegmentIndex, index_in_memory, open_index
from fpve.memory import mappable
from fpve.search.together import Together
from fpve.store.manifest import Segment
from fpve.store.searched import digest_of, searched_fusion, searched_vectors
from fpve.store.snapshot import Snapshot

_INDEX = ".faiss"
# So few files can be mapped wherever fpve runs; and what pages, threads and the allocator need besides.
_MANY = 1_000
_SPARE = 1_000


def open_together(snapshot: Snapshot, fusion: Fusion, *, predicted: bool) -> Together:
    """All segments of a snapshot: their own indexes, mapped, where these are right; else such as are made in memory.

    Args:
        snapshot: whose segments.
        fusion: mode and centre of what is searched.
        predicted: whether rows without a prefix have the block that was predicted for their picture.

    Raises:
        StoreCorrupt: the rows, or the predictions, are missing or damaged.
        StoreError: there are more indexes than this process may map.
    """
    own = fusion == searched_fusion(snapshot)
    if own:
        _check_mappable(snapshot)
        # Several at once, where they are in a bucket.
        snapshot.fetch_indexes(snapshot.manifest.segments)

    def opened(segment: Segment) -> SegmentIndex:
        if own and _takes_the_same(snapshot, segment, fusion, predicted=predicted):
            return open_index(snapshot, segment)
        return index_in_memory(searched_vectors(snapshot, segment, fusion, predicted=predicted))

    return Together([opened(segment) for segment in snapshot.manifest.segments], fusion.dim)


def _check_mappable(snapshot: Snapshot) -> None:
    """Refuse what can't be opened: where no more can be mapped, files seem to be damaged, and threads don't start.

    Raises:
        StoreError: naming both numbers.
    """
    files = sum(name.endswith(_INDEX) for segment in snapshot.manifest.segments for name in segment.derived)
    room = mappable() if files > _MANY else None
    if room is not None and files > room - _SPARE:
        raise StoreError(
            f"{snapshot.root}: expected room to map its {files:,} index files, found it for {max(0, room - _SPARE):,} "
            f"in this process: `fpve compact {snapshot.root}` makes fewer of small segments; or raise the limit, "
            "`sysctl vm.max_map_count`"
        )


def _takes_the_same(snapshot: Snapshot, segment: Segment, fusion: Fusion, *, predicted: bool) -> bool:
    """Whether the stored index of a segment has the predictions that are wanted: it may take none."""
    return predicted == snapshot.has_predictions or digest_of(snapshot, segment, fusion.centre) == digest_of(
        snapshot, segment, fusion.centre, predicted=False
    )
