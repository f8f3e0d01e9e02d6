"""What is held out while a head learns: whole clusters, of each class as much as of the others, as far as that goes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fpve.heads.examples import Numbers

Mask = NDArray[np.bool_]


def held_out(codes: Numbers, clusters: Numbers, share: float, random: np.random.Generator) -> Mask:
    """Choose which of n rows (n,) are held out, at most about a share of each class.

    Clusters are held out whole, in random order, as long as no class they have rows of gets over its share. So a class
    whose rows are few or all of one cluster has none held out, and every class has some left.

    Args:
        codes: (n,) class numbers.
        clusters: (n,) what belongs together.
        share: in (0, 1).
        random: the order of clusters.
    """
    classes = np.unique(codes, return_inverse=True)[1].reshape(-1)
    names, cluster = np.unique(clusters, return_inverse=True)
    cluster = cluster.reshape(-1)
    counts = np.bincount(classes)
    # Rounded, but never all.
    room = np.minimum(np.floor(counts * share + 0.5).astype(np.int64), counts - 1)
    order = np.argsort(cluster, kind="stable")
    members = np.split(classes[order], np.flatnonzero(np.diff(cluster[order])) + 1)
    held = np.zeros(len(names), bool)
    for one in random.permutation(len(names)):
        found, size = np.unique(members[one], return_counts=True)
        if np.all(size <= room[found]):
            held[one] = True
            room[found] -= size
    return held[cluster]
