"""Images to weights: the checks, then the way of teaching that `OBJECTIVES` names; the loop that follows gradients."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Generator, Tensor

from molyneux.arguments import check_finite, check_texts
from molyneux.backends.abilities import ABILITIES
from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.gradients import with_gradients
from molyneux.concepts import check_distinct
from molyneux.errors import ConfigError, ModelError
from molyneux.synthetic import SyntheticImages
from molyneux.tables import imported, listed
from molyneux.teaching.choices import OBJECTIVES, ObjectiveKind, losses_where
from molyneux.teaching.config import LoRA, TeachingConfig
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.objectives.base import Lesson, Objective, start_objective
from molyneux.teaching.texts import KnownNames, known_prompts
from molyneux.teaching.updates import check_update, moves_texts

ModelT = TypeVar("ModelT", bound=VisionLanguageModel)

OnStep = Callable[[int, int], None]


@with_gradients
def fine_tune(
    model: ModelT,
    images: Sequence[SyntheticImages],
    config: TeachingConfig | None = None,
    *,
    known: KnownNames = (),
    replay: Sequence[SyntheticImages] = (),
    seed: int = 0,
    adapter: Path | None = None,
    on_step: OnStep | None = None,
) -> ModelT:
    """A new model that has learned the concepts; the given one stays as it is.

    Args:
        model: one with the ability that the loss needs.
        images: one value per concept; for an edit it may hold descriptions alone.
        config: Molyneux's own defaults if None.
        known: names that the model knows already, or a mapping from them to how each looks. An edit raises the new
            names beside them (ImageNet's if there are none). Prompts with them are negatives (losses 'bank' and
            'matching'), and distillation compares replay images with them.
        replay: images of known classes. An edit needs two or more, to know where images lie; contrastive losses keep
            the untaught model's answers on them.
        seed: decides the order and choice of images, and where a low-rank update starts.
        adapter: with a low-rank update, a folder to be made for the adapter, in peft's layout.
        on_step: called after each step with (steps done, steps in all).

    Raises:
        ConceptError: if two concepts have one name.
        ConfigError: if known names are needed and there are none, if the loss does not use replay images and there
            are some, or if `adapter` is given and the update is not low-rank.
        ModelError: if the model lacks the ability or the weights that are to move, a text has more tokens than it
            reads, or the loss is not finite.
    """
    config = config or TeachingConfig()
    if adapter is not None and not isinstance(config.update, LoRA):
        raise ConfigError("there is no adapter to save without a low-rank update: set teaching.update to a LoRA")
    student, objective = learn(model, Lesson(model, images, config, known, replay, seed), on_step)
    if adapter is not None:
        objective.save_adapter(adapter, config.strength)
    objective.finish()
    student.native.requires_grad_(False)
    return student if config.strength == 1 else interpolate(model, student, config.strength)


@with_gradients
def learn(model: ModelT, lesson: Lesson, on_step: OnStep | None = None) -> tuple[ModelT, Objective]:
    """The student and its objective, before merging and interpolation; `lesson` is of `model`. Errors: `fine_tune`."""
    check_texts(lesson.known, "known names")
    concepts, config = [value.concept for value in lesson.images], lesson.config
    check_distinct(concepts)
    check_ability(model, config, lesson.replay)
    if any(value.hidden is not None for value in lesson.images) and not config.objective.reads_hidden:
        raise ConfigError(
            f"hidden states cannot be taught by the loss {config.loss!r}: choose an edit or a contrastive loss, "
            f"{listed(losses_where(lambda kind: kind.reads_hidden))}"
        )
    compared = lesson.replay and config.uses_replay and not config.objective.merges
    if compared and not known_prompts(lesson.known, concepts):
        raise ConfigError("replay images are compared with known names, and there are none: give `known`, or no replay")
    teach: Any = imported("molyneux.teaching", config.objective.taught_by)
    return cast(tuple[ModelT, Objective], teach(lesson, on_step))


def descend(lesson: Lesson, on_step: OnStep | None = None) -> tuple[VisionLanguageModel, Objective]:
    """Minimise the objective by gradient descent; returns the student and its objective, before merging.

    The student keeps what edits taught the model before, as far as it is not unlearned, but not the memory of packs:
    they cannot be taken out of weights that moved.

    Raises:
        ModelError: if the loss is not finite.
    """
    config = lesson.config
    # a tower that moves must not be shared with the untaught model
    student: VisionLanguageModel = lesson.model.copy(whole=moves_texts(config.update))
    student.merged = None
    objective = start_objective(lesson, student)
    moving = [parameter.requires_grad_() for parameter in objective.parameters()]
    optimiser = _optimiser(moving, config)
    start = [parameter.detach().clone() for parameter in moving] if config.decay == "start" else []
    generator = Generator().manual_seed(lesson.seed)
    batches = _batches(objective.count, len(lesson.images), config, generator)
    for step, batch in enumerate(batches):
        loss = objective.loss(batch, generator)
        check_finite(loss, "loss", step)
        if not loss.requires_grad:
            raise ConfigError(
                "no weight that may move lies above the hidden states: set inversion.block lower, or "
                "teaching.update.part to 'projection', 'blocks' or 'tower'"
            )
        optimiser.zero_grad()
        loss.backward()
        for parameter, old in zip(moving, start, strict=False):
            if parameter.grad is not None:  # weights below hidden states have none
                parameter.grad.add_(parameter.detach() - old, alpha=config.weight_decay)
        if config.learning_rate:  # a step of length 0 would still turn -0.0 into 0.0
            optimiser.step()
        if on_step is not None:
            on_step(step + 1, len(batches))
    return student, objective


def _optimiser(parameters: Sequence[Tensor], config: TeachingConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.decay == "decoupled" else torch.optim.Adam
    decay = 0.0 if config.decay == "start" else config.weight_decay
    return kind(parameters, lr=config.learning_rate, betas=config.betas, eps=config.eps, weight_decay=decay)


def check_ability(model: VisionLanguageModel, config: TeachingConfig, replay: Sequence[SyntheticImages] = ()) -> None:
    """Raise an error if the model cannot be taught with these settings; cheap.

    Raises:
        ConfigError: if there are replay images and the loss does not use them.
        ModelError: if the model lacks the ability or the weights that are to move; it says which losses suit.
    """
    task = f"teaching with the loss {config.loss!r}"
    try:
        ABILITIES[config.objective.needs](model, task)
    except ModelError as error:
        presets = [f"{name!r} (preset {kind.preset})" for name, kind in OBJECTIVES.items() if _can(model, kind)]
        raise ModelError(f"{error}: it learns by the losses {', '.join(presets)}") from None
    if not config.objective.merges:
        check_update(model, config.update)
    if replay and not config.objective.uses_replay:
        raise ConfigError(f"{task} has no use for replay images: leave them out")


def _can(model: VisionLanguageModel, kind: ObjectiveKind) -> bool:
    try:
        ABILITIES[kind.needs](model, "teaching")
    except ModelError:
        return False
    return True


def _batches(count: int, concepts: int, config: TeachingConfig, generator: Generator) -> list[Tensor]:
    """Indices of the images in each step: shuffled passes, cut into batches; the last batch may be short."""
    if config.steps == 0:
        passes = [torch.randperm(count, generator=generator) for _ in range(config.epochs)]
        return [batch for order in passes for batch in order.split(config.batch)]
    needed = round(config.steps * math.sqrt(concepts)) * config.batch
    passes = [torch.randperm(count, generator=generator) for _ in range(-(-needed // count))]
    return list(torch.cat(passes)[:needed].split(config.batch))
