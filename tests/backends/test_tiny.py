import pytest
import torch

from molyneux.backends.load import load
from molyneux.backends.sam import load_segmenter
from molyneux.backends.tiny import TINY
from molyneux.concepts import read_concepts
from molyneux.errors import ModelError
from molyneux.recipes.miniature import tiny_model
from molyneux.recipes.schema import Recipe, concept_file, recipe_names


@pytest.fixture(scope="module")
def models():
    return {name: load(f"tiny:{name}") for name in TINY}


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_model_is_the_same_each_time(models, name):
    first, second = models[name].native.state_dict(), load(f"tiny:{name}").native.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert sum(value.numel() for value in first.values()) < 3_000_000


def test_a_tiny_segmenter_is_the_same_each_time():
    first, second = (load_segmenter("tiny:sam").native.state_dict() for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_there_is_no_other_tiny_model():
    with pytest.raises(ModelError, match="no tiny model 'maxi': expected one of clip, clip-large, coca"):
        load("tiny:maxi")


def test_every_text_of_the_papers_recipes_fits_its_family(models):
    # their tokenizers are those of the published models, or of the same vocabulary, and read as far
    experiments = [case.experiment for name in recipe_names() for case in Recipe.read(name).cases]
    asked = {(one.concepts, one.model) for one in experiments}
    for concepts, model in asked:
        reader = models[tiny_model(model).removeprefix("tiny:")]
        for concept in read_concepts(concept_file(concepts)):
            for text in (*concept.descriptions, *concept.captions):
                reader.check_text(text)
