"""Groups and splits, against loops written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fpve.splits import components, folds, half, near_duplicates, spread


def union_find(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    """The first row of each row's component, by following one link after the other."""
    first = list(range(count))
    for left, right in pairs:
        one, other = first[left], first[right]
        first = [min(one, other) if each in (one, other) else each for each in first]
    return first


@pytest.mark.parametrize("seed", range(20))
def test_components_are_those_of_a_union_find(seed: int) -> None:
    """Rows are of one component if codes or pairs tie them, directly or through others; a code below 0 ties nothing."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 60))
    codes = [random.integers(-2, high, count) for high in (count, 2 * count)]
    drawn = random.integers(count, size=(2, count // 4))
    links = [(int(left), int(right)) for left, right in drawn.T]
    for code in codes:
        links += [(i, j) for i in range(count) for j in range(i) if code[i] == code[j] >= 0]
    np.testing.assert_array_equal(components(codes, (drawn[0], drawn[1])), union_find(count, links))
    links = [(i, j) for i in range(count) for j in range(i) if codes[0][i] == codes[0][j] >= 0]
    np.testing.assert_array_equal(components([codes[0]]), union_find(count, links))


def test_a_long_chain_is_one_component() -> None:
    """Each row is tied to the next one only, in an order that is no help; all are of row 0."""
    order = np.random.default_rng(0).permutation(2000)
    assert not components([np.arange(2000)], (order[:-1], order[1:])).any()
    pairs = np.arange(2000) // 2
    np.testing.assert_array_equal(components([pairs, (np.arange(2000) + 1) // 2]), np.zeros(2000))


def test_no_rows_have_no_components() -> None:
    """Nothing is split into nothing."""
    assert len(components([np.zeros(0, np.int64)])) == 0


def test_near_duplicates_are_pairs_from_a_cosine_of_97() -> None:
    """Each pair is named once, the first row first; .96 is too far."""
    angles = np.arccos([1.0, 0.97001, 0.96, -1.0])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    expected = [(i, j) for i in range(4) for j in range(i + 1, 4) if rows[i] @ rows[j] >= 0.97]
    assert (0, 1) in expected
    assert (0, 2) not in expected
    assert list(zip(*(side.tolist() for side in near_duplicates(rows)), strict=True)) == expected


@pytest.mark.parametrize("seed", range(10))
def test_halves_keep_groups_whole(seed: int) -> None:
    """No group is on both sides, never more than half of the rows are held out, and less by a single row at most.

    That near is possible because there are groups of one row.
    """
    random = np.random.default_rng(seed)
    groups = np.r_[random.integers(40, size=150), 100 + np.arange(50)]
    held = half(groups, random)
    assert not set(groups[held]) & set(groups[~held])
    assert 99 <= held.sum() <= 100


def test_a_group_that_fits_no_half_is_learnt_from() -> None:
    """A group of more than half of the rows is never held out; others are, and something is left beside it."""
    groups = np.r_[np.zeros(400, np.int64), np.arange(1, 20)]
    for seed in range(10):
        held = half(groups, np.random.default_rng(seed))
        assert not held[:400].any()
        # Two thirds of 20 groups.
        assert held.sum() == 13


def test_one_large_group_does_not_end_the_half() -> None:
    """A group that no longer fits is passed over, and those after it are taken."""
    groups = np.r_[np.zeros(90, np.int64), np.ones(90, np.int64), np.arange(2, 202)]
    for seed in range(10):
        assert half(groups, np.random.default_rng(seed)).sum() >= 133


@pytest.mark.parametrize("count", [2, 5])
def test_folds_keep_groups_whole(count: int) -> None:
    """Each row is outside of one fold, inside of the others, and with its group; folds are of equally many groups."""
    random = np.random.default_rng(1)
    groups = random.integers(33, size=200)
    outsides = []
    for inside, outside in folds(groups, count, random):
        assert not set(groups[inside]) & set(groups[outside])
        np.testing.assert_array_equal(np.sort(np.r_[inside, outside]), np.arange(200))
        assert len(set(groups[outside])) in (33 // count, 33 // count + 1)
        outsides.append(outside)
    assert len(outsides) == count
    np.testing.assert_array_equal(np.sort(np.concatenate(outsides)), np.arange(200))


@pytest.mark.parametrize("limit", [1, 7, 30, 31, 95])
def test_rows_are_spread_over_groups(limit: int) -> None:
    """So many rows as are asked for, ascending; no group has two more than another that still has one to give."""
    random = np.random.default_rng(2)
    groups = random.permutation(np.r_[np.repeat(np.arange(10), 7), np.arange(10, 40)])
    chosen = spread(groups, limit, random)
    assert len(chosen) == limit
    assert np.all(np.diff(chosen) > 0)
    taken, sizes = np.bincount(groups[chosen], minlength=40), np.bincount(groups)
    assert np.all(taken <= sizes)
    assert taken.max() <= taken[taken < sizes].min() + 1


def test_all_rows_are_taken_where_there_are_few() -> None:
    """With no more rows than the limit, nothing is drawn."""
    np.testing.assert_array_equal(spread(np.array([3, 3, 1]), 3, np.random.default_rng(0)), [0, 1, 2])


def test_each_row_of_a_group_is_drawn_now_and_then() -> None:
    """Which row stands for its group is left to chance."""
    groups = np.repeat(np.arange(3), 2)
    drawn = {tuple(spread(groups, 3, np.random.default_rng(seed)).tolist()) for seed in range(100)}
    assert drawn == {(a, 2 + b, 4 + c) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
