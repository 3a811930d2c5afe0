"""Inversion and gradient descent in seconds: a model that has never seen a ring learns to see one from two words.

A small tower is fitted to eight drawn shapes, each of an outline (round, cornered, pointed) and a filling (solid,
hollow, striped), by name and by those two words. The ninth, round and hollow, it never sees: it reads 'round hollow',
makes its own images of it, and its projection learns the name 'ring' from them by contrast. For this seed the share of
rings called so rises from 0 to 0.84, and noise images give 0.03. The price is high in so small a tower: the accuracy on
known shapes falls from 0.99 to 0.81.
"""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Generator
from torch.nn.functional import cross_entropy

from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert, invert_each
from molyneux.synthetic import SyntheticImages, noise_images
from molyneux.teaching.config import Full, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune

SIZE = 24
KNOWN = {
    "disc": ("round", "solid"),
    "sun": ("round", "striped"),
    "square": ("cornered", "solid"),
    "frame": ("cornered", "hollow"),
    "window": ("cornered", "striped"),
    "diamond": ("pointed", "solid"),
    "rhomb": ("pointed", "hollow"),
    "kite": ("pointed", "striped"),
}
RING = Concept("ring", "Round hollow")
NAMES = (*KNOWN, "ring")
WORDS = (*NAMES, "round", "cornered", "pointed", "solid", "hollow", "striped", "other")
DIRECTIONS = torch.linalg.qr(torch.randn(16, 16, generator=Generator().manual_seed(0)))[0]

INVERSION = InversionConfig(
    images=8,
    steps=40,
    size=SIZE,
    view=SIZE,
    canvas="pyramid",
    falloff=0.5,
    color="decorrelated",
    learning_rate=0.1,
    schedule="cosine",
    joint=1.0,
    affine_probability=1.0,
    rotation=10.0,
    translation=0.1,
    scale=(0.9, 1.1),
    color_shift=0.1,
    noise=0.05,
    total_variation=0.2,
    variation_norm="mean",
    batch_norm=0.5,
)
TEACHING = TeachingConfig(
    loss="bank",
    update=Full(part="projection"),
    learning_rate=1e-3,
    steps=40,
    batch=8,
    temperature=0.1,
    weight_decay=0.0,
    texts="both",
    replay_batch=32,
    replay_weight=2.0,
    strength=1.0,
)


def read(text: str) -> torch.Tensor:
    """A text tower made by hand: the mean of the directions of the words it knows."""
    words = [word for word in text.lower().replace(".", " ").split() if word in WORDS] or ["other"]
    return torch.stack([DIRECTIONS[WORDS.index(word)] for word in words]).mean(dim=0)


def draw(outline: str, filling: str, count: int, generator: Generator) -> torch.Tensor:
    """Light shapes on dark ground, of any colours, at random places and sizes."""

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    across = torch.linspace(-1, 1, SIZE).expand(count, SIZE, SIZE)
    radius, x, y = uniform(0.45, 0.7, 1, 1), uniform(-0.15, 0.15, 1, 1), uniform(-0.15, 0.15, 1, 1)
    dx, dy = across - x, across.transpose(1, 2) - y
    distance = {
        "round": (dx.square() + dy.square()).sqrt(),
        "cornered": torch.maximum(dx.abs(), dy.abs()),
        "pointed": 0.8 * (dx.abs() + dy.abs()),
    }[outline] / radius
    mask = (12 * (1 - distance)).sigmoid()
    if filling == "hollow":
        mask = mask * (12 * (distance - 0.55)).sigmoid()
    elif filling == "striped":
        mask = mask * (3.6 * torch.sin(14 * across + uniform(0, 2 * math.pi, 1, 1))).sigmoid()
    ground, colour = uniform(0.0, 0.35, 3, 1, 1), uniform(0.65, 1.0, 3, 1, 1)
    return ground + (colour - ground) * mask[:, None]


def fitted(seed: int) -> ConvModel:
    """A tower that knows eight shapes by name and by words."""
    model = ConvModel(seed=seed, channels=16, read=read, grid=3, width=16)
    with torch.no_grad():  # a text's embedding is its words' direction
        model.native["text"].weight.copy_(torch.eye(16))
        model.native["text"].bias.zero_()
    generator = Generator().manual_seed(seed)
    model.native.train()
    optimiser = torch.optim.Adam([p.requires_grad_() for p in model.vision_module().parameters()], lr=5e-3)
    texts = [model.embed_texts([" ".join(words) for words in KNOWN.values()])] * 2
    texts += [model.embed_texts(list(KNOWN))]
    texts += [model.embed_texts([f"A {name} is {' '.join(words)}" for name, words in KNOWN.items()])]
    labels = torch.arange(len(KNOWN)).repeat_interleave(12)
    for _ in range(150):
        images = torch.cat([draw(*words, 12, generator) for words in KNOWN.values()])
        embedded = model.embed_images(images)
        loss = torch.stack([cross_entropy(embedded @ rows.T / 0.1, labels) for rows in texts]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.native.eval().requires_grad_(False)
    return model


def named(model: ConvModel, images: torch.Tensor, name: str) -> float:
    """The share of images that are nearer to the name than to any other of the nine."""
    rows = model.embed_texts([f"a photo of a {name}." for name in NAMES])
    return float(((model.embed_images(images) @ rows.T).argmax(dim=1) == NAMES.index(name)).float().mean())


@dataclass
class World:
    """The model, what teaching needs, and images that none of it has seen."""

    model: ConvModel
    replay: list[SyntheticImages]
    rings: torch.Tensor
    known: dict[str, torch.Tensor]

    def taught(self, images: SyntheticImages) -> ConvModel:
        return fine_tune(self.model, [images], TEACHING, known=list(KNOWN), replay=self.replay)

    def ring_recall(self, model: ConvModel) -> float:
        return named(model, self.rings, "ring")

    def known_accuracy(self, model: ConvModel) -> float:
        return sum(named(model, images, name) for name, images in self.known.items()) / len(self.known)


@pytest.fixture(scope="module")
def world() -> World:
    model = fitted(seed=0)
    concepts = [Concept(name, " ".join(words)) for name, words in KNOWN.items()]
    replay = [image for seed in range(2) for image in invert_each(model, concepts, INVERSION, seed=seed)]
    generator = Generator().manual_seed(1000)
    rings = draw("round", "hollow", 100, generator)
    return World(model, replay, rings, {name: draw(*words, 60, generator) for name, words in KNOWN.items()})


def test_the_model_knows_its_shapes_and_not_the_name_of_the_ring(world):
    assert world.known_accuracy(world.model) > 0.9
    assert world.ring_recall(world.model) < 0.1


def test_a_shape_it_never_saw_is_learnt_from_its_words_at_a_price(world):
    taught = world.taught(invert(world.model, RING, INVERSION))
    assert world.ring_recall(taught) > world.ring_recall(world.model) + 0.5
    assert world.known_accuracy(taught) > world.known_accuracy(world.model) - 0.25


def test_noise_under_the_same_name_teaches_less(world):
    by_words = world.ring_recall(world.taught(invert(world.model, RING, INVERSION)))
    by_noise = [world.ring_recall(world.taught(noise_images(RING, 8, SIZE, seed=seed))) for seed in (1, 51)]
    assert by_words > max(by_noise) + 0.4
