"""Whether two pictures agree pixel by pixel, as they are or mirrored: a second opinion on what features take for one.

Pictures are compared by the correlation of their thumbnails at 32 by 32 pixels, three colours: without their mean and
contrast, so that a darker or paler copy is a copy. An encoder of photographs hardly tells a red traffic light from a
green one; their pixels do. What was cropped or turned agrees less here than by its features.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
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
# Thumbnails of 4 kB that are held at once, as bytes.
_AT_ONCE = 4_096

Bytes = NDArray[np.uint8]


class Agreement(NamedTuple):
    """How pairs of pictures agree.

    Attributes:
        correlation: (t,) in [-1, 1], in the better of both orientations; NaN where one has no thumbnail, or is plain.
        mirrored: (t,) whether that is the mirrored one.
    """

    correlation: Exact
    mirrored: Mask


class Pixels:
    """The small pictures of some image rows, by which pairs of them are compared."""

    def __init__(self, snapshot: Snapshot, rows: Rows) -> None:
        """Read and shrink the thumbnails of image rows (n,)."""
        self._rows = np.unique(rows)
        self._small = np.zeros((len(self._rows), _SIDE, _SIDE, 3), np.uint8)
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

    def compare(self, one: Rows, other: Rows) -> Agreement:
        """Compare the pictures of image rows (t,) and (t,)."""
        parts = list(self._compared(np.searchsorted(self._rows, one), np.searchsorted(self._rows, other)))
        if not parts:
            return Agreement(np.zeros(0), np.zeros(0, bool))
        return Agreement(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _compared(self, one: Rows, other: Rows) -> Iterator[Agreement]:
        for start in range(0, len(one), _AT_ONCE):
            mine, theirs = one[start : start + _AT_ONCE], other[start : start + _AT_ONCE]
            left, right = self._small[mine], self._small[theirs]
            plain, is_plain = _standardised(left)
            same, other_is_plain = _standardised(right)
            flipped, _ = _standardised(right[:, :, ::-1])
            unknown = ~(self._known[mine] & self._known[theirs]) | is_plain | other_is_plain
            as_it_is, as_mirrored = (np.einsum("td,td->t", plain, seen).astype(np.float64) for seen in (same, flipped))
            correlation = np.where(unknown, np.nan, np.maximum(as_it_is, as_mirrored))
            yield Agreement(correlation, (as_mirrored > as_it_is) & ~unknown)


def _standardised(pictures: Bytes) -> tuple[Floats, Mask]:
    """Pictures (t, side, side, 3) as vectors of mean 0 and length 1, and which of them are one plain colour."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    is_plain: Mask = length[:, 0] < _PLAIN * np.sqrt(flat.shape[1])
    return flat / np.maximum(length, 1e-6), is_plain


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
