"""How well heads learn a label column under other settings than the default ones.

    .venv/bin/python scripts/bench/heads.py STORE --label COLUMN [--head mlp] [--seeds 1] [--set batch_size=256 …]

Labelled images are divided into five folds, by whole clusters of copies, near-duplicates and images with one prefix;
each fold is predicted by a head that has learnt from the others, at the store's image weight. A row for the default
settings, and one for each `--set` (several of one row with a comma: `--set scale=1,patience=20`): of queries with their
prefix, and without it, the accuracy, the balanced accuracy, the log loss and the expected calibration error (15 bins of
equal width; of a perfectly calibrated head it is not 0 either, but what chance makes of it), calibrated and, in
brackets, before that; then what held-out rows chose, and the time. Another `--seeds` averages over as many divisions.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fpve.classify import read_labels
from fpve.fusion import Blocks, Fusion, unit
from fpve.groups import groups_of
from fpve.heads.classifier import Classifier
from fpve.heads.settings import KINDS, HeadSettings
from fpve.heads.training import train_head
from fpve.search import Searcher
from fpve.splits import components, folds, near_duplicates
from fpve.store.snapshot import Snapshot

FOLDS = 5
BINS = 15
CHOSEN = ("epochs", "penalty", "temperature")


class Lesson(NamedTuple):
    """Raw blocks of labelled images, their class numbers, and what must stay on one side."""

    fusion: Fusion
    blocks: Blocks
    codes: np.ndarray
    clusters: np.ndarray
    weight: float


def read(store: str, label: str) -> Lesson:
    searcher = Searcher(Snapshot.open(store)).variant(predicted=False)
    labels = read_labels(searcher, label)
    rows = np.flatnonzero(labels.labelled)
    groups = groups_of(searcher, label, labels.codes, rows)[0].at(rows)
    blocks = searcher.blocks_of(rows)
    clusters = components([groups.content, groups.prefix], near_duplicates(unit(blocks.image)))
    weight = searcher.snapshot.manifest.fusion.image_weight if np.any(blocks.prefix) else 1.0
    return Lesson(searcher.fusion, blocks, labels.codes[rows], clusters, weight)


def calibration_error(shares: np.ndarray, right: np.ndarray) -> float:
    confidence = shares.max(axis=1)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(right[bins == one].mean() - confidence[bins == one].mean()) * (bins == one).mean() for one in set(bins)]
    return float(sum(gaps))


def figures(shares: np.ndarray, codes: np.ndarray) -> tuple[float, float, float, float]:
    right = shares.argmax(axis=1) == codes
    balanced = np.mean([right[codes == one].mean() for one in np.unique(codes)])
    loss = -np.log(np.maximum(shares[np.arange(len(codes)), codes], 1e-12)).mean()
    return float(right.mean()), float(balanced), float(loss), calibration_error(shares, right)


def plain(classifier: Classifier) -> Classifier:
    networks = {name: replace(one, temperature=1.0) for name, one in classifier.networks.items()}
    return replace(classifier, **networks)


def measure(lesson: Lesson, settings: HeadSettings) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Figures (2 kinds of query, calibrated or not, 4), and what was chosen in each fold."""
    fusion, blocks, codes, clusters, weight = lesson
    shares = np.zeros((2, 2, len(codes), codes.max() + 1))
    chosen = []
    for inside, outside in folds(clusters, FOLDS, np.random.default_rng(settings.seed)):
        queries = fusion.query(blocks.image[inside], blocks.prefix[inside], weight)
        found = train_head(queries, codes[inside], clusters[inside], fusion=fusion, settings=settings)
        chosen.append(found.metrics)
        for way, prefix in enumerate((blocks.prefix[outside], None)):
            asked = fusion.query(blocks.image[outside], prefix, weight)
            for number, classifier in enumerate((found.classifier, plain(found.classifier))):
                place = np.ix_(outside, found.classes)
                shares[way, number][place] = classifier.probabilities(asked)
    return np.array([[figures(one, codes) for one in way] for way in shares]), chosen


def settings_of(text: str) -> dict[str, Any]:
    pairs = (one.split("=", 1) for one in text.split(",") if one)
    return {name: json.loads(value) if value[0] in "0123456789tf" else value for name, value in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--label", required=True)
    parser.add_argument("--head", choices=KINDS, default="logistic")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="NAME=VALUE[,…]")
    options = parser.parse_args()
    lesson = read(options.store, options.label)
    print(f"{len(lesson.codes):,} images, {len(np.unique(lesson.clusters)):,} clusters, image weight {lesson.weight:g}")
    for change in ["", *options.changes]:
        start = time.perf_counter()
        found, chosen = [], []
        for seed in range(options.seeds):
            one, each = measure(lesson, HeadSettings(kind=options.head, seed=seed, **settings_of(change)))
            found.append(one)
            chosen += each
        print(f"\n{options.head} {change or 'default'}  ({time.perf_counter() - start:.0f} s)")
        for way, (calibrated, before) in zip(("with", "without"), np.mean(found, axis=0), strict=True):
            accuracy, balanced, loss, error = calibrated
            print(
                f"  {way:<8} accuracy {accuracy:.4f}  balanced {balanced:.4f}  log loss {loss:.3f} ({before[2]:.3f})  "
                f"calibration error {error:.3f} ({before[3]:.3f})"
            )
        names = [name for name in chosen[0] if name.removesuffix("_without") in CHOSEN]
        said = ", ".join(f"{name} {np.median([one[name] for one in chosen]):.3g}" for name in names)
        print(f"  median of what was chosen: {said}")


if __name__ == "__main__":
    main()
