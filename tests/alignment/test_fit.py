"""Fitting: what is chosen, what is measured, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpve.alignment import Alignment, Fitted, Settings, fit, fit_alignment
from fpve.alignment.fit import choose, choose_penalty
from fpve.alignment.model import Rows
from fpve.errors import AlignmentError

ARRAYS = ("image_mean", "prefix_mean", "landmarks", "targets", "coefficients")


def collection(count: int, *, seed: int = 0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 40) and embeddings (n, 24) of pictures that differ in three ways, float32; embeddings in waves.

    With a larger count the first ones are the same.
    """
    random = np.random.default_rng(seed)
    to_image, to_prefix = random.normal(size=(3, 40)), random.normal(size=(3, 24))
    ways, image_noise, prefix_noise = np.split(random.normal(size=(count, 67)), [3, 43], axis=1)
    image = np.tanh(ways @ to_image) + noise * image_noise
    prefix = np.sin(2 * ways @ to_prefix) + noise * prefix_noise + 0.5
    return (20 * image).astype(np.float32), prefix.astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """Of 160 captioned pictures."""
    return fit_alignment(*collection(160), np.arange(160))


def test_texts_find_pictures_that_were_not_seen(fitted: Fitted) -> None:
    """Recall is several times that of chance, higher than that of plain ridge regression, and rises with k."""
    assert (fitted.rows, fitted.prefixes, fitted.held_out) == (160, 160, 80)
    assert fitted.chance == pytest.approx({1: 1 / 80, 5: 5 / 80, 10: 10 / 80})
    assert fitted.recall[5] > 6 * fitted.chance[5]
    assert fitted.recall[10] > 4 * fitted.chance[10]
    assert fitted.recall[1] < fitted.recall[5] < fitted.recall[10]
    assert all(fitted.recall[k] > fitted.ridge[k] > fitted.chance[k] for k in (1, 5, 10))


def test_predictions_are_like_what_pictures_are_called(fitted: Fitted) -> None:
    """Of pictures that nobody captioned, they are unit vectors in float32, and each text finds its own among 200."""
    image, prefix = (rows[160:] for rows in collection(360))
    predicted = fitted.alignment.predict(image)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(predicted, axis=1), 1, atol=1e-6)
    cosines = prefix @ predicted.T
    among_ten = (cosines > np.diag(cosines)[:, None]).sum(axis=1) < 10
    assert among_ten.mean() > 0.3
    assert 0.5 <= fitted.alignment.norm < 1


def test_the_same_seed_gives_the_same_map(fitted: Fitted) -> None:
    """Fitted again, everything is the same to the bit; another seed holds out others, and measures otherwise."""
    again, other = (fit_alignment(*collection(160), np.arange(160), seed=seed) for seed in (0, 1))
    assert_same(again.alignment, fitted.alignment)
    assert replace(again, alignment=fitted.alignment) == fitted
    assert other.recall != fitted.recall
    np.testing.assert_array_equal(other.alignment.landmarks, fitted.alignment.landmarks)


def test_inputs_are_left_as_they_are() -> None:
    """Rows are scaled in copies."""
    image, prefix = collection(60)
    before = image.copy(), prefix.copy()
    fit_alignment(image, prefix, np.arange(60))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(prefix, before[1])


def test_with_fewer_landmarks_than_rows_it_is_nearly_as_good(fitted: Fitted) -> None:
    """70 landmarks of 160 rows predict nearly what all do, of pictures that neither has seen; seeds draw others."""
    image, prefix = collection(160)
    few, other = (fit_alignment(image, prefix, np.arange(160), max_landmarks=70, seed=seed) for seed in (0, 1))
    assert few.alignment.landmarks.shape == (70, 40)
    assert few.alignment.coefficients.shape == few.alignment.targets.shape == (70, 24)
    assert few.recall[10] > 0.7 * fitted.recall[10]
    new = collection(360)[0][160:]
    cosines = (few.alignment.predict(new) * fitted.alignment.predict(new)).sum(axis=1)
    assert np.median(cosines) > 0.9
    assert not np.array_equal(few.alignment.landmarks, other.alignment.landmarks)


def test_copies_don_t_tell_their_names() -> None:
    """Texts that have nothing to do with pictures are found by chance, though each picture has a near-duplicate.

    If a near-duplicate were learnt from, it would tell that of the other side what it is called: all would be found.
    """
    random = np.random.default_rng(1)
    image = np.repeat(random.normal(size=(80, 40)), 2, axis=0) + 0.05 * random.normal(size=(160, 40))
    prefix = np.repeat(random.normal(size=(80, 24)), 2, axis=0) + 0.05 * random.normal(size=(160, 24))
    cosines = np.corrcoef(image)[::2, 1::2]
    assert np.diag(cosines).min() > 0.98
    found = fit_alignment(image.astype(np.float32), prefix.astype(np.float32), np.arange(160))
    assert (found.rows, found.prefixes, found.held_out) == (160, 160, 80)
    assert found.recall[10] < 2 * found.chance[10]
    assert found.ridge[10] < 2 * found.chance[10]


def test_rows_of_a_group_stay_together() -> None:
    """So is it with rows of one prefix: their pictures differ, but one would give the other's text away."""
    random = np.random.default_rng(2)
    groups = np.repeat(np.arange(80), 2)
    image = random.normal(size=(160, 40)).astype(np.float32)
    prefix = random.normal(size=(80, 24)).astype(np.float32)[groups]
    found = fit_alignment(image, prefix, groups)
    assert (found.rows, found.prefixes, found.held_out) == (160, 80, 80)
    assert found.recall[10] < 2 * found.chance[10]


def test_recall_is_that_of_centred_texts_where_these_are_centred(fitted: Fitted) -> None:
    """With a centre other scores are compared; that a direction is common to all texts says nothing then."""
    image, prefix = collection(160)
    centre = (prefix / np.linalg.norm(prefix, axis=1, keepdims=True)).mean(axis=0)
    found = fit_alignment(image, prefix, np.arange(160), centre=centre)
    assert found.recall != fitted.recall
    assert found.recall[10] > 4 * found.chance[10]
    zero = fit_alignment(image, prefix, np.arange(160), centre=np.zeros(24, np.float32))
    assert zero.recall == fitted.recall


def linear() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (160, 40), embeddings (160, 6) that are a linear function of them, and noise of about their length."""
    random = np.random.default_rng(0)
    image = random.normal(size=(160, 40))
    prefix, noise = image @ random.normal(size=(40, 6)), np.sqrt(40) * random.normal(size=(160, 6))
    return image.astype(np.float32), prefix.astype(np.float32), noise.astype(np.float32)


def test_settings_are_chosen_by_what_serves() -> None:
    """Where embeddings are a linear function of features, averages of neighbours blur it and get no say.

    Where nothing serves, the defaults stand.
    """
    image, prefix, noise = linear()
    chosen = choose(Rows(image, prefix, np.arange(160)), None, np.random.default_rng(0))
    assert (chosen.gamma, chosen.neighbour_share) == (1, 0)
    assert choose(Rows(image, noise, np.arange(160)), None, np.random.default_rng(0)) == Settings()


def test_a_penalty_is_chosen_by_what_serves() -> None:
    """Rows of a linear map without noise need the least penalty; with much noise, more."""
    image, prefix, noise = linear()
    penalties = [
        choose_penalty(Rows(image, one, np.arange(160)), None, np.random.default_rng(0))
        for one in (prefix, prefix + 3 * noise)
    ]
    assert penalties[0] == 0.1
    assert penalties[1] >= 1


def test_many_rows_are_measured_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more rows than can be compared, half of a sample is held out; the map is fitted to all."""
    monkeypatch.setattr(fit, "_SAMPLE", 100)
    monkeypatch.setattr(fit, "_CHOICE", 60)
    found = fit_alignment(*collection(160), np.arange(160))
    assert (found.rows, found.prefixes, found.held_out) == (160, 160, 50)
    assert len(found.alignment.landmarks) == 160
    assert found.recall[10] > 2 * found.chance[10]


def test_one_large_group_is_no_obstacle() -> None:
    """Where most rows share a prefix, the others are enough to choose and measure by."""
    image, prefix = collection(160)
    prefix[20:] = prefix[20]
    groups = np.minimum(np.arange(160), 20)
    found = fit_alignment(image, prefix, groups)
    assert (found.rows, found.prefixes, found.held_out) == (160, 21, 14)


def test_twenty_rows_are_enough() -> None:
    """With 20 prefixes of their own there is a map, and something to measure it by."""
    found = fit_alignment(*collection(20), np.arange(20))
    assert (found.rows, found.prefixes, found.held_out) == (20, 20, 10)
    assert found.chance[10] == 1


@pytest.mark.parametrize(
    ("count", "names", "found"),
    [
        (0, [], "found 0 distinct prefixes, and 0 groups of 0 pictures"),
        (19, range(19), "found 19 distinct prefixes, and 19 groups of 19 pictures"),
        (1200, [0, 1, 2] * 400, "found 3 distinct prefixes, and 3 groups of 1,200 pictures"),
    ],
)
def test_too_few_prefixes_are_refused(count: int, names: list[int], found: str) -> None:
    """So it is with fewer than 20 prefixes on however many pictures; the text counts both, and says what to do."""
    image, prefix = collection(count)
    groups = np.array(names, np.int64)
    with pytest.raises(AlignmentError, match=r"expected at least 20 pictures with prefixes of their own") as caught:
        fit_alignment(image, prefix[: len(set(names))][groups], groups)
    assert str(caught.value) == (
        f"expected at least 20 pictures with prefixes of their own to learn from, {found} that share none and are no "
        "copies: give more pictures a prefix, or prefixes that tell them apart"
    )


def test_copies_of_too_few_pictures_are_refused() -> None:
    """30 prefixes on copies of ten pictures are no more than ten pictures."""
    image, prefix = collection(30)
    with pytest.raises(AlignmentError, match="found 30 distinct prefixes, and 10 groups of 30 pictures"):
        fit_alignment(image[np.arange(30) % 10], prefix, np.arange(30))


def spoilt(rows: np.ndarray, value: float) -> np.ndarray:
    """Rows of which the seventh is of one value only."""
    rows = rows.copy()
    rows[7] = value
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda image, prefix: (spoilt(image, np.nan), prefix),
            "image features that are finite and not zero, found row 7",
        ),
        (lambda image, prefix: (spoilt(image, 0), prefix), r"image features .* found row 7 of length 0\.0: leave such"),
        (lambda image, prefix: (image, spoilt(prefix, np.inf)), "prefix embeddings .* found row 7 of length inf"),
        (lambda image, prefix: (image, spoilt(prefix, 0)), r"prefix embeddings .* found row 7 of length 0\.0"),
        (lambda image, prefix: (image[0], prefix), r"expected image features of shape \(n, 40\), found \(40,\)"),
        (lambda image, prefix: (image, prefix[None]), r"prefix embeddings of shape \(n, 24\), found \(1, 30, 24\)"),
        (lambda image, prefix: (image[1:], prefix), "expected equal numbers of rows, found 29, 30 and 30"),
    ],
)
def test_rows_that_nothing_can_be_learnt_from_are_refused(change: object, message: str) -> None:
    """NaN, zero rows, other shapes and unequal numbers are errors that say where."""
    image, prefix = change(*collection(30))  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        fit_alignment(image, prefix, np.arange(30))


def test_a_centre_of_another_length_is_refused() -> None:
    """It would be taken from every embedding number by number, if it were of length one."""
    with pytest.raises(ValueError, match=r"expected a centre of shape \(24,\), found \(1,\)"):
        fit_alignment(*collection(30), np.arange(30), centre=np.zeros(1, np.float32))


def assert_same(one: Alignment, other: Alignment) -> None:
    """Every array and number is the same to the bit."""
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.settings, one.norm) == (other.settings, other.norm)
