"""FAISS indexes of segments: the only package that imports faiss. They are derived from Parquet and can be rebuilt."""

from fpve.index.building import (
    build_exact,
    check_index,
    fits,
    index_in_memory,
    indexed,
    open_index,
    rebuild,
    reindexed,
)
from fpve.index.exact import Allowed, Nearest
from fpve.index.files import EXACT_FILE
from fpve.index.recall import fetched
from fpve.index.segment import Found, SegmentIndex

__all__ = [
    "EXACT_FILE",
    "Allowed",
    "Found",
    "Nearest",
    "SegmentIndex",
    "build_exact",
    "check_index",
    "fetched",
    "fits",
    "index_in_memory",
    "indexed",
    "open_index",
    "rebuild",
    "reindexed",
]
