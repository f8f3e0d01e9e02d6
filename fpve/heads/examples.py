"""What a network learns from: inputs with a class each, and what belongs together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Examples(NamedTuple):
    """Inputs (n, dim) float32, class numbers (n,) from 0, and clusters (n,) that stay on one side of a split."""

    inputs: Floats
    codes: Numbers
    clusters: Numbers

    def where(self, mask: Mask) -> Examples:
        """The rows for which a mask (n,) holds."""
        return self if mask.all() else Examples(self.inputs[mask], self.codes[mask], self.clusters[mask])
