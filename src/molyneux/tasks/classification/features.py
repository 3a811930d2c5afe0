"""Photos and names as a model sees them: computed once, scored as often as wanted."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from molyneux.backends.base import DualEncoder, VisionLanguageModel, frozen
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.photos import batches
from molyneux.datasets.windows import Window
from molyneux.errors import DataError, ModelError
from molyneux.shapes import Embeddings, Features, Labels
from molyneux.tasks.classification.prompts import PROMPTS, check_prompts

OnStep = Callable[[str, int, int], None]
"""Told what is being worked on, how much of it is done, and how much there is."""

_TEXTS_AT_ONCE = 100
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhotoFeatures:
    """A folder's photos below the projection: what stays the same while only the projection is taught."""

    root: Path
    names: tuple[str, ...]
    """The folder's classes, distinct."""
    labels: Labels
    """Index into `names` for each photo."""
    paths: tuple[str, ...]
    """Relative to `root`, with forward slashes."""
    features: Features
    """On the CPU."""
    image_size: int
    crop_fraction: float
    scans: Window | None = None
    """What DICOM and NIfTI files were looked at through, if there were any."""
    medical: bool = False
    notes: tuple[str, ...] = ()
    """What there is to say of the folder's files."""
    later: Bool[Tensor, " n"] | None = None
    """For each photo whether its class is not the first with its name; None where all are."""

    def __len__(self) -> int:
        return len(self.paths)

    def only(self, names: Collection[str]) -> "PhotoFeatures":
        """The photos of the classes with these names (in any case).

        Raises:
            DataError: if no class has one of them.
        """
        wanted = {name.casefold() for name in names}
        kept = [index for index, name in enumerate(self.names) if name.casefold() in wanted]
        if not kept:
            raise DataError(f"{self.root} has no photos of any of {', '.join(names)}: expected at least one of them")
        rows = torch.isin(self.labels, torch.tensor(kept)).nonzero()[:, 0]
        return replace(
            self,
            names=tuple(self.names[index] for index in kept),
            labels=torch.tensor([kept.index(label) for label in self.labels[rows].tolist()]),
            paths=tuple(self.paths[row] for row in rows.tolist()),
            features=self.features[rows],
            later=None if self.later is None else self.later[rows],
        )


def photo_features(
    model: DualEncoder, folder: PhotoFolder, on_step: OnStep | None = None, what: str = "photos"
) -> PhotoFeatures:
    """Features of every photo of a folder, in the folder's order, at the model's own size and crop.

    Raises:
        DataError: if a photo cannot be read.
    """
    rows: list[Features] = []
    done = 0
    with torch.no_grad(), frozen(model.native):
        parts = batches(folder.paths, model.image_size, model.crop_fraction, fit=model.photo_fit, window=folder.window)
        for images in parts:
            rows.append(model.features(images.to(model.device)).float().cpu())
            done += len(images)
            if on_step is not None:
                on_step(what, done, len(folder))
    return PhotoFeatures(
        root=folder.root,
        names=folder.names,
        labels=torch.tensor([photo.label for photo in folder.photos]),
        paths=folder.relative_paths,
        features=torch.cat(rows),
        image_size=model.image_size,
        crop_fraction=model.crop_fraction,
        scans=folder.scans,
        medical=folder.medical,
        notes=folder.notes,
        later=later_photos(folder),
    )


def later_photos(photos: PhotoFolder | PhotoFeatures) -> Bool[Tensor, " n"] | None:
    """For each photo whether its class is not the first with its name; None where all are."""
    if isinstance(photos, PhotoFeatures):
        return photos.later
    later = torch.tensor([photo.later for photo in photos.photos])
    return later if later.any() else None


def name_texts(
    names: Sequence[str], prompts: Sequence[str] = PROMPTS, described: Mapping[str, str | Sequence[str]] | None = None
) -> list[list[str]]:
    """For each name what stands for it: the name put into each prompt, or its text or texts in `described` alone.

    >>> name_texts(["ring", "cup"], ["{}", "a {}."], {"cup": "A bowl with an ear."})
    [['ring', 'a ring.'], ['A bowl with an ear.']]
    """
    own = {name: [text] if isinstance(text, str) else list(text) for name, text in (described or {}).items()}
    return [own.get(name, [prompt.replace("{}", name) for prompt in prompts]) for name in names]


def name_embeddings(
    model: DualEncoder,
    names: Sequence[str],
    prompts: Sequence[str] = PROMPTS,
    described: Mapping[str, str] | None = None,
) -> Embeddings:
    """One unit row for each name, on the CPU: the mean direction of the name put into each prompt.

    A name in `described` is represented by that text alone instead.

    Raises:
        ConfigError: if there is no prompt, or one does not hold '{}' exactly once.
        ModelError: if a text has more tokens than the model reads.
    """
    check_prompts(prompts)
    groups = embedded_texts(model, name_texts(names, prompts, described))
    if not groups:
        return model.embed_texts(["nothing"]).float().cpu()[:0]
    return torch.nn.functional.normalize(torch.stack([group.mean(dim=0) for group in groups]), dim=1)


def embedded_texts(model: DualEncoder, texts: Sequence[Sequence[str]]) -> tuple[Float[Tensor, "_ d"], ...]:
    """For each class the unit rows of its texts, on the CPU.

    Raises:
        ModelError: if a text has more tokens than the model reads.
    """
    flat = [text for group in texts for text in group]
    rows = [
        model.embed_texts(flat[start : start + _TEXTS_AT_ONCE]).float().cpu()
        for start in range(0, len(flat), _TEXTS_AT_ONCE)
    ]
    return torch.cat(rows).split([len(group) for group in texts]) if rows else ()


def scores_from_features(model: DualEncoder, features: Features, texts: Float[Tensor, "c d"]) -> Float[Tensor, "n c"]:
    """Cosines between photos, given as features, and texts: (photos, texts), on the CPU.

    Raises:
        ModelError: if a score is not a number, as after a diverged training.
    """
    columns = texts.to(model.device).T
    with torch.no_grad(), frozen(model.projection_module()):
        rows = [
            (model.project(part.to(model.device)).float() @ columns).cpu()
            for part in torch.split(features, _ROWS_AT_ONCE)
        ]
    return checked_scores(model, torch.cat(rows))


def checked_scores(model: VisionLanguageModel, scores: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """The scores; ModelError if one is not a number, as after a diverged training."""
    if not scores.isfinite().all():
        raise ModelError(
            f"{model.name!r} scores photos with values that are no numbers: if it was taught, "
            "teach it with a lower learning rate; else get its weights anew"
        )
    return scores
