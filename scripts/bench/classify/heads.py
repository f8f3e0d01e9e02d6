"""What k-NN, logistic regression and the MLP are worth on the same images: one table for each store and label.

    .venv/bin/python scripts/bench/classify/heads.py STORE:LABEL [STORE:LABEL ...] [--folds 5] [--seeds 3]

All are evaluated in the same folds, as `fpve evaluate --head …` does it. `grouped` keeps copies, near-duplicates and
images with the same prefix on one side, `naive` does not; `without` is of queries that come without their prefix.
`low` and `high` are the 95 % interval of the grouped accuracy. ECE is the expected calibration error, before (of bare
votes, or before temperature scaling) and after. `seeds` are the least and the largest accuracy of heads by other seeds.
Each is evaluated twice with the first seed, and `same` says whether all figures agree.
"""

from __future__ import annotations

import argparse
import time

import fpve

HEADS = ("knn", "logistic", "mlp")
HEAD = (
    "head",
    "grouped",
    "low",
    "high",
    "naive",
    "without",
    "naive without",
    "balanced",
    "macro F1",
    "ECE before",
    "ECE after",
    "log loss",
    "seeds",
    "same",
    "seconds",
)
WIDTH = 15


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="+", metavar="STORE:LABEL")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for subject in options.subjects:
        path, _, label = subject.rpartition(":")
        store = fpve.open(path)
        print(f"\n{subject}, {options.folds} folds")
        print("".join(f"{name:>{WIDTH}}" for name in HEAD))
        for head in HEADS:
            start = time.perf_counter()
            found = store.evaluate(label=label, head=head, folds=options.folds)
            seconds = time.perf_counter() - start
            same = found == store.evaluate(label=label, head=head, folds=options.folds)
            others = [
                store.evaluate(label=label, head=head, folds=options.folds, seed=seed).accuracy
                for seed in range(1, options.seeds if head != "knn" else 0)
            ]
            figures = (
                found.accuracy,
                found.accuracy_low,
                found.accuracy_high,
                found.naive_accuracy,
                found.accuracy_without_prefix,
                found.naive_accuracy_without_prefix,
                found.balanced_accuracy,
                found.macro_f1,
                found.votes_calibration_error,
                found.calibration_error,
                found.log_loss,
            )
            cells = ["" if one is None else f"{one:.4f}" for one in figures]
            seeds = f"{min(others):.4f} {max(others):.4f}" if others else ""
            row = (head, *cells, seeds, "yes" if same else "NO", f"{seconds:.1f}")
            print("".join(f"{cell:>{WIDTH}}" for cell in row), flush=True)


if __name__ == "__main__":
    main()
