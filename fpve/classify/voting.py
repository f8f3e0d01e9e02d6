"""How neighbours vote for classes.

With the scores s of a query's k nearest labelled images, the classes c that each has, and the weights w,

    uniform     w = 1
    distance    w = 1 / d,  d = sqrt(2 (1 - s))
    softmax     w = exp(s / temperature)

and a class gets the share of its neighbours' weights, as in scikit-learn's `KNeighborsClassifier`. In `balanced`
d^2 = A ||f^ - f'^||^2 + (1 - A) ||p^ - p'^||^2: d is the Euclidean distance of the weighted blocks, and at A = 0.5 that
of the fused vectors. `softmax` is the weighting of Wu et al. 2018 (Unsupervised Feature Learning via Non-Parametric
Instance Discrimination).

With a `prior_score` s0 each class votes as well, by its share among the labelled images: all of them together like one
neighbour of score s0,

    P(c) = (sum of w over neighbours of class c + exp(s0 / temperature) prior(c)) / (sum of w + exp(s0 / temperature))

so that no class has probability 0, and a query whose neighbours are far is told little by them: it is the posterior of
a kernel estimate with a background. With a `sharpness` g that is surer or less sure, in proportion,

    P'(c) = P(c)^g / (sum of P^g over classes)

which is temperature scaling (Guo et al. 2017, On Calibration of Modern Neural Networks) with 1/g.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fpve.classify.labels import LabelSets
from fpve.errors import QueryError, nearest
from fpve.neighbours import Exact, Neighbours

Weights = Literal["uniform", "distance", "softmax"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)

# The protocol of Wu et al. 2018 with the k that suits collections of thousands of images rather than a million.
DEFAULT_K = 20
DEFAULT_WEIGHTS: Weights = "softmax"
DEFAULT_TEMPERATURE = 0.07
# A nearer neighbour is a copy, whose distance is what rounding of float32 has left: only copies vote then.
_COPY = 1e-3


@dataclass(frozen=True, slots=True)
class Voting:
    """How neighbours vote.

    Attributes:
        k: how many of them, at least 1; all where there are fewer.
        weights: what a vote weighs: `uniform`, `distance` or `softmax`.
        temperature: of `softmax`, above 0, in units of the score.
        prior_score: at which score the classes' own shares vote like one more neighbour, with `softmax`; None: they
            don't.
        sharpness: to which power probabilities are raised, above 0, where there is a prior.

    Raises:
        QueryError: one of them is wrong.
    """

    k: int = DEFAULT_K
    weights: Weights = DEFAULT_WEIGHTS
    temperature: float = DEFAULT_TEMPERATURE
    prior_score: float | None = None
    sharpness: float = 1.0

    @classmethod
    def given(cls, k: int | None, weights: Weights | None, temperature: float | None) -> Voting:
        """Of options, of which those that are None have their defaults; it is not calibrated."""
        return cls(
            DEFAULT_K if k is None else k,
            DEFAULT_WEIGHTS if weights is None else weights,
            DEFAULT_TEMPERATURE if temperature is None else temperature,
        )

    def __post_init__(self) -> None:
        """Check what is given."""
        if isinstance(self.k, bool) or not isinstance(self.k, Integral):
            raise QueryError(f"k: expected a whole number, found {self.k!r}")
        # NumPy's numbers are not Python's, which FAISS wants.
        object.__setattr__(self, "k", int(self.k))
        if self.k < 1:
            raise QueryError(f"k: expected at least 1, found {self.k}")
        if self.weights not in WEIGHTS:
            raise QueryError(
                f"weights: expected {', '.join(WEIGHTS)}, found {self.weights!r}{nearest(str(self.weights), WEIGHTS)}"
            )
        if not isinstance(self.temperature, Real) or not 0 < self.temperature < np.inf:
            raise QueryError(f"temperature: expected more than 0, found {self.temperature!r}")
        if not 0 < self.sharpness < np.inf:
            raise QueryError(f"sharpness: expected more than 0, found {self.sharpness}")
        if self.prior_score is not None and self.weights != "softmax":
            raise QueryError(f"a prior votes with softmax weights only, found {self.weights}")


def vote(found: Neighbours, labels: LabelSets, queries: int, voting: Voting, prior: Exact | None = None) -> Exact:
    """Class probabilities (queries, classes) by the votes of each query's neighbours, all of them.

    Of a column of lists each class has a probability of its own; of others they add up to 1. A query without neighbours
    gets a row of zeros, or the prior where that votes.

    Args:
        found: labelled neighbours of each query.
        labels: the classes of all images.
        queries: how many queries there are.
        voting: how they vote.
        prior: (classes,) shares of the classes, where the voting has a prior.
    """
    classes = len(labels.names)
    best = np.full(queries, -np.inf)
    np.maximum.at(best, found.query, found.score)
    if voting.prior_score is not None:
        best = np.maximum(best, voting.prior_score)
    weight = _weights(found, best, voting)
    place, code = labels.pairs(found.row)
    cell = found.query[place] * classes + code
    votes = np.bincount(cell, weight[place], minlength=queries * classes).astype(np.float64).reshape(queries, classes)
    total = np.bincount(found.query, weight, minlength=queries)
    if voting.prior_score is not None and prior is not None:
        own = np.exp((voting.prior_score - best) / voting.temperature)
        votes = votes + own[:, None] * prior
        total = total + own
    shares = np.divide(votes, total[:, None], out=np.zeros_like(votes), where=total[:, None] > 0)
    return _sharpened(shares, voting, labels) if voting.prior_score is not None and prior is not None else shares


def _sharpened(shares: Exact, voting: Voting, labels: LabelSets) -> Exact:
    """Probabilities (queries, classes) raised to the power of the sharpness, that add up to 1 again."""
    if voting.sharpness == 1:
        return shares
    powers = shares**voting.sharpness
    # Of lists each class is one of two: the image has it, or has it not.
    total = powers + (1 - shares) ** voting.sharpness if labels.is_multiple else powers.sum(axis=1, keepdims=True)
    return np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)


def _weights(found: Neighbours, best: Exact, voting: Voting) -> Exact:
    """What each neighbour's vote weighs (t,), where `best` (queries,) is the highest score that votes."""
    if voting.weights == "uniform":
        return np.ones(len(found.score))
    if voting.weights == "softmax":
        # Relative to the best score, for exp would overflow at small temperatures; shares are the same.
        weights: Exact = np.exp((found.score - best[found.query]) / voting.temperature)
        return weights
    distance = distances(found.score)
    has_copy = np.zeros(len(best), bool)
    has_copy[found.query[distance < _COPY]] = True
    copies = (distance < _COPY).astype(np.float64)
    return np.where(has_copy[found.query], copies, 1 / np.maximum(distance, _COPY))


def distances(scores: NDArray[np.floating]) -> Exact:
    """Euclidean distances of weighted blocks by their scores: sqrt(2 (1 - s))."""
    found: Exact = np.sqrt(np.maximum(2 * (1 - scores.astype(np.float64)), 0))
    return found
