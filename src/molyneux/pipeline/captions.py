"""`molyneux caption`: a folder of photos in, a sentence about each out."""

from pathlib import Path

import torch

from molyneux.backends.abilities import captioner
from molyneux.backends.load import load
from molyneux.captioning.config import CaptioningConfig
from molyneux.captioning.decode import write_captions
from molyneux.datasets.folders import photos_below
from molyneux.datasets.photos import batches, check_headers
from molyneux.pipeline.settings import Progress, check_seed


def caption_photos(
    model: str, folder: Path, config: CaptioningConfig, *, seed: int = 0, on_step: Progress | None = None
) -> dict[str, str]:
    """For each photo below `folder`, by its path relative to it, what the model says about it.

    Raises:
        ConfigError: if captions would be longer than the model reads.
        DataError: if the folder or a photo cannot be read.
        ModelError: if there is no such model, or it writes no captions.
    """
    check_seed(seed)
    folder = Path(folder)
    paths = photos_below(folder)
    check_headers(paths)
    speaker = captioner(load(model), "captioning")
    captions: list[str] = []
    for images in batches(paths, speaker.image_size, speaker.crop_fraction, fit=speaker.photo_fit):
        with torch.no_grad():
            captions += write_captions(speaker, images.to(speaker.device), config, seed=seed, first=len(captions))
        if on_step is not None:
            on_step("captions", len(captions), len(paths))
    return dict(zip((path.relative_to(folder).as_posix() for path in paths), captions, strict=True))
