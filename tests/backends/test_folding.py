from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from helpers.families_hf import resnet_bert
from helpers.families_medclip import RESNET as MEDCLIP_RESNET
from helpers.families_medclip import tiny_medclip
from helpers.families_open_clip import BERT, RESNET, VIT, build_random, describe
from helpers.small_models import ConvModel
from molyneux.backends.base import DualEncoder, frozen
from molyneux.backends.digest import weights_digest
from molyneux.backends.folding import LayerStatistics, folded
from molyneux.inversion.priors import batch_norm_moments, statistics_distance

EFFICIENTNET = describe(
    {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64},
    BERT,
    custom_text=True,
)
MODELS = {
    "tiny": ConvModel,
    "open_clip-resnet": lambda: build_random("tiny-resnet", RESNET),
    "timm-efficientnet": lambda: build_random("tiny-efficientnet", EFFICIENTNET),
    "hf-resnet": resnet_bert,
    "medclip-resnet": lambda: tiny_medclip(MEDCLIP_RESNET),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request) -> Iterator[DualEncoder]:
    """In double precision, so that no rounding decides on which side of zero an activation lies."""
    found = MODELS[request.param]()
    found.native.double()
    assert found.vision_batch_norms()
    with frozen(found.native):
        yield found


def sample_images(model: DualEncoder) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(3, 3, *[model.inversion_size] * 2, generator=generator, dtype=torch.float64)
    return images.contiguous(memory_format=torch.channels_last).requires_grad_()


def answers(model: DualEncoder, expected: list[LayerStatistics]) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, the distance of the statistics, and the gradient of both with respect to the pixels."""
    images = sample_images(model)
    with batch_norm_moments(model.vision_batch_norms()) as seen:
        embedded = model.embed_images(images)
    distance = statistics_distance(seen, expected)
    (gradient,) = torch.autograd.grad(embedded[:, 0].sum() + distance, images)
    return embedded.detach(), distance.detach(), gradient


def rests(layer: nn.BatchNorm2d) -> bool:
    return "forward" in vars(layer)


def plain_statistics(model: DualEncoder) -> list[LayerStatistics]:
    return [LayerStatistics.of(layer) for layer in model.vision_batch_norms()]


def test_answers_statistics_and_gradients_are_those_of_the_tower_as_it_is(model):
    plain = answers(model, plain_statistics(model))
    with folded(model) as expected:
        assert all(rests(layer) for layer in model.vision_batch_norms())
        quick = answers(model, expected)
    for one, other in zip(quick, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)


def test_the_weights_are_put_back_whatever_happens(model):
    before, keys = weights_digest(model.native), list(model.native.state_dict())
    flags = [getattr(part, "inplace", None) for part in model.native.modules()]

    def fail() -> None:
        with folded(model):
            assert weights_digest(model.native) != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert weights_digest(model.native) == before
    assert list(model.native.state_dict()) == keys
    assert [getattr(part, "inplace", None) for part in model.native.modules()] == flags
    assert not any("forward" in vars(part) for part in model.native.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.native.modules())


class Twice(ConvModel):
    """Its first convolution is listened to past its batch norm."""

    def features(self, images):
        return super().features(images) + self._native["vision"]["trunk"][0][0](4 * images - 2).mean()


class Between(ConvModel):
    """Something happens between the first convolution and its batch norm."""

    def __init__(self):
        super().__init__()
        self._native["vision"]["trunk"][0].insert(1, nn.Tanh())


class Doubled(ConvModel):
    """Answers also with what a convolution gave, which the batch norm alone was thought to hear."""

    def features(self, images):
        heard = []
        handle = self._native["vision"]["trunk"][0][0].register_forward_hook(lambda *call: heard.append(call[2].mean()))
        found = super().features(images)
        handle.remove()
        return found + heard[0]


@pytest.mark.parametrize(("kind", "left"), [(Twice, [0]), (Between, [0]), (Doubled, [0, 1])])
def test_what_is_not_surely_a_pair_stays_as_it_is(kind, left):
    model = kind()
    layers = model.vision_batch_norms()
    with frozen(model.native):
        images = torch.rand(2, 3, 16, 16)
        before = model.embed_images(images)
        with folded(model):
            assert [place for place, layer in enumerate(layers) if not rests(layer)] == left
            torch.testing.assert_close(model.embed_images(images), before, atol=1e-5, rtol=0.0)


def test_a_layer_that_silences_a_channel_stays_since_nothing_would_be_heard_of_it():
    model = ConvModel()
    silent, other = model.vision_batch_norms()
    silent.weight[3] = 0.0
    with frozen(model.native), folded(model) as expected:
        assert not rests(silent)
        assert rests(other)
        assert torch.equal(expected[0].mean, silent.running_mean)
        assert torch.equal(expected[1].mean, other.bias)


def test_layers_in_training_and_towers_in_half_precision_stay():
    model = ConvModel()
    model.native.train()
    with folded(model):
        assert not any(rests(layer) for layer in model.vision_batch_norms())
    model.native.eval()
    model.precision = "bf16"
    with folded(model):
        assert not any(rests(layer) for layer in model.vision_batch_norms())


def test_a_tower_without_batch_norm_is_left_alone():
    model = build_random("tiny-vit", VIT)
    with folded(model) as expected:
        assert expected == []
        assert model.native.visual.conv1.weight.shape
