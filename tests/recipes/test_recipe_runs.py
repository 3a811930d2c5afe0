import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import molyneux
from helpers.command import Command
from helpers.runs import Counter, Killed
from molyneux.datasets.toy import draw_shapes, write_folder
from molyneux.digests import write_digests
from molyneux.errors import ConfigError, DataError, ModelError, OutputError
from molyneux.images.sources import STAND_IN
from molyneux.recipes.run import RecipeSettings, run_recipe
from molyneux.recipes.schema import BASELINE, Recipe, merged, recipe_names
from molyneux.recipes.table import MEAN
from molyneux.recipes.tasks import finished_scores
from molyneux.records import SCORES

RECIPE = {
    "paper": "no table",
    "caption": "A ring and a cross.",
    "command": "none",
    "needs": {"data": ["novel", "known"]},
    "experiment": {
        "model": "tiny:clip",
        "inversion": {"images": 2, "steps": 28, "trace_every": 28},
        "teaching": {"preset": "paper", "update": {"part": "tower"}},
        "evaluate": {"task": "classification", "novel": "novel", "known": "known"},
    },
    "axes": {
        "concept": "each",
        "learning rate": {"set": "teaching.learning_rate", "to": [0.001, 0.01], "baseline": True},
    },
    "columns": {
        "concepts.{concept}.target_recall.after": {"title": "recall"},
        "known_accuracy.after": {"title": "known"},
    },
    "expect": [{"concept": "ring", "recall": [50, 60, 70]}],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A recipe, its concepts and its data."""
    root = tmp_path_factory.mktemp("recipe")
    concepts = {"ring": "A round band of one colour with a hole.", "cross": "Two bars that meet in the middle."}
    (root / "concepts.yaml").write_text(yaml.safe_dump(concepts, sort_keys=False))
    experiment = RECIPE["experiment"] | {"concepts": str(root / "concepts.yaml")}
    (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"experiment": experiment}, sort_keys=False))
    write_folder(root / "novel", {kind: draw_shapes(kind, 3, 32, seed=1) for kind in ("ring", "cross")})
    write_folder(root / "known", {kind: draw_shapes(kind, 3, 32, seed=2) for kind in ("circle", "square")})
    return root


def settings_for(place: Path, out: Path, **other) -> RecipeSettings:
    given = {"data": {"novel": place / "novel", "known": place / "known"}}
    return RecipeSettings(recipe=Recipe.read(place / "recipe.yaml"), out=out, **(given | other))


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory):
    counter = Counter()
    out = tmp_path_factory.mktemp("whole") / "run"
    return run_recipe(settings_for(place, out), on_step=counter), counter.calls


LEAPS = "the words of a random decoder change in leaps, and a lesson on images and one on noise leap to the same ones"
STILL = {(f"paper/{name}", "method"): LEAPS for name in ("table-5", "table-6", "supplement-table-7")}
"""Axes on which taught points are alike in miniature, and why; even there the taught differ from the untaught."""

DRAWN = ("paper/figure-3", "paper/figure-6", "paper/table-7", "paper/table-10", "paper/supplement-table-6")
"""The recipes whose plots are drawn, one of each kind; the others' are of the same kinds, and take a second each."""


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_runs_in_miniature(name, tmp_path, monkeypatch):
    if name not in DRAWN:
        monkeypatch.setattr("molyneux.recipes.run.plot", lambda *_: None)
    recipe = Recipe.read(name)
    result = run_recipe(RecipeSettings(recipe=recipe, out=tmp_path / "run", miniature=True))
    assert result.results["miniature"]
    assert "mean nothing" in result.table
    rows = result.results["rows"]
    values = [row["values"] for row in rows]
    assert len(values) >= 2
    # a number, or a reason why there is none
    assert all((value["ours"] is None) == bool(value["why"]) for row in values for value in row.values())
    for column in recipe.columns.values():
        if not column.title.startswith(("METEOR", "SPICE")):
            assert any(row[column.title]["ours"] is not None for row in values), column.title
    for axis in recipe.axes:
        assert {row["at"][axis] for row in rows} <= {*recipe.points(axis), MEAN}
        assert moves(rows, axis) or ((name, axis) in STILL and learned(rows, axis)), axis
    assert not list((tmp_path / "run").rglob(".*"))
    FURTHER.get(name, lambda _: None)(result)


def moves(rows, axis: str) -> bool:
    """Whether some number differs between two points of an axis; the untaught model is no point beside several."""
    found = values_at(rows, axis)
    taught = [values for point, values in found.items() if point != BASELINE]
    compared = taught if len(taught) > 1 else list(found.values())
    return len(compared) < 2 or len(set(compared)) > 1


def learned(rows, axis: str) -> bool:
    """Whether some number is not the untaught model's, which is a point of the axis or stands in a column 'before'."""
    pairs = [(row["values"][title], row["values"].get(f"{title} before")) for row in rows for title in row["values"]]
    return len(set(values_at(rows, axis).values())) > 1 or any(
        before is not None and after["ours"] != before["ours"] for after, before in pairs
    )


def values_at(rows, axis: str) -> dict[str, tuple[tuple[float | None, ...], ...]]:
    """For each point of an axis all numbers there, in order."""
    found: dict[str, tuple[tuple[float | None, ...], ...]] = {}
    for row in rows:
        if MEAN not in row["at"].values():
            own = tuple(value["ours"] for value in row["values"].values())
            found[row["at"][axis]] = (*found.get(row["at"][axis], ()), own)
    return found


def leads_to_a_page_of_each_model(result):
    page = (result.folder / "report.html").read_text()
    links = re.findall(r'href="(reports/\w+/report.html)">(KT[^<]*)<', page)
    assert [label for _, label in links] == ["KT", "KT on noise"]
    for path, _ in links:
        text = (result.folder / path).read_text()
        assert "heat, before" in text
        assert "heat, after" in text
    kept = sorted((result.folder / "models").iterdir())
    assert [molyneux.load(one).image_size for one in kept] == [160, 160]
    values = result.results["rows"][0]["values"]
    gained = values["DSC"]["ours"] - values["DSC before"]["ours"]
    assert values["DSC gained"]["ours"] == pytest.approx(gained, abs=1e-6)


def costs_its_own_and_more_for_more_images(result):
    rows = {tuple(row["at"].values()): row["values"] for row in result.results["rows"]}
    for source in ("inversion", "SDXL"):
        assert rows[source, "1000"]["seconds"]["ours"] > rows[source, "10"]["seconds"]["ours"] > 0
    assert rows["inversion", "1000"]["MiB"]["ours"] > rows["inversion", "10"]["MiB"]["ours"] > 0
    seconds = [row["values"]["seconds"] for row in result.results["rows"]]
    assert [value["paper"] for value in seconds] == [None, 3460, None, 27420]


FURTHER = {
    "paper/figure-5": leads_to_a_page_of_each_model,
    "paper/figure-7": costs_its_own_and_more_for_more_images,
}
"""What else a miniature shows that was run anyhow."""


def test_the_cost_of_noise_is_not_measured(tmp_path):
    recipe = Recipe.read("paper/figure-7")
    noise = {"images": "noise"}
    with pytest.raises(ConfigError, match="the cost is measured of 'inverted' and of 'sdxl"):
        run_recipe(RecipeSettings(recipe=recipe, out=tmp_path / "run", miniature=True, changes=noise))


def test_several_points_of_an_axis(place, tmp_path):
    only = {"learning rate": ("baseline", "0.01"), "concept": "cross"}
    result = run_recipe(settings_for(place, tmp_path / "run", only=only))
    assert [row["at"]["learning rate"] for row in result.results["rows"]] == ["baseline", "0.01"]
    with pytest.raises(ConfigError, match="nothing at learning rate=7"):
        run_recipe(settings_for(place, tmp_path / "other", only={"learning rate": ("baseline", "7")}))


def test_a_run_leaves_its_table_its_numbers_and_a_plot(whole, place):
    result, _ = whole
    assert {path.name for path in result.folder.iterdir()} == {
        "config.yaml",
        "digests.json",
        "environment.json",
        "images",
        "plot.png",
        "report.html",
        "results.json",
        "stages",
        "table.md",
    }
    assert json.loads((result.folder / "results.json").read_text()) == result.results
    assert (result.folder / "table.md").read_text() == result.table
    assert "| ring | 0.01 |" in result.table
    rows = result.results["rows"]
    assert [row["values"]["recall"]["paper"] for row in rows] == [50, 60, 70, None, None, None]
    # of its two columns the paper has numbers for the first
    page = (result.folder / "report.html").read_text()
    assert page.count('<th class="number">') == 2
    assert page.count('<th class="number paper">paper</th>') == 1
    # one baseline serves both concepts
    assert len(list((result.folder / "stages").iterdir())) == 5
    assert len(list((result.folder / "images").iterdir())) == 2


def test_the_numbers_are_those_of_teaching_by_hand(whole, place):
    model = molyneux.load("tiny:clip")
    first, *_ = molyneux.concepts.read_concepts(place / "concepts.yaml")
    images = molyneux.invert(model, first, molyneux.InversionConfig(images=2, steps=28, trace_every=28))
    taught = molyneux.teach(model, [images], molyneux.TeachingConfig.paper(0.01))
    scores = molyneux.evaluate(taught, novel=place / "novel", known=place / "known", concepts=["ring"]).as_dict()
    row = whole[0].results["rows"][2]
    assert row["at"] == {"concept": "ring", "learning rate": "0.01"}
    assert row["values"]["known"]["ours"] == 100 * scores["known_accuracy"]["after"]
    assert row["values"]["recall"]["ours"] == 100 * scores["concepts"]["ring"]["target_recall"]["after"]


@pytest.mark.parametrize(("how", "first"), [(KeyboardInterrupt, 2), (Killed, 40)])
def test_an_interrupted_recipe_ends_with_the_same_scores(whole, place, tmp_path, how, first, monkeypatch):
    monkeypatch.setattr("molyneux.recipes.run.plot", lambda *_: None)
    result, calls = whole
    for end in range(first, calls, calls // 2):
        settings = settings_for(place, tmp_path / f"run-{end}")
        with pytest.raises(how):
            run_recipe(settings, on_step=Counter(end, how))
        again = run_recipe(settings)
        assert again.results == result.results
        assert again.table == result.table
        assert not list(settings.out.rglob(".*"))


def test_finished_stages_are_not_done_again(place, tmp_path, monkeypatch):
    settings = settings_for(place, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(settings, on_step=_until("[5/6]"))
    kept = {path.name: path.stat().st_mtime_ns for path in (settings.out / "stages").iterdir()}
    assert len(kept) == 3
    counter = []
    run_recipe(settings, on_step=lambda what, done, total: counter.append(what))
    assert all(what.startswith(("[5/6]", "[6/6]")) for what in counter)
    after = {path.name: path.stat().st_mtime_ns for path in (settings.out / "stages").iterdir()}
    assert kept.items() <= after.items()


def test_a_damaged_stage_is_done_again_and_this_is_said(whole, place, tmp_path):
    settings = settings_for(place, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(settings, on_step=_until("[5/6]"))
    damaged = sorted((settings.out / "stages").iterdir())[0]
    damaged.write_text("{}")
    assert run_recipe(settings).results == whole[0].results
    (note,) = json.loads((settings.out / "environment.json").read_text())["notes"]
    assert note.endswith(f"is made again: stages/{damaged.name} is not as it was left")


def test_a_recipe_that_was_killed_ends_with_the_same_scores(whole, place, tmp_path):
    out = tmp_path / "run"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from molyneux.recipes.run import RecipeSettings, run_recipe\n"
        "from molyneux.recipes.schema import Recipe\n"
        "place, out = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "def end(what, done, total):\n"
        "    if what.startswith('[5/6] images') and done == 27:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "data = {'novel': place / 'novel', 'known': place / 'known'}\n"
        "run_recipe(RecipeSettings(recipe=Recipe.read(place / 'recipe.yaml'), out=out, data=data), on_step=end)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(place), str(out)], env=dict(os.environ), check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (out / "results.json").exists()
    assert len(list((out / "stages").glob("*.json"))) == 3
    assert run_recipe(settings_for(place, out)).results == whole[0].results


def test_weights_that_changed_meanwhile_are_refused(place, tmp_path, monkeypatch):
    settings = settings_for(place, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(settings, on_step=_until("[3/6]"))
    monkeypatch.setattr("molyneux.recipes.run.weights_digest", lambda native: "others")
    with pytest.raises(OutputError, match="other weights of 'tiny:clip'"):
        run_recipe(settings)


def test_other_settings_do_not_continue_a_run(place, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_recipe(settings_for(place, tmp_path / "run"), on_step=Counter(3))
    with pytest.raises(OutputError, match="other settings"):
        run_recipe(settings_for(place, tmp_path / "run", changes={"seed": 1}))


def test_one_point_of_an_axis(place, tmp_path):
    result = run_recipe(settings_for(place, tmp_path / "run", only={"learning rate": "baseline", "concept": "cross"}))
    assert [row["at"] for row in result.results["rows"]] == [{"concept": "cross", "learning rate": "baseline"}]
    assert "no two points with numbers" in result.table


@pytest.mark.parametrize(
    ("other", "error", "words"),
    [
        ({"data": {}}, DataError, "needs novel and known: add --data novel=FOLDER --data known=FOLDER"),
        ({"data": {"known": Path(), "other": Path()}}, ConfigError, "no use for the data set 'other'"),
        ({"only": {"concept": "okapi"}}, ConfigError, "nothing at concept=okapi: its points are concept: ring, cross"),
        ({"changes": {"teaching.speed": 1}}, ConfigError, "no setting teaching.speed"),
        ({"miniature": True}, ConfigError, "draws its own data"),
        ({"model": "nosuch"}, ModelError, "no model 'nosuch'"),
        ({"model": "tiny:vilt"}, ModelError, "got 'tiny:vilt': it learns by the losses 'matching'"),
    ],
)
def test_what_cannot_be_run_is_refused(place, tmp_path, other, error, words):
    with pytest.raises(error) as refusal:
        run_recipe(settings_for(place, tmp_path / "run", **other))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "model", "words"),
    [
        ("table-5", "tiny:clip", "captioning needs a model that writes captions"),
        ("table-7", "tiny:vilt", "localising needs a model whose vision tower is known"),
        ("table-8", "tiny:clip", "preset paper"),
        ("figure-9", "tiny:vilt", "comparing images needs a model with separate image and text embeddings"),
    ],
)
def test_a_model_that_cannot_do_a_recipe_is_refused_before_anything_is_written(name, model, words, tmp_path):
    recipe = Recipe.read(f"paper/{name}")
    with pytest.raises(ModelError, match=words):
        run_recipe(RecipeSettings(recipe=recipe, out=tmp_path / "run", model=model, miniature=True))
    assert not (tmp_path / "run").exists()


def test_data_in_another_layout_is_refused_before_anything_is_written(place, tmp_path, monkeypatch):
    monkeypatch.setattr("molyneux.recipes.run.load", lambda *_, **__: pytest.fail("a model was loaded"))
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "photo.png").write_bytes((place / "novel" / "ring" / "00.png").read_bytes())
    (tmp_path / "broken" / "ring").mkdir(parents=True)
    (tmp_path / "broken" / "ring" / "photo.png").write_text("no photo")
    cases = {
        "no sub-folders": tmp_path / "flat",
        "no folder at": tmp_path / "nowhere",
        "photo.png": tmp_path / "broken",
    }
    for words, folder in cases.items():
        with pytest.raises(DataError, match=words):
            run_recipe(settings_for(place, tmp_path / "run", data={"novel": folder, "known": place / "known"}))
    write_folder(tmp_path / "one", {"ring": draw_shapes("ring", 1, 32, seed=1)})
    with pytest.raises(DataError, match="no photos of 'cross'"):
        run_recipe(settings_for(place, tmp_path / "run", data={"novel": tmp_path / "one", "known": place / "known"}))
    assert not (tmp_path / "run").exists()


LONG = "round and hollow " * 30


@pytest.mark.parametrize(
    ("change", "described", "model"),
    [
        ({}, LONG, "tiny:clip"),
        ({"evaluate": {"templates": "templates.txt"}, "taught": False}, "Round.", "tiny:clip"),
        ({"evaluate": {"described": "asymmetric"}, "taught": False}, LONG, "tiny:clip"),
        ({"images": "shuffled"}, "Round.", "tiny:clip"),
        ({"teaching": {"preset": "paper-captioning", "caption_templates": "templates.txt"}}, "Round.", "tiny:coca"),
    ],
)
def test_a_text_that_is_too_long_is_met_before_anything_is_made(place, tmp_path, change, described, model, monkeypatch):
    """The model that cannot read it is the last of the recipe's."""
    monkeypatch.setattr("molyneux.recipes.run.run_images", lambda *_: pytest.fail("images were made"))
    stand_in = replace(STAND_IN, descriptions=(LONG,))
    monkeypatch.setattr("molyneux.images.sources.STAND_IN", stand_in)
    monkeypatch.chdir(tmp_path)
    Path("templates.txt").write_text(f"{LONG}{{}}\n")
    Path("concepts.yaml").write_text(yaml.safe_dump({"ring": described}))
    recipe = yaml.safe_load((place / "recipe.yaml").read_text())
    experiment = merged(recipe["experiment"], change | {"concepts": "concepts.yaml"})
    axes = {"model": {name: {"model": name} for name in ("tiny:biomedclip", model)}, "concept": "each"}
    changed = {"experiment": experiment, "axes": axes, "expect": []}
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe | changed, sort_keys=False))
    settings = RecipeSettings(
        recipe=Recipe.read("recipe.yaml"), out=Path("run"), data={"novel": place / "novel", "known": place / "known"}
    )
    with pytest.raises(ModelError, match=f"'{model}' reads 7[67].*hollow"):
        run_recipe(settings)
    assert not Path("run").exists()


def test_captions_without_photos_are_refused(tmp_path):
    folder = tmp_path / "flickr"
    (folder / "images").mkdir(parents=True)
    (folder / "captions.csv").write_text("image,caption\nlost.jpg,A photo that is not there.\n")
    recipe = Recipe.read("paper/table-8")
    with pytest.raises(DataError, match=r"'lost.jpg', which is not in"):
        run_recipe(RecipeSettings(recipe=recipe, out=tmp_path / "run", data={"flickr30k": folder}))
    assert not (tmp_path / "run").exists()


def test_the_library_runs_a_recipe_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = molyneux.run("paper/figure-9", miniature=True, only={"concept": "moongate"})
    assert result.folder == Path("runs/paper/figure-9-miniature")
    assert isinstance(molyneux.Recipe.read("paper/figure-9"), Recipe)
    (row,) = result.results["rows"]
    assert all(value["ours"] is not None for value in row["values"].values())


def test_a_table_says_which_model_it_was_made_with(place, tmp_path):
    only = {"learning rate": "baseline", "concept": "ring"}
    result = run_recipe(settings_for(place, tmp_path / "run", only=only, model="tiny:coca", changes={"seed": 1}))
    assert "A ring and a cross (changed: model = tiny:coca, seed = 1)." in result.table
    assert {"changed: model = tiny:coca", "changed: seed = 1"} <= set(result.results["notes"])
    assert all(value["paper"] is None for value in result.results["rows"][0]["values"].values())


def test_settings_stand_behind_one_flag_or_each_behind_its_own(capsys, tmp_path):
    molyneux = Command(capsys)
    given = ("--set", "inversion.noise=1", "seed=2"), ("--set", "inversion.noise=1", "--set", "seed=2")
    for place, flags in enumerate(given):
        common = ("--miniature", "--only", "concept=moongate", "--json")
        ended = molyneux("run", "paper/figure-9", *common, "--out", tmp_path / str(place), *flags)
        assert ended.code == 0, ended.err
        assert json.loads(ended.out)["changed"] == {"inversion.noise": 1, "seed": 2}


def _until(mark: str):
    def on_step(what: str, done: int, total: int) -> None:
        if what.startswith(mark):
            raise KeyboardInterrupt

    return on_step


def test_a_part_that_ended_is_read_unless_a_file_of_it_was_damaged(tmp_path):
    kept = tmp_path / "part"
    (kept / "gallery").mkdir(parents=True)
    assert finished_scores(kept) is None
    (kept / SCORES).write_text("{}")
    picture = kept / "gallery" / "0.png"
    picture.write_bytes(b"whole")
    write_digests(kept)
    assert finished_scores(kept) == kept / SCORES
    picture.write_bytes(b"whomp")
    assert finished_scores(kept) is None
    assert not kept.exists()


def test_a_damaged_page_of_an_unfinished_recipe_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("molyneux.recipes.run.plot", lambda *_: None)
    settings = RecipeSettings(recipe=Recipe.read("paper/figure-9"), out=tmp_path / "run", miniature=True)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(settings, on_step=_until("[2/"))
    (page,) = settings.out.glob("reports/*/report.html")
    whole = page.read_bytes()
    page.write_bytes(whole[:-1])
    run_recipe(settings)
    assert page.read_bytes() == whole
    (note,) = json.loads((settings.out / "environment.json").read_text())["notes"]
    assert note.endswith("report.html is not as it was left")
