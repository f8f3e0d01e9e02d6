"""Collections of vectors that somebody else computed: by what a store knows them."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.fusion import Floats
from fpve.store.manifest import Collection

# Owner of the collections that `fpve import` makes.
IMPORT_JOB = "fpve import"
# The content of a picture is named by hex digits alone: no picture's name begins so.
_VECTOR = "vector-"
# 128 bits of SHA-256, as a prefix_id has.
_DIGITS = 32


def is_imported(collection: Collection) -> bool:
    """Whether a collection's vectors were imported, so that nothing but their file can give them again."""
    return collection.job == IMPORT_JOB


def content_of(vectors: Floats) -> list[str]:
    """What stands for the content of pictures of which only vectors (n, d) are known: digests of their numbers."""
    rows = np.ascontiguousarray(vectors, "<f4")
    return [f"{_VECTOR}{hashlib.sha256(row.tobytes()).hexdigest()[:_DIGITS]}" for row in rows]


def are_vectors(content_hash: pa.ChunkedArray) -> pa.ChunkedArray:
    """(n,) which content hashes are those of vectors, and not of pictures; null is not."""
    return pc.fill_null(pc.starts_with(content_hash, _VECTOR), False)
