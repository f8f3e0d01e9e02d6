"""The plan: what of each collection is new, changed, removed or as it was, before any picture is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import CollectionConfig, Job
from fpve.errors import GuardError, MetadataError, PrefixError, StoreConflict
from fpve.prefixes import Template, prefix_ids
from fpve.sources.folder import Skipped, normalise, scan_folder
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
        old_columns: names of its metadata columns then.
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
    old_columns: tuple[str, ...]
    removed: pa.Array
    without_metadata: int
    unmatched_metadata: int

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.config.name

    def before(self, name: str, kind: pa.DataType) -> pa.Array:
        """(n,) what a column of each file's image was in the last snapshot; null where the image is new."""
        if name not in self.old.column_names:
            return pa.nulls(len(self.files), kind)
        at = pc.index_in(self.files["image_id"].combine_chunks(), self.old["image_id"].combine_chunks())
        return self.old[name].combine_chunks().take(at)

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
    aligned = _align(config, given, files)
    where = str(config.metadata or config.source)
    check_names(aligned.columns.column_names, where)
    metadata, columns = _typed(config, aligned, entry.columns if entry else (), where)
    prefix = _render(template, config, aligned, metadata, files)
    old = previous.read_collection(entry) if previous and entry else pa.table({"image_id": pa.array([], pa.string())})
    still_there = pa.concat_arrays(
        [
            files["image_id"].combine_chunks(),
            pa.array([f"{config.name}/{normalise(one.path)}" for one in scan.skipped], pa.string()),
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
        old_columns=tuple(column.name for column in entry.columns) if entry else (),
        removed=old_ids.filter(pc.invert(pc.is_in(old_ids, value_set=still_there))),
        without_metadata=len(files) - aligned.partners if given else 0,
        unmatched_metadata=len(given.paths) - aligned.partners if given else 0,
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


def guard_metadata(plan: CollectionPlan, max_removed: float) -> None:
    """Refuse to empty the metadata of more of a collection than the job allows: of a table that was cut off, say.

    Raises:
        GuardError: naming the collection, the numbers and the option that allows it.
    """
    at = pc.index_in(plan.old["image_id"].combine_chunks(), plan.files["image_id"].combine_chunks())
    if not plan.old_columns or not len(plan.old):
        return
    had = _any_value(plan.old.select(list(plan.old_columns)).filter(pc.is_valid(at)))
    kept = [name for name in plan.old_columns if name in plan.metadata.column_names]
    has = _any_value(plan.metadata.select(kept).take(at.drop_null())) if kept else pa.array([False] * len(had))
    lost = int(pc.sum(pc.and_not(had, has)).as_py() or 0)
    if lost > max_removed * len(plan.old):
        raise GuardError(
            f"collection {plan.name!r}: {lost} of {len(plan.old)} images would lose all their metadata, more than "
            f"max_removed = {max_removed:g} allows; nothing was published. If that is meant, run with --allow-removals"
        )


def _any_value(rows: pa.Table) -> pa.Array:
    """(n,) which rows have a value in any column."""
    found = pa.array([False] * len(rows), pa.bool_())
    for column in rows.columns:
        found = pc.or_(found, column.combine_chunks().is_valid())
    return found


def _with_known_hashes(files: pa.Table, state: pa.Table) -> pa.Table:
    """Add `content_hash`: what an earlier run found in a file of this size and time, or null."""
    at = pc.index_in(files["image_id"], state["image_id"])
    seen = state.take(at)
    same = pc.and_(pc.equal(seen["size"], files["size"]), pc.equal(seen["mtime_ns"], files["mtime_ns"]))
    return files.append_column(
        "content_hash", pc.if_else(pc.fill_null(same, False), seen["content_hash"], pa.scalar(None, pa.string()))
    )


class _Aligned(NamedTuple):
    """Metadata in the order of the files: typed columns, the same as written, and how many files have a row."""

    columns: pa.Table
    texts: pa.Table
    partners: int


def _align(config: CollectionConfig, given: Metadata | None, files: pa.Table) -> _Aligned:
    if given is None:
        nothing = pa.table({"__none": pa.nulls(len(files))}).drop_columns(["__none"])
        return _with_label(config, _Aligned(nothing, nothing, 0), files)
    names = pc.utf8_slice_codeunits(files["image_id"].combine_chunks(), len(config.name) + 1)
    at = match(given, names, config.source)
    partners = len(at) - at.null_count
    return _with_label(config, _Aligned(given.columns.take(at), given.texts.take(at), partners), files)


def _with_label(config: CollectionConfig, aligned: _Aligned, files: pa.Table) -> _Aligned:
    if config.label_from is None:
        return aligned
    columns, texts, partners = aligned
    if "label" in columns.column_names:
        raise MetadataError(f"{config.metadata}: has a column 'label' already; leave label_from out")
    if config.label_from == "folder":
        labels = _built_in("folder", config, files)
        return _Aligned(_append(columns, "label", labels), _append(texts, "label", labels), partners)
    if config.label_from in columns.column_names:
        columns = _append(columns, "label", columns[config.label_from])
        return _Aligned(columns, _append(texts, "label", texts[config.label_from]), partners)
    raise MetadataError(
        f"label_from: expected 'folder' or a metadata column, found {config.label_from!r}; "
        f"there is {', '.join(columns.column_names) or 'no metadata'}"
    )


def _typed(
    config: CollectionConfig, aligned: _Aligned, before: tuple[Column, ...], where: str
) -> tuple[pa.Table, tuple[Column, ...]]:
    """Convert metadata columns to the types that the job asks for, else those they had, else those of the file."""
    had = {column.name: column.type for column in before}
    for name in config.types:
        if name not in aligned.columns.column_names:
            raise MetadataError(f"{where}: types names a column {name!r} that is not there")
    columns, arrays = [], []
    for name in aligned.columns.column_names:
        found = aligned.columns[name]
        kind = config.types.get(name) or had.get(name) or type_name(found.type)
        if kind is None:
            raise MetadataError(
                f"{where}: column {name!r} is {found.type}, which a store can't hold; drop it from the file"
            )
        # From what is written: 19.90 as a text is not 19.9.
        given = found if type_name(found.type) == kind else aligned.texts[name]
        arrays.append(convert(given, arrow_type(kind), where=f"{where}, column {name!r}"))
        columns.append(Column(name, kind))
    typed = aligned.columns if not arrays else pa.table(arrays, names=aligned.columns.column_names)
    return typed, tuple(columns)


def _render(
    template: Template | None, config: CollectionConfig, aligned: _Aligned, metadata: pa.Table, files: pa.Table
) -> pa.Array:
    if template is None:
        return pa.nulls(len(files), pa.string())
    template.check(metadata.column_names)
    values = files
    for name in template.fields:
        if name not in metadata.column_names:
            column = _built_in(name, config, files)
        elif name in template.formatted:
            column = metadata[name]
        else:
            # As the file has it, so that a prefix does not change because a column became numeric.
            column = aligned.texts[name]
        values = _put(values, name, column)
    rendered = template.render(values)
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


def _put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.append_column(name, values) if at < 0 else table.set_column(at, name, values)


def _known_bad(files: pa.Table, previous: Snapshot | None) -> pa.Array:
    """Which files are in quarantine with the very content that they still have."""
    if previous is None:
        return pa.array([False] * len(files))
    quarantine = previous.table(tables.QUARANTINE)
    bad = pc.binary_join_element_wise(quarantine["image_id"], quarantine["content_hash"], "\0")
    mine = pc.binary_join_element_wise(files["image_id"], files["content_hash"], "\0")
    return pc.is_in(mine, value_set=pc.drop_null(bad)).combine_chunks()
