"""What is served: the store in figures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from fpve._version import __version__
from fpve.api import Store
from fpve.replica import shown
from fpve.status import fusion_of, index_of
from fpve.store import tables
from fpve.store.schema import Column
from fpve.web.routing import StoreRouter
from fpve.web.served import PinnedStore, Served, ServedStore

router = StoreRouter(tags=["store"])

Facet = Literal["values", "range"]


class CollectionFigures(BaseModel):
    """A collection of the store."""

    name: str
    images: int


class ColumnFigures(BaseModel):
    """A metadata column."""

    name: str
    type: str = Field(description="string, int64, float64, bool, timestamp, date, or list<…> of the first three.")
    facet: Facet | None = Field(description="How it is filtered by: single values, or a range.")
    is_label: bool = Field(description="Whether images can be classified by it.")


class StoreFigures(BaseModel):
    """The store in figures, as its manifest has them."""

    version: str = Field(description="Of fpve.")
    store: str = Field(description="Path of the store.")
    name: str = Field(description="The last part of it.")
    snapshot: int
    created_at: str = Field(description="When the snapshot was published, ISO 8601, UTC.")
    images: int
    vectors: int
    dim: int = Field(description="Length of a vector.")
    quarantined: int = Field(description="Inputs that could not be encoded.")
    has_prefixes: bool = Field(description="Whether any image has a prefix.")
    shares_space: bool = Field(description="Whether one space holds pictures and texts.")
    collections: list[CollectionFigures]
    columns: list[ColumnFigures]
    image_weight: float = Field(description="The default weight A of the picture.")
    encoders: dict[str, str]
    fusion: dict[str, str | float]
    index: dict[str, float]
    bytes: int = Field(description="Size of the files that the snapshot names.")
    is_warm: bool = Field(description="Whether what the first search needs is loaded: the text model, and the index.")
    refresh_error: str | None = Field(description="Why no newer snapshot could be opened, if that failed.")
    max_upload: int = Field(description="Bytes that a picture may have.")
    read_only: bool = True


@router.get("/api/status", summary="The store in figures")
def status(store: PinnedStore, served: ServedStore) -> StoreFigures:
    """Say what is served: cheap at any size, for it is read from the manifest."""
    return _figures(store, served)


def _figures(store: Store, served: Served) -> StoreFigures:
    snapshot = store.opened.searcher.snapshot
    manifest = snapshot.manifest
    return StoreFigures(
        version=__version__,
        store=shown(store.path),
        name=Path(shown(store.path.resolve())).name,
        snapshot=manifest.snapshot,
        created_at=manifest.created_at,
        images=manifest.rows,
        vectors=sum(segment.rows for segment in manifest.segments),
        dim=snapshot.fusion.dim,
        quarantined=sum(table.rows for table in manifest.tables_named(tables.QUARANTINE)),
        has_prefixes=snapshot.has_prefixes,
        shares_space=snapshot.shares_space,
        collections=[CollectionFigures(name=one.name, images=one.rows) for one in manifest.collections],
        columns=[_column(one) for one in manifest.columns],
        image_weight=manifest.fusion.image_weight,
        encoders={name: str(one) for name, one in manifest.encoders.items()},
        fusion=fusion_of(manifest.fusion),
        index=index_of(snapshot),
        bytes=manifest.bytes,
        is_warm=served.is_warm,
        refresh_error=served.refresh_error,
        max_upload=served.settings.max_upload,
    )


def _column(column: Column) -> ColumnFigures:
    is_list = column.type.startswith("list<")
    facet: Facet = "values" if is_list or column.type in ("string", "bool") else "range"
    is_label = is_list or column.type in ("string", "bool", "int64")
    return ColumnFigures(name=column.name, type=column.type, facet=facet, is_label=is_label)
