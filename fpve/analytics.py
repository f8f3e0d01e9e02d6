"""SQL over a snapshot: the only module that imports duckdb. It sees the store's tables and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fpve.errors import QueryError
from fpve.store.snapshot import Snapshot

if TYPE_CHECKING:
    import duckdb

_ROW = "__row"
# Without external access there is no file to read, write, attach or install. A directory for temporary files would be
# an exception from that, so there is none. Python variables are no tables either.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "temp_directory": "",
    "python_enable_replacements": False,
}


def run_sql(snapshot: Snapshot, query: str) -> pa.Table:
    """Answer one SQL query over `images`, `vectors`, `prefixes`, `quarantine`, `labels`, `predictions` and `runs`.

    `prefixes` has a row for each text; of one that a language model wrote also the prompt, the model and all that is
    known of how it came about. `predictions` has a row for each image without a label that a job predicts, and each
    such label. `generated` has all answers, `corrections` the texts that people gave to images, `means` by what blocks
    are centred, `predicted` the prefix blocks of pictures without one: where a store has such.

    Raises:
        QueryError: it is not one valid query, or it reaches for anything but these views.
    """
    with _connect() as connection:
        _add_images(connection, snapshot, snapshot.rows.table(full_paths=False))
        connection.register("vector_rows", snapshot.vector_rows())
        for name in ("quarantine", "labels", "generated", "means", "predicted"):
            connection.register(name, snapshot.table(name))
        # What an image and its prefix are is in `images`, under the same names.
        connection.register("predictions", snapshot.table("predictions").drop_columns(["content_hash", "prefix_id"]))
        connection.register("prefix_texts", snapshot.table("prefixes"))
        connection.register("corrections", snapshot.table("corrected"))
        connection.register("runs", snapshot.runs())
        connection.execute(
            "CREATE VIEW vectors AS SELECT i.image_id, v.vector FROM images i JOIN vector_rows v "
            "ON v.segment = i.segment "
            "AND v.content_hash IS NOT DISTINCT FROM i.content_hash AND v.prefix_id IS NOT DISTINCT FROM i.prefix_id"
        )
        connection.execute(
            "CREATE VIEW prefixes AS SELECT * FROM prefix_texts LEFT JOIN "
            "(SELECT * EXCLUDE (created_at), created_at AS generated_at FROM generated) USING (generation_id)"
        )
        connection.execute("SET lock_configuration = true")
        return _one_result(connection, query)


def list_prefixes(snapshot: Snapshot, where: str | None = None) -> pa.Table:
    """The prefixes, most used ones first: to how many images each belongs, and where it came from.

    Raises:
        QueryError: `where` is no SQL condition over the columns of the view `prefixes`, `images` and `corrected`.
    """
    chosen = "" if where is None else f"WHERE ({where})"
    return run_sql(
        snapshot,
        f"""
        WITH used AS (SELECT prefix_id, count(*) AS images FROM images GROUP BY prefix_id),
        given AS (SELECT text, count(*) AS corrected FROM corrections GROUP BY text),
        listed AS (
            SELECT prefixes.*, coalesce(used.images, 0) AS images, coalesce(given.corrected, 0) AS corrected
            FROM prefixes LEFT JOIN used USING (prefix_id) LEFT JOIN given USING (text)
        )
        SELECT prefix_id, images, corrected, text, origin, template, model, prompt, created_at
        FROM listed {chosen} ORDER BY images DESC, text
        """,
    )


def matching_rows(snapshot: Snapshot, where: str) -> NDArray[np.int64]:
    """Numbers of the image rows, in the order of image_id, for which an SQL condition holds.

    Raises:
        QueryError: it is not an SQL condition over the columns of `images`.
    """
    with _connect() as connection, _one_line_errors("where"):
        _add_images(connection, snapshot, _numbered(snapshot.rows.table(full_paths=False)))
        return _rows_where(connection, where)


def rows_where(images: pa.Table, where: str) -> NDArray[np.int64]:
    """Numbers of the rows of a table, ascending, for which an SQL condition over its columns holds.

    Raises:
        QueryError: it is not one.
    """
    with _connect() as connection, _one_line_errors("where"):
        connection.register("images", _numbered(images))
        return _rows_where(connection, where)


def _rows_where(connection: duckdb.DuckDBPyConnection, where: str) -> NDArray[np.int64]:
    if not where.strip():
        raise QueryError("where: expected an SQL condition, found an empty text")
    connection.execute("SET lock_configuration = true")
    # As an expression of its own: pasted into a query it could end that query.
    found = connection.table("images").filter(where).project(_ROW).to_arrow_table()
    rows: NDArray[np.int64] = np.sort(found[_ROW].to_numpy())
    return rows


def _numbered(images: pa.Table) -> pa.Table:
    return images.append_column(_ROW, pa.array(np.arange(len(images))))


def _add_images(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, rows: pa.Table) -> None:
    """Add the view `images` of mapped rows, of which a query reads what it needs; their paths are made full by it."""
    connection.register("image_rows", rows)
    folders = " ".join(
        f"WHEN {_quoted(one.name)} THEN {_quoted(one.folder or one.source)}" for one in snapshot.manifest.collections
    )
    # A table may name files by absolute paths.
    path = f"if(starts_with(path, '/'), path, concat(CASE collection {folders} END, '/', path))" if folders else "path"
    connection.execute(f"CREATE VIEW images AS SELECT * REPLACE ({path} AS path) FROM image_rows")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def _connect() -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    connection = duckdb.connect(config=_CONFIG)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def _one_result(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    import duckdb

    with _one_line_errors("SQL"):
        statements = connection.extract_statements(query)
        if len(statements) != 1:
            raise QueryError(f"SQL: expected one query, found {len(statements)}")
        if statements[0].type != duckdb.StatementType.SELECT:
            kind = statements[0].type.name
            raise QueryError(f"SQL: expected a SELECT query, found {kind}; a store is changed by `fpve run`")
        return _plain_table(connection.sql(query).to_arrow_table())


def _plain_table(table: pa.Table) -> pa.Table:
    """A result with names that differ and types that JSON, CSV and Parquet have: sums of integers are integers."""
    names: list[str] = []
    for name in table.column_names:
        count = sum(other == name or other.startswith(f"{name}_") for other in names)
        names.append(f"{name}_{count}" if name in names else name)
    columns = []
    for column in table.columns:
        kind = column.type
        if pa.types.is_decimal(kind):
            try:
                column = column.cast(pa.int64() if kind.scale == 0 else pa.float64())
            except pa.ArrowInvalid:
                column = column.cast(pa.float64())
        elif pa.types.is_interval(kind) or pa.types.is_union(kind):
            column = pa.chunked_array(
                [pa.array([None if one is None else str(one) for one in column.to_pylist()], pa.string())]
            )
        columns.append(column)
    return pa.table(columns, names=names)


@contextmanager
def _one_line_errors(what: str) -> Iterator[None]:
    """Turn DuckDB's errors into a QueryError of one line, without the excerpt of the query."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        lines = [line.strip() for line in str(error).split("\nLINE ")[0].splitlines()]
        raise QueryError(f"{what}: {' '.join(line for line in lines if line)}") from None
