"""In which order images are shown: by their image_id, as rows are numbered, or by the values of a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.browsing.missing import finite
from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.neighbours import Rows
from fpve.store.mapped import MappedRows

NATURAL = "image_id"


@dataclass(frozen=True, slots=True)
class Order:
    """By what images are sorted; those without a value come last, and equal ones by image_id.

    Attributes:
        column: the column.
        falls: whether the largest comes first.
    """

    column: str = NATURAL
    falls: bool = False

    @classmethod
    def of(cls, text: str, schema: pa.Schema) -> Order:
        """The order that a text says: a column, or with a - before it, falling.

        Raises:
            QueryError: there is no such column, or it holds lists.
        """
        falls = text not in schema.names and text.startswith("-")
        name = text[1:] if falls else text
        if name not in schema.names:
            raise QueryError(
                f"sort: no column {name[:60]!r}{nearest_word(name[:60], schema.names)}; "
                f"there is {', '.join(schema.names)}, and with a - before it it falls"
            )
        if pa.types.is_nested(schema.field(name).type):
            raise QueryError(f"sort: column {name!r} holds lists; expected one value an image")
        return cls(name, falls)

    @property
    def is_natural(self) -> bool:
        """Whether rows are in this order as they are."""
        return self == Order()


def sorted_rows(rows: MappedRows, order: Order) -> Rows:
    """The numbers (n,) of all image rows in an order."""
    if order.column == NATURAL:
        numbers = np.arange(len(rows))
        return numbers[::-1] if order.falls else numbers
    column = finite(rows.column(order.column))
    # Those without a value come last by default.
    keys = [("values", "descending" if order.falls else "ascending")]
    indices = pc.sort_indices(pa.table({"values": column}), sort_keys=keys)
    found: Rows = indices.to_numpy().astype(np.int64)
    return found
