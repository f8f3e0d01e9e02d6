"""What a runtime is, and what it is given to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from fpve.config import Precision
    from fpve.encoders.protocol import Floats

Pixels = NDArray[np.uint8]


class Subject(Protocol):
    """A vision model that is to be run.

    Attributes:
        name: what messages call it.
        precision: of its arithmetic.
    """

    name: str
    precision: Precision

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides its output."""
        ...

    @property
    def side(self) -> int:
        """Width and height of its pictures in pixels."""
        ...

    def pixel_network(self) -> torch.nn.Module:
        """Make it, on the CPU in float32: pictures (n, side, side, 3) uint8 to features (n, dim)."""
        ...


class Runtime(Protocol):
    """Something that runs a network. Called from many threads.

    Attributes:
        name: what reports call it, such as `openvino fp32`.
        batch_size: how many pictures a call should get.
        concurrency: how many calls at once pay.
    """

    name: str
    batch_size: int
    concurrency: int

    def encode(self, batch: Pixels) -> Floats:
        """Encode pictures (n, side, side, 3) uint8, n > 0, into features (n, dim) float32."""
        ...
