"""Replay images: inverted images of known classes, made once for each model."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.digest import weights_digest
from molyneux.backends.packs import original_name
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.names import without
from molyneux.errors import DataError
from molyneux.files import write_bytes
from molyneux.images.config import ReplayConfig
from molyneux.inversion.invert import invert_each
from molyneux.runs.folder import threads
from molyneux.runs.options import Progress
from molyneux.runs.stage import Stage, StageFolder
from molyneux.runs.text_cache import cache_folder
from molyneux.synthetic import SyntheticImages

FILE = "replay.safetensors"
STAGE = "replay images, once for this model"
_ABOUT, _FORMAT = "molyneux_replay", 2
"""The one entry of a file's metadata, since several have no fixed order; and its layout."""


def replay_images(
    model: VisionLanguageModel,
    config: ReplayConfig | None = None,
    *,
    taught: Iterable[str] = (),
    on_step: Progress | None = None,
) -> tuple[SyntheticImages, ...]:
    """Images of known classes, but not of those in `taught`: shipped with the model, cached, or else made now.

    The first making takes a while (it inverts an image of every class), survives an interruption, and is kept in
    the cache folder (`MOLYNEUX_CACHE`, else the user's) under the model's weights and the settings.

    A cached file that is not as it was written is made again, and that is told.

    Raises:
        DataError: if the shipped set cannot be read.
        OutputError: if the cache folder cannot be written.
    """
    config = config or ReplayConfig()
    shipped = shipped_set(original_name(model), config)
    found = _shipped(shipped) if shipped is not None else _cached(model, config, on_step)
    kept = without([one.concept.name for one in found], taught)
    return tuple(one for one in found if one.concept.name in kept)


def _shipped(path: Path) -> tuple[SyntheticImages, ...]:
    try:
        return load_replay(path)
    except DataError as error:
        raise DataError(f"{error}: install molyneux again") from error


def _cached(model: VisionLanguageModel, config: ReplayConfig, on_step: Progress | None) -> tuple[SyntheticImages, ...]:
    path = cache_folder() / "replay" / _key(model, config) / FILE
    groups = path.parent / "classes"
    if path.is_file():
        try:
            found = load_replay(path)
        except DataError as error:
            if on_step is not None:
                on_step(f"replay images are made again: {error}", 1, 1)
        else:
            shutil.rmtree(groups, ignore_errors=True)  # what a killed process left
            return found
    save_replay(make_replay(model, config, groups, on_step=on_step), path, config)
    shutil.rmtree(groups, ignore_errors=True)
    return load_replay(path)


def make_replay(
    model: VisionLanguageModel, config: ReplayConfig, folder: Path, *, on_step: Progress | None = None
) -> tuple[SyntheticImages, ...]:
    """Invert 'a photo of a NAME.' for each class; `folder` keeps the finished groups until all are there."""
    names, steps = replay_names(config), config.inversion.steps
    groups = [names[start : start + config.together] for start in range(0, len(names), config.together)]

    def invert_group(place: int) -> None:
        made = invert_each(
            model,
            [depicted(name) for name in groups[place]],
            config.inversion,
            seed=config.seed,
            checkpoint=folder / f"{place:04d}.pt",
            on_step=_part_of(on_step, place * steps, len(groups) * steps),
        )
        save_replay(made, folder / files[place], config)

    files = [f"{place:04d}.safetensors" for place in range(len(groups))]
    about = {"weights": weights_digest(model.native), "config": asdict(config), "threads": threads()}
    StageFolder(folder, on_step).run(
        Stage(name=f"{STAGE}/{place}", inputs=about, files=(file,), make=partial(invert_group, place))
        for place, file in enumerate(files)
    )
    return tuple(images for file in files for images in load_replay(folder / file))


def depicted(name: str) -> Concept:
    """A known class as a concept, with its prompt as the description."""
    return Concept(name, f"a photo of a {name}.")


def replay_names(config: ReplayConfig) -> tuple[str, ...]:
    """Known classes, drawn by the seed from ImageNet's distinct names."""
    # a concept's name has no slash, and five of these do
    distinct = sorted({name for name in imagenet_names() if "/" not in name})
    return tuple(random.Random(config.seed).sample(distinct, config.count))


def save_replay(images: Sequence[SyntheticImages], path: Path, config: ReplayConfig) -> None:
    """Write one safetensors file: 8-bit 'pixels' of all images, their names and settings as metadata."""
    pixels = torch.cat([one.pixels for one in images])
    values = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).contiguous()
    about = {
        "format": _FORMAT,
        "names": [one.concept.name for one in images for _ in range(len(one))],
        "config": asdict(config),
    }
    text = json.dumps({**about, "sha256": _digest(about, values)})
    write_bytes(path, save({"pixels": values}, metadata={_ABOUT: text}))


def _digest(about: Mapping[str, Any], pixels: Tensor) -> str:
    found = hashlib.sha256(json.dumps(about).encode())
    found.update(pixels.contiguous().numpy().data)
    return found.hexdigest()


def load_replay(path: Path) -> tuple[SyntheticImages, ...]:
    """Read what `save_replay` wrote: one value for each class.

    Raises:
        DataError: if the file is missing, corrupt, or not such a set.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
            values = file.get_tensor("pixels")
        stated = about.pop("sha256")
        names, config = about["names"], about["config"]
        if about["format"] != _FORMAT or len(names) != len(values) or values.ndim != 4:
            raise ValueError("it is no replay set of this version")
        if _digest(about, values) != stated:
            raise ValueError("it has not the SHA-256 that it states")
    except (OSError, KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise DataError(f"the replay images {path} cannot be read ({error})") from error
    pixels = values.float() / 255
    return tuple(
        SyntheticImages(
            concept=depicted(name),
            pixels=pixels[[row for row, other in enumerate(names) if other == name]],
            seed=config["seed"],
            depicted=name,
        )
        for name in dict.fromkeys(names)
    )


def shipped_set(model: str, config: ReplayConfig) -> Path | None:
    """The replay set in the package; None if there is none for this model, or the settings are not the defaults."""
    if model != "mini" or config != ReplayConfig():
        return None
    path = Path(str(resources.files("molyneux") / "models" / model / FILE))
    return path if path.is_file() else None


def _part_of(on_step: Progress | None, before: int, total: int) -> Callable[[int, int], None] | None:
    if on_step is None:
        return None
    return lambda done, _: on_step(STAGE, before + done, total)


def _key(model: VisionLanguageModel, config: ReplayConfig) -> str:
    text = weights_digest(model.native) + json.dumps(asdict(config), sort_keys=True)
    if model.precision != "fp32":
        text += model.precision
    return hashlib.sha256(text.encode()).hexdigest()[:16]
