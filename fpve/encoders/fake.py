"""Encoders without a model: deterministic, fast and torch-free, for tests and for trying a job file out."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fpve import images
from fpve.encoders.fingerprint import fingerprint
from fpve.errors import EncoderError

if TYPE_CHECKING:
    from PIL.Image import Image

    from fpve.config import EncoderConfig, Resize
    from fpve.encoders.protocol import Floats

DEFAULT_DIM = 32
# A single coordinate can cancel out to a zero row; above 4096 a fake encoder is slower than a real one.
DIMS = range(2, 4097)
SIDE = 16
SEED = 20
# Norms like those of a CNN's features, so that a fusion that forgets to normalise shows.
PHOTO_NORM = 20.0
# A last coordinate that is the same for every picture keeps rows away from 0, also that of an all-grey picture.
CONSTANT = 5.0
# Of the contrast of a usual photograph, with pixel values of -1 to 1.
PHOTO_RMS = 0.5


class FakeImageEncoder:
    """A fixed random projection of the picture at 16 x 16 pixels: pictures that look alike get rows that are alike.

    Args:
        config: with the options resize and batch_size.
        dim: length of a row, 2 to 4096; empty for 32.

    Raises:
        EncoderError: `dim` is no such number.
    """

    # Its pictures and its texts have nothing in common.
    space = None

    def __init__(self, config: EncoderConfig, dim: str = "") -> None:
        self.name = config.name
        self.resize: Resize = config.resize or "squash"
        self._batch_size = config.batch_size or 256
        self._dim = _parse_dim(dim)

    @property
    def batch_size(self) -> int:
        """How many pictures one call should get."""
        return self._batch_size

    @property
    def side(self) -> int:
        """Pixels to which a picture is brought."""
        return SIDE

    @property
    def concurrency(self) -> int:
        """How many calls of `encode` at once pay."""
        return 1

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine: it has none."""
        return True

    @property
    def dim(self) -> int:
        """Length of an encoded row."""
        return self._dim

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the settings."""
        settings = {"seed": SEED, "dim": self._dim, "resize": self.resize, "decoding": images.DECODING}
        return fingerprint({"architecture": "fake-image", **settings})

    def prepare(self, image: Image) -> NDArray[np.uint8]:
        """Make a square (16, 16, 3) uint8 of an RGB picture."""
        return images.resize(image, SIDE, self.resize)

    def encode(self, batch: NDArray[np.uint8]) -> Floats:
        """Encode prepared pictures (n, 16, 16, 3) uint8 into rows (n, dim) float32 of norms around 20.

        Raises:
            EncoderError: the batch has another shape or dtype.
        """
        if batch.dtype != np.uint8 or batch.shape[1:] != (SIDE, SIDE, 3):
            raise EncoderError(
                f"encoder {self.name!r}: expected pictures of shape (n, {SIDE}, {SIDE}, 3) and uint8 "
                f"as `prepare` makes them, found {batch.shape} and {batch.dtype}"
            )
        # In float64, so that rounding does not depend on how many rows are multiplied at once.
        pixels = batch.reshape(len(batch), SIDE * SIDE * 3) / 127.5 - 1.0
        rows = np.full((len(batch), self._dim), CONSTANT, np.float32)
        rows[:, :-1] = pixels @ self._projection
        return rows

    @cached_property
    def _projection(self) -> NDArray[np.float64]:
        pixels = SIDE * SIDE * 3
        directions = np.random.Generator(np.random.PCG64(SEED)).standard_normal((pixels, self._dim - 1))
        directions *= PHOTO_NORM / PHOTO_RMS / math.sqrt(pixels * (self._dim - 1))
        return directions


class FakeTextEncoder:
    """The sum of a random direction for each word, as a unit row: texts that share words get rows that are alike.

    Args:
        config: with the option batch_size.
        dim: length of a row, 2 to 4096; empty for 32.

    Raises:
        EncoderError: `dim` is no such number.
    """

    # Its pictures and its texts have nothing in common.
    space = None

    def __init__(self, config: EncoderConfig, dim: str = "") -> None:
        self.name = config.name
        self._batch_size = config.batch_size or 256
        self._dim = _parse_dim(dim)

    @property
    def batch_size(self) -> int:
        """How many texts one call should get."""
        return self._batch_size

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine: it has none."""
        return True

    @property
    def dim(self) -> int:
        """Length of an encoded row."""
        return self._dim

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the settings."""
        return fingerprint({"architecture": "fake-text", "dim": self._dim})

    def encode(self, texts: Sequence[str]) -> Floats:
        """Encode n texts into unit rows (n, dim) float32."""
        rows = np.empty((len(texts), self._dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            # A text without words is the empty word, not a zero row.
            total = np.sum([self._direction(word) for word in re.findall(r"\w+", text.casefold()) or [""]], axis=0)
            row[:] = total / np.linalg.norm(total)
        return rows

    def _direction(self, word: str) -> NDArray[np.float64]:
        # Not hash(): Python salts it anew in each process.
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        direction = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big"))).standard_normal(self._dim)
        return direction / np.linalg.norm(direction)


def _parse_dim(text: str) -> int:
    if not text:
        return DEFAULT_DIM
    if not (text.isascii() and text.isdigit() and int(text) in DIMS):
        raise EncoderError(f"fake:DIM takes a whole number from {DIMS[0]} to {DIMS[-1]}, found {text!r}")
    return int(text)
