"""The formula, against NumPy written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fpve.fusion import Fusion

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
