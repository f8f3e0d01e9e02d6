"""What votes are calibrated by, against a search on a grid; and what they are fitted to, against all pairs."""

from __future__ import annotations

import numpy as np
import pytest

import fpve
from fpve.classify import Labels, LabelSets, Voting, vote
from fpve.classify.calibration import HeldOut, fit
from fpve.classify.held_out import neighbours_of_others
from fpve.classify.knn import Kind, KnnClassifier
from fpve.evaluate.pairs import Comparison
from fpve.evaluate.trial import Trial
from fpve.fusion import Blocks
from fpve.groups import groups_of
from fpve.neighbours import Exact, Panel, Rows
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot


@pytest.fixture(scope="module")
def searcher(store: fpve.Store) -> Searcher:
    """The store, as the library searches it."""
    return Searcher(Snapshot.open(store.path))


def drawn(noise: float) -> tuple[Panel, Rows, Rows, Exact]:
    """300 images with ten neighbours each, which are of their class the more probably the nearer they are."""
    random = np.random.default_rng(0)
    scores = np.sort(random.uniform(0.2, 0.9, (300, 10)), axis=1)[:, ::-1]
    truth = random.integers(6, size=300)
    same = random.random((300, 10)) < np.clip(scores + random.normal(0, noise, (300, 10)), 0.05, 0.95)
    classes = np.where(same, truth[:, None], random.integers(6, size=(300, 10)))
    # Each neighbour is a row of its own.
    return Panel(np.arange(3000).reshape(300, 10), scores), classes.reshape(-1), truth, np.full(6, 1 / 6)


@pytest.mark.parametrize("voting", [Voting(10, prior_score=0.4), Voting(10, "softmax", 0.2, 0.6, 1.7)])
def test_the_loss_is_that_of_the_votes(voting: Voting) -> None:
    """What is minimised is the log loss of the probabilities that classification gives."""
    panel, codes, truth, prior = drawn(0.2)
    names = tuple("abcdef")
    shares = vote(panel.flat(), LabelSets.of(Labels(names, codes)), 300, voting, prior)
    expected = -np.log(shares[np.arange(300), truth]).mean()
    held = HeldOut.of(panel, codes, truth, prior)
    assert voting.prior_score is not None
    assert held.loss(voting.temperature, voting.prior_score, voting.sharpness) == pytest.approx(expected)


def test_the_loss_of_lists_is_that_of_each_class() -> None:
    """Of images with any number of classes it is the mean over images and classes."""
    random = np.random.default_rng(0)
    has = random.random((60, 4)) < 0.4
    starts = np.concatenate([[0], np.cumsum(has.sum(axis=1))])
    labels = LabelSets(tuple("abcd"), starts, np.nonzero(has)[1], np.ones(60, bool), is_multiple=True)
    panel = Panel(random.integers(60, size=(20, 5)), np.sort(random.uniform(0, 1, (20, 5)), axis=1)[:, ::-1])
    rows, prior = np.arange(20), labels.prior(np.ones(60, bool))
    voting = Voting(5, "softmax", 0.3, 0.4, 1.4)
    shares = vote(panel.flat(), labels, 20, voting, prior)
    expected = -np.log(np.where(has[:20], shares, 1 - shares)).mean()
    assert HeldOut.of_sets(panel, labels, rows, prior).loss(0.3, 0.4, 1.4) == pytest.approx(expected)


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_what_is_fitted_is_the_best(noise: float) -> None:
    """No place of a grid has a lower loss, and the loss is that of the place."""
    held = HeldOut.of(*drawn(noise))
    found = fit(held)
    assert found.log_loss == pytest.approx(held.loss(*found[:3]))
    assert found.sharpness >= 1
    grid = [
        held.loss(one, other, power)
        for one in np.geomspace(0.02, 1, 25)
        for other in np.linspace(-0.5, 1, 25)
        for power in (1, 1.4, 2)
    ]
    # The valley is flat: a thousandth of a nat is no difference that anybody sees.
    assert found.log_loss <= min(grid) + 1e-3


def test_certain_votes_stay_certain() -> None:
    """Where the nearest neighbour is always right, little is left to the prior."""
    truth = np.arange(100) % 3
    codes = np.concatenate([np.stack([truth, (truth + 1) % 3, (truth + 2) % 3], axis=1)]).reshape(-1)
    panel = Panel(np.arange(300).reshape(100, 3), np.tile([0.9, 0.5, 0.4], (100, 1)))
    assert fit(HeldOut.of(panel, codes, truth, np.full(3, 1 / 3))).log_loss < 0.01


@pytest.mark.parametrize(("weight", "prefixed"), [(0.5, True), (1.0, False)])
def test_held_out_neighbours_are_those_of_all_pairs(searcher: Searcher, weight: float, prefixed: bool) -> None:
    """Through the index as in an evaluation: without copies, near-duplicates and images with the same prefix."""
    trial = Trial(searcher, label="kind")
    [judged] = trial.judge([Comparison("balanced", weight, centred=False)], Voting(20), naive=False)
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
