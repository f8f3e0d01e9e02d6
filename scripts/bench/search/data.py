"""Vectors and queries to search with: two blocks each, an image's and a prefix's, fused as a store fuses them.

`synthetic-896` and `synthetic-1664` are FAISS's SyntheticDataset, cut in two blocks: they hang together, as all columns
of it are made of the same ten numbers. In `halves-896` they don't: an image block of one SyntheticDataset, and one of
300 prefixes of another, at random. Fused vectors are of length 1, so inner products with them are cosines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

# Of vectors that are made, written or compared at once: 29 MB at 896 numbers.
_PART = 8_192
_SQRT2 = np.float32(math.sqrt(2))
# FAISS's SyntheticDataset has as many.
_INTRINSIC = 10
# Of streams: parts are numbered from 0.
_MAP, _QUERIES, _PREFIXES = (1 << 30) + np.arange(3)


class Kind(NamedTuple):
    """What a set consists of: lengths of the blocks, and how many prefixes are shared; None if each row has its own."""

    image_dim: int
    prefix_dim: int
    prefixes: int | None


# As an image encoder of 512 or 1,280 numbers and a text encoder of 384 would have it.
KINDS = {
    "synthetic-896": Kind(512, 384, None),
    "halves-896": Kind(512, 384, 300),
    "synthetic-1664": Kind(1280, 384, None),
}


class Fused(NamedTuple):
    """Fused vectors (n, dim) float32, and numbers (n,) of their prefixes: equal where the prefix block is."""

    vectors: Floats
    prefixes: Rows


@dataclass(frozen=True)
class Data:
    """A set in memory.

    Attributes:
        kind: what it consists of.
        fused: its rows.
        queries: (m, dim), a unit image block and a unit prefix block side by side.
    """

    kind: Kind
    fused: Fused
    queries: Floats

    @property
    def vectors(self) -> Floats:
        """The fused vectors (n, dim)."""
        return self.fused.vectors

    def parts(self) -> Iterator[Fused]:
        """The rows, a part after the other."""
        for start in range(0, len(self.vectors), _PART):
            yield Fused(*(column[start : start + _PART] for column in self.fused))

    def weighted(self, image_weight: float) -> Floats:
        """The queries (m, dim) whose inner products with fused vectors are scores at a weight."""
        return weighted(self.queries, self.kind, image_weight)


def make(name: str, *, rows: int, queries: int) -> Data:
    """Make a set of one of the KINDS by FAISS's own SyntheticDataset."""
    kind = KINDS[name]
    image_dim, prefix_dim, shared = kind
    numbers = np.arange(rows)
    if shared is None:
        every, asked = _synthetic(image_dim + prefix_dim, rows, queries, seed=1)
        image, prefix = every[:, :image_dim], every[:, image_dim:]
        asked_image, asked_prefix = asked[:, :image_dim], asked[:, image_dim:]
    else:
        image, asked_image = _synthetic(image_dim, rows, queries, seed=1)
        known, _ = _synthetic(prefix_dim, shared, 0, seed=2)
        rng = np.random.default_rng(3)
        numbers = rng.integers(0, shared, rows)
        prefix, asked_prefix = known[numbers], known[rng.integers(0, shared, queries)]
    return Data(kind, Fused(fuse(image, prefix), numbers), np.hstack([unit(asked_image), unit(asked_prefix)]))


@dataclass(frozen=True)
class Stream:
    """A set of any number of rows, made a part at a time, and the same ones each time.

    The formula is that of FAISS's SyntheticDataset, which makes all rows at once: x = sin(s * (z B)), with z (n, 10)
    normal, B (10, d) uniform in [0, 1), and s (d,) uniform in [0.1, 4.1).
    """

    name: str
    rows: int

    @property
    def kind(self) -> Kind:
        """What it consists of."""
        return KINDS[self.name]

    def parts(self) -> Iterator[Fused]:
        """The rows, a part after the other."""
        for number, start in enumerate(range(0, self.rows, _PART)):
            count = min(_PART, self.rows - start)
            image, prefix, numbers = self._blocks(number, count)
            yield Fused(fuse(image, prefix), np.arange(start, start + count) if numbers is None else numbers)

    def queries(self, count: int) -> Floats:
        """Queries (count, dim): a unit image block and a unit prefix block side by side."""
        image, prefix, _ = self._blocks(int(_QUERIES), count)
        return np.hstack([unit(image), unit(prefix)])

    def _blocks(self, number: int, count: int) -> tuple[Floats, Floats, Rows | None]:
        image_dim, prefix_dim, shared = self.kind
        rng = np.random.default_rng(number)
        if shared is None:
            every = _mapped(rng, count, image_dim + prefix_dim)
            return every[:, :image_dim], every[:, image_dim:], None
        known = _mapped(np.random.default_rng(int(_PREFIXES)), shared, prefix_dim)
        numbers = rng.integers(0, shared, count)
        return _mapped(rng, count, image_dim), known[numbers], numbers


def weighted(queries: Floats, kind: Kind, image_weight: float) -> Floats:
    """Q = sqrt(2) [A f ; (1 - A) p] (m, dim) of unit blocks side by side, written out: this knows nothing of fpve."""
    scale = np.repeat([image_weight, 1 - image_weight], kind[:2]).astype(np.float32) * _SQRT2
    return np.ascontiguousarray(queries * scale)


def fuse(image: Floats, prefix: Floats) -> Floats:
    """V = [f ; p] / sqrt(2) (n, dim) of blocks of any length."""
    return np.hstack([unit(image), unit(prefix)]) / _SQRT2


def unit(block: Floats) -> Floats:
    """Rows of length 1."""
    return block / np.linalg.norm(block, axis=1, keepdims=True)


def near(queries: Floats, kind: Kind, count: int, *, seed: int) -> Sequence[Floats]:
    """Of each query (m, dim) the query itself and others (count, dim) that ask for nearly the same: cosine .995."""
    rng = np.random.default_rng(seed)
    found = []
    for query in queries:
        noise = rng.normal(size=(count, len(query))).astype(np.float32)
        noise[0] = 0
        blocks = np.split(query + 0.1 * _unit_blocks(noise, kind), [kind.image_dim], axis=1)
        found.append(np.hstack([unit(block) for block in blocks]))
    return found


def _unit_blocks(rows: Floats, kind: Kind) -> Floats:
    blocks = np.split(rows, [kind.image_dim], axis=1)
    lengths = (np.linalg.norm(block, axis=1, keepdims=True) for block in blocks)
    return np.hstack([block / np.where(length > 0, length, 1) for block, length in zip(blocks, lengths, strict=True)])


def _synthetic(dim: int, rows: int, queries: int, *, seed: int) -> tuple[Floats, Floats]:
    from faiss.contrib.datasets import SyntheticDataset

    made = SyntheticDataset(dim, 0, rows, queries, metric="IP", seed=seed)
    return made.get_database(), made.get_queries()


def _mapped(rng: np.random.Generator, count: int, dim: int) -> Floats:
    fixed = np.random.default_rng([int(_MAP), dim])
    directions = fixed.random((_INTRINSIC, dim), np.float32)
    directions *= fixed.random(dim, np.float32) * 4 + np.float32(0.1)
    return np.sin(rng.standard_normal((count, _INTRINSIC), np.float32) @ directions)
