"""Charts obey the laws of their scales and are well-formed XML."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as some

from molyneux.records import TracePoint
from molyneux.report.figures import Row, Scale, change_chart, ticks, time_chart, trace_chart

POINTS = [TracePoint(step=step, plain=step / 250, augmented=step / 500) for step in range(0, 101, 10)]
finite = some.floats(-1e3, 1e3)


def polyline(svg: str, kind: str) -> list[tuple[float, float]]:
    found = re.search(rf'<polyline class="{kind}" points="([^"]*)"', svg)
    assert found is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found[1].split())]


@given(finite, finite, finite)
def test_a_scale_is_a_straight_line_through_its_ends(low: float, width: float, value: float) -> None:
    high = low + abs(width) + 1
    scale = Scale((low, high), (10, 110))
    assert scale(low) == pytest.approx(10)
    assert scale(high) == pytest.approx(110)
    assert scale(value + 1) - scale(value) == pytest.approx(100 / (high - low), abs=1e-6)


@given(finite, some.floats(1e-3, 1e3), some.integers(2, 8))
def test_ticks_cover_the_range_evenly_and_round(low: float, width: float, count: int) -> None:
    found = ticks(low, low + width, count)
    steps = [after - before for before, after in pairwise(found)]
    assert found[0] <= low + 1e-6
    assert found[-1] >= low + width - 1e-6
    assert len(found) <= count + 3
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert re.fullmatch(r"[125]0*e?.*", f"{steps[0]:.0e}")


def test_ticks_of_nothing_are_still_an_axis() -> None:
    assert ticks(0, 0)[0] == 0
    assert ticks(0, 0)[-1] >= 1


@pytest.mark.parametrize("width", [340, 720])
def test_a_rising_trace_rises_on_the_page_and_stays_on_it(width: int) -> None:
    svg = trace_chart(POINTS, width=width)
    for kind in ("plain", "augmented"):
        xs, ys = zip(*polyline(svg, kind), strict=True)
        assert list(xs) == sorted(xs)
        assert list(ys) == sorted(ys, reverse=True)
        assert min(xs) >= 0
        assert max(xs) <= width
    halfway = polyline(svg, "plain")[5]
    assert halfway[1] == pytest.approx(polyline(svg, "augmented")[-1][1])


def test_a_trace_of_one_point_or_of_negative_numbers_can_be_drawn() -> None:
    assert "polyline" in trace_chart(POINTS[:1])
    assert "−0.2" in trace_chart([TracePoint(step=0, plain=-0.2, augmented=-0.1)])
    assert trace_chart([]) == ""


@pytest.mark.parametrize("width", [340, 720])
def test_dots_stand_in_the_order_of_their_shares(width: int) -> None:
    rows = [Row(label=str(share), before=0.0, after=share) for share in (0.0, 0.1, 0.5, 1.0)]
    xs = [float(x) for x in re.findall(r'class="after" cx="([\d.]+)"', change_chart(rows, width=width))]
    assert xs == sorted(xs)
    assert (xs[1] - xs[0]) * 10 == pytest.approx(xs[3] - xs[0], abs=1)
    assert 0 <= xs[0] < xs[3] <= width


def test_a_row_without_numbers_is_left_out_and_not_drawn_at_zero() -> None:
    assert "unknown" not in change_chart([Row(label="unknown"), Row(label="known", after=0.5)])


def test_the_bar_of_times_is_divided_in_proportion() -> None:
    svg = time_chart([("load", 1.0), ("replay", 0.0), ("teach", 3.0)], width=400)
    widths = [float(found) + 2 for found in re.findall(r'<rect [^>]* width="([\d.]+)"', svg)]
    assert widths == [100, 300]
    assert time_chart([("load", 0.0)]) == ""


@pytest.mark.parametrize("width", [340, 720])
def test_charts_are_well_formed_whatever_a_label_holds(width: int) -> None:
    hostile = '</text><script>alert("1")</script>&'
    charts = (
        change_chart([Row(label=hostile, before=0.1, after=0.2, interval=(0.1, 0.3))], width=width),
        time_chart([(hostile, 3.0)], width=width),
        trace_chart(POINTS, width=width),
    )
    for chart in charts:
        tree = ElementTree.fromstring(chart)
        assert tree.get("role") == "img"
        assert tree.get("aria-label")
        assert not list(tree.iter("script"))
