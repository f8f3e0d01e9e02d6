"""The map, against NumPy in double precision, solved naively and with loops."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from fpve.alignment import Alignment, Settings, model, plain_ridge
from fpve.alignment.model import Rows, fit_with, kernel, neighbours_average, solve

RANDOM = np.random.default_rng(3)
IMAGE = (20 * RANDOM.random((50, 12))).astype(np.float32)
PREFIX = RANDOM.normal(size=(50, 7)).astype(np.float32)
NEW = (20 * RANDOM.random((9, 12))).astype(np.float32)
ROWS = Rows(IMAGE, PREFIX, np.arange(50))
REGRESSION = Settings(gamma=3, ridge=0.2, neighbour_share=0)
AVERAGE = Settings(temperature=0.3, neighbour_share=1)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length one, in double precision."""
    return rows / np.linalg.norm(rows.astype(float), axis=-1, keepdims=True)


def fitted(rows: Rows, settings: Settings, max_landmarks: int = 1000) -> Alignment:
    """The map with given settings."""
    return fit_with(rows, settings, np.random.default_rng(0), max_landmarks)


def by_hand(settings: Settings, landmarks: np.ndarray) -> np.ndarray:
    """What regression on some landmarks, or all, predicts for new rows: least squares of all rows, with a penalty."""
    image_mean, prefix_mean = unit(IMAGE).mean(axis=0), unit(PREFIX).mean(axis=0)
    z, new, targets = unit(unit(IMAGE) - image_mean), unit(unit(NEW) - image_mean), unit(PREFIX) - prefix_mean

    def likeness(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.array([[np.exp(settings.gamma * (a @ b - 1)) for b in other] for a in one])

    # min |K c - t|² + penalty c' K_m c, as one system of least squares: its root stands below the rows.
    near = likeness(z, z[landmarks])
    root = np.sqrt(settings.ridge) * np.linalg.cholesky(near[landmarks]).T
    right = np.concatenate([targets, np.zeros((len(landmarks), 7))])
    coefficients = np.linalg.lstsq(np.concatenate([near, root]), right, rcond=None)[0]
    return unit(prefix_mean + likeness(new, z[landmarks]) @ coefficients)


def test_regression_is_kernel_ridge_regression() -> None:
    """With all rows as landmarks it is (K + penalty I)^-1 of embeddings without their mean, which is added again."""
    expected = by_hand(REGRESSION, np.arange(50))
    np.testing.assert_allclose(fitted(ROWS, REGRESSION).predict(NEW), expected, atol=1e-5)


@pytest.mark.parametrize("count", [49, 20, 1])
def test_with_fewer_landmarks_all_rows_are_fitted(count: int) -> None:
    """It is the least squares of all rows by functions of the landmarks, not a regression on these alone."""
    found = fitted(ROWS, REGRESSION, count)
    assert found.landmarks.shape == (count, 12)
    z = unit(unit(IMAGE) - unit(IMAGE).mean(axis=0))
    chosen = np.argmax(found.landmarks @ z.T, axis=1)
    np.testing.assert_allclose(found.landmarks, z[chosen], atol=1e-6)
    np.testing.assert_allclose(found.predict(NEW), by_hand(REGRESSION, chosen), atol=1e-5)


def test_a_few_landmarks_of_many_rows_come_close_to_all() -> None:
    """Where pictures vary in a few ways only, 100 landmarks of 1,500 rows predict what all of them do."""
    random = np.random.default_rng(4)
    ways = random.normal(size=(1500, 3))
    image, prefix = np.tanh(ways @ random.normal(size=(3, 30))), np.tanh(ways @ random.normal(size=(3, 10)))
    rows = Rows(image.astype(np.float32), prefix.astype(np.float32), np.arange(1500))
    full, few = (fitted(rows, REGRESSION, count).predict(rows.image) for count in (1500, 100))
    cosines = (full * few).sum(axis=1)
    assert cosines.mean() > 0.995
    assert (full * unit(prefix)).sum(axis=1).mean() > 0.98


@pytest.mark.parametrize("gamma", [0.5, 8.0])
def test_copies_among_the_landmarks_make_nothing_singular(gamma: float) -> None:
    """30 pictures four times over, each twice among the landmarks, give what all rows as landmarks give."""
    many = Rows(np.tile(IMAGE[:30], (4, 1)), PREFIX[np.arange(120) % 50], np.arange(120) % 30)
    settings = replace(REGRESSION, gamma=gamma)
    full, copies = fitted(many, settings), fitted(many, settings, 60)
    assert (len(full.landmarks), len(copies.landmarks)) == (120, 60)
    assert len(np.unique(copies.landmarks.round(5), axis=0)) == 30
    np.testing.assert_allclose(copies.predict(NEW), full.predict(NEW), atol=1e-4)
    assert np.abs(copies.coefficients).max() < 100


@pytest.mark.parametrize("count", [3, 20, 50])
def test_neighbours_are_averaged_by_hand(count: int) -> None:
    """Of at most 20 nearest landmarks, the targets are summed with weights exp(cosine / temperature), of sum 1."""
    random = np.random.default_rng(5)
    cosines = random.uniform(-1, 1, (6, count)).astype(np.float32)
    targets = random.normal(size=(count, 4)).astype(np.float32)
    expected = np.zeros((6, 4))
    for row in range(6):
        nearest = sorted(range(count), key=lambda at: -cosines[row, at])[:20]
        weights = [np.exp(float(cosines[row, at]) / 0.3) for at in nearest]
        for at, weight in zip(nearest, weights, strict=True):
            expected[row] += weight / sum(weights) * targets[at]
    np.testing.assert_allclose(neighbours_average(cosines, targets, 0.3), expected, atol=1e-5)


def test_a_low_temperature_takes_the_nearest() -> None:
    """Weights don't overflow: next to nothing is left of those that are less near."""
    cosines = np.array([[0.2, 0.9, -1.0]], np.float32)
    np.testing.assert_array_equal(neighbours_average(cosines, np.eye(3, dtype=np.float32), 1e-3), [[0, 1, 0]])


@pytest.mark.parametrize(("share", "mean_share"), [(0.0, 1.0), (0.25, 0.5), (1.0, 0.0)])
def test_a_prediction_joins_both_and_the_mean(share: float, mean_share: float) -> None:
    """It is unit(s mean + (1 - w) regression + w average), of length one and in float32."""
    settings = replace(REGRESSION, neighbour_share=share, mean_share=mean_share, temperature=0.3)
    found = fitted(ROWS, settings)
    z = unit(unit(NEW) - unit(IMAGE).mean(axis=0)).astype(np.float32)
    cosines = z @ found.landmarks.T
    regression = kernel(cosines, 3) @ found.coefficients
    average = neighbours_average(cosines, found.targets, 0.3)
    expected = unit(mean_share * found.prefix_mean + (1 - share) * regression + share * average)
    predicted = found.predict(NEW)
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(predicted, axis=1), 1, atol=1e-6)
    assert predicted.dtype == np.float32
    assert {getattr(found, name).dtype for name in ("image_mean", "prefix_mean", "landmarks", "targets")} == {
        np.dtype(np.float32)
    }
    assert found.coefficients.dtype == np.float32


def test_lengths_of_features_and_embeddings_say_nothing() -> None:
    """Raw and unit rows give the same map and the same predictions."""
    lengths = np.random.default_rng(6).uniform(0.1, 30, (50, 1)).astype(np.float32)
    expected = fitted(ROWS, Settings(), 30).predict(NEW)
    other = fitted(Rows(IMAGE * lengths, PREFIX * lengths[::-1], ROWS.groups), Settings(), 30).predict(NEW * 5)
    np.testing.assert_allclose(other, expected, atol=1e-5)


@pytest.mark.parametrize("count", [30, 50])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Fitted to, and predicted for, a row or two at a time the result is that of all at once."""
    expected = fitted(ROWS, Settings(), count).predict(NEW)
    monkeypatch.setattr(model, "_BLOCK_FLOATS", 100)
    np.testing.assert_allclose(fitted(ROWS, Settings(), count).predict(NEW), expected, atol=1e-5)
    assert fitted(ROWS, Settings(), count).predict(NEW[:0]).shape == (0, 7)


def test_a_block_at_a_time_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither fitting nor predicting copies all rows, or compares all of them with the landmarks at once.

    Of 60,000 rows the features are 15 MB, the kernel would be 24 MB, and a permutation, as landmarks need, is 0.5.
    """
    monkeypatch.setattr(model, "_BLOCK_FLOATS", 100_000)
    random = np.random.default_rng(7)
    image, prefix = (random.random((60_000, dim), np.float32) - np.float32(0.5) for dim in (64, 4))
    rows = Rows(image, prefix, np.arange(60_000))
    tracemalloc.start()
    try:
        found = fitted(rows, Settings(), 100)
        assert tracemalloc.get_traced_memory()[1] < 8e6
        tracemalloc.reset_peak()
        predicted = found.predict(image)
        assert tracemalloc.get_traced_memory()[1] < predicted.nbytes + 4e6
    finally:
        tracemalloc.stop()


def test_plain_ridge_is_ridge_regression() -> None:
    """It is (X'X + penalty I)^-1 X'Y of centred rows with an intercept, though it is solved by way of XX'."""
    image, prefix = unit(IMAGE).astype(np.float32), unit(PREFIX).astype(np.float32)
    x, y = image - image.mean(axis=0, dtype=float), prefix - prefix.mean(axis=0, dtype=float)
    weights = np.linalg.inv(x.T @ x + 0.3 * np.eye(12)) @ x.T @ y
    new = unit(NEW).astype(np.float32)
    expected = unit((new - image.mean(axis=0, dtype=float)) @ weights + prefix.mean(axis=0, dtype=float))
    np.testing.assert_allclose(plain_ridge(image, prefix, 0.3)(new), expected, atol=1e-5)


def test_solving_leaves_the_matrix_as_it_is() -> None:
    """The penalty is added to a copy, also of a matrix that is in double precision already."""
    matrix = np.eye(3)
    np.testing.assert_array_equal(solve(matrix, np.ones((3, 1)), 1.0), np.full((3, 1), 0.5))
    np.testing.assert_array_equal(matrix, np.eye(3))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((2, 11), np.float32), r"expected image features of shape \(n, 12\), found \(2, 11\)"),
        (np.ones(12, np.float32), r"expected image features of shape \(n, 12\), found \(12,\)"),
        (np.eye(12, dtype=np.float32) * 0, r"finite and not zero, found row 0 of length 0\.0: leave such rows out"),
        (np.r_[NEW, NEW * np.float32("nan")], r"finite and not zero, found row 9 of length nan"),
        (np.r_[NEW[:3], NEW * np.float32("inf")], r"finite and not zero, found row 3 of length inf"),
    ],
)
def test_rows_that_can_not_be_predicted_are_refused(rows: np.ndarray, message: str) -> None:
    """Features of another length, zero or not finite are an error that says which."""
    with pytest.raises(ValueError, match=message):
        fitted(ROWS, AVERAGE).predict(rows)
