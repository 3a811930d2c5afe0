"""Heat maps of photos as they come: squeezed to the model's square, and stretched back."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from molyneux.backends.abilities import Explainable
from molyneux.datasets.photos import square
from molyneux.shapes import Embeddings
from molyneux.tasks.localisation.config import SaliencyConfig
from molyneux.tasks.localisation.saliency import Grids, heat, information


def grids(model: Explainable, photos: Sequence[Image.Image], targets: Embeddings, config: SaliencyConfig) -> Grids:
    """`information` of photos of any size, on the CPU; `targets` has the embedding of a text for each."""
    side = model.image_size
    pixels = np.stack([np.array(square(photo, side, fit="squash")) for photo in photos])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return information(model, images.to(model.device), targets, config).cpu()


def heat_map(
    model: Explainable, photo: Image.Image, text: str, config: SaliencyConfig | None = None
) -> Float[Tensor, "height width"]:
    """Where the model sees a text in a photo: 0 to 1 for each of its pixels.

    Raises:
        ConfigError: if the settings name a block that the tower has not.
        ModelError: if the text is too long for the model.
    """
    found = grids(model, [photo], model.embed_texts([text]), config or SaliencyConfig())
    return heat(found, (photo.height, photo.width))[0]
