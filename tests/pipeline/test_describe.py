"""Descriptions by a language model: checked for the name, added to a file that a person may edit."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.small_writer import save_language_model
from molyneux.concepts import read_concepts, read_descriptions
from molyneux.errors import ConceptError, ConfigError, DataError, ModelError
from molyneux.pipeline import describe as module
from molyneux.pipeline.describe import (
    DescribeSettings,
    add_description,
    describe,
    description_of,
    names_used,
    read_prompt,
)

PAPER = Path(__file__).resolve().parents[3] / "shared" / "paper" / "paper.txt"


class Writer:
    """Says what it is told, and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, prompt: str, seed: int) -> str:
        self.asked.append((prompt, seed))
        return self.answers.pop(0)


def test_the_prompt_is_the_papers():
    prompt = read_prompt()
    assert prompt.startswith("Generate a small description of the ImageNet class <class name> without using the word")
    if not PAPER.is_file():
        pytest.skip("the paper is not beside the project")
    assert f"“{prompt}”" in PAPER.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text", "used"),
    [
        ("moongate", "A round arch in a wall.", ()),
        ("moongate", "MOONGATE: an arch", ("MOONGATE",)),
        ("moongate", "the moongate's arch, two Moongates", ("moongate", "Moongates")),
        ("moongate", "moongatelike, a supermoongate, moongate_1", ()),
        ("tench", "tenches", ("tenches",)),
        ("butterfly", "Butterflies", ("Butterflies",)),
        ("knife", "knives", ("knives",)),
        ("scarf", "two scarves", ("scarves",)),
        ("great white shark", "a great\nwhite  shark; a white shark", ("great\nwhite  shark",)),
        ("okapi", "", ()),
        ("c++ (book)", "a C++ (book).", ("C++ (book)",)),
        ("Straße", "die STRASSE", ()),  # other letters
        ("façade", "a FAÇADE", ("FAÇADE",)),
    ],
)
def test_a_name_is_found_as_a_word_of_its_own_in_any_case_and_in_the_plural(name, text, used):
    assert names_used(name, text) == used


@settings(deadline=None)
@given(st.text(st.characters(categories=["L"]), min_size=1, max_size=8), st.text(max_size=30), st.text(max_size=30))
def test_a_name_with_space_around_it_never_goes_unseen(name, before, after):
    assert name in names_used(name, f"{before} {name} {after}")


def test_a_description_that_uses_the_name_is_asked_for_again(monkeypatch):
    writer = Writer("A ring.", "", '"A round  band\nwith a hole."')
    assert description_of("ring", writer, "Describe <class name>.", attempts=3, seed=4) == "A round band with a hole."
    assert {prompt for prompt, _ in writer.asked} == {"Describe ring."}
    assert len({seed for _, seed in writer.asked}) == 3
    again = Writer("A band.")
    description_of("ring", again, "Describe <class name>.", seed=4)
    assert again.asked[0] == writer.asked[0]
    with pytest.raises(ConceptError, match=r"none of 2 descriptions of 'ring'.*'Rings', 'ring', 'nothing at all'"):
        description_of("ring", Writer("Rings and a ring.", ""), "Describe <class name>.", attempts=2)


def test_a_refusal_is_no_description():
    prompt = "Describe <class name>."
    said = ("I'm sorry, but I can't help with that.", "I cannot describe it.", "As an AI, I have no eyes.", "Sorry!")
    assert description_of("girder", Writer(*said, "I-shaped steel."), prompt) == "I-shaped steel."
    with pytest.raises(ConceptError, match=r"refuses to describe 'ring' \('I’m unable to.*choose another model"):
        description_of("ring", Writer("I’m unable to.", "I do not know."), prompt, attempts=2)


def settings_for(out: Path, *names: str, **changed):
    return DescribeSettings(**({"out": out, "names": names, "model": "some-model"} | changed))


@pytest.fixture
def answers(monkeypatch):
    def use(*texts: str) -> Writer:
        writer = Writer(*texts)
        monkeypatch.setattr(module, "_writer", lambda _: writer)
        return writer

    return use


def test_what_stands_in_the_file_is_kept_with_its_comments_and_not_asked_for(tmp_path, answers):
    out = tmp_path / "concepts.yaml"
    first = answers("A round band.", "Two bars.")
    found = describe(settings_for(out, "ring", "cross"))
    assert (found.written, found.kept) == ({"ring": "A round band.", "cross": "Two bars."}, ())
    text = out.read_text()
    assert text.startswith("# Begun by some-model with the prompt of arXiv 2411.15611, C.1.")
    edited = text.replace("A round band.", "A band of gold.  # better so").replace(
        "Two bars.", "\n- Two bars.\n- A plus."
    )
    out.write_text(edited)
    second = answers("A dot: with 'quotes' and # a mark.")
    found = describe(settings_for(out, "Ring", "cross", "spot"))
    assert (list(found.written), found.kept) == (["spot"], ("Ring", "cross"))
    assert len(first.asked) == 2
    assert len(second.asked) == 1
    assert out.read_text().startswith(edited.rstrip("\n"))
    assert {one.name: one.descriptions for one in read_concepts(out)} == {
        "ring": ("A band of gold.",),
        "cross": ("Two bars.", "A plus."),
        "spot": ("A dot: with 'quotes' and # a mark.",),
    }
    answers()
    assert describe(settings_for(out, "spot")).kept == ("spot",)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("c.yaml", "{ring: A band., cross: [Two bars., A plus.]}\n"),
        ("c.yaml", "ring: A band.\ncross:\n  descriptions: [Two bars., A plus.]"),
        ("c.json", '{"ring": "A band.", "cross": ["Two bars.", "A plus."]}'),
        ("c.yaml", "ring: A band.\ncross: [Two bars., A plus.]\n..."),
    ],
)
def test_any_form_of_file_is_added_to(tmp_path, file, content):
    path = tmp_path / file
    path.write_text(content)
    add_description(path, "cup / mug: é", "- a bowl")
    assert read_descriptions(path) == {
        "ring": ("A band.",),
        "cross": ("Two bars.", "A plus."),
        "cup / mug: é": ("- a bowl",),
    }


def test_one_name_that_fails_does_not_keep_others_from_theirs(tmp_path, answers):
    out = tmp_path / "concepts.json"
    answers("A ring.", "A ring.", "Two bars.")
    with pytest.raises(ConceptError, match=r"none of 2 descriptions of 'ring'.*new in .*: 1"):
        describe(settings_for(out, "ring", "cross", attempts=2))
    assert read_descriptions(out) == {"cross": ("Two bars.",)}
    told = []
    answers("A band.")
    describe(settings_for(out, "ring", "cross"), on_step=lambda *step: told.append(step))
    assert told == [("descriptions", 1, 1)]


def test_names_come_from_a_list_too(tmp_path, answers):
    (tmp_path / "names.txt").write_text("cross\nRing\n")
    writer = answers("A band.", "Two bars.")
    describe(settings_for(tmp_path / "c.yaml", "ring", list_of_names=str(tmp_path / "names.txt")))
    assert len(writer.asked) == 2


def test_another_prompt_may_be_used(tmp_path, answers):
    path = tmp_path / "prompt.txt"
    path.write_text("How does a <class name> look?\n")
    writer = answers("Round.")
    describe(settings_for(tmp_path / "c.yaml", "ring", prompt=path))
    assert writer.asked[0][0] == "How does a ring look?"
    assert "a prompt of its user's" in (tmp_path / "c.yaml").read_text()
    path.write_text("How does it look?")
    with pytest.raises(ConfigError, match="no place for the name"):
        read_prompt(path)
    with pytest.raises(DataError, match="cannot read the prompt"):
        read_prompt(tmp_path / "nowhere")


def test_what_cannot_be_done_is_said_and_nothing_is_written(tmp_path):
    out = tmp_path / "c.yaml"
    with pytest.raises(ConfigError, match="give one of --model and --endpoint"):
        settings_for(out, "ring", model=None)
    with pytest.raises(ConfigError, match="go together"):
        settings_for(out, "ring", endpoint_model="m")
    with pytest.raises(ConfigError, match="--device is for a local model"):
        settings_for(out, "ring", model=None, endpoint="http://127.0.0.1:1", endpoint_model="m", device="cpu")
    with pytest.raises(ConfigError, match="attempts is 0"):
        settings_for(out, "ring", attempts=0)
    with pytest.raises(ConceptError, match="nothing to describe"):
        describe(settings_for(out))
    (tmp_path / "c.json").write_text('{"": "Round."}')
    with pytest.raises(ConceptError, match="a name is empty"):
        describe(settings_for(tmp_path / "c.json", "ring"))
    for name in (" ", "a\x00b", "x" * 101):
        with pytest.raises(ConceptError, match="cannot be used"):
            describe(settings_for(out, name))
    with pytest.raises(ModelError, match="no language model at some-model"):
        describe(settings_for(out, "ring"))
    assert not out.exists()


def test_a_real_language_model_fills_the_file(tmp_path):
    model = save_language_model(tmp_path / "model")
    out = tmp_path / "concepts.yaml"
    found = describe(settings_for(out, "okapi", model=str(model), longest=8))
    assert read_concepts(out)[0].descriptions == (found.written["okapi"],)


def test_what_no_concept_file_takes_is_asked_for_again():
    writer = Writer("A band. " * 2000, "<think>\nA ring, without saying so.\n</think>\n\nA round band.")
    assert description_of("ring", writer, "<class name>") == "A round band."
    assert len(writer.asked) == 2
    with pytest.raises(ConceptError, match="'too much'"):
        description_of("ring", Writer("A band. " * 2000), "<class name>", attempts=1)
