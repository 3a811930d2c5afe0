"""Every kind of bad input: one clear line, exit code 2, nothing written."""

import json
from pathlib import Path

import pytest
from PIL import Image

from helpers.command import QUICK, RING, Command, check_refused
from helpers.runs import use_tiny, write_photos
from molyneux.cli import flags
from molyneux.cli.main import app


@pytest.fixture
def molyneux(capsys, monkeypatch, tmp_path):
    use_tiny(monkeypatch, tmp_path / "cache")
    return Command(capsys)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def teach(molyneux, out, *arguments):
    return molyneux("teach", *arguments, "--out", out, "--model=tiny", "--quiet", *QUICK)


@pytest.mark.parametrize(
    ("name", "description", "words"),
    [
        ("", "A thing.", ("name is empty",)),
        ("  ", "A thing.", ("name is empty",)),
        ("ring", "", ("description of 'ring' is empty",)),
        ("ring", " \n ", ("description of 'ring' is empty",)),
        ("../../etc", "A thing.", ("'/'",)),
        ("a\\b", "A thing.", ("slashes",)),
        ("x" * 300, "A thing.", ("300 characters",)),
        ("a\x00b", "A thing.", ("zero character",)),
    ],
)
def test_a_name_or_description_that_cannot_be_used(molyneux, tmp_path, name, description, words):
    check_refused(teach(molyneux, tmp_path / "run", name, "--description", description), *words)
    check_refused(
        molyneux("invert", name, "--description", description, "--out", tmp_path / "run", "--model=tiny"),
        *words,
    )
    assert list(tmp_path.iterdir()) == []


def test_a_text_beyond_the_limit_is_shown_not_cut(molyneux, tmp_path):
    text = "A ring that is " + "very " * 40 + "round and LOST."
    check_refused(teach(molyneux, tmp_path / "run", "hoop", "--description", text), "47 tokens", "LOST.")
    assert list(tmp_path.iterdir()) == []


def test_neither_or_both_ways_to_give_a_concept(molyneux, tmp_path):
    check_refused(teach(molyneux, tmp_path / "run"), "no concept given")
    check_refused(teach(molyneux, tmp_path / "run", "ring"), "no description")
    check_refused(teach(molyneux, tmp_path / "run", "ring", "--concepts", "file.json"), "not both")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("c.json", '{"ring": {"descriptions": ["A band."], "colour": "red"}}', ("unknown key 'colour'",)),
        ("c.json", '{"ring": "A band.", "ring": "A hole."}', ("'ring' occurs twice",)),
        ("c.yaml", "ring: A band.\nring: A hole.\n", ("'ring' occurs twice",)),
        ("c.json", '{"ring": "A band.", "Ring": "A hole."}', ("two concepts are called",)),
        ("c.json", "{", ("not valid JSON",)),
        ("c.json", "[]", ("expected a mapping",)),
        ("c.json", "{}", ("no concept given",)),
        ("c.json", '{"ring": 3}', ("'ring'", "3")),
    ],
)
def test_a_concept_file_that_cannot_be_used(molyneux, tmp_path, file, content, words):
    (tmp_path / file).write_text(content)
    check_refused(teach(molyneux, tmp_path / "run", "--concepts", tmp_path / file), *words)
    assert not (tmp_path / "run").exists()


def test_a_concept_file_that_is_not_there(molyneux, tmp_path):
    check_refused(teach(molyneux, tmp_path / "run", "--concepts", tmp_path / "none.json"), "none.json")


def test_words_for_classes_that_cannot_be_used(molyneux, tmp_path, photos):
    (tmp_path / "templates.txt").write_text("a photo\n")
    for given, words in (
        (("--templates", tmp_path / "templates.txt"), ("'a photo'", "{}")),
        (("--templates", "openai-8"), ("openai-8", "openai-80")),
        (("--known", f"imagenet-1k:{tmp_path}"), ("imagenet-1k", "image-net.org")),
        (("--ensemble", "median"), ("median",)),
        (("--class-names", "mine"), ("mine",)),
    ):
        check_refused(molyneux("evaluate", "--model=tiny", "--novel", photos / "novel", *given), *words)
        check_refused(teach(molyneux, tmp_path / "run", *RING[:3], *given), *words)
    assert not (tmp_path / "run").exists()


def test_images_that_cannot_be_taught_on(molyneux, tmp_path, photos):
    for given, words in (
        (("--images-from", tmp_path / "nowhere"), ("nowhere",)),
        (("--images-from", photos / "known"), ("'ring'",)),
        (("--images-from", photos / "novel", "--control", "noise"), ("'noise'", "--images-from")),
        (("--images-from", "sdxl", "--generation.steps", "0"), ("generation.steps",)),
        (("--generation.steps", "3"), ("--generation", "without --images-from sdxl")),
    ):
        check_refused(teach(molyneux, tmp_path / "run", *RING[:3], *given), *words)
    assert not (tmp_path / "run").exists()


def test_a_model_that_does_not_exist(molyneux, tmp_path):
    for verb in ("teach", "invert"):
        ended = molyneux(verb, *RING[:3], "--model", "nosuch", "--out", tmp_path / "run")
        check_refused(ended, "nosuch", "mini")
    check_refused(molyneux("evaluate", "--model", "nosuch", "--known", tmp_path), "no sub-folders")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["teach", "evaluate"])
def test_folders_that_are_missing_or_empty(molyneux, tmp_path, verb):
    moved = "--teaching.update.part=projection"
    teaching = ("teach", *RING, moved, "--out", tmp_path / "run")
    start = teaching if verb == "teach" else (verb, "--model=tiny", "--quiet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "ring").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for option in ("--novel", "--known"):
        check_refused(molyneux(*start, option, tmp_path / "nowhere"), "nowhere")
        check_refused(molyneux(*start, option, tmp_path / "empty"), "no sub-folders")
        check_refused(molyneux(*start, option, tmp_path / "hollow"), "no photos")
        check_refused(molyneux(*start, option, tmp_path / "file"), "is a file")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["teach", "evaluate"])
@pytest.mark.parametrize("option", ["--novel", "--known"])
def test_photos_that_cannot_be_read_or_are_gigantic(molyneux, tmp_path, verb, option):
    start = (
        (verb, *RING, "--teaching.update.part=projection", "--out", tmp_path / "run")
        if verb == "teach"
        else (verb, "--model=tiny", "--quiet")
    )
    root = tmp_path / "data"
    (root / "ring").mkdir(parents=True)
    kind = {"--novel": "ring", "--known": "circle"}[option]
    photo = root / kind / "x.png"
    photo.parent.mkdir(exist_ok=True)
    (root / "ring").rmdir() if kind == "circle" else None
    photo.write_bytes(b"no image at all")
    check_refused(molyneux(*start, option, root), "x.png", "no JPEG, PNG, WebP")
    Image.new("1", (9000, 9000)).save(photo)
    check_refused(molyneux(*start, option, root), "x.png", "25 megapixels")
    Image.new("RGB", (64, 64), "red").save(photo)
    photo.write_bytes(photo.read_bytes()[:60])
    check_refused(molyneux(*start, option, root), "x.png")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_corrupted_weights(molyneux, tmp_path, monkeypatch, photos):
    from molyneux.backends.load import load
    from molyneux.backends.mini import build_towers

    monkeypatch.setattr("molyneux.tasks.classification.run.load", load)
    build_towers().save(tmp_path / "model")
    weights = tmp_path / "model" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    ended = molyneux("evaluate", "--model", tmp_path / "model", "--known", photos / "known", "--quiet")
    check_refused(ended, "open_clip_model.safetensors is not what was saved")


def test_a_name_beyond_the_limit_is_met_before_the_photos_are_read(molyneux, tmp_path, photos):
    (tmp_path / "names.txt").write_text("circle\nsquare\n" + "very " * 40 + "round\n")
    ended = molyneux("evaluate", "--model=tiny", "--known", photos / "known", "--names", tmp_path / "names.txt")
    check_refused(ended, "45 tokens")


def test_a_place_where_writing_is_not_allowed(molyneux, tmp_path, monkeypatch):
    monkeypatch.setattr("molyneux.runs.folder.os.access", lambda *_: False)
    check_refused(molyneux("teach", *RING, "--out", tmp_path / "run"), "cannot write into")
    assert list(tmp_path.iterdir()) == []


def test_a_class_that_is_not_among_the_names(molyneux, tmp_path, photos):
    names = tmp_path / "names.txt"
    names.write_text("okapi\n")
    ended = molyneux("evaluate", "--model=tiny", "--known", photos / "known", "--names", names)
    check_refused(ended, "not among")


def test_a_folder_for_results_that_cannot_be_written_or_is_taken(molyneux, tmp_path):
    (tmp_path / "file").write_text("mine")
    check_refused(molyneux("teach", *RING, "--out", tmp_path / "file"), "is a file")
    check_refused(molyneux("teach", *RING, "--out", tmp_path / "file" / "run"), "cannot write")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    check_refused(molyneux("teach", *RING, "--out", tmp_path / "full"), "not empty")
    check_refused(molyneux("invert", *RING[:6], "--out", tmp_path / "full"), "not empty")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert molyneux("teach", *RING, "--out", tmp_path / "run").code == 0
    check_refused(molyneux("teach", *RING, "--out", tmp_path / "run"), "finished run")
    check_refused(molyneux("teach", *RING, "--seed", 1, "--out", tmp_path / "run"), "finished run")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--inversion.steps", "0"], ("inversion.steps", "at least 1")),
        (["--inversion.steps", "-5"], ("steps",)),
        (["--inversion.images", "0"], ("inversion.images",)),
        (["--inversion.learning-rate", "nan"], ("learning-rate", "nan")),
        (["--teaching.learning-rate", "nan"], ("learning-rate", "nan")),
        (["--teaching.learning-rate", "inf"], ("learning-rate", "inf")),
        (["--teaching.steps", "-1"], ("steps",)),
        (["--teaching.update.blocks", "0"], ("blocks",)),
        (["--seed", "-1"], ("seed",)),
        (["--seed", "abc"], ("--seed", "abc")),
        (["--inversion.stepz", "3"], ("--inversion.stepz", "--inversion.steps")),
        (["--images-from", "none", "--inversion.steps", "3"], ("no images are made", "--images-from inversion")),
        (["--control", "magic"], ("magic", "noise")),
        (["--teaching-preset", "magic"], ("magic", "paper")),
        (["surplus"], ("surplus",)),
    ],
)
def test_settings_out_of_their_range_and_flags_that_do_not_exist(molyneux, tmp_path, flags, words):
    check_refused(molyneux("teach", *RING[:6], *flags, "--out", tmp_path / "run"), *words)
    assert list(tmp_path.iterdir()) == []


def number_flags():
    """Every flag of every verb that takes numbers, with their types."""
    for name in app:
        if name.startswith("-") or app[name].default_command is None:
            continue
        for argument in app[name].assemble_argument_collection():
            if kinds := list(flags._number_types(argument.hint)):
                yield pytest.param(name, argument.name, kinds, id=f"{name} {argument.name}")


@pytest.mark.parametrize(("verb", "flag", "kinds"), list(number_flags()))
def test_a_number_that_is_not_whole_or_not_finite_is_refused(molyneux, verb, flag, kinds):
    for kind, wrong in ((int, ("1.5", "1e0", "nan", "inf", "2.0")), (float, ("nan", "inf", "-inf", "1e999"))):
        for value in wrong if kind in kinds else ():
            given = [value if one is kind else "1" for one in kinds]
            ended = molyneux(verb, flag, *given)
            check_refused(ended, flag, value)


def test_there_are_many_number_flags():
    assert len(list(number_flags())) > 80


def test_a_verb_without_what_it_needs(molyneux):
    check_refused(molyneux("teach", "ring", "--description", "A band."), "teach needs --out", "molyneux teach --help")
    check_refused(molyneux("evaluate", "--model", "tiny"), "nothing to score on")
    check_refused(molyneux("evaluate"), "--model")
    check_refused(molyneux("nosuch"), "nosuch", "molyneux --help")
    check_refused(molyneux("report", "nowhere"), "nowhere")


def test_lists_of_names_that_cannot_be_used(molyneux, tmp_path, photos):
    for content, word in (
        ("", "no names"),
        ("circle\nsquare\ncircle\n", "remove one"),
        ("circle\n", "not among"),
    ):
        (tmp_path / "names.txt").write_text(content)
        ended = molyneux(
            "teach",
            *RING,
            "--out",
            tmp_path / "run",
            "--known",
            photos / "known",
            "--names",
            tmp_path / "names.txt",
        )
        check_refused(ended, word)
    assert not (tmp_path / "run").exists()


def test_unexpected_errors_keep_their_traceback(molyneux, tmp_path, monkeypatch):
    monkeypatch.setattr("molyneux.pipeline.teach_run.check_request", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        molyneux("teach", *RING, "--out", tmp_path / "run")


def test_errors_of_a_json_run_leave_stdout_empty(molyneux, tmp_path):
    check_refused(molyneux("teach", *RING[:3], "--model", "nosuch", "--out", tmp_path / "run", "--json"))


def test_a_concept_of_the_file_is_written_under_a_safe_name(molyneux, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"Tour d'Éole": "A tower."}))
    assert teach(molyneux, tmp_path / "run", "--concepts", tmp_path / "c.json").code == 0
    assert [path.name.startswith("tour-d-eole-") for path in (tmp_path / "run" / "synthetic").iterdir()] == [True]


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("~/run", ("no shell has put your home there", "--out ~/run without '='")),
        ("/".join(["x" * 100] * 45), ("no file can be called so", "3,000 in all")),
    ],
)
def test_a_path_that_the_shell_left_or_no_system_takes_is_refused(molyneux, tmp_path, monkeypatch, out, words):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    check_refused(molyneux("teach", *RING, f"--out={out}"), *words)
    assert sorted(tmp_path.iterdir()) == before


def test_a_setting_that_is_no_value_of_yaml_is_refused(molyneux):
    for value in ("2001-99-99", "[", "{a: 1, a: 2}"):
        check_refused(molyneux("run", "paper/table-9", "--miniature", f"--set=seed={value}"), "is no value")
