"""The bins of a reliability diagram, and the calibration error that is made of them."""

from __future__ import annotations

import numpy as np

from fpve.evaluate.figures import calibration_error, reliability
from fpve.records import ReliabilityBin


def test_bins_hold_what_is_about_as_sure() -> None:
    """Confidences of 0.5 and 0.53 share a bin, 1 is in the last one, and bins without a row are left out."""
    confidence = np.array([1.0, 0.5, 0.53125, 0.96875, 0.0])
    right = np.array([True, True, False, False, False])
    bins = reliability(confidence, right)
    assert bins == (
        ReliabilityBin(0.0, 0.0, 1),
        ReliabilityBin(0.515625, 0.5, 2),
        ReliabilityBin(0.984375, 0.5, 2),
    )
    assert calibration_error(bins) == (2 * 0.015625 + 2 * 0.484375) / 5


def test_nothing_predicted_is_no_error() -> None:
    """Of no predictions there is no bin, and the error is 0."""
    bins = reliability(np.empty(0), np.empty(0, bool))
    assert (bins, calibration_error(bins)) == ((), 0.0)
