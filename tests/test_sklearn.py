"""The scikit-learn estimator, against scikit-learn's own checks, NumPy written out by hand, and `Store.classify`."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from samples import KINDS, draw, make_job
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import fpve
from fpve.classify import Weights
from fpve.errors import QueryError
from fpve.sklearn import KNNClassifier

# What scikit-learn asks of a matrix of probabilities of labels.
STRICT = "check_classifiers_multilabel_output_format_predict_proba"


def failing(estimator: KNNClassifier) -> dict[str, str]:
    """The checks that are expected to fail."""
    if estimator.weights != "distance":
        return {}
    return {STRICT: "the check wants probabilities strictly between 0 and 1; where only copies vote a share is 0 or 1"}


@parametrize_with_checks(
    [
        KNNClassifier(),
        KNNClassifier(weights="uniform"),
        KNNClassifier(weights="distance"),
        KNNClassifier(temperature=None),
    ],
    expected_failed_checks=failing,
)
def test_it_is_an_estimator(estimator: KNNClassifier, check: object) -> None:
    """It passes the checks of scikit-learn in each way to vote."""
    check(estimator)


@pytest.fixture(scope="module")
def points() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """120 rows of 8 numbers and any length around three directions, their classes, and 30 others."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 150)
    rows = (np.eye(8)[classes] + rng.normal(scale=0.5, size=(150, 8))) * rng.uniform(0.1, 10, (150, 1))
    return rows[:120], np.array(["bee", "ant", "cow"])[classes[:120]], rows[120:]


def by_hand(rows: np.ndarray, classes: np.ndarray, queries: np.ndarray, k: int, weigh: object) -> np.ndarray:
    """Shares of the votes (m, classes), with loops."""
    names = sorted(set(classes))
    found = np.zeros((len(queries), len(names)))
    for at, query in enumerate(queries):
        cosines = [float(row @ query / np.linalg.norm(row) / np.linalg.norm(query)) for row in rows]
        nearest = sorted(range(len(rows)), key=lambda row: (-round(cosines[row], 6), row))[:k]
        for row in nearest:
            found[at, names.index(classes[row])] += weigh(cosines[row])
        found[at] /= found[at].sum()
    return found


@pytest.mark.parametrize(
    ("weights", "weigh"),
    [
        ("softmax", lambda cosine: np.exp(cosine / 0.1)),
        ("distance", lambda cosine: 1 / np.sqrt(2 * (1 - cosine))),
        ("uniform", lambda cosine: 1.0),
    ],
)
@pytest.mark.parametrize("k", [1, 7, 500])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_probabilities_are_shares_of_the_votes(
    points: tuple[np.ndarray, np.ndarray, np.ndarray], weights: Weights, weigh: object, k: int, dtype: type
) -> None:
    """They are those of cosines and votes counted by hand, with more neighbours than there are rows as well."""
    rows, classes, queries = points
    found = KNNClassifier(k, weights=weights, temperature=0.1).fit(rows.astype(dtype), classes)
    expected = by_hand(rows, classes, queries, k, weigh)
    assert found.classes_.tolist() == ["ant", "bee", "cow"]
    np.testing.assert_allclose(found.predict_proba(queries.astype(dtype)), expected, atol=1e-6)
    assert found.predict(queries).tolist() == found.classes_[expected.argmax(axis=1)].tolist()


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_on_unit_vectors_it_is_what_scikit_learn_has(
    points: tuple[np.ndarray, np.ndarray, np.ndarray], weights: Weights
) -> None:
    """Cosines rank unit vectors as Euclidean distances do: probabilities, distances and neighbours are the same."""
    rows, classes, queries = points
    unit, asked = (block / np.linalg.norm(block, axis=1, keepdims=True) for block in (rows, queries))
    theirs = KNeighborsClassifier(9, weights=weights).fit(unit, classes)
    mine = KNNClassifier(9, weights=weights).fit(rows, classes)
    np.testing.assert_allclose(mine.predict_proba(queries), theirs.predict_proba(asked), atol=1e-9)
    # Without queries each row is classified by the others.
    np.testing.assert_allclose(mine.predict_proba(None), theirs.predict_proba(None), atol=1e-9)
    assert mine.score(None, classes) == theirs.score(None, classes)
    for asked_of_mine, asked_of_theirs in ((queries, asked), (None, None)):
        distances, numbers = mine.kneighbors(asked_of_mine, 4)
        expected, others = theirs.kneighbors(asked_of_theirs, 4)
        np.testing.assert_allclose(distances, expected, atol=1e-9)
        np.testing.assert_array_equal(numbers, others)


def test_ties_go_to_the_lower_row_and_to_the_first_class() -> None:
    """Of equal scores the lower row votes, of equal votes the first class wins, and a row of zeros is like no other."""
    rows = np.array([[1, 1], [2, 2], [1, 1.0000001], [-1, 0], [0, 0]])
    found = KNNClassifier(2, weights="uniform").fit(rows, ["b", "a", "c", "d", "e"])
    assert found.kneighbors([[3, 3]], return_distance=False).tolist() == [[0, 1]]
    assert found.predict([[3, 3]]).tolist() == ["a"]
    np.testing.assert_array_equal(found.predict_proba([[3, 3]]), [[0.5, 0.5, 0, 0, 0]])
    assert found.kneighbors([[3, 3]], 5, return_distance=False).tolist() == [[0, 1, 2, 4, 3]]
    # To zeros everything is as far: sqrt(2).
    distances, numbers = found.kneighbors([[0, 0]], 3)
    assert numbers.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(distances, np.sqrt([[2, 2, 2]]))


def test_only_copies_vote_by_distance_where_there_are_any() -> None:
    """At distance 0 a vote would weigh infinitely much: as in scikit-learn, those alone count."""
    found = KNNClassifier(3, weights="distance").fit([[1, 0], [5, 0], [1, 1]], [1, 2, 2])
    np.testing.assert_array_equal(found.predict_proba([[2, 0]]), [[0.5, 0.5]])


def test_few_rows_and_rare_classes() -> None:
    """One row is enough, and knows nothing of itself without others; a class of one row can be predicted."""
    alone = KNNClassifier().fit([[1.0, 2]], ["only"])
    assert alone.predict([[5, 5], [0, 0]]).tolist() == ["only", "only"]
    assert alone.kneighbors(return_distance=False).shape == (1, 0)
    np.testing.assert_array_equal(alone.predict_proba(None), [[0.0]])
    rare = KNNClassifier(1).fit([[1, 0], [0.9, 0.1], [0, 1]], [7, 7, -3])
    assert rare.classes_.tolist() == [-3, 7]
    assert rare.predict([[0.1, 1], [1, 0]]).tolist() == [-3, 7]


def test_labels_of_an_indicator_matrix() -> None:
    """Each label has the share of the votes of rows that have it, and is predicted above a half."""
    rows = [[1, 0], [1, 0.1], [1, 0.2], [0, 1]]
    y = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1]])
    found = KNNClassifier(3, weights="uniform").fit(rows, y)
    assert found.classes_.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.predict_proba([[1, 0]]), [[2 / 3, 1 / 3, 0]])
    np.testing.assert_array_equal(found.predict([[1, 0], [0, 1]]), [[1, 0, 0], [0, 0, 0]])
    theirs = KNeighborsClassifier(3).fit(rows, y)
    np.testing.assert_array_equal(found.predict(rows), theirs.predict(rows))
    # And as scikit-learn cuts it up.
    folded = cross_val_predict(KNNClassifier(2, weights="uniform"), rows, y, cv=4, method="predict_proba")
    np.testing.assert_allclose(folded[2], [1, 0.5, 0])


def test_it_goes_through_pipelines(points: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Cross-validation clones it, in a pipeline as well."""
    rows, classes, _ = points
    scores = cross_val_score(make_pipeline(FunctionTransformer(), KNNClassifier(5)), rows, classes, cv=3)
    alone = cross_val_score(KNNClassifier(5), rows, classes, cv=3)
    assert scores.tolist() == alone.tolist()
    assert alone.mean() > 0.8


def test_calibration_fits_temperature_and_prior(points: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Without a temperature one is fitted to rows that the others classify: their true classes get more likely."""
    rows, classes, queries = points
    votes, fitted = (KNNClassifier(20, temperature=one).fit(rows, classes) for one in (0.07, None))
    assert votes.voting_.temperature == 0.07
    assert votes.voting_.prior_score is None
    assert fitted.voting_.prior_score is not None
    assert (fitted.predict_proba(queries) > 0).all()
    np.testing.assert_allclose(fitted.predict_proba(queries).sum(axis=1), 1)
    truth = np.searchsorted(fitted.classes_, classes)
    losses = [
        -np.log(np.maximum(one.predict_proba(None)[np.arange(120), truth], 1e-12)).mean() for one in (fitted, votes)
    ]
    assert losses[0] < losses[1]
    few = KNNClassifier(temperature=None).fit(rows[:49], classes[:49])
    assert (few.voting_.temperature, few.voting_.prior_score) == (0.07, None)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"n_neighbors": 0}, [0, 1], "k: expected at least 1, found 0"),
        ({"weights": "softmx"}, [0, 1], "weights: expected uniform, distance, softmax, found 'softmx'; did you mean"),
        ({"temperature": -1}, [0, 1], "temperature: expected more than 0"),
        ({}, [[1, 2], [3, 4]], "y: expected one class a row, or an indicator matrix of labels, found multiclass-multi"),
        ({}, [0.5, 1.5], "Unknown label type: continuous"),
    ],
)
def test_what_is_wrong_is_refused(options: dict, y: list, message: str) -> None:
    """Options are checked when it is fitted, as scikit-learn wants it, and so are classes."""
    with pytest.raises(ValueError, match=message):
        KNNClassifier(**options).fit([[1, 0], [0, 1]], y)


def test_a_column_of_classes_is_warned_of() -> None:
    """A matrix of one column is taken for a list of classes, as everywhere in scikit-learn."""
    with pytest.warns(DataConversionWarning):
        found = KNNClassifier(1).fit([[1, 0], [0, 1]], [["x"], ["y"]])
    assert found.predict([[0, 2]]).tolist() == ["y"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> fpve.Store:
    """160 images with tags, six in seven of some kind, each second one with a caption that often tells it."""
    root = tmp_path_factory.mktemp("estimator")
    source = root / "pictures"
    lines = []
    for number in range(160):
        kind = KINDS[number % 3]
        path = f"{kind}/{number:03d}.png"
        draw(source / path, number)
        word = kind if number % 9 < 6 else "thing"
        row = {"path": path, "caption": f"{word} number {number}" if number % 2 == 0 else None}
        row |= {"kind": kind if number % 7 else None, "year": 1840 + number}
        row["tags"] = [name for at, name in enumerate(("big", "old", "red")) if number % (at + 2) == 0]
        lines.append(json.dumps(row))
    (source / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = make_job(root / "store", source, metadata=source / "metadata.jsonl")
    fpve.run(job)
    return fpve.open(job.store)


@pytest.fixture(scope="module")
def vectors(store: fpve.Store) -> np.ndarray:
    """Fused vectors (160, 40) of all images, by image_id."""
    rows = store.sql("SELECT vector FROM vectors ORDER BY image_id")["vector"].to_pylist()
    return np.array(rows, np.float32)


@pytest.mark.parametrize("temperature", [None, 0.1])
@pytest.mark.parametrize("blocks", ["fused", "image"])
def test_over_a_store_it_classifies_as_the_store_does(
    store: fpve.Store, vectors: np.ndarray, temperature: float | None, blocks: str
) -> None:
    """Fused vectors and image blocks get the probabilities, the classes and the neighbours of `Store.classify`."""
    asked = vectors if blocks == "fused" else vectors[:, :24]
    found = KNNClassifier.from_store(store, label="kind", n_neighbors=9, temperature=temperature, where="year < 1990")
    told = store.classify(label="kind", vectors=asked, k=9, temperature=temperature, where="year < 1990")
    assert found.n_features_in_ == 40
    assert found.classes_.tolist() == ["bird", "cat", "dog"]
    assert found.predict(asked).tolist() == [one.prediction for one in told]
    probabilities = found.predict_proba(asked)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    # The prior leaves something to every class; votes do to those that have one.
    assert (probabilities > 0).all() == (temperature is None)
    for row, one in zip(probabilities, told, strict=True):
        for entry in one.probabilities:
            assert row[found.classes_.tolist().index(entry["label"])] == entry["probability"]
    distances, numbers = found.kneighbors(asked)
    assert found.n_samples_fit_ == len(found.image_ids_) == 128
    assert found.image_ids_[numbers].tolist() == [[voter["image_id"] for voter in one.neighbours] for one in told]
    scores = np.array([[voter["score"] for voter in one.neighbours] for one in told])
    np.testing.assert_allclose(distances, np.sqrt(np.maximum(2 - 2 * scores, 0)), atol=1e-6)


def test_images_of_a_store_are_classified_by_the_others(store: fpve.Store) -> None:
    """Without queries the labelled images are classified, none by itself: as by id."""
    found = KNNClassifier.from_store(store.path, label="kind", n_neighbors=5)
    told = store.classify(ids=found.image_ids_.tolist(), label="kind", k=5)
    assert found.predict(None).tolist() == [one.prediction for one in told]
    numbers = found.kneighbors(return_distance=False)
    assert found.image_ids_[numbers].tolist() == [[voter["image_id"] for voter in one.neighbours] for one in told]


def test_lists_of_classes_are_an_indicator_matrix(store: fpve.Store, vectors: np.ndarray) -> None:
    """A column of lists is predicted label by label, as by the store."""
    found = KNNClassifier.from_store(store, label="tags", n_neighbors=6, weights="distance")
    told = store.classify(label="tags", vectors=vectors, k=6, weights="distance")
    assert found.classes_.tolist() == ["big", "old", "red"]
    has = found.predict(vectors)
    assert [found.classes_[row == 1].tolist() for row in has] == [one.prediction for one in told]


def test_it_can_be_pickled_over_a_store(store: fpve.Store, vectors: np.ndarray, tmp_path: Path) -> None:
    """What is kept is where the snapshot is, and not the images; a clone is not fitted, and can be fitted to rows."""
    found = KNNClassifier.from_store(store, label="kind", n_neighbors=3, image_weight=0.2, where="kind != 'dog'")
    kept = pickle.dumps(found)
    assert len(kept) < 3_000
    again = pickle.loads(kept)  # noqa: S301 (ours)
    np.testing.assert_array_equal(again.predict_proba(vectors), found.predict_proba(vectors))
    copied = clone(found)
    assert copied.get_params() == {"n_neighbors": 3, "weights": "softmax", "temperature": None}
    with pytest.raises(NotFittedError):
        copied.predict(vectors)
    assert copied.fit(vectors, np.arange(160) % 2).n_samples_fit_ == 160
    with pytest.raises(AttributeError, match="image_ids_: rows in memory have none"):
        copied.image_ids_  # noqa: B018


def test_wrong_queries_of_a_store_are_refused(store: fpve.Store, vectors: np.ndarray) -> None:
    """Vectors of another length, zeros, and columns that there are not."""
    found = KNNClassifier.from_store(store, label="kind")
    with pytest.raises(ValueError, match=r"vector: expected 40 numbers \(24 of the image, 16 of the prefix\)"):
        found.predict(vectors[:, :7])
    with pytest.raises(ValueError, match="not all zero"):
        found.predict(np.zeros((1, 40)))
    with pytest.raises(QueryError, match="no label column 'kid'; did you mean 'kind'"):
        KNNClassifier.from_store(store, label="kid")


def test_fpve_does_not_import_scikit_learn() -> None:
    """Whoever wants the estimator imports it."""
    code = "import sys, fpve, fpve.api; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
