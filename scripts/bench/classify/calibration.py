"""Whether confidence is what it says: calibration of k-NN before and after, and what abstention is worth.

    .venv/bin/python scripts/bench/classify/calibration.py STORE LABEL… [STORE LABEL…]… [-k 20] [--sample N]

A STORE is a path with a folder `snapshots`; every other word is a label column of the store before it. Each labelled
image is predicted by those of other groups, as `fpve evaluate` does it: of images that share a picture, nearly, or a
prefix, none votes for another. Temperature and prior are fitted to four fifths of the images, and judge the other:
nothing is told of an image to what judges it. Queries come with their prefix, or as a new picture does, without.

    votes        bare votes: softmax at temperature 0.07, without a prior
    fitted       the same neighbours with the temperature and the prior that were fitted
    error        expected calibration error: 15 bins of equal width (Guo et al. 2017)
    by chance    the error that confidences such as these would have if they were exactly right, and above which one of
                 twenty would be: right and wrong are drawn 1,000 times with the probabilities that are claimed
    log loss     mean of -log of the true class's probability; inf where that is 0
    no vote      share of images whose true class has no vote at all

The second table: accuracy of the most confident predictions, if only these are given, by their share.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fpve.classify import DEFAULT_K, Voting
from fpve.errors import FpveError
from fpve.evaluate.figures import risk_coverage
from fpve.evaluate.pairs import Comparison
from fpve.evaluate.trial import Trial
from fpve.evaluate.verdicts import Verdict
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot

BINS = 15
DRAWS, SEED = 1_000, 0
HEAD = ("rows", "accuracy", "error", "by chance", "1 in 20", "log loss", "no vote", "temperature", "prior")
WIDTH = 52


class Judged(NamedTuple):
    """What one line is of: its name, its rows' verdicts, which of them are right, and the voting."""

    name: str
    verdict: Verdict
    right: np.ndarray
    no_vote: float
    voting: Voting


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="STORE LABEL…")
    parser.add_argument("-k", type=int, default=DEFAULT_K)
    parser.add_argument("--sample", type=int)
    options = parser.parse_args()
    judged: list[Judged] = []
    print(f"k = {options.k}\n{'':{WIDTH}}" + "".join(f"{name:>13}" for name in HEAD))
    for path, label in asked(options.words):
        searcher = Searcher(Snapshot.open(path)).variant(predicted=False)
        trial = Trial(searcher, label=label, sample=options.sample)
        for one in lines(trial, searcher, f"{path.name} {label}", Voting(options.k)):
            print(f"{one.name:{WIDTH}}" + "".join(f"{cell:>13}" for cell in figures(one)), flush=True)
            judged.append(one)
        for text in trial.warnings:
            print(f"  {text}")
    curves = {one.name: risk_coverage(one.verdict.confidence, one.right) for one in judged}
    coverages = [f"{point.coverage:.0%}" for point in next(iter(curves.values()))]
    print(f"\n{'accuracy of the most confident':{WIDTH}}" + "".join(f"{name:>13}" for name in coverages))
    for name, curve in curves.items():
        print(f"{name:{WIDTH}}" + "".join(f"{point.accuracy:>13.4f}" for point in curve))


def asked(words: Sequence[str]) -> list[tuple[Path, str]]:
    """The stores, each with a label, that words name."""
    found, store = [], None
    for word in words:
        if (Path(word) / "snapshots").is_dir():
            store = Path(word)
        elif store is None:
            sys.exit(f"bench: expected a store first, found {word!r}")
        else:
            found.append((store, word))
    if not found:
        sys.exit("bench: expected label columns after a store, found none")
    return found


def lines(trial: Trial, searcher: Searcher, name: str, voting: Voting) -> list[Judged]:
    """Before and after, with and without the queries' prefixes where images have any."""
    centred = searcher.fusion.centre is not None
    ways = {"": trial.weight(None)} | ({", without prefix": 1.0} if trial.has_prefixes else {})
    comparisons = [Comparison(searcher.fusion.mode, weight, centred) for weight in ways.values()]
    found = []
    for way, one in zip(ways, trial.judge(comparisons, voting, naive=False), strict=True):
        bare, fitted = one.grouped.bare, one.grouped.calibrated
        no_vote = float(np.mean(bare.probability == 0))
        found.append(Judged(f"{name}{way}: votes", bare, bare.right(trial.truth), no_vote, voting))
        found.append(Judged(f"{name}{way}: fitted", fitted, fitted.right(trial.truth), no_vote, one.grouped.voting))
    return found


def figures(one: Judged) -> list[str]:
    """The cells of a line."""
    confidence, right, probability = one.verdict.confidence, one.right, one.verdict.probability
    rng = np.random.default_rng(SEED)
    chance = [calibration_error(confidence, rng.random(len(confidence)) < confidence) for _ in range(DRAWS)]
    with np.errstate(divide="ignore"):
        loss = float(-np.log(probability).mean())
    return [
        f"{len(right):,}",
        f"{right.mean():.4f}",
        f"{calibration_error(confidence, right):.4f}",
        f"{np.mean(chance):.4f}",
        f"{np.quantile(chance, 0.95):.4f}",
        f"{loss:.4f}",
        f"{one.no_vote:.4f}",
        f"{one.voting.temperature:.4f}",
        "" if one.voting.prior_score is None else f"{one.voting.prior_score:.3f}",
    ]


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The mean distance of confidence (n,) and accuracy over bins, each counted by its images."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(place, confidence - right, minlength=BINS)).sum() / len(right))


if __name__ == "__main__":
    try:
        main()
    except FpveError as error:
        sys.exit(f"bench: {error}")
