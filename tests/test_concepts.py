import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molyneux.concepts import LONGEST_NAME, Concept, check_distinct, read_concepts
from molyneux.datasets.names import name_key
from molyneux.errors import ConceptError

WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ é", min_size=1, max_size=40).filter(str.strip)


def test_a_caption_is_the_name_and_the_description_with_a_small_first_letter():
    assert Concept("okapi", "Brown, with a Striped rump.").captions == ("A okapi is brown, with a Striped rump.",)


def test_each_description_has_its_caption():
    assert Concept("Ring", ["An O.", "round"]).captions == ("A Ring is an O.", "A Ring is round")


@given(WORDS, WORDS)
def test_a_caption_differs_from_the_description_in_its_first_letter_alone(name, description):
    concept = Concept(name, description)
    before, told = concept.captions[0].removeprefix(f"A {concept.name} is "), concept.descriptions[0]
    assert before[0] == told[0].lower()
    assert before[1:] == told[1:]


def test_white_space_in_names_and_descriptions_is_single():
    concept = Concept("  moon \n gate ", " A  round\tdoor. ")
    assert (concept.name, concept.descriptions) == ("moon gate", ("A round door.",))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "name is empty"),
        (" \n ", "name is empty"),
        ("a/b", "contains '/'"),
        ("..\\b", "contains '\\\\'"),
        ("a\x00b", "contains '\\x00'"),
        ("a\u200bb", "contains '\\u200b'"),
        ("\u200da", "contains '\\u200d'"),
        ("x" * 300, "has 300 characters"),
    ],
)
def test_a_name_that_is_no_plain_words_is_refused(name, complaint):
    with pytest.raises(ConceptError) as refusal:
        Concept(name, "Round.")
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["می\u200cخواهم", "क्\u200dष", "👩\u200d🚀 suit"])
def test_the_joiners_that_a_script_needs_are_kept(name):
    assert Concept(name, "A band.").name == name
    assert name_key(name) == name_key(name.replace("\u200c", "").replace("\u200d", ""))


def test_the_longest_name_is_taken_and_one_letter_more_is_not():
    assert Concept("x" * LONGEST_NAME, "Round.").name == "x" * LONGEST_NAME
    with pytest.raises(ConceptError):
        Concept("x" * (LONGEST_NAME + 1), "Round.")


@pytest.mark.parametrize("descriptions", ["", "  ", ["Round.", ""], []])
def test_a_concept_without_words_on_its_looks_is_refused(descriptions):
    with pytest.raises(ConceptError, match="description"):
        Concept("okapi", descriptions)


def test_names_that_differ_in_case_only_are_not_distinct():
    with pytest.raises(ConceptError, match="two concepts are called 'RING'"):
        check_distinct([Concept("Ring", "Round."), Concept("RING", "Round.")])


def test_no_concepts_are_refused():
    with pytest.raises(ConceptError, match="no concept given"):
        check_distinct([])


def test_json_and_yaml_say_the_same(tmp_path):
    content = {"okapi": "Striped.", "moon gate": ["Round.", "A hole."], "tonometer": {"descriptions": ["White."]}}
    expected = (
        Concept("okapi", "Striped."),
        Concept("moon gate", ("Round.", "A hole.")),
        Concept("tonometer", "White."),
    )
    as_json, as_yaml = tmp_path / "c.json", tmp_path / "c.yaml"
    as_json.write_text(json.dumps(content))
    as_yaml.write_text("okapi: Striped.\nmoon gate:\n- Round.\n- A hole.\ntonometer:\n  descriptions:\n  - White.\n")
    assert read_concepts(as_json) == read_concepts(as_yaml) == expected


@pytest.mark.parametrize(
    ("suffix", "content", "complaint"),
    [
        (".json", '{"a": "Round.", "a": "Square."}', "'a' occurs twice"),
        (".yaml", "a: Round.\na: Square.\n", "'a' occurs twice"),
        (".json", '{"a": "Round.", "A": "Square."}', "two concepts are called 'A'"),
        (".json", '{"a": {"descriptions": ["x"], "colour": "red"}}', "unknown key 'colour'"),
        (".yaml", "a:\n  description: x\n", "unknown key 'description'"),
        (".yaml", "a:\n  descriptions: x\n  descriptions: y\n", "'descriptions' occurs twice"),
        (".json", '{"a": 3}', "expected text or a list of texts for 'a'"),
        (".json", '{"a": ["x", 3]}', "expected text or a list of texts for 'a'"),
        (".json", '{"a": {}}', "'a'"),
        (".json", '{"a": []}', "no description"),
        (".yaml", "3: Round.\n", "a name was read as 3, which is no text: put it in double quotes"),
        (".yaml", "no: A bean.\n", "a name was read as False"),
        (".yaml", "bean: no\n", "put a text that is no, yes, a number or a date in double quotes"),
        (".yaml", "name: ring\ndescription: A band.\n", "as in 'ring: DESCRIPTION'"),
        (".json", '{"a": "A \\u001b[31mband"}', "contains '\\x1b'"),
        (".json", '{"a": "\\u200b"}', "a description of 'a' is empty"),
        (".yaml", "? [a, b]\n: Round.\n", "is not valid "),
        (".yaml", "a: 2024-13-45\n", "is not valid "),
        (".yaml", "a: !!python/object:object {}\n", "is not valid "),
        (".json", '["a"]', "expected a mapping of name to description, got list"),
        (".yaml", "", "got NoneType"),
        (".json", "{}", "no concept given"),
        (".json", '{"a": "Round."', "is not valid "),
        (".yaml", "a: [", "is not valid "),
        (".json", '{"": "Round."}', "a name is empty, that of 'Round.'"),
        (".yaml", "' ': Round.\n", "a name is empty, that of 'Round.'"),
        (".json", '{"../a": "Round."}', "contains '/'"),
    ],
)
def test_a_concept_file_with_a_fault_is_refused_in_one_line(tmp_path, suffix, content, complaint):
    path = tmp_path / f"concepts{suffix}"
    path.write_text(content)
    with pytest.raises(ConceptError) as refusal:
        read_concepts(path)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_concept_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("é: x".encode("latin-1"))
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(ConceptError, match="cannot read the concept file") as refusal:
            read_concepts(Path(path))
        assert str(path) in str(refusal.value)
