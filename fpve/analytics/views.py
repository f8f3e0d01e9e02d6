"""The views of a snapshot. A store can be large, so each is added when a query names it, and read when it is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpve.analytics.connection import quoted
from fpve.errors import FpveError, QueryError, StoreCorrupt
from fpve.store import runs, saved, tables
from fpve.store.snapshot import Snapshot
from fpve.urls import URL_PATTERN

if TYPE_CHECKING:
    import duckdb

# Where tables are that views are made of: SHOW TABLES is to show views.
_HIDDEN = "hidden"
# Columns of predictions that say what an image and its prefix are: they are in `images`, under the same names.
_IN_IMAGES = ["content_hash", "prefix_id"]
# What lists views without naming them.
_LISTING = re.compile(
    r"\bshow\s+(all\s+)?tables\b|^\s*(show|describe|desc)\s*;?\s*$|information_schema|sqlite_|pragma_|\bpg_|\bduckdb_",
    re.IGNORECASE,
)
_REMARK = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def images_query(snapshot: Snapshot, rows: str) -> str:
    """The query for `images`, of mapped rows: a query reads what it needs of them, and makes paths full itself."""
    folders = " ".join(
        f"WHEN {quoted(one.name)} THEN {quoted(one.folder or one.source)}" for one in snapshot.manifest.collections
    )
    # A table may name files by absolute paths, and objects by URLs.
    full = f"starts_with(path, '/') OR (contains(path, '://') AND regexp_matches(path, {quoted(URL_PATTERN)}))"
    path = f"if({full}, path, concat(CASE collection {folders} END, '/', path))" if folders else "path"
    return f"SELECT * REPLACE ({path} AS path) FROM {rows}"


class Views:
    """The views of a snapshot on a connection, whose configuration may be locked as soon as they are made.

    Attributes:
        broken: by the names of views that could not be added, why.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
        self._connection = connection
        self._snapshot = snapshot
        # By cursors that stand in other schemas: where a relation's view goes is not said otherwise.
        self._cursors = {name: connection.cursor() for name in (_HIDDEN, saved.FOLDER)}
        for name, cursor in self._cursors.items():
            connection.execute(f"CREATE SCHEMA {name}")
            cursor.execute(f"USE {name}")
        connection.execute(f"CREATE MACRO hits(name) AS TABLE SELECT * FROM query_table('{saved.FOLDER}.' || name)")
        self._added: set[str] = set()
        self.broken: dict[str, FpveError] = {}

    @property
    def names(self) -> list[str]:
        """The names of all views."""
        return [*_NAMES, *(f"{saved.FOLDER}.{name}" for name in saved.saved_names(self._snapshot.root))]

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns of all views; nothing is read but what is saved, of which the names are."""
        found = {name: tables.SCHEMAS[table].names for name, table in _TABLES.items()}
        found["images"] = self._snapshot.rows.schema.names
        found["vectors"] = ["image_id", "vector"]
        found["prefixes"] = [
            *tables.SCHEMAS[tables.PREFIXES].names,
            *(name for name in found["generated"] if name not in ("generation_id", "created_at")),
            "generated_at",
        ]
        found["predictions"] = [name for name in tables.SCHEMAS[tables.PREDICTIONS].names if name not in _IN_IMAGES]
        found["runs"] = runs.SCHEMA.names
        found[saved.FOLDER] = saved.LISTING.names
        listed = saved.list_saved(self._snapshot.root).to_pylist()
        return {name: found[name] for name in _NAMES} | {
            f"{saved.FOLDER}.{one['name']}": one["columns"] or [] for one in listed
        }

    def not_saved(self, name: str) -> FpveError:
        """What to say of something that is not saved, or no more."""
        try:
            saved.read_saved(self._snapshot.root, name)
        except FpveError as error:
            return error
        return QueryError(f"SQL: saved.{name} is being saved at the moment; ask again")

    def add_named(self, query: str) -> None:
        """Add the views that a query may name: those whose names are in its text."""
        # With remarks as well: what seems to be one may stand in a text.
        if _LISTING.search(query) or _LISTING.search(_REMARK.sub(" ", query)):
            self.add_all()
            return
        words = set(re.findall(r"\w+", query.lower()))
        self._add(name for name in _NAMES if name in words)
        self._add_saved(name for name in saved.saved_names(self._snapshot.root) if name in words)

    def add_all(self) -> None:
        """Add all views."""
        self._add(_NAMES)
        self._add_saved(saved.saved_names(self._snapshot.root))

    def close(self) -> None:
        """Let go of what belongs to the views."""
        for cursor in self._cursors.values():
            cursor.close()

    def _add(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._added:
                continue
            # The text may only seem to name it: whether it matters shows when the query is bound.
            try:
                if name in _TABLES:
                    self._put("main", name, self._table(_TABLES[name]))
                else:
                    _MADE[name](self)
            except FpveError as error:
                self.broken[name] = error
            else:
                self._added.add(name)

    def _need(self, name: str) -> None:
        """Add a view that another one is made of, or raise what keeps it from being there."""
        self._add([name])
        if name in self.broken:
            raise self.broken[name]

    def _add_saved(self, names: Iterable[str]) -> None:
        """Add what is saved, again each time: somebody may have saved it anew."""
        for name in names:
            try:
                self._put(saved.FOLDER, name, saved.read_saved(self._snapshot.root, name))
            except FpveError as error:
                self.broken[name] = error

    def _put(self, schema: str, name: str, rows: Any) -> None:
        cursor = self._cursors.get(schema, self._connection)
        cursor.from_arrow(rows).create_view(name, replace=True)

    def _add_images(self) -> None:
        manifest = self._snapshot.manifest
        pages = [page for one in manifest.collections for page in one.pages]
        self._check_inside(name for page in pages for name in (page.copy[0], page.file.path))
        self._put(_HIDDEN, "image_rows", self._snapshot.rows.table(full_paths=False))
        self._connection.execute(f"CREATE VIEW images AS {images_query(self._snapshot, f'{_HIDDEN}.image_rows')}")

    def _add_vectors(self) -> None:
        self._need("images")
        self._check_inside(one.file.path for one in self._snapshot.manifest.segments)
        self._put(_HIDDEN, "vector_rows", self._snapshot.vector_rows())
        self._connection.execute(
            f"CREATE VIEW vectors AS SELECT i.image_id, v.vector FROM images i JOIN {_HIDDEN}.vector_rows v "
            "ON v.segment = i.segment "
            "AND v.content_hash IS NOT DISTINCT FROM i.content_hash AND v.prefix_id IS NOT DISTINCT FROM i.prefix_id"
        )

    def _add_prefixes(self) -> None:
        self._need("generated")
        self._put(_HIDDEN, "prefix_texts", self._table(tables.PREFIXES))
        self._connection.execute(
            f"CREATE VIEW prefixes AS SELECT * FROM {_HIDDEN}.prefix_texts LEFT JOIN "
            "(SELECT * EXCLUDE (created_at), created_at AS generated_at FROM generated) USING (generation_id)"
        )

    def _add_predictions(self) -> None:
        rows = self._table(tables.PREDICTIONS).drop_columns(_IN_IMAGES)
        self._put("main", "predictions", rows)

    def _add_runs(self) -> None:
        self._put("main", "runs", self._snapshot.runs())

    def _add_listing(self) -> None:
        self._put("main", saved.FOLDER, saved.list_saved(self._snapshot.root))

    def _table(self, name: str) -> Any:
        self._check_inside(one.file.path for one in self._snapshot.manifest.tables_named(name))
        return self._snapshot.table(name)

    def _check_inside(self, files: Iterable[str]) -> None:
        """Refuse files that are links out of the store.

        Raises:
            StoreCorrupt: naming the first.
        """
        root = self._snapshot.root
        real = root.resolve()
        known: set[Path] = set()
        for name in files:
            path = root / name
            for one in (path.parent, path):
                if one in known or (one is path and not path.is_symlink()):
                    continue
                target = one.resolve()
                if not target.is_relative_to(real):
                    raise StoreCorrupt(
                        f"{path}: expected a file in the store, found a link to {target}; SQL reads nothing outside: "
                        "copy it to its place"
                    )
                known.add(one)


# Views of tables as they are.
_TABLES = {
    "quarantine": tables.QUARANTINE,
    "labels": tables.LABELS,
    "generated": tables.GENERATED,
    "corrections": tables.CORRECTED,
    "means": tables.MEANS,
    "predicted": tables.PREDICTED,
}
# Views that are made of something else.
_MADE: dict[str, Callable[[Views], None]] = {
    "images": Views._add_images,
    "vectors": Views._add_vectors,
    "prefixes": Views._add_prefixes,
    "predictions": Views._add_predictions,
    "runs": Views._add_runs,
    "saved": Views._add_listing,
}
_NAMES = (
    "images",
    "vectors",
    "prefixes",
    "quarantine",
    "labels",
    "predictions",
    "runs",
    "generated",
    "corrections",
    "means",
    "predicted",
    "saved",
)
