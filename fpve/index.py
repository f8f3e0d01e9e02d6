"""FAISS indexes of segments: the only module that imports faiss. They are derived from Parquet and can be rebuilt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats
from fpve.store.files import sha256_of, write_durably
from fpve.store.manifest import Segment
from fpve.store.snapshot import Snapshot

EXACT_FILE = "exact.faiss"
# Beside each index, as `sha256sum` writes it; not in the manifest, for an index that is built again may differ.
CHECKSUM_SUFFIX = ".sha256"
EXACT_FILES = (EXACT_FILE, EXACT_FILE + CHECKSUM_SUFFIX)

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


def build_exact(vectors: Floats | Iterable[Floats], folder: Path) -> tuple[str, ...]:
    """Write an index with its checksum into a segment's folder, durably; returns the files' names.

    Args:
        vectors: (n, dim), or parts of them, of which only one is held at a time.
        folder: where to.

    Raises:
        OSError: it can't be written.
    """
    index = _exact([vectors] if isinstance(vectors, np.ndarray) else vectors)
    path = folder / EXACT_FILE

    write_durably(path, lambda out: _write(index, out))
    write_durably(_checksum_path(path), lambda out: out.write_bytes(_checksum_line(path)))
    return EXACT_FILES


def check_exact(snapshot: Snapshot, segment: Segment, vectors: Floats) -> str | None:
    """What is wrong with a segment's exact index, given the vectors (n, dim) that it should hold; None if nothing."""
    import faiss

    path = snapshot.segment_folder(segment) / EXACT_FILE
    try:
        if _checksum_path(path).read_bytes() != _checksum_line(path):
            return "it or its checksum has changed"
        index = faiss.read_index(str(path))
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except RuntimeError:
        return "not an index that FAISS can read"
    if (index.ntotal, index.d) != vectors.shape:
        return f"expected {vectors.shape[0]} vectors of {vectors.shape[1]} numbers, found {index.ntotal} of {index.d}"
    if not np.array_equal(index.reconstruct_n(0, index.ntotal), vectors):
        return "its vectors are not those of rows.parquet"
    return None


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def _checksum_line(path: Path) -> bytes:
    return f"{sha256_of(path)}  {path.name}\n".encode()


def open_index(snapshot: Snapshot, segment: Segment) -> SegmentIndex:
    """Open a segment's exact index, memory-mapped; where it is gone or broken, make it in memory from Parquet."""
    import faiss

    path = snapshot.segment_folder(segment) / EXACT_FILE
    try:
        # IO_FLAG_MMAP is silently ignored by flat indexes.
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError:
        index = None
    if index is None or index.ntotal != segment.rows or index.d != snapshot.fusion.dim:
        return index_in_memory(snapshot.segment_rows(segment).vectors)
    return SegmentIndex(index)


def index_in_memory(vectors: Floats) -> SegmentIndex:
    """An exact index of vectors (n, dim), not on disk."""
    return SegmentIndex(_exact([vectors]))


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
