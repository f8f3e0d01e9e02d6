"""A snapshot looked through: which images meet filters, a page of them in any order, and their facets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.browsing.coded import Coded, coded
from fpve.browsing.facets import Facet, facet_of
from fpve.browsing.filters import Filter, Filters, joined
from fpve.browsing.ordering import Order, sorted_rows
from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.neighbours import Mask, Rows
from fpve.remembered import Remembered
from fpve.search import Searcher

# Of a million images an order is 8 MB, and a column 4 MB.
_ORDERS = 4
_COLUMNS = 24
# Of filters, and of all of them or all but one, for each facet. A byte an image.
_CONDITIONS = 16
# What every image has, and what tells collections apart: metadata columns come after it.
_COLLECTION = "collection"
_NO_FILTERS = Filters()
# Names that are looked up one by one, at 50 µs each; for more a table of all is made.
_FEW = 1_000


class Browser:
    """Looks through one snapshot. Safe to use from many threads."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._rows = searcher.snapshot.rows
        self._orders: Remembered[Order, Rows] = Remembered(_ORDERS)
        self._coded: Remembered[str, Coded] = Remembered(_COLUMNS)
        self._filtered: Remembered[Filter, Mask] = Remembered(_CONDITIONS)
        self._met: Remembered[tuple[str | None, Filters], Mask] = Remembered(_CONDITIONS)
        self._like_ids: dict[str, bool] = {}

    def condition(self, where: str | None = None, filters: Filters = _NO_FILTERS) -> str | None:
        """The SQL condition that a condition and filters come to together; None where all images meet it.

        Raises:
            QueryError: `where` is not an SQL condition.
        """
        if where is not None and filters.each:
            # By itself first: what closes a bracket that it has not opened is no condition, and would be one in
            # brackets.
            self._searcher.matching(where)
        return joined((*filters.conditions, *(() if where is None else (where,))))

    def matching(self, where: str | None = None, filters: Filters = _NO_FILTERS) -> Mask | None:
        """Which images (n,) meet a condition and filters; None where that is said of none.

        Raises:
            QueryError: `where` is not an SQL condition.
        """
        # Each by itself: a filter that stays while others change is evaluated once.
        masks = [] if where is None else [self._searcher.matching(where)]
        masks += [self._filtered.get(one, partial(self._mask, one)) for one in filters.each]
        if len(masks) < 2:
            return masks[0] if masks else None
        return self._met.get((where, filters), lambda: _all_of(masks))

    def _mask(self, one: Filter) -> Mask:
        found = one.mask(self._rows.column(one.column))
        found.flags.writeable = False
        return found

    def count(self, where: str | None = None, filters: Filters = _NO_FILTERS) -> int:
        """How many images meet a condition and filters.

        Raises:
            QueryError: `where` is not an SQL condition.
        """
        allowed = self.matching(where, filters)
        return len(self._rows) if allowed is None else int(np.count_nonzero(allowed))

    def rows(self, where: str | None = None, filters: Filters = _NO_FILTERS, sort: str | None = None) -> Rows:
        """The numbers of the image rows that meet a condition and filters, in the order of image_id or as sorted.

        Args:
            where: an SQL condition over the columns of `images`.
            filters: what is chosen of columns.
            sort: a column, or with a - before it falling.

        Raises:
            QueryError: `where` is not an SQL condition, or there is no such column to sort by.
        """
        order = Order() if sort is None else Order.of(sort, self._rows.schema)
        return self._in_order(self.matching(where, filters), order)

    def rows_of(self, image_ids: Sequence[str], sort: str | None = None) -> Rows:
        """The numbers of the rows of images, each once: in the order of their names here, or as `rows` sorts.

        Raises:
            ImageNotFound: no image has one of these ids.
            QueryError: there is no such column to sort by.
        """
        order = None if sort is None else Order.of(sort, self._rows.schema)
        names = list(dict.fromkeys(image_ids))
        if len(names) <= _FEW:
            found = np.array([self._searcher.row_of(one) for one in names], np.int64)
        else:
            numbers = pc.index_in(pa.array(names, pa.string()), value_set=self._rows.column("image_id"))
            if numbers.null_count:
                self._searcher.row_of(names[pc.index(numbers.is_null(), True).as_py()])
            found = numbers.to_numpy().astype(np.int64)
        if order is None:
            return found
        chosen = np.zeros(len(self._rows), bool)
        chosen[found] = True
        return self._in_order(chosen, order)

    def _in_order(self, allowed: Mask | None, order: Order) -> Rows:
        if order.is_natural:
            return np.arange(len(self._rows)) if allowed is None else np.flatnonzero(allowed)
        ordered = self._orders.get(order, lambda: sorted_rows(self._rows, order))
        return ordered if allowed is None else ordered[allowed[ordered]]

    def facets(
        self, where: str | None = None, filters: Filters = _NO_FILTERS, columns: Sequence[str] | None = None
    ) -> tuple[Facet, ...]:
        """How the values of columns spread over the images that meet a condition and the filters of all other columns.

        Args:
            where: an SQL condition over the columns of `images`.
            filters: what is chosen of columns.
            columns: which columns; by default the collection, if there are several, and the metadata, without columns
                that tell images apart rather than grouping them, such as names.

        Raises:
            QueryError: `where` is not an SQL condition, or there is no such column.
        """
        found = []
        for name in self._default_columns(filters) if columns is None else columns:
            if name not in self._rows.schema.names:
                known = self._rows.schema.names
                raise QueryError(f"columns: no column {name[:60]!r}{nearest_word(name[:60], known)}")
            allowed = self.matching(where, filters.but(name))
            found.append(facet_of(name, self._column(name), allowed, filters.values_of(name)))
        return tuple(found)

    def _default_columns(self, filters: Filters) -> list[str]:
        manifest = self._searcher.snapshot.manifest
        chosen = {one.column for one in filters.each}
        names = [_COLLECTION] if len(manifest.collections) > 1 or _COLLECTION in chosen else []
        metadata = [one.name for one in manifest.columns]
        return names + [name for name in metadata if name in chosen or not self._is_like_ids(name)]

    def _is_like_ids(self, name: str) -> bool:
        known = self._like_ids.get(name)
        if known is None:
            found = self._column(name)
            known = self._like_ids[name] = found.is_like_ids
            if known:
                # Nobody asks for it again.
                self._coded.forget(name)
        return known

    def _column(self, name: str) -> Coded:
        return self._coded.get(name, lambda: coded(self._rows.column(name)))


def _all_of(masks: Sequence[Mask]) -> Mask:
    """Which images (n,) are in all masks; it can't be written to, and so what a search makes of it is remembered."""
    found: Mask = np.logical_and.reduce(masks)
    found.flags.writeable = False
    return found
