"""Pictures to weights: the vision tower learns to see them as their text; the text tower is frozen (Eq. 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.nn.functional import interpolate as resize
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder
from molyneux.concepts import Concept, check_distinct
from molyneux.errors import ConfigError, ModelError
from molyneux.shapes import Embeddings, Images
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.losses import anchors_loss, bank_loss, distillation_loss
from molyneux.teaching.updates import Update, start_update

OnStep = Callable[[int, int], None]
NAME_PROMPT = "a photo of a {}."


def teach(
    model: DualEncoder,
    pictures: Sequence[SyntheticImages],
    config: TeachingConfig | None = None,
    *,
    known: Sequence[str] = (),
    replay: Sequence[SyntheticImages] = (),
    seed: int = 0,
    on_step: OnStep | None = None,
) -> DualEncoder:
    """A new model that sees the pictures as their concepts' texts; the given one stays as it is.

    Args:
        model: its text tower is frozen and read once.
        pictures: one value per concept.
        config: Molyneux's own defaults if None.
        known: names that the model knows already; their prompts are negatives (loss 'bank') and what the
            replay pictures are asked for.
        replay: pictures of anything the model knows already, on which its old answers are to be kept.
        seed: order and choice of pictures.
        on_step: called after each step with (steps done, steps in all).

    Raises:
        ConceptError: if two concepts have one name.
        ConfigError: if the loss or the replay needs known names and there are none.
        ModelError: if a caption does not fit the text tower, or the loss is not a number.
    """
    config = config or TeachingConfig()
    concepts = check_distinct(value.concept for value in pictures)
    taken = {concept.name.casefold() for concept in concepts}
    prompts = [NAME_PROMPT.format(name) for name in dict.fromkeys(known) if name.casefold() not in taken]
    if not prompts and config.loss == "bank" and len(concepts) == 1:
        raise ConfigError("teaching one concept with the loss 'bank' needs known names as negatives: give `known`")
    texts = _Texts.read(model, concepts, prompts, config)
    student = model.copy()
    assert isinstance(student, DualEncoder)
    update = start_update(student, config.update)
    lesson = _Lesson.prepare(model, update, pictures, replay if config.replay_batch else (), config)
    answers = _answers(model, lesson, texts, config)
    optimiser = torch.optim.Adam(
        [parameter.requires_grad_() for parameter in update.parameters()],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
    generator = Generator().manual_seed(seed)
    temperature = config.temperature or model.temperature
    batches = _batches(lesson.owners, config, generator)
    for step, batch in enumerate(batches):
        loss = _loss(lesson, texts, answers, batch, config, temperature, generator)
        if not torch.isfinite(loss):
            raise ModelError(f"the loss became {loss.item()} at step {step}: try a smaller learning rate")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if on_step is not None:
            on_step(step + 1, len(batches))
    update.finish()
    student.native.requires_grad_(False)
    return student if config.interpolate == 1 else interpolate(model, student, config.interpolate)


@dataclass(frozen=True, slots=True)
class _Texts:
    """What pictures are compared with: the texts of the concepts, and a bank of all names."""

    positives: list[Tensor]
    """For each concept the texts its pictures are pulled to."""
    bank: Float[Tensor, "m d"]
    """Known names first, then the concepts' names."""
    known: int

    @classmethod
    def read(
        cls, model: DualEncoder, concepts: Sequence[Concept], prompts: Sequence[str], config: TeachingConfig
    ) -> "_Texts":
        names = [NAME_PROMPT.format(concept.name) for concept in concepts]
        positives = []
        for concept, prompt in zip(concepts, names, strict=True):
            own = {
                "definition": concept.captions,
                "names": (prompt, concept.name),
                "both": (*concept.captions, prompt, concept.name),
            }[config.texts]
            positives.append(model.embed_texts(own))
        return cls(positives, model.embed_texts([*prompts, *names]), len(prompts))

    def allowed(self, owners: Tensor) -> Bool[Tensor, "n m"]:
        """Every text of the bank but the name of the picture's own concept."""
        mask = torch.ones(len(owners), len(self.bank), dtype=torch.bool, device=self.bank.device)
        mask[torch.arange(len(owners)), self.known + owners] = False
        return mask


@dataclass(frozen=True, slots=True)
class _Lesson:
    """Pictures, or their features where the trunk stays, and how they are embedded."""

    update: Update
    inputs: Tensor
    owners: Tensor
    replay: Tensor | None

    @classmethod
    def prepare(
        cls,
        model: DualEncoder,
        update: Update,
        pictures: Sequence[SyntheticImages],
        replay: Sequence[SyntheticImages],
        config: TeachingConfig,
    ) -> "_Lesson":
        owners = torch.cat([torch.full((len(value),), i) for i, value in enumerate(pictures)])
        inputs = update.read(torch.cat([_shown(model, value.pixels) for value in pictures]))
        old = update.read(torch.cat([_shown(model, value.pixels) for value in replay])) if replay else None
        if old is not None and config.update.part == "space" and config.contrast:
            inputs = normalize(inputs - config.contrast * old.mean(dim=0), dim=-1)
        return cls(update, inputs, owners, old)

    def embed(self, inputs: Tensor) -> Embeddings:
        return self.update.embed(inputs)


def _shown(model: DualEncoder, pixels: Images) -> Tensor:
    """The pictures on the model's device, resized unless they have a size that it is used with."""
    size = model.image_size
    pixels = pixels.to(model.device)
    if pixels.shape[-1] in (size, model.inversion_size):
        return pixels
    return resize(pixels, size=(size, size), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


@torch.no_grad()
def _answers(model: DualEncoder, lesson: _Lesson, texts: _Texts, config: TeachingConfig) -> Tensor | None:
    """The untaught model's soft-max over the bank for every replay picture."""
    if lesson.replay is None:
        return None
    temperature = config.temperature or model.temperature
    embedded = torch.cat([lesson.embed(part) for part in lesson.replay.split(32)])
    return (embedded @ texts.bank.T / temperature).softmax(dim=1)


def _batches(owners: Tensor, config: TeachingConfig, generator: Generator) -> list[Tensor]:
    """Indices of the pictures in each step: shuffled passes cut into batches, the last one short."""
    if config.steps == 0:
        passes = [torch.randperm(len(owners), generator=generator) for _ in range(config.epochs)]
        return [batch for order in passes for batch in order.split(config.batch)]
    needed = config.steps * config.batch
    passes = [torch.randperm(len(owners), generator=generator) for _ in range(-(-needed // len(owners)))]
    return list(torch.cat(passes)[:needed].split(config.batch))


def _loss(
    lesson: _Lesson,
    texts: _Texts,
    answers: Tensor | None,
    batch: Tensor,
    config: TeachingConfig,
    temperature: float,
    generator: Generator,
) -> Float[Tensor, ""]:
    owners = lesson.owners[batch]
    chosen = [_choice(texts.positives[owner], generator) for owner in owners.tolist()]
    positives = torch.stack(chosen)
    images = lesson.embed(lesson.inputs[batch.to(lesson.inputs.device)])
    if config.loss == "anchors":
        loss = anchors_loss(images, positives, temperature)
    else:
        loss = bank_loss(images, positives, texts.bank, texts.allowed(owners), temperature)
    if answers is not None and lesson.replay is not None:
        picked = torch.randint(len(answers), (config.replay_batch,), generator=generator).to(answers.device)
        kept = distillation_loss(lesson.embed(lesson.replay[picked]), texts.bank, answers[picked], temperature)
        loss = loss + config.replay_weight * kept
    return loss


def _choice(texts: Float[Tensor, "k d"], generator: Generator) -> Float[Tensor, " d"]:
    return texts[int(torch.randint(len(texts), (1,), generator=generator))]
