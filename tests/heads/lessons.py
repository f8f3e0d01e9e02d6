"""Labelled queries that tests of heads share: two blocks of random directions about one for each class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fpve.fusion import Blocks, Fusion

FUSION = Fusion(image_dim=12, prefix_dim=8)


class Lesson(NamedTuple):
    """Raw blocks of n images, their class numbers and clusters."""

    blocks: Blocks
    codes: np.ndarray
    clusters: np.ndarray

    def queries(self, weight: float = 0.5, fusion: Fusion = FUSION) -> np.ndarray:
        """The images as queries."""
        return fusion.query(*self.blocks, weight)


def lesson(counts: tuple[int, ...] = (60, 60, 60), noise: float = 1.0, seed: int = 0, prefix: bool = True) -> Lesson:
    """So many images of each class, each a cluster of its own; the noise is as long as what tells classes apart."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(counts)), counts)
    # First, so that they are the same ones for any counts.
    middles = [random.normal(size=(len(counts), dim)) for dim in (FUSION.image_dim, FUSION.prefix_dim)]
    blocks = [
        (one[codes] + noise * random.normal(size=(len(codes), one.shape[1]))).astype(np.float32) for one in middles
    ]
    if not prefix:
        blocks[1] = np.zeros_like(blocks[1])
    return Lesson(Blocks(*blocks), codes, np.arange(len(codes)))
