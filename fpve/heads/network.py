"""A feed-forward network: layers with ReLU between them, and a temperature; in NumPy, so predicting needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats

# Rows at once: 27 MB of 1,664 numbers, should they have to be copied.
_AT_ONCE = 4_096


class Layer(NamedTuple):
    """One linear layer: weight (out, in) and bias (out,), float32."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Classifies inputs of length `dim` into `classes` classes.

    Attributes:
        layers: at least one; between two of them negative values become 0 (ReLU).
        temperature: T > 0, by which logits are divided before they become probabilities (Guo et al. 2017).

    Raises:
        ValueError: the layers don't fit one another, a value is not finite, or the temperature is not positive.
    """

    layers: tuple[Layer, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check shapes and values."""
        if not self.layers:
            raise ValueError("expected at least one layer")
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"expected a temperature above 0, found {self.temperature}")
        for weight, bias in self.layers:
            if weight.dtype != np.float32 or bias.dtype != np.float32:
                raise ValueError(f"expected layers of float32, found {weight.dtype} and {bias.dtype}")
            if weight.ndim != 2 or bias.shape != weight.shape[:1] or not weight.size:
                raise ValueError(f"expected a weight (out, in) and a bias (out,), found {weight.shape}, {bias.shape}")
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise ValueError("a weight is not finite")
        for before, after in pairwise(self.layers):
            if after.weight.shape[1] != len(before.bias):
                raise ValueError(f"a layer takes {after.weight.shape[1]} numbers, and gets {len(before.bias)}")

    @property
    def dim(self) -> int:
        """Length of an input."""
        return int(self.layers[0].weight.shape[1])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.layers[-1].bias)

    def logits(self, inputs: Floats) -> Floats:
        """The logits (m, classes) float32 of inputs (m, dim), before the temperature.

        Raises:
            ValueError: inputs of another length.
        """
        if inputs.ndim != 2 or inputs.shape[1] != self.dim:
            raise ValueError(f"expected inputs of {self.dim} numbers, found an array of shape {inputs.shape}")
        found = np.empty((len(inputs), self.classes), np.float32)
        for start in range(0, len(inputs), _AT_ONCE):
            part = np.asarray(inputs[start : start + _AT_ONCE], np.float32)
            for layer in self.layers[:-1]:
                part = np.maximum(part @ layer.weight.T + layer.bias, 0)
            found[start : start + _AT_ONCE] = part @ self.layers[-1].weight.T + self.layers[-1].bias
        return found

    def probabilities(self, inputs: Floats) -> NDArray[np.float64]:
        """The probabilities (m, classes) of inputs (m, dim); each row adds up to 1."""
        return softmax(self.logits(inputs), self.temperature)


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities (m, c) of logits (m, c) at a temperature."""
    shares = logits.astype(np.float64) / temperature
    # Of the largest, exp is 1: nothing overflows, and the shares are the same.
    np.exp(shares - shares.max(axis=1, keepdims=True), out=shares)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares
