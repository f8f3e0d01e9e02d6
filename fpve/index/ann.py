"""The ANN index of a segment: compressed vectors and, as far as they reach the target recall, graphs over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fpve.index.codes import Codes, Order, encode
from fpve.index.exact import ExactVectors
from fpve.index.files import codes_name, graph_name, read_mapped, write_index
from fpve.index.graph import Graph, GraphBuilder
from fpve.index.recall import HELD_OUT, WEIGHTS, Queries, held_out_queries, measure, misses
from fpve.memory import give_back
from fpve.store.ann import AnnRef, GraphRef, Measured

# From so many bytes of vectors on: to pass over them takes 2 ms, and over a graph a twentieth of that.
MIN_BYTES = 32_000_000
# No more of the rows than this are held out.
_HELD_OUT_SHARE = 1 / 8
# The metric of the first graph weighs both blocks alike, as the vectors do.
_FIRST = 0.5
# Where it misses the target on one side, these are tried. At 0.8 both blocks still say something: one graph can serve
# all the weights from there to 1, while one of a single block serves no other weight.
_MORE = {True: (0.8, 1.0), False: (0.2, 0.0)}


class AnnIndex(NamedTuple):
    """What an approximate search goes by, mapped."""

    ref: AnnRef
    codes: Codes
    graphs: tuple[Graph, ...]


def is_wanted(rows: int, dim: int, target: float) -> bool:
    """Whether so many vectors are to have an ANN index: not where the target is to find everything."""
    return 4 * rows * dim >= MIN_BYTES and target < 1


def build_ann(
    exact: ExactVectors, folder: Path, digest: str, *, image_dim: int, target: float
) -> tuple[AnnRef, list[str]]:
    """Write codes and graphs into a segment's folder, durably, and measure them; returns the names of their files.

    Args:
        exact: the vectors.
        folder: where to.
        digest: what tells the vectors from the segment's rows, for the names of the files.
        image_dim: length of the image block.
        target: the recall that graphs have to reach.

    Raises:
        OSError: a file can't be written.
    """
    dim = exact.vectors.shape[1]
    order = Order(len(exact), min(HELD_OUT, int(len(exact) * _HELD_OUT_SHARE)))
    names, codes = [codes_name(digest)], _write_codes(exact, order, folder / codes_name(digest))
    queries = held_out_queries(exact, order, image_dim)
    graphs: list[GraphRef] = []
    tried: list[float] = []
    weight: float | None = _FIRST
    while weight is not None:
        tried.append(weight)
        builder = GraphBuilder(exact, codes, image_dim, weight)
        found = GraphRef(weight, measure(exact, builder.measured(), queries, target))
        if _missed([*graphs, found], queries) != _missed(graphs, queries):
            graphs.append(found)
            names.append(graph_name(weight, digest))
            _write_graph(builder, folder / names[-1])
        del builder
        give_back()
        # Of one block, no weight makes another metric.
        weight = _next(_missed(graphs, queries), tried) if 0 < image_dim < dim else None
    return AnnRef(target, order.held_out, WEIGHTS, tuple(graphs)), names


def rebuild_ann(exact: ExactVectors, folder: Path, digest: str, ref: AnnRef, *, image_dim: int) -> None:
    """Write codes and graphs again, as they were chosen.

    Raises:
        OSError: a file can't be written.
    """
    codes = _write_codes(exact, Order(len(exact), ref.held_out), folder / codes_name(digest))
    for graph in ref.graphs:
        builder = GraphBuilder(exact, codes, image_dim, graph.image_weight)
        _write_graph(builder, folder / graph_name(graph.image_weight, digest))


def files_of(ref: AnnRef, digest: str) -> list[str]:
    """What the files of an ANN index are called."""
    return [codes_name(digest), *(graph_name(one.image_weight, digest) for one in ref.graphs)]


def open_ann(folder: Path, names: Iterable[str], ref: AnnRef, rows: int, dim: int) -> AnnIndex | None:
    """Map codes and graphs; None if any of them is gone, or not of so many vectors."""
    try:
        index, *graphs = (read_mapped(folder / name, without_storage="graph" in name) for name in names)
    except (RuntimeError, ValueError):
        return None
    if any((one.ntotal, one.d) != (rows, dim) for one in (index, *graphs)) or len(graphs) != len(ref.graphs):
        return None
    codes = Codes(index, Order(rows, ref.held_out))
    return AnnIndex(ref, codes, tuple(Graph(one, codes) for one in graphs))


def _write_codes(exact: ExactVectors, order: Order, path: Path) -> Codes:
    write_index(encode(exact, order), path)
    give_back()
    return Codes(read_mapped(path), order)


def _write_graph(builder: GraphBuilder, path: Path) -> None:
    import faiss

    api: Any = faiss
    write_index(builder.finished(), path, api.IO_FLAG_SKIP_STORAGE)


def _missed(graphs: Sequence[GraphRef], queries: Queries) -> list[float]:
    measured: list[tuple[Measured, ...]] = [one.measured for one in graphs]
    return misses(measured, queries)


def _next(missed: Sequence[float], tried: Sequence[float]) -> float | None:
    """The metric of the next graph that may reach what others missed."""
    for weight in missed:
        if weight != _FIRST:
            untried = [one for one in _MORE[weight > _FIRST] if one not in tried]
            if untried:
                return untried[0]
    return None
