"""Compare k-NN classification with NumPy and with scikit-learn: every labelled image, each by all others.

    .venv/bin/python scripts/bench/classify/agreement.py STORE… [--label COLUMN]… [-k 20]

The reference knows nothing of fpve: it reads the newest manifest as JSON, pages and vectors as Parquet, scores all
pairs of images in float64, and counts votes in a loop. fpve is asked by `store.classify(ids=…)`. The temperature of
calibrated votes and the prior's score are taken from fpve, which fitted them; nothing else is. Without --label all
columns of texts are compared of which a class has 2 images or more on average. A store must be `balanced`, and not
centred.

    agree       share of the images that both predict the same; to be 1
    difference  the largest difference of a probability, of any class that fpve tells; to be at most 1e-4
    voters      share of images with the same voters in the same order: scores that differ by float32's rounding only
                can fall on both sides of a sixth decimal, by which ties are told

scikit-learn's KNeighborsClassifier (brute force, float64) is asked where it can be: it knows no softmax, and no blocks
that are missing. Ties at the k-th place it breaks as they fall. Exits with 1 if anything of fpve is not as it is to be.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import fpve
from fpve.errors import FpveError

AT_MOST = 1e-4
# Ways to vote by name: weights and temperature as `store.classify` takes them.
WAYS: dict[str, tuple[str, float | None]] = {
    "uniform": ("uniform", None),
    "distance": ("distance", None),
    "softmax, 0.07": ("softmax", 0.07),
    "calibrated": ("softmax", None),
}
DEFAULT_TEMPERATURE = 0.07
COPY = 1e-7
HEAD = ("label", "A", "votes", "rows", "agree", "difference", "voters", "sklearn agrees", "its difference")
WIDTH = 15


@dataclass(frozen=True)
class Images:
    """The images of a store, sorted by image_id.

    Attributes:
        table: their rows.
        image, prefix: (n, …) float64 unit blocks; zero where one is missing.
        weight: the store's weight A.
    """

    table: pa.Table
    image: np.ndarray
    prefix: np.ndarray
    weight: float


class Fitted(NamedTuple):
    """What softmax votes are cast with: temperatures (n,), and scores (n,) of the prior, -inf where it has no vote."""

    temperature: np.ndarray
    prior_score: np.ndarray
    sharpness: np.ndarray


def main() -> int:
    """Compare, and print a table for each store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--label", action="append")
    parser.add_argument("-k", type=int, default=20)
    options = parser.parse_args()
    failed = 0
    for path in options.stores:
        images = read(path)
        print(f"\n{path.name}: {len(images.table)} images, k = {options.k}")
        print("".join(f"{name:>{WIDTH}}" for name in HEAD))
        for label in options.label or label_columns(images.table):
            if label in images.table.column_names:
                failed += compare(path, images, label, options.k)
    print(f"\n{failed} not as they are to be")
    return 1 if failed else 0


def compare(path: Path, images: Images, label: str, k: int) -> int:
    """Print the rows of a label column, with the store's own weight and by pictures alone; how many failed."""
    store = fpve.open(path)
    rows = np.flatnonzero(images.table[label].is_valid().to_numpy(zero_copy_only=False))
    ids = images.table["image_id"].take(pa.array(rows)).to_pylist()
    truth = [str(value) for value in images.table[label].take(pa.array(rows)).to_pylist()]
    names = sorted(set(truth))
    codes = np.array([names.index(name) for name in truth])
    image, prefix = images.image[rows], images.prefix[rows]
    has_prefix = prefix.any(axis=1)
    failed = 0
    for given in [None, 1.0] if has_prefix.any() else [None]:
        weight = np.where(has_prefix & (given is None), images.weight, 1.0)
        scores = weight[:, None] * (image @ image.T) + (1 - weight)[:, None] * (prefix @ prefix.T)
        np.fill_diagonal(scores, -np.inf)
        for way, (weights, temperature) in WAYS.items():
            fitted = Fitted(np.full(len(rows), temperature or np.nan), np.full(len(rows), -np.inf), np.ones(len(rows)))
            if way == "calibrated":
                fitted = fitted_by_fpve(path, label, k, has_prefix, weight)
            mine, voters = votes(scores, codes, len(names), k, weights, fitted)
            asked = {"weights": weights, "temperature": temperature, "image_weight": given}
            theirs = store.classify(ids=ids, label=label, k=k, **asked).to_arrow()
            predicted = np.array([names.index(one) for one in theirs["prediction"].to_pylist()])
            agree = np.mean(predicted == best(mine))
            difference = np.abs(told(theirs, names, mine) - mine).max()
            same = same_voters(theirs, voters, ids)
            cells = [f"{weight.mean():.2f}", way, str(len(rows)), f"{agree:.4f}", f"{difference:.1e}", f"{same:.4f}"]
            if weights != "softmax" and np.all(weight == weight[0]) and (weight[0] == 1 or has_prefix.all()):
                rival = by_sklearn(image, prefix, weight[0], codes, k, weights)
                cells += [f"{np.mean(rival.argmax(axis=1) == best(mine)):.4f}", f"{np.abs(rival - mine).max():.1e}"]
            print("".join(f"{cell:>{WIDTH}}" for cell in [label, *cells]), flush=True)
            failed += agree < 1 or difference > AT_MOST
    return failed


def votes(
    scores: np.ndarray, codes: np.ndarray, classes: int, k: int, weights: str, fitted: Fitted
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Probabilities (n, classes), and who votes for each: the k best scores to six decimals, of equals the first."""
    found = np.zeros((len(scores), classes))
    prior = (np.bincount(codes, minlength=classes) + 1) / (len(codes) + classes)
    voters = []
    for at, row in enumerate(scores):
        order = np.lexsort((np.arange(len(row)), -row.round(6)))
        nearest = order[order != at][:k]
        score = row[nearest]
        own = 0.0
        if weights == "uniform":
            weight = np.ones(len(nearest))
        elif weights == "distance":
            distance = np.sqrt(np.maximum(2 * (1 - score), 0))
            # Copies are at no distance: what float64 leaves of it is 1e-8.
            copies = distance < COPY
            weight = copies.astype(float) if copies.any() else 1 / distance
        else:
            weight = np.exp(score / fitted.temperature[at])
            own = np.exp(fitted.prior_score[at] / fitted.temperature[at])
        for other, one in zip(nearest, weight, strict=True):
            found[at, codes[other]] += one
        found[at] = (found[at] + own * prior) / (weight.sum() + own)
        if own:
            found[at] = found[at] ** fitted.sharpness[at]
            found[at] /= found[at].sum()
        voters.append(nearest)
    return found, voters


def best(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each, of equal ones the first; they are equal where a sum's rounding differs only."""
    return probabilities.round(9).argmax(axis=1)


def told(table: pa.Table, names: list[str], expected: np.ndarray) -> np.ndarray:
    """What fpve told (n, classes). Of the classes without a vote it tells nothing: they have what is expected."""
    found = expected.copy()
    place = {name: at for at, name in enumerate(names)}
    for row, classes in zip(found, table["probabilities"].to_pylist(), strict=True):
        for one in classes:
            row[place[one["label"]]] = one["probability"]
    return found


def same_voters(table: pa.Table, voters: list[np.ndarray], ids: list[str]) -> float:
    """Share of images that have the same voters in the same order."""
    theirs = [[one["image_id"] for one in told] for told in table["neighbours"].to_pylist()]
    return float(np.mean([[ids[at] for at in one] == other for one, other in zip(voters, theirs, strict=True)]))


def by_sklearn(
    image: np.ndarray, prefix: np.ndarray, weight: float, codes: np.ndarray, k: int, weights: str
) -> np.ndarray:
    """scikit-learn's probabilities (n, classes), of blocks whose Euclidean distance is that of the weighted score."""
    from sklearn.neighbors import KNeighborsClassifier

    vectors = np.hstack([np.sqrt(weight) * image, np.sqrt(1 - weight) * prefix])
    rival = KNeighborsClassifier(min(k, len(codes) - 1), weights=weights, algorithm="brute").fit(vectors, codes)
    # Without queries each row is classified by the others.
    return rival.predict_proba(None)


def fitted_by_fpve(path: Path, label: str, k: int, has_prefix: np.ndarray, weight: np.ndarray) -> Fitted:
    """What fpve has fitted, for queries with and without a prefix: this alone is not computed here."""
    from fpve.classify import KnnClassifier, Voting
    from fpve.classify.knn import Kind
    from fpve.search import Searcher
    from fpve.store.snapshot import Snapshot

    classifier = KnnClassifier(Searcher(Snapshot.open(path)), label=label, voting=Voting(k))
    found = Fitted(np.full(len(weight), DEFAULT_TEMPERATURE), np.full(len(weight), -np.inf), np.ones(len(weight)))
    for kind in (False, True):
        mine = has_prefix == kind
        if mine.any():
            known = classifier.calibration(Kind(image=True, prefix=kind, weight=float(np.float32(weight[mine][0]))))
            # Of too few images none is fitted.
            if known is not None:
                fitted = known.fitted
                found.temperature[mine], found.prior_score[mine] = fitted.temperature, fitted.prior_score
                found.sharpness[mine] = fitted.sharpness
    return found


def read(path: Path) -> Images:
    """Read a store's newest snapshot from its files.

    Raises:
        SystemExit: its scores are not those that are computed here.
    """
    manifest = json.loads(max((path / "snapshots").glob("*.json")).read_text(encoding="utf-8"))
    fusion = manifest["fusion"]
    if fusion["mode"] != "balanced" or fusion["centred"] is not None:
        sys.exit(
            f"bench: {path} is {fusion['mode']}, centred {fusion['centred']}; expected a balanced one, not centred"
        )
    pages = [page["file"]["path"] for one in manifest["collections"] for page in one["pages"]]
    tables = [pq.read_table(path / page) for page in pages]
    table = pa.concat_tables(tables, promote_options="default").sort_by("image_id")
    image_dim = manifest["encoders"]["image"]["dim"]
    blocks = {}
    for segment in manifest["segments"]:
        column = pq.read_table(path / segment["file"]["path"], columns=["vector"])["vector"].combine_chunks()
        blocks[segment["name"]] = column.flatten().to_numpy().reshape(len(column), -1).astype(np.float64)
    vectors = np.stack(
        [blocks[name][row] for name, row in zip(*(table[one].to_pylist() for one in ("segment", "row")), strict=True)]
    )
    return Images(table, unit(vectors[:, :image_dim]), unit(vectors[:, image_dim:]), fusion["image_weight"])


def label_columns(table: pa.Table) -> list[str]:
    """Columns of texts with 2 images or more to a class."""
    known = {"image_id", "collection", "path", "content_hash", "prefix", "prefix_id", "segment"}
    found = []
    for field in table.schema:
        if field.name in known or not pa.types.is_string(field.type):
            continue
        values = table[field.name].drop_null()
        if len(values) >= 2 * len(values.unique()) > 2:
            found.append(field.name)
    return found


def unit(block: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(block, axis=1, keepdims=True)
    return np.divide(block, norm, out=np.zeros_like(block), where=norm > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FpveError as error:
        sys.exit(f"bench: {error}")
