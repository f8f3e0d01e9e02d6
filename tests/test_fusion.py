"""The formula, against NumPy written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fpve.fusion import Blocks, Centre, Fusion

RNG = np.random.default_rng(7)
IMAGE = (RNG.normal(size=(6, 5)) * 20).astype(np.float32)
PREFIX = RNG.normal(size=(6, 3)).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length one."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_balanced_is_both_unit_blocks_over_sqrt_two() -> None:
    """Balanced rows are [f^ ; p^] / sqrt(2), of length one, with the raw norms beside."""
    rows = Fusion(5, 3).fuse(IMAGE, PREFIX)
    np.testing.assert_allclose(rows.vectors, np.hstack([unit(IMAGE), unit(PREFIX)]) / np.sqrt(2), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows.vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(rows.image_norm, np.linalg.norm(IMAGE, axis=1), rtol=1e-6)
    np.testing.assert_allclose(rows.prefix_norm, np.linalg.norm(PREFIX, axis=1), rtol=1e-6)


def test_concat_is_the_bare_formula() -> None:
    """Concat rows are [f ; p] / ||[f ; p]||."""
    rows = Fusion(5, 3, "concat").fuse(IMAGE, PREFIX)
    np.testing.assert_allclose(rows.vectors, unit(np.hstack([IMAGE, PREFIX])), atol=1e-6)


@pytest.mark.parametrize("mode", ["balanced", "concat"])
def test_raw_blocks_are_recovered(mode: str) -> None:
    """Both norms are enough to get f and p back from a row, and one mode from the other."""
    fusion, other = Fusion(5, 3, mode), Fusion(5, 3, "concat" if mode == "balanced" else "balanced")
    rows = fusion.fuse(IMAGE, PREFIX)
    image, prefix = fusion.unfuse(rows)
    np.testing.assert_allclose(image, IMAGE, rtol=1e-5, atol=1e-5)
    # In concat a prefix is a small part of the vector, so float32 leaves it fewer digits.
    np.testing.assert_allclose(prefix, PREFIX, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fusion.rescale(rows, other.mode).vectors, other.fuse(IMAGE, PREFIX).vectors, atol=1e-5)


def test_a_missing_block_is_zero_and_the_other_keeps_its_share() -> None:
    """A row without prefix has a zero block, norm 0 and an image block of length 1/sqrt(2); in concat of length 1."""
    prefix = PREFIX.copy()
    prefix[2] = 0
    rows = Fusion(5, 3).fuse(IMAGE, prefix)
    assert not rows.vectors[2, 5:].any()
    assert rows.prefix_norm[2] == 0
    np.testing.assert_allclose(np.linalg.norm(rows.vectors[2]), 1 / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(Fusion(5, 3, "concat").fuse(IMAGE, prefix).vectors[2]), 1, rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_a_query_scores_the_weighted_cosines(weight: float) -> None:
    """In balanced, q·v = A cos_image + (1 - A) cos_prefix, with missing cosines as 0; `scores` says the same."""
    prefix = PREFIX.copy()
    prefix[4] = 0
    fusion = Fusion(5, 3)
    rows = fusion.fuse(IMAGE, prefix)
    query_image, query_prefix = IMAGE[:2] + 1, PREFIX[:2] - 1
    expected = weight * unit(query_image) @ unit(IMAGE).T
    cosine = unit(query_prefix) @ np.nan_to_num(unit(np.where(prefix == 0, np.nan, prefix))).T
    expected = expected + (1 - weight) * cosine
    np.testing.assert_allclose(fusion.query(query_image, query_prefix, weight) @ rows.vectors.T, expected, atol=1e-5)
    scores = fusion.scores(query_image, query_prefix, weight, np.stack([rows.vectors] * 2))
    np.testing.assert_allclose(scores.total, expected, atol=1e-5)
    assert np.isnan(scores.prefix[:, 4]).all()
    assert not np.isnan(scores.image).any()


def test_concat_query_at_one_half_is_the_bare_formula() -> None:
    """In concat at A = 0.5 the query is fused as the rows are, so that a row finds itself with score 1."""
    fusion = Fusion(5, 3, "concat")
    rows = fusion.fuse(IMAGE, PREFIX)
    np.testing.assert_allclose(np.diag(fusion.query(IMAGE, PREFIX, 0.5) @ rows.vectors.T), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "prefix", "message"),
    [
        (IMAGE[:, :4], PREFIX, r"image blocks of shape \(6, 5\), found \(6, 4\)"),
        (IMAGE, PREFIX[:5], r"prefix blocks of shape \(6, 3\), found \(5, 3\)"),
        (np.full_like(IMAGE, np.nan), PREFIX, "finite image blocks"),
        (np.zeros_like(IMAGE), np.zeros_like(PREFIX), "neither"),
    ],
)
def test_wrong_blocks_are_refused(image: np.ndarray, prefix: np.ndarray, message: str) -> None:
    """Blocks of wrong shape, with NaN, or both missing raise an error that shows what was found."""
    with pytest.raises(ValueError, match=message):
        Fusion(5, 3).fuse(image, prefix)


# What is searched: centred blocks, and predictions.

MEANS = {
    "image": np.array([0.3, -0.2, 0.1, 0.4, 0.2], np.float32),
    "prefix": np.array([-0.5, 0.3, 0.2], np.float32),
}


def centre(*names: str) -> Centre:
    """Means of the blocks of these names."""
    return Centre("v1", *(MEANS[name] if name in names else None for name in ("image", "prefix")))


def less(blocks: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
    """Unit blocks less a mean, of length one again; missing ones stay zero."""
    found = np.zeros(blocks.shape)
    for at, block in enumerate(blocks.astype(np.float64)):
        if np.any(block):
            found[at] = unit(unit(block) - (0 if mean is None else mean))
    return found


def lengths(rows: np.ndarray) -> np.ndarray:
    """Lengths (n, 1) of rows."""
    return np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("names", [(), ("image",), ("prefix",), ("image", "prefix")])
def test_searched_blocks_are_centred(seed: int, names: tuple[str, ...]) -> None:
    """Each unit block less its mean, scaled to 1/sqrt(2); a missing block stays zero, one without a mean as it was."""
    rng = np.random.default_rng(seed)
    image = (rng.normal(size=(50, 5)) * rng.uniform(1, 40, size=(50, 1))).astype(np.float32)
    prefix = rng.normal(size=(50, 3)).astype(np.float32)
    image[::9], prefix[1::3] = 0, 0
    fusion = Fusion(5, 3, centre=centre(*names))
    rows = fusion.fuse(image, prefix)
    searched = fusion.searched(rows)
    for name, block, part in (("image", image, slice(0, 5)), ("prefix", prefix, slice(5, 8))):
        expected = less(block, MEANS[name] if name in names else None) / np.sqrt(2)
        np.testing.assert_allclose(searched[:, part], expected, atol=1e-6)
        if name not in names:
            assert np.array_equal(searched[:, part], rows.vectors[:, part])


def test_without_centre_and_predictions_rows_are_searched_as_they_are() -> None:
    """Not a bit differs."""
    for mode in ("balanced", "concat"):
        rows = Fusion(5, 3, mode).fuse(IMAGE, PREFIX)
        assert Fusion(5, 3, mode).searched(rows) is rows.vectors


@pytest.mark.parametrize("mode", ["balanced", "concat"])
@pytest.mark.parametrize("seed", range(5))
def test_raw_blocks_are_recovered_from_searched_vectors(mode: str, seed: int) -> None:
    """f^ = mu + t f~ is solved for the one t > 0: features and embeddings come back to 1e-5 of their length."""
    rng = np.random.default_rng(seed)
    image = (np.abs(rng.normal(size=(200, 40))) * 20).astype(np.float32)
    prefix = rng.normal(size=(200, 16)).astype(np.float32) + 1
    prefix /= np.linalg.norm(prefix, axis=1, keepdims=True)
    prefix[::3] = 0
    means = (unit(image).mean(axis=0), unit(prefix[np.any(prefix, axis=1)]).mean(axis=0))
    fusion = Fusion(40, 16, mode, Centre("v1", *means))
    rows = fusion.fuse(image, prefix)
    assert (np.linalg.norm(means[0]) > 0.7, np.linalg.norm(means[1]) > 0.6) == (True, True)
    found = fusion.recovered(rows._replace(vectors=fusion.searched(rows)))
    np.testing.assert_allclose(unit(found.image), unit(image), atol=1e-5)
    np.testing.assert_allclose(found.image, image, rtol=1e-4, atol=1e-3)
    # In concat a prefix is a small part of the vector, so float32 leaves it fewer digits.
    np.testing.assert_allclose(found.prefix, prefix, atol=1e-5 if mode == "balanced" else 1e-4)
    # Predictions are not recovered: the row has no prefix.
    guessed = fusion.searched(rows, np.full_like(prefix, 0.1))
    assert not fusion.recovered(rows._replace(vectors=guessed)).prefix[::3].any()


@pytest.mark.parametrize("offset", [0.01, 0.1, 1.0])
def test_blocks_on_either_side_of_the_mean_are_recovered(offset: float) -> None:
    """The angle between a centred block and the mean is anything from acute to nearly straight."""
    mean = np.array([0.9, 0.1, 0.0], np.float32)
    angles = np.linspace(0, 2 * np.pi, 100)
    blocks = np.stack([np.full(100, 1 / offset), np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    fusion = Fusion(3, 0, centre=Centre("v1", mean, None))
    rows = fusion.fuse(blocks, None)
    found = fusion.recovered(rows._replace(vectors=fusion.searched(rows))).image
    np.testing.assert_allclose(unit(found), unit(blocks), atol=1e-5)


def test_a_constant_prefix_says_nothing() -> None:
    """Centred, all its blocks are zero: rankings are those by picture, though the query has the prefix as well."""
    constant = np.tile(PREFIX[:1], (6, 1))
    fusion = Fusion(5, 3, centre=Centre("v1", MEANS["image"], unit(PREFIX[0])))
    searched = fusion.searched(fusion.fuse(IMAGE, constant))
    assert not searched[:, 5:].any()
    with_it = fusion.query(IMAGE, constant, 0.5) @ searched.T
    np.testing.assert_allclose(with_it, 0.5 * (fusion.query(IMAGE, None, 1) @ searched.T), atol=1e-6)
    scores = fusion.scores(IMAGE, constant, 0.5, np.stack([searched] * 6))
    np.testing.assert_allclose(scores.total, with_it, atol=1e-6)
    assert np.isnan(scores.prefix).all()
    # What is left of a block that is equal to the mean but for another machine's rounding is nothing, too.
    near = constant + np.float32(1e-3) * RNG.normal(size=constant.shape).astype(np.float32)
    assert not fusion.searched(fusion.fuse(IMAGE, near))[:, 5:].any()


def test_a_block_equal_to_the_mean_counts_as_missing_and_is_recovered_as_the_mean() -> None:
    """It says no more than the mean does; the raw block that it was all but equal to comes back."""
    mean = unit(IMAGE[2].astype(np.float64)).astype(np.float32)
    fusion = Fusion(5, 3, centre=Centre("v1", mean, None))
    rows = fusion.fuse(IMAGE, PREFIX)
    searched = fusion.searched(rows)
    assert np.flatnonzero(~np.any(searched[:, :5], axis=1)).tolist() == [2]
    np.testing.assert_allclose(fusion.recovered(rows._replace(vectors=searched)).image, IMAGE, rtol=1e-4, atol=1e-3)
    scores = fusion.scores(IMAGE[:1], PREFIX[:1], 0.5, searched[None])
    assert np.flatnonzero(np.isnan(scores.image[0])).tolist() == [2]


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("names", [(), ("image", "prefix")])
def test_a_prediction_counts_times_its_length(weight: float, names: tuple[str, ...]) -> None:
    """Of length 0.4 it is worth 0.4 of a real prefix in the score; its cosine is whole, and real prefixes stay."""
    prefix = PREFIX.copy()
    prefix[[1, 4]] = 0
    guesses = np.zeros_like(PREFIX)
    guesses[1] = 0.4 * unit(np.array([1.0, 2.0, -1.0]))
    # Of a row that has a prefix, it is not looked at.
    guesses[3] = 0.9
    fusion = Fusion(5, 3, centre=centre(*names) if names else None)
    rows = fusion.fuse(IMAGE, prefix)
    searched = fusion.searched(rows, guesses)
    alone = fusion.searched(rows)
    assert np.array_equal(np.delete(searched, 1, axis=0), np.delete(alone, 1, axis=0))
    assert np.array_equal(searched[1, :5], alone[1, :5])
    assert np.linalg.norm(searched[1, 5:]) == pytest.approx(0.4 / np.sqrt(2), abs=1e-6)
    means = [MEANS[name] if names else None for name in ("image", "prefix")]
    image_cosine = less(IMAGE[:2], means[0]) @ less(IMAGE, means[0]).T
    prefix_cosine = (
        less(PREFIX[:2], means[1]) @ less(np.where(guesses * (prefix == 0) != 0, guesses, prefix), means[1]).T
    )
    damping = np.array([1, 0.4, 1, 1, 0, 1])
    expected = weight * image_cosine + (1 - weight) * prefix_cosine * damping
    np.testing.assert_allclose(fusion.query(IMAGE[:2], PREFIX[:2], weight) @ searched.T, expected, atol=1e-5)
    scores = fusion.scores(IMAGE[:2], PREFIX[:2], weight, np.stack([searched] * 2))
    np.testing.assert_allclose(scores.total, expected, atol=1e-5)
    np.testing.assert_allclose(scores.prefix[:, 1], prefix_cosine[:, 1], atol=1e-5)
    assert np.isnan(scores.prefix[:, 4]).all()


def test_concat_with_predictions_and_centred_blocks() -> None:
    """Blocks keep their raw lengths, in their centred directions; a row that takes no prediction stays as it was."""
    prefix = PREFIX.copy()
    prefix[[1, 4]] = 0
    guesses = np.zeros_like(PREFIX)
    guesses[1] = 0.5 * unit(np.array([1.0, 2.0, -1.0]))
    plain, centred = Fusion(5, 3, "concat"), Fusion(5, 3, "concat", centre("image", "prefix"))
    rows = plain.fuse(IMAGE, prefix)
    joined = np.where(guesses != 0, guesses, prefix)
    searched = plain.searched(rows, guesses)
    np.testing.assert_allclose(searched, unit(np.hstack([IMAGE, joined])), atol=1e-6)
    assert np.array_equal(np.delete(searched, 1, axis=0), np.delete(rows.vectors, 1, axis=0))
    image = less(IMAGE, MEANS["image"]) * lengths(IMAGE)
    expected = unit(np.hstack([image, less(joined, MEANS["prefix"]) * lengths(joined)]))
    np.testing.assert_allclose(centred.searched(rows, guesses), expected, atol=1e-5)
    query = unit(np.hstack([image, less(PREFIX, MEANS["prefix"]) * lengths(PREFIX)]))
    np.testing.assert_allclose(centred.query(IMAGE, PREFIX, 0.5), query, atol=1e-5)
    total = centred.scores(IMAGE[:1], PREFIX[:1], 0.5, expected[None].astype(np.float32)).total
    np.testing.assert_allclose(total, query[:1] @ expected.T, atol=1e-5)


def test_centring_keeps_lengths_and_treats_queries_as_rows() -> None:
    """`centred` moves directions only, and a row's own blocks as a query find it with score 1."""
    fusion = Fusion(5, 3, centre=centre("image", "prefix"))
    image, prefix = fusion.centred(Blocks(IMAGE, PREFIX))
    np.testing.assert_allclose(unit(image), less(IMAGE, MEANS["image"]), atol=1e-6)
    np.testing.assert_allclose(lengths(image), lengths(IMAGE), rtol=1e-5)
    np.testing.assert_allclose(lengths(prefix), lengths(PREFIX), rtol=1e-5)
    searched = fusion.searched(fusion.fuse(IMAGE, PREFIX))
    for weight in (0, 0.3, 1):
        np.testing.assert_allclose(np.diag(fusion.query(IMAGE, PREFIX, weight) @ searched.T), 1, atol=1e-5)


def test_texts_in_a_shared_space_have_the_mean_of_texts() -> None:
    """As image blocks of queries they are centred by the prefixes' mean, and not at all where that is not known."""
    means = Centre("v1", np.array([0.5, 0.1, 0.2], np.float32), MEANS["prefix"])
    fusion = Fusion(3, 3, centre=means)
    found = fusion.across.query(PREFIX, None, 1)[:, :3] / np.sqrt(2)
    np.testing.assert_allclose(found, less(PREFIX, MEANS["prefix"]), atol=1e-6)
    bare = Fusion(3, 3, centre=Centre("v1", means.image, None))
    np.testing.assert_allclose(bare.across.query(PREFIX, None, 1)[:, :3] / np.sqrt(2), unit(PREFIX), atol=1e-6)
    assert Fusion(3, 3).across == Fusion(3, 3)
    assert fusion.across != fusion
