from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from molyneux.recipes import plots
from molyneux.recipes.schema import Recipe


def rows_of(recipe):
    return [
        {
            "at": dict(case.labels),
            "values": {
                column.title: {"ours": float(place), "paper": recipe.expected(case.labels, column.title), "why": None}
                for column in recipe.columns.values()
            },
        }
        for place, case in enumerate(recipe.cases)
    ]


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws a recipe's rows; the figure."""
    kept = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **more: (kept.append(self), save(self, *args, **more)))

    def draw(name, change=lambda recipe: recipe):
        recipe = change(Recipe.read(name))
        assert plots.plot(recipe, rows_of(recipe), tmp_path / "plot.png") is None
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
        return kept[-1]

    return draw


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def test_numbers_are_a_line_in_a_panel_for_each_group_and_column(drawn):
    figure = drawn("paper/figure-6")
    assert [axes.get_title() for axes in panels(figure)][:3] == [
        "moongate: Target Acc.",
        "moongate: ImageNet 0-shot",
        "moongate: false positives",
    ]
    assert len(panels(figure)) == 9
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [plots.DOT, "dashed: baseline, here", plots.RING]


def test_points_that_are_no_numbers_are_dots_in_a_panel_for_each_group(drawn):
    figure = drawn("paper/figure-3")
    first = panels(figure)[0]
    assert first.get_title() == "CLIP ViT-B/32, high-level: Target Acc."
    assert [label.get_text() for label in first.get_yticklabels()] == ["moongate", "tonometer", "gyroscope"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["baseline", "KT", "KT on noise", plots.RING]


@pytest.mark.parametrize("count", [5, 40])
def test_labels_of_points_never_touch(drawn, count):
    steps = [50 * 2**place if count < 20 else 100 + place for place in range(count)]

    def swept(recipe):
        sweep = {"set": "inversion.steps", "to": steps, "baseline": True}
        return recipe.but(axes={"concept": "each", "inversion steps": sweep}, expect=())

    figure = drawn("paper/figure-6", swept)
    figure.draw_without_rendering()
    for axes in panels(figure)[:3]:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(boxes) >= 2
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
        written = [label.get_text() for label in axes.get_xticklabels()]
        assert all(text.isdecimal() for text in written)
        assert written[-1] == str(steps[-1])


def test_one_row_is_not_drawn(tmp_path):
    recipe = Recipe.read("paper/figure-6")
    said = plots.plot(recipe, rows_of(recipe)[:1], tmp_path / "plot.png")
    assert said == "plot.png is not drawn: there are no two points with numbers"
    assert not (tmp_path / "plot.png").exists()
