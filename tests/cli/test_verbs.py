import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.command import RING, Command, check_refused
from helpers.families_open_clip import VIT, build_random
from helpers.runs import use_few_classes, use_tiny, write_photos
from molyneux.backends.families import FAMILIES
from molyneux.cli.show import print_scores
from molyneux.concepts import Concept
from molyneux.inversion.config import InversionConfig
from molyneux.synthetic import noise_images
from molyneux.teaching.config import TeachingConfig


@pytest.fixture
def molyneux(capsys, monkeypatch, tmp_path):
    use_tiny(monkeypatch, tmp_path / "cache")
    return Command(capsys)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def scoring(photos):
    return ("--novel", photos / "novel", "--known", photos / "known", "--names", photos / "names.txt")


def in_a_process(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "molyneux.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_teach_and_evaluate_print_the_same_object(molyneux, tmp_path, photos):
    out = tmp_path / "run"
    taught = molyneux("teach", *RING, "--out", out, *scoring(photos), "--json")
    assert (taught.code, taught.err) == (0, "")
    ended = molyneux("evaluate", "--model", out / "model", "--base", "tiny", *scoring(photos), "--json", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    first, second = json.loads(taught.out), json.loads(ended.out)
    assert first.keys() - second.keys() == {"controls", "replay", "descriptions"}
    assert second.keys() - first.keys() == set()
    assert first["model"] == second["model"] == str(out / "model")
    assert first["base"] == second["base"] == "tiny"
    # with both novel folders' classes as new names, the numbers of one are the same
    assert first["concepts"]["ring"] == second["concepts"]["ring"]
    assert first["known_accuracy"] == second["known_accuracy"]


def test_evaluate_without_a_base_tells_of_after_alone(molyneux, photos):
    ended = molyneux("evaluate", "--model", "tiny", "--known", photos / "known", "--json", "--quiet")
    scores = json.loads(ended.out)
    assert scores["base"] is None
    assert scores["known_accuracy"].keys() == {"after"}
    assert scores["concepts"] == {}


def test_people_get_a_table_and_the_report(molyneux, tmp_path, photos):
    ended = molyneux("teach", *RING, "--out", tmp_path / "run", *scoring(photos))
    assert "target recall" in ended.out
    assert "ring" in ended.out
    assert ended.out.splitlines()[-2:] == [
        f"report: {tmp_path / 'run' / 'report.html'}",
        f"next: molyneux recognise PHOTO --model {tmp_path / 'run' / 'model'} --base tiny",
    ]


def test_evaluate_says_how_its_numbers_came_about(molyneux, photos):
    words = ("--templates", "openai-7", "--class-names", "wordnet", "--ensemble", "logits")
    command = ("evaluate", "--model", "tiny", "--base", "tiny", *scoring(photos), *words, "--quiet")
    scores = json.loads(molyneux(*command, "--per-class", "--predictions", "--json").out)
    assert len(scores["protocol"]["prompts"]) == 7
    assert scores["known_retention"] == 1.0
    assert {name: one["photos"] for name, one in scores["classes"].items()} == {"circle": 3, "square": 3}
    assert len(scores["predictions"]) == 8
    shown = molyneux(*command, "--per-class", "--predictions", "-v").out
    for part in (
        "7 templates (openai-7)",
        "WordNet",
        "mean of the cosines",
        "known retention: 100.0 %",
        "95 % interval",
        "24 x 24",
    ):
        assert part in shown
    top = scores["predictions"][0]["after"]["top"]
    assert f"after: {top[0][0]} {top[0][1]:.3f}, {top[1][0]} {top[1][1]:.3f}" in shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["class", "right", "photos"] in lines
    assert [line[-1] for line in lines if line[:1] in (["circle"], ["square"])] == ["3", "3"]


def test_evaluate_asks_for_descriptions_in_place_of_names(molyneux, tmp_path, photos):
    path = tmp_path / "descriptions.yaml"
    path.write_text("ring: A round band.\ncross: [Two bars that meet., A plus sign.]\ncircle: A round spot.\n")
    command = ("evaluate", "--model", "tiny", *scoring(photos), "--descriptions", path, "--json", "--quiet")
    protocol = json.loads(molyneux(*command).out)["protocol"]
    assert protocol["naming"].startswith("asymmetric")
    crosses = ["A cross is two bars that meet.", "A cross is a plus sign."]
    assert protocol["described"] == {"ring": "A ring is a round band.", "cross": crosses}
    protocol = json.loads(molyneux(*command, "--naming", "descriptors", "--ensemble", "logits").out)["protocol"]
    assert protocol["described"]["square"] == "square."
    check_refused(molyneux(*command, "--naming", "symmetric"), "2 of 3 known names", "'square'")
    check_refused(molyneux(*command, "--pools", path), "--descriptions", "--pools")


def test_teach_scores_with_the_words_it_is_given(molyneux, tmp_path, photos):
    out = tmp_path / "run"
    ended = molyneux("teach", *RING, "--out", out, *scoring(photos), "--templates", "name", "--ensemble", "max")
    assert ended.code == 0
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["protocol"]["prompts"], scores["protocol"]["ensemble"]) == (["{}"], "max")
    assert set(json.loads((out / "classes.json").read_text())) == {"circle", "square"}


def test_progress_goes_to_stderr(molyneux, tmp_path):
    ended = molyneux("teach", *(flag for flag in RING if flag != "--quiet"), "--out", tmp_path / "run", "--json")
    assert "images of ring: 6 of 6" in ended.err.splitlines()
    json.loads(ended.out)


def test_an_interruption_says_how_to_continue(molyneux, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("molyneux.images.jobs.invert", interrupted)
        ended = molyneux("teach", *RING, "--out", out)
    assert ended.code == 130
    assert ended.err == f"molyneux: interrupted; the same command continues the run in {out}\n"
    assert molyneux("teach", *RING, "--out", out).code == 0


def test_invert_writes_images_for_people_and_programs(molyneux, tmp_path):
    out = tmp_path / "images"
    ended = molyneux("invert", *RING[:6], "--inversion.steps=4", "--inversion.images=2", "--out", out, "--json")
    found = json.loads(ended.out)["concepts"]["ring"]
    assert found["images"] == 2
    assert sorted(path.name for path in Path(found["folder"]).iterdir()) == [
        "00.png",
        "01.png",
        "images.json",
        "images.safetensors",
    ]


def test_what_invert_says_to_type_next_teaches_on_its_images(molyneux, tmp_path):
    ended = molyneux("invert", *RING[:6], "--inversion.steps=4", "--inversion.images=2", "--out", tmp_path / "images")
    _, after = ended.out.split("next: molyneux ")
    advised = [str(tmp_path / "run") if word == "FOLDER" else word for word in shlex.split(after)]
    ended = molyneux(*advised, "--teaching.loss=bank", "--teaching.steps=1", "--teaching.replay-batch=0")
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "run/synthetic/ring/images.json").read_text())["source"] == "external"


def test_report_is_written_anew(molyneux, tmp_path):
    molyneux("teach", *RING, "--out", tmp_path / "run")
    page = tmp_path / "run" / "report.html"
    before = page.read_bytes()
    page.unlink()
    assert molyneux("report", tmp_path / "run").out == f"report: {page}\n"
    assert page.read_bytes() == before


def test_a_preset_keeps_what_single_flags_do_not_change(molyneux, tmp_path):
    out = tmp_path / "run"
    ended = molyneux(
        "teach", *RING[:6], "--out", out, "--inversion-preset=paper", "--inversion.steps=4",
        "--inversion.images=2", "--inversion.size=16", "--inversion.growth", "0", "8",
        "--inversion.growth", "0.5", "16", "--teaching-preset", "paper", "--teaching.update.part=projection",
    )  # fmt: skip
    assert ended.code == 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    paper = InversionConfig.paper()
    assert config["inversion"]["steps"] == 4
    assert config["inversion"]["growth"] == [[0.0, 8], [0.5, 16]]
    assert config["inversion"]["total_variation"] == paper.total_variation
    assert config["inversion"]["trace_every"] == paper.trace_every
    assert config["teaching"]["update"] == {"part": "projection", "blocks": 1}
    assert config["teaching"]["loss"] == "infonce"
    assert config["teaching"]["learning_rate"] == TeachingConfig.paper().learning_rate


def test_small_verbs_print_text_or_json(molyneux):
    listed = json.loads(molyneux("list", "models", "--json").out)
    assert list(listed) == [family.name for family in FAMILIES]
    assert listed["CoCa"]["abilities"][:2] == ["embeds", "captions"]
    assert "torch" in json.loads(molyneux("env", "--json").out)["versions"]
    assert "2411.15611" in json.loads(molyneux("cite", "--json").out)["bibtex"]
    table = molyneux("list", "models").out.splitlines()
    assert table[0].split()[:2] == ["family", "--model"]
    assert table[1].split()[:3] == ["mini", "mini", "embeds,"]
    assert len(table) == 2 + len(FAMILIES)
    assert ["needs molyneux[siglip]" in row for row in table if "hf:google/siglip-" in row] == [True]
    sets = molyneux("list", "datasets").out.splitlines()
    assert [line.split()[0] for line in sets[1:-1]] == list(json.loads(molyneux("list", "datasets", "--json").out))
    assert "image-net.org" in sets[2]
    assert "torch: " in molyneux("env").out
    assert "activation" not in molyneux("env").out
    assert molyneux("cite").out.startswith("@")


def test_env_says_how_a_model_reads(molyneux, tmp_path):
    build_random("tiny", VIT).save(tmp_path / "vit")
    said = molyneux("env", "--model", str(tmp_path / "vit")).out
    assert "activation: QuickGELU\n" in said
    assert "photos: shorter side to 32, bicubic, then the middle 32 x 32\n" in said
    facts = json.loads(molyneux("env", "--model", str(tmp_path / "vit"), "--json").out)["model"]
    assert facts["image_size"] == 32
    check_refused(molyneux("env", "--model", str(tmp_path / "none")), "there is no model")


def test_a_name_with_brackets_is_shown_as_it_is(capsys):
    pair = {"before": 0.0, "after": 0.5}
    keys = ("target_recall", "false_positive_rate", "median_rank")
    print_scores(
        {"concepts": {"ring [red]": {**dict.fromkeys(keys, pair), "photos": 2}}}
        | dict.fromkeys(("known_accuracy", "known_accuracy_joint"), pair)
    )
    assert "ring [red]" in capsys.readouterr().out


def test_help_names_every_setting_with_its_meaning(molyneux):
    text = " ".join(molyneux("teach", "--help-all").out.split())
    assert "--inversion.steps" in text
    assert "--teaching.update.part" in text
    assert "Adam's step size." in text


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from molyneux.cli.main import run; run(sys.argv[1:]); "
        "heavy = {'torch', 'numpy', 'PIL'} & set(sys.modules); sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    for arguments in (["--help"], ["teach", "--help"], ["--version"]):
        ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False)
        assert ended.returncode == 0, ended.stderr


def test_the_command_exits_as_it_should():
    assert in_a_process("--version").stdout.strip() == "0.1.0"
    ended = in_a_process("teach", "", "--description", "A band.", "--out", "nowhere")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("molyneux: error: the concept's name is empty")
    assert ended.stderr.count("\n") == 1


def test_the_demo_takes_a_fresh_folder_each_time(tmp_path):
    from molyneux.files import fresh

    assert fresh(tmp_path / "demo") == tmp_path / "demo"
    for name in ("demo", "demo-2"):
        (tmp_path / name).mkdir()
    assert fresh(tmp_path / "demo") == tmp_path / "demo-3"


def test_the_demo_ends_with_photos_and_says_that_they_are_no_measure(molyneux, tmp_path, monkeypatch):
    from helpers.small_models import ConvModel

    monkeypatch.setattr("molyneux.pipeline.teach_run.load", lambda name, **_: ConvModel(name=str(name)))
    monkeypatch.setattr("molyneux.pipeline.teach_run.replay_images", lambda *_, **__: replay)
    replay = tuple(noise_images(Concept(f"thing {seed}", "a thing."), 1, 16, seed) for seed in range(8))
    ended = molyneux("demo", "--runs", tmp_path / "runs", "--no-controls", "--quiet")
    assert ended.code == 0
    run = tmp_path / "runs" / "demo"
    assert "5 photos are no measure" in ended.out
    assert "danielbuechele on Flickr, CC BY 2.0" in ended.out
    assert ended.out.splitlines()[-1] == f"next: molyneux recognise PHOTO --model {run / 'model'} --base mini"
    scores, shown = (json.loads((run / name).read_text()) for name in ("scores.json", "shown.json"))
    assert scores["concepts"]["pagoda"]["photos"] == 0
    assert [one["shows"] for one in shown["photos"]] == ["pagoda", None, None, None, None]
    assert all(one["credit"] for one in shown["photos"])
    report = (run / "report.html").read_text()
    assert "In the photo below, its name" in report
    assert "not computed" not in report
    assert report.count("made smaller") == 1


def test_the_configuration_of_a_run_makes_the_same_run(molyneux, tmp_path, photos):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert molyneux("teach", *RING, "--out", first, *scoring(photos), "--seed=3", "--no-controls").code == 0
    config = first / "config.yaml"
    assert molyneux("teach", "--config", config, "--out", second, "--quiet").code == 0
    assert (second / "config.yaml").read_text() == config.read_text()
    assert (second / "scores.json").read_text() == (first / "scores.json").read_text()
    flags = ("--seed=4", "--teaching.steps=5", "--description=Two bars.")
    assert molyneux("teach", "cross", "--config", config, "--out", third, *flags, "--quiet").code == 0
    old, new = (yaml.safe_load((out / "config.yaml").read_text()) for out in (first, third))
    assert new["concepts"] == [{"name": "cross", "descriptions": ["Two bars."]}]
    assert (new["seed"], new["teaching"].pop("steps"), old["teaching"].pop("steps")) == (4, 5, 4)
    assert (new["teaching"], new["evaluation"]) == (old["teaching"], old["evaluation"])
    (tmp_path / "no.yaml").write_text("a: 1")
    check_refused(molyneux("teach", "--config", tmp_path / "no.yaml", "--out", tmp_path / "x"), "no.yaml")


def test_words_alone_record_no_settings_of_inversion(molyneux, tmp_path, monkeypatch):
    use_few_classes(monkeypatch)
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert molyneux("teach", *RING[:6], "--out", first).code == 0
    config = first / "config.yaml"
    assert yaml.safe_load(config.read_text())["inversion"] is None
    assert molyneux("teach", "--config", config, "--out", second, "--quiet").code == 0
    assert (second / "config.yaml").read_text() == config.read_text()
    images = ("--images-from=inversion", "--inversion.images=2", "--inversion.steps=4")
    assert molyneux("teach", "--config", config, *images, "--out", third, "--quiet").code == 0
    assert yaml.safe_load((third / "config.yaml").read_text())["inversion"]["steps"] == 4


def test_a_configuration_that_was_changed_in_its_run_is_refused(molyneux, tmp_path, photos):
    out, copy = tmp_path / "out", tmp_path / "copy.yaml"
    assert molyneux("teach", *RING, "--out", out, *scoring(photos), "--no-controls").code == 0
    config = out / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
    ended = molyneux("teach", "--config", config, "--out", tmp_path / "again", "--quiet")
    check_refused(ended, "config.yaml is not what was saved", "edit a copy outside of the run's folder")
    copy.write_text(config.read_text())
    assert molyneux("teach", "--config", copy, "--out", tmp_path / "again", "--quiet").code == 0


def test_a_description_that_holds_the_name_is_warned_of(molyneux, tmp_path):
    words = ("ring", "--description", "A ring of gold.", "--model=tiny")
    ended = molyneux("teach", *words, "--out", tmp_path / "run", "--names", tmp_path / "none.txt")
    assert ended.err.startswith("molyneux: warning: a description of 'ring' says 'ring'")
    assert "molyneux: warning" not in molyneux("teach", *RING, "--out", tmp_path / "run", "--names=none.txt").err


def test_lists_never_cut_off_what_one_must_type(molyneux, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = molyneux("list", "models").out
    for family in FAMILIES:
        assert family.loader in out
    assert all(len(line) <= 80 or len(line.split()) <= 2 for line in out.splitlines())
    assert "…" not in out


def test_a_shell_completes_verbs_and_flags(molyneux):
    for shell in ("bash", "zsh", "fish"):
        script = molyneux("completion", shell).out
        assert "recognise" in script
        assert "images-from" in script
