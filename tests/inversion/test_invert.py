import hashlib
import io
import math
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from helpers.small_models import ConvModel
from molyneux.backends.base import Alignment
from molyneux.backends.folding import LayerStatistics
from molyneux.backends.load import load
from molyneux.concepts import Concept
from molyneux.errors import ModelError
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import InversionState, image_seed, invert, invert_each, learning_rate
from molyneux.inversion.priors import batch_norm_moments, statistics_distance, total_variation
from molyneux.synthetic import SyntheticImages

RING = Concept("ring", ("A circle with a hole.", "A round band."))
CROSS = Concept("cross", "Two bars that meet.")

PYRAMID = InversionConfig(
    images=3,
    steps=30,
    canvas="pyramid",
    falloff=0.5,
    color="decorrelated",
    learning_rate=0.05,
    schedule="cosine",
    joint=0.5,
    affine_probability=1.0,
    color_shift=0.2,
    noise=0.1,
    total_variation=0.1,
    variation_norm="mean",
    batch_norm=0.5,
    gradient_clip=0.0,
    trace_every=10,
)
PIXELS = InversionConfig(
    images=2,
    steps=30,
    canvas="pixels",
    color="rgb",
    learning_rate=0.1,
    schedule="restarts",
    growth=((0.0, 6), (0.3, 9), (0.6, 16)),
    joint=0.0,
    affine_probability=0.5,
    color_shift=0.0,
    noise=0.0,
    total_variation=0.005,
    variation_norm="frobenius",
    batch_norm=0.0,
    gradient_clip=1.0,
    trace_every=7,
)
BOTH = pytest.mark.parametrize("config", [PYRAMID, PIXELS], ids=["pyramid", "pixels"])


class Interrupt:
    """Press Ctrl-C after some steps."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.steps: list[int] = []

    def __call__(self, done: int, total: int) -> None:
        self.steps.append(done)
        if done == self.after:
            raise KeyboardInterrupt


class Interrupting(ConvModel):
    """Ctrl-C while an image is scored, in the middle of a step."""

    calls = -1

    def alignment(self, texts, **how):
        score = super().alignment(texts, **how).score

        def interrupted(images):
            self.calls -= 1
            if self.calls == 0:
                raise KeyboardInterrupt
            return score(images)

        return Alignment(interrupted)


@pytest.fixture(scope="module")
def model() -> ConvModel:
    return ConvModel()


@cache
def uninterrupted(config: InversionConfig) -> SyntheticImages:
    return invert(ConvModel(), RING, config)


@BOTH
def test_the_images_are_as_many_and_as_large_as_asked_and_in_range(model, config):
    made = uninterrupted(config)
    assert made.pixels.shape == (config.images, 3, model.inversion_size, model.inversion_size)
    assert made.pixels.dtype == torch.float32
    assert made.pixels.min() >= 0
    assert made.pixels.max() <= 1
    assert (made.concept, made.source, made.depicted, made.seed) == (RING, "inverted", "ring", 0)
    larger = invert(model, RING, replace(config, steps=2, size=20, growth=()))
    assert larger.pixels.shape[-2:] == (20, 20)


@BOTH
def test_inverting_raises_the_similarity_that_the_trace_shows(model, config):
    made = invert(model, RING, replace(config, steps=60, batch_norm=0.0))
    start = invert(model, RING, replace(config, steps=1, batch_norm=0.0))
    target = normalize(model.embed_texts(RING.descriptions).mean(dim=0), dim=0)
    before, after = (float((model.embed_images(value.pixels) @ target).mean()) for value in (start, made))
    assert after > before + 0.2
    assert made.trace[-1].plain > made.trace[0].plain + 0.2
    assert made.trace[-1].plain == pytest.approx(after, abs=1e-5)


def test_the_trace_has_the_first_the_last_and_every_nth_step(model):
    assert [point.step for point in uninterrupted(PIXELS).trace] == [1, 7, 14, 21, 28, 30]
    assert [point.step for point in invert(model, RING, replace(PYRAMID, steps=1)).trace] == [1]


def test_the_batch_norm_prior_draws_the_statistics_nearer(model):
    layers = model.vision_batch_norms()

    still = replace(PYRAMID, images=2, steps=40, affine_probability=0.0, noise=0.0)

    def distance(weight: float) -> float:
        made = invert(model, RING, replace(still, batch_norm=weight))
        with batch_norm_moments(layers) as seen, torch.no_grad():
            model.features(made.pixels)
        return float(statistics_distance(seen, [LayerStatistics.of(layer) for layer in layers]))

    assert distance(5.0) < 0.7 * distance(0.0)


@pytest.mark.parametrize("norm", ["mean", "frobenius"])
def test_total_variation_makes_the_images_smoother(model, norm):
    def roughness(weight: float) -> float:
        config = replace(PYRAMID, images=2, steps=30, total_variation=weight, variation_norm=norm)
        return float(total_variation(invert(model, RING, config).pixels).mean())

    assert roughness(3.0) < 0.8 * roughness(0.0)


@BOTH
def test_a_job_gives_the_same_pixels_alone_and_after_another(model, config):
    alone = uninterrupted(config)
    torch.manual_seed(99)
    torch.rand(7)
    invert(model, CROSS, config)
    again = invert(model, RING, config)
    assert torch.equal(alone.pixels, again.pixels)
    assert alone.trace == again.trace


def test_seeds_concepts_and_images_have_streams_of_their_own(model):
    short = replace(PYRAMID, steps=2)
    made = [invert(model, RING, short).pixels, invert(model, RING, short, seed=1).pixels]
    made.append(invert(model, Concept("hoop", RING.descriptions), short).pixels)
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert not torch.equal(made[0][0], made[0][1])
    seeds = {image_seed(seed, concept, i) for seed in (0, 1) for concept in (RING, CROSS) for i in range(10)}
    assert len(seeds) == 40
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_name_is_not_shown_to_the_model():
    read: list[str] = []

    class Listening(ConvModel):
        def embed_texts(self, texts):
            read.extend(texts)
            return super().embed_texts(texts)

    invert(Listening(), RING, replace(PYRAMID, steps=1))
    assert read == list(RING.descriptions)


@BOTH
def test_the_model_is_left_as_it_was(config):
    model = ConvModel()
    model.native.train()
    model.projection_module().requires_grad_(True)
    before = {key: value.clone() for key, value in model.native.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.native.parameters()]
    invert(model, RING, replace(config, steps=3))
    assert all(torch.equal(value, before[key]) for key, value in model.native.state_dict().items())
    assert [parameter.requires_grad for parameter in model.native.parameters()] == flags
    assert all(module.training for module in model.native.modules())
    assert not any(layer._forward_pre_hooks for layer in model.vision_batch_norms())


@pytest.mark.parametrize("stop", [1, 18, 26, 30])
@BOTH
def test_an_interrupted_job_goes_on_to_the_same_pixels(model, config, stop, tmp_path):
    checkpoint = tmp_path / "job.pt"
    with pytest.raises(KeyboardInterrupt):
        invert(model, RING, config, checkpoint=checkpoint, on_step=Interrupt(stop))
    rest = Interrupt(-1)
    resumed = invert(model, RING, config, checkpoint=checkpoint, on_step=rest)
    assert rest.steps == list(range(stop + 1, 31))
    whole = uninterrupted(config)
    assert torch.equal(resumed.pixels, whole.pixels)
    assert resumed.trace == whole.trace
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("calls", [2, 28])
@BOTH
def test_a_job_interrupted_in_the_middle_of_a_step_goes_on_to_the_same_pixels(config, calls, tmp_path):
    model, whole = Interrupting(), uninterrupted(config)
    model.calls = calls
    with pytest.raises(KeyboardInterrupt):
        invert(model, RING, config, checkpoint=tmp_path / "job.pt")
    resumed = invert(model, RING, config, checkpoint=tmp_path / "job.pt")
    assert torch.equal(resumed.pixels, whole.pixels)
    assert resumed.trace == whole.trace


def test_of_slow_steps_one_is_lost_at_most(model, tmp_path, monkeypatch):
    monkeypatch.setattr("molyneux.inversion.invert.STORED_EVERY", -1.0)
    checkpoint, advance, done = tmp_path / "job.pt", InversionState.advance, []

    def interrupted(state, size):
        done.append(state.step)
        if state.step == 3:
            state.whole = False
            raise KeyboardInterrupt
        advance(state, size)

    monkeypatch.setattr(InversionState, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        invert(model, RING, PIXELS, checkpoint=checkpoint)
    monkeypatch.setattr(InversionState, "advance", lambda state, size: done.append(state.step) or advance(state, size))
    resumed = invert(model, RING, PIXELS, checkpoint=checkpoint)
    assert done == [0, 1, 2, 3, *range(3, PIXELS.steps)]
    assert torch.equal(resumed.pixels, invert(model, RING, PIXELS).pixels)


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "another-kind", "half-a-state", "another-job"])
def test_a_checkpoint_that_does_not_fit_is_left_aside(model, damage, tmp_path):
    checkpoint = tmp_path / "job.pt"
    with pytest.raises(KeyboardInterrupt):
        invert(model, CROSS if damage == "another-job" else RING, PIXELS, checkpoint=checkpoint, on_step=Interrupt(12))
    content = checkpoint.read_bytes()
    if damage == "garbage":
        checkpoint.write_bytes(b"\x80\x04not a state")
    elif damage == "empty":
        checkpoint.write_bytes(b"")
    elif damage == "truncated":
        checkpoint.write_bytes(content[: len(content) // 2])
    elif damage == "another-kind":
        torch.save([1, 2], checkpoint)
    elif damage == "half-a-state":
        state = torch.load(io.BytesIO(content[32:]), weights_only=True)
        del state["optimiser"]
        buffer = io.BytesIO()
        torch.save(state, buffer)
        checkpoint.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    resumed = invert(model, RING, PIXELS, checkpoint=checkpoint)
    assert torch.equal(resumed.pixels, uninterrupted(PIXELS).pixels)
    assert not checkpoint.exists()


def test_a_checkpoint_of_other_weights_is_left_aside(model, tmp_path):
    checkpoint = tmp_path / "job.pt"
    with pytest.raises(KeyboardInterrupt):
        invert(model, RING, PIXELS, checkpoint=checkpoint, on_step=Interrupt(12))
    other = model.copy()
    with torch.no_grad():
        other.projection_module()[-1].weight[0, 0] += 0.5
    steps: list[int] = []
    resumed = invert(other, RING, PIXELS, checkpoint=checkpoint, on_step=lambda step, _: steps.append(step))
    assert steps[0] == 1
    assert torch.equal(resumed.pixels, invert(other, RING, PIXELS).pixels)


@pytest.mark.parametrize("change", [{"steps": 14}, {"steps": 13, "learning_rate": 0.2}])
def test_a_checkpoint_of_other_settings_is_left_aside(model, change, tmp_path):
    checkpoint = tmp_path / "job.pt"
    with pytest.raises(KeyboardInterrupt):
        invert(model, RING, PIXELS, checkpoint=checkpoint, on_step=Interrupt(12))
    other = replace(PIXELS, **change)
    resumed = invert(model, RING, other, checkpoint=checkpoint)
    assert torch.equal(resumed.pixels, invert(model, RING, other).pixels)


def test_a_similarity_that_is_no_number_stops_with_the_step():
    class Broken(ConvModel):
        def features(self, images):
            return super().features(images) * math.nan

    with pytest.raises(ModelError, match="became nan at step 0: nothing was changed yet"):
        invert(Broken(), RING, PIXELS)


def test_each_concept_gets_one_image_of_its_own(model):
    made = invert_each(model, [RING, CROSS], replace(PYRAMID, steps=80, batch_norm=0.0, images=99))
    assert [value.concept for value in made] == [RING, CROSS]
    assert all(value.pixels.shape == (1, 3, 16, 16) for value in made)
    images = torch.cat([value.pixels for value in made])
    texts = model.embed_texts([RING.descriptions[0], CROSS.descriptions[0]])
    cosines = model.embed_images(images) @ texts.T
    assert cosines[0, 0] > cosines[0, 1] + 0.1
    assert cosines[1, 1] > cosines[1, 0] + 0.1


def test_a_lone_concept_is_the_first_image_of_its_own_job(model):
    config = replace(PYRAMID, images=1)
    each = invert_each(model, [CROSS], config, seed=4)
    torch.testing.assert_close(each[0].pixels, invert(model, CROSS, config, seed=4).pixels, atol=1e-3, rtol=0.0)


def test_each_can_be_interrupted_too(model, tmp_path):
    checkpoint = tmp_path / "job.pt"
    with pytest.raises(KeyboardInterrupt):
        invert_each(model, [RING, CROSS], PYRAMID, checkpoint=checkpoint, on_step=Interrupt(17))
    resumed = invert_each(model, [RING, CROSS], PYRAMID, checkpoint=checkpoint)
    for one, other in zip(resumed, invert_each(model, [RING, CROSS], PYRAMID), strict=True):
        assert torch.equal(one.pixels, other.pixels)


def test_a_constant_rate_is_constant():
    config = replace(PYRAMID, schedule="constant", steps=100)
    assert {learning_rate(config, step, 0) for step in range(100)} == {config.learning_rate}


def test_a_cosine_falls_from_the_full_rate_over_half_of_it_to_nothing():
    config = replace(PYRAMID, schedule="cosine", learning_rate=0.4, steps=100)
    assert learning_rate(config, 0, 0) == 0.4
    assert learning_rate(config, 50, 30) == pytest.approx(0.2)
    assert learning_rate(config, 100, 30) == pytest.approx(0.0)
    rates = [learning_rate(config, step, 30) for step in range(100)]
    assert rates == sorted(rates, reverse=True)


AUTHORS = InversionConfig.authors_code()
STAGES = {0: 899, 899: 1799, 1799: 3000}


@pytest.mark.parametrize("grown_at", STAGES)
def test_the_authors_rate_has_a_half_period_of_400_steps_in_every_stage(grown_at):
    assert learning_rate(AUTHORS, grown_at, grown_at) == 0.1
    assert learning_rate(AUTHORS, grown_at + 200, grown_at) == pytest.approx(0.05)
    assert learning_rate(AUTHORS, grown_at + 400, grown_at) == pytest.approx(0.0)
    # it climbs again
    assert learning_rate(AUTHORS, grown_at + 800, grown_at) == pytest.approx(0.1)


def test_the_authors_rate_is_that_of_torch_in_every_stage():
    """Their script makes a scheduler at each growth: T_max is (3000 - 1800) // 3, whichever growth it is."""
    for grown_at, end in STAGES.items():
        optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=(3000 - 1800) // 3)
        for step in range(grown_at, end):
            assert learning_rate(AUTHORS, step, grown_at) == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # there is nothing to optimise
                schedule.step()


def test_the_papers_5000_steps_make_the_authors_cosine_of_1066_steps():
    # T_max is (5000 - 1800) // 3 for growths at their steps 900 and 1,800
    config = replace(AUTHORS, steps=5000, growth=((0.0, 64), (900 / 5000, 128), (1800 / 5000, 224)))
    assert learning_rate(config, 1066, 0) == pytest.approx(0.0)
    assert learning_rate(config, 4999, 1800) == pytest.approx(0.0, abs=1e-4)


def test_a_canvas_that_does_not_grow_has_a_cosine_of_a_third_of_the_run():
    config = replace(PYRAMID, schedule="restarts", learning_rate=0.1, steps=90)
    assert learning_rate(config, 30, 0) == pytest.approx(0.0)


def test_a_run_too_short_for_thirds_still_has_a_rate():
    config = replace(PYRAMID, schedule="restarts", steps=2, growth=((0.0, 8), (0.5, 16)))
    assert learning_rate(config, 1, 1) == config.learning_rate


def test_a_checkpoint_appears_in_its_folder_only_while_the_job_runs(model, tmp_path):
    seen: set[bool] = set()
    path = Path(tmp_path / "jobs" / "ring.pt")

    def look(done: int, total: int) -> None:
        seen.add(path.exists())

    invert(model, RING, PIXELS, checkpoint=path, on_step=look)
    assert seen == {False, True}
    assert not path.exists()


def first_loss(monkeypatch, model, concept, **settings) -> float:
    """What one step from the same start minimises."""
    losses = []
    gradient = torch.autograd.grad
    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", lambda loss, leaves: losses.append(loss.item()) or gradient(loss, leaves))
        invert(model, concept, replace(STILL, **settings))
    return losses[0]


STILL = replace(
    PIXELS, steps=1, affine_probability=0.0, total_variation=0.0, growth=(), size=16, start="uniform", trace_every=1
)


def start_of(model, concept) -> tuple[torch.Tensor, ...]:
    """The noise that `STILL` starts from, and what the model's towers give for it and for the descriptions."""
    generators = [torch.Generator().manual_seed(image_seed(0, concept, place)) for place in range(STILL.images)]
    noise = torch.stack([torch.rand(3, 16, 16, generator=generator) for generator in generators])
    return noise, model.image_outputs(model.features(noise)), model.text_outputs(concept.descriptions)


def test_the_distance_is_that_of_embeddings_that_are_not_normalised(model, monkeypatch):
    _, seen, said = start_of(model, CROSS)
    expected = torch.stack([((one - said[0]) ** 2).sum().sqrt() for one in seen]).mean()
    assert first_loss(monkeypatch, model, CROSS, similarity="distance") == pytest.approx(float(expected), rel=1e-5)
    unit = (normalize(seen, dim=1) - normalize(said, dim=1)).norm(dim=1).mean()
    assert abs(float(expected - unit)) > 0.05


@pytest.mark.parametrize("similarity", ["cosine", "distance"])
def test_several_descriptions_are_averaged_compared_with_one_by_one_or_taken_in_turns(model, monkeypatch, similarity):
    _, seen, said = start_of(model, RING)

    def near(image, text) -> torch.Tensor:
        return image @ text / image.norm() / text.norm() if similarity == "cosine" else -(image - text).norm()

    scale = said if similarity == "distance" else normalize(said, dim=1)
    mean = scale.mean(dim=0)
    expected = {
        "mean": torch.stack([near(image, mean) for image in seen]).mean(),
        "each": torch.stack([near(image, text) for image in seen for text in said]).mean(),
        "turns": torch.stack([near(seen[0], said[0]), near(seen[1], said[1])]).mean(),
    }
    for how, value in expected.items():
        found = first_loss(monkeypatch, model, RING, similarity=similarity, descriptions=how)
        assert found == pytest.approx(-float(value), rel=1e-4)
    assert len({round(float(value), 4) for value in expected.values()}) == 3


def test_with_one_description_the_three_ways_are_one(model):
    made = [invert(model, CROSS, replace(PIXELS, steps=3, descriptions=how)) for how in ("mean", "each", "turns")]
    for other in made[1:]:
        torch.testing.assert_close(other.pixels, made[0].pixels, atol=1e-3, rtol=0.0)


def test_a_smaller_distance_is_what_is_found(model):
    config = replace(PIXELS, steps=60, similarity="distance")
    made = invert(model, RING, config)
    target = model.text_outputs(RING.descriptions).mean(dim=0)
    found = -(model.image_outputs(model.features(made.pixels)) - target).norm(dim=1).mean()
    assert made.trace[-1].plain == pytest.approx(float(found), abs=1e-5)
    assert made.trace[-1].plain > 0.7 * made.trace[0].plain


def test_views_that_a_tower_cannot_read_are_refused_with_those_that_it_can():
    model = load("drawn")
    with pytest.raises(ModelError, match=r"'drawn' reads no views of 224 pixels: set inversion.view to 32"):
        invert(model, RING, InversionConfig(images=1, steps=2, view=224))
