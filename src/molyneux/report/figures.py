"""Charts as SVG text: pure functions of numbers, coloured by the page's style through class names alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from molyneux.records import TracePoint
from molyneux.report.phrases import duration, percent

Number = int | float

NARROW = 480
"""Below this width, labels stand above their line instead of beside it."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The straight line that takes `domain` to `target`.

    >>> Scale((0, 10), (100, 200))(5)
    150.0
    """

    domain: tuple[Number, Number]
    target: tuple[Number, Number]

    def __call__(self, value: Number) -> float:
        low, high = self.domain
        start, end = self.target
        return start + (value - low) / (high - low) * (end - start)


def ticks(low: Number, high: Number, count: int = 5) -> tuple[float, ...]:
    """Round values, a step of 1, 2 or 5 times a power of ten apart, from at most `low` to at least `high`.

    >>> ticks(0, 0.62)
    (0.0, 0.2, 0.4, 0.6, 0.8)
    """
    if not high > low:
        high = low + 1
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the before-and-after chart; shares in [0, 1]."""

    label: str
    before: float | None = None
    after: float | None = None
    interval: tuple[float, float] | None = None
    kind: Literal["taught", "control", "price"] = "taught"


def change_chart(rows: Sequence[Row], *, width: int = 720) -> str:
    """Each row's share before (ring) and after (dot) on one axis from 0 to 100 %.

    A row with neither number is left out. The first 'taught' row's result is drawn through the controls
    as a dashed line, for the eye to compare.
    """
    shown = [row for row in rows if row.before is not None or row.after is not None]
    narrow = width < NARROW
    pitch, top = (50, 8) if narrow else (38, 10)
    left, right = (8, width - 8) if narrow else (262, width - 140)
    x = Scale((0, 1), (left, right))
    parts: list[str] = []
    heights: list[float] = []
    y = float(top)
    for index, row in enumerate(shown):
        if index and row.kind == "price" != shown[index - 1].kind:
            y += 18
        y += pitch
        heights.append(y - (10 if narrow else pitch / 2))
    bottom = y + 8
    for value in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line("grid", x(value), top, x(value), bottom))
        anchor = "middle" if not narrow or 0 < value < 1 else ("start" if value == 0 else "end")
        at = x(value) + (0 if anchor == "middle" else (-6 if anchor == "start" else 6))
        parts.append(_text("tick", at, bottom + 18, f"{100 * value:.0f}" + (" %" if value == 1 else ""), anchor))
    parts.append(_reference(shown, heights, x))
    for row, height in zip(shown, heights, strict=True):
        parts.append(_row(row, height, x, left, right, narrow))
    said = "; ".join(f"{row.label}: {_values(row)}" for row in shown)
    return _svg("change-chart", width, bottom + 26, f"Before and after. {said}", parts)


def trace_chart(points: Sequence[TracePoint], *, width: int = 720) -> str:
    """Similarity over the steps of inversion: of the images as they are, and under fresh random views."""
    if not points:
        return ""
    narrow = width < NARROW
    height, top, bottom = (230, 14, 196) if narrow else (280, 14, 242)
    left, right = (34, width - 92) if narrow else (40, width - 132)
    values = [value for point in points for value in (point.plain, point.augmented)]
    levels = ticks(min(0.0, *values), max(values), 4)
    steps = ticks(0, max(point.step for point in points), 4)
    y = Scale((levels[0], levels[-1]), (bottom, top))
    x = Scale((0, max(*(point.step for point in points), 1)), (left, right))
    parts = [_line("axis" if level == 0 else "grid", left, y(level), right, y(level)) for level in levels]
    parts += [_text("tick", left - 8, y(level) + 4, _short(level), "end") for level in levels]
    parts += [_text("tick", x(step), bottom + 20, f"{step:g}", "middle") for step in steps if x(step) <= right + 1e-6]
    parts.append(_text("tick", right, bottom + 36, "steps", "end"))
    plain = [(x(point.step), y(point.plain)) for point in points]
    augmented = [(x(point.step), y(point.augmented)) for point in points]
    parts += [_curve("plain", plain), _curve("augmented", augmented)]
    last = points[-1]
    upper, lower = _apart(plain[-1][1], augmented[-1][1], 36)
    for kind, words, value, at in (
        ("plain", "as they are", last.plain, upper),
        ("augmented", "fresh views", last.augmented, lower),
    ):
        parts.append(_text(f"end {kind} strong", right + 12, at - 2, f"{value:.2f}", "start"))
        parts.append(_text(f"end {kind}", right + 12, at + 13, words, "start"))
    said = (
        f"Similarity over {last.step:g} steps: it ends at {last.plain:.2f} for the images as they are "
        f"and at {last.augmented:.2f} under fresh random views."
    )
    return _svg("trace-chart", width, height + 6, said, parts)


def time_chart(timings: Sequence[tuple[str, float]], *, width: int = 720) -> str:
    """One bar, divided by where the time went; the page's legend names the parts, shade by shade."""
    total = sum(seconds for _, seconds in timings)
    if not total > 0:
        return ""
    x = Scale((0, total), (0, width))
    parts: list[str] = []
    start = 0.0
    for index, (_, seconds) in enumerate(timings):
        if seconds > 0:
            left, right = x(start), x(start + seconds)
            size = max(right - left - 2, 1)
            parts.append(f'<rect class="shade-{index % 5}" x="{left:.1f}" y="0" width="{size:.1f}" height="10"/>')
        start += seconds
    said = "Where the time went: " + ", ".join(f"{name} {duration(seconds)}" for name, seconds in timings)
    return _svg("time-chart", width, 10, said, parts)


def _row(row: Row, y: Number, x: Scale, left: Number, right: Number, narrow: bool) -> str:
    parts = [_line("track", left, y, right, y)]
    if narrow:
        parts.append(_text("label", left, y - 14, row.label, "start"))
        parts.append(_text("value", right, y - 14, _values(row), "end"))
    else:
        parts.append(_text("label", left - 22, y + 4, row.label, "end"))
        parts.append(_text("value", right + 22, y + 4, _values(row), "start"))
    if row.interval is not None:
        parts.append(_line("interval", x(row.interval[0]), y, x(row.interval[1]), y))
    if row.before is not None and row.after is not None:
        parts.append(_line("move", x(row.before), y, x(row.after), y))
    if row.before is not None:
        parts.append(f'<circle class="before" cx="{x(row.before):.1f}" cy="{y:.1f}" r="4.5"/>')
    if row.after is not None:
        parts.append(f'<circle class="after" cx="{x(row.after):.1f}" cy="{y:.1f}" r="5.5"/>')
    return f'<g class="row {row.kind}">{"".join(parts)}</g>'


def _reference(rows: Sequence[Row], heights: Sequence[float], x: Scale) -> str:
    ours = next(((row.after, y) for row, y in zip(rows, heights, strict=True) if row.kind == "taught"), None)
    controls = [y for row, y in zip(rows, heights, strict=True) if row.kind == "control"]
    if ours is None or ours[0] is None or not controls:
        return ""
    return _line("reference", x(ours[0]), ours[1], x(ours[0]), max(controls) + 10)


def _values(row: Row) -> str:
    if row.before is None or row.after is None:
        one = row.after if row.after is not None else row.before
        return percent(one) if one is not None else ""
    return f"{percent(row.before)} → {percent(row.after)}"


def _apart(one: Number, other: Number, gap: Number) -> tuple[float, float]:
    """Two heights moved evenly until they are `gap` apart, in their order."""
    missing = gap - abs(one - other)
    if missing <= 0:
        return one, other
    sign = 1 if one > other else -1
    return one + sign * missing / 2, other - sign * missing / 2


def _short(value: Number) -> str:
    return f"{value:g}".replace("-", "−")


def _curve(kind: str, points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    end_x, end_y = points[-1]
    dot = f'<circle class="{kind}" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3.5"/>'
    return f'<polyline class="{kind}" points="{path}"/>{dot}'


def _line(kind: str, x1: Number, y1: Number, x2: Number, y2: Number) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(kind: str, x: Number, y: Number, words: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(kind: str, width: Number, height: Number, said: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(said)}">'
        f"{''.join(parts)}</svg>"
    )
