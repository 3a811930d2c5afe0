"""Each part of the default lesson does its work, with the weight that its setting has."""

from dataclasses import fields, replace

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from helpers.edit_worlds import CONCEPTS, random, world
from molyneux.teaching import edit, strength
from molyneux.teaching.config import Edit, TeachingConfig


def directions(**changed) -> torch.Tensor:
    known, new, _, _ = world()
    seen = normalize(random(CONCEPTS, known.names.shape[1], seed=9), dim=1)
    return edit.directions(known, new._replace(images=seen), replace(Edit(), **changed))


def test_the_default_lesson_is_an_edit_without_images():
    config = TeachingConfig()
    assert config.loss == "edit"
    assert not config.needs_images
    assert config.uses_replay


@pytest.mark.parametrize("setting", [item.name for item in fields(Edit)])
def test_every_setting_of_the_edit_changes_it(setting):
    known, new, _, _ = world()
    known = known._replace(images=normalize(known.images + 0.2, dim=1))
    new = new._replace(images=normalize(random(CONCEPTS, known.names.shape[1], seed=9), dim=1))
    value = getattr(Edit(), setting)
    changed = replace(Edit(), **{setting: 0.5 if not value else 0.5 * value})
    one, other = (edit.change(edit.concept_edits(known, new, config)) for config in (Edit(), changed))
    assert (one - other).norm() > 1e-3 * one.norm()


def test_the_sources_of_a_direction_have_the_weights_of_their_settings():
    known, new, _, _ = world()
    mean = known.names.double().mean(dim=0)
    named = edit.centred(new.names, mean)
    described = edit.centred(new.descriptions, known.descriptions.mean(dim=0))
    alone = directions(description=0.0, name=0.0, images=0.0)
    expected = normalize(alone + 0.7 * described + Edit().name * named, dim=1)
    torch.testing.assert_close(directions(images=0.0, description=0.7), expected)
    for source in ("description", "name", "images"):
        assert not torch.allclose(
            directions(description=0.7), directions(**{"description": 0.7, source: 0.0}), atol=1e-3
        )


def test_what_all_images_share_gets_no_answer():
    """A constant part of every image would answer for all of them at once."""
    known, new, _, _ = world()
    shifted = known._replace(images=normalize(known.images + 3.0, dim=1))
    where = edit.directions(shifted, new, Edit())
    constant = edit.constant_reader(shifted, Edit().value_shrinkage)
    found = edit.detectors(where, edit.key_covariance(shifted, Edit()), shifted.images, constant)
    plain = torch.linalg.solve(edit.key_covariance(shifted, Edit()), where.T).T
    plain = plain / (plain * where).sum(dim=1, keepdim=True)
    mean = shifted.images.double().mean(dim=0)
    assert (found @ mean).abs().max() < 0.1 * (plain @ mean).abs().max()


def test_a_concept_of_full_strength_wins_its_price_of_the_stand_ins():
    known, new, _, _ = world()
    config = Edit(strength=1.0, forget_name=0.0, price=0.05)
    edits = edit.concept_edits(known, new, config)
    seen = strength.stand_ins(known)
    off = known.names - known.names.mean(dim=0)
    common = strength.common_answer(off, known.images)
    for key, value, name in zip(edits.keys, edits.values, new.names, strict=True):
        own = seen @ (name - known.names.mean(dim=0)) + strength.common_answer(
            (name - known.names.mean(dim=0))[None], known.images
        )
        answer = (seen @ key)[:, None]
        rivals = (seen @ off.T + common + answer * (off @ value)).amax(dim=1)
        won = (own + answer[:, 0] * ((name - known.names.mean(dim=0)) @ value) > rivals).double().mean()
        assert won == pytest.approx(0.05, abs=0.02)


def test_directions_are_unit_and_near_where_names_of_known_classes_would_be():
    known, _, _, photos = world()
    found = directions(images=0.0)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(CONCEPTS).double())
    towards = photos.mean(dim=1) - known.images.mean(dim=0)
    assert cosine_similarity(found, towards, dim=1).mean() > 0.3


def test_a_price_beyond_what_a_concept_can_win_is_no_infinite_edit():
    known, new, _, _ = world()
    edits = edit.concept_edits(known, new, Edit(strength=1.0, price=1.0))
    assert edit.change(edits).isfinite().all()


def test_the_held_out_regression_equals_leaving_each_pair_out():
    known, _, _, _ = world()
    found = edit.held_out_regression(known.descriptions, known.names, 0.7, 0.3)
    for place in (0, 17, len(found) - 1):
        kept = torch.arange(len(found)) != place
        slow = edit.regressed(
            known.descriptions[place : place + 1], known.descriptions[kept], known.names[kept], 0.7, 0.3
        )
        torch.testing.assert_close(found[place], slow[0])


def test_a_description_weighs_what_known_descriptions_are_worth():
    known, _, _, _ = world()
    turned = edit.description_weight(known, Edit())  # descriptions lie elsewhere, so only the regression can tell
    near = normalize(known.names + 0.02 * random(*known.names.shape, seed=7), dim=1)
    told = edit.description_weight(known._replace(descriptions=near), Edit())
    assert turned < 0.3
    assert told == max(edit.WEIGHTS)
    assert edit.description_weight(known._replace(descriptions=known.names), Edit()) == edit.UNTOLD
    _, new, _, _ = world()
    chosen, given = (edit.directions(known._replace(descriptions=near), new, Edit(description=w)) for w in (None, told))
    torch.testing.assert_close(chosen, given)
    assert not torch.allclose(chosen, edit.directions(known._replace(descriptions=near), new, Edit(description=0.0)))


def test_stand_ins_vary_as_images_do_and_half_of_it_with_the_descriptions():
    known, _, _, _ = world()
    found = strength.stand_ins(known)
    images, looks = (strength.covariance(rows).trace() for rows in (known.images, known.descriptions))
    assert strength.covariance(found).trace() == pytest.approx(float(images), rel=0.1)
    mean = known.descriptions.mean(dim=0)
    described = ((known.descriptions - mean).repeat(4, 1) * found).sum() / looks / len(found)
    assert described == pytest.approx(float((0.5 * images / looks).sqrt()), rel=0.1)
