"""A snapshot as readers see it: tables and vectors of one manifest, read when they are asked for."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from fpve.fusion import FusedRows, Fusion
from fpve.store import lease as leases
from fpve.store import manifest as manifests
from fpve.store import runs, segments, tables
from fpve.store.files import inside, read_named
from fpve.store.lease import Lease
from fpve.store.manifest import Collection, Manifest, Segment
from fpve.store.pages import read_pages
from fpve.store.schema import page_schema

# A prune that is about to delete a manifest has done so within a moment.
_TRIES = 50
_PAUSE = 0.002


class Snapshot:
    """One snapshot of the store at `root`. It never changes; reading it waits for nobody."""

    def __init__(self, root: Path, manifest: Manifest, lease: Lease | None = None) -> None:
        self.root = root
        self.manifest = manifest
        # Held so that what has not been read yet is still there when it is.
        self._lease = lease

    @classmethod
    def open(cls, root: str | Path, at: int | None = None) -> Snapshot:
        """Open snapshot `at`, or the newest.

        Raises:
            StoreNotFound: there is no store, or no such snapshot.
            StoreCorrupt: the manifest is damaged.
        """
        root = Path(root)
        for _ in range(_TRIES):
            manifest = manifests.load(root, at)
            lease = leases.take(manifests.path_of(root, manifest.snapshot))
            if lease is not None:
                return cls(root, manifest, lease)
            # Pruned since it was read: there is a newer one, or `load` says that there is none of this number.
            time.sleep(_PAUSE)
        # Somebody else holds the manifest, which is not for pruning it.
        return cls(root, manifest)

    def close(self) -> None:
        """Let it be pruned, now and not when it is no longer referred to; what has not been read may be gone then."""
        if self._lease is not None:
            self._lease.release()

    @property
    def fusion(self) -> Fusion:
        """How its vectors were made."""
        encoders = self.manifest.encoders
        prefix_dim = encoders["text"].dim if "text" in encoders else 0
        return Fusion(encoders["image"].dim, prefix_dim, self.manifest.fusion.mode)

    @property
    def has_prefixes(self) -> bool:
        """Whether any image has a prefix; vectors that no image names don't count."""
        return bool(self.images["prefix_id"].null_count < len(self.images))

    @property
    def shares_space(self) -> bool:
        """Whether one space holds both pictures and texts, so that they can be compared with each other."""
        image, text = self.manifest.encoders["image"], self.manifest.encoders.get("text")
        return text is not None and image.space is not None and (image.space, image.dim) == (text.space, text.dim)

    @cached_property
    def images(self) -> pa.Table:
        """All image rows, sorted by image_id; `path` is the full path, as far as it can be said in UTF-8."""
        # Sorted as image_ids are: "a-b/x" comes before "a/x", though "a" comes before "a-b".
        ordered = sorted(self.manifest.collections, key=lambda one: one.name.encode() + b"/")
        parts = [self.read_collection(collection) for collection in ordered]
        schema = page_schema(self.manifest.columns)
        # In one chunk, because taking rows from many is slow.
        rows = pa.concat_tables(parts).combine_chunks() if parts else schema.empty_table()
        return rows.set_column(schema.get_field_index("path"), schema.field("path"), self._full_paths(rows))

    def read_collection(self, collection: Collection) -> pa.Table:
        """Image rows of one collection as they are stored, sorted by image_id: `path` is as its source has it."""
        return read_pages(self.root, collection.pages, self.manifest.columns)

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Rows of the table `prefixes`, `quarantine`, `labels` or `thumbnails`."""
        return tables.read_tables(self.root, name, self.manifest.tables_named(name), columns)

    def runs(self) -> pa.Table:
        """Reports of all runs so far, of any snapshot."""
        return runs.read_runs(self.root)

    def segment_folder(self, segment: Segment) -> Path:
        """Where a segment's files are."""
        return segments.folder(self.root, segment)

    def segment_keys(self, segment: Segment) -> pa.Table:
        """Names and norms of a segment's vector rows."""
        return segments.read_keys(inside(self.root, segment.file.path))

    def segment_table(self, segment: Segment) -> pa.Table:
        """All columns of a segment's vector rows."""
        return read_named(self.root, segment.file)

    def segment_rows(self, segment: Segment) -> FusedRows:
        """Vectors and norms of a segment, from Parquet."""
        return segments.fused_rows(read_named(self.root, segment.file, columns=segments.FUSED_COLUMNS).combine_chunks())

    def vector_rows(self) -> ds.Dataset:
        """All vector rows as a dataset, read only as far as a query needs, with the segment's name beside."""
        return ds.dataset(
            [str(inside(self.root, segment.file.path)) for segment in self.manifest.segments],
            schema=segments.row_schema(self.fusion.dim).append(pa.field("segment", pa.string())),
            format="parquet",
            partitioning=ds.DirectoryPartitioning(pa.schema([pa.field("segment", pa.string())])),
            partition_base_dir=str(self.root / "vectors"),
        )

    def _full_paths(self, rows: pa.Table) -> pa.Array:
        roots = {one.name: one.folder or one.source for one in self.manifest.collections}
        names = pc.dictionary_encode(rows["collection"]).combine_chunks()
        sources = pa.array([roots[name] for name in names.dictionary.to_pylist()], pa.string())
        path = rows["path"].combine_chunks()
        full = pc.binary_join_element_wise(sources.take(names.indices), path, "/")
        # A table may name files by absolute paths.
        absolute = pc.starts_with(path, "/")
        return pc.if_else(absolute, path, full) if pc.any(absolute).as_py() else full

    def thumbnails(self, content_hashes: list[str]) -> dict[str, bytes]:
        """JPEGs of pictures by the hash of their content, as far as there are any."""
        return tables.read_thumbnails(self.root, self.manifest.tables_named(tables.THUMBNAILS), content_hashes)
