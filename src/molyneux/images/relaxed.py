"""Hidden states to teach on, from relaxed inversion (Eq. 5)."""

from functools import partial

import torch

from molyneux.backends.abilities import Explainable, explainable
from molyneux.backends.base import VisionLanguageModel
from molyneux.concepts import Concept
from molyneux.images.config import ImageRequest
from molyneux.images.external import Readers
from molyneux.images.replay import replay_images
from molyneux.inversion.relaxed import relax
from molyneux.runs.options import Progress
from molyneux.synthetic import SyntheticImages


def hidden_states(model: VisionLanguageModel, request: ImageRequest, on_step: Progress | None = None) -> Readers:
    """Hidden states for each concept; replay images of known classes say how they should be distributed.

    Raises:
        ModelError: if the model's vision tower is not known block by block.
        ConfigError: if it has no such block.
    """
    divided = explainable(model, "relaxed inversion")
    return [partial(_relaxed, divided, concept, request, on_step) for concept in request.concepts]


def _relaxed(model: Explainable, concept: Concept, request: ImageRequest, on_step: Progress | None) -> SyntheticImages:
    replay = replay_images(model, taught=request.concept_names, on_step=on_step)
    label = f"hidden states of {concept.name}"
    told = None if on_step is None else lambda done, total: on_step(label, done, total)
    natural = torch.cat([one.pixels for one in replay])
    return relax(model, concept, natural, request.inversion, seed=request.seed, on_step=told)
