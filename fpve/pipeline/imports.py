"""Importing vectors that somebody else computed, as a collection: planned, fused and committed as a run's are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import CollectionConfig, Encoders, FusionConfig, IndexConfig, Job, as_rules, rule_settings
from fpve.encoders import TextEncoder
from fpve.engines.shards import ShardBuilder
from fpve.engines.work import Models, Target
from fpve.errors import JobError, StoreConflict, StoreError
from fpve.export import Header
from fpve.maintenance.compact import compact_if_due
from fpve.pipeline.claims import Claims, exported_header
from fpve.pipeline.commit import commit
from fpve.pipeline.contents import Contents
from fpve.pipeline.encode import fusion_config
from fpve.pipeline.header import header_for
from fpve.pipeline.journal import one_line
from fpve.pipeline.needs import named_vectors, settled_images
from fpve.pipeline.rows import Ready
from fpve.pipeline.vectors import Vectors
from fpve.planning.imports import PREFIX, has_texts, only_collection, plan_import
from fpve.planning.models import recipe_for, recipe_of
from fpve.planning.plan import CollectionPlan, guard_metadata, guard_removals, other_collections
from fpve.progress import Progress, SilentProgress
from fpve.replica import located, shown
from fpve.sources.vectors import VectorFile, open_vectors
from fpve.store import manifest as manifests
from fpve.store.files import check_root
from fpve.store.imported import IMPORT_JOB, content_of
from fpve.store.lock import writer_lock
from fpve.store.manifest import Collection
from fpve.store.pending import Shard, discard, sweep
from fpve.store.snapshot import Snapshot
from fpve.urls import check_local

# The rule of a file that brings its own texts.
_OWN_TEXTS = f"{{{PREFIX}}}"


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file of vectors.

    Attributes:
        store: its path.
        collection: what the rows are now.
        rows: how many there are.
        dim: length of an image block.
        new, moved, changed, prefix_changed, metadata_changed, unchanged, removed: images by what became of them, as a
            run counts them; the vector is the content of an image.
        fused: vector rows that were made.
        encoders: name and fingerprint of each block's encoder.
        notes: what somebody should know.
        snapshot: the newest snapshot afterwards.
        published: whether this made it, or what it made was merged into it.
    """

    store: str
    collection: str
    rows: int
    dim: int
    snapshot: int
    published: bool
    new: int = 0
    moved: int = 0
    changed: int = 0
    prefix_changed: int = 0
    metadata_changed: int = 0
    unchanged: int = 0
    removed: int = 0
    fused: int = 0
    encoders: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)


def import_vectors(
    store: str | os.PathLike[str],
    *,
    vectors: str | os.PathLike[str],
    collection: str | None = None,
    ids: str | os.PathLike[str] | None = None,
    image_encoder: str | None = None,
    text_encoder: str | None = None,
    prefix: str | None = None,
    columns: Sequence[str] = (),
    allow_removals: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Make vectors that somebody else computed a collection of a store; again it takes up what changed in their file.

    The file is Parquet with the columns `image_id` and `vector` (a list of numbers: raw features of a picture), or a
    matrix `FILE.npy` with a table of its rows. Both can have `path`, `prefix`, and other columns, which are metadata.
    What `fpve export --vectors image` wrote says by itself what made it. Rows that are in the collection and not in
    the file are removed from it.

    Args:
        store: path of the store; made if there is none.
        vectors: the file.
        collection: what the rows become; by default the collection that was exported, or the file's name.
        ids: of a matrix, the table with `image_id` and metadata of its rows, in their order; by default the one beside
            it.
        image_encoder: name of what made the vectors, which encodes the pictures of queries. Without it queries are by
            id, by vector, or by text.
        text_encoder: name of what embeds the prefixes, and the texts of queries, in a new store; `none` for none.
        prefix: a template that gives each row its prefix; by default the column `prefix`, as far as there is a text
            encoder.
        columns: which columns become metadata; all if there are none.
        allow_removals: whether much of the collection may be gone.
        wait: wait for another writer of the store, instead of raising an error.
        progress: is told of the rows.

    Raises:
        SourceError, MetadataError: a file is not there, broken, or has a row that can't be taken: it is named.
        EncoderMismatch: the vectors are of another length, or come from another encoder, than is said of them.
        StoreConflict: the store encodes with another encoder, or another job owns the collection.
        GuardError: too much would be removed.
        StoreLocked: another writer holds the store, and is not waited for.
    """
    check_local(vectors)
    root, path = located(store), Path(os.path.abspath(vectors))  # noqa: PTH100 (resolve would follow links)
    progress = progress or SilentProgress()
    check_root(root)
    file = open_vectors(path, ids=None if ids is None else Path(ids))
    header = exported_header(file)
    name = collection
    if name is None:
        name = (only_collection(file) if header is not None else None) or path.stem
    claims = Claims(image_encoder, text_encoder, header, has_texts(file))
    config = CollectionConfig(name=name, source=path, columns=tuple(columns), prefix=as_rules(prefix))
    # Before the lock, so that a file that can't be taken leaves nothing behind where there is no store.
    contents = _read(file, progress)
    ready = _Import.plan(root, file, config, claims, contents, allow_removals=allow_removals)
    with writer_lock(root, IMPORT_JOB, waiting=nullcontext if wait else None):
        newest = manifests.numbers(root)[-1:]
        if newest != ([] if ready.base is None else [ready.base.manifest.snapshot]):
            ready = _Import.plan(root, file, config, claims, contents, allow_removals=allow_removals)
        return ready.publish(progress)


def _read(file: VectorFile, progress: Progress) -> pa.Array:
    """What stands for the content of each row (n,), after all of them have been looked at."""
    parts = []
    with progress.stage("read", file.rows) as stage:
        for part in file.parts():
            parts.append(pa.array(content_of(part), pa.string()))
            stage.advance(len(part))
    return pa.concat_arrays(parts)


@dataclass(frozen=True, slots=True)
class _Import:
    """An import that can be published.

    Attributes:
        base: the last snapshot.
        job: as which it is committed.
        models: what encodes.
        file: the vectors.
        contents: what its rows are.
        notes: what somebody should know.
    """

    base: Snapshot | None
    job: Job
    models: Models
    file: VectorFile
    contents: Contents
    notes: tuple[str, ...]

    @classmethod
    def plan(
        cls,
        root: Path,
        file: VectorFile,
        config: CollectionConfig,
        claims: Claims,
        contents: pa.Array,
        *,
        allow_removals: bool,
    ) -> _Import:
        """Compare a file with the store as it is now; writes nothing."""
        base = Snapshot.open(root) if manifests.numbers(root) else None
        entry = base.manifest.collection(config.name) if base is not None else None
        encoders, models = claims.models(file, base, entry)
        notes: tuple[str, ...] = ()
        if own := claims.distrusted(base):
            notes = (
                f"the file says that {own!r} made its vectors, which runs the code of that name; name it with "
                "--image-encoder if you trust it, so that pictures can be asked with",
            )
        if not config.prefix:
            config = replace(config, prefix=as_rules(_rules(entry, claims, models.text)))
            if claims.texts and models.text is None:
                notes += ("its column prefix is left out: no text encoder embeds it; name one with --text-encoder",)
        elif models.text is None:
            raise JobError(f"prefix {str(config.prefix[0])!r}: no text encoder embeds it; name one with --text-encoder")
        job = _job(root, config, encoders, claims.header, base)
        _check_same_encoders(job, models, file, base)
        plan = plan_import(job, file, contents, base, exported=claims.header is not None)
        known = _contents(plan)
        if not allow_removals:
            guard_removals(plan, known.changes().removed, job.limits.max_removed)
            guard_metadata(plan, job.limits.max_removed)
        return cls(base, job, models, file, known, notes)

    def publish(self, progress: Progress) -> Imported:
        """Make the vectors that are not there yet, and commit."""
        root, contents, plan = self.job.store, self.contents, self.contents.plan
        sweep(root)
        header, target = header_for(self.job, self.models, self.base)
        vectors = Vectors(root, target.recipe, target.fusion, self.base)
        settled = settled_images(plan, contents.same, vectors)
        unsettled = pc.invert(settled)
        named = named_vectors(plan, contents.content_hash, unsettled)
        named = named.append_column("number", plan.files["number"].filter(unsettled))
        fused = self._fuse(named, vectors, target, progress)
        place = vectors.locate(named["content_hash"], named["prefix_id"])
        sources = vectors.sources(set(place["segment"].unique().to_pylist()))
        changes = contents.changes()._asdict()
        ready = Ready(contents, settled, place, contents.quarantine(self.base))
        manifest = commit(root, self.base, header, [ready], sources, changes, operation="import")
        for one in sources:
            if isinstance(one, Shard):
                discard(one)
        snapshot = manifest.snapshot if manifest is not None else self._last
        notes = self.notes
        if manifest is not None:
            try:
                snapshot = compact_if_due(root, progress=progress).snapshot
            except (OSError, StoreError) as error:
                # What the import was for is published, and the next writer tries again.
                notes = (*notes, f"small files could not be merged: {one_line(error)}")
        return Imported(
            store=shown(root),
            collection=plan.name,
            rows=self.file.rows,
            dim=target.fusion.image_dim,
            fused=fused,
            encoders={block: str(one) for block, one in header.encoders.items()},
            notes=notes,
            snapshot=snapshot,
            published=manifest is not None,
            **changes,
        )

    @property
    def _last(self) -> int:
        return self.base.manifest.snapshot if self.base is not None else 0

    def _fuse(self, named: pa.Table, vectors: Vectors, target: Target, progress: Progress) -> int:
        """Make the vectors that are not there, each once, leaving shards in `pending/`; how many."""
        place = vectors.locate(named["content_hash"], named["prefix_id"])
        missing = named.filter(pc.is_null(place["row"]))
        keys = ["content_hash", "prefix_id", "prefix"]
        # Where several rows are alike, the first of them will do.
        wanted = missing.group_by(keys).aggregate([("number", "min")]).sort_by("number_min")
        if not len(wanted):
            return 0
        numbers = wanted["number_min"].to_numpy()
        builder = ShardBuilder(target, self.models.text)
        start = done = 0
        with progress.stage("fuse", len(wanted)) as stage:
            for part in self.file.parts():
                end = int(numbers.searchsorted(start + len(part)))
                for row in wanted.slice(done, end - done).to_pylist():
                    builder.add(row["content_hash"], part[row["number_min"] - start], row["prefix"])
                    stage.advance()
                start, done = start + len(part), end
            builder.finish()
        vectors.changed()
        return builder.rows


def _contents(plan: CollectionPlan) -> Contents:
    """What is known of rows of which nothing is to be read."""
    count = len(plan.files)
    nothing = pa.nulls(count, pa.int64())
    content_hash = plan.files["content_hash"].combine_chunks()
    reason = pa.nulls(count, pa.string())
    return Contents(plan, content_hash, nothing, nothing, reason, kept=pa.repeat(False, count), read=0)


def _rules(entry: Collection | None, claims: Claims, text: TextEncoder | None) -> Any:
    """The rules of prefixes, where none is given: asked for once they stay; else the file's own texts."""
    own = rule_settings(as_rules(_OWN_TEXTS))
    if text is None:
        return None
    if entry is not None and entry.prefix and entry.prefix != own:
        return entry.prefix
    return own if claims.texts else None


def _job(root: Path, config: CollectionConfig, encoders: Encoders, header: Header | None, base: Snapshot | None) -> Job:
    """An import as a job: a store that is there keeps its fusion, a new one has that of the store that was exported."""
    if base is not None:
        fusion, index = fusion_config(base.manifest.fusion), IndexConfig(base.manifest.target_recall)
    else:
        fusion, index = fusion_config(header.fusion) if header is not None else FusionConfig(), IndexConfig()
    return Job(name=IMPORT_JOB, store=root, collections=(config,), encoders=encoders, fusion=fusion, index=index)


def _check_same_encoders(job: Job, models: Models, file: VectorFile, base: Snapshot | None) -> None:
    """Refuse vectors of other encoders than those of a store that has other collections.

    Raises:
        StoreConflict: naming both.
    """
    if base is None or recipe_for(job, models) == recipe_of(base):
        return
    others = other_collections(job, base)
    if others:
        theirs = ", ".join(str(one) for one in base.manifest.encoders.values())
        both = [models.image, *([models.text] if models.text is not None else [])]
        mine = ", ".join(f"{one.name}@{one.fingerprint[:8]}" for one in both)
        raise StoreConflict(
            f"{job.store} encodes with {theirs}, the vectors of {file.file} are of {mine}: a store has one set of "
            f"encoders, and there is a collection {min(others)!r} of the former; name what made the vectors with "
            "--image-encoder, or import them into another store"
        )
