"""The plan: what of each collection is new, changed, removed or as it was, before any picture is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import CollectionConfig, Job
from fpve.errors import GuardError, MetadataError, PrefixError, StoreConflict
from fpve.prefixes import BUILT_IN_FIELDS, Template, prefix_ids
from fpve.sources.folder import Skipped, scan_folder
from fpve.sources.metadata import Metadata, convert, match, read_metadata
from fpve.store import tables
from fpve.store.scanstate import read_scan_state
from fpve.store.schema import Column, arrow_type, check_names, type_name
from fpve.store.snapshot import Snapshot


class Changes(NamedTuple):
    """Files of a collection by what became of them since the last snapshot."""

    new: int
    changed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What a run knows of one collection before it opens a picture.

    Attributes:
        config: the collection as the job has it.
        files: the scan's columns, and `content_hash`, null where the file must be read.
        metadata: (n rows) the metadata columns, aligned with `files`.
        columns: the metadata columns' names and types.
        prefix: (n,) prefix texts, null where there is none.
        prefix_id: (n,) their ids.
        known_bad: (n,) whether a file is in quarantine and has not changed since.
        skipped: inputs that can't be images.
        old: image rows of the last snapshot.
        removed: image_ids of the last snapshot that are no longer there.
        without_metadata, unmatched_metadata: images and metadata rows without a partner.
    """

    config: CollectionConfig
    files: pa.Table
    metadata: pa.Table
    columns: tuple[Column, ...]
    prefix: pa.Array
    prefix_id: pa.Array
    known_bad: pa.Array
    skipped: tuple[Skipped, ...]
    old: pa.Table
    removed: pa.Array
    without_metadata: int
    unmatched_metadata: int

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.config.name

    def changes(self, content_hash: pa.Array, good: pa.Array) -> Changes:
        """How many good files are new, and how many have another content (n,), prefix or metadata than before."""
        count = int(pc.sum(good).as_py() or 0)
        if "content_hash" not in self.old.column_names:
            return Changes(new=count, changed=0, unchanged=0)
        old = self.old.take(pc.index_in(self.files["image_id"].combine_chunks(), self.old["image_id"].combine_chunks()))
        now = {"content_hash": content_hash, "prefix_id": self.prefix_id}
        now |= {name: self.metadata[name] for name in self.metadata.column_names}
        in_old = pc.and_(good, self._in_old())
        same = in_old
        for name, values in now.items():
            before = old[name] if name in old.column_names else pa.nulls(len(old))
            same = pc.and_(same, _equal(values, before))
        known, unchanged = (int(pc.sum(one).as_py() or 0) for one in (in_old, same))
        return Changes(new=count - known, changed=known - unchanged, unchanged=unchanged)

    def _in_old(self) -> pa.Array:
        return pc.is_in(self.files["image_id"].combine_chunks(), value_set=self.old["image_id"].combine_chunks())


def _equal(values: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.Array:
    """(n,) where two columns agree; null agrees with null."""
    if pa.types.is_nested(values.type):
        # Arrow compares no lists.
        return pa.array([mine == theirs for mine, theirs in zip(values.to_pylist(), others.to_pylist(), strict=True)])
    if pa.types.is_null(others.type) or not values.type.equals(others.type):
        return pc.and_(pc.is_null(values), pc.is_null(others))
    both_null = pc.and_(pc.is_null(values), pc.is_null(others))
    return pc.or_(pc.fill_null(pc.equal(values, others), False), both_null)


def plan_collection(config: CollectionConfig, job: Job, previous: Snapshot | None) -> CollectionPlan:
    """Scan a collection's source and compare it with the last snapshot; opens no picture.

    Raises:
        SourceError, MetadataError, PrefixError: the source, its metadata or its prefix rule is wrong.
        StoreConflict: another job owns the collection.
    """
    entry = previous.manifest.collection(config.name) if previous else None
    if entry is not None and entry.job != job.name:
        raise StoreConflict(
            f"collection {config.name!r} in {job.store} is owned by job {entry.job!r}, this is job {job.name!r}; "
            f'give the collection another name, or set name = "{entry.job}" at the top of the job file'
        )
    # Metadata and prefix first: a mistake there is found without walking a large folder.
    given = read_metadata(config.metadata, key=config.metadata_key) if config.metadata else None
    template = Template.parse(config.prefix) if config.prefix else None
    scan = scan_folder(config.source, collection=config.name, include=config.include, exclude=config.exclude)
    files = _with_known_hashes(scan.files, read_scan_state(job.store, config.name))
    metadata, partners = _aligned(config, given, files)
    metadata = _with_label(config, metadata, files)
    where = str(config.metadata or config.source)
    check_names(metadata.column_names, where)
    metadata, columns = _typed(config, metadata, where)
    prefix = _render(template, config, metadata, files)
    old = previous.read_collection(entry) if previous and entry else pa.table({"image_id": pa.array([], pa.string())})
    still_there = pa.concat_arrays(
        [
            files["image_id"].combine_chunks(),
            pa.array([f"{config.name}/{one.path}" for one in scan.skipped], pa.string()),
        ]
    )
    old_ids = old["image_id"].combine_chunks()
    return CollectionPlan(
        config=config,
        files=files,
        metadata=metadata,
        columns=columns,
        prefix=prefix,
        prefix_id=prefix_ids(prefix),
        known_bad=_known_bad(files, previous),
        skipped=scan.skipped,
        old=old,
        removed=old_ids.filter(pc.invert(pc.is_in(old_ids, value_set=still_there))),
        without_metadata=len(files) - partners if given else 0,
        unmatched_metadata=len(given.paths) - partners if given else 0,
    )


def guard_removals(plan: CollectionPlan, max_removed: float) -> None:
    """Refuse to remove more of a collection than the job allows.

    Raises:
        GuardError: naming the collection, the numbers and the option that allows it.
    """
    if len(plan.removed) > max_removed * len(plan.old):
        raise GuardError(
            f"collection {plan.name!r}: {len(plan.removed)} of {len(plan.old)} images are gone from "
            f"{plan.config.source}, more than max_removed = {max_removed:g} allows; nothing was published. "
            "If they are meant to go, run with --allow-removals"
        )


def _with_known_hashes(files: pa.Table, state: pa.Table) -> pa.Table:
    """Add `content_hash`: what an earlier run found in a file of this size and time, or null."""
    at = pc.index_in(files["image_id"], state["image_id"])
    seen = state.take(at)
    same = pc.and_(pc.equal(seen["size"], files["size"]), pc.equal(seen["mtime_ns"], files["mtime_ns"]))
    return files.append_column(
        "content_hash", pc.if_else(pc.fill_null(same, False), seen["content_hash"], pa.scalar(None, pa.string()))
    )


def _aligned(config: CollectionConfig, given: Metadata | None, files: pa.Table) -> tuple[pa.Table, int]:
    """Metadata columns in the order of the files, and how many files have a row."""
    if given is None:
        return pa.table({"__none": pa.nulls(len(files))}).drop_columns(["__none"]), 0
    at = match(given, files["path"].combine_chunks(), config.source)
    return given.columns.take(at), len(at) - at.null_count


def _with_label(config: CollectionConfig, metadata: pa.Table, files: pa.Table) -> pa.Table:
    if config.label_from is None:
        return metadata
    if "label" in metadata.column_names:
        raise MetadataError(f"{config.metadata}: has a column 'label' already; leave label_from out")
    if config.label_from == "folder":
        labels = _built_in("folder", config, files)
    elif config.label_from in metadata.column_names:
        labels = metadata[config.label_from]
    else:
        raise MetadataError(
            f"label_from: expected 'folder' or a metadata column, found {config.label_from!r}; "
            f"there is {', '.join(metadata.column_names) or 'no metadata'}"
        )
    return _append(metadata, "label", labels)


def _typed(config: CollectionConfig, metadata: pa.Table, where: str) -> tuple[pa.Table, tuple[Column, ...]]:
    """Convert metadata columns to the store's types, or those that the job asks for."""
    for name in config.types:
        if name not in metadata.column_names:
            raise MetadataError(f"{where}: types names a column {name!r} that is not there")
    columns, arrays = [], []
    for name in metadata.column_names:
        kind = config.types.get(name) or type_name(metadata.schema.field(name).type)
        if kind is None:
            raise MetadataError(
                f"{where}: column {name!r} is {metadata.schema.field(name).type}, which a store can't hold; "
                f'set types = {{ {name} = "string" }}, or drop it from the file'
            )
        arrays.append(convert(metadata[name], arrow_type(kind), where=f"{where}, column {name!r}"))
        columns.append(Column(name, kind))
    typed = metadata if not arrays else pa.table(arrays, names=metadata.column_names)
    return typed, tuple(columns)


def _render(template: Template | None, config: CollectionConfig, metadata: pa.Table, files: pa.Table) -> pa.Array:
    if template is None:
        return pa.nulls(len(files), pa.string())
    template.check(metadata.column_names)
    values = metadata
    for name in BUILT_IN_FIELDS:
        if name in template.fields and name not in metadata.column_names:
            values = _append(values, name, _built_in(name, config, files))
    rendered = template.render(values if template.fields else files)
    if rendered.null_count == len(rendered):
        raise PrefixError(f"collection {config.name!r}: prefix {template.text!r} is empty for every image")
    return rendered


def _built_in(name: str, config: CollectionConfig, files: pa.Table) -> pa.Array:
    """A field that every image has; null where a picture lies in no folder."""
    if name == "collection":
        return pa.array([config.name] * len(files), pa.string())
    if name == "path":
        return files["path"].combine_chunks()
    paths = [PurePosixPath(path) for path in files["path"].to_pylist()]
    return pa.array([path.stem if name == "stem" else path.parent.name or None for path in paths], pa.string())


def _append(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.append_column(name, values) if table.num_columns else pa.table({name: values})


def _known_bad(files: pa.Table, previous: Snapshot | None) -> pa.Array:
    """Which files are in quarantine with the very content that they still have."""
    if previous is None:
        return pa.array([False] * len(files))
    quarantine = previous.table(tables.QUARANTINE)
    bad = pc.binary_join_element_wise(quarantine["image_id"], quarantine["content_hash"], "\0")
    mine = pc.binary_join_element_wise(files["image_id"], files["content_hash"], "\0")
    return pc.is_in(mine, value_set=pc.drop_null(bad)).combine_chunks()
