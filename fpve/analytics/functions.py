"""Functions that a query may call: cosines of vectors, and tables that those above this package answer with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fpve.fusion import Floats, Fusion

if TYPE_CHECKING:
    import duckdb

Found = TypeVar("Found")
_SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.float32(): "FLOAT", pa.float64(): "DOUBLE"}
# Calls that are answered before it is looked whether anybody still waits: enough for products of matrices to pay.
_AT_ONCE = 256
# Of every table function, after the text that it is asked by.
OPTIONS = (pa.field("k", pa.int64()), pa.field("image_weight", pa.float64()))


class Listed(NamedTuple):
    """The rows that n calls of a table function are answered with.

    Attributes:
        rows: t rows, those of a call together.
        bounds: (n + 1,) where the rows of each call begin, and at the end t.
    """

    rows: pa.Table
    bounds: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TableFunction:
    """A function that stands where a table could: `FROM search('a cat', k := 5)`.

    Attributes:
        name: what it is called.
        argument: what the text is called that it is asked by.
        result: the columns of its rows: texts and numbers.
        answer: answers n calls at once, from several threads; its table has the argument and OPTIONS of each, which can
            be null.
    """

    name: str
    argument: str
    result: pa.Schema
    answer: Callable[[pa.Table], Listed]


@dataclass(frozen=True, slots=True)
class VectorFunction:
    """A function that gives a vector for a text: `SELECT vector_of('c/one.jpg')`.

    Attributes:
        name: what it is called.
        dim: length of the vectors.
        answer: gives the vectors (n, dim) of n different texts, from several threads.
    """

    name: str
    dim: int
    answer: Callable[[list[str]], Floats]


class Calls:
    """The calls of functions that one query makes.

    Attributes:
        failed: what they raised: DuckDB turns it into a text.
        stopped: is set when no more of them are to be answered: DuckDB can't interrupt Python.
    """

    def __init__(self) -> None:
        self.failed: list[Exception] = []
        self.stopped = Event()

    def clear(self) -> None:
        """Begin with another query."""
        self.failed.clear()
        self.stopped.clear()

    def answer(self, function: TableFunction, arguments: pa.Table) -> list[Listed]:
        """Answer calls, some of them at a time."""
        starts = range(0, len(arguments), _AT_ONCE)
        return [self.kept(partial(function.answer, arguments.slice(start, _AT_ONCE))) for start in starts]

    def kept(self, work: Callable[[], Found]) -> Found:
        """Do some work for a query, if it is still waited for, and keep what it raises."""
        if self.stopped.is_set():
            raise InterruptedError
        try:
            return work()
        except Exception as error:
            self.failed.append(error)
            raise


def add_cosines(connection: duckdb.DuckDBPyConnection, fusion: Fusion) -> None:
    """Add `cosine(a, b)` of vectors or lists, and `image_cosine` and `prefix_cosine` of the halves of fused vectors.

    Each is null where a side is null, or zero. They are cosines of lists: those of arrays are a quarter faster, and
    take no list that a person writes. Of 100,000 pairs of 1,664 numbers the whole takes 0.3 s, the halves, which are
    slices, 0.5 s, and NumPy's products in a Python function 1.2 s.
    """
    vector = f"FLOAT[{fusion.dim}]"
    image, prefix = f"1:{fusion.image_dim}", f"{fusion.image_dim + 1}:{fusion.dim}"
    for name, kind, part in (
        ("cosine", "", "::FLOAT[]"),
        ("image_cosine", vector, f"[{image}]"),
        ("prefix_cosine", vector, f"[{prefix}]"),
    ):
        connection.execute(
            f"CREATE MACRO {name}(a {kind}, b {kind}) AS nullif(list_cosine_similarity(a{part}, b{part}), 'NaN'::FLOAT)"
        )


def add_functions(
    connection: duckdb.DuckDBPyConnection, functions: Sequence[TableFunction | VectorFunction], calls: Calls
) -> None:
    """Add functions, whose calls are `calls`."""
    for one in functions:
        if isinstance(one, VectorFunction):
            _add_vector_function(connection, one, calls)
        else:
            _add_table_function(connection, one, calls)


def _add_vector_function(connection: duckdb.DuckDBPyConnection, function: VectorFunction, calls: Calls) -> None:
    """Add a function of vectors, whose calls are `calls`; of null it is null."""

    def call(asked: pa.ChunkedArray) -> pa.Array:
        # The same text for every row of a table is usual: it is asked for once.
        coded = asked.combine_chunks().dictionary_encode()
        known = coded.indices.is_valid().to_numpy(zero_copy_only=False)
        codes = coded.indices.fill_null(0).to_numpy()
        found = np.zeros((len(codes), function.dim), np.float32)
        if known.any():
            found[known] = calls.kept(partial(function.answer, coded.dictionary.to_pylist()))[codes[known]]
        return pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), function.dim, mask=pa.array(~known))

    connection.create_function(  # type: ignore[call-overload]
        function.name,
        call,
        ["VARCHAR"],
        f"FLOAT[{function.dim}]",
        type="arrow",
        null_handling="special",
        side_effects=True,
    )


def _add_table_function(connection: duckdb.DuckDBPyConnection, function: TableFunction, calls: Calls) -> None:
    fields = [f'"{field.name}" {_SQL_TYPES[field.type]}' for field in function.result]
    parameters = pa.schema([pa.field(function.argument, pa.string()), *OPTIONS])

    def call(asked: pa.ChunkedArray, k: pa.ChunkedArray, image_weight: pa.ChunkedArray) -> pa.Array:
        parts = calls.answer(function, pa.table([asked, k, image_weight], schema=parameters))
        tables = [part.rows.select(function.result.names).cast(function.result) for part in parts]
        rows = pa.concat_tables([function.result.empty_table(), *tables]).combine_chunks()
        columns = [column.combine_chunks() for column in rows.columns]
        structs = pa.StructArray.from_arrays(columns, fields=list(function.result))
        counts = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.bounds) for part in parts)])
        return pa.ListArray.from_arrays(pa.array(np.cumsum(counts), pa.int32()), structs)

    hidden = f"_{function.name}"
    # By words, not by enumerations: where those are has changed between versions of DuckDB.
    connection.create_function(  # type: ignore[call-overload]
        hidden,
        call,
        [_SQL_TYPES[field.type] for field in parameters],
        f"STRUCT({', '.join(fields)})[]",
        type="arrow",
        null_handling="special",
        # Else DuckDB would call it while it plans, and once more when that fails.
        side_effects=True,
    )
    optional = ", ".join(f"{field.name} := NULL" for field in OPTIONS)
    arguments = ", ".join(parameters.names)
    connection.execute(
        f"CREATE MACRO {function.name}({function.argument}, {optional}) AS TABLE "
        f"SELECT unnest({hidden}({arguments}), recursive := true)"
    )
