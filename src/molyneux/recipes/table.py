"""A recipe's numbers, each beside the paper's: as plain data, and as a table in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from molyneux.recipes.schema import CONCEPT, Case, Recipe

NO_NUMBER = "–"
MEAN = "mean"


def rows(recipe: Recipe, cases: Sequence[Case], scores: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each case its points and, by column, {'ours': number or None, 'paper': the same, 'why': why ours is none}."""
    found = [
        {
            "at": dict(case.labels),
            "values": {
                column.title: _value(own, path, column.times, case)
                | {"paper": recipe.expected(case.labels, column.title)}
                for path, column in recipe.columns.items()
            },
        }
        for case, own in zip(cases, scores, strict=True)
    ]
    return [*found, *_averages(recipe, found)] if recipe.average else found


def markdown(recipe: Recipe, found: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> str:
    """The rows as a table below the recipe's title, and notes below it."""
    axes, titles = list(recipe.axes), [column.title for column in recipe.columns.values()]
    compared = titles_compared(recipe, found)
    head = [*axes, *(cell for title in titles for cell in (title, *(["paper"] if title in compared else [])))]
    lines = [_line(head), _line(["---"] * len(axes) + ["---:"] * (len(head) - len(axes)))]
    reasons: dict[str, None] = {}
    for row in found:
        cells = [row["at"][axis] for axis in axes]
        for title in titles:
            value = row["values"][title]
            if value["ours"] is None and value["why"]:
                reasons.setdefault(f"{title}: {value['why']}")
            cells += [number(value["ours"]), *([number(value["paper"])] if title in compared else [])]
        lines.append(_line(cells))
    for system, numbers in recipe.others.items():
        cells = [system, *[NO_NUMBER] * (len(axes) - 1)]
        for title in titles:
            cells += [NO_NUMBER, *([number(numbers.get(title))] if title in compared else [])]
        lines.append(_line(cells))
    below = [f"- {text}" for text in (*notes, *reasons)]
    return "\n".join([f"# {recipe.name}: {recipe.paper}", "", recipe.caption, "", *lines, "", *below]).rstrip() + "\n"


def titles_compared(recipe: Recipe, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns beside which the paper has a number for one of the rows."""
    return [
        title
        for title in (column.title for column in recipe.columns.values())
        if any(row["values"][title]["paper"] is not None for row in found)
        or any(title in numbers for numbers in recipe.others.values())
    ]


def number(value: float | None) -> str:
    """Two decimals at most, and four digits where it is large.

    >>> number(0.5), number(12.345), number(3460.0), number(None)
    ('0.5', '12.35', '3460', '–')
    """
    if value is None:
        return NO_NUMBER
    return f"{round(value + 0.0, 2):g}" if abs(value) < 1000 else f"{value:.0f}"


def as_number(text: str) -> float | None:
    """The number that a point's label is, if it is one.

    >>> as_number("1e-5"), as_number("baseline")
    (1e-05, None)
    """
    try:
        return float(text)
    except ValueError:
        return None


def _averages(recipe: Recipe, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each point of the last axis; the paper's stand beside those of whole recipes alone."""
    last = list(recipe.axes)[-1]
    whole = len(found) == len(recipe.cases)
    means = []
    for place, point in enumerate(recipe.points(last)):
        own = [row["values"] for row in found if row["at"][last] == point]
        values = {}
        for title in own[0] if own else ():
            numbers = [value[title]["ours"] for value in own]
            lacking = None in numbers
            paper = recipe.average.get(title)
            values[title] = {
                "ours": None if lacking else sum(numbers) / len(numbers),
                "why": "not computed: a number is missing" if lacking else None,
                "paper": paper[place] if paper and whole else None,
            }
        if own:
            means.append({"at": dict.fromkeys(recipe.axes, MEAN) | {last: point}, "values": values})
    return means


def _value(scores: Mapping[str, Any], path: str, times: float, case: Case) -> dict[str, Any]:
    found: Any = scores
    for key in path.split("."):
        key = _spelled(key, case)
        if not isinstance(found, Mapping) or key not in found:
            return {"ours": None, "why": f"not computed: the scores have no {path}"}
        found = found[key]
    if isinstance(found, Mapping) and "value" in found:
        return {"ours": _scaled(found["value"], times), "why": found.get("reason")}
    if isinstance(found, int | float):
        return {"ours": _scaled(found, times), "why": None}
    return {"ours": None, "why": found if isinstance(found, str) else "not computed"}


def _spelled(key: str, case: Case) -> str:
    if key == "{mask}":
        return "sam" if getattr(case.experiment.evaluate, "sam", None) else "mask"
    return case.labels.get(CONCEPT, key) if key == "{concept}" else key


def _scaled(value: float | int | None, times: float) -> float | None:
    return None if value is None else times * value


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
