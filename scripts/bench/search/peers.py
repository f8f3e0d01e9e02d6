"""What fpve's search is compared with: one class a library, behind one protocol, each with what it can be set to.

All graphs have 32 links a node (64 at the bottom) and are built with 128 candidates, usearch's own number: hnswlib's is
200, FAISS's 40. LanceDB's indexes are as it makes them without being told. Settings are in the order of their effort.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from data import Floats, Rows

from fpve.encoders.runtimes.machine import cores

Setting = Mapping[str, int]
_LINKS = 32
_BUILT_WITH = 128
# Close enough to one another that the first one that reaches a recall does little more than it must.
_WIDTHS = (*range(10, 64, 2), *range(64, 128, 8), *range(128, 256, 16), *range(256, 513, 64), 1024, 2048)
_GRAPH_SETTINGS = tuple({"ef": width} for width in _WIDTHS)


class Peer(Protocol):
    """A way to search vectors by their inner product."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def package(self) -> str:
        """The package that it needs, as it is installed."""

    @property
    def settings(self) -> Sequence[Setting]:
        """What a search can be set to, in the order of its effort; one that is empty where there is no choice."""

    def build(self, vectors: Floats) -> None:
        """Make an index of vectors (n, dim)."""

    def search(self, queries: Floats, k: int, setting: Setting) -> Rows:
        """The rows (m, k) that queries (m, dim) find, -1 where it is fewer."""


class FaissFlat:
    """FAISS, every vector scored."""

    name = "FAISS Flat"
    package = "faiss-cpu"
    settings: Sequence[Setting] = ({},)

    def build(self, vectors: Floats) -> None:
        """Copy the vectors."""
        import faiss

        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def search(self, queries: Floats, k: int, setting: Setting) -> Rows:
        """Score everything."""
        return self.scored(queries, k, setting)[1]

    def scored(self, queries: Floats, k: int, setting: Setting) -> tuple[Floats, Rows]:  # noqa: ARG002 (it has none)
        """Scores (m, k) and rows (m, k)."""
        return self._index.search(queries, k)


class FaissGraph:
    """FAISS's HNSW over vectors as they are (`float32`), or over codes: its `QT_bf16` or `QT_8bit`, say."""

    package = "faiss-cpu"
    settings = _GRAPH_SETTINGS

    def __init__(self, codes: str) -> None:
        self.name = f"FAISS HNSW {codes}"
        self._codes = codes

    def build(self, vectors: Floats) -> None:
        """Train the codes and link the vectors."""
        import faiss

        dim, metric = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
        if self._codes == "float32":
            self._index = faiss.IndexHNSWFlat(dim, _LINKS, metric)
        else:
            self._index = faiss.IndexHNSWSQ(dim, getattr(faiss.ScalarQuantizer, self._codes), _LINKS, metric)
        self._index.hnsw.efConstruction = _BUILT_WITH
        self._index.train(vectors)
        self._index.add(vectors)

    def search(self, queries: Floats, k: int, setting: Setting) -> Rows:
        """Walk the graph."""
        return self.scored(queries, k, setting)[1]

    def scored(self, queries: Floats, k: int, setting: Setting) -> tuple[Floats, Rows]:
        """Scores (m, k) and rows (m, k)."""
        import faiss

        return self._index.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=setting["ef"]))


class FaissParts:
    """Either of the above over each of so many parts of the rows, one after the other, and their results merged."""

    package = "faiss-cpu"

    def __init__(self, make: Callable[[], FaissFlat | FaissGraph], parts: int) -> None:
        self._parts = [make() for _ in range(parts)]
        self.name = f"{self._parts[0].name}, {parts} parts"
        self.settings = self._parts[0].settings

    def build(self, vectors: Floats) -> None:
        """Make an index of each part."""
        cuts = np.array_split(vectors, len(self._parts))
        self._starts = np.cumsum([0, *(len(cut) for cut in cuts[:-1])])
        for part, cut in zip(self._parts, cuts, strict=True):
            part.build(cut)

    def search(self, queries: Floats, k: int, setting: Setting) -> Rows:
        """Search every part, and keep the best of all."""
        found = [part.scored(queries, k, setting) for part in self._parts]
        scores = np.hstack([one[0] for one in found])
        places = zip(found, self._starts, strict=True)
        rows = np.hstack([np.where(own < 0, -1, own + start) for (_, own), start in places])
        # FAISS's own heaps take a call a part, and longer for it.
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(rows, np.take_along_axis(best, order, axis=1), axis=1)


class Usearch:
    """usearch, with vectors of a type of its own."""

    package = "usearch"
    settings = _GRAPH_SETTINGS

    def __init__(self, dtype: str) -> None:
        self.name = f"usearch {dtype}"
        self._dtype = dtype

    def build(self, vectors: Floats) -> None:
        """Convert and link the vectors."""
        from usearch.index import Index

        self._index = Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype=self._dtype,
            connectivity=_LINKS,
            expansion_add=_BUILT_WITH,
            # Rows are never asked for by their keys.
            enable_key_lookups=False,
        )
        self._index.add(np.arange(len(vectors)), vectors, threads=cores())

    def search(self, queries: Floats, k: int, setting: Setting) -> Rows:
        """Walk the graph."""
        self._index.expansion_search = setting["ef"]
        return self._index.search(queries, k, threads=cores()).keys.reshape(len(queries), k).astype(np.int64)


class Hnswlib:
    """hnswlib, the authors' own HNSW."""

    name = "hnswlib"
    package = "hnswlib"
    settings = _GRAPH_SETTINGS

    def build(self, vectors: Floats) -> None:
        """Link the vectors."""
        import hnswlib

        self._index = hnswlib.Index("ip", vectors.shape[1])
        self._index.init_index(len(vectors), M=_LINKS, ef_construction=_BUILT_WITH)
        self._index.add_items(vectors, num_threads=cores())

    def search(self, queries: Floats, k: int, setting: Setting) -> Rows:
        """Walk the graph."""
        self._index.set_ef(setting["ef"])
        return self._index.knn_query(queries, k, num_threads=cores())[0].astype(np.int64)


class LanceDB:
    """LanceDB, a table on disk in a temporary folder, with one of its indexes."""

    package = "lancedb"

    def __init__(self, index: str) -> None:
        self.name = f"LanceDB {index}"
        self._kind = index
        # The codes alone find much less than a refined list does, and the more so the finer the partitions.
        self.settings = tuple(
            {"nprobes": probes, "refine": refine}
            for probes, refine in ((10, 1), (20, 2), (20, 5), (20, 10), (50, 10), (50, 20), (100, 40), (200, 100))
        )

    def build(self, vectors: Floats) -> None:
        """Write the table and index it."""
        # Else it warns of each cluster of few vectors; it asks when it is imported.
        os.environ.setdefault("LANCEDB_LOG", "error")
        import lancedb
        import pyarrow as pa

        self._folder = tempfile.TemporaryDirectory(prefix="fpve-bench-lance-")
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        rows = pa.table({"row": np.arange(len(vectors)), "vector": flat})
        self._table = lancedb.connect(self._folder.name).create_table("vectors", rows)
        self._table.create_index("vector", config=self._config())

    def search(self, queries: Floats, k: int, setting: Setting) -> Rows:
        """Ask for the row numbers, of all queries in one request."""
        asked: Any = queries[0] if len(queries) == 1 else list(queries)
        query = self._table.search(asked).distance_type("dot").limit(k).nprobes(setting["nprobes"])
        found = query.refine_factor(setting["refine"]).select(["row", "_distance"]).to_arrow()
        rows = np.full((len(queries), k), -1)
        number = found["query_index"].to_numpy() if len(queries) > 1 else np.zeros(len(found), np.int64)
        order = np.lexsort((found["_distance"].to_numpy(), number))
        number = number[order]
        place = np.arange(len(number)) - np.searchsorted(number, number)
        rows[number, place] = found["row"].to_numpy()[order]
        return rows

    def _config(self) -> Any:
        from lancedb import index

        kinds = {"IVF_PQ": index.IvfPq, "IVF_RQ": index.IvfRq, "IVF_HNSW_SQ": index.HnswSq}
        return kinds[self._kind](distance_type="dot")


RAW: tuple[Callable[[], Peer], ...] = (
    FaissFlat,
    lambda: FaissGraph("float32"),
    lambda: FaissGraph("QT_bf16"),
    lambda: FaissGraph("QT_8bit"),
)
OTHERS: tuple[Callable[[], Peer], ...] = (
    lambda: Usearch("f32"),
    lambda: Usearch("bf16"),
    Hnswlib,
    lambda: LanceDB("IVF_PQ"),
    lambda: LanceDB("IVF_RQ"),
    lambda: LanceDB("IVF_HNSW_SQ"),
)
PACKAGES = ("usearch", "hnswlib", "lancedb")


def is_installed(peer: Peer) -> bool:
    """Whether this environment has what a peer needs."""
    return find_spec(peer.package.removesuffix("-cpu")) is not None


def named(setting: Setting) -> str:
    """A setting as tables say it."""
    return ", ".join(f"{name} {value}" for name, value in setting.items()) or "exact"
