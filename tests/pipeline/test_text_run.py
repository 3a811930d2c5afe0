"""Runs in which the text tower moves: each model is scored with its own reading of the names."""

import json

import pytest
import torch

from helpers.runs import RING, settings_for, use_tiny, write_photos
from helpers.small_models import load_tiny
from molyneux.pipeline.teach_run import teach_concepts
from molyneux.tasks.classification.zero_shot import evaluate
from molyneux.teaching.config import Full, TeachingConfig


@pytest.mark.parametrize("part", ["text", "both"])
def test_scores_before_and_after_are_those_of_the_models_alone(tmp_path, monkeypatch, part):
    use_tiny(monkeypatch, tmp_path / "cache")
    photos = write_photos(tmp_path / "photos")
    teaching = TeachingConfig(
        loss="bank", update=Full(part=part), steps=4, learning_rate=0.05, replay_batch=0, strength=1.0
    )
    run = teach_concepts(settings_for(tmp_path / "run", photos, controls=False, teaching=teaching))
    found = json.loads((run / "scores.json").read_text())["concepts"]["ring"]
    base, taught = load_tiny("tiny"), load_tiny(run / "model")
    assert not torch.equal(base.embed_texts(["ring"]), taught.embed_texts(["ring"]))
    names = ("circle", "square", "triangle")
    for moment, model in (("before", base), ("after", taught)):
        alone = evaluate(model, novel=photos / "novel", known=photos / "known", names=names, concepts=("ring",))
        for number in ("target_recall", "median_rank", "false_positive_rate"):
            assert found[number][moment] == alone.as_dict()["concepts"]["ring"][number]["after"]


def test_without_photos_each_model_reads_the_names_itself(tmp_path, monkeypatch):
    use_tiny(monkeypatch, tmp_path / "cache")
    teaching = TeachingConfig(
        loss="bank", update=Full(part="text"), steps=4, learning_rate=0.05, replay_batch=0, strength=1.0
    )
    run = teach_concepts(settings_for(tmp_path / "run", None, teaching=teaching, fresh=True))
    similarity = json.loads((run / "scores.json").read_text())["text_only"][RING.name]["similarity"]
    assert similarity["before"] != similarity["after"]
