"""A collection in which it is known what is wrong: near-duplicates, odd pictures, and labels that were flipped.

Pictures lie on a surface of ten dimensions, x = sin(s * (z B)) as those of FAISS's SyntheticDataset, and the class of
one is the nearest of some points z: so neighbours say something of a class, and are wrong near its border. Prefixes are
a few for each class. Thumbnails are smooth noise; that of a near-duplicate is the same, darker or mirrored, and that of
a picture of a series, whose features are as near, is another.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from data import Floats, Fused, Kind, Rows, fuse, unit
from PIL import Image

KIND = Kind(512, 384, 300)
_INTRINSIC, _CLASSES, _PREFIXES_EACH = 10, 100, 3
# Shares of the rows: near-duplicates of another, pictures of a series, what is like nothing, and labels that are wrong.
_DUPLICATES, _SERIES, _ODD, _FLIPPED = 0.05, 0.01, 0.002, 0.01
# One picture, such as an empty page, that is there this often.
_CLUMP = 0.02
_CLUMP_COSINE = (0.985, 0.999)
_COSINE = (0.925, 0.999)
_PART = 8_192
_SIDE = 64


@dataclass(frozen=True)
class Planted:
    """A collection of n rows, and what is wrong with it.

    Attributes:
        fused: its vectors.
        labels: (n,) class numbers, of which some are wrong.
        source: (n,) whose near-duplicate a row is, or its own number.
        odd: (o,) rows that are like nothing.
        flipped: (f,) rows whose label is wrong.
        pictures: (n,) number of the picture that the thumbnail shows.
        changed: (n,) 0: as it is, 1: mirrored, 2: darker.
    """

    fused: Fused
    labels: Rows
    source: Rows
    odd: Rows
    flipped: Rows
    pictures: Rows
    changed: Rows

    def parts(self) -> Iterator[Fused]:
        """The vectors, a part after the other."""
        for start in range(0, len(self.labels), _PART):
            yield Fused(*(column[start : start + _PART] for column in self.fused))

    def thumbnails(self) -> Iterator[bytes]:
        """The JPEGs of all rows."""
        for picture, change in zip(self.pictures.tolist(), self.changed.tolist(), strict=True):
            yield _jpeg(picture, change)


def plant(rows: int) -> Planted:
    """Make a collection of so many rows; the same each time."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((rows, _INTRINSIC), np.float32)
    directions = rng.random((_INTRINSIC, KIND.image_dim), np.float32)
    directions *= rng.random(KIND.image_dim, np.float32) * 4 + np.float32(0.1)
    image = unit(np.sin(z @ directions))
    centres = rng.standard_normal((_CLASSES, _INTRINSIC), np.float32)
    labels = np.argmax(z @ centres.T - 0.5 * np.square(centres).sum(axis=1), axis=1)
    source, pictures = np.arange(rows), np.arange(rows)
    order = rng.permutation(rows)
    odd, copies, series, clump, rest = np.split(
        order, np.cumsum([int(rows * share) for share in (_ODD, _DUPLICATES, _SERIES, _CLUMP)])
    )
    image[odd] = unit(rng.standard_normal((len(odd), KIND.image_dim), np.float32))
    for mine, cosines, is_copy in ((copies, _COSINE, True), (series, _COSINE, False), (clump, _CLUMP_COSINE, True)):
        of = rng.choice(rest, len(mine), replace=False) if mine is not clump else np.full(len(mine), rest[0])
        image[mine] = _near(rng, image[of], rng.uniform(*cosines, len(mine)))
        labels[mine] = labels[of]
        if is_copy:
            source[mine], pictures[mine] = of, of
    known = unit(rng.standard_normal((_CLASSES * _PREFIXES_EACH, KIND.prefix_dim), np.float32))
    prefix = labels * _PREFIXES_EACH + rng.integers(0, _PREFIXES_EACH, rows)
    flipped = np.sort(rng.choice(rest, int(rows * _FLIPPED), replace=False))
    labels[flipped] = (labels[flipped] + rng.integers(1, _CLASSES, len(flipped))) % _CLASSES
    changed = np.where(source == np.arange(rows), 0, rng.integers(0, 3, rows))
    return Planted(Fused(fuse(image, known[prefix]), prefix), labels, source, odd, flipped, pictures, changed)


def _near(rng: np.random.Generator, of: Floats, cosine: np.ndarray) -> Floats:
    """Unit rows (n, d) that have cosines (n,) with given unit rows."""
    noise = rng.standard_normal(of.shape, np.float32)
    noise = unit(noise - (noise * of).sum(axis=1, keepdims=True) * of)
    cosine = cosine[:, None].astype(np.float32)
    return cosine * of + np.sqrt(1 - cosine**2) * noise


def _jpeg(picture: int, change: int) -> bytes:
    grid = np.random.default_rng([picture, 1]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    drawn = Image.fromarray(grid).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    if change == 1:
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    elif change == 2:
        drawn = drawn.point(lambda value: value * 0.7)
    out = io.BytesIO()
    drawn.save(out, "JPEG", quality=85)
    return out.getvalue()
