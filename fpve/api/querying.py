"""The part of a store's API that answers SQL, and keeps rows under a name for it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from fpve.analytics import Bounds, Session, list_prefixes
from fpve.api.functions import functions_of
from fpve.opened import Opened
from fpve.records import Records
from fpve.store import saved


class Querying:
    """A store that answers SQL."""

    path: Path
    _open: Opened

    def sql(self, query: str, *, timeout: float | None = None, memory: int | str | None = None) -> pa.Table:
        """Answer an SQL query (DuckDB) over the views of the store, in which it can change nothing.

        They are `images`, `vectors`, `prefixes`, `quarantine`, `labels`, `predictions` and `runs`; `generated`,
        `corrections`, `means` and `predicted`, where the store has such; `saved`, which lists what is saved, and
        `saved.NAME`. Beside DuckDB's functions there are `cosine`, `image_cosine` and `prefix_cosine` of vectors,
        `vector_of(image_id)`, and the tables `search(text)` and `neighbours(image_id)`, both with `k` and
        `image_weight`.

        Args:
            query: the query.
            timeout: after how many seconds it is given up; None is never.
            memory: how many bytes, or a text such as `2GB`, it may take, and so much again its result; None is half of
                what this process may use.

        Raises:
            QueryError: it is not one valid query over these views, or takes too long or too much.
            StoreCorrupt: a file that it needs is damaged.
        """
        with self.sql_session(timeout=timeout, memory=memory) as session:
            return session.ask(query).collect()

    def sql_session(self, *, timeout: float | None = None, memory: int | str | None = None) -> Session:
        """Open a connection for several queries to the snapshot that is open now, one at a time.

        `session.ask(query)` gives an answer that is fetched by `parts()`, in bounded memory, or by `collect()`. The
        bounds are those of `sql`, for each query.

        Raises:
            QueryError: a bound is none.
        """
        opened = self._open
        bounds = Bounds(timeout, memory)
        return Session(opened.searcher.snapshot, functions=functions_of(opened), bounds=bounds)

    def save(self, name: str, rows: pa.Table | Records, *, command: str = "Store.save") -> None:
        """Keep rows in the store under a name, in the place of those that it had; SQL has them as `saved.NAME`.

        They belong to no snapshot, and stay until they are removed.

        Args:
            name: of letters, digits and _, not beginning with a digit; its case does not matter.
            rows: a result of this store, or any Arrow table.
            command: what made them, for whoever lists what is saved.

        Raises:
            QueryError: the name is none, or the rows can't be kept: two columns of one name, say.
            OSError: they can't be written.
        """
        table = rows.to_arrow() if isinstance(rows, Records) else rows
        snapshot = self._open.searcher.snapshot.manifest.snapshot
        saved.save_rows(self.path, name, table, command=command, snapshot=snapshot)

    def saved(self) -> pa.Table:
        """What is saved: `name`, `rows`, `columns`, `command`, `snapshot`, `saved_at`; null where a file is damaged."""
        return saved.list_saved(self.path)

    def remove_saved(self, name: str) -> None:
        """Delete the rows that were saved under a name.

        Raises:
            QueryError: there are none.
        """
        saved.remove_saved(self.path, name)

    def prefixes(self, *, where: str | None = None) -> pa.Table:
        """The prefixes: how many images have each, where it came from, and what a language model was asked for it.

        Columns: `prefix_id`, `images`, `corrected` (to how many images a person gave it), `text`, `origin`, `template`,
        `model`, `prompt`, `created_at`; most used ones first.

        Args:
            where: an SQL condition over these columns, and the others of the view `prefixes`.

        Raises:
            QueryError: the condition is none.
        """
        return list_prefixes(self._open.searcher.snapshot, where)
