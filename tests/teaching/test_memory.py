"""The same gradients with less memory, and what a step is said to take before it starts."""

import json
from dataclasses import replace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from helpers.families import FAMILIES
from helpers.runs import settings_for, use_tiny
from molyneux.concepts import Concept
from molyneux.errors import ConfigError
from molyneux.pipeline.teach_run import teach_concepts
from molyneux.synthetic import noise_images
from molyneux.teaching.config import Full, LoRA, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.memory import in_parts, memory_note, step_memory
from molyneux.teaching.objectives.base import Lesson, start_objective

RING, CROSS = Concept("ring", "a circle with a round hole."), Concept("cross", "two dark bars that meet.")
KNOWN = ("bar", "photo", "circle")

KINDS = {
    "tower": ("hf clip", {"update": Full(part="tower")}),
    "blocks": ("open_clip-vit", {"update": Full(part="blocks")}),
    "batch norm": ("open_clip-resnet", {"update": Full(part="trunk"), "loss": "symmetric"}),
    "both towers": ("open_clip-timm-bert", {"update": Full(part="both"), "bank_batch": 4}),
    "text tower": ("hf siglip", {"update": Full(part="text"), "bank_batch": 4}),
    "adapters": ("hf clip", {"update": LoRA(rank=2), "loss": "anchors"}),
    "captions": ("open_clip-coca", {"update": Full(part="tower"), "loss": "captioning", "decoder": True}),
    "matching": ("vilt", {"update": Full(part="tower"), "loss": "matching", "replay_batch": 0}),
    "masked words": ("vilt", {"update": Full(part="tower"), "loss": "masked", "replay_batch": 0}),
}


def gradients(family: str, settings: dict[str, object], micro_batch: int) -> tuple[float, list[torch.Tensor], int]:
    """Of one step over seven images and five of replay: the loss, its gradients, and the bytes kept for them.

    In double precision: rounding of small random towers would hide small mistakes.
    """
    model = FAMILIES[family]()
    model.native.double()
    config = TeachingConfig(**({"loss": "bank", "batch": 7, "replay_batch": 5, "micro_batch": micro_batch} | settings))
    images = [noise_images(one, count, model.image_size, 0) for one, count in ((RING, 4), (CROSS, 3))]
    replay = [noise_images(Concept(name, name), 2, model.image_size, 1) for name in KNOWN] if config.uses_replay else []
    images, replay = ([replace(one, pixels=one.pixels.double()) for one in part] for part in (images, replay))
    student = model.copy(whole=True)
    objective = start_objective(Lesson(model, images, config, KNOWN, replay, 0), student)
    moving = [weight.requires_grad_() for weight in objective.parameters()]
    kept: dict[int, int] = {}
    held = []
    own = {value.untyped_storage().data_ptr() for value in (*student.native.state_dict().values(), *moving)}

    def keep(value: torch.Tensor) -> torch.Tensor:
        # neither weights nor pixels, which are there anyway
        if value.untyped_storage().data_ptr() not in own and value.shape[1:2] != (3,):
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        held.append(value)
        return value

    with saved_tensors_hooks(keep, lambda value: value):
        loss = objective.loss(torch.arange(7), torch.Generator().manual_seed(0))
    found = torch.autograd.grad(loss, moving, allow_unused=True)
    filled = [torch.zeros_like(weight) if g is None else g for weight, g in zip(moving, found, strict=True)]
    return float(loss.detach()), filled, sum(kept.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3])
def test_parts_of_a_step_give_the_gradients_of_the_whole(kind, size):
    family, settings = KINDS[kind]
    loss, whole, kept = gradients(family, settings, 0)
    again, parts, less = gradients(family, settings, size)
    assert again == pytest.approx(loss, abs=1e-9)
    scale = max(float(one.abs().max()) for one in whole)
    assert scale > 0
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(other / scale, one / scale, atol=1e-9, rtol=0.0)
    assert less < kept * (1 if kind == "captions" else 0.5)  # over a large vocabulary, the logits stay


def test_a_step_in_parts_is_as_good_as_any():
    model = FAMILIES["hf clip"]()
    noise = noise_images(RING, 6, model.image_size, 0)
    students = []
    for size in (0, 2):
        config = TeachingConfig(
            loss="bank", update=Full(part="tower"), steps=3, batch=6, replay_batch=0, micro_batch=size, eps=1e-3
        )
        students.append(fine_tune(model, [noise], config, known=KNOWN).embed_images(noise.pixels))
    torch.testing.assert_close(students[0], students[1], atol=1e-5, rtol=0.0)


def test_rows_that_fit_are_read_at_once():
    calls = []

    def read(rows: torch.Tensor) -> torch.Tensor:
        calls.append(len(rows))
        return 2 * rows

    rows = torch.arange(5.0, requires_grad=True)
    assert torch.equal(in_parts(read, 0, rows), 2 * rows)
    assert torch.equal(in_parts(read, 5, rows), 2 * rows)
    assert calls == [5, 5]
    assert torch.equal(in_parts(read, 2, rows), 2 * rows)
    assert calls[2:] == [2, 2, 1]


def test_parts_and_dropout_exclude_each_other():
    with pytest.raises(ConfigError, match=r"micro_batch is 2 and teaching.update.dropout is 0.1"):
        TeachingConfig(loss="bank", update=LoRA(dropout=0.1), micro_batch=2)


def test_the_memory_that_is_announced_is_that_which_a_step_keeps():
    settings = {"update": Full(part="tower"), "replay_batch": 0}
    model = FAMILIES["hf clip"]()
    _, grads, kept = gradients("hf clip", settings, 0)
    weights = sum(one.numel() * 4 for one in grads)
    told = step_memory(model, TeachingConfig(loss="bank", **settings, batch=7)) - 3 * weights
    pixels = 7 * 3 * model.image_size**2 * 4
    assert told - pixels == pytest.approx(kept / 2, rel=0.2)  # single precision takes half of double
    fewer = step_memory(model, TeachingConfig(loss="bank", **settings, batch=7, micro_batch=1)) - 3 * weights
    assert fewer == pytest.approx(told / 7, rel=0.01)
    assert step_memory(model, TeachingConfig()) == 0
    assert not any(weight.requires_grad for weight in model.native.parameters())


@pytest.mark.parametrize("part", ["text", "both"])
def test_a_moving_text_tower_is_announced_too(part):
    model = FAMILIES["hf clip"]()
    config = TeachingConfig(loss="bank", update=Full(part=part), batch=2, replay_batch=0, bank_batch=3)
    weights = sum(weight.numel() * 4 for module in model.text_modules() for weight in module.parameters())
    told = step_memory(model, config)
    assert told > 3 * weights
    more = step_memory(model, replace(config, bank_batch=8)) - told
    assert more > 0
    assert more == pytest.approx(step_memory(model, replace(config, bank_batch=13)) - told - more)
    assert step_memory(model, replace(config, micro_batch=1)) < told
    assert not any(weight.requires_grad for weight in model.native.parameters())


def test_what_a_step_takes_is_said_before_it_starts(tmp_path, monkeypatch):
    use_tiny(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr("molyneux.teaching.memory._GIB", 1000)
    config = TeachingConfig(loss="bank", update=Full(part="tower"), steps=1, batch=2, replay_batch=2)
    out = teach_concepts(settings_for(tmp_path / "run", None, teaching=config, controls=False))
    notes = json.loads((out / "environment.json").read_text())["notes"]
    assert len([note for note in notes if "GiB of memory beside the model" in note and "micro-batch 4" in note]) == 1


def test_a_step_that_fits_is_not_spoken_of():
    assert memory_note(FAMILIES["hf clip"](), TeachingConfig(loss="bank", update=Full(part="tower"))) == ""
