"""Heat maps by an information bottleneck: what a vision tower must hear of each place to find an image like a text."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, logsigmoid

from molyneux.backends.abilities import Explainable
from molyneux.errors import ConfigError
from molyneux.shapes import Embeddings, Images
from molyneux.tasks.localisation.config import SaliencyConfig

Grids = Float[Tensor, "n rows columns"]

OPEN = 5.0
"""Where the gates start: sigmoid(5) = 0.993 of every value passes."""

_TINY = 1e-6


def information(
    model: Explainable,
    images: Images,
    targets: Embeddings,
    config: SaliencyConfig,
    *,
    on_step: Callable[[int], None] | None = None,
) -> Grids:
    """Nats that pass at each place of a hidden state, once all that does not serve its target has been shut out.

    Each value z of the hidden state passes a gate g: g z + (1 - g) e with e from N(0, 1), which tells
    KL(N(g z, (1 - g)^2) || N(0, 1)) of z. Gates minimise beta * mean KL - cosine(target, embedding), averaged over the
    noises. What lies below the bottleneck is computed once. All images meet the same noise, so that an image's grid
    depends neither on its company nor on its place.

    Args:
        model: whose vision tower is known block by block.
        images: (n, 3, h, w) in [0, 1].
        targets: for each image the embedding of its text.
        config: the settings.
        on_step: called with the number of steps done.

    Returns:
        One number for each place of the hidden state, at least 0: (n, rows, columns), channels summed.

    Raises:
        ConfigError: if the tower has no such block.

    Source: Wang et al. (2023), Visual Explanations of Image-Text Representations via Multi-Modal Information
    Bottleneck Attribution; Schulz et al. (2020), Restricting the Flow.
    """
    block = chosen_block(model, config)
    with torch.no_grad():
        hidden = model.lower(images, block)
    mean, deviation = _moments(hidden) if config.noise == "layer" else (hidden.new_zeros(()), hidden.new_ones(()))
    values = (hidden - mean) / deviation
    gates = torch.full_like(hidden, OPEN).requires_grad_()
    optimizer = torch.optim.Adam([gates], lr=config.learning_rate)
    generator = torch.Generator().manual_seed(config.seed)
    for step in range(config.steps):
        noise = torch.randn(config.draws, *hidden.shape[1:], generator=generator).to(hidden)
        loss = torch.zeros((), device=hidden.device)
        for draw in noise:
            passed = gates.sigmoid() * values + (-gates).sigmoid() * draw
            loss = loss - (model.upper(mean + deviation * passed, block) * targets).sum() / config.draws
        loss = loss + config.beta * capacity(gates, values).flatten(1).mean(dim=1).sum()
        (gates.grad,) = torch.autograd.grad(loss, [gates])
        optimizer.step()
        if on_step is not None:
            on_step(step + 1)
    return model.places(capacity(gates.detach(), values)).sum(dim=-1)


def capacity(gates: Float[Tensor, "*s"], values: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """KL(N(g z, (1 - g)^2) || N(0, 1)) in nats for z in `values` and g the sigmoid of `gates`; finite for open gates.

    >>> capacity(torch.tensor([0.0]), torch.tensor([0.0]))  # log 2 - 3/8
    tensor([0.3181])
    """
    means, deviations = gates.sigmoid() * values, (-gates).sigmoid()
    return ((means**2 + deviations**2 - 1) / 2 - logsigmoid(-gates)).clamp_min(0)


def heat(grids: Grids, size: tuple[int, int]) -> Float[Tensor, "n height width"]:
    """Grids at the size (height, width) of an image, bilinear, each stretched to [0, 1]; a constant one becomes 0."""
    maps = interpolate(grids[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    # whether it is constant is to be seen before rounding makes it uneven
    even = (grids == grids[:, :1, :1]).all(dim=2).all(dim=1)[:, None, None]
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(even, 0.0, (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny))


@torch.no_grad()
def chosen_block(model: Explainable, config: SaliencyConfig) -> int:
    """After how many blocks the bottleneck lies: `Explainable.middle_block` if the settings leave it open.

    Raises:
        ConfigError: if there are fewer blocks than the settings say.
    """
    if config.block:
        if config.block > model.block_count:
            raise ConfigError(
                f"saliency.block is {config.block}: expected 0 to {model.block_count}, the blocks of {model.name!r}"
            )
        return config.block
    return model.middle_block


def _moments(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel over an image's places."""
    places = (2, 3) if hidden.ndim == 4 else (1,)
    mean = hidden.mean(dim=places, keepdim=True)
    return mean, hidden.std(dim=places, keepdim=True, correction=0).clamp_min(_TINY)
