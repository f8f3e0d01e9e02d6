"""Votes, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from fpve.classify import Labels, LabelSets, Voting, vote
from fpve.errors import QueryError
from fpve.neighbours import Exact, Neighbours, Panel

CODES = np.array([0, 1, 2, 0, 1, 2, 2, -1])
LABELS = LabelSets.of(Labels(("a", "b", "c"), CODES))
SCORES = np.array([[0.9, 0.7, 0.7, 0.1], [0.5, 0.5, -0.2, -np.inf]])
ROWS = np.array([[0, 1, 3, 5], [6, 4, 0, -1]])
PRIOR = np.array([0.5, 0.25, 0.25])


def found() -> Neighbours:
    """The neighbours of two queries."""
    return Panel(ROWS, SCORES).flat()


def by_hand(weight: dict[float, float], own: float = 0.0) -> Exact:
    """Shares of votes of these weights by score, with what the prior adds."""
    shares = np.zeros((2, 3))
    for query in range(2):
        for row, score in zip(ROWS[query], SCORES[query], strict=True):
            if row >= 0:
                shares[query, CODES[row]] += weight[float(score)]
        shares[query] = (shares[query] + own * PRIOR) / (shares[query].sum() + own)
    return shares


@pytest.mark.parametrize(
    ("voting", "weigh"),
    [
        (Voting(4, "uniform"), lambda _: 1.0),
        (Voting(4, "distance"), lambda score: 1 / np.sqrt(2 - 2 * score)),
        (Voting(4, "softmax", 0.1), lambda score: np.exp(score / 0.1)),
        (Voting(4, "softmax", 1e-3), lambda score: np.exp((score - 0.9) / 1e-3) if score > 0.5 else np.exp(0.0)),
    ],
)
def test_shares_are_those_of_weighted_votes(voting: Voting, weigh: object) -> None:
    """Each class has the share of the weights of its neighbours."""
    known = {float(score) for score in SCORES.flat if np.isfinite(score)}
    expected = by_hand({score: weigh(score) for score in known})  # type: ignore[operator]
    if voting.temperature == 1e-3:
        # Only what is nearest counts: one neighbour, and two of equal scores.
        expected = np.array([[1, 0, 0], [0, 0.5, 0.5]])
    np.testing.assert_allclose(vote(found(), LABELS, 2, voting), expected, atol=1e-6)


def test_the_prior_votes_like_one_more_neighbour() -> None:
    """With a prior the sums have one vote more, of the given score, that is divided among all classes."""
    weight = {float(score): np.exp(score / 0.2) for score in SCORES.flat}
    expected = by_hand(weight, own=np.exp(0.6 / 0.2))
    voting = Voting(4, "softmax", 0.2, prior_score=0.6)
    np.testing.assert_allclose(vote(found(), LABELS, 2, voting, PRIOR), expected, atol=1e-6)


def test_copies_decide_by_distance() -> None:
    """Of neighbours at distance 0 only these vote, as in scikit-learn."""
    scores = np.array([[1.0, 1.0, 0.999, 0.5]])
    shares = vote(Panel(ROWS[:1], scores).flat(), LABELS, 1, Voting(4, "distance"))
    np.testing.assert_array_equal(shares, [[0.5, 0.5, 0]])


def test_a_query_without_neighbours_has_no_votes() -> None:
    """Its row is zero; with a prior it is the prior."""
    none = Panel(np.full((1, 2), -1), np.full((1, 2), -np.inf)).flat()
    np.testing.assert_array_equal(vote(none, LABELS, 1, Voting(2)), [[0, 0, 0]])
    np.testing.assert_allclose(vote(none, LABELS, 1, Voting(2, prior_score=0.1), PRIOR), PRIOR[None])


def test_labels_of_lists_have_a_probability_each() -> None:
    """A neighbour votes for all its labels, or for none; shares are of all neighbours."""
    sets = LabelSets(
        ("x", "y"), np.array([0, 2, 2, 3]), np.array([0, 1, 1]), np.array([True, True, True]), is_multiple=True
    )
    rows = Panel(np.array([[0, 1, 2]]), np.array([[0.3, 0.2, 0.1]])).flat()
    np.testing.assert_allclose(vote(rows, sets, 1, Voting(3, "uniform")), [[1 / 3, 2 / 3]])
    np.testing.assert_allclose(sets.prior(np.ones(3, bool)), [2 / 5, 3 / 5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k: expected at least 1, found 0"),
        ({"temperature": 0.0}, "temperature: expected more than 0, found 0"),
        ({"temperature": float("nan")}, "temperature: expected more than 0, found nan"),
        ({"weights": "distances"}, "weights: expected uniform, distance, softmax, found 'distances'; did you mean"),
        ({"weights": "uniform", "prior_score": 0.5}, "a prior votes with softmax weights only, found uniform"),
    ],
)
def test_wrong_votes_are_refused(options: dict, message: str) -> None:
    """What is no way to vote is named."""
    with pytest.raises(QueryError, match=message):
        Voting(**options)
