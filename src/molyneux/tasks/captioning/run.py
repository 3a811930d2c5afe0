"""`molyneux caption`: photos in, a sentence about each out, and how it compares with what people wrote."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from molyneux.backends.abilities import Captioner, captioner
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.datasets.captioned import CaptionedPhotos, read_captioned
from molyneux.datasets.folders import left_out_notes, listing_below
from molyneux.datasets.photos import batches, check_headers
from molyneux.errors import ConfigError
from molyneux.files import GrowingFile, slug
from molyneux.records import SCORES, write_record
from molyneux.runs.environment import write_environment
from molyneux.runs.folder import check_out, open_run
from molyneux.runs.options import Progress, check_seed
from molyneux.tasks.captioning.config import CaptioningConfig
from molyneux.tasks.captioning.decode import write_captions
from molyneux.tasks.captioning.java import check_corenlp, java_version
from molyneux.tasks.captioning.page import CAPTIONS, write_caption_report
from molyneux.tasks.captioning.record import (
    Caption,
    CaptionEntry,
    CaptionProtocol,
    CaptionResult,
    Captions,
    ComparedMetrics,
    ControlMetrics,
    Sample,
    Samples,
)
from molyneux.tasks.captioning.scores import WORDS, CaptionScores, caption_change, score_captions
from molyneux.tasks.classification.results import bootstrap

_RANKED_BY: tuple[Literal["meteor", "cider"], ...] = ("meteor", "cider")
"""What says which captions gained most: as in the paper, or else what always is there."""


_ONE_PHOTO = (
    "CIDEr is 0 with one photo whatever the caption says: it weighs phrases by how few photos have them; score several",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionSettings:
    """Models that write captions, and about what."""

    model: str
    images: Path | None = None
    """A folder of photos; those in its sub-folders count too. With `references`, None is where these expect them."""
    base: str | None = None
    """A model to show as 'before'."""
    controls: Mapping[str, str] = field(default_factory=dict)
    """Models taught on what cannot help, such as another concept's images, by what that is."""
    references: Path | None = None
    """A list of what people wrote, as `read_captioned` takes it; its photos alone are captioned then."""
    split: str = "test"
    """Of Karpathy's lists; of the other lists 'train-half' or 'test-half', else all photos."""
    out: Path | None = None
    """A new folder for captions, scores and a page with the samples that gained most, or that of the same run to
    continue it."""
    captioning: CaptioningConfig = field(default_factory=CaptioningConfig)
    seed: int = 0
    """For the method 'top_p'."""
    java: bool = True
    """Whether METEOR is computed where Java runs, and SPICE where `corenlp` is given."""
    corenlp: Path | None = None
    """The folder of Stanford CoreNLP 3.6.0, with which SPICE reads sentences."""
    samples: int = 10
    """How many of the captions that gained most are shown, and of those that lost most."""
    called: str | None = None
    """What results and pages call the model, where its folder says nothing."""
    running: Running = field(default_factory=Running)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.images is None and self.references is None:
            raise ConfigError("nothing to caption: give a folder of photos, or a list of references with its photos")
        if self.references is None and self.split != "test":
            raise ConfigError(f"the split is {self.split!r}, and there is no list that has splits: give the references")
        if self.samples < 0:
            raise ConfigError(f"the number of samples is {self.samples}: expected at least 0")
        taken = next((name for name in self.controls if name in ("before", "after")), None)
        if taken is not None:
            raise ConfigError(f"a control is called {taken!r}, which is what models are shown as: choose another name")
        if self.corenlp is not None:
            check_corenlp(self.corenlp)

    def resolved(self) -> dict[str, Any]:
        """Plain data for YAML: everything that decides the result."""
        return {
            "model": self.model,
            "base": self.base,
            "controls": dict(self.controls),
            **asdict(self.running),
            "images": None if self.images is None else str(self.images),
            "references": None if self.references is None else str(self.references),
            "split": self.split,
            "captioning": asdict(self.captioning),
            "seed": self.seed,
            "java": self.java,
            "corenlp": None if self.corenlp is None else str(self.corenlp),
            "samples": self.samples,
            **({} if self.called is None else {"called": self.called}),
        }


def caption_folder(
    settings: CaptionSettings, *, command: Sequence[str] = (), on_step: Progress | None = None
) -> CaptionResult:
    """Check the photos, load the models, write captions, score them where there are references.

    With `out` the result and a page are written there; an unfinished run of the same settings there is continued.

    Raises:
        ConfigError: if captions would be longer than a model reads.
        DataError: if a folder, a photo or the list of references cannot be read, or they do not fit each other.
        ModelError: if there is no such model, or it writes no captions.
        OutputError: if `out` holds something else, or cannot be written.
    """
    photos = _photos(settings)
    check_headers(photos.paths)
    with TemporaryDirectory() as scratch:
        out = settings.out or Path(scratch)
        check_out(out, settings.resolved())
        names = {"after": settings.model, **({} if settings.base is None else {"before": settings.base})}
        names |= settings.controls
        running = asdict(settings.running)
        models = {moment: captioner(load(name, **running), "captioning") for moment, name in names.items()}
        weights = {names[moment]: weights_digest(model.native) for moment, model in models.items()}
        folder = open_run(out, settings.resolved(), weights, on_step)
        captions = {}
        for moment, model in models.items():
            what = "captions" if len(models) == 1 else f"captions {moment}"
            given: dict[str, Any] = {"seed": settings.seed, "kept": folder.work, "what": what, "on_step": on_step}
            write = partial(caption_photos, model, photos, settings.captioning, **given)
            captions[moment] = folder.value(f"captions/{moment}", settings.resolved(), write)
        with folder.timed("score"):
            found = _result(settings, models, photos, captions)
            _write(folder.root, photos, found)
        write_environment(folder, models["after"].device.type, command, models["after"])
        folder.finish()
    return found


def caption_photos(
    model: Captioner,
    photos: CaptionedPhotos,
    config: CaptioningConfig,
    *,
    seed: int = 0,
    kept: Path | None = None,
    what: str = "captions",
    on_step: Progress | None = None,
) -> dict[str, str]:
    """For each photo what the model says about it; with `kept`, a folder, finished ones are read from there.

    Raises:
        ConfigError: if captions would be longer than the model reads.
        DataError: if a photo cannot be read.
        OutputError: if what is kept cannot be read or written.
    """
    captions: list[str] = []
    file = None
    if kept is not None:
        about = {
            "captions of": [(name, path.stat().st_size) for name, path in zip(photos.names, photos.paths, strict=True)],
            "by": weights_digest(model.native),
            "in": model.precision,
            "how": asdict(config),
            "seed": seed,
        }
        file = GrowingFile(kept / f"{slug(what)}.pieces", json.dumps(about))
        captions += (caption for piece in file.read() for caption in json.loads(piece))
    left = photos.paths[len(captions) :]
    for images in batches(left, model.image_size, model.crop_fraction, fit=model.photo_fit):
        with torch.no_grad():
            written = write_captions(model, images.to(model.device), config, seed=seed, first=len(captions))
        if file is not None:
            file.add(json.dumps(written).encode())
        captions += written
        if on_step is not None:
            on_step(what, len(captions), len(photos))
    return dict(zip(photos.names, captions, strict=True))


def _photos(settings: CaptionSettings) -> CaptionedPhotos:
    if settings.references is not None:
        return read_captioned(settings.references, settings.split, settings.images)
    assert settings.images is not None
    root = Path(settings.images)
    listing = listing_below(root)
    names = tuple(path.relative_to(root).as_posix() for path in listing.photos)
    notes = left_out_notes(root, listing.left_out)
    return CaptionedPhotos(root=root, names=names, captions=((),) * len(names), notes=notes)


def _result(
    settings: CaptionSettings,
    models: Mapping[str, Captioner],
    photos: CaptionedPhotos,
    captions: Mapping[str, Mapping[str, str]],
) -> CaptionResult:
    model = models["after"]
    notes = (*photos.notes, *(_ONE_PHOTO if settings.references is not None and len(photos) == 1 else ()))
    protocol: dict[str, Any] = {
        "task": "captioning",
        "photos": len(photos),
        "image_size": model.image_size,
        "crop_fraction": model.crop_fraction,
        "photo_fit": model.photo_fit.fit,
        "captioning": asdict(settings.captioning),
        "seed": settings.seed,
        **({"notes": notes} if notes else {}),
    }
    more: dict[str, Any] = {} if "before" not in captions else {"base_captions": captions["before"]}
    if settings.references is not None:
        references = photos.as_references()
        scores = {
            moment: score_captions(written, references, java=settings.java, corenlp=settings.corenlp)
            for moment, written in captions.items()
        }
        protocol |= {
            "references": len(photos.texts),
            "split": photos.split,
            "left_out": photos.left_out,
            "words": WORDS,
            "cider": "rarity of phrases from these references, so a part of them scores otherwise; in [0, 10]",
            "java": java_version() if settings.java else None,
            "interval": bootstrap("bootstrap over photos; of changes, paired"),
        }
        compared: dict[str, Any] = {}
        if "before" in scores:
            rose = caption_change(scores["before"], scores["after"])
            compared = {"before": scores["before"].metrics, "change": rose}
            more["samples"] = _samples(settings.samples, photos, captions, scores)
        controls = {
            name: ControlMetrics(model=one, **scores[name].metrics.given()) for name, one in settings.controls.items()
        }
        more["scores"] = ComparedMetrics(after=scores["after"].metrics, controls=controls, **compared)
    return CaptionResult(
        version=1,
        model=settings.called or settings.model,
        base=settings.base,
        images=str(photos.root),
        protocol=CaptionProtocol(**protocol),
        captions=captions["after"],
        **more,
    )


def _samples(
    count: int,
    photos: CaptionedPhotos,
    captions: Mapping[str, Mapping[str, str]],
    scores: Mapping[str, CaptionScores],
) -> Samples:
    """The captions that gained most and those that lost most, by METEOR where it is there."""
    by = next(name for name in _RANKED_BY if all(name in scores[key].each for key in ("before", "after")))
    old, new = (scores[key].each[by].tolist() for key in ("before", "after"))
    gains = [after - before for before, after in zip(old, new, strict=True)]
    order = sorted(range(len(gains)), key=lambda place: -gains[place])

    def sample(place: int) -> Sample:
        name = photos.names[place]
        return Sample(
            photo=name,
            references=photos.captions[place],
            before=Caption(caption=captions["before"][name], score=old[place]),
            after=Caption(caption=captions["after"][name], score=new[place]),
        )

    return Samples(
        by=by,
        means="picked by the outcome: they show what changed, and measure nothing",
        gained=sum(gain > 0 for gain in gains),
        lost=sum(gain < 0 for gain in gains),
        improved=tuple(sample(place) for place in order[:count] if gains[place] > 0),
        worsened=tuple(sample(place) for place in order[::-1][:count] if gains[place] < 0),
    )


def _write(root: Path, photos: CaptionedPhotos, found: CaptionResult) -> None:
    entries = {}
    for name, group in photos.as_references().items():
        more: dict[str, Any] = {"references": tuple(group)} if group else {}
        if found.base is not None:
            more["before"] = found.base_captions[name]
        entries[name] = CaptionEntry(after=found.captions[name], **more)
    write_record(root / CAPTIONS, Captions(entries))
    kept = {key: value for key, value in found.given().items() if key not in ("captions", "base_captions")}
    write_record(root / SCORES, CaptionResult(**kept))
    write_caption_report(root)
