"""Making a damaged store whole: what is derived is built again, what is damaged is taken out, what is lost is said."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from fpve.errors import StoreCorrupt
from fpve.index import fits, rebuild, reindexed
from fpve.maintenance.notes import Notes
from fpve.maintenance.remake import fitted_again, kept_answers, remade, rescued_answers, whole_files
from fpve.maintenance.verify import ROW_KEYS, Problem, has_vector, verify
from fpve.progress import Progress
from fpve.replica import located, shown
from fpve.store import copies, means, pages, publishing, tables
from fpve.store import manifest as manifests
from fpve.store.claims import Claim, deleting
from fpve.store.damaged import set_aside
from fpve.store.files import forget, forget_all, our_files, push_written, ref
from fpve.store.heads import dropped_heads, space_of, with_fitting_heads
from fpve.store.imported import is_imported
from fpve.store.lock import writer_lock
from fpve.store.manifest import Collection, Manifest, Segment, Table
from fpve.store.parquet import read_parquet
from fpve.store.predict import forgotten, images_of
from fpve.store.snapshot import Snapshot

# Kinds of problems with what indexes are derived from, besides rows.
_DERIVED = (tables.MEANS, tables.PREDICTED, "derived")
# Tables that say of images what others were said to be.
_VOTED = {tables.PREDICTIONS, tables.CALIBRATIONS}
# Kinds of problems with files that nothing else depends on.
_BESIDE = ("index", "copy")
# Where files are made again that have the name of what was damaged.
_MADE_AGAIN = ("vectors", "images", "tables")
# Tables of what people said, which no source gives back, each with what becomes of it.
_SAID = {tables.LABELS: "the next run lays them over", tables.CORRECTED: "the next run gives them to their images"}


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did.

    Attributes:
        rebuilt: derived files that were made again, and tables that were made again from others or from sources.
        taken_out: what the newest snapshot held and does no more; the next run makes it again from its sources.
        lost: what can't be made again.
        snapshot: number of the newest snapshot after it; None if none is left.
        published: whether this repair made it.
    """

    rebuilt: tuple[str, ...]
    taken_out: tuple[str, ...]
    lost: tuple[str, ...]
    snapshot: int | None
    published: bool

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return asdict(self)


def repair(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Repair:
    """Verify a store, and make it whole.

    Indexes, and copies of pages, are made again from Parquet. A damaged page, segment or table of the newest snapshot
    is taken out, and a new snapshot without it is published: images whose row or vector was in it are missing until the
    next run finds them in their sources, reads them, and encodes those whose vector is gone. Thumbnails are made again
    from the sources, prefixes from the pages. Means are fitted again: the same ones if the snapshot is there in which
    they were, else others. Predictions are left to the next run, and heads that are damaged, or that learnt with means
    that are gone, to `fpve train`. A damaged newest manifest gives way to the snapshot before it. Older snapshots that
    need a damaged file can't be repaired, and are set aside with it in `state/damaged/`, until `prune` deletes them.

    Raises:
        StoreNotFound: there is no store at `path`.
        StoreLocked: another writer holds the store.
        StoreCorrupt, OSError: a file can't be read at the moment, so that nobody knows whether it is damaged; nothing
            was changed.
    """
    root = located(path)
    if not manifests.numbers(root):
        raise manifests.no_store(root)
    with writer_lock(root, "fpve repair"):
        return _repair(root, progress)


def _repair(root: Path, progress: Progress | None) -> Repair:
    problems = verify(root, progress=progress).problems
    for one in problems:
        if one.kind == "unreadable":
            raise StoreCorrupt(f"{root / one.file}: {one.problem}; that need not be damage, and nothing was changed")
        # Nor is what a replica has of it to be taken for it.
        forget(root, one.file)
    forget_all(root)
    found, damaged = manifests.load_all(root)
    notes = Notes()
    again = {one.file for one in problems if one.kind == tables.MEANS and fitted_again(root, found, one.file)}
    notes.rebuilt += [f"{file}: the same means, fitted once more" for file in sorted(again)]
    problems = tuple(one for one in problems if one.file not in again)
    bad = {one.file: one for one in problems if one.kind not in (*_BESIDE, "manifest", "rows")}
    # What these say of means and predictions can't be believed.
    spoilt = {number for one in bad.values() if one.kind in _DERIVED for number in one.snapshots}
    indexes = [one for one in problems if one.kind == "index"]
    unfit = {number for one in indexes for number in _rebuild(root, found, one, spoilt, notes)}
    unbuilt = {one.file for one in indexes} - set(notes.rebuilt)
    _copy_again(root, found.values(), problems, notes)
    push_written(root, *_MADE_AGAIN)
    newest = max(found, default=None)
    last = max({*found, *damaged})
    published = None
    if newest is not None and (
        newest != last or newest in unfit or any(newest in one.snapshots for one in problems if one.kind not in _BESIDE)
    ):
        whole = _without(Snapshot(root, found[newest]), bad, last, notes)
        if last in damaged:
            whole = _with_what_was_said(root, whole, list(found.values()), notes)
        whole = replace(whole, segments=reindexed(Snapshot(root, whole)))
        _rebuild_those_of(Snapshot(root, whole), unbuilt, notes)
        # Publishing itself puts nothing that the last snapshot names, too.
        push_written(root, *_MADE_AGAIN)
        publishing.publish(root, whole)
        published = whole.snapshot
        # What was made again to the bit has the name of what was damaged, and is in its place already.
        bad = {name: one for name, one in bad.items() if name not in {file.path for file in whole.files}}
    with deleting(root) if damaged or bad or unfit else nullcontext() as claim:
        # Another machine may have made such a file anew since, and published it.
        since = set(manifests.numbers(root)) - {*found, *damaged} if claim is not None else set()
        named = {name for number in since for name in manifests.load(root, number).names}
        bad = {name: one for name, one in bad.items() if name not in named}
        _lose_manifests(root, found, damaged, notes, claim)
        # The files after the manifests that name them: killed in between, a repair is only begun again.
        broken = {number for one in bad.values() for number in one.snapshots} | unfit
        for number in sorted(broken):
            if number != newest:
                notes.lost.append(f"snapshot {number}: it needs a damaged file, and can't be opened any more")
            _take_away(root, manifests.name_of(number), claim)
        for file in bad:
            _take_away(root, file, claim)
    left = manifests.numbers(root)
    return Repair(
        rebuilt=tuple(notes.rebuilt),
        taken_out=tuple(notes.taken_out),
        lost=tuple(notes.lost),
        snapshot=left[-1] if left else None,
        published=published is not None,
    )


def _rebuild(
    root: Path, found: Mapping[int, Manifest], problem: Problem, spoilt: Container[int], notes: Notes
) -> set[int]:
    """Build an index again; says for which of the snapshots that name it, and are not spoilt, it is the wrong one."""
    unfit: set[int] = set()
    built = False
    for number in (one for one in problem.snapshots if one not in spoilt):
        snapshot = Snapshot(root, found[number])
        name = Path(problem.file).parent.name
        segment = next(one for one in snapshot.manifest.segments if one.name == name)
        if not fits(snapshot, segment):
            unfit.add(number)
        elif not built:
            rebuild(snapshot, segment)
            built = True
    if built:
        notes.rebuilt.append(problem.file)
    return unfit


def _copy_again(root: Path, found: Iterable[Manifest], problems: Iterable[Problem], notes: Notes) -> None:
    """Write the copies of sound pages that are damaged or missing."""
    kinds = {one.file: one.kind for one in problems}
    every = {page.file.path: page for manifest in found for one in manifest.collections for page in one.pages}
    missing = 0
    for page in (one for one in every.values() if kinds.get(one.file.path) != "page"):
        name = page.copy[0]
        if name in kinds:
            notes.rebuilt.append(name)
        elif copies.is_there(root, page):
            continue
        else:
            missing += 1
        copies.write_copy(root, page)
    if missing:
        notes.rebuilt.append(f"images: {missing:,} copies of pages, which readers map")


def _rebuild_those_of(snapshot: Snapshot, unbuilt: Container[str], notes: Notes) -> None:
    """Build the indexes again that a snapshot took over from one that was spoilt."""
    for segment in snapshot.manifest.segments:
        folder = segment.file.path.rpartition("/")[0]
        files = [f"{folder}/{name}" for name in segment.derived]
        if files[0] in unbuilt:
            rebuild(snapshot, segment)
            notes.rebuilt.append(files[0])


def _take_away(root: Path, file: str, claim: Claim | None) -> None:
    """Set a file aside, as long as others know of it."""
    if claim is None:
        set_aside(root, file)
        return
    claim.keep()
    # To copy it may take longer than others wait.
    set_aside(root, file, ready=claim.keep)


def _lose_manifests(
    root: Path, found: dict[int, Manifest], damaged: dict[int, str], notes: Notes, claim: Claim | None
) -> None:
    for number, reason in sorted(damaged.items()):
        newer_than_all = not found or number > max(found)
        remedy = f"; snapshot {max(found)} stands again" if found and newer_than_all else ""
        remedy += "; the next run makes what it held again" if newer_than_all else ""
        notes.lost.append(f"snapshot {number}: its manifest is damaged ({reason}){remedy}")
        _take_away(root, manifests.name_of(number), claim)
    if not found:
        kept_answers(root, notes)
        for name in _SAID:
            if any(our_files(root, f"tables/{name}")):
                notes.lost.append(f"{name}: no snapshot is left that names them")


def _without(snapshot: Snapshot, bad: Mapping[str, Problem], last: int, notes: Notes) -> Manifest:
    """A manifest like a snapshot's, without the damaged files and what depends on them; indexes are yet to be made."""
    root, manifest = snapshot.root, snapshot.manifest
    kept = tuple(_sound_segments(manifest, bad, notes))
    rest = Snapshot(root, replace(manifest, segments=kept))
    collections = tuple(_sound_collection(rest, one, bad, notes) for one in manifest.collections)
    rest = Snapshot(root, replace(rest.manifest, collections=collections))
    damaged = {one.name for one in manifest.tables if one.file.path in bad}
    if any(one.kind == "derived" and manifest.snapshot in one.snapshots for one in bad.values()):
        damaged |= {tables.MEANS, tables.PREDICTED}
    derived = damaged & {tables.MEANS, tables.PREDICTED}
    sound = [one for one in manifest.tables if one.file.path not in bad and one.name not in derived]
    for name in sorted(damaged - derived - _VOTED):
        sound += remade(rest, name, [one for one in sound if one.name == name], notes)
    whole = publishing.successor(
        manifest,
        last,
        operation="repair",
        segments=kept,
        collections=collections,
        tables=manifests.sorted_tables(sound),
        heads=tuple(one for one in manifest.heads if one.file.path not in bad),
    )
    if tables.PREDICTED in derived and snapshot.has_predictions:
        count = sum(one.rows for one in manifest.tables_named(tables.PREDICTED))
        notes.taken_out.append(f"predicted: {count:,} prefix blocks; the next run predicts them again")
    if tables.MEANS in derived:
        whole = with_fitting_heads(_with_other_means(root, whole, notes))
    for one in dropped_heads(manifest, whole):
        notes.lost.append(f"{one.file.path}: the {one}; `{one.command(root)}` trains it again")
    return _with_true_predictions(manifest, whole, notes)


def _with_true_predictions(manifest: Manifest, whole: Manifest, notes: Notes) -> Manifest:
    """A manifest without predictions of labels, if it lacks any of what they were made of."""
    kept = [one for one in whole.tables if one.name in _VOTED]
    is_whole = kept == [one for one in manifest.tables if one.name in _VOTED]
    if is_whole and (images_of(whole), space_of(whole)) == (images_of(manifest), space_of(manifest)):
        return whole
    count = sum(one.rows for one in manifest.tables_named(tables.PREDICTIONS))
    if count:
        notes.taken_out.append(f"predictions: {count:,} labels; the next run predicts them again")
    return replace(forgotten(whole), tables=tuple(one for one in whole.tables if one.name not in _VOTED))


def _with_other_means(root: Path, manifest: Manifest, notes: Notes) -> Manifest:
    """A manifest with means that are fitted over what it holds, in the place of those that are gone."""
    manifest = means.settled(root, replace(manifest, fusion=replace(manifest.fusion, centred=None)))
    found = manifest.fusion.centred
    instead = "there is too little to fit others, so nothing is centred"
    if found is not None:
        instead = f"others were fitted over {found.pictures:,} pictures and {found.prefixes:,} prefixes"
    notes.lost.append(f"means: those by which vectors were centred; {instead}, and scores are not what they were")
    return manifest


def _with_what_was_said(root: Path, manifest: Manifest, known: list[Manifest], notes: Notes) -> Manifest:
    """A manifest with what only a damaged one names of what people and paid models said, which no source gives back.

    Files are whole if their content is what their name says. Each of labels and of corrections holds all of them, so
    the newest counts.
    """
    named = {file.path for one in known for file in one.files}
    for name, remedy in _SAID.items():
        found = [(path.stat().st_mtime_ns, path) for path in whole_files(root, name)]
        found = [(time, path) for time, path in found if path.relative_to(root).as_posix() not in named]
        if found:
            path = max(found)[1]
            table = Table(name, ref(root, path), len(read_parquet(path)))
            others = [one for one in manifest.tables if one.name != name]
            manifest = replace(manifest, tables=manifests.sorted_tables((*others, table)))
            notes.rebuilt.append(f"{name}: {table.rows:,}, as the damaged snapshot had them; {remedy}")
    answers = rescued_answers(root, list(manifest.tables_named(tables.GENERATED)), notes)
    return replace(manifest, tables=manifests.sorted_tables((*manifest.tables, *answers)))


def _sound_segments(manifest: Manifest, bad: Container[str], notes: Notes) -> Iterable[Segment]:
    for segment in manifest.segments:
        if segment.file.path in bad:
            notes.taken_out.append(f"{segment.file.path}: {segment.rows:,} vectors")
        else:
            yield segment


def _sound_collection(snapshot: Snapshot, collection: Collection, bad: Container[str], notes: Notes) -> Collection:
    """A collection without its damaged pages, and without images whose vector is gone."""
    kept = []
    for page in collection.pages:
        if page.file.path in bad:
            notes.taken_out.append(f"{page.file.path}: {page.rows:,} images, {page.first} to {page.last}")
        else:
            kept.append(page)
    whole = has_vector(snapshot, pages.read_columns(snapshot.root, kept, ROW_KEYS))
    gone = len(whole) - (pc.sum(whole).as_py() or 0)
    if is_imported(collection) and (gone or len(kept) < len(collection.pages)):
        notes.lost.append(
            f"{collection.name}: its vectors were imported, and no run makes them again; `fpve import "
            f"{shown(snapshot.root)} --vectors {collection.source} --collection {collection.name}` brings back what "
            "was taken out"
        )
    if not gone:
        return replace(collection, pages=tuple(kept))
    rows = pages.read_pages(snapshot.root, kept, snapshot.manifest.columns)
    notes.taken_out.append(
        f"{collection.name}: {gone:,} images whose vector is gone, such as "
        f"{rows['image_id'].filter(pc.invert(whole))[0].as_py()}"
    )
    return replace(collection, pages=pages.write_pages(snapshot.root, collection.name, rows.filter(whole), tuple(kept)))
