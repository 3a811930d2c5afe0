"""A recipe's numbers as a plot: a row of panels for each group, a panel for each number."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from molyneux.files import write_bytes
from molyneux.recipes.schema import BASELINE, Recipe
from molyneux.recipes.table import MEAN, as_number

PLOT = "plot.png"
ACROSS = 3
"""How many panels stand side by side."""

APART = 0.085
"""Share of an axis that a label of a point takes; points that are nearer to the last labelled one have none."""

RING, DOT = "ring: the paper", "dot: here"

Row = Mapping[str, Any]


def plot(recipe: Recipe, found: Sequence[Row], path: Path) -> str | None:
    """Draw all numbers; returns why nothing is drawn.

    Along a last axis of numbers each group has a row of panels with a line; the baseline is dashed. Other points are
    dots of their own colour, in a line for each point of the axis before. The paper's numbers are open rings.
    """
    rows = [row for row in found if MEAN not in row["at"].values()]
    titles = [title for title in _titles(recipe) if any(row["values"][title]["ours"] is not None for row in rows)]
    if len(rows) < 2 or not titles:
        return "plot.png is not drawn: there are no two points with numbers"
    from matplotlib.figure import Figure

    *others, last = recipe.axes
    numeric = len({x for row in rows if (x := as_number(row["at"][last])) is not None}) > 1
    lines = [] if numeric else others[-1:]
    groups = _grouped(rows, [axis for axis in others if axis not in lines])
    across = min(ACROSS, len(titles))
    deep = -(-len(titles) // across)
    count = 1 if numeric else max(len(_grouped(own, lines)) for own in groups.values())
    height = 2.6 if numeric else 1.5 + 0.34 * count
    figure = Figure(figsize=(3.7 * across, (height + 0.25) * deep * len(groups) + 0.7))
    figure.set_layout_engine("constrained", h_pad=0.08)
    panels = figure.subplots(deep * len(groups), across, squeeze=False)
    for place, (group, own) in enumerate(groups.items()):
        for index in range(deep * across):
            axes = panels[place * deep + index // across][index % across]
            if index >= len(titles):
                axes.set_axis_off()
                continue
            (_draw_lines if numeric else _draw_dots)(axes, own, last, lines, titles[index], recipe.points(last))
            axes.set_title(f"{group}: {titles[index]}" if group else titles[index], fontsize=9)
            axes.tick_params(labelsize=8)
            axes.spines[["top", "right"]].set_visible(False)
    _explain(figure, panels)
    content = io.BytesIO()
    figure.savefig(content, dpi=130, format="png")
    write_bytes(path, content.getvalue())
    return None


def labelled(values: Sequence[float], apart: float = APART) -> list[float]:
    """Of sorted positions in [0, 1] those that can be labelled without touching; the last always is.

    >>> labelled([0.0, 0.01, 0.5, 0.99, 1.0])
    [0.0, 0.5, 1.0]
    """
    kept: list[float] = []
    for value in values:
        if not kept or value - kept[-1] >= apart:
            kept.append(value)
    if kept and kept[-1] != values[-1]:
        kept[-1:] = [values[-1]] if len(kept) > 1 else [kept[0], values[-1]]
    return kept


def _titles(recipe: Recipe) -> list[str]:
    return [column.title for column in recipe.columns.values()]


def _grouped(rows: Sequence[Row], axes: Sequence[str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(", ".join(row["at"][axis] for axis in axes), []).append(row)
    return groups


def _draw_lines(
    axes: Any, rows: Sequence[Row], last: str, lines: Sequence[str], title: str, points: Sequence[str]
) -> None:
    del lines
    spelled = {x: point for point in points if (x := as_number(point)) is not None}
    for key, style in (("ours", {"marker": "o", "ms": 4, "label": DOT}), ("paper", _ring(RING))):
        line = [(as_number(row["at"][last]), row["values"][title][key]) for row in rows]
        known = [(x, y) for x, y in line if x is not None and y is not None]
        if known:
            axes.plot(*zip(*known, strict=True), color="C0", **style)
    for row in rows:
        y = row["values"][title]["ours"]
        if row["at"][last] == BASELINE and y is not None:
            axes.axhline(y, color="0.4", ls="--", lw=1, label="dashed: baseline, here")
    wanted = sorted({x for row in rows if (x := as_number(row["at"][last])) is not None})
    if wanted[0] > 0 and wanted[-1] > 20 * wanted[0]:
        axes.set_xscale("log")
        axes.minorticks_off()
    from matplotlib.ticker import FixedFormatter, FixedLocator

    axes.set_xlim(*axes.get_xlim())  # before positions are asked for
    shares = {_share(axes, x): x for x in wanted}
    ticks = [shares[share] for share in labelled(sorted(shares), APART * max(len(spelled[x]) for x in wanted) / 4)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([spelled[x] for x in ticks]))
    axes.set_xlabel(last, fontsize=8)
    if (only := _only_value(rows, title)) is not None:
        axes.set_ylim(only - 1, only + 1)
    _whole_numbers(axes.yaxis)


def _draw_dots(
    axes: Any, rows: Sequence[Row], last: str, lines: Sequence[str], title: str, points: Sequence[str]
) -> None:
    groups = _grouped(rows, lines)
    apart = 0.5 / max(len(points), 2)
    for height, own in enumerate(groups.values()):
        values = [y for row in own if (y := row["values"][title]["ours"]) is not None]
        if values:
            axes.plot([min(values), max(values)], [height, height], color="0.85", lw=2, zorder=1)
        for row in own:
            point = row["at"][last]
            place = points.index(point)
            at = height + apart * (place - (len(points) - 1) / 2)  # so that none hides another
            dot = {"marker": "o", "ms": 6, "ls": "none", "label": point}
            for key, style in (("ours", dot), ("paper", _ring(RING))):
                if (x := row["values"][title][key]) is not None:
                    axes.plot([x], [at], color=f"C{place % 10}", **style)
    axes.set_yticks(range(len(groups)), list(groups), fontsize=8)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.margins(x=0.08)
    if (only := _only_value(rows, title)) is not None:
        axes.set_xlim(only - 1, only + 1)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    _whole_numbers(axes.xaxis)


def _only_value(rows: Sequence[Row], title: str) -> float | None:
    """The one value of a panel, whose axis would be of no width; None where there are several."""
    drawn = {y for row in rows for key in ("ours", "paper") if (y := row["values"][title][key]) is not None}
    return min(drawn) if len(drawn) == 1 else None


def _ring(label: str) -> dict[str, Any]:
    return {"marker": "o", "mfc": "none", "ms": 10, "ls": "none", "label": label}


def _share(axes: Any, x: float) -> float:
    """Where a value lies on the horizontal axis, from 0 to 1."""
    return float(axes.transAxes.inverted().transform(axes.transData.transform((x, 0)))[0])


def _whole_numbers(axis: Any) -> None:
    """At most five ticks, written without an offset, whole numbers without a point."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _explain(figure: Any, panels: Any) -> None:
    """One legend for all panels: what dots, rings and colours are."""
    known: dict[str, Any] = {}
    for axes in panels.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    if RING in known:  # a ring is of no point's colour
        known[RING] = known.pop(RING)
    figure.legend(known.values(), known, loc="outside upper left", ncols=min(4, len(known)), fontsize=8, frameon=False)
