"""What a run would cost: time, bytes and downloads, as far as that can be known before a picture is opened."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fpve.encoders.runtimes.machine import cores
from fpve.engines.cluster.connection import Expected
from fpve.engines.work import Models
from fpve.index.ann import is_wanted
from fpve.pipeline.generate import questions, rules_of
from fpve.pipeline.needs import files_to_read, named_vectors, settled_images, without_vector
from fpve.pipeline.vectors import Vectors
from fpve.planning.plan import Plan
from fpve.store import tables
from fpve.store.snapshot import Snapshot

# EfficientNet-Lite0 encodes some 50 pictures a second on a core; reading and decoding photographs takes the rest.
ASSUMED_RATE = 30.0
# Of a run that encoded fewer, the rate is that of loading the model.
WORTHWHILE = 100
# Lengths of the blocks of the default encoders, for those whose weights are not here to tell theirs.
ASSUMED_DIMS = (1280, 384)
# A million thumbnails are about 8 GB.
_THUMBNAIL_BYTES = 8_000
_FLOAT_BYTES = 4
# The rows themselves, and their exact vectors.
_COPIES = 2
# What codes and graphs of many vectors add to that.
_ANN_COPIES = 0.4


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do.

    Attributes:
        encoded: pictures that would go through the vision model.
        fused: vectors that would be made from stored features.
        bytes_to_read: size of the files that would be opened.
        bytes_to_write: estimated size of vectors, indexes and thumbnails.
        estimated_minutes: how long the encoding would take.
        estimate_basis: what that is taken from.
        language_model_requests: prompts that would be answered, each once, within `max_requests`.
        runs_on: where it would be encoded; None for this process.
    """

    encoded: int
    fused: int
    bytes_to_read: int
    bytes_to_write: int
    estimated_minutes: float
    estimate_basis: str
    language_model_requests: int
    runs_on: str | None


def forecast(
    plan: Plan, vectors: Vectors | None, dims: tuple[int, int], target_recall: float, there: Expected | None = None
) -> Forecast:
    """Say what a run of the plan would cost.

    Args:
        plan: the plan.
        vectors: what is there already; None where everything would be encoded.
        dims: lengths of the image block and of the prefix block.
        target_recall: of the ANN indexes.
        there: where it would be encoded; None for this process.
    """
    encoded = fused = read = 0
    missing = []
    for one in plan.collections:
        content_hash = one.files["content_hash"].combine_chunks()
        if vectors is None:
            encoded, read = encoded + len(one.files), read + int(one.sizes.sum())
            continue
        rows = files_to_read(one, vectors)
        read += int(one.sizes[rows].sum())
        # Moved pictures are read, and found to be encoded.
        encoded += max(len(rows) - one.guessed_moves, 0)
        settled = settled_images(one, one.same_content(content_hash), vectors)
        asked = pc.and_not(pc.and_not(pc.is_valid(content_hash), one.known_bad), settled)
        named = named_vectors(one, content_hash, asked)
        named = named.filter(pc.invert(vectors.unencoded(named["content_hash"].combine_chunks())))
        missing.append(without_vector(named, vectors.locate(named["content_hash"], named["prefix_id"])))
    if missing:
        rows_to_fuse = pa.concat_tables(missing)
        fused = len(rows_to_fuse.group_by(rows_to_fuse.column_names).aggregate([]))
    rate, basis = _rate(plan.base if vectors is not None and vectors.keeps_features else None, there)
    write = (encoded + fused) * sum(dims) * _FLOAT_BYTES * _COPIES
    if is_wanted(encoded + fused, sum(dims), target_recall):
        write += int((encoded + fused) * sum(dims) * _FLOAT_BYTES * _ANN_COPIES)
    write += encoded * _thumbnail_bytes(plan.base)
    minutes = round(encoded / rate / 60, 1)
    where = None if there is None else there.where
    return Forecast(encoded, fused, read, write, minutes, basis, _requests(plan), where)


def _requests(plan: Plan) -> int:
    asked: set[str] = set()
    for rule in rules_of(plan.collections):
        # Two rules that keep other parts of one answer ask for it once.
        mine = [name for name in questions(plan.collections, plan.frozen, rule) if name not in asked]
        limit = rule.generate.max_requests if rule.generate is not None else None
        asked |= set(mine if limit is None else mine[:limit])
    return len(asked)


def downloads(models: Models) -> tuple[str, ...]:
    """Names of the encoders whose weights are not on this machine, so that a run would fetch them."""
    return tuple(one.name for one in (models.image, models.text) if one is not None and not one.available)


def _rate(base: Snapshot | None, there: Expected | None) -> tuple[float, str]:
    """Pictures a second, and where that figure comes from: the newest run with this encoder that says it, if any."""
    if base is not None:
        runs = base.runs()
        told = pc.and_(pc.greater_equal(runs["encoded"], WORTHWHILE), pc.greater(runs["images_per_second"], 0))
        found = runs.filter(pc.fill_null(told, False)).sort_by("started_at")
        if len(found):
            rate, started = (found[name][len(found) - 1].as_py() for name in ("images_per_second", "started_at"))
            return rate, f"{rate:,.1f} images/s, as in the run of {started:%Y-%m-%d %H:%M} UTC"
    count = cores() if there is None else there.cpus
    return ASSUMED_RATE * count, f"{ASSUMED_RATE:g} images/s on each of {count:g} cores, an assumption"


def _thumbnail_bytes(base: Snapshot | None) -> int:
    """Mean size of a thumbnail: that of the store's own, if it has any."""
    files = base.manifest.tables_named(tables.THUMBNAILS) if base is not None else ()
    rows = sum(one.rows for one in files)
    return sum(one.file.bytes for one in files) // rows if rows else _THUMBNAIL_BYTES
