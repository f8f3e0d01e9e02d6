"""Where charts draw what: places in the units of the drawing, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report.test_evaluation_page import EVALUATION

from fpve.records import ReliabilityBin, RiskPoint
from fpve.report.charts import Dot, Scale, coverage_chart, reliability_chart, spread_scale
from fpve.report.page import floored, percent


def test_bins_lie_on_the_diagonal_where_confidence_is_what_it_says() -> None:
    """A bin is as far to the right as it is sure, as high as it is right, and its area grows with its rows."""
    chart = reliability_chart([ReliabilityBin(0.5, 0.5, 25), ReliabilityBin(1.0, 1.0, 100)])
    assert chart.dots == (Dot(185.0, 121.0, 6.5), Dot(326.0, 14.0, 10.5))
    assert (chart.x.lines, chart.y.lines) == ((0, 0.2, 0.4, 0.6, 0.8, 1.0),) * 2


@pytest.mark.parametrize(
    ("accuracies", "lowest", "lines"),
    [
        ((0.893, 0.93, 1.0), 0.85, (0.85, 0.9, 0.95, 1.0)),
        ((0.93, 0.954, 1.0), 0.92, (0.92, 0.94, 0.96, 0.98, 1.0)),
        ((0.3, 0.4, 0.2), 0.2, (0.2, 0.4, 0.6, 0.8, 1.0)),
        ((0.0, 0.0, 0.0), 0.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        ((1.0, 1.0, 1.0), 0.99, (0.99, 1.0)),
    ],
)
def test_the_axis_of_accuracy_begins_below_the_lowest(
    accuracies: tuple[float, ...], lowest: float, lines: tuple[float, ...]
) -> None:
    """At the line below the lowest accuracy; there are six lines at most."""
    points = [RiskPoint(share, one, 0.5) for share, one in zip((1.0, 0.75, 0.4997), accuracies, strict=True)]
    chart = coverage_chart(points)
    assert (chart.y.low, chart.y.lines) == (lowest, lines)
    assert [dot.x for dot in chart.dots] == [326.0, 185.0, 43.8]


def test_charts_of_nothing_are_empty() -> None:
    """Without bins or points there are axes, and no dots."""
    assert (reliability_chart([]).dots, coverage_chart([]).line) == ((), "")


def test_one_row_is_answered_or_not() -> None:
    """Where all is answered at every point, the axis of coverage is still one."""
    chart = coverage_chart([RiskPoint(1.0, 1.0, 0.7)] * 7)
    assert chart.x == Scale(0.9, 1, 44, 326, 0.1)
    assert set(chart.dots) == {Dot(326.0, 14.0)}


def test_intervals_share_a_scale() -> None:
    """In whole tenths around all of them, from 0 to 100."""
    scale = spread_scale([EVALUATION, replace(EVALUATION, accuracy_low=0.55, accuracy_high=0.6)])
    assert scale == Scale(0.5, 1.0, 0, 100, 0.1)
    assert scale.at(0.55) == 10.0
    certain = replace(EVALUATION, accuracy_low=1.0, accuracy_high=1.0)
    assert spread_scale([certain]) == Scale(0.9, 1.0, 0, 100, 0.1)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1e-9, "< 0.1 %"),
        (0.0005, "0.1 %"),
        (0.8932, "89.3 %"),
        (0.99949, "99.9 %"),
        (0.99999, "> 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_only_all_is_all_and_only_nothing_is_nothing(share: float, text: str) -> None:
    """A share that is nearly 1 is not said to be 100 %, nor one that is nearly 0 to be none."""
    assert " ".join(percent(share).split()) == text


def test_a_threshold_is_not_rounded_up() -> None:
    """With 0.408 a prediction of 0.4079 would not be given, with 0.407 it is; 0.29 stays what it is."""
    assert [floored(value) for value in (0.4079, 0.29, 1.0)] == ["0.407", "0.290", "1.000"]
