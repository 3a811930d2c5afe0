"""`molyneux caption`: photos in, a sentence about each out, and how it compares with what people wrote."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from molyneux.backends.abilities import Captioner, captioner
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.datasets.captioned import CaptionedPhotos, read_captioned
from molyneux.datasets.folders import photos_below
from molyneux.datasets.photos import batches, check_headers
from molyneux.errors import ConfigError
from molyneux.files import GrowingFile, slug, write_json
from molyneux.runs.environment import ENVIRONMENT, environment
from molyneux.runs.folder import RunFolder, check_out, open_run
from molyneux.runs.options import Progress, check_seed
from molyneux.tasks.captioning.config import CaptioningConfig
from molyneux.tasks.captioning.decode import write_captions
from molyneux.tasks.captioning.java import check_corenlp, java_version
from molyneux.tasks.captioning.page import CAPTIONS, SCORES, write_caption_report
from molyneux.tasks.captioning.scores import WORDS, CaptionScores, caption_change, score_captions
from molyneux.tasks.classification.results import BOOTSTRAP_SEED, LEVEL, RESAMPLES

_RANKED_BY = ("meteor", "cider")
"""What says which captions gained most: as in the paper, or else what always is there."""


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
    running: Running = field(default_factory=Running)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.images is None and self.references is None:
            raise ConfigError("nothing to caption: give a folder of photos, or a list of references with its photos")
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
        }


def caption_folder(
    settings: CaptionSettings, *, command: Sequence[str] = (), on_step: Progress | None = None
) -> dict[str, Any]:
    """Check the photos, load the models, write captions, score them where there are references.

    Returns plain data for JSON: model, base, images, `protocol`, `captions` by photo (and `base_captions`); with
    references `scores` (before, after, change, controls), and with a base too `samples` (improved, worsened). With
    `out` these and a page are written there; an unfinished run of the same settings there is continued.

    Raises:
        ConfigError: if captions would be longer than a model reads.
        DataError: if a folder, a photo or the list of references cannot be read, or they do not fit each other.
        ModelError: if there is no such model, or it writes no captions.
        OutputError: if `out` holds something else, or cannot be written.
    """
    photos = _photos(settings)
    check_headers(photos.paths)
    if settings.out is not None:
        check_out(settings.out, settings.resolved())
    wanted = {"after": settings.model, **({} if settings.base is None else {"before": settings.base})}
    models = {
        moment: captioner(load(name, **asdict(settings.running)), "captioning")
        for moment, name in (wanted | dict(settings.controls)).items()
    }
    folder = None
    if settings.out is not None:
        folder = open_run(settings.out, settings.resolved(), weights_digest(models["after"].native))
    captions = {}
    for moment, model in models.items():
        with folder.timed(moment) if folder else nullcontext():
            captions[moment] = caption_photos(
                model,
                photos,
                settings.captioning,
                seed=settings.seed,
                kept=None if folder is None else folder.work,
                what="captions" if len(models) == 1 else f"captions {moment}",
                on_step=on_step,
            )
    with folder.timed("score") if folder else nullcontext():
        found = _result(settings, models, photos, captions)
    if folder is not None:
        _write(folder, photos, found)
        content = environment(models["after"], folder.weights, folder.timings, command)
        write_json(folder.root / ENVIRONMENT, content)
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
        file = GrowingFile(kept / f"{slug(what)}.jsonl", json.dumps(about))
        captions += map(json.loads, file.read(lambda body: body.rfind(b"\n") + 1).splitlines())
    left = photos.paths[len(captions) :]
    for images in batches(left, model.image_size, model.crop_fraction, fit=model.photo_fit):
        with torch.no_grad():
            written = write_captions(model, images.to(model.device), config, seed=seed, first=len(captions))
        if file is not None:
            file.add("".join(f"{json.dumps(caption)}\n" for caption in written).encode())
        captions += written
        if on_step is not None:
            on_step(what, len(captions), len(photos))
    return dict(zip(photos.names, captions, strict=True))


def _photos(settings: CaptionSettings) -> CaptionedPhotos:
    if settings.references is not None:
        return read_captioned(settings.references, settings.split, settings.images)
    assert settings.images is not None
    root = Path(settings.images)
    paths = photos_below(root)
    names = tuple(path.relative_to(root).as_posix() for path in paths)
    return CaptionedPhotos(root=root, names=names, captions=((),) * len(names))


def _result(
    settings: CaptionSettings,
    models: Mapping[str, Captioner],
    photos: CaptionedPhotos,
    captions: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    model = models["after"]
    found: dict[str, Any] = {
        "model": settings.model,
        "base": settings.base,
        "images": str(photos.root),
        "protocol": {
            "task": "captioning",
            "photos": len(photos),
            "image_size": model.image_size,
            "crop_fraction": model.crop_fraction,
            "photo_fit": model.photo_fit,
            "captioning": asdict(settings.captioning),
            "seed": settings.seed,
        },
        "captions": dict(captions["after"]),
    }
    if "before" in captions:
        found["base_captions"] = dict(captions["before"])
    if settings.references is None:
        return found
    references = photos.as_references()
    scores = {
        moment: score_captions(written, references, java=settings.java, corenlp=settings.corenlp)
        for moment, written in captions.items()
    }
    found["protocol"] |= {
        "references": len(photos.texts),
        "split": photos.split,
        "left_out": photos.left_out,
        "words": WORDS,
        "cider": "rarity of phrases from these references, so a part of them scores otherwise; in [0, 10]",
        "java": java_version() if settings.java else None,
        "interval": {
            "kind": "bootstrap over photos; of changes, paired",
            "level": LEVEL,
            "resamples": RESAMPLES,
            "seed": BOOTSTRAP_SEED,
        },
    }
    found["scores"] = {key: scores[key].as_dict() for key in ("before", "after") if key in scores}
    if "before" in scores:
        found["scores"]["change"] = caption_change(scores["before"], scores["after"])
        found["samples"] = _samples(settings.samples, photos, captions, scores)
    found["scores"]["controls"] = {
        name: {"model": one, **scores[name].as_dict()} for name, one in settings.controls.items()
    }
    return found


def _samples(
    count: int,
    photos: CaptionedPhotos,
    captions: Mapping[str, Mapping[str, str]],
    scores: Mapping[str, CaptionScores],
) -> dict[str, Any]:
    """The captions that gained most and those that lost most, by METEOR where it is there."""
    by = next(name for name in _RANKED_BY if all(name in scores[key].each for key in ("before", "after")))
    old, new = (scores[key].each[by].tolist() for key in ("before", "after"))
    gains = [after - before for before, after in zip(old, new, strict=True)]
    order = sorted(range(len(gains)), key=lambda place: -gains[place])

    def sample(place: int) -> dict[str, Any]:
        name = photos.names[place]
        return {
            "photo": name,
            "references": list(photos.captions[place]),
            "before": {"caption": captions["before"][name], "score": old[place]},
            "after": {"caption": captions["after"][name], "score": new[place]},
        }

    return {
        "by": by,
        "means": "picked by the outcome: they show what changed, and measure nothing",
        "gained": sum(gain > 0 for gain in gains),
        "lost": sum(gain < 0 for gain in gains),
        "improved": [sample(place) for place in order[:count] if gains[place] > 0],
        "worsened": [sample(place) for place in order[::-1][:count] if gains[place] < 0],
    }


def _write(folder: RunFolder, photos: CaptionedPhotos, found: Mapping[str, Any]) -> None:
    before = found.get("base_captions", {})
    entries = {
        name: {
            **({"before": before[name]} if before else {}),
            "after": found["captions"][name],
            **({"references": list(group)} if group else {}),
        }
        for name, group in photos.as_references().items()
    }
    write_json(folder.root / CAPTIONS, entries)
    write_json(
        folder.root / SCORES, {key: value for key, value in found.items() if key not in ("captions", "base_captions")}
    )
    write_caption_report(folder.root)
