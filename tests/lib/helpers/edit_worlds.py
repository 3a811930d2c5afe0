"""A world of embeddings in which descriptions tell where photos lie, and new names say nothing."""

import torch
from torch import Generator
from torch.nn.functional import normalize

from molyneux.teaching.edit import New
from molyneux.teaching.strength import Known

WIDTH, NAMES, CONCEPTS = 24, 80, 6


def random(*shape: int, seed: int) -> torch.Tensor:
    """Standard normal numbers, double precision."""
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def world(seed: int = 0) -> tuple[Known, New, torch.Tensor, torch.Tensor]:
    """Known classes and concepts, and five photos of each that lie near hidden points."""
    hidden = normalize(random(NAMES + CONCEPTS, WIDTH, seed=seed), dim=1)
    turn = torch.linalg.qr(random(WIDTH, WIDTH, seed=seed + 1))[0]
    names = normalize(hidden + 0.05 * random(*hidden.shape, seed=seed + 2), dim=1)
    names[NAMES:] = normalize(random(CONCEPTS, WIDTH, seed=seed + 3), dim=1)  # a new name says nothing
    described = normalize(hidden @ turn + 0.05 * random(*hidden.shape, seed=seed + 4), dim=1)
    photos = normalize(hidden.repeat_interleave(5, dim=0) + 0.1 * random(5 * len(hidden), WIDTH, seed=seed + 5), dim=1)
    seen, new = photos[: 5 * NAMES], photos[5 * NAMES :]
    known = Known(names=names[:NAMES], descriptions=described[:NAMES], images=seen[::5])
    return known, New(names=names[NAMES:], descriptions=described[NAMES:]), seen, new.view(CONCEPTS, 5, WIDTH)
