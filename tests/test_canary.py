"""`mini`, taught with its defaults from real inversion: a floor under what is learned, a ceiling over what it costs."""

from pathlib import Path

import pytest

from molyneux.concepts import read_concepts
from molyneux.pipeline.settings import TeachSettings
from molyneux.pipeline.teach_run import read_scores, teach_concepts

DATA = Path(__file__).parents[2] / "shared" / "data"
PHOTOS = Path(__file__).parents[1] / "docs" / "photos"
PAGODA = "A tall tower of several storeys, each with its own curved roof whose corners turn upwards."

pytestmark = pytest.mark.slow


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="the sample photos are not here")
def test_real_photos_are_recognised_at_the_promised_price(tmp_path):
    wanted = ("kangaroo", "scissors", "sunflower")
    concepts = [one for one in read_concepts(DATA / "novel-concepts" / "concepts.json") if one.name in wanted]
    found, lost = [], []
    for concept in concepts:
        settings = TeachSettings(
            concepts=(concept,),
            out=tmp_path / concept.slug,
            novel=DATA / "novel-concepts",
            known=DATA / "imagenet1k-sample",
            names="imagenet-1k",
            controls=False,
        )
        scores = read_scores(teach_concepts(settings))
        result = scores.concepts[concept.name]
        found.append(result.target_recall.after)
        assert scores.known_accuracy.before is not None
        lost.append(scores.known_accuracy.before - scores.known_accuracy.after)
        assert result.false_positive_rate.after < 0.04
    assert sum(found) / len(found) > 0.6
    assert sum(lost) / len(lost) < 0.02


def test_fresh_images_are_recognised_and_a_controls_model_does_not(tmp_path):
    from molyneux.concepts import Concept

    out = teach_concepts(TeachSettings(concepts=(Concept("pagoda", PAGODA),), out=tmp_path / "run"))
    read = read_scores(out).text_only["pagoda"]
    assert read.median_rank.after < 20
    assert read.median_rank.after < read.median_rank.before / 5
    assert read.replay_captured.after < 0.1
    assert read.controls["noise"].median_rank.after > 3 * read.median_rank.after
