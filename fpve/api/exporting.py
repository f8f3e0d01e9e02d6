"""The part of a store's API that writes its images as files for other programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fpve.curation.projection import DEFAULT_METHOD, Method
from fpve.export import Exported, Format, VectorKind, export_rows
from fpve.opened import Opened
from fpve.progress import Progress


class Exporting:
    """A store that can be exported."""

    _open: Opened

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        to: Format | None = None,
        vectors: VectorKind | None = None,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        projection: Method = DEFAULT_METHOD,
        progress: Progress | None = None,
    ) -> Exported:
        """Write one row an image to a file, sorted by image_id; what was there is replaced once all of it is written.

        Columns: `image_id`, `collection`, `path`, `prefix`, the metadata, `width`, `height`, `content_hash`, and what
        the format adds: `vector`, a list of float32, in Parquet; the same as JSON in CSV; a matrix of its own,
        `FILE.npy`, with the rows in `FILE.parquet` beside it; or what Embedding Atlas shows: `image` (the thumbnail),
        `x`, `y` and `neighbors`.

        Args:
            path: the file.
            to: `parquet`, `csv`, `npy` or `embedding-atlas`; by default what the extension says.
            vectors: `fused`, as the store has them; `image`, raw features of the pictures; `prefix`, raw embeddings of
                the prefixes; or `none`. By default fused ones, but none in CSV. A missing block is null, in a matrix
                a row of zeros.
            where: an SQL condition over the columns of `images`.
            columns: the metadata columns; by default all.
            projection: `pca` or `umap`, of the points for Embedding Atlas.
            progress: is told of the images.

        Raises:
            QueryError: an option is wrong, or no file can be at the path.
            OSError: the file can't be written.
        """
        return export_rows(
            self._open.searcher,
            Path(path),
            to=to,
            vectors=vectors,
            where=where,
            columns=columns,
            projection=projection,
            progress=progress,
        )
