"""Pictures to weights: one loop for every way of teaching."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from molyneux.backends.abilities import captioner
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.concepts import check_distinct
from molyneux.errors import ModelError
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.captioning import Captioning
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.contrast import Contrast
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.objective import Objective

OnStep = Callable[[int, int], None]


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
        ConfigError: if the loss needs known names and there are none.
        ModelError: if a caption does not fit the text tower, the model lacks an ability that the loss needs, or
            the loss is not a number.
    """
    config = config or TeachingConfig()
    check_distinct(value.concept for value in pictures)
    student = dual_encoder(model.copy(), "teaching")
    objective = start_objective(model, student, pictures, config, known, replay)
    optimiser = torch.optim.Adam(
        [parameter.requires_grad_() for parameter in objective.parameters()],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
    generator = Generator().manual_seed(seed)
    batches = _batches(objective.count, len(pictures), config, generator)
    for step, batch in enumerate(batches):
        loss = objective.loss(batch, generator)
        if not torch.isfinite(loss):
            raise ModelError(f"the loss became {loss.item()} at step {step}: try a smaller learning rate")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if on_step is not None:
            on_step(step + 1, len(batches))
    objective.finish()
    student.native.requires_grad_(False)
    return student if config.interpolate == 1 else interpolate(model, student, config.interpolate)


def start_objective(
    model: DualEncoder,
    student: DualEncoder,
    pictures: Sequence[SyntheticImages],
    config: TeachingConfig,
    known: Sequence[str],
    replay: Sequence[SyntheticImages],
) -> Objective:
    """What the configuration's loss asks for, before the first step; errors as for `teach`."""
    if config.loss == "captioning":
        task = "the loss 'captioning'"
        return Captioning(captioner(model, task), captioner(student, task), pictures, config, known, replay)
    return Contrast(model, student, pictures, config, known, replay)


def _batches(count: int, concepts: int, config: TeachingConfig, generator: Generator) -> list[Tensor]:
    """Indices of the pictures in each step: shuffled passes cut into batches, the last one short."""
    if config.steps == 0:
        passes = [torch.randperm(count, generator=generator) for _ in range(config.epochs)]
        return [batch for order in passes for batch in order.split(config.batch)]
    needed = round(config.steps * math.sqrt(concepts)) * config.batch
    passes = [torch.randperm(count, generator=generator) for _ in range(-(-needed // count))]
    return list(torch.cat(passes)[:needed].split(config.batch))
