import pytest

from molyneux.concepts import Concept
from molyneux.images.sources import STAND_IN, derangement, stand_in


@pytest.mark.parametrize("count", [2, 3, 12, 50])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_derangement_moves_everything_and_loses_nothing(count, seed):
    places = derangement(count, seed)
    assert sorted(places) == list(range(count))
    assert all(place != index for index, place in enumerate(places))


def test_a_concept_never_stands_in_for_itself():
    assert stand_in(Concept("okapi", "A striped animal.")) == STAND_IN
    assert stand_in(Concept("Windsock", "A striped tube.")).name != "windsock"
