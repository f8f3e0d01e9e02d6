"""Indexes of a snapshot's segments: built where they are wanted, opened, checked. Derived from Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from fpve.errors import StoreCorrupt
from fpve.fusion import Floats
from fpve.index.ann import build_ann, files_of, is_wanted, open_ann, rebuild_ann
from fpve.index.exact import ExactVectors
from fpve.index.files import EXACT_FILE, exact_name, is_unchanged, named, read_mapped, with_checksums, write_vectors
from fpve.index.segment import SegmentIndex
from fpve.mapper import Mapper
from fpve.memory import give_back
from fpve.store.elsewhere import SnapshotRef, WithSnapshot
from fpve.store.files import push
from fpve.store.manifest import Manifest, Segment
from fpve.store.searched import digest_of, searched_alike, searched_fusion, searched_vectors
from fpve.store.snapshot import Snapshot

# Another machine rounds the arithmetic of centring in another way, and the index is as good there.
_ROUNDING = 1e-5


def build_exact(
    vectors: Floats | Iterable[Floats], folder: Path, *, rows: int | None = None, name: str = EXACT_FILE
) -> tuple[str, ...]:
    """Write exact vectors with their checksum into a segment's folder, durably; returns the files' names.

    Args:
        vectors: (n, dim), or at least one part of them, of which only one is held at a time.
        folder: where to.
        rows: how many there are, where they come in parts.
        name: of the index.

    Raises:
        OSError: it can't be written.
    """
    if isinstance(vectors, np.ndarray):
        rows, vectors = len(vectors), [vectors]
    parts = iter(vectors)
    first = next(parts)
    write_vectors(chain([first], parts), len(first) if rows is None else rows, first.shape[1], folder / name)
    return with_checksums([name])


def reindexed(snapshot: Snapshot, like: Manifest | None = None, *, over: Mapper | None = None) -> tuple[Segment, ...]:
    """The segments of a snapshot, or of a manifest that is yet to be published, with the indexes that it needs.

    An index is built where a segment has none, or one with other means or predictions, or for another target recall:
    for a manifest with another table `predicted`, or other means, so much is to be done before it is published:
    `replace(manifest, segments=reindexed(Snapshot(root, manifest)))`.

    Args:
        snapshot: its means, predictions and segments.
        like: the manifest that it follows, if there is one: with the same means and predictions, its segments are known
            to have the right vectors, and their files are not looked at.
        over: builds them elsewhere.

    Raises:
        StoreCorrupt: the means, the predictions or a segment's rows are missing or damaged.
        OSError: an index can't be written.
    """
    manifest = snapshot.manifest
    known = set(like.segments) if like is not None and searched_alike(like, manifest) else set()
    settled = {one for one in known if _has_target(snapshot, one)}
    waiting = [one for one in manifest.segments if one not in settled]
    done: Iterator[Segment]
    # One is not sent away: to begin a process takes longer than most.
    if over is None or len(waiting) < 2:
        done = (indexed(snapshot, one) for one in waiting)
    else:
        done = over.map(_Indexing(SnapshotRef.of(snapshot, waiting)), waiting)
    return tuple(one if one in settled else next(done) for one in manifest.segments)


class _Indexing(WithSnapshot):
    """Gives segments of a snapshot their indexes, in another process."""

    def __call__(self, segment: Segment) -> Segment:
        found, root = indexed(self.snapshot, segment), self.snapshot.root
        push(root, *(root / name for name in found.derived_files))
        return found


def indexed(snapshot: Snapshot, segment: Segment) -> Segment:
    """A segment with the index that a snapshot's means, predictions and target recall need, which is built if need be.

    Raises:
        StoreCorrupt: the means, the predictions or the segment's rows are missing or damaged.
        OSError: the index can't be written.
    """
    if fits(snapshot, segment) and _has_target(snapshot, segment):
        return segment
    digest = digest_of(snapshot, segment, snapshot.centre)
    exact, folder = _write_exact(snapshot, segment, digest), snapshot.segment_folder(segment)
    names, ann = [exact_name(digest)], None
    target, fusion = snapshot.manifest.target_recall, snapshot.fusion
    if _is_wanted(snapshot, segment):
        ann, more = build_ann(exact, folder, digest, image_dim=fusion.image_dim, target=target)
        names += more
    return replace(segment, derived=with_checksums(names), ann=ann)


def fits(snapshot: Snapshot, segment: Segment) -> bool:
    """Whether a segment's index, as it is called, was made with a snapshot's means and predictions.

    Raises:
        StoreCorrupt: the means, the predictions or the segment's rows are missing or damaged.
    """
    digest = digest_of(snapshot, segment, snapshot.centre)
    more = [] if segment.ann is None else files_of(segment.ann, digest)
    return segment.derived == with_checksums([exact_name(digest), *more])


def rebuild(snapshot: Snapshot, segment: Segment) -> None:
    """Write the index of a published segment again, in the place of one that is gone or damaged.

    Raises:
        StoreCorrupt: the means, the predictions or the segment's rows are missing or damaged.
        OSError: the index can't be written.
    """
    digest = digest_of(snapshot, segment, snapshot.centre)
    exact = _write_exact(snapshot, segment, digest)
    if segment.ann is not None:
        folder = snapshot.segment_folder(segment)
        rebuild_ann(exact, folder, digest, segment.ann, image_dim=snapshot.fusion.image_dim)
        give_back()


def _has_target(snapshot: Snapshot, segment: Segment) -> bool:
    """Whether a segment has an ANN index if it should, of the snapshot's target recall."""
    if not _is_wanted(snapshot, segment):
        return segment.ann is None
    return segment.ann is not None and segment.ann.target == snapshot.manifest.target_recall


def _is_wanted(snapshot: Snapshot, segment: Segment) -> bool:
    """Whether a segment is to have an ANN index; where vectors are joined without a balance, no weight is tested."""
    fusion = snapshot.fusion
    large = is_wanted(segment.rows, fusion.dim, snapshot.manifest.target_recall)
    return large and fusion.mode == "balanced"


def _write_exact(snapshot: Snapshot, segment: Segment, digest: str) -> ExactVectors:
    vectors = searched_vectors(snapshot, segment, searched_fusion(snapshot))
    folder = snapshot.segment_folder(segment)
    try:
        build_exact(vectors, folder, rows=segment.rows, name=exact_name(digest))
    finally:
        give_back()
    return ExactVectors(read_mapped(folder / exact_name(digest)))


def check_index(snapshot: Snapshot, segment: Segment, *, compared: bool = True) -> tuple[str, str] | None:
    """Which file of a segment's index is wrong, and why, given its rows, the means and the predictions; None if none.

    Where the means or predictions can't be read, or it is not to be `compared` with what they make of the rows, only
    whether it has changed is said.
    """
    names = named(segment, "exact")
    if not names:
        first = (*segment.derived, EXACT_FILE)[0]
        return first, f"no index that this version knows: {', '.join(segment.derived) or 'none'}"
    snapshot.fetch_indexes([segment])
    folder = snapshot.segment_folder(segment)
    for name in (*names, *named(segment, "codes"), *named(segment, "graph")):
        wrong = _check_file(folder / name, segment.rows, snapshot.fusion.dim)
        if wrong is not None:
            return name, wrong
    wrong = _compare(snapshot, segment, folder / names[0]) if compared else None
    return None if wrong is None else (names[0], wrong)


def _check_file(path: Path, rows: int, dim: int) -> str | None:
    """What is wrong with one file of an index."""
    try:
        if not is_unchanged(path):
            return "it or its checksum has changed"
        index = read_mapped(path, without_storage=path.name.startswith("graph"))
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except RuntimeError:
        return "not an index that FAISS can read"
    if (index.ntotal, index.d) != (rows, dim):
        return f"expected {rows} vectors of {dim} numbers, found {index.ntotal} of {index.d}"
    return None


def _compare(snapshot: Snapshot, segment: Segment, path: Path) -> str | None:
    """What is wrong with exact vectors, given what they should be."""
    try:
        if not fits(snapshot, segment):
            return "it was made with other means or predictions"
        exact, start = ExactVectors(read_mapped(path)), 0
        tolerance = 0 if path.name == EXACT_FILE else _ROUNDING
        for vectors in searched_vectors(snapshot, segment, searched_fusion(snapshot), verified=True):
            found = exact.vectors[start : start + len(vectors)]
            if not np.allclose(found, vectors, rtol=0, atol=tolerance):
                return "its vectors are not those of rows.parquet"
            start += len(vectors)
    except StoreCorrupt:
        return None
    return None


def open_index(snapshot: Snapshot, segment: Segment) -> SegmentIndex:
    """Map a segment's index; where its exact vectors are gone or broken, they are made in memory from Parquet."""
    snapshot.fetch_indexes([segment])
    folder, dim = snapshot.segment_folder(segment), snapshot.fusion.dim
    index = None
    for name in named(segment, "exact"):
        try:
            index = read_mapped(folder / name)
        except RuntimeError:
            index = None
    if index is None or (index.ntotal, index.d) != (segment.rows, dim):
        return index_in_memory(searched_vectors(snapshot, segment, searched_fusion(snapshot)))
    ann = None
    if segment.ann is not None:
        names = [*named(segment, "codes"), *named(segment, "graph")]
        ann = open_ann(folder, names, segment.ann, segment.rows, dim)
    return SegmentIndex(ExactVectors(index), ann)


def index_in_memory(vectors: Floats | Iterable[Floats]) -> SegmentIndex:
    """An exact index of vectors (n, dim), or of parts of them, not on disk."""
    return SegmentIndex(ExactVectors.in_memory([vectors] if isinstance(vectors, np.ndarray) else vectors))
