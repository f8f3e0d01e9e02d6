"""How sure a network may be: a temperature by which its probabilities are right on rows that it has not seen.

Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural Networks.
"""

from __future__ import annotations

import numpy as np

from fpve.fusion import Floats
from fpve.heads.examples import Numbers
from fpve.heads.network import softmax

# Where all held-out rows are right, likelihood asks for ever more certainty; some dozens of rows can't tell it.
_LOWEST, _HIGHEST = 0.5, 20.0
# Halvings of an interval of that width: to seven digits.
_HALVINGS = 25


def fit_temperature(logits: Floats, codes: Numbers, weights: Floats) -> float:
    """The temperature at which logits (n, c) give the classes (n,), with weights (n,), the highest likelihood.

    Likelihood has one maximum in 1/T. Its slope there is the mean logit of the true class, less that which the
    probabilities expect; where that is 0, T is right.
    """
    exact = logits.astype(np.float64)
    truth = exact[np.arange(len(codes)), codes]
    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = (softmax(logits, float(np.exp(middle))) * exact).sum(axis=1)
        if np.average(truth - expected, weights=weights) > 0:
            high = middle
        else:
            low = middle
    return float(np.exp((low + high) / 2))


def log_loss(logits: Floats, codes: Numbers, weights: Floats, temperature: float = 1.0) -> float:
    """The mean of -log p(class) over rows (n, c) with weights (n,), in nats."""
    scaled = logits.astype(np.float64) / temperature
    top = scaled.max(axis=1)
    total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    return float(np.average(total - scaled[np.arange(len(codes)), codes], weights=weights))
