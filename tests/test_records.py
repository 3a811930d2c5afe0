"""Every field of every file of results is known: without it, or with another value in its place, the file is refused or
the page shows it.

The files are those that small runs of the product wrote.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from helpers.noise import noise_photo
from helpers.runs import CROSS, RING, settings_for, use_tiny, write_photos
from helpers.small_captioner import build_letters
from helpers.small_models import ConvModel, load_tiny
from helpers.small_sam import tiny_sam
from molyneux.datasets.captioned import read_captioned
from molyneux.errors import DataError, OutputError
from molyneux.pipeline.teach_run import read_scores, teach_concepts
from molyneux.records import Classes, Environment, ImagesRecord, Predictions, TeachResult, read_record, write_record
from molyneux.report import write_report
from molyneux.runs.folder import MARKER, check_out
from molyneux.tasks.captioning.config import CaptioningConfig
from molyneux.tasks.captioning.page import write_caption_report
from molyneux.tasks.captioning.run import CaptionSettings, caption_folder
from molyneux.tasks.localisation.config import SaliencyConfig
from molyneux.tasks.localisation.page import draw_gallery
from molyneux.tasks.localisation.run import LocaliseSettings, localise_set
from molyneux.tasks.retrieval.scores import Retrieval, retrieve
from molyneux.teaching.config import TeachingConfig

UNBOUNDED = {"change", "similarity", "top", "margin", "plain", "augmented", "mean", "interval", "energy_ratio", "score"}
"""Fields below which a number may have any value."""

Draw = Callable[[Path], Path]
Place = tuple[str | int, ...]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Draw]]:
    """A folder of each kind of run, with what draws its page."""
    root = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny(patch, root / "cache")
        photos = write_photos(root / "photos")
        names = str(photos / "names.txt")
        few = TeachingConfig(loss="bank", steps=2, replay_batch=2)
        found: dict[str, tuple[Path, Draw]] = {}
        for settings in (
            settings_for(root / "teach", photos, concepts=(RING, CROSS)),
            settings_for(root / "edit", photos, teaching=TeachingConfig(), drawn=True),
            settings_for(root / "text", None, teaching=few, names=names),
        ):
            teach_concepts(settings, command=("molyneux", "teach"))
            found[settings.out.name] = (settings.out, write_report)
        patch.setattr("molyneux.tasks.captioning.run.load", lambda name, **_: build_letters(seed=len(name)))
        given = caption_settings(root)
        caption_folder(given)
        caption_folder(replace(given, references=None, out=root / "said"))
        found |= {name: (root / name, write_caption_report) for name in ("captions", "said")}
        patch.setattr("molyneux.tasks.localisation.run.load", lambda name, **_: ConvModel(seed=len(name), name=name))
        patch.setattr("molyneux.tasks.localisation.run.load_segmenter", lambda *_: tiny_sam())
        for name, sam in (("localised", None), ("masked", "sam")):
            localise_set(localise_settings(root, root / name, sam))
            found[name] = (root / name, draw_gallery)
    return found


def caption_settings(root: Path) -> CaptionSettings:
    lines = ["image,caption"]
    (root / "images").mkdir(exist_ok=True)
    for index in range(3):
        noise_photo((20, 24), 50.0 * index + 9, seed=index).save(root / "images" / f"{index}.png")
        lines += [f"{index}.png,cb there", f"{index}.png,acccc b"]
    (root / "captions.csv").write_text("\n".join(lines) + "\n")
    return CaptionSettings(
        model="speaker",
        base="other",
        controls={"shuffled": "letters"},
        images=root / "images",
        references=root / "captions.csv",
        captioning=CaptioningConfig(longest=8),
        java=False,
        out=root / "captions",
    )


def localise_settings(root: Path, out: Path, sam: str | None) -> LocaliseSettings:
    pixels = np.zeros((24, 32), dtype=np.uint8)
    pixels[4:12, 6:20] = 255
    for folder in ("images", "masks"):
        (root / "marked" / folder).mkdir(parents=True, exist_ok=True)
        for index in range(2):
            Image.fromarray(np.roll(pixels, index)).save(root / "marked" / folder / f"{index}.png")
    return LocaliseSettings(
        model="tiny",
        base="base of it",
        controls={"noise": "noise"},
        images=root / "marked",
        texts=("a ring",),
        saliency=SaliencyConfig(steps=1, draws=1),
        sam=sam,
        out=out,
    )


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every key and every item; of a long list its ends and its middle."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield (*place, key)
            yield from places(part, (*place, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) // 2, len(value) - 1} if value else set()):
            yield (*place, index)
            yield from places(value[index], (*place, index))


def at(content: Any, place: Place) -> Any:
    for part in place:
        content = content[part]
    return content


def mutations(content: Any) -> Iterator[tuple[str, Any]]:
    """What was done, and the content with that done to it."""
    for place in places(content):
        name, value = ".".join(map(str, place)), at(content, place)
        others: list[Any] = [3 if isinstance(value, str) else [] if value is None else "other"]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and not UNBOUNDED & set(place):
            others.append(-(10**9))
        for other in others:
            changed = deepcopy(content)
            at(changed, place[:-1])[place[-1]] = other
            yield f"{name} = {other!r}", changed
        if isinstance(place[-1], str):
            changed = deepcopy(content)
            del at(changed, place[:-1])[place[-1]]
            yield f"no {name}", changed
        if isinstance(value, dict):
            changed = deepcopy(content)
            at(changed, place)["unheard of"] = ["x"]
            yield f"more in {name}", changed


FILES = [
    *((kind, "scores.json") for kind in ("teach", "edit", "text", "captions", "said", "localised", "masked")),
    ("edit", "config.yaml"),
    ("teach", "environment.json"),
    ("teach", "predictions.json"),
    ("teach", "classes.json"),
    ("teach", "synthetic/ring/images.json"),
    *((kind, "captions.json") for kind in ("captions", "said")),
    ("masked", "gallery/gallery.json"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), FILES)
def test_no_field_can_be_lost_or_changed_unnoticed(
    written: dict[str, tuple[Path, Draw]], kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if yaml.__with_libyaml__:  # the same in a tenth of the time
        monkeypatch.setattr(
            "molyneux.records.read_yaml", lambda path, *_, **__: yaml.load(path.read_text(), yaml.CSafeLoader)
        )
    folder = tmp_path / kind
    shutil.copytree(written[kind][0], folder, ignore=shutil.ignore_patterns("model", "*.safetensors", "digests.json"))
    draw, path = written[kind][1], folder / name
    page = draw(folder).read_bytes()
    quick = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper
    parsed, dumped = (
        (yaml.safe_load, partial(yaml.dump, Dumper=quick)) if path.suffix == ".yaml" else (json.loads, json.dumps)
    )
    content = parsed(path.read_text())
    unnoticed = []
    for what, changed in mutations(content):
        path.write_text(dumped(changed))
        try:
            if draw(folder).read_bytes() == page and not (name == "config.yaml" and refused(folder, content)):
                unnoticed.append(what)
        except DataError as error:
            if name not in str(error) or "\n" in str(error):
                unnoticed.append(f"{what}: {error}")
    assert unnoticed == []


def refused(folder: Path, settings: Any) -> bool:
    """Whether an unfinished run is not continued because its settings were changed."""
    (folder / MARKER).write_text("{}")
    try:
        check_out(folder, settings)
    except OutputError:
        return True
    return False


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TeachResult, "scores.json"),
        (Environment, "environment.json"),
        (Predictions, "predictions.json"),
        (Classes, "classes.json"),
        (ImagesRecord, "synthetic/ring/images.json"),
    ],
)
def test_what_is_read_is_written_again_to_the_byte(
    written: dict[str, tuple[Path, Draw]], kind: Any, name: str, tmp_path: Path
) -> None:
    path = written["teach"][0] / name
    write_record(tmp_path / "again.json", read_record(kind, path))
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_a_retrieval_is_read_as_it_is_printed_and_no_field_of_it_can_be_lost(
    written: dict[str, tuple[Path, Draw]], tmp_path: Path
) -> None:
    photos = read_captioned(written["captions"][0].parent / "captions.csv")
    base = ConvModel(seed=3, name="base")
    found = retrieve(load_tiny("tiny"), photos, base=base, controls={"noise": base})
    path = tmp_path / "retrieval.json"
    write_record(path, found)
    assert read_record(Retrieval, path) == found
    unnoticed = []
    for what, changed in mutations(found.as_dict()):
        path.write_text(json.dumps(changed))
        try:
            read_record(Retrieval, path)
        except DataError:
            continue
        # which cut-offs and controls there are is free
        if not what.endswith((".1", ".5", ".10", "no controls.noise")):
            unnoticed.append(what)
    assert unnoticed == []


def test_scores_are_read_with_the_model_as_a_path_from_here(written: dict[str, tuple[Path, Draw]]) -> None:
    folder = written["teach"][0]
    assert read_scores(folder).model == str(folder / "model")


def test_a_file_that_is_not_there_or_no_text_is_one_clear_line(tmp_path: Path) -> None:
    for name, content in (("none.json", None), ("bytes.json", b"\xff\xfe"), ("deep.json", b"[" * 100_000)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_record(TeachResult, tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
