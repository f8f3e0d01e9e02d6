"""Images as a file to keep: CSV, JSON, JSON Lines or Parquet, with the scores of a search if there was one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from fpve.api import Store
from fpve.neighbours import Rows
from fpve.retrieval import Search, Wanted
from fpve.rowfiles import write_rows
from fpve.selection import Selection
from fpve.web.filters import FILTERS, LONGEST, WHERE, chosen_of
from fpve.web.refusals import Refused
from fpve.web.routing import StoreRouter
from fpve.web.served import PinnedStore, Served, ServedStore
from fpve.web.settings import LONGEST_TEXT

router = StoreRouter(tags=["export"])

# Rows that are held at once, and bytes that are read of the file at once.
_PART = 65_536
_CHUNK = 1 << 20
# Names of files that every system can have.
_ODD = re.compile(r"[^\w.-]+", re.ASCII)
_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}


class Ranking(BaseModel):
    """A search that images are to be ranked by."""

    text: str | None = Field(None, max_length=LONGEST_TEXT)
    id: str | None = Field(None, max_length=5_000, description="An image of the store, which itself has no score.")
    picture: str | None = Field(None, description="Handle of an uploaded picture.")
    image_weight: float | None = Field(None, ge=0, le=1, description="Weight A of the picture.")


class ExportRequest(BaseModel):
    """Which images are to be written, and how."""

    format: Literal["csv", "json", "jsonl", "parquet"] = "csv"
    # The first that is no text is told: an error for each of a million takes gigabytes.
    ids: list[str] | None = Field(
        None,
        fail_fast=True,
        description="These images, whatever `where` and `filters` say; null: all that meet them.",
    )
    where: str | None = Field(None, max_length=LONGEST, description=WHERE)
    filters: str | dict[str, Any] | None = Field(None, description=FILTERS)
    sort: str | None = Field(None, description="As `/api/images` sorts; by default as `ids`, or by image_id.")
    search: Ranking | None = Field(
        None, description="Rank by this search: every image is scored, and those without a score come last."
    )


@router.post(
    "/api/export",
    summary="Images as a file",
    response_class=StreamingResponse,
    responses={200: {"description": "The file.", "content": {kind: {} for kind in _MEDIA_TYPES.values()}}},
)
def export(request: ExportRequest, store: PinnedStore, served: ServedStore) -> StreamingResponse:
    """Write image_id, collection, path, prefix and metadata of images, and the scores of a search, into a file."""
    browser = store.opened.browser
    if request.ids is None:
        chosen = chosen_of(store, request.where, request.filters)
        rows = browser.rows(chosen.where, chosen.filters, request.sort or None)
    else:
        rows = browser.rows_of(request.ids, request.sort or None)
    name = f"fpve-{_ODD.sub('_', store.path.resolve().name)}-{len(rows)}.{request.format}"
    with served.exports.take():
        parts = _plain(store, rows) if request.search is None else _ranked(served, store, rows, request.search)
        file = _written(served, parts, request.format, name)
    size = file.seek(0, 2)
    file.seek(0)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size)}
    return StreamingResponse(_chunks(file), media_type=_MEDIA_TYPES[request.format], headers=headers)


def _plain(store: Store, rows: Rows) -> Iterator[pa.Table]:
    """What is known of image rows (n,), some at a time; an empty table where there are none."""
    images = store.opened.searcher.snapshot.rows
    columns = ["image_id", "collection", "path", "prefix", *(column.name for column in store.columns)]
    return (images.take(rows[start : start + _PART], columns) for start in range(0, max(1, len(rows)), _PART))


def _ranked(served: Served, store: Store, rows: Rows, ranking: Ranking) -> Iterator[pa.Table]:
    """The same with rank and scores, the best first; those that the search does not rank come last.

    Raises:
        QueryError, ImageNotFound: as `Store.search`.
        Refused: an uploaded picture is no longer known.
    """
    searcher = store.opened.searcher
    # Every one is scored: an index finds the best ones only.
    wanted = Wanted(Selection(k=max(1, len(rows))), ranking.image_weight, exact=True)
    search = Search(store.opened, wanted, among=searcher.only(rows))
    found = search.answer(served.queries(store, text=ranking.text, id=ranking.id, picture=ranking.picture))
    rank = pa.array(np.arange(1, len(found.row) + 1))
    table = found.table.add_column(0, "rank", rank)
    unranked = rows[~np.isin(rows, found.row)]
    if len(unranked):
        rest = pa.concat_tables(_plain(store, unranked))
        table = pa.concat_tables([table, rest], promote_options="default")
    return iter([table])


def _written(served: Served, parts: Iterator[pa.Table], kind: str, name: str) -> IO[bytes]:
    """An open file of rows that has no name any more: it is gone when it is closed, whatever becomes of the server.

    Raises:
        Refused: it can't be written.
    """
    first = next(parts)

    def every() -> Iterator[pa.Table]:
        yield first
        yield from parts

    try:
        with served.folder() as folder:
            write_rows(folder / name, first.schema, every(), kind=kind)
            return (folder / name).open("rb")
    except OSError as error:
        reason = f"the file can't be written: {error.strerror or error}; ask for fewer images, or make room"
        raise Refused(HTTPStatus.INSUFFICIENT_STORAGE, reason) from None


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
