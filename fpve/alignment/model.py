"""The map from image features to prefix embeddings.

With unit features f^ and unit embeddings p^ of captioned rows and z = unit(f^ - mean f^), it predicts

    p' = unit(s mean p^ + (1 - w) r(z) + w a(z))

where r is kernel ridge regression of p^ - mean p^ with the kernel exp(gamma (z·z' - 1)) (Saunders, Gammerman and Vovk,
1998; with more rows than landmarks by the subset of regressors, Rasmussen and Williams, 2006, 8.3.1), and a the average
of p^ - mean p^ over the nearest landmarks, weighted by exp(z·z' / temperature). Together they beat either, for they err
differently: r follows trends, a repeats what the likes of a picture were called. The mean stays in: a picture that
nothing is known of is predicted to be average, and is not in every text's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats, unit
from fpve.splits import Numbers, spread

# 4,096 features of 1,280 numbers are 21 MB; solving for as many takes 0.5 GB and seconds, for twice as many 2 GB.
MAX_LANDMARKS = 4_096
# What the neighbours' average is over: with weights that fade, 10 and 40 came out within half a point of it.
_NEIGHBOURS = 20
# Floats of one block of a kernel: 32 MB.
_BLOCK_FLOATS = 8_000_000
# Of the normal equations' trace: what keeps copies among the landmarks from making them singular. Double precision
# resolves ten thousand times less.
_JITTER = 1e-12

Doubles = NDArray[np.float64]
Values = TypeVar("Values", Floats, Doubles)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is chosen by cross-validation; the defaults are what served drawings and symbols best on average.

    Attributes:
        gamma: of the kernel: how fast likeness fades as pictures differ.
        ridge: the penalty of the regression.
        temperature: of the neighbours' weights.
        neighbour_share: w, how much of a prediction is the neighbours' average, in [0, 1].
        mean_share: s, how much of the mean stays in a prediction.
    """

    gamma: float = 2.0
    ridge: float = 0.1
    temperature: float = 0.1
    neighbour_share: float = 0.5
    mean_share: float = 1.0


class Rows(NamedTuple):
    """Features (n, image_dim) and embeddings (n, prefix_dim), raw or unit, with the groups (n,) that stay together."""

    image: Floats
    prefix: Floats
    groups: Numbers

    def taken(self, rows: Numbers) -> Rows:
        """The rows of these numbers, scaled to length 1."""
        return Rows(unit(self.image[rows]), unit(self.prefix[rows]), self.groups[rows])


class Parts(NamedTuple):
    """What regression and neighbours predict (n, prefix_dim), both without the mean."""

    regression: Floats
    average: Floats

    def joined(self, mean: Floats, settings: Settings) -> Floats:
        """Unit predictions (n, prefix_dim) from both."""
        share, mean_share = np.float32(settings.neighbour_share), np.float32(settings.mean_share)
        return unit(mean_share * mean + (1 - share) * self.regression + share * self.average)


@dataclass(frozen=True, slots=True)
class Alignment:
    """A fitted map. All arrays are float32.

    Attributes:
        image_mean: (image_dim,) mean of unit features.
        prefix_mean: (prefix_dim,) mean of unit embeddings.
        landmarks: (m, image_dim) features z of captioned rows.
        targets: (m, prefix_dim) their embeddings without the mean.
        coefficients: (m, prefix_dim) of the regression.
        settings: what was chosen by cross-validation.
        norm: the length in (0, 1] of a predicted block beside real ones.
    """

    image_mean: Floats
    prefix_mean: Floats
    landmarks: Floats
    targets: Floats
    coefficients: Floats
    settings: Settings
    norm: float = 1.0

    def predict(self, image: Floats) -> Floats:
        """Predict unit prefix embeddings (n, prefix_dim), float32, of features (n, image_dim), raw or unit.

        Raises:
            ValueError: they have another length, or one is zero or not finite.
        """
        check_rows(image, "image features", len(self.image_mean))
        out = np.empty((len(image), len(self.prefix_mean)), np.float32)
        for block in blocks(len(image), len(self.landmarks)):
            cosines = unit(unit(image[block]) - self.image_mean) @ self.landmarks.T
            average = neighbours_average(cosines, self.targets, self.settings.temperature)
            regression = kernel(cosines, self.settings.gamma) @ self.coefficients
            out[block] = Parts(regression, average).joined(self.prefix_mean, self.settings)
        return out


def fit_with(rows: Rows, settings: Settings, random: np.random.Generator, max_landmarks: int) -> Alignment:
    """Fit the map to rows with given settings; only one block of rows beside the landmarks is held at a time."""
    image_mean, prefix_mean = _mean_of_units(rows.image), _mean_of_units(rows.prefix)
    chosen = rows.taken(spread(rows.groups, max_landmarks, random))
    landmarks = unit(chosen.image - image_mean)
    targets = chosen.prefix - prefix_mean
    # In double precision, because equations square what tells landmarks that are alike apart, and because products in
    # single precision may tell copies apart: some CPUs round by where in a matrix a row stands.
    exact = landmarks.astype(np.float64)
    matrix = kernel(exact @ exact.T, settings.gamma)
    if len(landmarks) == len(rows.image):
        coefficients = solve(matrix, targets, settings.ridge)
    else:
        # The normal equations of all rows: (K'K + ridge K_m) c = K'p.
        matrix *= settings.ridge
        right = np.zeros(targets.shape)
        for block in blocks(len(rows.image), len(landmarks)):
            part = kernel(unit(unit(rows.image[block]) - image_mean).astype(np.float64) @ exact.T, settings.gamma)
            matrix += part.T @ part
            right += part.T @ (unit(rows.prefix[block]) - prefix_mean)
        coefficients = solve(matrix, right, _JITTER * float(np.trace(matrix)))
    return Alignment(image_mean, prefix_mean, landmarks, targets, coefficients.astype(np.float32), settings)


def plain_ridge(image: Floats, prefix: Floats, penalty: float) -> Callable[[Floats], Floats]:
    """Ridge regression with an intercept from unit features (n, d) to unit embeddings (n, p): the map to beat."""
    image_mean, prefix_mean = image.mean(axis=0), prefix.mean(axis=0)
    centred = (image - image_mean).astype(np.float64)
    # By way of the rows' products: a sample has hardly more rows than a feature has numbers.
    weights = (centred.T @ solve(centred @ centred.T, prefix - prefix_mean, penalty)).astype(np.float32)
    return lambda new: unit((new - image_mean) @ weights + prefix_mean)


def kernel(cosines: Values, gamma: float) -> Values:
    """The Gaussian kernel exp(gamma (c - 1)) of unit vectors' cosines, in their precision."""
    found: Values = np.exp(np.float32(gamma) * (cosines - 1))
    return found


def solve(matrix: Floats | Doubles, right: Floats | Doubles, penalty: float) -> Doubles:
    """Solve (M + penalty I) x = right (n, p) in double precision."""
    penalised = matrix.astype(np.float64)
    penalised.flat[:: len(matrix) + 1] += penalty
    found: Doubles = np.asarray(np.linalg.solve(penalised, right), np.float64)
    return found


def neighbours_average(cosines: Floats, targets: Floats, temperature: float) -> Floats:
    """Average (n, p) of the targets (m, p) of the nearest of m landmarks by cosines (n, m), the nearer the heavier."""
    k = min(_NEIGHBOURS, cosines.shape[1])
    nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    near = np.take_along_axis(cosines, nearest, axis=1)
    weights = np.exp((near - near.max(axis=1, keepdims=True)) / np.float32(temperature))
    weights /= weights.sum(axis=1, keepdims=True)
    out = np.zeros((len(cosines), targets.shape[1]), np.float32)
    # One neighbour after the other: all at once they would be twenty times the predictions.
    for place in range(k):
        out += weights[:, place : place + 1] * targets[nearest[:, place]]
    return out


def check_rows(rows: Floats, what: str, dim: int) -> None:
    """Refuse what are no rows (n, dim) that can be scaled to length 1.

    Raises:
        ValueError: they have another shape, or one is zero or not finite.
    """
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise ValueError(f"expected {what} of shape (n, {dim}), found {rows.shape}")
    for block in blocks(len(rows), dim):
        norm = np.linalg.norm(rows[block], axis=1)
        bad = np.flatnonzero(~np.isfinite(norm) | (norm == 0))
        if len(bad):
            raise ValueError(
                f"expected {what} that are finite and not zero, found row {block.start + bad[0]} of length "
                f"{norm[bad[0]]}: leave such rows out"
            )


def blocks(count: int, width: int) -> Iterator[slice]:
    """Slices of `count` rows, so many a time that numbers of `width` a row stay within bounds."""
    step = max(1, _BLOCK_FLOATS // max(1, width))
    for start in range(0, count, step):
        yield slice(start, start + step)


def _mean_of_units(rows: Floats) -> Floats:
    """The mean (d,) of rows (n, d) scaled to length 1."""
    total = np.zeros(rows.shape[1])
    for block in blocks(*rows.shape):
        total += unit(rows[block]).sum(axis=0, dtype=np.float64)
    return (total / len(rows)).astype(np.float32)
