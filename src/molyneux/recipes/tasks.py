"""How a experiment's model is scored: one function for each task, and what each needs of the data that were brought."""

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from molyneux.backends.abilities import captioner
from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.datasets.captioned import CaptionedPhotos, read_captioned
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.imagenet import ClassNames, described_classes
from molyneux.datasets.marked import MarkedSet
from molyneux.datasets.names import name_key
from molyneux.datasets.photos import check_headers, checked
from molyneux.datasets.segmented import READERS, read_marked
from molyneux.datasets.sets import data_set, named_set, read_set
from molyneux.errors import DataError
from molyneux.inversion.invert import invert
from molyneux.recipes.schema import Captioning, Classification, Cost, Experiment, Localisation, Retrieval
from molyneux.records import SCORES, read_record
from molyneux.runs.folder import is_unfinished
from molyneux.runs.options import Progress
from molyneux.tasks.captioning.run import caption_photos
from molyneux.tasks.captioning.scores import score_captions
from molyneux.tasks.classification.descriptions import definition_texts
from molyneux.tasks.classification.features import PhotoFeatures, photo_features
from molyneux.tasks.classification.prompts import read_templates
from molyneux.tasks.classification.zero_shot import evaluate
from molyneux.tasks.localisation.record import LocaliseResult
from molyneux.tasks.localisation.run import LocaliseSettings, localise_set
from molyneux.tasks.retrieval.scores import retrieve
from molyneux.teaching.updates import shares_trunk


@dataclass(frozen=True, slots=True)
class Data:
    """What was brought, read as far as is cheap."""

    photos: Mapping[tuple[str, ClassNames], PhotoFolder]
    """By the set's name and what its classes are called."""
    captioned: Mapping[str, CaptionedPhotos]
    marked: Mapping[str, tuple[str, MarkedSet]]
    """Where it lies, as `read_marked` takes it, and what is there."""

    @staticmethod
    def read(
        experiments: Sequence[Experiment], given: Mapping[str, Path], source: str, *, drawn: bool = False
    ) -> "Data":
        """Every data set that the experiments need, in its published layout, or a folder per class where it was drawn.

        `source` says who asks.

        Raises:
            DataError: if one was not brought, is not in its layout, or has no photos of a experiment's concept.
        """
        photos: dict[tuple[str, ClassNames], PhotoFolder] = {}
        captioned: dict[str, CaptionedPhotos] = {}
        marked: dict[str, tuple[str, MarkedSet]] = {}
        missing = [name for name in dict.fromkeys(n for one in experiments for n in one.data) if name not in given]
        if missing:
            more = "".join(f" --data {name}=FOLDER" for name in missing)
            raise DataError(f"{source} needs {' and '.join(missing)}: add{more}, or try it with --miniature")
        for experiment in experiments:
            task = experiment.evaluate
            for name in experiment.data:
                if isinstance(task, Classification) and (name, task.class_names) not in photos:
                    found = read_set(_layout(name, given[name], drawn), class_names=task.class_names)
                    photos[name, task.class_names] = checked(found)
                elif isinstance(task, Retrieval | Captioning) and name not in captioned:
                    captioned[name] = read_captioned(given[name], task.split)
                    check_headers(captioned[name].paths)
                elif isinstance(task, Localisation) and name not in marked:
                    where = _marked_layout(name, given[name], drawn)
                    marked[name] = (where, read_marked(where))
                    if not marked[name][1].is_marked:
                        raise DataError(
                            f"{given[name]} holds images without masks: {source} scores them, so add masks/"
                        )
            if isinstance(task, Classification) and task.novel is not None and experiment.taught:
                _check_depicted(experiment, photos[task.novel, task.class_names])
        return Data(photos, captioned, marked)

    def files(self) -> dict[str, list[str]]:
        """The files of each data set, relative to its folder."""
        sets = {name: list(one.relative_paths) for (name, _), one in self.photos.items()}
        sets |= {name: list(one.names) for name, one in self.captioned.items()}
        return sets | {name: [item.name for item in one.items] for name, (_, one) in self.marked.items()}


@dataclass(frozen=True, slots=True)
class Base:
    """An untaught model, and what it makes of photos below the projection, which some of its pupils share."""

    model: VisionLanguageModel
    seen: dict[tuple[str, ClassNames], PhotoFeatures] = field(default_factory=dict)

    def photos(
        self, name: str, class_names: ClassNames, data: Data, experiment: Experiment, on_step: Progress | None
    ) -> PhotoFolder | PhotoFeatures:
        """A data set's photos; seen once for all experiments that leave the trunk as it is."""
        photos = data.photos[name, class_names]
        if not isinstance(self.model, DualEncoder) or (experiment.taught and not shares_trunk(experiment.teaching)):
            return photos
        if (name, class_names) not in self.seen:
            self.seen[name, class_names] = photo_features(self.model, photos, on_step, name)
        return self.seen[name, class_names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a stage may write."""

    kept: Path
    """What a person may want to look at afterwards."""
    work: Path
    """What is needed until the stage is finished."""


def score(
    model: VisionLanguageModel,
    base: Base,
    experiment: Experiment,
    concepts: Sequence[Concept],
    data: Data,
    place: Place,
    *,
    running: Running,
    on_step: Progress | None = None,
) -> dict[str, Any]:
    """The scores of a model, which may be the base, at the experiment's task; half-done work resumes."""
    task = experiment.evaluate
    if isinstance(task, Classification):
        seen = {name: base.photos(name, task.class_names, data, experiment, on_step) for name in experiment.data}
        return _classification(model, task, concepts, seen, on_step)
    if isinstance(task, Retrieval):
        return retrieve(model, data.captioned[task.data], on_step=on_step, finished=place.work).as_dict()
    if isinstance(task, Captioning):
        photos = data.captioned[task.data]
        written = caption_photos(
            captioner(model, "captioning"),
            photos,
            task.decoding,
            seed=experiment.seed,
            kept=place.work,
            on_step=on_step,
        )
        return score_captions(written, photos.as_references(), java=task.java).metrics.as_dict()
    if isinstance(task, Localisation):
        return _localisation(model, experiment, task, data, place, running, on_step)
    assert isinstance(task, Cost)
    return _cost(model, experiment, concepts[0], on_step)


def _classification(
    model: VisionLanguageModel,
    task: Classification,
    concepts: Sequence[Concept],
    photos: Mapping[str, PhotoFolder | PhotoFeatures],
    on_step: Progress | None,
) -> dict[str, Any]:
    names = [one.name for one in concepts]
    return evaluate(
        model,
        novel=None if task.novel is None else _those(photos[task.novel], names),
        known=None if task.known is None else photos[task.known],
        concepts=None if task.novel is None else names,
        prompts=read_templates(task.templates),
        ensemble=task.ensemble,
        class_names=task.class_names,
        described=_defined(task, concepts, photos),
        on_step=on_step,
    ).as_dict(classes=True)


def _defined(
    task: Classification, concepts: Sequence[Concept], photos: Mapping[str, PhotoFolder | PhotoFeatures]
) -> dict[str, list[str]]:
    """The definitions that stand in place of names; ImageNet's classes have Molyneux's descriptions."""
    if task.described == "no":
        return {}
    known = () if task.known is None or task.described == "asymmetric" else photos[task.known].names
    shipped = {name_key(name): text for name, text in described_classes().items()}
    given = {name: shipped[name_key(name)] for name in known if name_key(name) in shipped}
    texts = definition_texts(known, concepts, naming="symmetric", descriptions=given)
    return dict(zip((*known, *(one.name for one in concepts)), texts, strict=True))


def _localisation(
    model: VisionLanguageModel,
    experiment: Experiment,
    task: Localisation,
    data: Data,
    place: Place,
    running: Running,
    on_step: Progress | None,
) -> dict[str, Any]:
    name = experiment.model
    if experiment.taught:
        name = str(place.work / "model")
        if not Path(name).is_dir():
            model.save(Path(name))
    settings = LocaliseSettings(
        model=name,
        images=data.marked[task.data][0],
        out=place.kept,
        texts=(task.text,),
        sam=task.sam,
        saliency=task.saliency,
        masks=task.masks,
        limit=task.limit,
        limit_seed=task.limit_seed if task.limit else None,
        shown=task.shown,
        base=experiment.model if experiment.compared else None,
        running=running,
    )
    finished = place.kept / SCORES
    if finished.is_file() and not is_unfinished(place.kept):
        return read_record(LocaliseResult, finished).as_dict()
    return localise_set(settings, on_step=on_step).as_dict()


def _cost(
    model: VisionLanguageModel, experiment: Experiment, concept: Concept, on_step: Progress | None
) -> dict[str, Any]:
    """Seconds for the images of one concept, and the most memory that was in use meanwhile, in MiB."""
    cuda = model.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(model.device)
    started = time.perf_counter()
    step = None if on_step is None else lambda done, total: on_step("images", done, total)
    invert(model, concept, experiment.inversion, seed=experiment.seed, on_step=step)
    seconds = time.perf_counter() - started
    scale = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    memory = torch.cuda.max_memory_allocated(model.device) if cuda else peak
    return {
        "seconds": seconds,
        "memory_mib": memory / 2**20,
        "memory_of": "the GPU's allocations" if cuda else "the whole process, at most so far",
    }


def _layout(name: str, given: Path, drawn: bool) -> str:
    """What `read_set` takes: a folder in the layout that it says, else in that of the data set it stands for."""
    plain = drawn or data_set(name) is None or named_set(given)[1] != given
    return str(given) if plain else f"{name}:{given}"


def _marked_layout(name: str, given: Path, drawn: bool) -> str:
    """The same for `read_marked`; 'folder' is any layout that the files show."""
    layout, colon, folder = str(given).partition(":")
    if colon and layout == "folder":
        return folder
    return str(given) if drawn or (colon and layout in READERS) else f"{name}:{given}"


def _those(photos: PhotoFolder | PhotoFeatures, names: Sequence[str]) -> PhotoFolder | PhotoFeatures:
    there = {name.casefold() for name in photos.names}
    return photos.only([name for name in names if name.casefold() in there])


def _check_depicted(experiment: Experiment, photos: PhotoFolder) -> None:
    there = {name.casefold() for name in photos.names}
    for concept in experiment.read_concepts():
        if (not experiment.only or concept.name in experiment.only) and concept.name.casefold() not in there:
            raise DataError(f"{photos.root} has no photos of {concept.name!r}: expected a folder of that name")
