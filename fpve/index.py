"""FAISS indexes of segments: the only module that imports faiss. They are derived from Parquet and can be rebuilt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.errors import StoreCorrupt
from fpve.fusion import Floats
from fpve.memory import give_back
from fpve.store.files import INDEX_NAME, sha256_of, write_durably
from fpve.store.manifest import Manifest, Segment
from fpve.store.searched import digest_of, searched_alike, searched_fusion, searched_vectors
from fpve.store.snapshot import Snapshot

# The index of rows as they are stored; others have a digest of their means and predictions in their name.
EXACT_FILE = "exact.faiss"
# Beside each index, as `sha256sum` writes it; not in the manifest, for an index that is built again may differ.
CHECKSUM_SUFFIX = ".sha256"
# Another machine rounds the arithmetic of centring in another way, and the index is as good there.
_ROUNDING = 1e-5

# Bytes that go from FAISS to a file in one piece.
_WRITTEN_AT_ONCE = 1 << 20

Rows = NDArray[np.int64]


class Nearest(NamedTuple):
    """Inner products (n, k) float32, descending, and row numbers (n, k); -1 where fewer than k rows were allowed."""

    scores: Floats
    rows: Rows


class SegmentIndex:
    """Exact inner-product search in one segment. Safe to use from many threads: nothing is shared between calls."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __len__(self) -> int:
        """Number of vector rows."""
        return int(self._index.ntotal)

    def search(self, queries: Floats, k: int, allowed: NDArray[np.bool_] | None = None) -> Nearest:
        """Find the k rows of largest inner product with each of n queries (n, dim), among the rows where `allowed`."""
        import faiss

        parameters: Any = None
        if allowed is not None:
            # A bitmap: FAISS's other selectors are tens of times slower when few rows are allowed.
            bits = np.packbits(allowed, bitorder="little")
            # FAISS's Python layer takes arguments that its generated signatures don't tell.
            api: Any = faiss
            parameters = api.SearchParameters(sel=api.IDSelectorBitmap(bits))
        scores, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)
        return Nearest(scores, rows)

    def vectors(self, rows: Rows) -> Floats:
        """The stored vectors (n, dim) of row numbers (n,)."""
        found: Floats = self._index.reconstruct_batch(np.ascontiguousarray(rows, np.int64))
        return found


def build_exact(vectors: Floats | Iterable[Floats], folder: Path, *, name: str = EXACT_FILE) -> tuple[str, ...]:
    """Write an index with its checksum into a segment's folder, durably; returns the files' names.

    Args:
        vectors: (n, dim), or parts of them, of which only one is held at a time.
        folder: where to.
        name: of the index.

    Raises:
        OSError: it can't be written.
    """
    index = _exact([vectors] if isinstance(vectors, np.ndarray) else vectors)
    path = folder / name

    write_durably(path, lambda out: _write(index, out))
    write_durably(_checksum_path(path), lambda out: out.write_bytes(_checksum_line(path)))
    return _with_checksum(name)


def reindexed(snapshot: Snapshot, like: Manifest | None = None) -> tuple[Segment, ...]:
    """The segments of a snapshot, or of a manifest that is yet to be published, with the indexes that it needs.

    An index is built where a segment has none, or one with other means or predictions: for a manifest with another
    table `predicted`, or other means, so much is to be done before it is published:
    `replace(manifest, segments=reindexed(Snapshot(root, manifest)))`.

    Args:
        snapshot: its means, predictions and segments.
        like: the manifest that it follows, if there is one: with the same means and predictions, its segments are known
            to be as they should, and are not looked at.

    Raises:
        StoreCorrupt: the means, the predictions or a segment's rows are missing or damaged.
        OSError: an index can't be written.
    """
    known = set(like.segments) if like is not None and searched_alike(like, snapshot.manifest) else set()
    return tuple(one if one in known else indexed(snapshot, one) for one in snapshot.manifest.segments)


def indexed(snapshot: Snapshot, segment: Segment) -> Segment:
    """A segment with the index that a snapshot's means and predictions need, which is built if it has another or none.

    Raises:
        StoreCorrupt: the means, the predictions or the segment's rows are missing or damaged.
        OSError: the index can't be written.
    """
    if fits(snapshot, segment):
        return segment
    return replace(segment, derived=_build(snapshot, segment, _name_for(snapshot, segment)))


def fits(snapshot: Snapshot, segment: Segment) -> bool:
    """Whether a segment's index, as it is called, was made with a snapshot's means and predictions.

    Raises:
        StoreCorrupt: the means, the predictions or the segment's rows are missing or damaged.
    """
    return segment.derived == _with_checksum(_name_for(snapshot, segment))


def rebuild(snapshot: Snapshot, segment: Segment) -> None:
    """Write the index of a published segment again, in the place of one that is gone or damaged.

    Raises:
        StoreCorrupt: the means, the predictions or the segment's rows are missing or damaged.
        OSError: the index can't be written.
    """
    _build(snapshot, segment, _name_for(snapshot, segment))


def check_exact(snapshot: Snapshot, segment: Segment, *, compared: bool = True) -> str | None:
    """What is wrong with a segment's exact index, given its rows, the means and the predictions; None if nothing.

    Where the means or predictions can't be read, or it is not to be `compared` with what they make of the rows, only
    whether it has changed is said.
    """
    import faiss

    name = _name_of(segment)
    if name is None:
        return f"no index that this version knows: {', '.join(segment.derived) or 'none'}"
    path = snapshot.segment_folder(segment) / name
    try:
        if _checksum_path(path).read_bytes() != _checksum_line(path):
            return "it or its checksum has changed"
        index = faiss.read_index(str(path))
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except RuntimeError:
        return "not an index that FAISS can read"
    if (index.ntotal, index.d) != (segment.rows, snapshot.fusion.dim):
        return f"expected {segment.rows} vectors of {snapshot.fusion.dim} numbers, found {index.ntotal} of {index.d}"
    if not compared:
        return None
    try:
        if not fits(snapshot, segment):
            return "it was made with other means or predictions"
        start = 0
        for vectors in searched_vectors(snapshot, segment, searched_fusion(snapshot), verified=True):
            found = index.reconstruct_n(start, len(vectors))
            tolerance = 0 if name == EXACT_FILE else _ROUNDING
            if not np.allclose(found, vectors, rtol=0, atol=tolerance):
                return "its vectors are not those of rows.parquet"
            start += len(vectors)
    except StoreCorrupt:
        return None
    return None


def _build(snapshot: Snapshot, segment: Segment, name: str) -> tuple[str, ...]:
    vectors = searched_vectors(snapshot, segment, searched_fusion(snapshot))
    try:
        return build_exact(vectors, snapshot.segment_folder(segment), name=name)
    finally:
        give_back()


def _name_for(snapshot: Snapshot, segment: Segment) -> str:
    """What the index is called that a snapshot's means and predictions need."""
    digest = digest_of(snapshot, segment, snapshot.centre)
    return f"exact-{digest}.faiss" if digest else EXACT_FILE


def _name_of(segment: Segment) -> str | None:
    """What a segment's index is called; None if it has none of which this version knows."""
    return next((name for name in segment.derived if re.fullmatch(INDEX_NAME, name)), None)


def _with_checksum(name: str) -> tuple[str, ...]:
    return (name, name + CHECKSUM_SUFFIX)


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def _checksum_line(path: Path) -> bytes:
    return f"{sha256_of(path)}  {path.name}\n".encode()


def open_index(snapshot: Snapshot, segment: Segment) -> SegmentIndex:
    """Open a segment's exact index, memory-mapped; where it is gone or broken, make it in memory from Parquet."""
    import faiss

    name = _name_of(segment)
    index = None
    if name is not None:
        try:
            # IO_FLAG_MMAP is silently ignored by flat indexes.
            index = faiss.read_index(str(snapshot.segment_folder(segment) / name), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError:
            index = None
    if index is None or index.ntotal != segment.rows or index.d != snapshot.fusion.dim:
        return index_in_memory(searched_vectors(snapshot, segment, searched_fusion(snapshot)))
    return SegmentIndex(index)


def index_in_memory(vectors: Floats | Iterable[Floats]) -> SegmentIndex:
    """An exact index of vectors (n, dim), or of parts of them, not on disk."""
    return SegmentIndex(_exact([vectors] if isinstance(vectors, np.ndarray) else vectors))


def _exact(parts: Iterable[Floats]) -> Any:
    import faiss

    index = None
    for vectors in parts:
        index = index or faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, np.float32))
    return index


def _write(index: Any, path: Path) -> None:
    """Write an index without holding a copy of it.

    Raises:
        OSError: it can't be written.
    """
    import faiss

    failures: list[OSError] = []
    with path.open("wb") as file:

        def write(data: bytes) -> int:
            try:
                return file.write(data)
            except OSError as error:
                failures.append(error)
                raise

        # Not to a path: on a full disk FAISS can lose the last bytes, and says so on stderr only.
        try:
            # Not in its generated signatures.
            api: Any = faiss
            api.write_index(index, api.PyCallbackIOWriter(write, _WRITTEN_AT_ONCE))
        except Exception:
            if failures:
                raise failures[0] from None
            raise
