"""What is held out: whole clusters, of each class its share, and never all of a class."""

from __future__ import annotations

import numpy as np

from fpve.heads.split import held_out


def test_each_class_is_held_out_by_its_share() -> None:
    """Where every row is a cluster of its own, a fifth of each class is held out."""
    codes = np.repeat([0, 1, 2], [100, 50, 10])
    held = held_out(codes, np.arange(160), 0.2, np.random.default_rng(0))
    assert np.bincount(codes[held]).tolist() == [20, 10, 2]


def test_clusters_stay_whole() -> None:
    """No cluster is on both sides, whatever classes it has."""
    random = np.random.default_rng(1)
    codes, clusters = random.integers(0, 4, 300), random.integers(0, 60, 300)
    held = held_out(codes, clusters, 0.2, np.random.default_rng(0))
    assert not set(clusters[held]) & set(clusters[~held])
    assert np.all(np.bincount(codes[held], minlength=4) <= np.bincount(codes) * 0.2 + 0.5)
    assert held.sum() >= 0.15 * 300


def test_no_class_is_held_out_whole() -> None:
    """A class of one image, or of one cluster, stays to be learnt from."""
    codes = np.array([0] * 40 + [1] + [2] * 10 + [3, 3])
    clusters = np.array([*range(40), 40, *[41] * 10, 42, 43])
    for seed in range(20):
        held = held_out(codes, clusters, 0.9, np.random.default_rng(seed))
        assert set(codes[~held]) == {0, 1, 2, 3}
        assert not held[40]
        assert not held[41:51].any()


def test_the_same_seed_holds_out_the_same() -> None:
    """The split depends on the seed, and on nothing else that is random."""
    codes, clusters = np.repeat([0, 1], 30), np.arange(60)
    one, other, another = (held_out(codes, clusters, 0.3, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, another)
