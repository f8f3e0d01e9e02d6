"""Files of indexes: what they are called, their checksums, how they are written and mapped."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fpve.fusion import Floats
from fpve.store.files import INDEX_NAME, sha256_of, write_durably
from fpve.store.manifest import Segment

# The index of rows as they are stored; others have a digest of their means and predictions in their name.
EXACT_FILE = "exact.faiss"
# Beside each index, as `sha256sum` writes it; not in the manifest, for an index that is built again may differ.
CHECKSUM_SUFFIX = ".sha256"

# Bytes that go from FAISS to a file in one piece.
_WRITTEN_AT_ONCE = 1 << 20


def exact_name(digest: str) -> str:
    """What the file of exact vectors is called, given what tells them from the rows; empty if nothing does."""
    return _name("exact", digest)


def codes_name(digest: str) -> str:
    """What the file of compressed vectors is called."""
    return _name("codes", digest)


def graph_name(image_weight: float, digest: str) -> str:
    """What the file of a graph is called, given the weight of the image block in its metric."""
    return _name(f"graph{round(100 * image_weight):03d}", digest)


def _name(kind: str, digest: str) -> str:
    return f"{kind}-{digest}.faiss" if digest else f"{kind}.faiss"


def named(segment: Segment, kind: str) -> list[str]:
    """The files of one kind, such as `exact`, `codes` or `graph`, that a segment names and this version knows."""
    return [name for name in segment.derived if name.startswith(kind) and re.fullmatch(INDEX_NAME, name)]


def with_checksums(names: Iterable[str]) -> tuple[str, ...]:
    """File names, each with that of its checksum."""
    return tuple(one for name in names for one in (name, name + CHECKSUM_SUFFIX))


def is_unchanged(path: Path) -> bool:
    """Whether a file is what its checksum says.

    Raises:
        OSError: one of them can't be read.
    """
    return _checksum_path(path).read_bytes() == _checksum_line(path)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file with its checksum, durably.

    Raises:
        OSError: it can't be written.
    """
    write_durably(path, write)
    write_durably(_checksum_path(path), lambda out: out.write_bytes(_checksum_line(path)))


def write_index(index: Any, path: Path, flags: int = 0) -> None:
    """Write an index of FAISS with its checksum, durably, without holding a copy of it.

    Raises:
        OSError: it can't be written.
    """
    write_file(path, lambda out: _write_to(index, out, flags))


def write_vectors(parts: Iterable[Floats], rows: int, dim: int, path: Path) -> None:
    """Write a flat index of vectors (rows, dim) with its checksum, durably, while holding one part of them at a time.

    Raises:
        OSError: it can't be written.
        ValueError: there are not as many as that.
    """

    def write(out: Path) -> None:
        count = 0
        with out.open("wb") as file:
            file.write(_flat_header(rows, dim))
            for part in parts:
                count += len(part)
                file.write(np.ascontiguousarray(part, "<f4").data)
        if count != rows:
            raise ValueError(f"expected {rows:,} vectors, found {count:,}")

    write_file(path, write)


def _flat_header(rows: int, dim: int) -> bytes:
    """What FAISS writes before the vectors of an IndexFlatIP: that of an empty one, with the numbers in it.

    They are the number of rows, after four letters and the dimension, and at the end the number of floats. FAISS itself
    would have to hold all vectors to write them.
    """
    import faiss

    api: Any = faiss
    empty = bytes(api.serialize_index(faiss.IndexFlatIP(dim)))
    return empty[:8] + struct.pack("<q", rows) + empty[16:-8] + struct.pack("<Q", rows * dim)


def read_mapped(path: Path, *, without_storage: bool = False) -> Any:
    """Map an index into memory; what is mapped is read when it is needed, and is no memory of this process.

    Raises:
        RuntimeError: it is gone, or not an index.
    """
    import faiss

    # IO_FLAG_MMAP is silently ignored by flat indexes.
    flags = faiss.IO_FLAG_MMAP_IFC | (faiss.IO_FLAG_SKIP_STORAGE if without_storage else 0)
    return faiss.read_index(str(path), flags)


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def _checksum_line(path: Path) -> bytes:
    return f"{sha256_of(path)}  {path.name}\n".encode()


def _write_to(index: Any, path: Path, flags: int) -> None:
    import faiss

    failures: list[OSError] = []
    with path.open("wb") as file:
        # Not to a path: on a full disk FAISS can lose the last bytes, and says so on stderr only.
        try:
            # Not in its generated signatures.
            api: Any = faiss
            api.write_index(index, api.PyCallbackIOWriter(_writer(file, failures), _WRITTEN_AT_ONCE), flags)
        except Exception:
            if failures:
                raise failures[0] from None
            raise


def _writer(file: BinaryIO, failures: list[OSError]) -> Callable[[bytes], int]:
    """What FAISS writes with; it can't hand on an error, so that this is kept."""

    def write(data: bytes) -> int:
        try:
            return file.write(data)
        except OSError as error:
            failures.append(error)
            raise

    return write
