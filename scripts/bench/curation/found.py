"""What `duplicates` and `mislabeled` find in a real collection: pictures named after others, labels that are flipped.

    .venv/bin/python scripts/bench/curation/found.py STORE [--mark _mirror] [--label category] [--flips 20] [--first 40]

Near-duplicates: an image whose name ends in the mark belongs to the one without it. Recall is the share of these pairs
of which both are in one cluster, at the default threshold and at others; precision the share of images that could go
which are of such a pair, and beside it what the others are. Labels: so many are set to another class at random, in a
copy of the store, and looked for among the first so many that are doubted; with ten seeds.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fpve
from fpve.curation.duplicates import PIXELS, THRESHOLD
from fpve.edits.label import label as write_labels

_SEEDS = 10


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--mark", default="_mirror")
    parser.add_argument("--label", default="category")
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--first", type=int, default=40)
    options = parser.parse_args()
    _marked(fpve.open(options.store), options.mark)
    _flipped(options.store, options.label, options.flips, options.first)


def _marked(store: fpve.Store, mark: str) -> None:
    ids = set(store.images["image_id"].to_pylist())
    pairs = {}
    for one in ids:
        path = Path(one)
        other = str(path.with_name(path.stem.removesuffix(mark) + path.suffix))
        if path.stem.endswith(mark) and other in ids:
            pairs[one] = other
    print(f"{len(pairs)} pairs by the mark {mark!r} among {len(ids):,} images")
    print(f"{'cosine':>8}{'pixels':>8}{'clusters':>10}{'could go':>10}{'recall':>8}{'precision':>11}   of the others")
    for threshold, pixels in [(THRESHOLD, PIXELS), (THRESHOLD, -1.0), (0.94, PIXELS), (0.97, PIXELS), (0.97, -1.0)]:
        rows = store.duplicates(threshold=threshold, pixels=pixels).to_arrow().to_pylist()
        cluster = {row["image_id"]: row["cluster"] for row in rows}
        kept = {row["cluster"]: row["image_id"] for row in rows if row["action"] == "keep"}
        found = sum(one in cluster and cluster[one] == cluster.get(other) for one, other in pairs.items())
        gone = [row for row in rows if row["action"] == "remove"]
        named = [row for row in gone if _is_pair(pairs, row["image_id"], kept[row["cluster"]])]
        others = [row for row in gone if row not in named]
        exact, mirrored = sum(row["kind"] == "exact" for row in others), sum(row["mirrored"] is True for row in others)
        print(
            f"{threshold:8.2f}{pixels:8.1f}{len(kept):10}{len(gone):10}{found / max(1, len(pairs)):8.3f}"
            f"{len(named) / max(1, len(gone)):11.3f}   {exact} exact copies, {mirrored} that agree mirrored, "
            f"{len(others) - exact - mirrored} that agree as they are"
        )


def _is_pair(pairs: dict[str, str], one: str, other: str) -> bool:
    return pairs.get(one) == other or pairs.get(other) == one


def _flipped(root: Path, label: str, flips: int, first: int) -> None:
    images = fpve.open(root).images
    known = {
        one: value
        for one, value in zip(images["image_id"].to_pylist(), images[label].to_pylist(), strict=True)
        if value is not None
    }
    classes = sorted(set(known.values()))
    doubted = len(fpve.open(root).mislabeled(label=label))
    print(f"\n{flips} of {len(known):,} labels {label!r} flipped; {doubted} are doubted as they are")
    found = []
    for seed in range(_SEEDS):
        rng = np.random.default_rng(seed)
        chosen = rng.choice(sorted(known), flips, replace=False).tolist()
        with tempfile.TemporaryDirectory(prefix="fpve-flipped-") as folder:
            store, file = Path(folder) / "store", Path(folder) / "labels.csv"
            shutil.copytree(root, store)
            with file.open("w", newline="", encoding="utf-8") as out:
                writer = csv.writer(out)
                writer.writerow(["image_id", label])
                for one in chosen:
                    writer.writerow([one, rng.choice([other for other in classes if other != known[one]])])
            write_labels(store, file)
            listed = [one.image_id for one in fpve.open(store).mislabeled(label=label)]
        found.append([len(set(part) & set(chosen)) for part in (listed[:flips], listed[:first], listed)])
        print(f"seed {seed}: {_counts(found[-1], flips, first)}")
    print(f"mean  : {_counts(np.mean(found, axis=0).tolist(), flips, first)}")


def _counts(found: Sequence[float], flips: int, first: int) -> str:
    return f"{found[0]:g} in the first {flips}, {found[1]:g} in the first {first}, {found[2]:g} in all"


if __name__ == "__main__":
    main()
