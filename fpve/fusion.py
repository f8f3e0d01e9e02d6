"""The formula: the only place where image and prefix blocks are joined, normalised and weighted.

With image features `f`, a prefix embedding `p`, `f^ = f/||f||` and `p^ = p/||p||`, a vector row is

    balanced    v = [ f^ ; p^ ] / sqrt(2)
    concat      v = [ f ; p ] / ||[ f ; p ]||

A block that a row lacks is zero, and so is its norm; in `balanced` the other block keeps its 1/sqrt(2),
so that rankings by one block are exact in a store that mixes rows with and without the other.
Because rows keep both norms, `f` and `p` can be recovered, and one mode turned into the other,
without running an encoder.

`concat` is the bare concatenation of late-fusion baselines; as a CNN's `||f||` is 15 to 35 and a sentence
embedding's `||p||` is 1, the prefix carries about 0.1 % of its score. `balanced` gives both blocks the same say,
and any other say at query time: see `Fusion.query`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mode = Literal["balanced", "concat"]

DEFAULT_MODE: Mode = "balanced"
DEFAULT_IMAGE_WEIGHT = 0.5


class FusedRows(NamedTuple):
    """Vector rows (n, d) with the norms (n,) of their blocks before fusion, float32; 0 where a block is missing."""

    vectors: Floats
    image_norm: Floats
    prefix_norm: Floats


class Blocks(NamedTuple):
    """Image features (n, image_dim) and prefix embeddings (n, prefix_dim), float32; a zero row is a missing block."""

    image: Floats
    prefix: Floats


class Scores(NamedTuple):
    """Of m queries with n rows each, (m, n) float32: the score, and each block's cosine, NaN where either lacks it."""

    total: Floats
    image: Floats
    prefix: Floats


@dataclass(frozen=True, slots=True)
class Fusion:
    """How vectors of one store are made: the mode and the sizes of both blocks.

    Attributes:
        image_dim: length of the image block, at least 0.
        prefix_dim: length of the prefix block, at least 0; 0 in a store without a text encoder.
        mode: `balanced` or `concat`.
    """

    image_dim: int
    prefix_dim: int
    mode: Mode = DEFAULT_MODE

    @property
    def dim(self) -> int:
        """Length of a fused vector."""
        return self.image_dim + self.prefix_dim

    def fuse(self, image: Floats | None, prefix: Floats | None) -> FusedRows:
        """Fuse features (n, image_dim) with prefix embeddings (n, prefix_dim) into vector rows (n, dim).

        A zero row, or None for a whole block, is a missing block.

        Raises:
            ValueError: shapes don't fit, a value is not finite, or a row lacks both blocks.
        """
        blocks = self.blocks(image, prefix)
        image_norm = np.linalg.norm(blocks.image, axis=1).astype(np.float32)
        prefix_norm = np.linalg.norm(blocks.prefix, axis=1).astype(np.float32)
        if np.any((image_norm == 0) & (prefix_norm == 0)):
            raise ValueError("a row needs an image or a prefix block, found one with neither")
        if self.mode == "balanced":
            vectors = np.hstack([_unit(blocks.image), _unit(blocks.prefix)]) / np.float32(math.sqrt(2))
        else:
            vectors = _unit(np.hstack(blocks))
        return FusedRows(vectors.astype(np.float32), image_norm, prefix_norm)

    def unfuse(self, rows: FusedRows) -> Blocks:
        """Recover features (n, image_dim) and embeddings (n, prefix_dim) from vector rows, to float32 rounding."""
        return Blocks(
            _unit(rows.vectors[:, : self.image_dim]) * rows.image_norm[:, None],
            _unit(rows.vectors[:, self.image_dim :]) * rows.prefix_norm[:, None],
        )

    def rescale(self, rows: FusedRows, mode: Mode) -> FusedRows:
        """Turn vector rows of this fusion into those of another mode, without running an encoder."""
        return rows if mode == self.mode else replace(self, mode=mode).fuse(*self.unfuse(rows))

    def query(self, image: Floats | None, prefix: Floats | None, image_weight: float | Floats) -> Floats:
        """Make queries (n, dim) whose inner product with a row is the score, for weights A in [0, 1], one or (n,).

        In `balanced`, q = sqrt(2) [A f^ ; (1-A) p^], so that q·v = A cos_image + (1-A) cos_prefix.
        In `concat`, q = [A f ; (1-A) p] / ||·||, which at A = 0.5 is the bare formula.
        """
        blocks = self.blocks(image, prefix)
        weight = np.asarray(image_weight, np.float32).reshape(-1, 1)
        if self.mode == "balanced":
            joined = np.hstack([_unit(blocks.image) * weight, _unit(blocks.prefix) * (1 - weight)])
            return (joined * np.float32(math.sqrt(2))).astype(np.float32)
        return _unit(np.hstack([blocks.image * weight, blocks.prefix * (1 - weight)]))

    def scores(self, image: Floats, prefix: Floats, image_weight: float | Floats, vectors: Floats) -> Scores:
        """Score m queries' blocks (m, image_dim), (m, prefix_dim) against n vectors each, (m, n, dim).

        Their weighted sum is q·v as `query` makes q.
        """
        image_score = _cosines(image, vectors[:, :, : self.image_dim])
        prefix_score = _cosines(prefix, vectors[:, :, self.image_dim :])
        if self.mode == "balanced":
            weight = np.asarray(image_weight, np.float32).reshape(-1, 1)
            total = np.nan_to_num(image_score) * weight + np.nan_to_num(prefix_score) * (1 - weight)
        else:
            total = np.einsum("md,mnd->mn", self.query(image, prefix, image_weight), vectors)
        return Scores(total.astype(np.float32), image_score, prefix_score)

    def blocks(self, image: Floats | None, prefix: Floats | None) -> Blocks:
        """Check the shapes of blocks, with zeros for a block that is missing.

        Raises:
            ValueError: a shape doesn't fit, or a value is not finite.
        """
        count = len(image) if image is not None else len(prefix) if prefix is not None else 0
        found = Blocks(
            np.zeros((count, self.image_dim), np.float32) if image is None else np.asarray(image, np.float32),
            np.zeros((count, self.prefix_dim), np.float32) if prefix is None else np.asarray(prefix, np.float32),
        )
        for name, block, dim in zip(("image", "prefix"), found, (self.image_dim, self.prefix_dim), strict=True):
            if block.shape != (count, dim):
                raise ValueError(f"expected {name} blocks of shape ({count}, {dim}), found {block.shape}")
            if not np.isfinite(block).all():
                raise ValueError(f"expected finite {name} blocks, found NaN or infinity")
        return found


def _unit(block: Floats) -> Floats:
    """Scale rows (n, d) to length 1; zero rows stay zero."""
    norm = np.linalg.norm(block, axis=1, keepdims=True)
    unit: Floats = np.divide(block, norm, out=np.zeros(block.shape, np.float32), where=norm > 0)
    return unit


def _cosines(queries: Floats, blocks: Floats) -> Floats:
    """Cosines (m, n) of queries (m, d) with blocks (m, n, d); NaN where either is a zero vector."""
    norm = np.linalg.norm(blocks, axis=2)
    present = (norm > 0) & np.any(queries, axis=1)[:, None]
    products = np.einsum("md,mnd->mn", _unit(queries), blocks)
    cosines = np.clip(np.divide(products, norm, out=np.zeros_like(products), where=norm > 0), -1, 1)
    return np.where(present, cosines, np.nan).astype(np.float32)
