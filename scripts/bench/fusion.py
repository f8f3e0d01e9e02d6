"""What fusion, centring and the image weight are worth: one table of k-NN accuracies, for each label column.

    .venv/bin/python scripts/bench/fusion.py JOB --label COLUMN [--label COLUMN ...] [--store STORE] [--csv FILE]

JOB is a job over collections with labels and prefixes. Its store is made anew in a temporary folder, or taken as it is
where --store names one.

The first rows of a label are leave-one-out, grouped, as `fpve evaluate --ablation` does it: of images that share a
picture, nearly, or a prefix, none votes for another. `low` and `high` are the 95 % interval of the accuracy, by
resampling groups. In `balanced` a query without its prefix has weight 1 whatever the others have, so these rows are
those of `image only`.

The rows that begin with `half` predict one half of the images from the other, as a new picture is: with its caption,
and without. No picture and no caption is in both. They are means over so many splits, of which 95 % lie between `low`
and `high`.

`P@10` is the share of the same class among the ten nearest of other groups: how good a ranking is, not a vote.
`gain` is what centring adds to the accuracy, in points, with the 95 % interval of this difference, which is narrower
than those of what it compares, for both predict the same images.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fpve
from fpve.classify import DEFAULT_K, DEFAULT_TEMPERATURE, LabelSets, Voting, read_labels, vote
from fpve.config import load_job
from fpve.evaluate import ablation, evaluate
from fpve.evaluate.bootstrap import PERCENTILES, resamples
from fpve.evaluate.pairs import Comparison, nearest_columns
from fpve.evaluate.trial import SAMPLE, Trial
from fpve.fusion import DEFAULT_IMAGE_WEIGHT, Mode
from fpve.groups import groups_of
from fpve.neighbours import Rows
from fpve.records import Evaluation
from fpve.search import Searcher
from fpve.splits import NEAR_DUPLICATE
from fpve.store.snapshot import Snapshot

SPLITS = 40
NEAREST = 10
CENTRED = ", centred"
WITHOUT = ", query without prefix"
COLUMNS = (
    "weight",
    "accuracy",
    "low",
    "high",
    "gain",
    "gain low",
    "gain high",
    "P@10",
    "balanced",
    "macro F1",
    "naive",
)
WIDTH = 46
# Queries of which all scores are held at once.
STEP = 1000

Exact = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        name: what is compared; `CENTRED` at its end tells it from what it is to be compared with.
        weight: the image weight of the queries.
        accuracy, low, high: and its interval.
        right: over what a gain is taken: whether each image was predicted right, or the accuracies of splits.
        rest: P@10, balanced accuracy, macro F1 and naive accuracy, as far as they are measured.
    """

    name: str
    weight: float
    accuracy: float
    low: float
    high: float
    right: Exact
    rest: tuple[float, ...] = ()


def main() -> None:
    """Measure, print the table and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--csv", type=Path, default=Path("bench-fusion.csv"))
    options = parser.parse_args()
    rows: list[list[str]] = []
    print(f"{'':{WIDTH}}" + "".join(f"{name:>10}" for name in COLUMNS))
    with store_of(options.job, options.store) as path:
        searcher = Searcher(Snapshot.open(path))
        for label in options.label:
            trial = Trial(searcher, label=label, sample=SAMPLE)
            classes = len(np.unique(trial.codes))
            print(f"\n{label}: {len(trial.truth)} of {len(trial.codes)} images, {classes} classes, k = {DEFAULT_K}")
            found = evaluations(searcher, label)
            parts = ((leave_one_out(searcher, trial, found), trial.clusters), (halves(searcher, label), None))
            for lines, clusters in parts:
                for name, figures in figures_of(lines, clusters):
                    print(f"{name:{WIDTH}}" + "".join(f"{figure:>10}" for figure in figures), flush=True)
                    rows.append([label, name, *figures])
            for text in dict.fromkeys(text for one in found.values() for text in one.warnings):
                print(f"  {text}")
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["label", "what is compared", *COLUMNS], *rows])
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


def evaluations(searcher: Searcher, label: str) -> dict[str, Evaluation]:
    """The ablation, with rows of their own for queries without their prefix in `balanced`, each beside its centred."""
    found: dict[str, Evaluation] = {}
    for name, one in ablation(searcher, label=label, temperature=DEFAULT_TEMPERATURE).items():
        found[name] = one
        base = name.removesuffix(CENTRED)
        if base == "balanced":
            without = evaluate(
                searcher,
                label=label,
                mode="balanced",
                centred=one.centred,
                query="without",
                temperature=DEFAULT_TEMPERATURE,
            )
            found[f"{base}{WITHOUT}{name.removeprefix(base)}"] = without
    order = list(dict.fromkeys(name.removesuffix(CENTRED) for name in found))
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0].removesuffix(CENTRED)), item[1].centred)))


def leave_one_out(searcher: Searcher, trial: Trial, found: Mapping[str, Evaluation]) -> list[Line]:
    """The lines of evaluations of a trial's images."""
    comparisons = [Comparison(mode_of(one), one.image_weight, one.centred) for one in found.values()]
    judged = trial.judge(comparisons, Voting(), naive=False, calibrate=False)
    right = np.stack([one.grouped.bare.right(trial.truth) for one in judged])
    precision = precisions(searcher, trial, comparisons)
    return [
        Line(
            name,
            one.image_weight,
            one.accuracy,
            one.accuracy_low,
            one.accuracy_high,
            right[number].astype(np.float64),
            (precision[number], one.balanced_accuracy, one.macro_f1, one.naive_accuracy),
        )
        for number, (name, one) in enumerate(found.items())
    ]


def mode_of(one: Evaluation) -> Mode:
    return "concat" if one.mode == "concat" else "balanced"


def precisions(searcher: Searcher, trial: Trial, comparisons: list[Comparison]) -> list[float]:
    """P@10 of each comparison, over the queries of a trial."""
    labels = read_labels(searcher, trial.label)
    rows = np.flatnonzero(labels.labelled)
    groups = groups_of(searcher, trial.label, labels.codes, rows)[0].at(rows)
    blocks = searcher.blocks_of(rows)
    norm = np.linalg.norm(blocks.image, axis=1, keepdims=True)
    units = np.divide(blocks.image, norm, out=np.zeros_like(blocks.image), where=norm > 0)
    found = []
    for one in comparisons:
        fusion = replace(searcher.fusion, mode=one.mode, centre=trial.centre if one.centred else None)
        vectors = fusion.searched(fusion.fuse(*blocks))
        queries = fusion.query(*blocks, one.image_weight)
        shares = []
        for start in range(0, len(trial.queries), STEP):
            mine = trial.queries[start : start + STEP]
            scores = queries[mine] @ vectors.T
            near = (units[mine] @ units.T) >= NEAR_DUPLICATE
            scores[groups.tied(mine, np.arange(len(rows))) | near] = -np.inf
            scores[np.arange(len(mine)), mine] = -np.inf
            nearest = nearest_columns(scores, min(NEAREST, len(rows)))
            same = trial.codes[nearest] == trial.codes[mine][:, None]
            shares.append((same & np.isfinite(np.take_along_axis(scores, nearest, axis=1))).mean(axis=1))
        found.append(float(np.concatenate(shares).mean()))
    return found


def halves(searcher: Searcher, label: str) -> list[Line]:
    """The lines of queries that the store does not hold."""
    trial = Trial(searcher, label=label)
    labels = read_labels(searcher, label)
    labelled = np.flatnonzero(labels.labelled)
    # A picture that comes without a caption is a query of weight 1: see `Searcher.weights`.
    ways = {"half": DEFAULT_IMAGE_WEIGHT, f"half{WITHOUT}": 1.0} if trial.has_prefixes else {"half": 1.0}
    lines = []
    for name, weight in ways.items():
        for suffix, centred in ({"": False} | ({CENTRED: True} if trial.centre is not None else {})).items():
            variant = searcher.variant(mode="balanced", centred=centred, predicted=False)
            accuracies = np.empty(SPLITS)
            for seed in range(SPLITS):
                side = np.random.default_rng(seed).integers(2, size=int(trial.clusters.max()) + 1)[trial.clusters]
                queries = labelled[side == 1]
                allowed = np.zeros(searcher.rows, bool)
                allowed[labelled[side == 0]] = True
                found = variant.nearest(variant.blocks_of(queries), image_weight=weight, k=DEFAULT_K, allowed=allowed)
                shares = vote(found, LabelSets.of(labels), len(queries), Voting())
                accuracies[seed] = np.mean(shares.argmax(axis=1) == labels.codes[queries])
            low, high = np.percentile(accuracies, PERCENTILES)
            lines.append(Line(name + suffix, weight, float(accuracies.mean()), float(low), float(high), accuracies))
    return lines


def figures_of(lines: list[Line], clusters: Rows | None) -> Iterator[tuple[str, list[str]]]:
    """The name and the figures of each line, with what it gains over the same without centring."""
    raw = {line.name: line for line in lines}
    for line in lines:
        gain = ["", "", ""]
        # The weight may differ, as of `balanced auto`: what each would have chosen.
        other = raw.get(line.name.removesuffix(CENTRED))
        if other is not None and other is not line:
            difference = 100 * (line.right - other.right)
            if clusters is None:
                spread = difference
            else:
                spread = np.array([times @ difference / times.sum() for times in resamples(clusters)])
            low, high = np.percentile(spread, PERCENTILES)
            gain = [f"{value:+.2f}" for value in (difference.mean(), low, high)]
        figures = [f"{value:.4f}" for value in (line.accuracy, line.low, line.high)]
        rest = [f"{value:.4f}" for value in line.rest]
        rest += [""] * (len(COLUMNS) - 1 - len(figures) - len(gain) - len(rest))
        yield line.name, [f"{line.weight:.2f}", *figures, *gain, *rest]


if __name__ == "__main__":
    main()
