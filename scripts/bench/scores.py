"""Compare a store's search with NumPy, for every image as a query and eleven weights.

usage: .venv/bin/python scripts/bench/scores.py STORE [K]

The reference knows nothing of FAISS: it takes all vectors from `fpve sql`, splits them into blocks, centres them and
puts predictions in where the store does, and multiplies. Equal scores (to 1e-4) count as ties. Prints a table, and
exits with 1 if anything differs.
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
    image, real = unit(vectors[:, :image_dim]), unit(vectors[:, image_dim:])
    # What a store searches with: predicted blocks are as long as they are predicted.
    prefix = np.where(real.any(axis=1, keepdims=True), real, predictions(store, real.shape))
    means = {row["block"]: np.array(row["mean"]) for row in store.sql("FROM means").to_pylist()}
    image, prefix, real = (
        centred(block, means.get(name)) for block, name in ((image, "image"), (prefix, "prefix"), (real, "prefix"))
    )
    print(f"{len(ids)} images, {int(real.any(axis=1).sum())} with a prefix, k = {k}")
    print(f"{'weight':>6}  {'queries':>7}  {'differing':>9}  {'largest difference':>18}")
    failed = 0
    for weight in np.linspace(0, 1, 11).round(1):
        # A query by id has its own prefix, or none.
        scores = weight * image @ image.T + (1 - weight) * real @ prefix.T
        np.fill_diagonal(scores, -np.inf)
        best = -np.sort(-scores, axis=1)[:, :k]
        worst, differing = 0.0, 0
        for at, hits in enumerate(store.search(ids=ids, image_weight=float(weight), k=k)):
            found = [place[hit.image_id] for hit in hits]
            length = np.linalg.norm(prefix[found], axis=1)
            shown = [
                ((hit.image_score or 0), (hit.prefix_score or 0) * part) for hit, part in zip(hits, length, strict=True)
            ]
            formula = [weight * one + (1 - weight) * other for one, other in shown]
            theirs = np.array([hit.score for hit in hits])
            mine = scores[at, found]
            difference = max(np.abs(one - best[at]).max() for one in (theirs, mine, np.array(formula)))
            worst, differing = max(worst, difference), differing + int(difference > 1e-4)
        print(f"{weight:>6}  {len(ids):>7}  {differing:>9}  {worst:>18.1e}")
        failed += differing
    return 1 if failed else 0


def predictions(store: fpve.Store, shape: tuple[int, int]) -> np.ndarray:
    rows = store.sql("SELECT p.vector FROM images i LEFT JOIN predicted p USING (content_hash) ORDER BY image_id")
    found = np.zeros(shape)
    for at, vector in enumerate(rows["vector"].to_pylist()):
        if vector is not None:
            found[at] = vector
    return found


def centred(block: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
    """Directions less the mean, of the same lengths."""
    if mean is None:
        return block
    length = np.linalg.norm(block, axis=1, keepdims=True)
    return unit(unit(block) - mean) * length


def unit(block: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(block, axis=1, keepdims=True)
    return np.divide(block, norm, out=np.zeros_like(block), where=norm > 0)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
