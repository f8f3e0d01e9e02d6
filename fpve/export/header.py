"""What a file that fpve exported says of its vectors, in the metadata of its schema: `fpve import` reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, TypeAdapter, ValidationError

from fpve.errors import MetadataError, StoreCorrupt
from fpve.store.encoding import EncoderRef, FusionRef
from fpve.store.snapshot import Snapshot

VectorKind = Literal["fused", "image", "prefix", "none"]
DEFAULT_VECTORS: VectorKind = "fused"

_KEY = b"fpve_export"
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Header:
    """Where the vectors of a file come from.

    Attributes:
        vectors: what they are: fused ones, raw features of pictures, raw embeddings of prefixes, or none.
        snapshot: number of the snapshot that was exported.
        encoders: what made them, as the store's manifest has it.
        fusion: how they are joined, and the default weight; without what was fitted to the store's own rows.
    """

    __pydantic_config__ = _STRICT

    vectors: VectorKind
    snapshot: int
    encoders: dict[str, EncoderRef]
    fusion: FusionRef

    @classmethod
    def of(cls, snapshot: Snapshot, vectors: VectorKind) -> Header:
        """What is to be said of the vectors of a snapshot."""
        manifest = snapshot.manifest
        fusion = replace(manifest.fusion, centred=None, auto=None)
        return cls(vectors, manifest.snapshot, manifest.encoders, fusion)

    def into(self, schema: pa.Schema) -> pa.Schema:
        """A schema that says it."""
        return schema.with_metadata({**(schema.metadata or {}), _KEY: json.dumps(asdict(self)).encode()})

    @classmethod
    def read(cls, file: Path) -> Header | None:
        """What a Parquet file says; None if fpve did not export it.

        Raises:
            MetadataError: it is no Parquet file, or what it says can't be understood.
        """
        try:
            schema = pq.read_schema(file)
        except (OSError, pa.ArrowException) as error:
            raise MetadataError(f"{file}: can't be read as parquet: {str(error).splitlines()[0]}") from error
        said = (schema.metadata or {}).get(_KEY)
        if said is None:
            return None
        try:
            found: Header = _reader().validate_json(said)
        except ValidationError as error:
            raise MetadataError(
                f"{file}: what it says of its encoders has {error.error_count()} fields that are not known here: "
                "another version of fpve exported it; use that version, or take the metadata out of its schema"
            ) from None
        if "image" not in found.encoders:
            raise MetadataError(f"{file}: says of its vectors no image encoder; take the metadata out of its schema")
        try:
            for one in found.encoders.values():
                one.as_config()
        except (StoreCorrupt, TypeError, ValueError) as error:
            raise MetadataError(f"{file}: what it says of its encoders is no configuration of one: {error}") from None
        return found


@cache
def _reader() -> TypeAdapter[Any]:
    return TypeAdapter(Header)
