"""What SQL can call: the tables `search(text)` and `neighbours(image_id)`, and the function `vector_of(image_id)`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from fpve.analytics import Listed, TableFunction, VectorFunction
from fpve.fusion import Floats
from fpve.neighbours import ranks
from fpve.opened import Opened
from fpve.queries import Queries
from fpve.retrieval import Search, Wanted
from fpve.search import DEFAULT_K
from fpve.selection import Selection

_FOUND = [
    pa.field("rank", pa.int64()),
    pa.field("image_id", pa.string()),
    pa.field("score", pa.float64()),
    pa.field("image_score", pa.float32()),
    pa.field("prefix_score", pa.float32()),
]
# Where pictures and texts share a space.
_CROSS = pa.field("cross_score", pa.float32())


def functions_of(opened: Opened) -> tuple[TableFunction | VectorFunction, ...]:
    """What SQL over a store may search by, and vectors by image_id; a model is loaded when it is called."""
    return (
        VectorFunction("vector_of", opened.searcher.snapshot.fusion.dim, lambda ids: _vectors(opened, ids)),
        _function(opened, "search", "query", lambda texts: Queries(texts=texts)),
        _function(opened, "neighbours", "image_id", lambda ids: Queries(ids=ids)),
    )


def _function(opened: Opened, name: str, first: str, queries: Callable[[list[str]], Queries]) -> TableFunction:
    result = pa.schema([*_FOUND, _CROSS] if opened.searcher.snapshot.shares_space else _FOUND)

    def answer(arguments: pa.Table) -> Listed:
        return _answer(opened, arguments, result, queries)

    return TableFunction(name, first, result, answer)


def _vectors(opened: Opened, image_ids: list[str]) -> Floats:
    """The vectors (n, dim) of images as they are stored, to float32 rounding; from the index, which is mapped.

    Raises:
        ImageNotFound: no image has one of the ids.
    """
    searcher = opened.searcher
    rows = np.array([searcher.row_of(one) for one in image_ids], np.int64)
    # Centred ones, and predicted blocks, are what is searched; recovered ones are not.
    return searcher.snapshot.fusion.fuse(*searcher.blocks_of(rows)).vectors


def _answer(opened: Opened, arguments: pa.Table, result: pa.Schema, queries: Callable[[list[str]], Queries]) -> Listed:
    """The hits of n calls: of those with the same options at once, of null none.

    Raises:
        QueryError, ImageNotFound: as a search.
    """
    alike: dict[tuple[int, float | None], list[int]] = defaultdict(list)
    asked, ks, weights = (column.to_pylist() for column in arguments.columns)
    for at, (one, k, weight) in enumerate(zip(asked, ks, weights, strict=True)):
        if one is not None:
            alike[DEFAULT_K if k is None else k, weight].append(at)
    numbers, parts = [np.zeros(0, np.int64)], [result.empty_table()]
    for (k, weight), mine in alike.items():
        found = Search(opened, Wanted(Selection(k), weight)).answer(queries([asked[one] for one in mine]))
        numbers.append(np.array(mine)[found.query])
        rank = pa.array(ranks(found.query) + 1)
        parts.append(found.table.add_column(0, "rank", rank).select(result.names).cast(result))
    number, rows = np.concatenate(numbers), pa.concat_tables(parts)
    if len(alike) > 1:
        order = np.argsort(number, kind="stable")
        number, rows = number[order], rows.take(pa.array(order))
    return Listed(rows, np.searchsorted(number, np.arange(len(asked) + 1)))
