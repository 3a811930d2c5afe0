"""One file, whole and safe, from whatever a run folder holds."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import molyneux
from helpers.run_folder import result, scored, text_only
from molyneux.errors import DataError
from molyneux.files import slug
from molyneux.records import (
    Classes,
    ClassResult,
    ConceptResult,
    CountPair,
    IntervalPair,
    KeptPrediction,
    Opinion,
    Predictions,
    RankPair,
    SharePair,
    write_record,
)
from molyneux.report import write_report

HOSTILE = "<script>alert('a')</script>\"'&"
VOID = {"meta", "img", "input", "br"}
SECTIONS = (
    "The images",
    "How they came about",
    "Before and after",
    "Photo by photo",
    "What was done",
    "Please note",
)


class Page(HTMLParser):
    """Tags with their attributes, and the visible text; fails where tags do not nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.pieces))

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


MakeRun = Callable[..., Path]


def edited(folder: Path, name: str, edit: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    edit(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_whole_run_has_every_section(make_run: MakeRun) -> None:
    folder = make_run()
    path = write_report(folder)
    page = Page(path)
    assert path == folder / "report.html"
    assert all(title in page.text for title in SECTIONS)
    assert "the model now recognises it in 13 of 30 real photos (before: 0)" in page.text
    assert "13 of 30 · 27\u2060–\u206061 %" in page.text
    assert "the result’s 95 % interval" in page.text
    assert "0 of 30 ·" not in page.text, "an interval without width is not shown"
    assert page.count("img") == 10 + 6
    assert {"trace-chart", "change-chart", "time-chart"} <= {
        attrs.get("class") for tag, attrs in page.tags if tag == "svg"
    }
    assert "molyneux teach okapi" in page.text
    assert "not computed" not in page.text


def test_drawing_again_gives_the_same_bytes(make_run: MakeRun) -> None:
    folder = make_run()
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    assert not list(folder.glob(".report*"))


def test_the_file_asks_for_nothing_from_outside(make_run: MakeRun) -> None:
    path = write_report(make_run())
    text = path.read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text
    page = Page(path)
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert (attributes.get("src") or "data:").startswith("data:image/") or "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]


def test_every_page_begins_with_the_shared_head_which_lets_nothing_in() -> None:
    root = Path(molyneux.__file__).parent
    pages = [page for page in root.rglob("*.html") if page.parent.name != "app" and page.name != "base.html"]
    assert len(pages) >= 6
    assert [page for page in pages if '{% extends "report/base.html" %}' not in page.read_text(encoding="utf-8")] == []
    assert "default-src 'none'" in (root / "report" / "base.html").read_text(encoding="utf-8")


def test_whatever_a_user_writes_is_text_and_nothing_else(make_run: MakeRun) -> None:
    name = HOSTILE.replace("/", "")
    folder = make_run({name: [HOSTILE]}, with_predictions=False)
    lacking = {"before": None, "after": None, "reason": HOSTILE}
    seen = Opinion(top=((HOSTILE, 0.3),), rank=0, margin=0.1)
    photo = KeptPrediction(path=HOSTILE, concept=HOSTILE, before=seen, after=seen, thumbnail=None)
    write_record(folder / "predictions.json", Predictions({name: (photo,)}))
    edited(folder, "environment.json", lambda content: content["versions"].update({HOSTILE: HOSTILE}))
    edited(folder, "environment.json", lambda content: content["timings"].update({HOSTILE: 2.0}))
    edited(
        folder,
        "scores.json",
        lambda content: content["controls"].update({HOSTILE: content["controls"]["noise"]}),
    )
    edited(
        folder,
        "scores.json",
        lambda content: content.update({"known_accuracy": lacking}),
    )
    path = write_report(folder)
    assert "<script" not in path.read_text(encoding="utf-8")
    page = Page(path)
    assert page.text.count(HOSTILE) >= 6
    assert name in page.text


def test_several_concepts_have_a_summary_and_a_part_each(make_run: MakeRun) -> None:
    names = ["okapi", "octopus", "helicopter"]
    page = Page(write_report(make_run({name: [f"What a {name} looks like."] for name in names})))
    anchors = {attrs.get("href") for tag, attrs in page.tags if tag == "a"}
    identities = {f"#{attrs['id']}" for tag, attrs in page.tags if tag == "article"}
    assert anchors == identities
    assert len(anchors) == 3
    assert page.text.index("Concept by concept") < page.text.index("What a okapi looks like")
    assert "recognises them in 40 of 90 real photos (before: 1)" in page.text
    assert "molyneux teach okapi octopus helicopter" in page.text
    assert '"octopus": [ "What a octopus looks like." ]' in page.text


@pytest.mark.parametrize("missing", ["scores.json", "environment.json", "predictions.json", "synthetic"])
def test_a_missing_part_is_not_computed_and_the_rest_is_shown(make_run: MakeRun, missing: str) -> None:
    folder = make_run(with_predictions=missing != "predictions.json")
    if missing != "predictions.json":
        (folder / missing).rename(folder.parent / missing)
    page = Page(write_report(folder))
    assert "not computed" in page.text
    assert all(title in page.text for title in SECTIONS)


def test_a_missing_number_takes_its_reason_and_is_never_zero(make_run: MakeRun) -> None:
    why = "not computed: no known photos"
    nothing = ConceptResult(
        target_recall=SharePair(before=None, after=None, reason="not computed: no photos of it"),
        false_positive_rate=SharePair(before=None, after=None, reason=why),
        median_rank=RankPair(before=None, after=None, reason="not computed: no photos of it"),
        photos=0,
        target_recall_interval=IntervalPair(before=None, after=None),
        false_positives=CountPair(before=None, after=None, reason=why),
    )
    accuracy = SharePair(before=None, after=None, reason=why)
    scores = result(
        ["okapi"],
        known_accuracy=accuracy,
        known_accuracy_joint=accuracy,
        concepts={"okapi": nothing},
        controls={},
        text_only={"okapi": text_only()},
    )
    page_of = write_report(make_run(scores=scores, with_predictions=False))
    page = Page(page_of)
    first, seen = (
        page.text.index("moved from median rank 413 to 4"),
        page.text.index("was not computed: no photos of it."),
    )
    assert first < seen, "what was seen comes before what was not"
    assert "after the same teaching it has 91 on noise" in page.text
    assert "Controls, on fresh synthetic images" in page.text
    assert "Controls: not computed" not in page.text
    write_record(page_of.parent / "scores.json", scores.model_copy(update={"text_only": {}}))
    page = Page(write_report(page_of.parent))
    assert "0.0 %" not in page.text
    assert "not computed : no known photos" in page.text
    assert page.text.count("not computed") >= 6


def test_a_number_with_no_before_stands_alone(make_run: MakeRun) -> None:
    accuracy = SharePair(after=0.71)
    alone = {"base": None, "concepts": {"okapi": scored(None, 13)}}
    scores = result(["okapi"], known_accuracy=accuracy, known_accuracy_joint=accuracy, **alone)
    page = Page(write_report(make_run(scores=scores)))
    assert "in 13 of 30 real photos (before teaching: not measured)" in page.text


def test_a_control_run_says_so_first(make_run: MakeRun) -> None:
    page = Page(write_report(make_run(control="noise")))
    assert "This is a control run ( noise )" in page.text
    assert "Taught on noise, the model" in page.text
    assert "uniform random noise" in page.text
    assert "from words alone" not in page.text
    assert "--control noise" in page.text


def test_most_and_least_improved_photos_are_chosen_by_their_margin(make_run: MakeRun) -> None:
    folder = make_run()
    text = Page(write_report(folder)).text
    photos = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))["okapi"]
    ordered = sorted(photos, key=lambda photo: photo["after"]["margin"], reverse=True)
    best, worst = text.index("Most improved"), text.index("Least improved")
    for photo in ordered[:3]:
        assert best < text.index(photo["path"]) < worst
    for photo in ordered[-3:]:
        assert text.index(photo["path"]) > worst
    assert all(photo["path"] not in text for photo in ordered[3:-3])


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (2, 2), (5, 5), (6, 6), (9, 6)])
def test_no_photo_is_shown_twice(make_run: MakeRun, count: int, shown: int) -> None:
    def keep(content: dict[str, Any]) -> None:
        content["okapi"] = content["okapi"][:count]

    page = Page(write_report(edited(make_run(images=0), "predictions.json", keep)))
    assert page.count("img") == shown


def test_a_thumbnail_that_is_absent_broken_or_elsewhere_is_left_blank(make_run: MakeRun) -> None:
    folder = make_run(images=0)
    outside = folder.parent / "outside.png"
    (folder / "photos" / slug("okapi") / "00.jpg").rename(outside)
    (folder / "photos" / "broken.jpg").write_bytes(b"no image")

    def point(content: dict[str, Any]) -> None:
        content["okapi"] = content["okapi"][:3]
        for photo, place in zip(
            content["okapi"], ["../outside.png", "photos/none.jpg", "photos/broken.jpg"], strict=True
        ):
            photo["thumbnail"] = place

    page = Page(write_report(edited(folder, "predictions.json", point)))
    assert page.count("img") == 0
    assert page.text.count("photo not kept") == 3


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.yaml", None, "has no config.yaml"),
        ("config.yaml", "concepts: [\n", "expected"),
        ("config.yaml", "- a list\n", "expected an object"),
        ("config.yaml", "version: 1\n", "model: expected a value, got nothing"),
        ("scores.json", "{", "expected JSON"),
        ("scores.json", "[1, 2]", "expected an object, got [1, 2]"),
        ("environment.json", '{"version": 2}', "version: expected 1, got 2"),
        ("synthetic/okapi/00.png", "no image", "is no image that can be read"),
    ],
)
def test_a_folder_that_cannot_be_read_is_an_error_of_one_line(
    make_run: MakeRun, name: str, content: str | None, said: str
) -> None:
    folder = make_run()
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
    assert Path(name).name in str(caught.value)
    assert said in str(caught.value)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("value", ["x", True, 1.5, -0.1, float("nan"), [0.5], None])
def test_a_wrong_number_is_named_with_its_file_its_field_and_its_range(make_run: MakeRun, value: object) -> None:
    def damage(content: dict[str, Any]) -> None:
        content["concepts"]["okapi"]["target_recall"]["after"] = value

    with pytest.raises(DataError) as caught:
        write_report(edited(make_run(), "scores.json", damage))
    place = "scores.json: concepts.okapi.target_recall"
    expected = f".after: expected a number between 0 and 1, got {value!r}" if value is not None else ": expected either"
    assert f"{place}{expected}" in str(caught.value)


def test_scores_without_one_of_the_concepts_are_refused(make_run: MakeRun) -> None:
    with pytest.raises(DataError, match=r"scores\.json: concepts\.okapi: expected its numbers"):
        write_report(make_run(scores=result(["octopus"])))


def test_a_control_that_is_in_no_table_is_refused(make_run: MakeRun) -> None:
    with pytest.raises(DataError, match=r"config\.yaml: control: expected 'noise' or 'shuffled', got 'silence'"):
        write_report(make_run(control="silence"))


def test_a_source_that_is_in_no_table_is_refused(make_run: MakeRun) -> None:
    folder = make_run()
    edited(folder, "synthetic/okapi/images.json", lambda content: content.update(source="hearsay"))
    with pytest.raises(DataError, match=r"images\.json: source: expected 'inverted', .*, got 'hearsay'"):
        write_report(folder)


def test_weights_and_notes_of_the_run_are_shown(make_run: MakeRun) -> None:
    folder = make_run()
    edited(folder, "environment.json", lambda content: content.update(notes=["teach is made again: m"], model=None))
    text = Page(write_report(folder)).text
    assert "teach is made again: m." in text
    assert "sha256:0123" in text


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        write_report(tmp_path / "nowhere")


def test_a_report_is_drawn_without_torch() -> None:
    program = "import sys, molyneux.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("told_by", ["config.yaml", "scores.json"])
def test_a_run_scored_on_drawings_says_so_and_shows_no_real_photo(make_run: Callable[..., Path], told_by: str) -> None:
    folder = make_run()
    photos = Page(write_report(folder)).text
    assert "in 13 of 30 real photos" in photos
    assert "drawing" not in photos

    if told_by == "config.yaml":
        config = yaml.safe_load((folder / told_by).read_text())
        config["evaluation"]["drawn"] = True
        (folder / told_by).write_text(yaml.safe_dump(config))
    else:
        edited(folder, told_by, lambda content: content["protocol"].update(novel_images="drawings, not photos"))
    drawings = Page(write_report(folder)).text
    assert "the model now recognises it in 13 of 30 drawings (before: 0)" in drawings
    assert "Drawing by drawing" in drawings
    assert "share of its drawings whose best name is this one" in drawings
    assert "real photo" not in drawings
    assert "its photos" not in drawings


def test_known_classes_that_changed_most_are_shown_the_worst_first(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    assert "Known classes" not in Page(write_report(folder)).text
    classes = {
        f"class {index}": ClassResult(photos=20, accuracy=SharePair(before=0.5, after=0.05 * index))
        for index in range(20)
    }
    classes[HOSTILE] = ClassResult(photos=600, accuracy=SharePair(before=1.0, after=0.0))
    write_record(folder / "classes.json", Classes(classes))
    text = Page(write_report(folder)).text
    assert "21 known classes have photos here" in text
    shown = [name for name in classes if f"{name} 50.0" in text.replace("\xa0", " ")]
    assert shown == [f"class {index}" for index in (*range(4), *range(15, 20))]
    places = [text.index(name) for name in (HOSTILE, *shown)]
    assert places == sorted(places)
    assert "−100.0" in text
