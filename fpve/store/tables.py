"""The small tables beside images and vectors: where texts came from, quarantine, thumbnails, and what is derived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from fpve.store.files import ref, write_named_by_content
from fpve.store.manifest import Table
from fpve.store.parquet import read_named, read_part, write_parquet
from fpve.store.schema import conform

PREFIXES = "prefixes"
GENERATED = "generated"
CORRECTED = "corrected"
QUARANTINE = "quarantine"
THUMBNAILS = "thumbnails"
LABELS = "labels"
MEANS = "means"
PREDICTED = "predicted"
ALIGNMENT = "alignment"
PREDICTIONS = "predictions"
CALIBRATIONS = "calibrations"

# About 600 kB a group: little to read for one picture, little to say of each group in the footer.
_THUMBNAIL_GROUP = 128
_UTC = pa.timestamp("us", tz="UTC")
_NEIGHBOUR = pa.struct([("image_id", pa.string()), ("label", pa.string()), ("score", pa.float64())])
SCHEMAS: dict[str, pa.Schema] = {
    # A prefix and where it first came from: `template` is the rule that was filled in, `generation_id` names the answer
    # of a language model that it is, or begins with.
    PREFIXES: pa.schema(
        [
            pa.field("prefix_id", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("origin", pa.string(), nullable=False),
            pa.field("template", pa.string()),
            pa.field("generation_id", pa.string()),
            pa.field("created_at", _UTC, nullable=False),
        ]
    ),
    # What a language model answered, frozen: it is never asked the same again. `generation_id` is a digest of the
    # prompt, the model, what else shapes the answer, and the picture that went along (`content_hash`), if one did.
    # `answer` is the whole text, of which a rule keeps a part; `token_ends` are the ends of its tokens, in characters.
    GENERATED: pa.schema(
        [
            pa.field("generation_id", pa.string(), nullable=False),
            pa.field("prompt", pa.string(), nullable=False),
            pa.field("prompt_hash", pa.string(), nullable=False),
            pa.field("content_hash", pa.string()),
            pa.field("answer", pa.string(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
            pa.field("revision", pa.string()),
            pa.field("server", pa.string()),
            pa.field("parameters", pa.string(), nullable=False),
            pa.field("seed", pa.int64()),
            pa.field("token_ids", pa.list_(pa.int64())),
            pa.field("token_ends", pa.list_(pa.int64())),
            pa.field("prompt_tokens", pa.int64()),
            pa.field("completion_tokens", pa.int64()),
            pa.field("finish_reason", pa.string()),
            pa.field("created_at", _UTC, nullable=False),
        ]
    ),
    # Prefixes that people gave to images: they win over what the job's rules say. `before` is what they took the place
    # of; null where there was none.
    CORRECTED: pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("before", pa.string()),
            pa.field("at", _UTC, nullable=False),
        ]
    ),
    # An input that could not be encoded; without a content hash where it could not even be read.
    QUARANTINE: pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("collection", pa.string(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("content_hash", pa.string()),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("at", _UTC, nullable=False),
        ]
    ),
    # What was learnt of a picture's content while it was open; width and height are of the upright picture.
    THUMBNAILS: pa.schema(
        [
            pa.field("content_hash", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("jpeg", pa.binary(), nullable=False),
        ]
    ),
    # What people said of images: it wins over the job's metadata. `value` is a text, whatever the column's type.
    LABELS: pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("column", pa.string(), nullable=False),
            pa.field("type", pa.string(), nullable=False),
            pa.field("value", pa.string(), nullable=False),
            pa.field("at", _UTC, nullable=False),
        ]
    ),
    # By what searched vectors are centred: of each block, `image` or `prefix`, the mean of so many distinct ones.
    MEANS: pa.schema(
        [
            pa.field("block", pa.string(), nullable=False),
            pa.field("version", pa.string(), nullable=False),
            pa.field("rows", pa.int64(), nullable=False),
            pa.field("mean", pa.list_(pa.float32()), nullable=False),
            pa.field("fitted_at", _UTC, nullable=False),
        ]
    ),
    # The arrays of the map that predicts them, by their names.
    ALIGNMENT: pa.schema(
        [
            pa.field("name", pa.string(), nullable=False),
            pa.field("shape", pa.list_(pa.int64()), nullable=False),
            pa.field("values", pa.list_(pa.float32()), nullable=False),
        ]
    ),
    # Prefix blocks for pictures without a prefix, one each: raw, in the text encoder's space, of length at most 1.
    PREDICTED: pa.schema(
        [
            pa.field("content_hash", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32()), nullable=False),
        ]
    ),
    # What a job has predicted of images that nobody gave a label: `prediction` is null where that is not said. It holds
    # as long as the image has this content and prefix, and its neighbours, nearest first, vote as they did; a saved
    # head has none.
    PREDICTIONS: pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("label", pa.string(), nullable=False),
            pa.field("prediction", pa.string()),
            pa.field("confidence", pa.float64()),
            pa.field("novelty", pa.float64()),
            pa.field("neighbours", pa.list_(_NEIGHBOUR)),
            pa.field("head", pa.string(), nullable=False),
            pa.field("predicted_at", _UTC, nullable=False),
            pa.field("snapshot", pa.int64(), nullable=False),
            pa.field("content_hash", pa.string()),
            pa.field("prefix_id", pa.string()),
        ]
    ),
    # What votes for a label were calibrated to, by what queries have: whether they have an image block and a prefix
    # block, and the weight of the former. `voters` is how many images voted that have these blocks, too. Where these
    # were too few nothing was fitted, and all else is null; `prior` are the shares of `classes`.
    CALIBRATIONS: pa.schema(
        [
            pa.field("label", pa.string(), nullable=False),
            pa.field("image", pa.bool_(), nullable=False),
            pa.field("prefix", pa.bool_(), nullable=False),
            pa.field("weight", pa.float64(), nullable=False),
            pa.field("voters", pa.int64(), nullable=False),
            pa.field("snapshot", pa.int64(), nullable=False),
            pa.field("temperature", pa.float64()),
            pa.field("prior_score", pa.float64()),
            pa.field("sharpness", pa.float64()),
            pa.field("rows", pa.int64()),
            pa.field("log_loss", pa.float64()),
            pa.field("distances", pa.list_(pa.float64())),
            pa.field("classes", pa.list_(pa.string())),
            pa.field("prior", pa.list_(pa.float64())),
        ]
    ),
}


def write_table(root: Path, name: str, rows: pa.Table | Iterable[pa.Table]) -> Table:
    """Write rows of a table as one more file of it; of several tables of rows only one is held at a time."""
    count = 0

    def parts() -> Iterator[pa.Table]:
        nonlocal count
        for part in [rows] if isinstance(rows, pa.Table) else rows:
            count += len(part)
            yield part.select(SCHEMAS[name].names).cast(SCHEMAS[name])

    path, digest = write_named_by_content(root, ("tables", name), ".parquet", lambda out: _write(name, parts(), out))
    return Table(name, ref(root, path, digest), count)


def _write(name: str, parts: Iterable[pa.Table], path: Path) -> None:
    if name == THUMBNAILS:
        write_thumbnails(parts, path)
    else:
        write_parquet(parts, path, schema=SCHEMAS[name], compression="zstd")


def write_thumbnails(parts: Iterable[pa.Table], path: Path) -> None:
    """Write thumbnails so that a few of them can be read without the others."""
    write_parquet(
        parts,
        path,
        schema=SCHEMAS[THUMBNAILS],
        compression={"content_hash": "zstd", "jpeg": "none"},
        row_group_size=_THUMBNAIL_GROUP,
    )


def _read(root: Path, table: Table, columns: list[str] | None) -> pa.Table:
    if table.name == THUMBNAILS and columns is not None:
        # Of files of many MB a little is read: there the checksums of Parquet's own pages must do.
        return read_part(root, table.file.path, columns)
    return read_named(root, table.file, columns=columns)


def read_tables(root: Path, name: str, files: Iterable[Table], columns: list[str] | None = None) -> pa.Table:
    """Read the given files of a table, or some of their columns."""
    schema = SCHEMAS[name] if columns is None else pa.schema([SCHEMAS[name].field(column) for column in columns])
    parts = [conform(_read(root, one, columns), schema) for one in files]
    return pa.concat_tables([schema.empty_table(), *parts])
