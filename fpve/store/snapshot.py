"""A snapshot as readers see it: tables and vectors of one manifest, read when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.errors import StoreCorrupt
from fpve.fusion import Centre, Floats, FusedRows, Fusion
from fpve.replica import located, replica_of
from fpve.store import lease as leases
from fpve.store import manifest as manifests
from fpve.store import runs, segments, tables
from fpve.store.files import at_hand, checked, inside
from fpve.store.lease import Lease
from fpve.store.manifest import Collection, Manifest, Segment
from fpve.store.mapped import MappedRows
from fpve.store.pages import read_pages
from fpve.store.parquet import read_named
from fpve.store.pruned import reading
from fpve.store.thumbnails import Thumbnails

if TYPE_CHECKING:
    import pyarrow.dataset as ds

# A prune that is about to delete a manifest has done so within a moment.
_TRIES = 50
_PAUSE = 0.002


class Predictions(NamedTuple):
    """Prefix blocks (n, prefix_dim) that were predicted for pictures without a prefix, by the hash of their content."""

    content_hash: pa.Array
    vectors: Floats


class Snapshot:
    """One snapshot of the store at `root`. It never changes; reading it waits for nobody.

    With `use_copies=False` its image rows come from pages that were compared with their checksums: who writes what is
    derived from them wants that.
    """

    def __init__(self, root: Path, manifest: Manifest, lease: Lease | None = None, *, use_copies: bool = True) -> None:
        self.root = root
        self.manifest = manifest
        self._use_copies = use_copies
        # Held so that what has not been read yet is still there when it is.
        self._lease = lease

    @classmethod
    def open(cls, root: str | Path, at: int | None = None) -> Snapshot:
        """Open snapshot `at`, or the newest.

        Raises:
            StoreNotFound: there is no store, or no such snapshot.
            StoreCorrupt: the manifest is damaged.
        """
        root = located(root)
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

    def reading(self) -> AbstractContextManager[None]:
        """Inside of it, files that are missing because this snapshot was pruned are said to be; see `reading`."""
        return reading(self.root, self.manifest.snapshot)

    @property
    def fusion(self) -> Fusion:
        """How its vector rows were made; they are raw, whatever `centre` says."""
        encoders = self.manifest.encoders
        prefix_dim = encoders["text"].dim if "text" in encoders else 0
        return Fusion(encoders["image"].dim, prefix_dim, self.manifest.fusion.mode)

    @cached_property
    def centre(self) -> Centre | None:
        """By what its searched vectors are centred, if they are.

        Raises:
            StoreCorrupt: the means are missing or damaged.
        """
        ref = self.manifest.fusion.centred
        if ref is None:
            return None
        found = {row["block"]: row for row in self.table(tables.MEANS).to_pylist()}
        wanted = {"image"} if ref.pictures else set()
        wanted |= {"prefix"} if ref.prefixes else set()
        if found.keys() != wanted or any(row["version"] != ref.version for row in found.values()):
            raise StoreCorrupt(
                f"{self.root}: snapshot {self.manifest.snapshot} is centred by the means {ref.version} of "
                f"{' and '.join(sorted(wanted))}, and its table of means holds others; see `fpve repair {self.root}`"
            )
        means = {name: np.array(row["mean"], np.float32) for name, row in found.items()}
        return Centre(ref.version, means.get("image"), means.get("prefix"))

    @cached_property
    def has_predictions(self) -> bool:
        """Whether any prefix block was predicted."""
        return any(one.rows for one in self.manifest.tables_named(tables.PREDICTED))

    @cached_property
    def predicted_content(self) -> pa.Array:
        """Hashes of the content of pictures for which a prefix block was predicted."""
        return self.table(tables.PREDICTED, ["content_hash"])["content_hash"].combine_chunks()

    @cached_property
    def predicted(self) -> Predictions:
        """The predicted prefix blocks.

        Raises:
            StoreCorrupt: they are missing or damaged, or of another length than the store's.
        """
        rows = self.table(tables.PREDICTED)
        flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in rows["vector"].chunks]
        vectors = np.concatenate([np.zeros(0, np.float32), *flat])
        dim = self.fusion.prefix_dim
        if len(vectors) != len(rows) * dim or pc.any(pc.not_equal(pc.list_value_length(rows["vector"]), dim)).as_py():
            raise StoreCorrupt(f"{self.root}: expected predicted prefix blocks of {dim} numbers, found others")
        return Predictions(rows["content_hash"].combine_chunks(), vectors.reshape(-1, dim))

    @property
    def has_prefixes(self) -> bool:
        """Whether any image has a prefix; vectors that no image names don't count."""
        return self.rows.null_count("prefix_id") < len(self.rows)

    @property
    def shares_space(self) -> bool:
        """Whether one space holds both pictures and texts, so that they can be compared with each other."""
        image, text = self.manifest.encoders["image"], self.manifest.encoders.get("text")
        return text is not None and image.space is not None and (image.space, image.dim) == (text.space, text.dim)

    @cached_property
    def rows(self) -> MappedRows:
        """The image rows, numbered in the order of image_id; none of them is read before it is asked for."""
        return MappedRows(self.root, self.manifest, use_copies=self._use_copies)

    @cached_property
    def images(self) -> pa.Table:
        """All image rows, sorted by image_id; `path` is the full path, as far as it can be said in UTF-8.

        They are mapped, of a chunk for each page: of a few rows or one column ask `rows`, and `checked_images` for what
        is to be written.
        """
        return self.rows.table()

    def checked_images(self) -> pa.Table:
        """All image rows as `images` has them, from pages that were compared with their checksums."""
        return MappedRows(self.root, self.manifest, use_copies=False).table()

    def read_collection(self, collection: Collection) -> pa.Table:
        """Image rows of one collection as they are stored, sorted by image_id: `path` is as its source has it."""
        with self.reading():
            return read_pages(self.root, collection.pages, self.manifest.columns)

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Rows of one of the tables, such as `prefixes`, `quarantine` or `labels`."""
        with self.reading():
            return tables.read_tables(self.root, name, self.manifest.tables_named(name), columns)

    def runs(self) -> pa.Table:
        """Reports of all runs so far, of any snapshot."""
        return runs.read_runs(self.root)

    def segment_folder(self, segment: Segment) -> Path:
        """Where a segment's files are; of a store in a bucket, where they are put when they are fetched."""
        return segments.folder(self.root, segment)

    def fetch_indexes(self, segments: Iterable[Segment]) -> None:
        """Have the indexes of segments here, if the store is in a bucket: those that are not are fetched at once."""
        replica = replica_of(self.root)
        if replica is not None:
            replica.bring_all([name for segment in segments for name in segment.derived_files])

    def segment_keys(self, segment: Segment) -> pa.Table:
        """Names and norms of a segment's vector rows."""
        with self.reading():
            return segments.read_keys(self.root, segment.file.path)

    def segment_norms(self, segment: Segment) -> tuple[Floats, Floats]:
        """The norms (n,) of a segment's image blocks and prefix blocks before fusion; 0 where one is missing."""
        with self.reading():
            return segments.read_norms(self.root, segment.file.path)

    def segment_tables(self, segment: Segment) -> Iterator[pa.Table]:
        """All columns of a segment's vector rows, as many rows at a time as were written together."""
        with self.reading():
            yield from segments.read_tables(checked(self.root, segment.file))

    def segment_rows(self, segment: Segment, rows: NDArray[np.int64] | None = None) -> FusedRows:
        """Vectors and norms of a segment, from Parquet, or those of row numbers (n,) in their order."""
        with self.reading():
            if rows is not None:
                return segments.read_chosen(at_hand(self.root, segment.file.path), rows)
            whole = read_named(self.root, segment.file, columns=segments.FUSED_COLUMNS)
        return segments.fused_rows(whole.combine_chunks())

    def vector_rows(self) -> ds.Dataset:
        """All vector rows as a dataset, read only as far as a query needs, with the segment's name beside."""
        # It brings pandas along where there is one.
        import pyarrow.dataset as ds

        top, files = str(self.root), None
        replica = replica_of(self.root)
        if replica is not None:
            # Not fetched: of a column, or of some rows, only these are.
            top, files = replica.bucket.as_arrow()
        found = ds.dataset(
            [f"{top}/{inside(Path(), one.file.path).as_posix()}" for one in self.manifest.segments],
            schema=segments.row_schema(self.fusion.dim).append(pa.field("segment", pa.string())),
            format="parquet",
            filesystem=files,
            partitioning=ds.DirectoryPartitioning(pa.schema([pa.field("segment", pa.string())])),
            partition_base_dir=f"{top}/vectors",
        )
        if replica is None:
            return found
        from fpve.store.rowsource import RowSource

        return RowSource.of(found)

    def thumbnails(self, content_hashes: list[str]) -> dict[str, bytes]:
        """JPEGs of pictures by the hash of their content, as far as there are any."""
        with self.reading():
            return self._thumbnails.read(content_hashes)

    @cached_property
    def _thumbnails(self) -> Thumbnails:
        return Thumbnails(self.root, self.manifest.tables_named(tables.THUMBNAILS))
