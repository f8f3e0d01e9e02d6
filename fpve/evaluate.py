"""Honest evaluation of k-NN: every labelled image is predicted from the others that are not of its own group."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.classify import DEFAULT_K, DEFAULT_TEMPERATURE, Labels, check_votes, read_labels, vote
from fpve.errors import QueryError
from fpve.fusion import Mode
from fpve.prefixes import Template
from fpve.records import ClassScore, Evaluation
from fpve.search import Mask, Neighbours, Rows, Searcher

# Cosine of the image blocks from which two pictures count as copies of one another: re-encodings, resizings.
NEAR_DUPLICATE = 0.97


class Groups(NamedTuple):
    """What ties images together, so that one must not vote for the other.

    Attributes:
        content: (rows,) number of the content; equal for equal files.
        prefix: (rows,) number of the prefix text; -1 where there is none, or where it is shared by so many that it
            identifies nothing.
    """

    content: Rows
    prefix: Rows


def evaluate(
    searcher: Searcher,
    *,
    label: str,
    image_weight: float | None = None,
    mode: Mode | None = None,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    where: str | None = None,
) -> Evaluation:
    """Leave-one-out k-NN accuracy on a label column, grouped and naive.

    `mode` evaluates another fusion than the store's: its rows are rescaled, no encoder runs.

    Raises:
        QueryError: no such label column, fewer than two labelled rows or classes, or a wrong k, temperature or weight.
    """
    check_votes(k, temperature)
    searcher = searcher.rescaled(mode or searcher.fusion.mode)
    labels = read_labels(searcher, label)
    allowed = labels.labelled if where is None else labels.labelled & searcher.matching(where)
    rows = np.flatnonzero(allowed)
    if len(rows) < 2 or len(np.unique(labels.codes[rows])) < 2:
        raise QueryError(
            f"evaluating {label!r} needs two labelled images of different classes, found {len(rows)} images"
        )
    weight = _common_weight(searcher, rows, image_weight)
    groups, warnings = _groups(searcher, label, labels.codes, rows)
    naive, grouped = _neighbours(searcher, rows, allowed, weight, k, groups)
    predicted = _predict(grouped, labels, len(rows), temperature)
    guessed = _predict(naive, labels, len(rows), temperature)
    truth = labels.codes[rows]
    figures = _figures(labels.names, truth, predicted)
    return Evaluation(
        label=label,
        accuracy=figures.accuracy,
        balanced_accuracy=figures.balanced_accuracy,
        macro_f1=figures.macro_f1,
        naive_accuracy=float(np.mean(guessed == truth)),
        rows=len(rows),
        rows_without_neighbours=int(np.sum(predicted < 0)),
        k=k,
        temperature=temperature,
        image_weight=weight,
        mode=searcher.fusion.mode,
        classes=figures.classes,
        confusion=figures.confusion,
        warnings=warnings,
    )


def _common_weight(searcher: Searcher, rows: Rows, image_weight: float | None) -> float:
    """One weight for all rows: the given one, else the store's; 1 where no row has a prefix.

    Raises:
        QueryError: it is not in [0, 1], or leaves nothing to compare.
    """
    has_prefix = bool(searcher.snapshot.images["prefix_id"].take(pa.array(rows)).null_count < len(rows))
    if image_weight is None:
        return searcher.snapshot.manifest.fusion.image_weight if has_prefix else 1.0
    if image_weight == 0 and not has_prefix:
        raise QueryError("image weight 0 compares texts alone, but none of these images has a prefix")
    return float(searcher.weights(searcher.blocks_of(rows[:1]), image_weight)[0])


def _groups(searcher: Searcher, label: str, codes: Rows, rows: Rows) -> tuple[Groups, tuple[str, ...]]:
    """The groups of all images, and what their prefixes mean for the figures of the evaluated rows."""
    images = searcher.snapshot.images
    content = _codes(images["content_hash"])
    # A row without content is a group of its own.
    content = np.where(content < 0, -2 - np.arange(len(content)), content)
    prefix = _codes(images["prefix_id"])
    own, classes = prefix[rows], codes[rows]
    own_prefixes = np.unique(own[own >= 0])
    alone = np.full(len(prefix), -1)
    if len(own_prefixes) == 1 and np.all(own >= 0):
        return Groups(content, alone), ("all evaluated images have the same prefix: it ranks nothing",)
    leaks = _templates_with(searcher, label, images["collection"].take(pa.array(rows)).unique().to_pylist())
    # Each class has one prefix, shared by its images: leaving them out would leave no voter of the right class.
    pairs = np.unique(np.stack([classes, own]), axis=1)
    one_each = pairs.shape[1] == len(np.unique(classes)) and len(own_prefixes) > 1 and len(own_prefixes) < len(rows)
    if leaks or one_each:
        reason = f"collection {leaks[0]!r} fills it into its prefix" if leaks else "each class has a prefix of its own"
        warning = f"figures that use the prefix leak the label {label!r} ({reason}); evaluate with image weight 1"
        return Groups(content, alone if one_each else prefix), (warning,)
    return Groups(content, prefix), ()


def _templates_with(searcher: Searcher, label: str, collections: list[str]) -> list[str]:
    """The collections, of those named, whose prefix template has the label column as a field."""
    fields = {"label", "folder"} if label == "label" else {label}
    return [
        one.name
        for one in searcher.snapshot.manifest.collections
        if one.name in collections and one.prefix and fields & set(Template.parse(one.prefix).fields)
    ]


def _neighbours(
    searcher: Searcher, rows: Rows, allowed: Mask, weight: float, k: int, groups: Groups
) -> tuple[Neighbours, Neighbours]:
    """The k neighbours of each evaluated row: all of them, and those outside its group. `query` counts in `rows`."""
    naive: Neighbours | None = None
    finished: list[Neighbours] = []
    waiting, fetch = np.arange(len(rows)), 2 * k
    while len(waiting):
        mine = rows[waiting]
        blocks = searcher.blocks_of(mine)
        found = searcher.nearest(blocks, image_weight=weight, k=fetch, allowed=allowed, exclude=mine)
        naive = naive or found.first(k)
        other = ~_same_group(found, mine, groups) & ~(found.image_score >= NEAR_DUPLICATE)
        left = found.where(other).first(k)
        exhausted = np.bincount(found.query, minlength=len(waiting)) < fetch
        complete = exhausted | (np.bincount(left.query, minlength=len(waiting)) >= k)
        kept = left.where(complete[left.query])
        finished.append(kept._replace(query=waiting[kept.query]))
        waiting, fetch = waiting[~complete], fetch * 4
    if naive is None:
        raise ValueError("expected at least one row")
    return naive, Neighbours._make(np.concatenate(columns) for columns in zip(*finished, strict=True))


def _same_group(found: Neighbours, rows: Rows, groups: Groups) -> Mask:
    mine = rows[found.query]
    same_content = groups.content[mine] == groups.content[found.row]
    same_prefix = (groups.prefix[mine] == groups.prefix[found.row]) & (groups.prefix[mine] >= 0)
    same: Mask = same_content | same_prefix
    return same


def _codes(column: pa.ChunkedArray) -> Rows:
    """Numbers (n,) that are equal where the values are; -1 for null."""
    encoded = pc.dictionary_encode(column).combine_chunks()
    indices = encoded.indices if isinstance(encoded, pa.DictionaryArray) else encoded.chunk(0).indices
    codes: Rows = pc.fill_null(indices, -1).to_numpy().astype(np.int64)
    return codes


def _predict(neighbours: Neighbours, labels: Labels, rows: int, temperature: float) -> Rows:
    """Class numbers (rows,) by the neighbours' votes; -1 where a row has no neighbour."""
    shares = vote(neighbours, labels.codes, rows, len(labels.names), temperature)
    return np.where(shares.sum(axis=1) > 0, shares.argmax(axis=1), -1)


class _Figures(NamedTuple):
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]


def _figures(names: tuple[str, ...], truth: Rows, predicted: Rows) -> _Figures:
    present = np.unique(np.r_[truth, predicted[predicted >= 0]])
    at = np.searchsorted(present, truth)
    answered = predicted >= 0
    # A prediction of -1 counts against its class's recall, and is in no column.
    confusion = np.zeros((len(present), len(present)), np.int64)
    np.add.at(confusion, (at[answered], np.searchsorted(present, predicted[answered])), 1)
    rows = np.bincount(at, minlength=len(present))
    right = np.diag(confusion)
    recall = np.divide(right, rows, out=np.zeros(len(present)), where=rows > 0)
    columns = confusion.sum(axis=0)
    precision = np.divide(right, columns, out=np.zeros(len(present)), where=columns > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros(len(present)), where=both > 0)
    true_classes = rows > 0
    return _Figures(
        accuracy=float(right.sum() / rows.sum()),
        balanced_accuracy=float(recall[true_classes].mean()),
        macro_f1=float(f1[true_classes].mean()),
        classes=tuple(
            ClassScore(names[code], float(precision[row]), float(recall[row]), float(f1[row]), int(rows[row]))
            for row, code in enumerate(present)
        ),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )
