"""Honest evaluation of k-NN: every labelled image is predicted from the others that are not of its own group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from fpve.classify import DEFAULT_K, DEFAULT_TEMPERATURE, check_votes
from fpve.errors import QueryError
from fpve.evaluate.bootstrap import intervals
from fpve.evaluate.labelled import Labelled
from fpve.evaluate.pairs import Ballot, Comparison, Pairs
from fpve.evaluate.trial import SAMPLE, Trial
from fpve.evaluate.weights import GRID, best_weight
from fpve.fusion import DEFAULT_IMAGE_WEIGHT, Blocks, Floats, Mode
from fpve.neighbours import Rows
from fpve.records import ClassScore, Evaluation
from fpve.search import Searcher

Query = Literal["with", "without"]


def evaluate(
    searcher: Searcher,
    *,
    label: str,
    image_weight: float | None = None,
    mode: Mode | None = None,
    centred: bool | None = None,
    query: Query = "with",
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    where: str | None = None,
) -> Evaluation:
    """Leave-one-out k-NN accuracy on a label column, grouped and naive.

    No encoder runs: another mode is a rescaling of the stored blocks, and so is centring.

    Args:
        searcher: over the images.
        label: the column of classes.
        image_weight: the weight A of all queries; by default the store's, or 1 where no image has a prefix.
        mode: another fusion mode than the store's.
        centred: whether blocks are centred; by default as the store does. A store with too few pictures to have means
            is not.
        query: `without` leaves the query's prefix out, as if a new picture came without one; the others keep theirs.
            A query without a prefix has weight 1, as it has in a search.
        k: how many neighbours vote.
        temperature: tau of their weights exp(score / tau).
        where: an SQL condition on all images that take part.

    Raises:
        QueryError: no such label column, fewer than two labelled rows or classes, or a wrong k, temperature or weight.
    """
    searcher = searcher.variant(mode=mode, centred=centred, predicted=False)
    trial = Trial(searcher, label=label, k=k, temperature=temperature, where=where)
    if query == "without":
        if image_weight not in (None, 1):
            raise QueryError(f"image weight: a query without its prefix has 1, found {image_weight}; leave it out")
        image_weight = 1.0
    weight = trial.weight(image_weight)
    centred = searcher.fusion.centre is not None
    comparisons = {"": Comparison(searcher.fusion.mode, weight, centred)}
    if weight < 1:
        comparisons["without"] = Comparison(searcher.fusion.mode, 1.0, centred)
    found = _evaluations(trial, comparisons, k, temperature)
    return found[""]


def ablation(
    searcher: Searcher,
    *,
    label: str,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    where: str | None = None,
    sample: int | None = SAMPLE,
) -> dict[str, Evaluation]:
    """Evaluate what the blocks and their fusion are worth, of all on the same rows.

    `image only` is what a query without a prefix gets in `balanced` at any weight: `concat` has a row of its own for
    that. `balanced auto` has the weight that `fit_weight` finds on these very rows; its warning tells what accuracy is
    on others. What needs a prefix is left out where no image has one, and `centred` where there is too little to
    centre by. `concat` is the bare formula, and never centred.

    Args:
        searcher: over the images.
        label: the column of classes.
        k: how many neighbours vote.
        temperature: tau of their weights exp(score / tau).
        where: an SQL condition on all images that take part.
        sample: evaluate so many images at most, drawn with a fixed seed; all vote. None evaluates all.

    Raises:
        QueryError: as `evaluate`.
    """
    searcher = searcher.variant(mode="balanced", predicted=False)
    trial = Trial(searcher, label=label, k=k, temperature=temperature, where=where, sample=sample)
    half = DEFAULT_IMAGE_WEIGHT
    # A block of which there are too few has no mean, though the other may have one.
    image, prefix = trial.centre.means if trial.centre is not None else (None, None)
    ways, image_ways, prefix_ways = (
        {"": False} | ({", centred": True} if has_mean else {})
        for has_mean in (trial.centre is not None, image is not None, prefix is not None)
    )
    named: dict[str, Comparison] = {
        f"image only{suffix}": Comparison("balanced", 1.0, centred) for suffix, centred in image_ways.items()
    }
    notes: dict[str, str] = {}
    if trial.prefixed.any():
        named |= {
            f"prefix only{suffix}": Comparison("balanced", 0.0, centred) for suffix, centred in prefix_ways.items()
        }
        named["concat"] = Comparison("concat", half, centred=False)
        named["concat, query without prefix"] = Comparison("concat", 1.0, centred=False)
        named |= {f"balanced{suffix}": Comparison("balanced", half, centred) for suffix, centred in ways.items()}
        curves = [Comparison("balanced", weight, centred) for centred in ways.values() for weight in GRID]
        right = (trial.predict(curves, naive=False).grouped == trial.truth)[:, trial.prefixed]
        for number, (suffix, centred) in enumerate(ways.items()):
            curve = right[number * len(GRID) : (number + 1) * len(GRID)]
            best = best_weight(curve, trial.clusters[trial.prefixed])
            name = f"balanced auto{suffix}"
            named[name] = Comparison("balanced", best.weight, centred)
            notes[name] = (
                f"{name}: image weight {best.weight:.2f} was chosen on these rows ({best.low:.2f} to {best.high:.2f} "
                f"in 95 % of resamples); on rows that it was not chosen on, accuracy is {best.out_of_bag:.4f}"
            )
    return _evaluations(trial, named, k, temperature, notes)


class Outcome(NamedTuple):
    """What a comparison comes to.

    Attributes:
        evaluation: its figures.
        predicted: (n,) the class number of each image; -1 for one without a neighbour that may vote.
    """

    evaluation: Evaluation
    predicted: Rows


def evaluate_blocks(
    images: Labelled,
    blocks: Blocks,
    comparisons: Mapping[str, Comparison],
    *,
    asked: Blocks | None = None,
    pictures: Floats | None = None,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
) -> dict[str, Outcome]:
    """Evaluate blocks that are in memory, as `evaluate` does those of a store; all images are predicted.

    Args:
        images: the n images.
        blocks: their raw blocks; nothing is centred.
        comparisons: by what they are to be called.
        asked: raw blocks of the images when they are predicted, where these are others than those by which they vote.
        pictures: (n, d) features by which near-duplicates are told; by default the image blocks.
        k: how many neighbours vote.
        temperature: tau of their weights exp(score / tau).

    Raises:
        QueryError: a wrong k or temperature.
    """
    check_votes(k, temperature)
    queries = np.arange(len(images.codes))
    pairs = Pairs(blocks, queries, images.groups, asked=asked, pictures=pictures)
    ballot = pairs.predict(list(comparisons.values()), images.codes, k=k, temperature=temperature)
    found = _evaluated(images, queries, comparisons, ballot, k, temperature)
    return {name: Outcome(one, ballot.grouped[at]) for at, (name, one) in enumerate(found.items())}


def _evaluations(
    trial: Trial,
    comparisons: Mapping[str, Comparison],
    k: int,
    temperature: float,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Evaluation]:
    ballot = trial.predict(list(comparisons.values()))
    return _evaluated(trial.images, trial.queries, comparisons, ballot, k, temperature, notes)


def _evaluated(
    images: Labelled,
    queries: Rows,
    comparisons: Mapping[str, Comparison],
    ballot: Ballot,
    k: int,
    temperature: float,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Evaluation]:
    """Figures of what was predicted for some of the images."""
    if ballot.naive is None:
        raise ValueError("expected naive predictions")
    chosen = list(comparisons.values())
    truth, clusters = images.codes[queries], images.groups.at(queries).clusters()
    spreads = intervals(truth, ballot.grouped, clusters)
    accuracy = {one: float(np.mean(right == truth)) for one, right in zip(chosen, ballot.grouped, strict=True)}
    found = {}
    for number, (name, one) in enumerate(comparisons.items()):
        predicted, spread = ballot.grouped[number], spreads[number]
        figures = _figures(images.names, truth, predicted)
        alone = Comparison(one.mode, 1.0, one.centred)
        found[name] = Evaluation(
            label=images.label,
            accuracy=figures.accuracy,
            accuracy_low=spread.accuracy.low,
            accuracy_high=spread.accuracy.high,
            accuracy_without_prefix=accuracy.get(alone),
            balanced_accuracy=figures.balanced_accuracy,
            balanced_accuracy_low=spread.balanced_accuracy.low,
            balanced_accuracy_high=spread.balanced_accuracy.high,
            macro_f1=figures.macro_f1,
            naive_accuracy=float(np.mean(ballot.naive[number] == truth)),
            rows=len(predicted),
            voters=len(images.codes),
            clusters=int(clusters.max()) + 1,
            rows_without_neighbours=int(np.sum(predicted < 0)),
            k=k,
            temperature=temperature,
            image_weight=one.image_weight,
            mode=one.mode,
            centred=one.centred,
            classes=figures.classes,
            confusion=figures.confusion,
            warnings=(*images.warnings, *([notes[name]] if notes and name in notes else [])),
        )
    return found


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
