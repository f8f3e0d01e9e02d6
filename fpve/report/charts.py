"""Charts of an evaluation: where things are drawn, in the units of an SVG image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fpve.records import Evaluation, ReliabilityBin, RiskPoint

# The drawing's own units; at this width its letters are as large on a phone as they are on a screen.
WIDTH, HEIGHT = 340, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 326, 14, 228
# A dot's radius: seen where it stands for one row, and no larger than the distance of two bins.
_SMALLEST, _LARGEST = 2.5, 10.5
# Distances of the lines of an axis, and how many of them are still easily read.
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
_LINES = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from values between `low` and `high` to places between `start` and `end`; a line at each step."""

    low: float
    high: float
    start: float
    end: float
    step: float

    def at(self, value: float) -> float:
        """Where a value is drawn."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def lines(self) -> tuple[float, ...]:
        """Values that a line is drawn at."""
        count = round((self.high - self.low) / self.step)
        return tuple(round(self.low + number * self.step, 2) for number in range(count + 1))


@dataclass(frozen=True, slots=True)
class Dot:
    """A place, and the radius that its rows give it."""

    x: float
    y: float
    radius: float = 4.0


@dataclass(frozen=True, slots=True)
class Chart:
    """Two scales, and the dots between them."""

    x: Scale
    y: Scale
    dots: tuple[Dot, ...]
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def line(self) -> str:
        """The dots as points of a line."""
        return " ".join(f"{dot.x},{dot.y}" for dot in self.dots)


def reliability_chart(bins: Sequence[ReliabilityBin]) -> Chart:
    """Accuracy by confidence, both from 0 to 1; a dot's area says how many rows it stands for."""
    x, y = _across(0, 1, 0.2), _upwards(0, 0.2)
    most = max((one.rows for one in bins), default=1)
    return Chart(
        x,
        y,
        tuple(
            Dot(
                x.at(one.confidence),
                y.at(one.accuracy),
                round(_SMALLEST + (_LARGEST - _SMALLEST) * math.sqrt(one.rows / most), 1),
            )
            for one in bins
        ),
    )


def coverage_chart(points: Sequence[RiskPoint]) -> Chart:
    """Accuracy by the share that is answered; the axis of accuracy begins a little below the lowest."""
    least = min((one.coverage for one in points), default=0.5)
    x = _across(min(0.9, _down(round(least, 2), 0.1)), 1, 0.1)
    lowest = min((one.accuracy for one in points), default=0.0)
    step = next((step for step in _STEPS if 1 - _down(lowest, step) <= _LINES * step + 1e-9), _STEPS[-1])
    y = _upwards(min(1 - step, _down(lowest, step)), step)
    return Chart(x, y, tuple(Dot(x.at(one.coverage), y.at(one.accuracy)) for one in points))


def spread_scale(evaluations: Sequence[Evaluation]) -> Scale:
    """From 0 to 100, in which the intervals of accuracies are drawn: no wider than they need, in whole tenths."""
    low = min(0.9, _down(min(one.accuracy_low for one in evaluations), 0.1))
    high = -_down(-max(one.accuracy_high for one in evaluations), 0.1)
    return Scale(low, max(high, low + 0.1), 0, 100, 0.1)


def _across(low: float, high: float, step: float) -> Scale:
    return Scale(low, high, _LEFT, _RIGHT, step)


def _upwards(low: float, step: float) -> Scale:
    return Scale(low, 1, _BOTTOM, _TOP, step)


def _down(value: float, step: float) -> float:
    """The largest multiple of a step that is no larger than a value."""
    return round(math.floor(value / step + 1e-9) * step, 2)
