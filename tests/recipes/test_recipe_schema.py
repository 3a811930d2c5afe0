import re
from pathlib import Path

import pytest
import yaml

from molyneux.backends.options import SDXL
from molyneux.concepts import read_concepts
from molyneux.errors import ConfigError
from molyneux.recipes.changes import alike, changed
from molyneux.recipes.miniature import in_miniature
from molyneux.recipes.pages import write_report
from molyneux.recipes.run import wanted
from molyneux.recipes.schema import Recipe, concept_file, concept_names, recipe_names
from molyneux.recipes.settings import inversion_of, teaching_of
from molyneux.recipes.status import status
from molyneux.recipes.table import markdown
from molyneux.teaching.config import LoRA

PAPER = Path(__file__).resolve().parents[3] / "shared" / "paper" / "paper.txt"

NUMBERS = Path(__file__).with_name("paper_numbers.txt").read_text(encoding="utf-8").split("\n")

WITHOUT_NUMBERS = ("paper/figure-9",)

# figures with the numbers of a table, and what stands before that table's points of CLIP ViT-B/32
SAME_AS = {
    "figure-10": ("supplement-table-1", None),
    "figure-13": ("supplement-table-1", "vision tower, "),
    "figure-14": ("supplement-table-1", "with the name, "),
}

PLAIN = {
    "paper": "Table 0",
    "caption": "Nothing.",
    "command": "molyneux run x",
    "needs": {"data": ["a", "b"], "weights": ["mini"]},
    "experiment": {
        "model": "mini",
        "concepts": "rare-concepts",
        "teaching": {"preset": "paper"},
        "evaluate": {"task": "classification", "novel": "a", "known": "b"},
    },
    "axes": {
        "concept": "each",
        "learning rate": {"set": "teaching.learning_rate", "to": ["1e-5", "2e-5"], "baseline": True},
    },
    "columns": {"concepts.{concept}.target_recall.after": {"title": "recall"}},
    "expect": [{"concept": "moongate", "recall": [0, 10, None]}],
}


@pytest.fixture
def write(tmp_path):
    def write(**other):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({**PLAIN, **other}))
        return path

    return write


TAUGHT = [name for name in recipe_names() if any(one.experiment.teaches for one in Recipe.read(name).cases)]


def weights_of(experiment):
    yield experiment.model
    if getattr(experiment.evaluate, "sam", None):
        yield f"sam:{experiment.evaluate.sam}"
    if experiment.images == "sdxl":
        yield f"sdxl:{SDXL}"


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipes_header_says_what_its_lessons_need(name):
    recipe = Recipe.read(name)
    assert set(recipe.needs.data) == {data for case in recipe.cases for data in case.experiment.data}
    assert set(recipe.needs.weights) == {name for case in recipe.cases for name in weights_of(case.experiment)}
    assert recipe.command.split()[:3] == ["molyneux", "run", name]
    assert re.findall(r"--data (\S+)=FOLDER", recipe.command) == list(recipe.needs.data)
    assert recipe.differences
    assert recipe.expect or name in WITHOUT_NUMBERS


@pytest.mark.parametrize("name", recipe_names())
def test_the_record_is_of_the_recipe_as_it_is(name):
    # else: python scripts/record_recipes.py
    assert "run in miniature" in status(Recipe.read(name))


def test_every_table_and_figure_of_results_has_a_recipe():
    tables = [f"table-{number}" for number in range(2, 11)]
    figures = [f"figure-{number}" for number in (2, 3, 5, 6, 7, 9, 10, 11, 12, 13, 14)]
    supplement = [f"supplement-table-{number}" for number in range(1, 9)]
    assert set(recipe_names()) == {f"paper/{name}" for name in (*tables, *figures, *supplement)}


@pytest.mark.parametrize("name", concept_names())
def test_concept_files_are_such_as_concepts_are_read_from(name):
    assert len(read_concepts(concept_file(name))) in (2, 3, 4, 5, 80)


@pytest.mark.real_data
@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not beside the project")
@pytest.mark.parametrize("name", [name for name in concept_names() if name != "patterns"])
def test_the_papers_descriptions_are_word_for_word(name):
    text = " ".join(PAPER.read_text(encoding="utf-8").split()).replace("’", "'")
    for concept in read_concepts(concept_file(name)):
        assert concept.descriptions[0] in text, concept.name


@pytest.mark.real_data
@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not beside the project")
def test_the_papers_prompts_are_word_for_word():
    text = " ".join(PAPER.read_text(encoding="utf-8").split()).replace("’", "'")
    prompts = yaml.safe_load(concept_file("rare-concepts").parents[1].joinpath("prompts.yaml").read_text())
    assert prompts["language model"] in text
    asked = {case.experiment.evaluate.text for case in Recipe.read("paper/table-7").cases}
    assert asked == set(prompts["segmentation"].values())
    assert len(prompts["segmentation"]) == 4
    assert all(prompt in text for prompt in prompts["segmentation"].values())


def test_the_last_axis_changes_fastest_and_the_baseline_is_first(write):
    recipe = Recipe.read(write())
    assert [tuple(case.labels.values()) for case in recipe.cases[:4]] == [
        ("moongate", "baseline"),
        ("moongate", "1e-5"),
        ("moongate", "2e-5"),
        ("tonometer", "baseline"),
    ]
    first, second, third = (case.experiment for case in recipe.cases[:3])
    assert (first.taught, second.taught) == (False, True)
    assert (second.teaching.learning_rate, third.teaching.learning_rate) == (1e-5, 2e-5)
    assert second.teaching.weight_decay == 0.2
    assert second.only == ("moongate",)


def test_a_sweep_can_multiply(write):
    experiment = PLAIN["experiment"] | {"teaching": {"preset": "paper", "learning_rate": "1e-4"}}
    axes = {"times": {"set": "teaching.learning_rate", "to": [1, 3], "times": True}}
    recipe = Recipe.read(write(experiment=experiment, axes=axes, expect=[]))
    assert [case.experiment.teaching.learning_rate for case in recipe.cases] == pytest.approx([1e-4, 3e-4])


def test_expected_numbers_are_found_by_their_place(write):
    recipe = Recipe.read(write())
    at = {"concept": "moongate", "learning rate": "1e-5"}
    assert recipe.expected(at, "recall") == 10
    assert recipe.expected(at | {"learning rate": "2e-5"}, "recall") is None
    assert recipe.expected(at | {"concept": "tonometer"}, "recall") is None
    assert recipe.expected(at, "other") is None


def test_a_recipe_extends_another():
    whole, part = Recipe.read("paper/supplement-table-3"), Recipe.read("paper/table-3")
    assert part.columns == whole.columns
    assert part.experiment == whole.experiment
    assert len(part.cases) < len(whole.cases)


def test_the_digest_follows_what_decides_the_numbers_alone(write):
    own = Recipe.read(write()).digest
    assert Recipe.read(write(caption="Another.", time="1 h")).digest == own
    experiment = PLAIN["experiment"] | {"seed": 1}
    assert Recipe.read(write(experiment=experiment)).digest != own


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"experiment": {"model": "mini"}}, "concepts"),
        ({"experiment": PLAIN["experiment"] | {"colour": "red"}}, "no setting colour: known are model, concepts, only"),
        (
            {"experiment": PLAIN["experiment"] | {"evaluate": PLAIN["experiment"]["evaluate"] | {"colour": "red"}}},
            "no setting evaluate.colour: known are task, novel, known",
        ),
        ({"experiment": PLAIN["experiment"] | {"teaching": {"speed": 1}}}, "no setting teaching.speed"),
        (
            {"experiment": PLAIN["experiment"] | {"teaching": {"update": {"speed": 1}}}},
            "no setting teaching.update.speed",
        ),
        ({"experiment": PLAIN["experiment"] | {"teaching": {"update": 3}}}, "teaching.update is 3"),
        ({"experiment": PLAIN["experiment"] | {"teaching": 3}}, "teaching is 3"),
        ({"experiment": PLAIN["experiment"] | {"inversion": {"preset": "nosuch"}}}, "inversion.preset is 'nosuch'"),
        ({"experiment": PLAIN["experiment"] | {"inversion": {"steps": "many"}}}, "inversion.steps is 'many'"),
        ({"experiment": PLAIN["experiment"] | {"inversion": {"steps": 0}}}, "inversion.steps is 0"),
        ({"experiment": PLAIN["experiment"] | {"concepts": "nosuch.yaml"}}, "nosuch.yaml"),
        ({"experiment": PLAIN["experiment"] | {"evaluate": {"task": "cooking"}}}, "task"),
        ({"experiment": PLAIN["experiment"] | {"evaluate": {"task": "retrieval"}}}, "data"),
        ({"axes": {}}, "axes"),
        ({"columns": {}}, "columns"),
        ({"expect": [{"weather": "fine"}]}, "'weather', which is no axis and no column"),
        ({"expect": [{"concept": "okapi", "recall": 1}]}, "concept 'okapi', which is no point"),
        ({"expect": [{"recall": [1, 2]}]}, "2 numbers for 'recall'"),
        ({"cells": [{"at": {"concept": "okapi"}}]}, "a cell at concept 'okapi'"),
        ({"others": {"BLIP": {"weather": 1}}}, "'weather' of BLIP"),
        ({"extends": "paper/nosuch"}, "extends 'paper/nosuch'"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line_that_says_where(write, other, words):
    with pytest.raises(ConfigError) as refusal:
        Recipe.read(write(**other))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_there_is_no_such_recipe(tmp_path):
    with pytest.raises(ConfigError, match=r"no recipe 'paper/table-99'.*list recipes"):
        Recipe.read("paper/table-99")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        Recipe.read(tmp_path / "list.yaml")


def test_settings_start_from_a_preset():
    assert inversion_of({"preset": "paper-vilt"}).start == "normal"
    assert inversion_of({}).canvas == "pyramid"
    assert teaching_of({"preset": "paper", "update": {"part": "both"}}).update.part == "both"
    assert teaching_of({"preset": "paper", "update": {"rank": 2}}).update == LoRA(rank=2)


def test_one_model_takes_the_place_of_all():
    recipe = changed(Recipe.read("paper/supplement-table-1"), {}, "mini")
    assert recipe.points("model") == ("mini",)
    assert {case.experiment.model for case in recipe.cases} == {"mini"}
    assert recipe.expect == ()


def test_a_model_takes_the_place_of_one_point():
    recipe = changed(Recipe.read("paper/supplement-table-1"), {}, "ViLT=folder/vilt")
    assert recipe.points("model") == ("CLIP ViT-B/32", "CLIP ViT-L/14", "ViLT")
    assert {case.experiment.model for case in recipe.cases if case.labels["model"] == "ViLT"} == {"folder/vilt"}
    assert recipe.expect


def test_a_given_setting_holds_against_what_points_say():
    recipe = changed(Recipe.read("paper/figure-13"), {"teaching.update.part": "tower"}, None)
    assert {case.experiment.teaching.update.part for case in recipe.cases} == {"tower"}
    with pytest.raises(ConfigError, match=r"no setting inversion\.speed"):
        changed(Recipe.read("paper/figure-13"), {"inversion.speed": 1}, None).check()


def test_other_concepts_take_the_place_of_all(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("okapi: A striped animal.\n")
    recipe = changed(Recipe.read("paper/supplement-table-1"), {}, None, [str(path)])
    assert recipe.points("concept") == ("okapi",)


def test_points_can_have_concepts_of_their_own(tmp_path):
    short, long = tmp_path / "short.yaml", tmp_path / "long.yaml"
    short.write_text("okapi: A striped animal.\n")
    long.write_text("okapi: A hoofed animal with stripes on its legs.\n")
    recipe = changed(Recipe.read("paper/table-10"), {}, None, [str(long), f"P1={short}"])
    found = {case.labels["taught on"]: case.experiment.read_concepts()[0].descriptions[0] for case in recipe.cases}
    assert found.pop("P1") == "A striped animal."
    assert set(found.values()) == {"A hoofed animal with stripes on its legs."}
    assert not recipe.expect
    assert "concepts P1 = short.yaml" in recipe.caption
    for given, words in (([f"P9={short}"], "no point 'P9'"), ([str(long), str(short)], "a second file")):
        with pytest.raises(ConfigError, match=words):
            changed(recipe, {}, None, given)


def printed(recipe):
    """Rows of points, column and numbers, as the paper's text has them."""
    name = recipe.name.removeprefix("paper/")
    source, before = SAME_AS.get(name, (name, None))
    rows = [[cell.strip() for cell in line.split("|")] for line in NUMBERS if line.startswith(f"{source} |")]
    if before:
        rows = [[at, before + point.partition(", ")[2], *rest] for at, point, *rest in rows if "ViT-B/32" in point]
    return [(point, title, numbers.split()) for _, point, title, numbers in rows]


@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in WITHOUT_NUMBERS])
def test_the_papers_numbers_are_as_its_text_prints_them(name):
    recipe = Recipe.read(name)
    *others, last = recipe.axes
    rows = printed(recipe)
    assert rows
    titles = {column.title.partition(" (")[0]: column.title for column in recipe.columns.values()}
    for point, title, numbers in rows:
        cases = [case for case in recipe.cases if ", ".join(case.labels[axis] for axis in others) == point]
        assert [case.labels[last] for case in cases] == list(recipe.points(last))[: len(cases)]
        found = [recipe.expected(case.labels, titles[title]) for case in cases]
        assert len(found) == len(numbers), point
        for own, number in zip(found, numbers, strict=True):
            assert number == "?" or own == (None if number == "-" else float(number)), (point, title)


def test_numbers_of_other_systems_are_the_papers():
    titles = ("BLEU@4", "METEOR", "CIDEr", "SPICE")
    rows = [line.split(" | ")[1:] for line in NUMBERS if line.startswith("others |")]
    expected = {
        system: {title: float(own) for title, own in zip(titles, numbers.split(), strict=True) if own != "-"}
        for system, numbers in rows
    }
    recipe = Recipe.read("paper/supplement-table-6")
    assert recipe.others == expected
    row = next(line for line in markdown(recipe, []).split("\n") if line.startswith("| BLIP |"))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        *("BLIP", "–", "–", "40.4", "–", "–", "–", "136.7", "–", "–", "–")
    ]


@pytest.mark.parametrize("name", TAUGHT)
def test_with_another_model_all_rows_stay(name):
    recipe = Recipe.read(name)
    other = changed(recipe, {}, "mini")
    assert {case.experiment.model for case in other.cases} == {"mini"}
    assert any(case.experiment.teaches for case in other.cases)
    assert all(case.experiment.compared for case in other.cases if case.experiment.teaches) or not all(
        case.experiment.teaches for case in other.cases
    )
    for axis in recipe.axes:
        assert axis == "model" or other.points(axis) == recipe.points(axis)
    assert other.caption.endswith("(changed: model = mini).")
    assert not other.expect


def test_the_page_has_the_other_systems_too(tmp_path):
    recipe = Recipe.read("paper/supplement-table-6")
    write_report(tmp_path, recipe, [], {}, [])
    page = (tmp_path / "report.html").read_text()
    (row,) = re.findall(r"<tr><th>BLIP</th>.*</tr>", page)
    assert re.findall(r">([^<>]+)</td>", row) == ["–", "40.4", "–", "–", "–", "136.7", "–", "–", "–"]


def test_the_times_of_figure_7_are_those_that_its_text_rounds():
    recipe = Recipe.read("paper/figure-7")
    times = [recipe.expected({"source": source, "images": "1000"}, "seconds") for source in ("inversion", "SDXL")]
    assert [f"{time / 1000:.2g}" for time in times] == ["3.5", "27"]


def test_cells_change_single_combinations():
    recipe = Recipe.read("paper/supplement-table-6")
    rates = {
        tuple(case.labels.values()): (case.experiment.teaching.learning_rate, case.experiment.teaching.caption_weight)
        for case in recipe.cases
        if case.experiment.taught
    }
    weight = rates["CoCa", "KT with decoder"][1]
    assert weight > 0
    assert rates == {
        ("CoCa", "KT"): (6e-5, 0),
        ("CoCa", "KT with decoder"): (9e-5, weight),
        ("CoCa FT", "KT"): (2e-5, 0),
        ("CoCa FT", "KT with decoder"): (5e-6, weight),
    }
    given = changed(recipe, {"teaching.learning_rate": 1e-3}, None)
    assert {case.experiment.teaching.learning_rate for case in given.cases if case.experiment.taught} == {1e-3}
    assert [
        case.labels["method"] for case in Recipe.read("paper/table-4").cases if case.labels["model"] == "MedCLIP"
    ] == ["baseline"]


def test_the_caption_says_what_was_changed():
    recipe = Recipe.read("paper/supplement-table-1")
    assert changed(recipe, {}, "ViLT=folder/vilt").caption.endswith("(changed: model ViLT = folder/vilt).")
    by_setting = changed(recipe, {"model": "mini", "inversion.steps": 10}, None)
    assert by_setting.caption.endswith("(changed: model = mini, inversion.steps = 10).")
    assert by_setting.points("model") == ("mini",)
    assert not by_setting.expect


@pytest.mark.parametrize("name", recipe_names())
def test_a_miniature_does_not_collapse_its_last_axis(name, tmp_path):
    recipe = Recipe.read(name)
    *others, _ = recipe.axes
    groups: dict[tuple[str, ...], list[str]] = {}
    for case in in_miniature(recipe, recipe.cases, tmp_path):
        group = groups.setdefault(tuple(case.labels[axis] for axis in others), [])
        group.append(case.experiment.model_dump_json())
    assert all(len(set(group)) == len(group) for group in groups.values())


def test_a_miniature_scales_a_sweep_over_what_it_makes_small(tmp_path):
    cases = in_miniature(Recipe.read("paper/figure-6"), Recipe.read("paper/figure-6").cases, tmp_path)
    steps = {case.labels["inversion steps"]: case.experiment.inversion.steps for case in cases}
    assert steps == {"baseline": 2, "50": 2, "5000": 6}
    images = in_miniature(Recipe.read("paper/figure-7"), Recipe.read("paper/figure-7").cases, tmp_path)
    assert [case.experiment.inversion.images for case in images] == [2, 256, 2, 256]
    assert [case.experiment.generation.images for case in images] == [2, 8, 2, 8]
    assert [case.experiment.images for case in images] == ["inverted", "inverted", "sdxl:tiny:sdxl", "sdxl:tiny:sdxl"]


def test_a_sweep_can_set_two_settings(write):
    axes = {"images": {"set": ["inversion.images", "generation.images"], "to": [3, 5]}}
    cases = Recipe.read(write(axes=axes, expect=[])).cases
    assert [case.labels["images"] for case in cases] == ["3", "5"]
    assert [(one.experiment.inversion.images, one.experiment.generation.images) for one in cases] == [(3, 3), (5, 5)]


def test_rows_of_two_published_sizes_are_of_two_tiny_models(tmp_path):
    recipe = Recipe.read("paper/supplement-table-1")
    models = {one.labels["model"]: one.experiment.model for one in in_miniature(recipe, recipe.cases, tmp_path)}
    assert models == {"CLIP ViT-B/32": "tiny:clip", "CLIP ViT-L/14": "tiny:clip-large", "ViLT": "tiny:vilt"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"loss": "bank", "steps": True}, "teaching.steps is True: expected a number"),
        ({"edit": {"width": True}}, "teaching.edit.width is True"),
        ({"loss": "bank", "betas": [0.9, False]}, "teaching.betas.1 is False"),
        ({"strength": 16**6000}, "teaching.strength is a int too long to show"),
        ({"preset": []}, r"teaching.preset is \[\]: expected one of"),
    ],
)
def test_settings_that_yaml_reads_as_something_else_are_refused(given, reason):
    with pytest.raises(ConfigError, match=reason):
        teaching_of(given)


def test_a_number_that_yaml_reads_as_text_is_the_number():
    assert teaching_of({"learning_rate": "2e-5"}).learning_rate == 2e-5


@pytest.mark.parametrize(
    ("name", "only", "labels"),
    [
        ("figure-6", {"inversion steps": "500"}, [["moongate", "500"], ["tonometer", "500"]]),
        (
            "figure-6",
            {"concept": "gyroscope", "inversion steps": ["100", "250"]},
            [["gyroscope", "100"], ["gyroscope", "250"]],
        ),
        (
            "supplement-table-2",
            {"concept": "chantilly", "method": "KT", "model": "CLIP ViT-B/32"},
            [["CLIP ViT-B/32", "chantilly", "KT"]],
        ),
        ("figure-7", {"images": "100", "source": "SDXL"}, [["SDXL", "100"]]),
    ],
)
def test_a_miniature_has_the_points_that_are_wanted(name, only, labels, tmp_path):
    recipe = Recipe.read(f"paper/{name}")
    found = in_miniature(recipe, wanted(recipe, only), tmp_path)
    assert [list(case.labels.values()) for case in found] == labels


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("figure-6", {"inversion.steps": 10}, "goes over inversion.steps along 'inversion steps'"),
        ("figure-7", {"generation": {"images": 3}}, "goes over generation.images along 'images'"),
        ("supplement-table-1", {"teaching.learning_rate": 1e-4}, "goes over teaching.learning_rate"),
        ("supplement-table-1", {"taught": True}, "points at which nothing is taught: choose among them by --only"),
        ("table-5", {"taught": False}, "points at which nothing is taught"),
    ],
)
def test_what_an_axis_goes_over_cannot_be_set(name, settings, words):
    with pytest.raises(ConfigError, match=words):
        changed(Recipe.read(f"paper/{name}"), settings, None)


def test_a_rate_that_an_axis_multiplies_can_be_set():
    recipe = changed(Recipe.read("paper/supplement-table-3"), {"teaching.learning_rate": 1e-3}, None)
    rates = [case.experiment.teaching.learning_rate for case in recipe.cases[1:4]]
    assert rates == pytest.approx([1e-3, 2e-3, 3e-3])


def test_points_that_a_change_makes_the_same_are_named():
    recipe = Recipe.read("paper/table-2")
    assert alike(recipe, changed(recipe, {"images": "noise"}, None)) == (
        "KT and KT on noise of the axis method are the same here",
    )
    assert alike(recipe, changed(recipe, {"inversion.steps": 10}, "mini")) == ()
    both = Recipe.read("paper/supplement-table-1")
    assert alike(both, changed(both, {}, "mini")) == ()


@pytest.mark.parametrize("name", ["supplement-table-1", "figure-6"])
def test_a_model_at_no_point_is_refused(name):
    with pytest.raises(ConfigError, match=r"no model at a point 'SigLIP' for mini: it"):
        changed(Recipe.read(f"paper/{name}"), {}, "SigLIP=mini")
