"""Compare a store's search with NumPy, for every image as a query and eleven weights.

usage: .venv/bin/python scripts/bench/scores.py STORE [K]

The reference knows nothing of FAISS: it takes all vectors from `fpve sql`, splits them into blocks, and multiplies.
Equal scores (to 1e-4) count as ties. Prints a table, and exits with 1 if anything differs.
"""

from __future__ import annotations

import sys

import numpy as np

import fpve


def main(path: str, k: int = 20) -> int:
    store = fpve.open(path)
    rows = store.sql("SELECT image_id, vector FROM vectors ORDER BY image_id")
    ids = rows["image_id"].to_pylist()
    place = {image_id: at for at, image_id in enumerate(ids)}
    vectors = np.array(rows["vector"].to_pylist(), np.float64)
    image_dim = store.encode_images([]).shape[1]
    image, prefix = unit(vectors[:, :image_dim]), unit(vectors[:, image_dim:])
    print(f"{len(ids)} images, {int(prefix.any(axis=1).sum())} with a prefix, k = {k}")
    print(f"{'weight':>6}  {'queries':>7}  {'differing':>9}  {'largest difference':>18}")
    failed = 0
    for weight in np.linspace(0, 1, 11).round(1):
        scores = weight * image @ image.T + (1 - weight) * prefix @ prefix.T
        np.fill_diagonal(scores, -np.inf)
        best = -np.sort(-scores, axis=1)[:, :k]
        worst, differing = 0.0, 0
        for at, hits in enumerate(store.search(ids=ids, image_weight=float(weight), k=k)):
            formula = [weight * (hit.image_score or 0) + (1 - weight) * (hit.prefix_score or 0) for hit in hits]
            theirs = np.array([hit.score for hit in hits])
            mine = scores[at, [place[hit.image_id] for hit in hits]]
            difference = max(np.abs(one - best[at]).max() for one in (theirs, mine, np.array(formula)))
            worst, differing = max(worst, difference), differing + int(difference > 1e-4)
        print(f"{weight:>6}  {len(ids):>7}  {differing:>9}  {worst:>18.1e}")
        failed += differing
    return 1 if failed else 0


def unit(block: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(block, axis=1, keepdims=True)
    return np.divide(block, norm, out=np.zeros_like(block), where=norm > 0)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
