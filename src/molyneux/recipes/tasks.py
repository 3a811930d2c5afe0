"""How an experiment's model is scored, one function for each task, and what each needs of the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from molyneux.backends.abilities import captioner, explainable, scorer
from molyneux.backends.base import DualEncoder, VisionLanguageModel, dual_encoder
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.datasets.captioned import CaptionedPhotos, read_captioned
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.imagenet import ClassNames, described_classes, imagenet_names
from molyneux.datasets.marked import MarkedSet
from molyneux.datasets.names import name_key, without
from molyneux.datasets.photos import check_headers, checked
from molyneux.datasets.segmented import READERS, read_marked
from molyneux.datasets.sets import data_set, named_set, read_set
from molyneux.digests import check_digests
from molyneux.errors import DataError
from molyneux.recipes.cost import cost
from molyneux.recipes.pages import PAGE, show_likeness
from molyneux.recipes.schema import Captioning, Classification, Cost, Experiment, Likeness, Localisation, Retrieval
from molyneux.records import SCORES, read_record
from molyneux.runs.folder import is_unfinished
from molyneux.runs.options import Progress
from molyneux.runs.stage import remove
from molyneux.synthetic import SyntheticImages
from molyneux.tasks.captioning.record import CaptionResult
from molyneux.tasks.captioning.run import CaptionSettings, caption_folder, caption_photos
from molyneux.tasks.captioning.scores import score_captions
from molyneux.tasks.classification.descriptions import definition_texts
from molyneux.tasks.classification.features import PhotoFeatures, name_texts, photo_features
from molyneux.tasks.classification.labels import label_set
from molyneux.tasks.classification.prompts import read_templates
from molyneux.tasks.classification.zero_shot import evaluate
from molyneux.tasks.localisation.record import LocaliseResult
from molyneux.tasks.localisation.run import GIBBERISH, LocaliseSettings, localise_set
from molyneux.tasks.recognition.page import write_page
from molyneux.tasks.recognition.run import recognise
from molyneux.tasks.retrieval.scores import retrieve
from molyneux.teaching.fine_tune import check_ability
from molyneux.teaching.updates import shares_trunk


@dataclass(frozen=True, slots=True)
class Data:
    """What was brought, read as far as is cheap."""

    photos: Mapping[tuple[str, ClassNames], PhotoFolder]
    """By the set's name and what its classes are called."""
    captioned: Mapping[str, CaptionedPhotos]
    marked: Mapping[str, tuple[str, MarkedSet]]
    """Where it lies, as `read_marked` takes it, and what is there."""
    given: Mapping[str, Path]
    """What was brought, by the set's name."""

    @staticmethod
    def read(
        experiments: Sequence[Experiment], given: Mapping[str, Path], source: str, *, drawn: bool = False
    ) -> "Data":
        """Every data set that the experiments need, in its published layout, or a folder per class where it was drawn.

        `source` says who asks.

        Raises:
            DataError: if one was not brought, is not in its layout, or has no photos of an experiment's concept.
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
                if isinstance(task, Classification | Likeness) and (name, task.class_names) not in photos:
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
            if isinstance(task, Classification | Likeness) and task.novel is not None and experiment.taught:
                _check_depicted(experiment, photos[task.novel, task.class_names])
        return Data(photos, captioned, marked, given)

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
        if experiment.compared and not shares_trunk(experiment.teaching):
            return photos
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
    model: Path
    """The taught model, where another job reads it or it is kept."""
    called: str
    """What pages call the model: the untaught one, and what was done with it."""

    def save(self, model: VisionLanguageModel) -> None:
        """Save the taught model, unless it is there."""
        if not self.model.is_dir():
            model.save(self.model)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be scored."""

    experiment: Experiment
    concepts: Sequence[Concept]
    images: Sequence[SyntheticImages]
    """What the model was taught on."""
    running: Running


def score(
    model: VisionLanguageModel,
    base: Base,
    asked: Asked,
    data: Data,
    place: Place,
    *,
    on_step: Progress | None = None,
) -> dict[str, Any]:
    """The scores of a model, which may be the base, at the experiment's task; half-done work resumes.

    What there is to look at is left in `place.kept`, with a page.
    """
    experiment = asked.experiment
    task = experiment.evaluate
    if isinstance(task, Classification):
        seen = {name: base.photos(name, task.class_names, data, experiment, on_step) for name in experiment.data}
        if experiment.compared:
            _show_names(model, base.model, task, asked.concepts, data, place, on_step)
        before = base.model if experiment.compared else None
        return _classification(model, before, task, asked.concepts, seen, on_step)
    if isinstance(task, Retrieval):
        return retrieve(model, data.captioned[task.data], on_step=on_step, finished=place.work).as_dict()
    if isinstance(task, Captioning):
        if experiment.compared:
            return _captioning_beside(asked, task, data, place, on_step)
        photos = data.captioned[task.data]
        written = caption_photos(
            captioner(model, "captioning"),
            photos,
            task.decoding,
            seed=experiment.seed,
            kept=place.work,
            on_step=on_step,
        )
        return score_captions(written, photos.as_references(), java=task.java, corenlp=task.corenlp).metrics.as_dict()
    if isinstance(task, Localisation):
        return _localisation(model, asked, task, data, place, on_step)
    if isinstance(task, Likeness):
        real = data.photos[task.novel, task.class_names]
        return show_likeness(
            model,
            asked.images,
            real,
            place.kept / PAGE,
            called=place.called,
            shown=task.shown,
            seed=experiment.seed,
        )
    assert isinstance(task, Cost)
    return cost(model, experiment, asked.concepts[0], asked.running, on_step)


def _show_names(
    model: VisionLanguageModel,
    base: VisionLanguageModel,
    task: Classification,
    concepts: Sequence[Concept],
    data: Data,
    place: Place,
    on_step: Progress | None,
) -> None:
    """A page of the concepts' photos with their best names, by the untaught model and by the taught one."""
    if task.novel is None:
        return
    names = [one.name for one in concepts]
    novel = _those(data.photos[task.novel, task.class_names], names)
    known = imagenet_names(task.class_names) if task.known is None else data.photos[task.known, task.class_names].names
    found = recognise(
        model,
        [str(one) for one in novel.paths],
        [*without(known, names), *names],
        base=base,
        top=task.best_names,
        rejected=0.0,
        prompts=read_templates(task.templates),
        ensemble=task.ensemble,
        on_step=on_step,
    )
    path = place.kept / PAGE
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_page(path, found.model_copy(update={"model": place.called}))


def _captioning_beside(
    asked: Asked, task: Captioning, data: Data, place: Place, on_step: Progress | None
) -> dict[str, Any]:
    """The captions of both models, with a page of those that gained most and lost most."""
    settings = CaptionSettings(
        model=str(place.model),
        base=asked.experiment.model,
        references=data.given[task.data],
        split=task.split,
        out=place.kept,
        captioning=task.decoding,
        seed=asked.experiment.seed,
        java=task.java,
        corenlp=task.corenlp,
        samples=task.samples,
        called=place.called,
        running=asked.running,
    )
    finished = finished_scores(place.kept)
    if finished is not None:
        return read_record(CaptionResult, finished).as_dict()
    return caption_folder(settings, on_step=on_step).as_dict()


def finished_scores(kept: Path) -> Path | None:
    """The scores of a finished run in `kept`; None where there is none. One whose files were damaged is removed."""
    if not (kept / SCORES).is_file() or is_unfinished(kept):
        return None
    try:
        check_digests(kept)
    except DataError:
        remove(kept)
        return None
    return kept / SCORES


def check_able(model: VisionLanguageModel, experiment: Experiment) -> None:
    """Raise ModelError if the model cannot learn what the experiment teaches, or do its task; cheap."""
    task = experiment.evaluate
    if isinstance(task, Captioning):
        captioner(model, "captioning")
    elif isinstance(task, Localisation):
        explainable(model, "localising")
    elif isinstance(task, Likeness):
        dual_encoder(model, "comparing images")
    elif isinstance(task, Classification | Retrieval):
        scorer(model, task.task)
    if experiment.teaches:
        check_ability(model, experiment.teaching)


def scored_texts(experiment: Experiment, concepts: Sequence[Concept], data: Data) -> list[str]:
    """Every text that `score` has a model read."""
    task = experiment.evaluate
    if isinstance(task, Classification):
        photos = {name: data.photos[name, task.class_names] for name in experiment.data}
        known = None if task.known is None else photos[task.known].names
        novel = [] if task.novel is None else [one.name for one in concepts]
        names = label_set(known=known, concepts=novel).all
        groups = name_texts(names, read_templates(task.templates), _defined(task, concepts, photos))
        return [text for group in groups for text in group]
    if isinstance(task, Retrieval):
        return list(data.captioned[task.data].texts)
    return [task.text, GIBBERISH] if isinstance(task, Localisation) else []


def _classification(
    model: VisionLanguageModel,
    before: VisionLanguageModel | None,
    task: Classification,
    concepts: Sequence[Concept],
    photos: Mapping[str, PhotoFolder | PhotoFeatures],
    on_step: Progress | None,
) -> dict[str, Any]:
    names = [one.name for one in concepts]
    return evaluate(
        model,
        base=before,
        novel=None if task.novel is None else _those(photos[task.novel], names),
        known=None if task.known is None else photos[task.known],
        concepts=None if task.novel is None else names,
        prompts=read_templates(task.templates),
        ensemble=task.ensemble,
        class_names=task.class_names,
        same_names=task.same_names,
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
    asked: Asked,
    task: Localisation,
    data: Data,
    place: Place,
    on_step: Progress | None,
) -> dict[str, Any]:
    experiment, name = asked.experiment, asked.experiment.model
    if experiment.taught:
        name = str(place.model)
        place.save(model)
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
        called=place.called,
        base=experiment.model if experiment.compared else None,
        running=asked.running,
    )
    finished = finished_scores(place.kept)
    if finished is not None:
        return read_record(LocaliseResult, finished).as_dict()
    return localise_set(settings, on_step=on_step).as_dict()


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
