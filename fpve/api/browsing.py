"""The part of a store's API that is for looking through it without a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from fpve.browsing import Facet, Filters
from fpve.errors import QueryError
from fpve.opened import Opened
from fpve.records import Records

# A screen of pictures.
DEFAULT_LIMIT = 100


class Page(Records):
    """Some of the images that meet a condition, with the columns of `Store.images`.

    Attributes:
        total: how many images meet it.
        condition: as SQL; None where all images do.
    """

    def __init__(self, table: pa.Table, *, total: int, condition: str | None) -> None:
        super().__init__(table)
        self.total = total
        self.condition = condition

    def _of(self, table: pa.Table) -> Self:
        return type(self)(table, total=self.total, condition=self.condition)


@dataclass(frozen=True, slots=True)
class Facets:
    """How the values of columns spread over images.

    Attributes:
        total: how many images meet the condition and all filters.
        condition: both as SQL; None where all images do.
        facets: one a column.
    """

    total: int
    condition: str | None
    facets: tuple[Facet, ...]


class Browsing:
    """A store that can be looked through."""

    _open: Opened

    def browse(
        self,
        *,
        where: str | None = None,
        filters: Filters | Mapping[str, Any] | None = None,
        sort: str | None = None,
        offset: int = 0,
        limit: int | None = DEFAULT_LIMIT,
        columns: Sequence[str] | None = None,
    ) -> Page:
        """Look at the images that meet a condition and filters, in some order.

        Args:
            where: an SQL condition over the columns of `images`.
            filters: by the names of columns a list of values, of which an image has one, where None is no value
                (`{"kind": ["cat", None]}`); or a range with its bounds (`{"price": {"min": 1, "max": 5}}`).
            sort: a column, or with a - before it falling; by default image_id. Those without a value come last.
            offset: how many images to skip.
            limit: how many images; None is all.
            columns: which columns of `images`; by default all.

        Raises:
            QueryError: `where` is not an SQL condition, a filter is wrong, or there is no such column.
        """
        if offset < 0:
            raise QueryError(f"offset: expected at least 0, found {offset}")
        if limit is not None and limit < 0:
            raise QueryError(f"limit: expected at least 0, found {limit}")
        opened = self._open
        images, browser = opened.searcher.snapshot.rows, opened.browser
        chosen = self.filters(filters)
        rows = browser.rows(where, chosen, sort)
        page = rows[offset:] if limit is None else rows[offset : offset + limit]
        return Page(images.take(page, columns), total=len(rows), condition=browser.condition(where, chosen))

    def facets(
        self,
        *,
        where: str | None = None,
        filters: Filters | Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Facets:
        """Count the images that have each value of a column, or lie in each interval of it.

        The images of a facet are those that meet `where` and the filters of all other columns: what a person would
        find who chose another value of it.

        Args:
            where: an SQL condition over the columns of `images`.
            filters: as `browse` has them.
            columns: which columns; by default `collection`, if there are several, and the metadata columns but those
                that tell images apart rather than grouping them, such as names and captions.

        Raises:
            QueryError: `where` is not an SQL condition, a filter is wrong, or there is no such column.
        """
        browser = self._open.browser
        chosen = self.filters(filters)
        return Facets(
            browser.count(where, chosen), browser.condition(where, chosen), browser.facets(where, chosen, columns)
        )

    def filters(self, chosen: Filters | Mapping[str, Any] | str | None) -> Filters:
        """Filters of the store's columns: as `browse` takes them, as JSON, or as they are.

        Raises:
            QueryError: there is no such column, or a value is not of its type.
        """
        schema = self._open.searcher.snapshot.rows.schema
        if isinstance(chosen, str):
            return Filters.from_json(chosen, schema)
        return chosen if isinstance(chosen, Filters) else Filters.of(chosen or {}, schema)
