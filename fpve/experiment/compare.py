"""Which way to encode pictures serves a classifier best: one table, of features that are computed once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fpve.config import AUTO, EncoderConfig, Encoders, Job, load_job, resolve_paths
from fpve.encoders import TextEncoder, open_image_encoder, open_text_encoder
from fpve.errors import JobError, QueryError
from fpve.evaluate import Comparison, Labelled, Outcome, behind, evaluate_blocks
from fpve.experiment.features import OWN, Encoded, Model, encode
from fpve.experiment.pictures import Pictures, read_pictures
from fpve.experiment.ways import COPIES, Pooling, Subject, Wanted, Way, ways
from fpve.fusion import DEFAULT_IMAGE_WEIGHT, Blocks, Floats
from fpve.groups import grouped
from fpve.prefixes import prefix_ids
from fpve.progress import Progress, SilentProgress
from fpve.records import Records
from fpve.selection import codes_of

IMAGE_ONLY, BALANCED = "image only", "balanced"
# What the prefix of a picture that is predicted is good for: whether it pools, and whether it is fused.
_QUERY_PREFIX = {
    (False, False): "unused",
    (False, True): "fused",
    (True, False): "pools",
    (True, True): "pools, fused",
}
_FIGURES = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "behind",
    "behind_low",
    "behind_high",
    "naive_accuracy",
    "balanced_accuracy",
    "macro_f1",
    "image_weight",
    "ms_per_image",
)
SCHEMA = pa.schema(
    [
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("image_encoder", "pooling", "comparison", "query_prefix")
        ),
        *(pa.field(name, pa.float64(), nullable=False) for name in _FIGURES),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("bytes_per_row", "rows")),
    ]
)


class Compared(Records):
    """One row for each way to encode and to compare pictures, the most accurate one first.

    Columns:
        image_encoder, pooling: how pictures are encoded; `own` is that of an encoder without a feature map.
        comparison: `image only`, or `balanced` with the prefixes.
        query_prefix: what the prefix of the picture that is predicted is good for: `unused`, as with a new picture that
            comes without one; `fused`; `pools` its feature map; or `pools, fused`.
        accuracy, accuracy_low, accuracy_high: of grouped leave-one-out k-NN, and its 95 % interval.
        behind, behind_low, behind_high: by how much this is below the best row's among those whose queries know as
            much, their prefix or not; and the 95 % interval of this difference. That is narrower than the accuracies'
            own, for all rows are right and wrong on the same pictures.
        naive_accuracy: where copies and pictures with the same prefix vote.
        balanced_accuracy, macro_f1: grouped, as accuracy is.
        image_weight: the weight A of all queries.
        ms_per_image: of the vision model alone, with all cores of this machine, or its GPU, at work on it.
        bytes_per_row: of a vector in a store.
        rows: how many pictures were predicted.

    Attributes:
        notes: what a reader of the table should know.
    """

    def __init__(self, table: pa.Table, notes: Sequence[str] = ()) -> None:
        super().__init__(table)
        self.notes = tuple(notes)


def compare(
    job: Job | str | os.PathLike[str],
    *,
    label: str,
    image_encoders: Sequence[str | EncoderConfig] = (),
    poolings: Sequence[Pooling] = (),
    sample: int | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Compare image encoders and poolings by what k-NN makes of a job's labelled pictures, alone and with prefixes.

    Sources and prefixes are read as a run would read them; no store is touched. Each picture is decoded once, and goes
    once through each vision model. The evaluation is that of a store with these vectors, not centred; but copies are
    told by the first encoder's features, pooled by GeM where it has maps, so that all is compared on the same votes.

    Text-guided pooling (`text`) pools a feature map by likeness to the picture's prefix. It is GeM with other weights,
    or the mean where `mean` is asked for and `gem` is not. A picture without a prefix is pooled plainly. It gets two
    rows: one whose queries are pooled by their prefix, and one whose are not, as new pictures come without; those that
    vote are pooled by theirs in both.

    Args:
        job: a job, or its file.
        label: the metadata column of classes; pictures without a value take no part.
        image_encoders: names, as a job has them, or configurations; by default the job's own.
        poolings: in which ways feature maps are pooled; by default all. An encoder without a feature map, such as a
            ViT, pools in its own way, whatever is asked for.
        sample: take so many pictures at most, drawn with a fixed seed.
        progress: is told of the stages.

    Raises:
        FpveError: what a run of the job would raise before its first picture.
        PrefixError: prefixes wait for a language model.
        QueryError: no such label column, fewer than two classes, an unknown pooling, or `text` without any prefix.
        AlignmentError: `text` was asked for, and there are too few prefixes to learn from.
    """
    wanted = Wanted.of(poolings)
    if sample is not None and sample < 2:
        raise QueryError(f"sample: expected at least 2 pictures, found {sample}")
    folder = Path.cwd() if isinstance(job, Job) else Path(job).resolve().parent
    job = job if isinstance(job, Job) else load_job(Path(job))
    encoders = [open_image_encoder(one) for one in _configs(job, image_encoders, folder)]
    text = None if job.encoders.text.is_none else open_text_encoder(job.encoders.text)
    progress = progress or SilentProgress()
    pictures = read_pictures(job, label=label, sample=sample, progress=progress)
    prefix = _embedded(pictures, text)
    notes: list[str] = []
    if wanted.text and not prefix.any():
        if wanted.strict:
            raise QueryError(
                f"pooling 'text': none of the {len(pictures):,} labelled images has a prefix; give the collections one "
                'such as "{caption}", or leave it out'
            )
        wanted = replace(wanted, text=False)
    with ExitStack() as stack:
        models = []
        for encoder in encoders:
            models.append(Model(encoder, wanted.computed, keep_maps=wanted.text, count=len(pictures)))
            stack.callback(models[-1].close)
        encoded = encode(pictures, models, progress)
        good = encoded.good
        images, subject = _subject(pictures, encoded, prefix[good], label)
        notes += images.warnings + _left_out(pictures, encoded)
        pooled = encoded.features[0].pooled
        copies = pooled[COPIES if COPIES in pooled else OWN][good]
        bench = _Bench(images, subject.prefix, _weight(job), copies)
        for features in encoded.features:
            for way in ways(features, subject, wanted, notes=notes, progress=progress):
                bench.add(way)
    return Compared(bench.table(), list(dict.fromkeys(notes)))


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table."""

    way: Way
    comparison: str
    query_prefix: str
    bytes_per_row: int
    outcome: Outcome


class _Bench:
    """Where all ways are evaluated on the same pictures.

    Args:
        images: the n pictures.
        prefix: (n, prefix_dim) embeddings of their prefixes.
        weight: of the image block beside the prefix.
        copies: (n, d) features by which copies are told.
    """

    def __init__(self, images: Labelled, prefix: Floats, weight: float, copies: Floats) -> None:
        self._images = images
        self._prefix = prefix
        self._copies = copies
        self._comparisons = {IMAGE_ONLY: Comparison("balanced", 1.0, centred=False)}
        if prefix.any():
            self._comparisons[BALANCED] = Comparison("balanced", weight, centred=False)
        self._rows: list[_Row] = []

    def add(self, way: Way) -> None:
        """Evaluate a way to encode pictures, alone and with prefixes."""
        found = evaluate_blocks(
            self._images,
            Blocks(way.image, self._prefix),
            self._comparisons,
            asked=None if way.asked is None else Blocks(way.asked, self._prefix),
            pictures=self._copies,
        )
        for name, outcome in found.items():
            fused = name == BALANCED
            dim = way.image.shape[1] + (self._prefix.shape[1] if fused else 0)
            self._rows.append(_Row(way, name, _QUERY_PREFIX[way.pools, fused], 4 * dim, outcome))

    def table(self) -> pa.Table:
        """All rows, best first; of equal ones the cheaper."""
        right = np.stack([one.outcome.predicted for one in self._rows]) == self._images.codes
        clusters = self._images.groups.clusters()
        knows = np.array([one.query_prefix != "unused" for one in self._rows])
        found = [self._values(one) for one in self._rows]
        for group in (np.flatnonzero(knows), np.flatnonzero(~knows)):
            if not len(group):
                continue
            mine = right[group]
            for number, gap in zip(group, behind(mine, int(mine.sum(axis=1).argmax()), clusters), strict=True):
                low, high = gap.interval
                found[number] |= {"behind": gap.value, "behind_low": low, "behind_high": high}
        found.sort(key=lambda row: (-row["accuracy"], row["bytes_per_row"], row["ms_per_image"]))
        return pa.Table.from_pylist(found, SCHEMA)

    def _values(self, row: _Row) -> dict[str, Any]:
        figures = {name: getattr(row.outcome.evaluation, name, None) for name in (*_FIGURES, "rows")}
        return {
            **figures,
            "image_encoder": row.way.encoder,
            "pooling": row.way.pooling,
            "comparison": row.comparison,
            "query_prefix": row.query_prefix,
            "ms_per_image": row.way.ms_per_image,
            "bytes_per_row": row.bytes_per_row,
        }


def _configs(job: Job, named: Sequence[str | EncoderConfig], folder: Path) -> list[EncoderConfig]:
    """The image encoders, each once; the job's own name stands for the job's configuration of it."""
    own = job.encoders.image
    if not named and own.is_none:
        raise JobError("encoders.image: expected an image encoder to compare, found 'none'; name one")
    found = []
    for one in named or (own,):
        if isinstance(one, EncoderConfig):
            found.append(one)
            continue
        config = own if one == own.name else EncoderConfig(one, device=own.device)
        found.append(resolve_paths(replace(job, encoders=Encoders(image=config)), folder).encoders.image)
    return list(dict.fromkeys(found))


def _embedded(pictures: Pictures, text: TextEncoder | None) -> Floats:
    """Embeddings (n, prefix_dim) of prefixes; each text is encoded once. A picture without one has a zero row."""
    encoded = pictures.table["prefix"].combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    if text is None or not texts:
        return np.zeros((len(pictures), 0), np.float32)
    rows = text.encode(texts)
    # One more, for pictures without a prefix.
    rows = np.concatenate([rows, np.zeros((1, rows.shape[1]), np.float32)])
    found: Floats = rows[encoded.indices.fill_null(len(texts)).to_numpy()]
    return found


def _subject(pictures: Pictures, encoded: Encoded, prefix: Floats, label: str) -> tuple[Labelled, Subject]:
    """The pictures that all encoders made something of, as an evaluation and as poolings take them.

    Raises:
        QueryError: there are not two of different classes.
    """
    chosen = np.flatnonzero(encoded.good)
    table = pictures.table.take(pa.array(chosen))
    content = pa.array(encoded.content_hash, pa.string()).take(pa.array(chosen))
    of_prefix = prefix_ids(table["prefix"].combine_chunks())
    columns = {"collection": table["collection"], "content_hash": content, "prefix_id": of_prefix}
    codes = pictures.labels.codes[chosen]
    groups, warnings = grouped(pa.table(columns), pictures.rules, label, codes, np.arange(len(chosen)))
    images = Labelled(label, pictures.labels.names, codes, of_prefix.is_valid().to_numpy(False), groups, warnings)
    # Whatever a prefix says of classes, those who share it have taught an alignment the same.
    return images, Subject(encoded.good, prefix, (codes_of(content), codes_of(of_prefix)))


def _left_out(pictures: Pictures, encoded: Encoded) -> tuple[str, ...]:
    """How many pictures are left out, and why the first of them."""
    if not encoded.reasons:
        return ()
    first = min(encoded.reasons)
    image_id = pictures.table["image_id"][first].as_py()
    return (
        f"{len(encoded.reasons):,} of {len(pictures):,} pictures are left out, the first is {image_id!r}: "
        f"{encoded.reasons[first]}",
    )


def _weight(job: Job) -> float:
    """The weight of the image block beside the prefix; a job that leaves it to a label column has no number yet."""
    weight = job.fusion.image_weight
    return DEFAULT_IMAGE_WEIGHT if weight == AUTO else float(weight)
