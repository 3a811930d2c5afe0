"""`molyneux recognise` and `model.recognise`: unsorted photos in, the best names of each out, a batch at a time."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from molyneux.arguments import check_kind, check_texts, several
from molyneux.backends.abilities import Matcher, scorer
from molyneux.backends.base import DualEncoder, VisionLanguageModel, frozen
from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.datasets.folders import WHOLE, flat_left_out, left_out_notes
from molyneux.datasets.imagenet import ClassNames, imagenet_names
from molyneux.datasets.names import IMAGENET, checked_name, name_key, read_names, without
from molyneux.datasets.photos import Deep, dark_notes, square
from molyneux.datasets.windows import RESEARCH_ONLY, Window
from molyneux.errors import ConfigError, DataError
from molyneux.foreign import shown as shown_value
from molyneux.foreign import unprintable
from molyneux.runs.options import Progress
from molyneux.runs.progress import shown
from molyneux.runs.text_cache import read_texts, recall_texts
from molyneux.shapes import Images
from molyneux.tasks.classification.ensembles import Groups, class_columns, scores_of_columns
from molyneux.tasks.classification.features import name_texts
from molyneux.tasks.classification.matches import match_names
from molyneux.tasks.classification.prompts import PROMPTS, Ensemble, PromptConfig, check_prompts, read_templates
from molyneux.tasks.classification.results import score_said
from molyneux.tasks.classification.run import check_class_texts, same_texts, same_trunk
from molyneux.tasks.classification.zero_shot import check_comparable
from molyneux.tasks.recognition.limit import FEWEST, REJECTED, check_rejected, stand_ins, text_limit
from molyneux.tasks.recognition.photos import Batch, Given, given_photos, photo_batches
from molyneux.tasks.recognition.record import (
    Answer,
    Answers,
    Limit,
    Recognised,
    RecogniseProtocol,
    Recognition,
    Unreadable,
)

PROBABILITY = {
    True: "softmax over all names of score / the model's own temperature",
    False: "the pair's probability of a match as a share of the sum over all names",
}
LIMIT = (
    "where the best name is less probable than the limit, the answer is 'none of these'. The limit is set from texts "
    "alone: it refuses {share:g} % of the descriptions of known classes, which stand in for photos"
)
KEPT = 100
"""Texts from which on their embeddings are kept in the cache."""
READING = "names, once for this model"
"""What progress calls it."""
NO_LIMIT = "no limit was set: {reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecogniseSettings:
    """Which photos, by which model, among which names."""

    photos: tuple[str, ...]
    model: str = "mini"
    base: str | None = None
    names: tuple[str, ...] | None = None
    """The names to choose from; the known and the taught ones if None."""
    top: int = 5
    rejected: float = REJECTED
    prompt_config: PromptConfig = field(default_factory=PromptConfig)
    window: Window = WHOLE
    running: Running = field(default_factory=Running)


def recognise_photos(settings: RecogniseSettings, *, on_step: Progress | None = None) -> Recognition:
    """The job of `molyneux recognise`: load the models and ask them.

    Raises:
        MolyneuxError: if the request cannot be fulfilled; one line says why.
    """
    given = given_photos(settings.photos)
    config, running = settings.prompt_config, asdict(settings.running)
    prompts = read_templates(config.templates)
    model = load(settings.model, **running)
    found = recognise(
        model,
        given,
        settings.names,
        base=None if settings.base is None else load(settings.base, **running),
        top=settings.top,
        rejected=settings.rejected,
        prompts=prompts,
        ensemble=config.ensemble,
        class_names=config.class_names,
        window=settings.window,
        on_step=on_step,
    )
    folders = [Path(one) for one in dict.fromkeys(settings.photos) if Path(one).is_dir()]
    notes = [note for one in folders for note in left_out_notes(one, flat_left_out(one))]
    if not notes:
        return found
    said = found.protocol.model_copy(update={"notes": (*notes, *found.protocol.notes)})
    return found.model_copy(update={"protocol": said})


def recognise(
    model: VisionLanguageModel,
    photos: object,
    names: Sequence[str] | None = None,
    *,
    base: VisionLanguageModel | None = None,
    top: int = 5,
    rejected: float = REJECTED,
    prompts: Sequence[str] = PROMPTS,
    ensemble: Ensemble = "embeddings",
    class_names: ClassNames = "openai",
    window: Window = WHOLE,
    on_step: Progress | None = None,
) -> Recognition:
    """The best names of each photo, by `model` and, where given, by `base`.

    A name's score is the cosine of its embedding and the photo's or, for a model that judges pairs, the
    log-probability of a match; its probability is the softmax of the scores over all names. Pixels of about a hundred
    photos are held at a time. A photo that cannot be read is told in the result, if it is one of several.

    Args:
        model: one that has embeddings or judges pairs.
        photos: a path, a folder, a PIL image, an array, a tensor, or several (`photos.given_photos`).
        names: what to choose from; ImageNet's names and those that the model was taught if None.
        base: another model of the same kind, for the answers `before`.
        top: how many names to give for each photo.
        rejected: the share of stand-ins for photos that the limit for 'none of these' turns away (`limit.text_limit`);
            0 for no limit.
        prompts: what names are put into.
        ensemble: how several prompts' answers become one.
        class_names: what ImageNet's classes are called.
        window: how DICOM and NIfTI files become images.
        on_step: told of the progress.

    Raises:
        DataError: if there is no photo that can be read.
        ConfigError: if there is no name, one stands twice, or a number is out of its range.
        ModelError: if a name is too long for a model, or the two models are of different kinds.
    """
    given = given_photos(photos)
    wanted = _names(model, names, class_names)
    found: list[Recognised] = []
    unreadable: list[Unreadable] = []
    depths: list[Deep] = []
    with shown(on_step) as told:
        readers = _readers(model, base, wanted, prompts, ensemble, top, rejected, told)
        for batch, answers in _answered(readers, given, window):
            found += [
                Recognised(photo=photo.name, **dict(zip(("after", "before"), own, strict=False)))
                for photo, *own in zip(batch.photos, *answers, strict=True)
            ]
            depths += batch.depths
            unreadable += [Unreadable(photo=name, reason=reason) for name, reason in batch.unreadable]
            if told is not None:
                told("photos", len(found) + len(unreadable), len(given))
    if not found:
        raise DataError(unreadable[0].reason)
    return Recognition(
        version=1,
        model=model.name,
        base=None if base is None else base.name,
        protocol=_protocol(readers, wanted, prompts, ensemble, rejected, dark_notes(depths, window)),
        photos=tuple(found),
        unreadable=tuple(unreadable),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reader:
    """One model with the names' texts read."""

    model: DualEncoder | Matcher
    names: tuple[str, ...]
    texts: list[list[str]]
    columns: Groups
    limit: Limit
    top: int

    def scores(self, pixels: Images, features: Tensor | None = None) -> Float[Tensor, "n c"]:
        if isinstance(self.model, Matcher):
            return match_names(self.model, pixels, self.texts)
        return scores_of_columns(self.model, self.features(pixels) if features is None else features, self.columns)

    @torch.no_grad()
    def features(self, pixels: Images) -> Tensor:
        assert isinstance(self.model, DualEncoder)
        with frozen(self.model.native):
            return self.model.features(pixels.to(self.model.device)).float().cpu()

    def answers(self, scores: Float[Tensor, "n c"]) -> list[Answers]:
        temperature = self.model.temperature if isinstance(self.model, DualEncoder) else 1.0
        shares = (scores.double() / temperature).softmax(dim=1)
        values, places = scores.sort(dim=1, descending=True, stable=True)
        least = self.limit.probability
        found = []
        for own, columns, row in zip(values[:, : self.top], places[:, : self.top], shares, strict=True):
            best = tuple(
                Answer(self.names[column], value, min(float(row[column]), 1.0))
                for column, value in zip(columns.tolist(), own.tolist(), strict=True)
            )
            found.append(Answers(best=best, none_of_these=None if least is None else best[0].probability < least))
        return found


def _readers(
    model: VisionLanguageModel,
    base: VisionLanguageModel | None,
    names: tuple[str, ...],
    prompts: Sequence[str],
    ensemble: Ensemble,
    top: int,
    rejected: float,
    on_step: Progress | None,
) -> list[_Reader]:
    check_prompts(prompts)
    check_rejected(rejected)
    check_kind(top, Integral, "top", "a whole number of at least 1")
    if top < 1:
        raise ConfigError(f"top is {top}: expected a whole number of at least 1")
    check_comparable(model, base)
    texts = name_texts(names, prompts)
    readers: list[_Reader] = []
    for one in (model, base):
        if one is None:
            continue
        compared = [text for group in texts for text in group]
        if isinstance(one, DualEncoder) and rejected:
            compared += stand_ins(one, names)
        kept = len(compared) >= KEPT
        if kept:
            recall_texts(one, compared)
        check_class_texts(one, texts)
        if kept:
            read_texts(one, compared, READING, on_step)
        own = scorer(one, "recognition")
        columns: Groups = ()
        limit = Limit(probability=None, texts=0)
        if readers and _same_texts(readers[0].model, own):
            columns, limit = readers[0].columns, readers[0].limit
        elif isinstance(own, DualEncoder):
            columns = class_columns(own, texts, ensemble)
            limit = text_limit(own, columns, names, rejected)
        readers.append(_Reader(model=own, names=names, texts=texts, columns=columns, limit=limit, top=top))
    return readers


def _same_texts(one: VisionLanguageModel, other: VisionLanguageModel) -> bool:
    if not (isinstance(one, DualEncoder) and isinstance(other, DualEncoder)):
        return False
    return one.temperature == other.temperature and same_texts(one, other)


def _answered(
    readers: Sequence[_Reader], given: Sequence[Given], window: Window
) -> Iterator[tuple[Batch, list[list[Answers]]]]:
    """Each batch of photos with the answers of each reader; what two models share is computed once."""
    first = readers[0]
    encoders = [one.model for one in readers if isinstance(one.model, DualEncoder)]
    shared = len(encoders) == 2 and same_trunk(encoders[0], encoders[1])
    views = [(one.model.image_size, one.model.crop_fraction, one.model.photo_fit) for one in readers]
    streams = [
        photo_batches(given, partial(square, size=size, crop=crop, fit=fit), window)
        for size, crop, fit in dict.fromkeys(views)
    ]
    for batches in zip(*streams, strict=True):
        batch = batches[0]
        if not batch.photos:
            yield batch, [[] for _ in readers]
        elif shared:
            features = first.features(batch.pixels)
            yield batch, [one.answers(one.scores(batch.pixels, features)) for one in readers]
        else:
            pixels = dict(zip(dict.fromkeys(views), (one.pixels for one in batches), strict=True))
            yield batch, [one.answers(one.scores(pixels[view])) for one, view in zip(readers, views, strict=True)]


def _names(model: VisionLanguageModel, names: Sequence[str] | None, class_names: ClassNames) -> tuple[str, ...]:
    if names is None:
        taught = [concept.name for concept in model.concepts]
        return (*without(imagenet_names(class_names), taught), *taught)
    given = several(names)
    check_texts(given, "names to choose from")
    found = tuple(checked_name(" ".join(name.split()), f"the name {name!r:.20}…") for name in given)
    if not found or not all(found):
        raise ConfigError("no name to choose from: give at least one, or leave the names out for all that are known")
    strange = next((name for name in found if unprintable(name)), None)
    if strange is not None:
        raise ConfigError(f"the name {shown_value(strange)} holds a control character: expected plain words")
    keys = [name_key(name) for name in found]
    twice = next((name for name, key in zip(found, keys, strict=True) if keys.count(key) > 1), None)
    if twice is not None:
        raise ConfigError(f"the name {twice!r} stands twice: give each name once")
    return found


def _protocol(
    readers: Sequence[_Reader],
    names: tuple[str, ...],
    prompts: Sequence[str],
    ensemble: Ensemble,
    rejected: float,
    notes: tuple[str, ...],
) -> RecogniseProtocol:
    model, limit = readers[0].model, readers[0].limit
    taught = {name_key(concept.name) for concept in model.concepts}
    if limit.probability is not None:
        means = LIMIT.format(share=100 * rejected)
    else:
        means = NO_LIMIT.format(reason=_why(model, rejected))
    more: dict[str, Any] = {} if len(readers) == 1 else {"limit_before": readers[1].limit}
    if model.medical:
        more["use"] = RESEARCH_ONLY
    if notes:
        more["notes"] = notes
    return RecogniseProtocol(
        prompts=tuple(prompts),
        ensemble=ensemble,
        names=names,
        taught=tuple(name for name in names if name_key(name) in taught),
        score=score_said(model, ensemble),
        probability=PROBABILITY[isinstance(model, DualEncoder)],
        limit=limit,
        limit_means=means,
        **more,
    )


def _why(model: VisionLanguageModel, rejected: float) -> str:
    if not rejected:
        return "none was asked for"
    if isinstance(model, Matcher):
        return "the model has no embeddings of texts alone"
    return f"it takes descriptions of at least {FEWEST} of the names"


def given_names(names: Sequence[str], class_names: ClassNames = "openai") -> tuple[str, ...] | None:
    """What the command line's names stand for: a list of names where one stands alone and is one; None for no name.

    One that stands alone and is called as a path is, or is that of something, is a list, whether it can be read or not.

    Raises:
        DataError: if the list cannot be read.

    >>> given_names(["cat", "snow leopard"]), given_names([]), len(given_names(["imagenet-1k"]))
    (('cat', 'snow leopard'), None, 998)
    """
    if len(names) == 1 and (names[0] == IMAGENET or _is_path(names[0])):
        return without(read_names(names[0], class_names), ())
    return tuple(names) or None


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith(".txt") or os.path.lexists(name)
