"""What fusion, centring and the image weight are worth: accuracies of k-NN with intervals, for each label column.

    .venv/bin/python scripts/bench/fusion.py JOB --label COLUMN [--label COLUMN ...] [--store STORE] [--csv FILE]

JOB is a job over collections with labels and prefixes. Its store is made anew in a temporary folder, or taken as it is
where --store names one. The first table of each label is that of `fpve evaluate --ablation`: leave-one-out, grouped,
with the 95 % interval of the accuracy.

The second table predicts one half of the images from the other, as a new picture is: with its caption, and without.
Images that share a picture or a caption are in the same half, so no caption is known beforehand. Means over ten splits,
and the standard deviation among them.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

import fpve
from fpve.classify import DEFAULT_K, DEFAULT_TEMPERATURE, read_labels, vote
from fpve.config import load_job
from fpve.evaluate import ablation
from fpve.evaluate.trial import Trial
from fpve.fusion import DEFAULT_IMAGE_WEIGHT
from fpve.records import Evaluation
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot

SPLITS = 10
COLUMNS = ("image_weight", "accuracy", "low", "high", "balanced", "macro F1", "naive")


def main() -> None:
    """Measure, print the tables and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--csv", type=Path, default=Path("bench-fusion.csv"))
    options = parser.parse_args()
    rows: list[list[str]] = []
    with store_of(options.job, options.store) as path:
        searcher = Searcher(Snapshot.open(path))
        for label in options.label:
            rows += leave_one_out(searcher, label)
            rows += halves(searcher, label)
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["label", "protocol", "what is compared", *COLUMNS], *rows])
    print(f"\nkept in {options.csv}")


@contextmanager
def store_of(job: Path, store: Path | None) -> Iterator[Path]:
    """The store that is given, or the job's, made in a temporary folder."""
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "store"
        fpve.run(replace(load_job(job), store=made))
        yield made


def leave_one_out(searcher: Searcher, label: str) -> list[list[str]]:
    """The table of the ablation."""
    found = ablation(searcher, label=label)
    first = next(iter(found.values()))
    print(f"\n{label}: {first.rows} images of {len(first.classes)} classes, leave-one-out, k = {first.k}")
    print(f"{'':30}" + "".join(f"{name:>13}" for name in COLUMNS))
    rows = []
    for name, one in found.items():
        figures = figures_of(one)
        print(f"{name:30}" + "".join(f"{value:>13}" for value in figures), flush=True)
        rows.append([label, "leave-one-out", name, *figures])
    for text in dict.fromkeys(text for one in found.values() for text in one.warnings):
        print(f"  {text}")
    return rows


def figures_of(one: Evaluation) -> list[str]:
    values = (
        one.accuracy,
        one.accuracy_low,
        one.accuracy_high,
        one.balanced_accuracy,
        one.macro_f1,
        one.naive_accuracy,
    )
    return [f"{one.image_weight:.2f}", *(f"{value:.4f}" for value in values)]


def halves(searcher: Searcher, label: str) -> list[list[str]]:
    """The table of queries that the store does not hold."""
    trial = Trial(searcher, label=label, k=DEFAULT_K, temperature=DEFAULT_TEMPERATURE, where=None)
    labels = read_labels(searcher, label)
    labelled = np.flatnonzero(labels.labelled)
    # A picture that comes without a caption is a query of weight 1: see `Searcher.weights`.
    ways = {"query with its caption": DEFAULT_IMAGE_WEIGHT, "query without": 1.0}
    variants = {"": False, ", centred": True} if trial.centre is not None else {"": False}
    print(f"\n{label}: half of the images predicted from the other half, {SPLITS} splits")
    rows = []
    for suffix, centred in variants.items():
        variant = searcher.variant(mode="balanced", centred=centred, predicted=False)
        for name, weight in ways.items():
            accuracies = []
            for seed in range(SPLITS):
                side = np.random.default_rng(seed).integers(2, size=int(trial.clusters.max()) + 1)[trial.clusters]
                queries = labelled[side == 1]
                allowed = np.zeros(searcher.rows, bool)
                allowed[labelled[side == 0]] = True
                found = variant.nearest(variant.blocks_of(queries), image_weight=weight, k=DEFAULT_K, allowed=allowed)
                shares = vote(found, labels.codes, len(queries), len(labels.names), DEFAULT_TEMPERATURE)
                accuracies.append(np.mean(shares.argmax(axis=1) == labels.codes[queries]))
            print(f"{name + suffix:40}{np.mean(accuracies):>10.4f} ± {np.std(accuracies):.4f}", flush=True)
            rows.append([label, "half", name + suffix, f"{weight:.2f}", f"{np.mean(accuracies):.4f}"])
    return rows


if __name__ == "__main__":
    main()
