"""Which weights move."""

from torch import nn

from molyneux.backends.base import DualEncoder
from molyneux.teaching.config import Full, TeachingConfig


def moving_parameters(model: DualEncoder, update: Full) -> list[nn.Parameter]:
    """The parameters that an update moves, in a fixed order; statistics and the text tower are never among them."""
    if update.part == "tower":
        modules = [model.vision_module()]
    elif update.part == "blocks":
        modules = [*model.trunk_modules()[-update.blocks :], model.projection_module()]
    else:
        modules = [model.projection_module()]
    return [parameter for module in modules for parameter in module.parameters()]


def shares_trunk(config: TeachingConfig) -> bool:
    """True if the taught model's features, before the projection, are those of the model it came from."""
    return config.update.part == "projection"
