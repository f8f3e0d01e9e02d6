"""Whether a store is whole: manifests, files, and what they say of one another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fpve.errors import StoreCorrupt, StoreNotFound
from fpve.heads.stored import check_head
from fpve.index import check_index
from fpve.maintenance.fresh import afresh
from fpve.maintenance.vectors import check_means, check_predictions, check_rows
from fpve.prefixes import prefix_ids
from fpve.progress import Progress, SilentProgress
from fpve.replica import located, shown
from fpve.store import copies, pages, segments, tables
from fpve.store import manifest as manifests
from fpve.store.files import FileRef, at_hand, inside, opened, sha256_of, status_of
from fpve.store.heads import HeadRef
from fpve.store.lease import take
from fpve.store.leftovers import unnamed_files
from fpve.store.manifest import Manifest, Page, Segment, Table
from fpve.store.schema import IMAGE_FIELDS
from fpve.store.snapshot import Snapshot

_Entry = Page | Segment | Table | HeadRef
_KINDS = {Page: "page", Segment: "segment", HeadRef: "head"}
# Of snapshots, ascending.
_Numbers = tuple[int, ...]
# What `has_vector` needs to know of image rows.
ROW_KEYS = [*segments.KEY_COLUMNS, "segment", "row"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a store that is not as it should be.

    Attributes:
        file: its path, relative to the store.
        kind: `manifest`, `page`, `copy` (of a page), `rows` (of a page, that name vectors which are not there),
            `segment`, `index`, `head`, the name of a table, `derived` (of a manifest, that means or predictions are not
            what it says), or `unreadable`, which is no damage: the system would not let it be read.
        snapshots: numbers of the snapshots that need it.
        problem: what is wrong with it.
    """

    file: str
    kind: str
    snapshots: tuple[int, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found.

    Attributes:
        store: its path.
        quick: whether files were only looked at, not read.
        snapshots: numbers of those that were verified.
        files, bytes: how much these name.
        problems: what is wrong; empty for a whole store.
        unnamed_files, unnamed_bytes: what no snapshot names: left by killed runs, deleted by `prune`; no problem.
    """

    store: str
    quick: bool
    snapshots: tuple[int, ...]
    files: int
    bytes: int
    problems: tuple[Problem, ...]
    unnamed_files: int
    unnamed_bytes: int

    @property
    def ok(self) -> bool:
        """Whether the store is whole."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return {"ok": self.ok, **asdict(self)}


def verify(
    path: str | os.PathLike[str], *, at: int | None = None, quick: bool = False, progress: Progress | None = None
) -> Verification:
    """Check every snapshot of a store, or snapshot `at`, against what its manifest says.

    Manifests: their checksums. Files: that they are there, size, SHA-256, structure, row counts; vectors: that they are
    finite and their blocks have the lengths that the fusion mode gives them; means and predictions likewise; heads:
    that they are of such vectors; copies of pages: their checksum, and that they hold the page's rows; indexes: their
    checksum, and that they hold the vectors of Parquet, with the means and predictions of the newest snapshot that
    names them. Of the newest of the snapshots also that pages are in order, that every image's vector is the one of its
    content and prefix, that prefixes are what their ids say, and that means are those that the manifest says.

    `quick` reads no content: it checks manifests, sizes, and the row counts in the files' footers.

    Raises:
        StoreNotFound: there is no store at `path`, or no snapshot `at`.
    """
    # What is in a bucket, and not what of it is here.
    with afresh(located(path)) as root, _held(root) as (found, damaged):
        return _verify(root, found, damaged, at, quick=quick, progress=progress or SilentProgress())


@contextmanager
def _held(root: Path) -> Iterator[tuple[dict[int, Manifest], dict[int, str]]]:
    """All snapshots of a store, which can't be pruned before this ends; those that are gone by now are left out."""
    found, damaged = manifests.load_all(root)
    if not found and not damaged:
        raise manifests.no_store(root)
    leases = {number: take(manifests.path_of(root, number)) for number in found}
    try:
        yield {number: manifest for number, manifest in found.items() if leases[number] is not None}, damaged
    finally:
        for lease in leases.values():
            if lease is not None:
                lease.release()


def _verify(
    root: Path,
    found: dict[int, Manifest],
    damaged: dict[int, str],
    at: int | None,
    *,
    quick: bool,
    progress: Progress,
) -> Verification:
    everything = list(found.values())
    if at is not None:
        if at not in found and at not in damaged:
            raise StoreNotFound(f"{root}: no snapshot {at}; it has {', '.join(map(str, sorted({*found, *damaged})))}")
        found = {at: found[at]} if at in found else {}
        damaged = {at: damaged[at]} if at in damaged else {}
    problems = [
        Problem(manifests.path_of(root, number).relative_to(root).as_posix(), "manifest", (number,), reason)
        for number, reason in damaged.items()
    ]
    files, indexes = _named(found)
    bad: set[str] = set()
    with progress.stage("verify", len(files) + len(indexes)) as stage:
        for entry, numbers in files:
            problem = _check(Snapshot(root, found[numbers[-1]]), entry, numbers, quick=quick)
            if problem is not None:
                problems.append(problem)
                bad.add(problem.file)
            elif isinstance(entry, Page):
                problems += _check_copy(root, entry, numbers, quick=quick)
            stage.advance()
        user: Snapshot | None = None
        for segment, numbers in indexes:
            sound = [number for number in numbers if not _derived_of(found[number]) & bad]
            number = (sound or numbers)[-1]
            # Means and predictions are read once for all that one snapshot names.
            if user is None or user.manifest.snapshot != number:
                user = Snapshot(root, found[number])
            if segment.file.path not in bad:
                problems += _check_index(user, segment, numbers, quick=quick, compared=bool(sound))
            stage.advance()
    if found and not quick:
        newest = Snapshot(root, found[max(found)])
        if not _derived_of(newest.manifest) & bad:
            problems += _check_derived(newest)
        if not any(file.path in bad for file in newest.manifest.files):
            problems += _check_relations(newest)
    # With a damaged manifest nobody knows what it names.
    statuses = [] if damaged else [status_of(root, path) for path in unnamed_files(root, everything)]
    # One that is gone was a temporary file of a writer, who has given it its name.
    unnamed = [status.size for status in statuses if status is not None]
    return Verification(
        store=shown(root),
        quick=quick,
        snapshots=tuple(sorted({*found, *damaged})),
        files=len({file for manifest in found.values() for file in manifest.files}),
        bytes=sum({file.path: file.bytes for manifest in found.values() for file in manifest.files}.values()),
        problems=tuple(problems),
        unnamed_files=len(unnamed),
        unnamed_bytes=sum(unnamed),
    )


def _named(found: dict[int, Manifest]) -> tuple[list[tuple[_Entry, _Numbers]], list[tuple[Segment, _Numbers]]]:
    """Every file that is not derived, once, with the numbers of the snapshots that name it; and likewise indexes.

    One segment can have several: of other means or predictions. Indexes are sorted by the last snapshot.
    """
    files: dict[str, tuple[_Entry, list[int]]] = {}
    indexes: dict[Segment, list[int]] = {}
    for number, manifest in sorted(found.items()):
        entries: list[_Entry] = [page for one in manifest.collections for page in one.pages]
        for entry in (*entries, *manifest.segments, *manifest.tables, *manifest.heads):
            files.setdefault(entry.file.path, (entry, []))[1].append(number)
        for segment in manifest.segments:
            indexes.setdefault(segment, []).append(number)
    sorted_indexes = sorted(indexes.items(), key=lambda one: one[1][-1])
    return (
        [(entry, tuple(numbers)) for entry, numbers in files.values()],
        [(segment, tuple(numbers)) for segment, numbers in sorted_indexes],
    )


def _derived_of(manifest: Manifest) -> set[str]:
    """The files of a snapshot's means and predictions."""
    return {one.file.path for one in manifest.tables if one.name in (tables.MEANS, tables.PREDICTED)}


def _check(snapshot: Snapshot, entry: _Entry, numbers: _Numbers, *, quick: bool) -> Problem | None:
    """What is wrong with one file that a snapshot names, as those of other numbers do."""
    kind = entry.name if isinstance(entry, Table) else _KINDS[type(entry)]
    try:
        reason = _check_file(snapshot.root, entry.file, quick=quick)
        reason = reason or _check_structure(snapshot.root, entry, snapshot.manifest)
    except OSError as error:
        return Problem(entry.file.path, "unreadable", numbers, f"can't be read: {error.strerror}")
    if reason is None and not quick:
        reason = _check_content(snapshot, entry)
    return None if reason is None else Problem(entry.file.path, kind, numbers, reason)


def _check_copy(root: Path, page: Page, numbers: _Numbers, *, quick: bool) -> Iterator[Problem]:
    """What is wrong with the copy of a sound page; one that is missing is none that anybody needs."""
    wrong = None if quick else copies.check_copy(root, page)
    if wrong is not None:
        yield Problem(page.copy[0], "copy", numbers, wrong)


def _check_index(
    snapshot: Snapshot, segment: Segment, numbers: _Numbers, *, quick: bool, compared: bool
) -> Iterator[Problem]:
    """What is wrong with a segment's index; `compared` with its rows only if the means and predictions are sound."""
    snapshot.fetch_indexes([segment])
    folder = segments.folder(snapshot.root, segment)
    missing = [name for name in segment.derived if not (folder / name).is_file()]
    wrong = (missing[0], f"{', '.join(missing)} is missing") if missing else None
    if wrong is None and not quick:
        wrong = check_index(snapshot, segment, compared=compared)
    if wrong is not None:
        name, reason = wrong
        yield Problem((folder / name).relative_to(snapshot.root).as_posix(), "index", numbers, reason)


def _check_file(root: Path, file: FileRef, *, quick: bool) -> str | None:
    try:
        status = status_of(root, inside(root, file.path))
        if status is None:
            return "it is missing"
        size = status.size
        if size != file.bytes:
            return f"expected {file.bytes:,} bytes, found {size:,}"
        if not quick and sha256_of(at_hand(root, file.path)) != file.sha256:
            return "its content has changed: its SHA-256 is not that of the manifest"
    except FileNotFoundError:
        return "it is missing"
    return None


def _check_structure(root: Path, entry: _Entry, manifest: Manifest) -> str | None:
    """Whether a file is Parquet with the columns and the number of rows that it should have."""
    if isinstance(entry, HeadRef):
        return None
    # Not by its name: the destructor of a ParquetFile warns of files that it could not open.
    with opened(root, entry.file.path) as handle:
        try:
            file = pq.ParquetFile(handle)
            schema, rows = file.schema_arrow, file.metadata.num_rows
        except pa.ArrowException as error:
            return f"not a Parquet file: {str(error).splitlines()[0]}"
    if rows != entry.rows:
        return f"expected {entry.rows:,} rows, found {rows:,}"
    if isinstance(entry, Page):
        expected = list(IMAGE_FIELDS)
    elif isinstance(entry, Segment):
        expected = list(segments.row_schema(sum(one.dim for one in manifest.encoders.values())))
    else:
        # Columns that came later are missing in older files, and null.
        known = tables.SCHEMAS[entry.name]
        expected = [field for field in known if not field.nullable or field.name in schema.names]
    for field in expected:
        if field.name not in schema.names or schema.field(field.name).type != field.type:
            return f"expected a column {field.name!r} of {field.type}"
    return None


def _check_content(snapshot: Snapshot, entry: _Entry) -> str | None:
    """Whether the vectors in a file are such as they can be, and heads such as are of them."""
    if isinstance(entry, HeadRef):
        return check_head(snapshot, entry)
    path = at_hand(snapshot.root, entry.file.path)
    if isinstance(entry, Segment):
        parts = (check_rows(rows, snapshot.fusion) for _, rows in segments.read_parts(path))
        return next((wrong for wrong in parts if wrong is not None), None)
    if isinstance(entry, Table) and entry.name in (tables.MEANS, tables.PREDICTED):
        check = check_means if entry.name == tables.MEANS else check_predictions
        return check(tables.read_tables(snapshot.root, entry.name, [entry]), snapshot.fusion)
    return None


def _check_derived(snapshot: Snapshot) -> Iterator[Problem]:
    """Whether a snapshot's means are those by which it says that it is centred, and predictions are there once."""
    reason = None
    try:
        if snapshot.centre is None and snapshot.manifest.tables_named(tables.MEANS):
            reason = "it has means, and says that it is not centred"
    except StoreCorrupt:
        reason = "its means are not those by which it says that it is centred"
    if reason is None and len(pc.unique(snapshot.predicted_content)) != len(snapshot.predicted_content):
        reason = "a content has two predictions"
    if reason is not None:
        number = snapshot.manifest.snapshot
        own = manifests.path_of(snapshot.root, number).relative_to(snapshot.root).as_posix()
        yield Problem(own, "derived", (number,), reason)


def _check_relations(snapshot: Snapshot) -> Iterator[Problem]:
    """What a snapshot's files say of one another, where each of them by itself is whole."""
    numbers = (snapshot.manifest.snapshot,)
    known = pc.unique(snapshot.table(tables.PREFIXES, ["prefix_id"])["prefix_id"])
    for collection in snapshot.manifest.collections:
        sound = has_vector(snapshot, pages.read_columns(snapshot.root, collection.pages, ROW_KEYS))
        last, start = "", 0
        for page in collection.pages:
            rows = pages.read_pages(snapshot.root, [page], ())
            lost = rows.filter(pc.invert(sound[start : start + page.rows]))
            reason = _check_page(page, rows, collection.name, last, known)
            if reason is not None:
                yield Problem(page.file.path, "page", numbers, reason)
            elif len(lost):
                reason = f"{len(lost):,} images have no vector of their own, such as {lost['image_id'][0]}"
                yield Problem(page.file.path, "rows", numbers, reason)
            last, start = page.last, start + page.rows


def _check_page(page: Page, rows: pa.Table, collection: str, last: str, known: pa.Array) -> str | None:
    """Whether a page's rows are in order, after the page before it, and its prefixes what their ids say."""
    ids = rows["image_id"].combine_chunks()
    if (ids[0].as_py(), ids[-1].as_py()) != (page.first, page.last):
        return f"expected the images {page.first} to {page.last}, found {ids[0]} to {ids[-1]}"
    ordered = pc.all(pc.less(ids[:-1], ids[1:])).as_py() if len(ids) > 1 else True
    if not ordered or last.encode() >= page.first.encode():
        return "its images are not in order, each once"
    if not pc.all(pc.starts_with(ids, f"{collection}/")).as_py():
        return f"an image is not of the collection {collection!r}"
    texts = rows["prefix"].combine_chunks()
    if not prefix_ids(texts).equals(rows["prefix_id"].combine_chunks()):
        return "a prefix is not the text that its id says"
    # Not `all` of them, which is null where no image has a prefix.
    if pc.any(pc.invert(pc.is_in(rows["prefix_id"].drop_null(), value_set=known))).as_py():
        return "a prefix is not in the table of prefixes"
    return None


def has_vector(snapshot: Snapshot, rows: pa.Table) -> pa.Array:
    """(n,) which image rows, with the columns ROW_KEYS, name a vector row that is of their content and prefix."""
    known = {segment.name: segment for segment in snapshot.manifest.segments}
    found = np.zeros(len(rows), bool)
    places = rows["row"].to_numpy()
    for name, numbers in pages.by_segment(rows):
        if name in known:
            at = numbers[(places[numbers] >= 0) & (places[numbers] < known[name].rows)]
            keys = snapshot.segment_keys(known[name]).take(pa.array(places[at]))
            mine = rows.take(pa.array(at))
            same = [_same(mine[column], keys[column]) for column in segments.KEY_COLUMNS]
            found[at] = pc.and_(*same).to_numpy(zero_copy_only=False)
    return pa.array(found)


def _same(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.Array:
    equal = pc.fill_null(pc.equal(left, right), False)
    return pc.or_(equal, pc.and_(pc.is_null(left), pc.is_null(right))).combine_chunks()
