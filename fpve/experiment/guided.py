"""Text-guided pooling: the positions of a feature map count by how much they look like what the prefix says.

With an alignment a, which predicts the prefix embedding of features, and the feature vectors x_j of a picture's
positions, the weights of the positions are

    w_j = softmax over j of cos(a(x_j), p^) / t

and the picture's features are the mean, or the generalised mean, with these weights. It takes no training but the
alignment's: attention with the prefix as the query, the positions as keys by way of the alignment, and as values as
they are.

A picture's own group has not taught the alignment that pools it: copies, and pictures with the same prefix, are in one
fold, and each fold is pooled by the map of the others. The temperature t was not chosen by any figure: it is the
deviation of the cosines within pictures, over the fold. So a position that is one deviation nearer to the prefix than
another weighs e times as much, whatever an encoder's cosines are like. Labels take no part in any of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fpve.alignment import Alignment, fit_alignment
from fpve.config import Pooling
from fpve.experiment.maps import MapFile
from fpve.fusion import Floats, unit
from fpve.neighbours import Rows
from fpve.progress import Progress
from fpve.splits import Numbers, components, folds, near_duplicates

_FOLDS = 5
# Any; the same one gives the same figures each time.
_SEED = 0
# A position without any feature has no direction; this gives it one, and adds nothing to a mean.
_NOTHING = 1e-6


def guided(
    maps: MapFile,
    places: Rows,
    plain: Floats,
    prefix: Floats,
    groups: Numbers,
    *,
    pooling: Pooling,
    progress: Progress,
) -> Floats:
    """Pool the maps of n pictures by their prefixes; the plain features stay where there is no prefix.

    Args:
        maps: feature maps.
        places: (n,) which of them is a picture's.
        plain: (n, c) the same maps pooled without weights: what the alignment is learnt from.
        prefix: (n, prefix_dim) embeddings; a zero row is a missing one.
        groups: (n,) equal for pictures of which none may teach the alignment that pools another: see `tie`.
        pooling: `mean`, or `gem`, in which powers are averaged.
        progress: is told of each fold, which takes seconds.

    Returns:
        (n, c) features.

    Raises:
        AlignmentError: too few prefixes to learn from.
    """
    found = plain.copy()
    rows = np.flatnonzero(prefix.any(axis=1))
    units = unit(prefix[rows])
    with progress.stage("pool", _FOLDS) as stage:
        for inside, outside in folds(groups[rows], _FOLDS, np.random.default_rng(_SEED)):
            taught, mine = rows[inside], rows[outside]
            alignment = fit_alignment(plain[taught], prefix[taught], groups[taught], seed=_SEED).alignment
            if len(mine):
                found[mine] = _pooled(maps, places[mine], alignment, units[outside], pooling)
            stage.advance()
    return found


def tie(codes: Sequence[Rows], features: Floats) -> Numbers:
    """Number the groups (n,) of pictures: those with an equal code, 0 or more, or nearly the same features."""
    return components(codes, near_duplicates(unit(features)))


def _pooled(maps: MapFile, places: Rows, alignment: Alignment, prefix: Floats, pooling: Pooling) -> Floats:
    """Features (m, c) of maps by weights for unit prefixes (m, prefix_dim)."""
    import torch

    from fpve.encoders.networks import pool

    cosines = np.concatenate([_cosines(part, alignment, prefix[at]) for at, part in maps.read(places)])
    temperature = np.sqrt(cosines.reshape(len(cosines), -1).var(axis=1).mean())
    weights = torch.from_numpy(_softmax(cosines, float(temperature)))
    return np.concatenate(
        [pool(torch.from_numpy(part), pooling, weights[at]).numpy() for at, part in maps.read(places)]
    )


def _cosines(maps: Floats, alignment: Alignment, prefix: Floats) -> Floats:
    """Cosines (m, h, w) of what each position of maps (m, c, h, w) predicts, with unit prefixes (m, prefix_dim)."""
    count, width, *sides = maps.shape
    positions = np.ascontiguousarray(maps.reshape(count, width, -1).transpose(0, 2, 1)).reshape(-1, width)
    positions[~positions.any(axis=1)] = _NOTHING
    predicted = alignment.predict(positions).reshape(count, -1, prefix.shape[1])
    cosines: Floats = np.einsum("npd,nd->np", predicted, prefix)
    return cosines.reshape(count, *sides)


def _softmax(cosines: Floats, temperature: float) -> Floats:
    """Weights (m, h, w) that add up to 1 over positions; equal ones where nothing tells positions apart."""
    flat = cosines.reshape(len(cosines), -1)
    if temperature > 0:
        flat = np.exp((flat - flat.max(axis=1, keepdims=True)) / np.float32(temperature))
    else:
        flat = np.ones_like(flat)
    weights: Floats = (flat / flat.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights.reshape(cosines.shape)
