"""Whether two pictures agree pixel by pixel, as they are or mirrored: a second opinion on what features take for one.

Pictures are compared by the correlation of their thumbnails at 32 by 32 pixels, three colours: without their mean and
contrast, so that a darker or paler copy is a copy. An encoder of photographs hardly tells a red traffic light from a
green one; their pixels do. What was cropped or turned agrees less here than by its features. Where one of two pictures
is of one plain colour there is nothing to correlate: they agree, by 1, if they hardly differ, and else by 0.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats
from fpve.neighbours import Exact, Mask, Rows
from fpve.store.snapshot import Snapshot

_SIDE = 32
# Standard deviation of grey levels, of 255, below which a picture is one plain colour: a correlation would be of noise.
_PLAIN = 2.0
# And by how much of 255 its pixels differ from those of another picture: a scanner's white is not quite white.
_DIFFERENT = 8
# Correlations are compared to six decimals: float32 leaves no more.
_DECIMALS = 6
# Thumbnails of 4 kB that are held at once, as bytes.
_AT_ONCE = 4_096

Bytes = NDArray[np.uint8]


class Agreement(NamedTuple):
    """How each of m pictures agrees with each of t others.

    Attributes:
        correlation: (m, t) in [-1, 1], in the better of both orientations; NaN where one has no thumbnail.
        mirrored: (m, t) whether that is the mirrored one.
    """

    correlation: Exact
    mirrored: Mask


class Pixels:
    """The small pictures of some image rows, by which pairs of them are compared."""

    def __init__(self, snapshot: Snapshot, rows: Rows) -> None:
        """Read and shrink the thumbnails of image rows (n,)."""
        self._rows = np.unique(rows)
        self._small = np.zeros((len(self._rows), _SIDE, _SIDE, 3), np.uint8)
        self._mean = np.zeros(len(self._rows), np.float32)
        self._length = np.zeros(len(self._rows))
        self._known = np.zeros(len(self._rows), bool)
        with ThreadPoolExecutor(thread_name_prefix="fpve-pixels") as pool:
            for start in range(0, len(self._rows), _AT_ONCE):
                part = self._rows[start : start + _AT_ONCE]
                hashes = snapshot.rows.take(part, ["content_hash"])["content_hash"].to_pylist()
                found = snapshot.thumbnails([one for one in hashes if one is not None])
                jpegs = [found.get(one) for one in hashes]
                for place, small in enumerate(pool.map(_small, jpegs), start):
                    if small is not None:
                        self._small[place], self._known[place] = small, True
                        self._mean[place], self._length[place] = small.mean(), small.std() * np.sqrt(small.size)
        self._plain = self._known & (self._length < _PLAIN * np.sqrt(_SIDE * _SIDE * 3))

    def compare(self, ones: Rows, others: Rows) -> Agreement:
        """Compare each of the pictures of image rows (m,) with each of those of image rows (t,)."""
        mine, places = np.searchsorted(self._rows, ones), np.searchsorted(self._rows, others)
        seen = self._small[mine]
        # Of these in both orientations, so that each of the others is read once, as it is.
        both = np.concatenate([_centred(seen, self._mean[mine]), _centred(seen[:, :, ::-1], self._mean[mine])])
        found = np.empty((2, len(mine), len(places)))
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            products = both @ _centred(self._small[part], self._mean[part]).T
            found[:, :, start : start + len(part)] = products.reshape(2, len(mine), len(part))
        found /= np.maximum(self._length[mine][:, None] * self._length[places], 1e-6)
        # A mean and a contrast less, a plain picture is noise: these are compared as they are.
        one, other = np.nonzero(self._plain[mine][:, None] | self._plain[places])
        found[:, one, other] = self._same(mine[one], places[other])
        unknown = ~(self._known[mine][:, None] & self._known[places])
        agreement = np.minimum(np.round(found.max(axis=0), _DECIMALS), 1.0)
        return Agreement(np.where(unknown, np.nan, agreement), (found[1] > found[0]) & ~unknown)

    def _same(self, ones: Rows, others: Rows) -> Exact:
        """1 for each pair of pictures (t,) and (t,) that hardly differ, 0 for each that does."""
        found = np.empty(len(others))
        for start in range(0, len(others), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            difference = self._small[others[part]].astype(np.int16) - self._small[ones[part]]
            found[part] = np.abs(difference).mean(axis=(1, 2, 3)) < _DIFFERENT
        return found


def _centred(pictures: Bytes, mean: Floats) -> Floats:
    """Pictures (t, side, side, 3) as vectors, less the mean (t,) of each."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    flat -= mean[:, None]
    return flat


def _small(jpeg: bytes | None) -> Bytes | None:
    """A thumbnail as (side, side, 3); None where there is none, or a broken one."""
    from PIL import Image

    if jpeg is None:
        return None
    try:
        with Image.open(io.BytesIO(jpeg)) as opened:
            opened.draft("RGB", (_SIDE, _SIDE))
            shrunk = opened.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    except (OSError, ValueError):
        return None
    return np.asarray(shrunk)
