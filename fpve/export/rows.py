"""The image rows that are exported, with or without their vectors, a part at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.export.header import Header, VectorKind
from fpve.fusion import Floats
from fpve.neighbours import Mask, Rows
from fpve.progress import Progress
from fpve.search import Searcher
from fpve.store.schema import IMAGE_FIELDS

# Rows that are held at once: with vectors of 1,664 numbers 27 MB.
ROWS_AT_ONCE = 4_096
VECTOR = "vector"
_BEFORE = ("image_id", "collection", "path", "prefix")
_AFTER = ("width", "height", "content_hash")
_FIXED = {field.name: field for field in IMAGE_FIELDS}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Image rows that are to be exported.

    Attributes:
        searcher: of the snapshot.
        rows: (n,) their numbers, ascending.
        columns: the metadata columns that go along.
        vectors: which of their vectors does.
    """

    searcher: Searcher
    rows: Rows
    columns: tuple[str, ...]
    vectors: VectorKind

    @classmethod
    def of(cls, searcher: Searcher, *, where: str | None, columns: Iterable[str] | None, vectors: VectorKind) -> Chosen:
        """The rows for which a condition holds, all if there is none, with some or all metadata columns.

        Raises:
            QueryError: the condition is none, there is no such column, or no image has such a vector.
        """
        known = [column.name for column in searcher.snapshot.manifest.columns]
        chosen = tuple(known) if columns is None else tuple(dict.fromkeys(columns))
        for name in chosen:
            if name not in known:
                raise QueryError(
                    f"columns: no metadata column {name!r}{nearest_word(name, known)}; there is "
                    f"{', '.join(known) or 'none'}"
                )
        if vectors == "prefix" and not searcher.fusion.prefix_dim:
            raise QueryError("vectors: expected 'fused', 'image' or 'none', for no text encoder makes prefixes here")
        rows = np.arange(searcher.rows) if where is None else np.flatnonzero(searcher.matching(where))
        return cls(searcher, rows, chosen, vectors)

    @property
    def dim(self) -> int:
        """Length of a vector; 0 where none goes along."""
        fusion = self.searcher.fusion
        dims = {"fused": fusion.dim, "image": fusion.image_dim, "prefix": fusion.prefix_dim}
        return dims.get(self.vectors, 0)

    @property
    def names(self) -> list[str]:
        """The columns of `images`."""
        return [*_BEFORE, *self.columns, *_AFTER]

    @property
    def schema(self) -> pa.Schema:
        """Of the image rows, without vectors; it says where they come from."""
        types = self.searcher.snapshot.rows.schema
        fields = [_FIXED.get(name) or types.field(name) for name in self.names]
        return Header.of(self.searcher.snapshot, self.vectors).into(pa.schema(fields))

    @property
    def schema_with_vectors(self) -> pa.Schema:
        """The same with a column `vector`, if vectors go along."""
        if self.vectors == "none":
            return self.schema
        return self.schema.append(pa.field(VECTOR, pa.list_(pa.float32())))

    def parts(self, progress: Progress) -> Iterator[Rows]:
        """The rows, so many at a time as are held at once; `progress` is told of those that are done."""
        with progress.stage("export", len(self.rows)) as stage:
            for start in range(0, len(self.rows), ROWS_AT_ONCE):
                part = self.rows[start : start + ROWS_AT_ONCE]
                yield part
                stage.advance(len(part))

    def images(self, rows: Rows) -> pa.Table:
        """Image rows of these numbers, without vectors."""
        return self.searcher.snapshot.rows.take(rows, self.names).cast(self.schema)

    def with_vectors(self, rows: Rows) -> pa.Table:
        """Image rows of these numbers, with their vectors if these go along: null where a block is missing."""
        images = self.images(rows)
        if self.vectors == "none":
            return images
        values, present = self.values(rows)
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * self.dim
        column = pa.ListArray.from_arrays(
            pa.array(offsets), pa.array(values.ravel()), mask=None if present.all() else pa.array(~present)
        )
        return images.append_column(self.schema_with_vectors.field(VECTOR), column)

    def with_vectors_as_json(self, rows: Rows) -> pa.Table:
        """The same with lists as JSON: numbers have as many digits as float32 needs to be itself again."""
        table = self.with_vectors(rows)
        if self.vectors == "none":
            return table
        # By Arrow: Python's numbers would be ten times as large, and double precision.
        numbers = pc.binary_join(table[VECTOR].cast(pa.list_(pa.string())), ", ")
        return table.drop_columns([VECTOR]).append_column(VECTOR, pc.binary_join_element_wise("[", numbers, "]", ""))

    def values(self, rows: Rows) -> tuple[Floats, Mask]:
        """The vectors (n, dim) of rows (n,), and which of them are there; the others are zero.

        Fused ones are those of the store's rows: raw, whatever it is centred by. Blocks have the lengths that they had.
        """
        searcher = self.searcher
        if self.vectors == "fused":
            there = np.ones(len(rows), bool)
            if searcher.fusion.centre is None and not searcher.predicted:
                # What is searched are the rows themselves.
                return searcher.vectors_of(rows), there
            return searcher.snapshot.fusion.fuse(*searcher.blocks_of(rows)).vectors, there
        blocks, norms = searcher.blocks_of(rows), searcher.norms_of(rows)
        at = 0 if self.vectors == "image" else 1
        return blocks[at], norms[at] > 0
