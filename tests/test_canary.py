"""`mini`, taught with its defaults: a floor under what is learned, a ceiling over what it costs."""

from pathlib import Path

import pytest

import molyneux
from helpers.sample_folder import SAMPLES, linked, needs_samples, some_known
from molyneux.cli import demo
from molyneux.concepts import Concept, read_concepts
from molyneux.pipeline.settings import TeachSettings
from molyneux.pipeline.teach_run import read_scores, teach_concepts
from molyneux.records import SHOWN, ShownPhotos, read_record

pytestmark = pytest.mark.slow


@pytest.mark.real_data
@needs_samples
def test_real_photos_are_recognised_at_the_promised_price(tmp_path):
    wanted = ("kangaroo", "scissors", "sunflower")
    concepts = [one for one in read_concepts(SAMPLES / "novel-concepts" / "concepts.json") if one.name in wanted]
    novel = linked(tmp_path / "novel", [SAMPLES / "novel-concepts" / name for name in wanted])
    known = some_known(tmp_path / "known", every=5)
    settings = TeachSettings(
        concepts=tuple(concepts),
        out=tmp_path / "run",
        novel=novel,
        known=known,
        names="imagenet-1k",
        controls=False,
    )
    scores = read_scores(teach_concepts(settings))
    found = [one.target_recall.after for one in scores.concepts.values()]
    assert len(found) == len(wanted)
    # mini saw none of the three; one of ten scissors is found
    assert sum(found) / len(found) > 0.5
    assert all(one.false_positive_rate.after < 0.04 for one in scores.concepts.values())
    assert scores.known_accuracy.before is not None
    assert scores.known_accuracy.before - scores.known_accuracy.after < 0.02


def test_the_shipped_photos_are_named_better_and_by_no_control(tmp_path):
    photos = Path(molyneux.__file__).parent / "photos"
    concept = Concept(demo.NAME, demo.DESCRIPTION)
    out = teach_concepts(TeachSettings(concepts=(concept,), out=tmp_path / "run", show=photos))
    pagoda, *others = read_record(ShownPhotos, out / SHOWN).photos
    before, after = (answers.concepts[demo.NAME].rank for answers in (pagoda.before, pagoda.after))
    assert before > 5
    assert after <= 2
    assert min(one.concepts[demo.NAME].rank for one in pagoda.controls.values()) > before
    kept = [one.photo for one in others if one.before.best[0][0] == one.after.best[0][0]]
    assert {"astronaut.jpg", "cat.jpg", "coffee.jpg"} <= set(kept)
