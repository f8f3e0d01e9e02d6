"""Recall, chance and lengths of predictions, against loops and simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from fpve.alignment import Question
from fpve.alignment.recall import distinct
from fpve.fusion import Fusion


def units(random: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Random rows of length one, float32."""
    rows = random.normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def shared() -> np.ndarray:
    """40 embeddings of 25 texts: some rows share theirs."""
    random = np.random.default_rng(5)
    return units(random, 25, 8)[np.r_[np.arange(25), random.integers(25, size=15)]]


@pytest.mark.parametrize("centred", [False, True])
def test_recall_is_counted_by_hand(shared: np.ndarray, centred: bool) -> None:
    """For each text: sort all rows by their cosine with it, and see whether one that has it is among the first k."""
    predicted = units(np.random.default_rng(6), 40, 8) + shared / 2
    predicted /= np.linalg.norm(predicted, axis=1, keepdims=True)
    centre = np.full(8, 0.2, np.float32) if centred else None
    moved = np.zeros(8) if centre is None else centre
    places = []
    for text in np.unique(shared, axis=0):
        scores = []
        for row in predicted:
            one, other = text.astype(float) - moved, row.astype(float) - moved
            scores.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
        order = np.argsort(-np.array(scores))
        places.append(next(place for place, row in enumerate(order) if np.array_equal(shared[row], text)))
    question = Question.of(shared, centre)
    assert question.recall(predicted) == {k: np.mean([place < k for place in places]) for k in (1, 5, 10)}
    assert sorted(question.places(predicted)) == sorted(places)
    assert question.merits(predicted).mean() == pytest.approx(np.mean([1 / (1 + place) for place in places]))
    assert 0.1 < question.recall(predicted)[10] < 1


def test_of_equal_scores_the_right_row_comes_last() -> None:
    """Predictions that are all the same find nothing, for which row is the right one they don't say."""
    question = Question.of(np.eye(12, dtype=np.float32))
    same = np.tile(np.eye(12, dtype=np.float32)[:1], (12, 1))
    assert question.recall(same) == {1: 0, 5: 0, 10: 0}
    assert question.recall(np.eye(12, dtype=np.float32)) == {1: 1, 5: 1, 10: 1}


def test_chance_is_that_of_all_orders() -> None:
    """In each of all ways to choose the first k of 7 rows, see whether a right one is among them."""
    rows = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 1, 2, 3]]
    question = Question.of(rows)
    expected = {}
    for k in (1, 5):
        shares = [
            np.mean([any(right[row] for row in first) for first in combinations(range(7), k)])
            for right in question.right
        ]
        expected[k] = np.mean(shares)
    found = question.chance()
    assert found[1] == pytest.approx(expected[1])
    assert found[5] == pytest.approx(expected[5])
    # All seven are among the first ten.
    assert found[10] == pytest.approx(1)


def test_chance_is_what_random_predictions_get(shared: np.ndarray) -> None:
    """The mean recall of 2,000 random predictions comes to it."""
    random, question = np.random.default_rng(7), Question.of(shared)
    recalls = [question.recall(units(random, 40, 8)) for _ in range(2000)]
    for k, chance in question.chance().items():
        assert np.mean([one[k] for one in recalls]) == pytest.approx(chance, abs=0.01)


def test_distinct_rows_are_numbered_by_their_first() -> None:
    """Which rows are the same is what `np.unique` says of them, in the order in which they come."""
    random = np.random.default_rng(8)
    names = random.integers(300, size=1000)
    first, code = distinct(units(random, 300, 16)[names])
    expected = list(dict.fromkeys(names.tolist()))
    np.testing.assert_array_equal(code, [expected.index(name) for name in names])
    np.testing.assert_array_equal(first, [names.tolist().index(name) for name in expected])
    assert [len(one) for one in distinct(np.zeros((0, 16), np.float32))] == [0, 0]


def test_rounding_makes_no_new_text() -> None:
    """A text that was recovered from fused rows of several pictures, or has another length, is one; a near one is not.

    In a row of mode concat an embedding is a small part, and comes back changed in its last digits.
    """
    random = np.random.default_rng(9)
    prefix = np.repeat(units(random, 50, 32), 4, axis=0)
    fusion = Fusion(64, 32, "concat")
    rows = fusion.fuse((20 * random.normal(size=(200, 64))).astype(np.float32), prefix)
    recovered = fusion.unfuse(rows).prefix
    assert len(np.unique(recovered, axis=0)) > 50
    np.testing.assert_array_equal(distinct(recovered)[1], np.repeat(np.arange(50), 4))
    np.testing.assert_array_equal(distinct(recovered * np.float32(7))[1], np.repeat(np.arange(50), 4))
    near = prefix[::4] + np.float32(1e-3) * units(random, 50, 32)
    assert len(distinct(np.concatenate([prefix, near]))[0]) == 100


def test_length_brings_wrong_scores_down_to_those_of_real_texts() -> None:
    """It is the ratio of the mean of the ten best wrong scores, real and predicted, rows of a text's group left out."""
    random = np.random.default_rng(10)
    real = units(random, 60, 8)
    predicted = real + np.float32(1.5)
    predicted /= np.linalg.norm(predicted, axis=1, keepdims=True)
    groups = np.arange(60) // 2
    text = np.array([np.float32(1)] * 8) + real
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    best: dict[str, list[float]] = {"real": [], "mine": []}
    for at in range(60):
        wrong = [other for other in range(60) if groups[other] != groups[at]]
        best["real"] += sorted(float(text[at] @ text[other]) for other in wrong)[-10:]
        best["mine"] += sorted(float(text[at] @ predicted[other]) for other in wrong)[-10:]
    expected = np.mean(best["real"]) / np.mean(best["mine"])
    assert 0.5 < expected < 1
    assert Question.of(text).norm_of(predicted, groups) == pytest.approx(expected, rel=1e-5)


def test_length_is_between_a_half_and_one() -> None:
    """Predictions that are far from all texts stay whole; those that are near to all keep half of their say."""
    random = np.random.default_rng(11)
    real = units(random, 30, 16)
    assert Question.of(real).norm_of(-np.abs(real), np.arange(30)) == 1
    assert Question.of(real).norm_of(real, np.arange(30)) == pytest.approx(1)
    orthogonal = np.eye(16, dtype=np.float32)
    middle = np.full((16, 16), 0.25, np.float32)
    assert Question.of(orthogonal).norm_of(middle, np.arange(16)) == 0.5


def test_few_rows_are_compared_with_those_there_are() -> None:
    """With fewer than ten wrong rows the mean is over these; with none, nothing is known, and the length is 1."""
    real = np.abs(units(np.random.default_rng(12), 6, 8))
    predicted = real + np.float32(0.3)
    predicted /= np.linalg.norm(predicted, axis=1, keepdims=True)
    wrong = ~np.eye(6, dtype=bool)
    expected = (real @ real.T)[wrong].mean() / (real @ predicted.T)[wrong].mean()
    assert 0.5 < expected < 1
    assert Question.of(real).norm_of(predicted, np.arange(6)) == pytest.approx(expected)
    assert Question.of(real).norm_of(predicted, np.zeros(6, np.int64)) == 1
