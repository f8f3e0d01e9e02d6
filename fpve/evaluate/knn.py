"""Honest evaluation of k-NN: labelled images are predicted from others that are not of their own group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from fpve.classify import DEFAULT_K, Labels, Voting, Weights
from fpve.classify.voting import DEFAULT_WEIGHTS
from fpve.errors import QueryError
from fpve.evaluate.evaluation import Found, Setting, evaluations
from fpve.evaluate.labelled import Labelled
from fpve.evaluate.mistakes import mistakes_of
from fpve.evaluate.pairs import Comparison, Pairs
from fpve.evaluate.sides import Sides
from fpve.evaluate.trial import SAMPLE, Judgement, Trial
from fpve.evaluate.verdicts import Judged, Subject, judge
from fpve.evaluate.weights import GRID, best_weight
from fpve.fusion import DEFAULT_IMAGE_WEIGHT, Blocks, Floats, Mode
from fpve.neighbours import Panel, Rows
from fpve.records import Evaluation
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
    weights: Weights = DEFAULT_WEIGHTS,
    temperature: float | None = None,
    where: str | None = None,
    split: str | None = None,
    folds: int | None = None,
    sample: int | None = SAMPLE,
) -> Evaluation:
    """Accuracy of k-NN on a label column, grouped and naive, and how far its confidence can be trusted.

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
        weights: what their votes weigh.
        temperature: tau of softmax weights exp(score / tau), without a prior; None fits both, as `classify` does, for
            each image to those of other clusters.
        where: an SQL condition on all images that take part.
        split: a column that says which images are predicted (`test`), and by which (`train`).
        folds: into how many parts images are divided, each of which is predicted by the others; neither: each image is
            predicted by all others.
        sample: evaluate so many images at most, drawn with a fixed seed; all vote. None evaluates all.

    Raises:
        QueryError: no such column, fewer than two labelled rows or classes, or a wrong option.
    """
    voting, calibrate = voting_of(k, weights, temperature)
    check_variant(query, mode)
    searcher = searcher.variant(mode=mode, centred=centred, predicted=False)
    trial = Trial(searcher, label=label, where=where, split=split, folds=folds, sample=sample)
    if query == "without":
        if image_weight not in (None, 1):
            raise QueryError(f"image weight: a query without its prefix has 1, found {image_weight}; leave it out")
        image_weight = 1.0
    weight = trial.weight(image_weight)
    centred = searcher.fusion.centre is not None
    # As a search that is given no weight: a query without a prefix has 1.
    comparisons = {"": Comparison(searcher.fusion.mode, weight, centred, 1.0 if image_weight is None else None)}
    if weight < 1:
        comparisons["without"] = Comparison(searcher.fusion.mode, 1.0, centred)
    judged = trial.judge(list(comparisons.values()), voting, calibrate=calibrate)
    found = evaluations(setting_of(trial), _found(comparisons, judged))[""]
    return mistakes_of(found, trial, judged[0].grouped.calibrated, judged[0].voters)


def check_variant(query: str, mode: str | None) -> None:
    """Refuse a kind of query, or a mode, that there is not.

    Raises:
        QueryError: naming it.
    """
    for name, value, known in (("query", query, ("with", "without")), ("mode", mode, (None, "balanced", "concat"))):
        if value not in known:
            raise QueryError(f"{name}: expected {' or '.join(map(str, filter(None, known)))}, found {value!r}")


def voting_of(k: int, weights: Weights, temperature: float | None) -> tuple[Voting, bool]:
    """How neighbours vote, and whether that is to be calibrated: where no temperature is given, and softmax has one.

    Raises:
        QueryError: an option is wrong.
    """
    if temperature is not None and weights != "softmax":
        raise QueryError(f"temperature: softmax weights have one, found {temperature} with {weights} weights")
    return Voting.given(k, weights, temperature), temperature is None


def ablation(
    searcher: Searcher,
    *,
    label: str,
    k: int = DEFAULT_K,
    weights: Weights = DEFAULT_WEIGHTS,
    temperature: float | None = None,
    where: str | None = None,
    split: str | None = None,
    folds: int | None = None,
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
        weights: what their votes weigh.
        temperature: tau of softmax weights; None fits it to each comparison.
        where: an SQL condition on all images that take part.
        split: a column that says which images are predicted, and by which.
        folds: into how many parts images are divided.
        sample: evaluate so many images at most, drawn with a fixed seed; all vote. None evaluates all.

    Raises:
        QueryError: as `evaluate`.
    """
    voting, calibrate = voting_of(k, weights, temperature)
    searcher = searcher.variant(mode="balanced", predicted=False)
    trial = Trial(searcher, label=label, where=where, split=split, folds=folds, sample=sample)
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
        named |= {f"balanced{suffix}": Comparison("balanced", half, centred, 1.0) for suffix, centred in ways.items()}
        curves = [Comparison("balanced", weight, centred) for centred in ways.values() for weight in GRID]
        guesses = trial.judge(curves, voting, naive=False, calibrate=False)
        right = np.stack([one.grouped.bare.right(trial.truth) for one in guesses])[:, trial.prefixed]
        for number, (suffix, centred) in enumerate(ways.items()):
            curve = right[number * len(GRID) : (number + 1) * len(GRID)]
            best = best_weight(curve, trial.clusters[trial.prefixed])
            name = f"balanced auto{suffix}"
            named[name] = Comparison("balanced", best.weight, centred, 1.0)
            notes[name] = (
                f"{name}: image weight {best.weight:.2f} was chosen on these rows ({best.low:.2f} to {best.high:.2f} "
                f"in 95 % of resamples); on rows that it was not chosen on, accuracy is {best.out_of_bag:.4f}"
            )
    judged = trial.judge(list(named.values()), voting, calibrate=calibrate)
    return evaluations(setting_of(trial), _found(named, judged, notes))


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
    sides: Sides | None = None,
    k: int = DEFAULT_K,
    temperature: float | None = None,
) -> dict[str, Outcome]:
    """Evaluate blocks that are in memory, as `evaluate` does those of a store; all images are predicted.

    Args:
        images: the n images.
        blocks: their raw blocks; nothing is centred.
        comparisons: by what they are to be called.
        asked: raw blocks of the images when they are predicted, where these are others than those by which they vote.
        pictures: (n, d) features by which near-duplicates are told; by default the image blocks.
        sides: on which the images are; None: each is predicted by all others.
        k: how many neighbours vote.
        temperature: tau of their weights exp(score / tau); None fits it to each comparison.

    Raises:
        QueryError: a wrong k or temperature.
    """
    voting, calibrate = voting_of(k, DEFAULT_WEIGHTS, temperature)
    queries = np.arange(len(images.codes))
    pairs = Pairs(blocks, queries, images.groups, asked=asked, pictures=pictures, sides=sides)
    labels, every = Labels(images.names, images.codes), np.ones(len(queries), bool)
    clusters = images.groups.clusters()

    prefixed = images.prefixed.astype(np.int64)

    def judged(panel: Panel, weight: float, like: Judged | None = None) -> Judged:
        subject = Subject(images.codes, clusters, prefixed if weight < 1 else np.zeros_like(prefixed))
        return judge(panel, labels, every, subject, voting, calibrate=calibrate, like=like)

    found = []
    chosen = list(comparisons.values())
    for one, panels in zip(chosen, pairs.panels(chosen, min(k, len(queries))), strict=True):
        grouped = judged(panels.grouped, one.image_weight)
        plain = None if panels.naive is None else judged(panels.naive, one.image_weight, grouped)
        found.append(Judgement(grouped, plain, panels.grouped))
    protocol = "leave-one-out" if sides is None else "folds"
    told = evaluations(
        Setting(images, queries, protocol, len(queries)),
        _found(comparisons, found),
    )
    return {
        name: Outcome(told[name], one.grouped.calibrated.predicted)
        for name, one in zip(comparisons, found, strict=True)
    }


def setting_of(trial: Trial) -> Setting:
    """What the evaluations of a trial have in common."""
    return Setting(trial.images, trial.queries, trial.protocol, trial.voters)


def _found(
    comparisons: Mapping[str, Comparison], judged: list[Judgement], notes: Mapping[str, str] | None = None
) -> dict[str, Found]:
    """What was found by the names of comparisons."""
    by = dict(zip(comparisons.values(), judged, strict=True))
    found = {}
    for (name, one), each in zip(comparisons.items(), judged, strict=True):
        if each.naive is None:
            raise ValueError("expected naive predictions")
        alone = by.get(Comparison(one.mode, 1.0, one.centred))
        voting = each.grouped.voting
        found[name] = Found(
            head="knn",
            verdict=each.grouped.calibrated,
            bare=each.grouped.bare,
            naive=each.naive.calibrated,
            without=None if alone is None else alone.grouped.calibrated,
            naive_without=None if alone is None or alone.naive is None else alone.naive.calibrated,
            image_weight=one.image_weight,
            mode=one.mode,
            centred=one.centred,
            voting=voting,
            note=(notes or {}).get(name),
        )
    return found
