"""Temperatures and priors, against a finer search; and what they are fitted to, against all pairs."""

from __future__ import annotations

import numpy as np
import pytest

import fpve
from fpve.classify import Voting
from fpve.classify.calibration import HeldOut, fit
from fpve.classify.held_out import neighbours_of_others
from fpve.classify.knn import Kind, KnnClassifier
from fpve.evaluate.pairs import Comparison
from fpve.evaluate.trial import Trial
from fpve.fusion import Blocks
from fpve.groups import groups_of
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot


@pytest.fixture(scope="module")
def searcher(store: fpve.Store) -> Searcher:
    """The store, as the library searches it."""
    return Searcher(Snapshot.open(store.path))


def loss(held: HeldOut, temperature: float, score: float) -> float:
    """The log loss, without any care for overflow."""
    weights = np.exp(held.scores / temperature)
    own = np.exp(score / temperature)
    return float(-np.log(((weights * held.hits).sum(axis=1) + own * held.prior) / (weights.sum(axis=1) + own)).mean())


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_what_is_fitted_is_the_best(noise: float) -> None:
    """No place of a fine grid has a lower loss, and the loss is that of the place."""
    random = np.random.default_rng(0)
    scores = np.sort(random.uniform(0.2, 0.9, (300, 10)), axis=1)[:, ::-1]
    hits = random.random((300, 10)) < np.clip(scores + random.normal(0, noise, (300, 10)), 0.05, 0.95)
    held = HeldOut(scores, hits, np.full(300, 0.2))
    temperature, score, found = fit(held)
    assert found == pytest.approx(loss(held, temperature, score))
    grid = [loss(held, one, other) for one in np.geomspace(0.02, 1, 60) for other in np.linspace(-0.5, 1, 60)]
    # The valley is flat: a thousandth of a nat is no difference that anybody sees.
    assert found <= min(grid) + 1e-3


def test_certain_votes_stay_certain() -> None:
    """Where the nearest neighbour is always right, little is left to the prior."""
    scores = np.tile([0.9, 0.5, 0.4], (100, 1))
    held = HeldOut(scores, np.tile([True, False, False], (100, 1)), np.full(100, 0.3))
    temperature, _, found = fit(held)
    assert found < 0.01
    assert temperature < 0.1


@pytest.mark.parametrize(("weight", "prefixed"), [(0.5, True), (1.0, False)])
def test_held_out_neighbours_are_those_of_all_pairs(searcher: Searcher, weight: float, prefixed: bool) -> None:
    """Through the index as in an evaluation: without copies, near-duplicates and images with the same prefix."""
    trial = Trial(searcher, label="kind")
    [judged] = trial.judge([Comparison("balanced", weight, centred=False)], fpve_voting(), naive=False)
    rows = trial.rows
    raw = searcher.blocks_of(rows)
    blocks = Blocks(raw.image, raw.prefix if prefixed else np.zeros_like(raw.prefix))
    groups, _ = groups_of(searcher, "kind", np.full(searcher.rows, -1), rows)
    allowed = np.zeros(searcher.rows, bool)
    allowed[rows] = True
    panel = neighbours_of_others(searcher, rows, blocks, groups=groups, image_weight=weight, k=20, allowed=allowed)
    expected = np.where(judged.voters.row >= 0, rows[np.maximum(judged.voters.row, 0)], -1)
    # Copies of a picture tie, and rounding decides which is first.
    np.testing.assert_array_equal(groups.content[panel.row], groups.content[expected])
    np.testing.assert_array_equal(panel.row < 0, expected < 0)
    np.testing.assert_allclose(panel.score, judged.voters.score, atol=1e-5)


def fpve_voting() -> Voting:
    """Twenty neighbours."""
    return Voting(20)


def test_calibrations_are_of_a_kind_of_query(searcher: Searcher) -> None:
    """Queries with a prefix and without have their own, and too few labelled images none."""
    classifier = KnnClassifier(searcher, label="kind")
    both, alone = classifier.calibration(Kind(True, True, 0.5)), classifier.calibration(Kind(True, False, 1.0))
    assert both is not None
    assert alone is not None
    # Every fifth image has no prefix, and cannot tell what it would be with one.
    assert (both.rows, alone.rows) == (63, 81)
    assert classifier.calibration(Kind(True, True, 0.5)) is both
    assert KnnClassifier(searcher, label="weight").calibration(Kind(True, False, 1.0)) is None
    assert KnnClassifier(searcher, label="kind", calibrate=False).calibration(Kind(True, False, 1.0)) is None


def test_novelty_is_a_rank(searcher: Searcher) -> None:
    """It is the share of held-out images that are nearer to their last neighbour."""
    found = KnnClassifier(searcher, label="kind").calibration(Kind(True, False, 1.0))
    assert found is not None
    assert len(found.distances) == found.rows
    np.testing.assert_allclose(
        found.novelty(np.array([0.0, found.distances[found.rows // 2] + 1e-9, 9.0])),
        [0, (found.rows // 2 + 1) / found.rows, 1],
    )
