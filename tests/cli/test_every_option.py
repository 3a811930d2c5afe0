"""Every option of every verb that computes reaches what it is for: with another value the numbers change, or it is
refused. What merely repeats the options (protocol, settings) does not count as a change."""

import contextlib
import io
import json
import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from helpers.noise import noise_photo
from helpers.runs import use_tiny, write_photos
from helpers.scan_files import write_dicom, write_nifti
from helpers.small_captioner import build_letters
from helpers.small_models import ConvModel, load_tiny
from helpers.small_sam import tiny_sam
from helpers.small_writer import save_language_model
from helpers.tiny_sdxl import tiny_sdxl
from molyneux.backends.load import load
from molyneux.cli import main
from molyneux.datasets.toy import draw_shapes, write_folder

pytestmark = pytest.mark.slow

Flags = dict[str, Any]
"""Flag to value; True for a flag without one, False to leave a flag of the base out."""

ECHOES = {
    "protocol",
    "config.yaml",
    "environment.json",
    "report.html",
    "seconds",
    "command",
    "seed",
    "descriptions",
    "source_descriptions",
    "inversion",
    "origin",
}
"""What repeats the options, or tells the time."""


@dataclass(frozen=True)
class Case:
    """An option, what it is set to, and what else must be given for it to matter."""

    value: Any
    given: Flags = field(default_factory=dict)


def run(verb: str, flags: Flags, out: Path | None) -> str:
    """A digest of all that a command computes, or its refusal."""
    shutil.rmtree(out, ignore_errors=True) if out is not None else None
    arguments = [verb]
    for flag, value in flags.items():
        for one in value if isinstance(value, list) else [value]:
            if one is False:
                continue
            arguments += [flag] if flag.startswith("-") else []
            arguments += [] if one is True else one.split(" // ") if isinstance(one, str) else [str(one)]
    arguments += [] if out is None else ["--out", str(out)]
    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = main.run(arguments)
    if code:
        return f"refused: {said.getvalue()}"
    digest = sha256()
    if "--json" in flags:
        digest.update(json.dumps(without_echoes(json.loads(printed.getvalue()))).encode())
    for path in sorted(out.rglob("*")) if out is not None and out.is_dir() else [out] if out is not None else []:
        if path.is_dir() or path.name in ECHOES or path.name.startswith("."):
            continue
        content = path.read_bytes()
        if path.suffix == ".json" and "model" not in path.parts:
            content = json.dumps(without_echoes(json.loads(content))).encode()
        elif path.suffix in (".yaml", ".yml"):
            content = json.dumps(yaml.safe_load(content)).encode()
        digest.update(path.name.encode() + sha256(content).digest())
    return digest.hexdigest()


def without_echoes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_echoes(part) for key, part in value.items() if key not in ECHOES}
    return [without_echoes(part) for part in value] if isinstance(value, list) else value


def scene(root: Path) -> None:
    """All files that the commands below name, in the current folder."""
    write_photos(root)
    write_folder(root / "novel2", {kind: draw_shapes(kind, 3, 24, seed=5) for kind in ("ring", "cross")})
    write_folder(root / "known2", {kind: draw_shapes(kind, 4, 24, seed=6) for kind in ("circle", "square")})
    write_folder(root / "taught", {"ring": draw_shapes("ring", 3, 24, seed=7)})
    write_folder(root / "wnids", {one: draw_shapes(one, 3, 24, seed=8) for one in ("circle", "square", "ring")})
    for kind, wnid in (("circle", "n02012849"), ("square", "n03126707"), ("ring", "n01440764")):
        (root / "wnids" / kind).rename(root / "wnids" / wnid)
    missiles = {"n03773504": draw_shapes("ring", 3, 24, seed=9), "n04008634": draw_shapes("cross", 3, 24, seed=9)}
    write_folder(root / "missiles", missiles)
    chance = torch.Generator().manual_seed(0)
    for index in range(3):
        values = torch.randint(0, 4000, (2, 30, 30), generator=chance).numpy()
        write_dicom(root / "scans" / "circle" / f"{index}.dcm", values[0])
        write_dicom(root / "ringscans" / "ring" / f"{index}.dcm", values[1] // 3)
        volume = torch.randn(30, 30, 4, generator=chance).numpy() * 900
        write_nifti(root / "ringscans" / "ring" / f"{index}.nii", volume)
        write_nifti(root / "scans" / "square" / f"{index}.nii", torch.randn(30, 30, 4, generator=chance).numpy() * 900)
    (root / "names2.txt").write_text("circle\nsquare\ntriangle\nheart\n")
    (root / "templates.txt").write_text("a drawing of a {}.\nthe {}.\n{} again.\n")
    (root / "long.txt").write_text("a " + "very " * 90 + "plain {}\n")
    (root / "concepts.yaml").write_text("ring: A flat band.\n")
    shapes = ("circle", "square", "triangle", "ring", "cross")
    described = {name: [f"{name} is a plain form.", f"a {name} has edges."] for name in shapes}
    (root / "described.json").write_text(json.dumps(described))
    (root / "pools.json").write_text(
        json.dumps(
            {name: {"what": [f"a {name}", f"one {name} here"], "where": ["", "left", "above"]} for name in described}
        )
    )
    (root / "captions" / "images").mkdir(parents=True)
    rows = ["image,caption"]
    for index in range(8):
        noise_photo((20, 24), 20 + 9 * index, seed=index).save(root / "captions" / "images" / f"{index}.png")
        rows += [f"{index}.png,abc{index}", f"{index}.png,noise{index} ab"]
    (root / "captions" / "captions.csv").write_text("\n".join(rows) + "\n")
    listed = [
        {
            "filename": f"{index}.png",
            "split": "test" if index < 5 else "val",
            "sentences": [{"raw": f"abc{index} of it"}, {"raw": f"noise{index}"}],
        }
        for index in range(8)
    ]
    (root / "dataset_x.json").write_text(json.dumps({"images": listed}))
    shutil.copytree(root / "captions" / "images", root / "images2")
    for path in (root / "images2").iterdir():
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    shutil.copytree(root / "captions", root / "long")
    (root / "long" / "captions.csv").write_text(
        rows[0] + "\n" + "\n".join(f"{row} " + "very " * 90 for row in rows[1:])
    )
    for kind in ("marked", "marked2"):
        for part in ("images", "masks"):
            (root / kind / part).mkdir(parents=True)
        for index in range(3):
            mask = Image.new("L", (32, 24))
            for corner in ((2 + 4 * index, 3), (20, 14)):
                mask.paste(255, (*corner, corner[0] + 9, corner[1] + 7))
            mask.save(root / kind / "masks" / f"{index}.png")
            noise = noise_photo((32, 24), 50, seed=index)
            noise.paste((250, 60 * index, 30 if kind == "marked" else 200), (5, 5, 18, 16))
            noise.save(root / kind / "images" / f"{index}.png")
    coco = {
        "images": [{"id": index, "file_name": f"{index}.png", "width": 32, "height": 24} for index in range(3)],
        "categories": [{"id": 1, "name": "block"}, {"id": 2, "name": "spot"}],
        "annotations": [
            {"image_id": index, "category_id": 1 + index % 2, "segmentation": [[1, 1, 9 + index, 1, 9, 9, 1, 9]]}
            for index in range(3)
        ],
    }
    (root / "coco").mkdir()
    shutil.copytree(root / "marked" / "images", root / "coco" / "images")
    (root / "coco" / "annotations.json").write_text(json.dumps(coco))
    (root / "prompt.txt").write_text("say a round band <class name> say a band")
    (root / "many.txt").write_text("".join(f"{one}{two}\n" for one in "abcdef" for two in "xyz"))
    save_language_model(root / "writer")
    save_language_model(root / "writer2", "{% for m in messages %}say {{ m.content }}{% endfor %}")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tiny_sdxl().save_pretrained(root / "sdxl")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scene")
    letters = {"letters": build_letters(seed=1), "speaker": build_letters(seed=8)}

    def named(name: str | Path, **running: Any) -> Any:
        if str(name) in letters:
            return letters[str(name)]
        if str(name) == "base":
            return ConvModel(seed=3, name="base")
        tiny = str(name) == "tiny" or (Path(name) / "tiny.json").is_file()
        return load_tiny(name, **running) if tiny else load(str(name), **running)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # what the tests before drew changes nothing
            scene(root)
        use_tiny(patch, root / "cache")
        for module in (
            "pipeline.teach_run", "pipeline.invert_run", "tasks.classification.run", "tasks.retrieval.run",
            "tasks.captioning.run", "tasks.localisation.run",
        ):  # fmt: skip
            patch.setattr(f"molyneux.{module}.load", named)
        patch.setattr("molyneux.tasks.localisation.run.load_segmenter", lambda *_: tiny_sam())
        yield root


LONG = {"--description": "A ring that is " + "very " * 90 + "round.", "--model": "tiny:clip"}
RUNNING = {
    "--device": Case("abacus", {"--model": "tiny:clip"}),
    "--precision": Case("bf16", {"--model": "tiny:clip"}),
}
SCANS = {"--known": "scans", "--novel": "ringscans"}
WINDOWS = {
    "--window-center": Case("100", SCANS | {"--window-center": "900", "--window-width": "700"}),
    "--window-width": Case("90", SCANS | {"--window-center": "900", "--window-width": "700"}),
    "--slice": Case("0", SCANS),
}
PIXELS = {"--inversion.canvas": "pixels"}
INVERSION = {
    "--inversion-preset": Case("paper", {"--inversion.steps": "3"}),
    "--inversion.images": Case("3"),
    "--inversion.steps": Case("7"),
    "--inversion.size": Case("20"),
    "--inversion.view": Case("18"),
    "--inversion.canvas": Case("pixels"),
    "--inversion.start": Case("normal", PIXELS),
    "--inversion.falloff": Case("0.9"),
    "--inversion.color": Case("rgb"),
    "--inversion.learning-rate": Case("0.3"),
    "--inversion.schedule": Case("constant"),
    "--inversion.growth": Case("0 // 8 // 0.5 // 16", PIXELS),
    "--inversion.joint": Case("0"),
    "--inversion.descriptions": Case("turns", {"--description": ["A round band.", "Two bars that meet."]}),
    "--inversion.similarity": Case("distance"),
    "--inversion.affine-probability": Case("0"),
    "--inversion.rotation": Case("3"),
    "--inversion.translation": Case("0.4"),
    "--inversion.shift": Case("view"),
    "--inversion.scale": Case("0.9 // 1.1"),
    "--inversion.color-shift": Case("0.5"),
    "--inversion.noise": Case("0.5"),
    "--inversion.total-variation": Case("2"),
    "--inversion.variation-norm": Case("frobenius", {"--inversion.total-variation": "2"}),
    "--inversion.batch-norm": Case("3"),
    "--inversion.gradient-clip": Case("0.001"),
    "--inversion.block": Case("2", {"--images-from": "hidden"}),
    "--inversion.statistics": Case("5", {"--images-from": "hidden"}),
    "--inversion.trace-every": Case("2"),
}
LOW_RANK = {
    "--model": "tiny:clip",
    "--teaching.loss": "anchors",
    "--teaching.update.rank": "2",
    "--teaching.learning-rate": "0.02",
}
TOWER = {"--teaching.loss": "anchors"}
COCA = {"--model": "tiny:coca", "--teaching.loss": "captioning"}
VILT = {
    "--model": "tiny:vilt",
    "--novel": False,
    "--known": False,
    "--names": False,
}
EDIT = {
    "--teaching.loss": "edit",
    "--names": False,
    "--known": False,
    "--novel": False,
    "--images-from": "inversion",
    "--teaching.steps": False,
    "--teaching.learning-rate": False,
    "--teaching.replay-batch": False,
}
REPLAY = {"--teaching.replay-batch": "2"}
MANY = {"--names": "many.txt"}
SDXL = {"--images-from": "sdxl:sdxl", "--generation.images": "2", "--generation.steps": "2"}

BASES: dict[str, Flags] = {
    "teach": {
        "ring": "ring", "--description": "A round band of one colour with a hole.", "--model": "tiny", "--quiet": True,
        "--inversion.images": "2", "--inversion.steps": "6", "--inversion.trace-every": "3", "--teaching.steps": "4",
        "--teaching.loss": "bank", "--teaching.learning-rate": "0.01", "--teaching.replay-batch": "0",
        "--novel": "novel", "--known": "known", "--names": "names.txt",
        "--no-controls": True,
    },
    "invert": {
        "ring": "ring", "--description": "A round band of one colour with a hole.", "--model": "tiny", "--quiet": True,
        "--inversion.images": "2", "--inversion.steps": "6", "--inversion.trace-every": "3",
    },
    "evaluate": {
        "--model": "tiny", "--novel": "novel", "--known": "known", "--names": "names.txt", "--json": True,
        "--quiet": True, "--predictions": True,
    },
    "retrieve": {"--model": "tiny", "--data": "captions", "--json": True, "--quiet": True},
    "localise": {
        "--model": "tiny", "--images": "marked", "--text": "a block", "--saliency.steps": "2", "--saliency.draws": "2",
        "--quiet": True, "--json": True,
    },
    "caption": {
        "--model": "letters", "--images": "captions/images", "--captioning.longest": "10",
        "--captioning.shortest": "4", "--quiet": True, "--json": True,
        "--no-java": True,
    },
    "describe": {"cup": "cup", "--model": "writer", "--longest": "40", "--quiet": True, "--json": True},
}  # fmt: skip

CASES: dict[str, dict[str, Case]] = {
    "teach": {
        "NAME": Case("cross", {"--novel": False}),
        "--description": Case("Two bars that meet."),
        "--concepts": Case("concepts.yaml"),
        "--model": Case("base", {"--novel": False, "--no-controls": False}),
        "--seed": Case("1"),
        "--novel": Case("novel2"),
        "--known": Case("known2"),
        "--names": Case("names2.txt"),
        "--images-from": Case("taught"),
        "--control": Case("noise"),
        "--controls": Case(True),
        "--fresh": Case(True, {"--novel": False, "--known": False, "--names": False}),
        "--adapter-only": Case(True, LOW_RANK),
        "--config": Case("config.yaml"),
        "--show": Case("taught"),
        "--class-names": Case("wordnet", {"--known": "wnids", "--names": False}),
        "--templates": Case("templates.txt"),
        "--ensemble": Case("max", {"--templates": "templates.txt"}),
        "--long-text": Case("truncate", LONG),
        "--generation.images": Case("3", SDXL),
        "--generation.steps": Case("3", SDXL),
        "--generation.guidance": Case("1.5", SDXL),
        "--generation.size": Case("16", SDXL),
        "--teaching-preset": Case(
            "paper", {"--teaching.loss": "bank", "--teaching.learning-rate": False, "--teaching.steps": "2"}
        ),
        "--teaching.loss": Case("anchors"),
        "--teaching.update.part": Case("projection"),
        "--teaching.update.blocks": Case("2", {"--teaching.update.part": "blocks"}),
        "--teaching.update.rank": Case("3", LOW_RANK),
        "--teaching.update.alpha": Case("90", LOW_RANK),
        "--teaching.update.dropout": Case("0.5", LOW_RANK),
        "--teaching.update.targets": Case("fc1", LOW_RANK),
        "--teaching.learning-rate": Case("0.1"),
        "--teaching.steps": Case("5"),
        "--teaching.epochs": Case("2", {"--teaching.steps": "0"}),
        "--teaching.batch": Case("3"),
        "--teaching.temperature": Case("1"),
        "--teaching.weight-decay": Case("5", TOWER),
        "--teaching.decay": Case("start", TOWER | {"--teaching.weight-decay": "5"}),
        "--teaching.betas": Case("0.5 // 0.6", TOWER),
        "--teaching.eps": Case("1"),
        "--teaching.texts": Case("definition"),
        "--teaching.contrastive": Case("symmetric", COCA),
        "--teaching.contrastive-weight": Case("3", COCA),
        "--teaching.caption-weight": Case("3", COCA),
        "--teaching.caption-sum": Case(True, COCA),
        "--teaching.caption-templates": Case("coco", COCA),
        "--teaching.decoder": Case(True, COCA),
        "--teaching.negatives": Case("1", VILT | {"--teaching.loss": "matching"}),
        "--teaching.masked": Case("0.9", VILT | {"--teaching.loss": "masked"}),
        "--teaching.replay-batch": Case("3", REPLAY),
        "--teaching.bank-batch": Case("3", {"--model": "tiny:clip", "--teaching.update.part": "text"}),
        "--teaching.replay-weight": Case("90", REPLAY),
        "--teaching.strength": Case("0.3"),
        **{
            f"--teaching.edit.{name}": Case("0.9", EDIT)
            for name in (
                "width", "ridge", "name-view", "description", "name", "images", "key-shrinkage", "value-shrinkage",
                "price", "stand-in-name", "strength",
            )
        },
        "--teaching.edit.key-images": Case("0.9", EDIT),
        "--teaching.edit.forget-name": Case("0.4", EDIT),
        **INVERSION, **WINDOWS, **RUNNING,
    },
    "invert": {
        "NAME": Case("cross"),
        "--description": Case("Two bars that meet."),
        "--concepts": Case("concepts.yaml"),
        "--model": Case("tiny:clip"),
        "--seed": Case("1"),
        "--long-text": Case("truncate", LONG),
        **INVERSION, **RUNNING,
        "--inversion.block": Case("2"),
        "--inversion.statistics": Case("5"),
    },
    "evaluate": {
        "--model": Case("base"),
        "--base": Case("base"),
        "--novel": Case("novel2"),
        "--known": Case("known2"),
        "--names": Case("names2.txt"),
        "--per-class": Case(True),
        "--predictions": Case(True, {"--predictions": False}),
        "--class-names": Case("wordnet", {"--novel": "wnids", "--names": False, "--known": False}),
        "--same-names": Case("index", {"--known": "missiles", "--names": False}),
        "--templates": Case("templates.txt"),
        "--ensemble": Case("max", {"--templates": "templates.txt"}),
        "--descriptions": Case("described.json"),
        "--naming": Case("symmetric", {"--descriptions": "described.json"}),
        "--pools": Case("pools.json"),
        "--pool-prompts": Case("1", {"--pools": "pools.json"}),
        "--pool-seed": Case("4", {"--pools": "pools.json", "--pool-prompts": "1"}),
        "--long-text": Case("truncate", {"--templates": "long.txt", "--model": "tiny:clip"}),
        **WINDOWS, **RUNNING,
    },
    "retrieve": {
        "--model": Case("base"),
        "--data": Case("dataset_x.json", {"--images": "images2"}),
        "--images": Case("images2"),
        "--base": Case("base"),
        "--control": Case("--control.noise // base"),
        "--split": Case("val", {"--data": "dataset_x.json", "--images": "images2"}),
        "--rerank-with": Case("tiny:vilt"),
        "--top": Case("2", {"--rerank-with": "tiny:vilt"}),
        "--by-logit": Case(True, {"--model": "tiny:vilt"}),
        "--long-text": Case("truncate", {"--data": "long", "--model": "tiny:clip"}),
        **RUNNING,
    },
    "localise": {
        "--model": Case("base"),
        "--images": Case("marked2"),
        "--text": Case("a ring"),
        "--category": Case("spot", {"--images": "coco"}),
        "--base": Case("base"),
        "--control": Case("--control.noise // base"),
        "--sam": Case("sam"),
        "--limit": Case("1"),
        "--limit-seed": Case("7", {"--limit": "1"}),
        "--long-text": Case("truncate", {"--text": "a " + "very " * 90 + "far block", "--model": "tiny:clip"}),
        "--saliency-preset": Case("paper", {"--saliency.block": "1"}),
        "--saliency.beta": Case("9"),
        "--saliency.block": Case("2"),
        "--saliency.steps": Case("3"),
        "--saliency.draws": Case("3"),
        "--saliency.learning-rate": Case("0.1"),
        "--saliency.noise": Case("standard"),
        "--saliency.seed": Case("2"),
        "--masks.method": Case("otsu"),
        "--masks.level": Case("0.8", {"--masks.method": "threshold"}),
        "--masks.pieces": Case("0"),
        "--masks.ask": Case("points", {"--sam": "sam"}),
        "--masks.points": Case("3", {"--sam": "sam", "--masks.ask": "points"}),
        **RUNNING,
    },
    "caption": {
        "--model": Case("speaker"),
        "--images": Case("images2"),
        "--base": Case("speaker", {"--images": "captions/images", "--references": "captions"}),
        "--control": Case("--control.noise // speaker", {"--references": "captions"}),
        "--references": Case("captions"),
        "--split": Case("val", {"--references": "dataset_x.json"}),
        "--seed": Case("1", {"--captioning.method": "top_p"}),
        "--no-java": Case(True, {"--no-java": False, "--references": "captions"}),
        "--corenlp-dir": Case("nowhere"),
        "--samples": Case("-1", {"--references": "captions", "--base": "speaker"}),
        "--long-text": Case("nothing"),
        "--captioning.method": Case("greedy"),
        "--captioning.longest": Case("5", {"--captioning.shortest": "9"}),
        "--captioning.shortest": Case("6", {"--captioning.method": "greedy"}),
        "--captioning.beams": Case("1"),
        "--captioning.length-power": Case("3"),
        "--captioning.top-p": Case("0.01", {"--captioning.method": "top_p"}),
        "--captioning.temperature": Case("9", {"--captioning.method": "top_p"}),
        "--device": Case("abacus", {"--model": "tiny:coca"}),
        "--precision": Case("bf16", {"--model": "tiny:coca"}),
    },
    "describe": {
        "NAME": Case("bowl"),
        "--names": Case("many.txt"),

        "--model": Case("writer2", MANY),
        "--endpoint": Case("http://localhost:1/v1"),
        "--endpoint-model": Case("x"),
        "--prompt": Case("prompt.txt", MANY),
        "--attempts": Case("0"),
        "--longest": Case("3"),
        "--seed": Case("1"),
        "--device": Case("abacus"),
    },
}  # fmt: skip

ELSEWHERE = {
    "--out": "where results go",
    "--json": "how they are printed",
    "--quiet": "progress",
    "--verbose": "how much is printed",
    "--teaching.micro-batch": "the same gradients with less memory: tests/teaching/test_memory.py",
    "--executor": "the same pixels elsewhere: tests/images/test_ray.py",
    "describe --class-names": "tests/pipeline/test_describe.py",
    "--finished": "where finished rows are kept: tests/tasks/retrieval",
}


def options(verb: str) -> set[str]:
    """The names of all options that a verb has."""
    return {
        argument.name
        for argument in main.app[verb].assemble_argument_collection()
        if not argument.children and not {argument.name, f"{verb} {argument.name}"} & ELSEWHERE.keys()
    }


@pytest.mark.parametrize("verb", CASES)
def test_no_option_is_forgotten(verb):
    named = {flag.replace("no-", "", 1) for flag in CASES[verb]}
    missing = {flag for flag in options(verb) if flag not in named}
    assert not missing


@pytest.fixture(scope="module")
def known_results() -> dict[str, str]:
    return {}


@pytest.mark.parametrize(("verb", "flag"), [(verb, flag) for verb in CASES for flag in CASES[verb]])
def test_another_value_gives_another_result_or_is_refused(place, known_results, verb, flag):
    case = CASES[verb][flag]
    out = None
    if verb in ("teach", "invert", "localise", "describe"):
        out = Path("out.yaml" if verb == "describe" else "out")
    base = BASES[verb] | case.given
    changed = dict(base)
    if flag == "NAME":
        first = next(iter(base))
        changed = {case.value: case.value} | {key: value for key, value in base.items() if key != first}
    elif flag == "--control" and case.value.startswith("--"):
        changed[case.value] = True
        changed = {part: value for key, value in changed.items() for part, value in [(key, value)]}
        name, model = case.value.split(" // ")
        del changed[case.value]
        changed[name] = model
    elif flag == "--controls":
        changed |= {"--no-controls": False, flag: True}
    else:
        changed[flag] = case.value
    results = []
    for flags in (base, changed):
        key = json.dumps([verb, flags])
        if key not in known_results:
            if out is not None and out.is_file():
                out.unlink()
            known_results[key] = run(verb, flags, out)
        results.append(known_results[key])
    before, after = results
    assert before != after
    # a refusal of what is not this option would prove nothing
    if after.startswith("refused"):
        assert any(word in after for word in (flag, flag.strip("-"), *str(case.value).split(), "not both")), after
    else:
        assert not before.startswith("refused") or flag == "--long-text", before
