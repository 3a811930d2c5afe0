import re

import pytest
import yaml

import molyneux
from helpers.run_folder import result, write_run
from molyneux.backends.families import FAMILIES
from molyneux.cards import card, plain
from molyneux.citations import FAMILY_ENTRIES, MEANS_ENTRIES, METHOD, cite
from molyneux.records import ConceptTexts, Lineage, RunSettings, read_record
from molyneux.synthetic import noise_images

OKAPI = ConceptTexts(name="okapi", descriptions=("A striped <i>animal</i>.", "Brown | white."))


def lineage(**changed):
    return Lineage(**({"version": 1, "base": "mini", "family": "mini", "concepts": (OKAPI,)} | changed))


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_a_card_has_the_numbers_the_price_the_controls_and_the_citation(tmp_path):
    settings = read_record(RunSettings, write_run(tmp_path / "run") / "config.yaml")
    scores = result(["okapi"])
    text = card(lineage(), settings, scores)
    one = scores.concepts["okapi"].target_recall
    assert f"| okapi | target recall | {100 * one.before:.1f} % | {100 * one.after:.1f} % |" in text
    assert "| okapi | false positives |" in text
    noise = scores.controls["noise"]["okapi"].target_recall.after
    assert f"control: the same lesson on noise |  | {100 * noise:.1f} % |" in text
    assert "known accuracy" in text
    for heading in ("Concepts", "Use", "Recipe", "Numbers", "Limits", "Licences", "Citation"):
        assert f"## {heading}\n" in text
    assert METHOD in text
    assert "<i>" not in text
    assert r"Brown \| white." in text
    assert str(tmp_path) not in text


def test_the_strength_on_a_card_is_that_of_its_lesson(tmp_path):
    settings = read_record(RunSettings, write_run(tmp_path / "run") / "config.yaml")
    lesson = {"loss": "edit", "edit": {"strength": 0.4}, "strength": 1.0}
    edited = card(lineage(), settings.model_copy(update={"teaching": lesson}))
    assert "- lesson: an edit in closed form, strength 0.4\n- images: none;" in edited
    trained = card(lineage(), settings.model_copy(update={"teaching": lesson | {"loss": "bank"}}))
    assert "- lesson: loss `bank`, strength 1.0\n- images: inversion;" in trained


def test_the_header_names_a_base_that_is_on_the_hub():
    assert front_matter(card(lineage()))["pipeline_tag"] == "zero-shot-image-classification"
    assert "base_model" not in front_matter(card(lineage()))
    named = lineage(base="hf:openai/clip-vit-base-patch32", family="CLIP")
    assert front_matter(card(named))["base_model"] == "openai/clip-vit-base-patch32"


def test_an_untaught_model_and_one_without_numbers_say_so():
    assert "It was taught nothing." in card(lineage(concepts=()))
    assert "None were measured when it was saved" in card(lineage())


@pytest.mark.parametrize("text", ["a\nb", "*a* [b](c) `d` <e> & f|g #h ~i \\j"])
def test_whatever_a_user_writes_stays_text(text):
    assert not re.search(r"(?<!\\)[*_`\[\]|#~<]|\n", plain(text))


def test_every_family_has_its_entries_after_saving_too(tmp_path):
    assert FAMILY_ENTRIES.keys() == {family.name for family in FAMILIES}
    for name, word in (("vilt", "kim2021vilt"), ("coca", "yu2022coca"), ("medclip", "wang2022medclip")):
        model = molyneux.load(f"tiny:{name}")
        model.save(tmp_path / name)
        assert word in cite(tmp_path / name)
        assert word in (tmp_path / name / "README.md").read_text()
        again = molyneux.load(tmp_path / name)
        again.save(tmp_path / f"{name}-again")
        assert cite(tmp_path / f"{name}-again") == cite(tmp_path / name)


def test_what_a_model_was_taught_with_is_cited_before_and_after_saving(tmp_path):
    model = molyneux.load("tiny:clip")
    okapi = molyneux.Concept("okapi", "A hoofed animal with striped legs.")
    replay = [noise_images(molyneux.Concept(name, name), 2, 32, seed) for seed, name in enumerate(("horse", "zebra"))]
    taught = molyneux.teach(model, okapi, known=["horse", "zebra"], replay=replay)
    assert not {"meng2022locating", "kazemi2024what"} & keys(cite(model))
    assert {"meng2022locating", "meng2023mass", "kazemi2024what", "russakovsky2015imagenet"} <= keys(cite(taught))
    taught.save(tmp_path / "taught")
    again = molyneux.load(tmp_path / "taught")
    assert cite(again) == cite(tmp_path / "taught") == cite(taught)
    assert keys(cite(taught)) == keys((tmp_path / "taught" / "README.md").read_text())
    between = molyneux.interpolate(model, taught, 0.5)
    assert keys(cite(between)) - keys(cite(taught)) == {"wortsman2022robust"}


def test_each_entry_is_well_formed_and_has_a_key_of_its_own():
    found = {METHOD, *(entry for group in (FAMILY_ENTRIES, MEANS_ENTRIES) for one in group.values() for entry in one)}
    names = [re.match(r"@(misc|article|inproceedings|software)\{([a-z0-9]+),\n", entry)[2] for entry in found]
    assert len(set(names)) == len(names)
    for entry in found:
        assert entry.count("{") == entry.count("}")
        assert {"title", "author", "year"} <= set(re.findall(r"^  (\w+) *= \{", entry, flags=re.MULTILINE))
        assert "and others" not in entry


def keys(text):
    return set(re.findall(r"^@\w+\{(\w+),", text, flags=re.MULTILINE))
