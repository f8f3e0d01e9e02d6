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

Rows are kept so, raw. What is searched can be more: blocks that are centred by frozen means, so that directions which
all blocks share say nothing (the first step of all-but-the-top, Mu and Viswanath 2018),

    f~ = (f^ - mu_f) / ||f^ - mu_f||,    p~ = (p^ - mu_p) / ||p^ - mu_p||

and predictions in the place of missing prefix blocks. Both are made of raw rows at any time: see `Fusion.searched`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mode = Literal["balanced", "concat"]

DEFAULT_MODE: Mode = "balanced"
DEFAULT_IMAGE_WEIGHT = 0.5
DEFAULT_CENTRE = False

# A block this near to the mean says nothing. On another machine an encoder agrees to cosine 0.99999 with itself, which
# is a distance of 0.0045 between unit blocks: what is left of a smaller one is rounding, and would be blown up.
_NOTHING_LEFT = 5e-3
# Lengths of searched blocks are compared with 1 to as many decimals: float32 leaves six.
_LENGTH_DECIMALS = 6


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
class Centre:
    """Frozen means of unit blocks.

    Attributes:
        version: what tells it from other means; two of the same version are equal.
        image: (image_dim,) float32 of length below 1, or None: image blocks are not centred.
        prefix: (prefix_dim,) float32 of length below 1, or None: prefix blocks are not centred.
    """

    version: str
    image: Floats | None = field(compare=False)
    prefix: Floats | None = field(compare=False)

    @property
    def means(self) -> tuple[Floats | None, Floats | None]:
        """The mean of each block."""
        return self.image, self.prefix


_UNCENTRED = Centre("", None, None)


@dataclass(frozen=True, slots=True)
class Fusion:
    """How vectors of one store are made, and searched: the mode, the sizes of both blocks, and the means.

    Attributes:
        image_dim: length of the image block, at least 0.
        prefix_dim: length of the prefix block, at least 0; 0 in a store without a text encoder.
        mode: `balanced` or `concat`.
        centre: by what searched vectors and queries are centred; rows never are.
    """

    image_dim: int
    prefix_dim: int
    mode: Mode = DEFAULT_MODE
    centre: Centre | None = None

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
            vectors = np.hstack([unit(blocks.image), unit(blocks.prefix)]) / np.float32(math.sqrt(2))
        else:
            vectors = unit(np.hstack(blocks))
        return FusedRows(vectors.astype(np.float32), image_norm, prefix_norm)

    def unfuse(self, rows: FusedRows) -> Blocks:
        """Recover features (n, image_dim) and embeddings (n, prefix_dim) from vector rows, to float32 rounding."""
        image, prefix = self._parts(rows.vectors)
        return Blocks(unit(image) * rows.image_norm[:, None], unit(prefix) * rows.prefix_norm[:, None])

    def units(self, vectors: Floats) -> Blocks:
        """The unit blocks (n, image_dim) and (n, prefix_dim) of raw vector rows (n, dim); zero where one is missing."""
        return Blocks(*(unit(part) for part in self._parts(vectors)))

    def searched(self, rows: FusedRows, predicted: Floats | None = None) -> Floats:
        """Vectors (n, dim) as they are searched, of vector rows: centred, and with predictions.

        Where neither applies, a block is bit for bit that of the row.

        Args:
            rows: vector rows, raw.
            predicted: prefix blocks (n, prefix_dim), raw, for rows without one; zero where there is none. Their length,
                at most 1, damps their say in the score: it stays as it is.
        """
        if self.centre is None and predicted is None:
            return rows.vectors
        image, prefix = self.centred(self.unfuse(rows))
        taken = np.zeros((len(rows.vectors), 1), bool)
        guessed = np.zeros_like(prefix)
        if predicted is not None:
            guessed = self.centred(self.blocks(None, predicted)).prefix
            taken = ((rows.prefix_norm == 0) & np.any(predicted, axis=1))[:, None]
        if self.mode == "concat":
            joined = unit(np.hstack([image, np.where(taken, guessed, prefix)]))
            return joined if self.centre is not None else np.where(taken, joined, rows.vectors)
        half = np.float32(1 / math.sqrt(2))
        parts = []
        for raw, block, mean in zip(self._parts(rows.vectors), (image, prefix), self._means, strict=True):
            parts.append(raw if mean is None else unit(block) * half)
        return np.hstack([parts[0], np.where(taken, guessed * half, parts[1])])

    def recovered(self, searched: FusedRows) -> Blocks:
        """Recover features (n, image_dim) and embeddings (n, prefix_dim) from searched vectors, without predictions.

        Of f~ and the mean, f^ = mu + t f~ is the only point of length 1 with t > 0. A block of which nothing is left
        gives the mean's own direction, which it was all but equal to. Norms are those of the raw rows.
        """
        norms = (searched.image_norm, searched.prefix_norm)
        found = []
        for part, norm, mean in zip(self._parts(searched.vectors), norms, self._means, strict=True):
            found.append((unit(part) if mean is None else _uncentred(unit(part), mean)) * norm[:, None])
        return Blocks(*found)

    def centred(self, blocks: Blocks) -> Blocks:
        """Raw blocks (n, …) with their directions centred; their lengths stay, but for those of which nothing is left.

        These are zero, as a missing block is: they say no more than the mean does.
        """
        return Blocks(
            *(block if mean is None else _centred(block, mean) for block, mean in zip(blocks, self._means, strict=True))
        )

    @property
    def across(self) -> Fusion:
        """For queries whose image block is the embedding of a text, in a space of both: texts have a mean of their own.

        Where that is not known, they are not centred.
        """
        if self.centre is None:
            return self
        return replace(self, centre=Centre(f"{self.centre.version}-across", self.centre.prefix, self.centre.prefix))

    @property
    def _means(self) -> tuple[Floats | None, Floats | None]:
        return (self.centre or _UNCENTRED).means

    def _parts(self, vectors: Floats) -> tuple[Floats, Floats]:
        return vectors[:, : self.image_dim], vectors[:, self.image_dim :]

    def rescale(self, rows: FusedRows, mode: Mode) -> FusedRows:
        """Turn vector rows of this fusion into those of another mode, without running an encoder."""
        return rows if mode == self.mode else replace(self, mode=mode).fuse(*self.unfuse(rows))

    def query(self, image: Floats | None, prefix: Floats | None, image_weight: float | Floats) -> Floats:
        """Make queries (n, dim) whose inner product with a searched vector is the score, for weights A in [0, 1].

        In `balanced`, q = sqrt(2) [A f^ ; (1-A) p^], so that q·v = A cos_image + (1-A) cos_prefix.
        In `concat`, q = [A f ; (1-A) p] / ||·||, which at A = 0.5 is the bare formula.
        With a centre, f~ and p~ are in the place of f^ and p^, and so are their cosines.

        Args:
            image: raw image blocks (n, image_dim); None, or a zero row, is a missing block.
            prefix: raw prefix blocks (n, prefix_dim).
            image_weight: the weight A, one or (n,).
        """
        if self.mode == "balanced":
            return weighted(self.directions(image, prefix), image_weight)
        blocks = self.centred(self.blocks(image, prefix))
        weight = np.asarray(image_weight, np.float32).reshape(-1, 1)
        return unit(np.hstack([blocks.image * weight, blocks.prefix * (1 - weight)]))

    def directions(self, image: Floats | None, prefix: Floats | None) -> Blocks:
        """The unit blocks f^ (n, image_dim) and p^ (n, prefix_dim) of raw ones, centred where there is a centre."""
        blocks = self.centred(self.blocks(image, prefix))
        return Blocks(unit(blocks.image), unit(blocks.prefix))

    def scores(self, image: Floats, prefix: Floats, image_weight: float | Floats, vectors: Floats) -> Scores:
        """Score m queries' raw blocks (m, image_dim), (m, prefix_dim) against n searched vectors each, (m, n, dim).

        The total is q·v as `query` makes q: in `balanced` the weighted sum of the cosines, which are those of centred
        blocks where there is a centre. A predicted prefix block counts in it times its length; its cosine is whole.
        """
        own = self.centred(Blocks(image, prefix))
        image_score, _ = _cosines(own.image, vectors[:, :, : self.image_dim])
        prefix_score, length = _cosines(own.prefix, vectors[:, :, self.image_dim :])
        if self.mode == "balanced":
            weight = np.asarray(image_weight, np.float32).reshape(-1, 1)
            damping = np.round(length * np.float32(math.sqrt(2)), _LENGTH_DECIMALS)
            total = np.nan_to_num(image_score) * weight + np.nan_to_num(prefix_score) * damping * (1 - weight)
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


def weighted(directions: Blocks, image_weight: float | Floats) -> Floats:
    """The balanced queries q = sqrt(2) [A f^ ; (1-A) p^] (n, dim) of unit blocks, with a weight A, one or (n,)."""
    weight = np.asarray(image_weight, np.float32).reshape(-1, 1)
    joined = np.hstack([directions.image * weight, directions.prefix * (1 - weight)])
    return (joined * np.float32(math.sqrt(2))).astype(np.float32)


def unit(block: Floats) -> Floats:
    """Scale rows (n, d) to length 1; zero rows stay zero."""
    norm = np.linalg.norm(block, axis=1, keepdims=True)
    found: Floats = np.divide(block, norm, out=np.zeros(block.shape, np.float32), where=norm > 0)
    return found


def _centred(block: Floats, mean: Floats) -> Floats:
    """Rows (n, d) of the same lengths in the directions of their unit vectors less a mean (d,)."""
    length = np.linalg.norm(block, axis=1, keepdims=True)
    rest = unit(block) - mean
    left = np.linalg.norm(rest, axis=1, keepdims=True)
    known = (length > 0) & (left >= _NOTHING_LEFT)
    scale = np.divide(length, left, out=np.zeros_like(length), where=known)
    moved: Floats = (rest * scale).astype(np.float32)
    return moved


def _uncentred(moved: Floats, mean: Floats) -> Floats:
    """The unit vectors (n, d) whose centred directions are given (n, d); zero rows give the mean's direction."""
    exact, centre = moved.astype(np.float64), mean.astype(np.float64)
    along = exact @ centre
    # Not negative by rounding, where all blocks are the same.
    outside = max(1 - float(centre @ centre), 0.0)
    # The positive root of t² + 2 (mu·f~) t = 1 - ||mu||², in a form that takes no difference of near numbers.
    root = np.sqrt(along**2 + outside)
    step = np.where(along > 0, outside / np.maximum(np.abs(along) + root, np.finfo(np.float64).tiny), root - along)
    return unit((centre + np.where(np.any(moved, axis=1), step, 0)[:, None] * exact).astype(np.float32))


def _cosines(queries: Floats, blocks: Floats) -> tuple[Floats, Floats]:
    """Cosines (m, n) of queries (m, d) with blocks (m, n, d), NaN where either is a zero vector; lengths of blocks."""
    norm = np.linalg.norm(blocks, axis=2)
    present = (norm > 0) & np.any(queries, axis=1)[:, None]
    products = np.einsum("md,mnd->mn", unit(queries), blocks)
    cosines = np.clip(np.divide(products, norm, out=np.zeros_like(products), where=norm > 0), -1, 1)
    return np.where(present, cosines, np.nan).astype(np.float32), norm
