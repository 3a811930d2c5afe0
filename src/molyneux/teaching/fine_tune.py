"""Images to weights: one loop for every way of teaching."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Generator, Tensor

from molyneux.backends.abilities import FusedModel, captioner, masked_lm, matcher
from molyneux.backends.base import VisionLanguageModel, dual_encoder
from molyneux.concepts import check_distinct
from molyneux.errors import ConfigError, ModelError
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import LoRA, TeachingConfig
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.objectives.base import Objective
from molyneux.teaching.objectives.captioning import Captioning
from molyneux.teaching.objectives.contrastive import ContrastiveObjective
from molyneux.teaching.objectives.masked import Masked
from molyneux.teaching.objectives.matching import Matching
from molyneux.teaching.texts import known_prompts
from molyneux.teaching.updates import check_update, fused_parameters, moves_texts

ModelT = TypeVar("ModelT", bound=VisionLanguageModel)

OnStep = Callable[[int, int], None]


def fine_tune(
    model: ModelT,
    images: Sequence[SyntheticImages],
    config: TeachingConfig | None = None,
    *,
    known: Sequence[str] = (),
    replay: Sequence[SyntheticImages] = (),
    seed: int = 0,
    adapter: Path | None = None,
    on_step: OnStep | None = None,
) -> ModelT:
    """A new model that sees the images as their concepts' texts; the given one stays as it is.

    Args:
        model: one that can do what the loss asks for.
        images: one value per concept.
        config: Molyneux's own defaults if None.
        known: names that the model knows already; their prompts are negatives (losses 'bank' and 'matching') and
            what the replay images are asked for.
        replay: images of anything the model knows already, on which its old answers are to be kept; losses
            'bank' and 'anchors' only.
        seed: order and choice of images, and what a low-rank update starts from.
        adapter: with a low-rank update, a folder to be made for the adapter that the new model is the old one and
            this, in peft's layout.
        on_step: called after each step with (steps done, steps in all).

    Raises:
        ConceptError: if two concepts have one name.
        ConfigError: if the loss or the replay images need known names and there are none, the loss has no use for
            replay images, the update asks for a part that the model does not have, or it is not low-rank and
            `adapter` is given.
        ModelError: if the model cannot do what the loss asks for, a text does not fit, or the loss is not a number.
    """
    config = config or TeachingConfig()
    if adapter is not None and not isinstance(config.update, LoRA):
        raise ConfigError("there is no adapter to save without a low-rank update: set teaching.update to a LoRA")
    student, objective = learn(model, images, config, known=known, replay=replay, seed=seed, on_step=on_step)
    if adapter is not None:
        objective.save_adapter(adapter, config.strength)
    objective.finish()
    student.native.requires_grad_(False)
    return student if config.strength == 1 else interpolate(model, student, config.strength)


def learn(
    model: ModelT,
    images: Sequence[SyntheticImages],
    config: TeachingConfig,
    *,
    known: Sequence[str],
    replay: Sequence[SyntheticImages],
    seed: int,
    on_step: OnStep | None = None,
) -> tuple[ModelT, Objective]:
    """The student and its objective, before merging and interpolation; errors as for `fine_tune`."""
    check_distinct(value.concept for value in images)
    check_ability(model, config, replay)
    if replay and uses_replay(config) and not known_prompts(known, (value.concept for value in images)):
        raise ConfigError("replay images are asked for known names, and there are none: give `known`, or no replay")
    # towers that learn are the student's own
    student = cast(ModelT, model.copy(whole=moves_texts(config.update)))
    objective = start_objective(model, student, images, config, known, replay, seed)
    moving = [parameter.requires_grad_() for parameter in objective.parameters()]
    optimiser = _optimiser(moving, config)
    start = [parameter.detach().clone() for parameter in moving] if config.decay == "start" else []
    generator = Generator().manual_seed(seed)
    batches = _batches(objective.count, len(images), config, generator)
    for step, batch in enumerate(batches):
        loss = objective.loss(batch, generator)
        if not torch.isfinite(loss):
            raise ModelError(f"the loss became {loss.item()} at step {step}: try a smaller learning rate")
        optimiser.zero_grad()
        loss.backward()
        for parameter, old in zip(moving, start, strict=False):
            assert parameter.grad is not None
            parameter.grad.add_(parameter.detach() - old, alpha=config.weight_decay)
        if config.learning_rate:  # a step of no length would still turn zeros below zero into zeros
            optimiser.step()
        if on_step is not None:
            on_step(step + 1, len(batches))
    return student, objective


def _optimiser(parameters: Sequence[Tensor], config: TeachingConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.decay == "decoupled" else torch.optim.Adam
    decay = 0.0 if config.decay == "start" else config.weight_decay
    return kind(parameters, lr=config.learning_rate, betas=config.betas, eps=config.eps, weight_decay=decay)


def check_ability(model: VisionLanguageModel, config: TeachingConfig, replay: Sequence[SyntheticImages] = ()) -> None:
    """See before any work whether the loss can be used.

    Raises:
        ConfigError: if there are replay images and the loss has no use for them, or the update asks for a part
            that the model does not have.
        ModelError: if the model cannot do what the loss or the update asks for, saying what can.
    """
    task = f"teaching with the loss {config.loss!r}"
    if config.loss == "matching":
        fused_parameters(matcher(model, task), config.update)
    elif config.loss == "masked":
        fused_parameters(masked_lm(model, task), config.update)
    elif config.loss == "captioning":
        check_update(captioner(model, task), config.update)
    elif isinstance(model, FusedModel):
        raise ModelError(
            f"{task} needs a model with separate image and text embeddings (a CLIP), got {model.name!r}: "
            "it learns by the losses 'matching' and 'masked', as in the presets paper-matching and paper-implicit"
        )
    else:
        check_update(dual_encoder(model, task), config.update)
    if replay and config.loss in ("matching", "masked"):
        raise ConfigError(f"{task} has no use for replay images: leave them out")


def uses_replay(config: TeachingConfig) -> bool:
    """Whether replay images are learned from."""
    return config.loss not in ("matching", "masked") and config.replay_batch > 0


def start_objective(
    model: VisionLanguageModel,
    student: VisionLanguageModel,
    images: Sequence[SyntheticImages],
    config: TeachingConfig,
    known: Sequence[str] = (),
    replay: Sequence[SyntheticImages] = (),
    seed: int = 0,
) -> Objective:
    """What `config.loss` names, prepared from an untaught model and the copy of it that learns."""
    if config.loss == "matching":
        return Matching(matcher(student, "matching"), images, config, known)
    if config.loss == "masked":
        return Masked(masked_lm(student, "masking"), images, config)
    if config.loss == "captioning":
        writer, learner = captioner(model, "captioning"), captioner(student, "captioning")
        return Captioning(writer, learner, images, config, known, replay, seed)
    own, other = dual_encoder(model, "contrast"), dual_encoder(student, "contrast")
    return ContrastiveObjective(own, other, images, config, known, replay, seed)


def _batches(count: int, concepts: int, config: TeachingConfig, generator: Generator) -> list[Tensor]:
    """Indices of the images in each step: shuffled passes cut into batches, the last one short."""
    if config.steps == 0:
        passes = [torch.randperm(count, generator=generator) for _ in range(config.epochs)]
        return [batch for order in passes for batch in order.split(config.batch)]
    needed = round(config.steps * math.sqrt(concepts)) * config.batch
    passes = [torch.randperm(count, generator=generator) for _ in range(-(-needed // count))]
    return list(torch.cat(passes)[:needed].split(config.batch))
