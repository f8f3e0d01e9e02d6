"""Which way to encode pictures serves a classifier best: one table, of features that are computed once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from fpve.config import AUTO, HEADS, EncoderConfig, HeadName, Job, load_job
from fpve.encoders import open_image_encoder
from fpve.errors import QueryError, nearest
from fpve.evaluate import DEFAULT_FOLDS
from fpve.experiment.bench import FUSIONS, Bench, FusionName, Plan
from fpve.experiment.features import OWN, Encoded, Model, encode
from fpve.experiment.named import named_encoders
from fpve.experiment.pictures import Pictures, read_pictures
from fpve.experiment.texts import Given, Texts, embed, labelled, read_texts
from fpve.experiment.ways import COPIES, Pooling, Subject, Wanted, ways
from fpve.fusion import DEFAULT_IMAGE_WEIGHT, Floats
from fpve.progress import Progress, SilentProgress
from fpve.records import Records

# What a store searches by, and what a picture that comes without a text has.
DEFAULT_FUSIONS: tuple[FusionName, ...] = ("image only", "balanced")


class Compared(Records):
    """One row for each way to encode and to compare pictures, the most accurate one first.

    Columns:
        image_encoder, pooling: how pictures are encoded; `own` is that of an encoder without a feature map. Null of
            `prefix only`.
        text_encoder, prefix: how prefixes are made and encoded; null of `image only`.
        fusion: `image only`, `prefix only`, `balanced`, or `concat`, the bare formula.
        head: what classifies: `knn`, `logistic` or `mlp`.
        query_prefix: what the prefix of the picture that is predicted is good for: `unused`, as with a new picture that
            comes without one; `fused`; `pools` its feature map; or `pools, fused`.
        accuracy, accuracy_low, accuracy_high: grouped, leave-one-out or in folds, and its 95 % interval.
        behind, behind_low, behind_high: by how much this is below the best row's among those whose queries know as
            much, their prefix or not; and the 95 % interval of this difference. That is narrower than the accuracies'
            own, for all rows are right and wrong on the same pictures.
        accuracy_without_prefix: of the same, when the predicted pictures come without their prefix.
        naive_accuracy: where copies and pictures with the same prefix vote; null of heads.
        balanced_accuracy, macro_f1, calibration_error: grouped, as accuracy is.
        image_weight: the weight A of all queries.
        ms_per_image: of the vision model alone, with all cores of this machine, or its GPU, at work on it; 0 if there
            is none.
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
    text_encoders: Sequence[str | EncoderConfig] = (),
    prefixes: Sequence[str] = (),
    fusions: Sequence[FusionName] = (),
    heads: Sequence[HeadName] = (),
    folds: int | None = None,
    sample: int | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Compare image encoders, prefixes, fusions and heads by what they make of a job's labelled pictures.

    Sources and prefixes are read as a run would read them; no store is touched. Each picture is decoded once, and goes
    once through each vision model. The evaluation is that of a store with these vectors, not centred; but copies are
    told by the first encoder's features, pooled by GeM where it has maps, so that all is compared on the same votes.

    Each picture's features, and each text's embedding, are computed once, and serve all that is compared.

    Text-guided pooling (`text`) pools a feature map by likeness to the picture's prefix, of several prefixes the first.
    It is GeM with other weights, or the mean where `mean` is asked for and `gem` is not. A picture without a prefix is
    pooled plainly. It gets two rows: one whose queries are pooled by their prefix, and one whose are not, as new
    pictures come without; those that vote are pooled by theirs in both.

    Args:
        job: a job, or its file.
        label: the metadata column of classes; pictures without a value take no part.
        image_encoders: names, as a job has them, or configurations; by default the job's own.
        poolings: in which ways feature maps are pooled; by default all. An encoder without a feature map, such as a
            ViT, pools in its own way, whatever is asked for.
        text_encoders: names or configurations; by default the job's own.
        prefixes: templates, each in the place of all collections' own rules; by default these.
        fusions: `image only`, `prefix only`, `balanced`, `concat`; by default the first and the third.
        heads: `knn`, `logistic`, `mlp`; by default the first.
        folds: into how many parts pictures are divided, each of which is predicted by the others; by default each
            picture is predicted by all others, or with heads there are 5 parts, for all alike.
        sample: take so many pictures at most, drawn with a fixed seed.
        progress: is told of the stages.

    Raises:
        FpveError: what a run of the job would raise before its first picture.
        PrefixError: prefixes wait for a language model.
        QueryError: no such label column, fewer than two classes, an unknown pooling, fusion or head, or `text` without
            any prefix.
        AlignmentError: `text` was asked for, and there are too few prefixes to learn from.
    """
    wanted = Wanted.of(poolings)
    if sample is not None and sample < 2:
        raise QueryError(f"sample: expected at least 2 pictures, found {sample}")
    folder = Path.cwd() if isinstance(job, Job) else Path(job).resolve().parent
    job = job if isinstance(job, Job) else load_job(Path(job))
    plan = _plan(job, fusions, heads, folds)
    encoders = [open_image_encoder(one) for one in named_encoders(job, "image", image_encoders, folder)]
    progress = progress or SilentProgress()
    pictures = read_pictures(job, label=label, sample=sample, progress=progress)
    given = read_texts(job, pictures, prefixes, label=label, sample=sample)
    embedded = embed(given, named_encoders(job, "text", text_encoders, folder))
    notes: list[str] = []
    if wanted.text and not embedded:
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
        texts = _texts(given, embedded, encoded, label)
        first = texts[0].images
        for one in texts:
            # Which prefix gives the label away must be said of each, for it will win.
            of = "" if len(given) == 1 else f"{one.prefix}: "
            notes += [of + said for said in one.images.warnings]
        notes += _left_out(pictures, encoded)
        # Whatever a prefix says of classes, those who share it have taught an alignment the same.
        codes = (first.groups.content, first.groups.prefix)
        subject = Subject(good, texts[0].embeddings, codes)
        pooled = encoded.features[0].pooled
        copies = pooled[COPIES if COPIES in pooled else OWN][good]
        found = [way for one in encoded.features for way in ways(one, subject, wanted, notes=notes, progress=progress)]
        with progress.stage("compare", None) as told:
            bench = Bench(plan, texts, copies, told)
            notes += bench.notes
            for way in found:
                bench.add(way)
            bench.add_prefixes()
    return Compared(bench.table(), list(dict.fromkeys(notes)))


def _plan(job: Job, fusions: Sequence[FusionName], heads: Sequence[HeadName], folds: int | None) -> Plan:
    """What is evaluated of each way.

    Raises:
        QueryError: an unknown fusion or head, or one that needs folds.
    """
    for name, given, known in (("fusion", fusions, FUSIONS), ("head", heads, HEADS)):
        for one in given:
            if one not in known:
                raise QueryError(f"{name}: expected {', '.join(known)}, found {one!r}{nearest(str(one), known)}")
    chosen = tuple(dict.fromkeys(heads)) or ("knn",)
    # All by the same protocol: a head that leaves one out would be learnt again for each picture.
    parts = DEFAULT_FOLDS if folds is None and chosen != ("knn",) else folds
    return Plan(tuple(dict.fromkeys(fusions)) or DEFAULT_FUSIONS, chosen, parts, _weight(job))


def _texts(
    given: Sequence[Given], embedded: dict[tuple[int, str], Floats], encoded: Encoded, label: str
) -> list[Texts]:
    """The prefixes of the pictures that all encoders made something of; at least one, maybe of none."""
    images = [labelled(one, encoded.good, encoded.content_hash, label) for one in given]
    found = [
        Texts(given[number].prefix, name, rows[encoded.good], images[number])
        for (number, name), rows in sorted(embedded.items(), key=lambda item: item[0][0])
    ]
    nothing = np.zeros((int(encoded.good.sum()), 0), np.float32)
    return found or [Texts(given[0].prefix, None, nothing, images[0])]


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
