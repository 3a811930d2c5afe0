"""What the page *Teach* asks for: settings of a run, and what a lesson costs."""

import json
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from molyneux.app.folder import AppFolder
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.errors import ConceptError, DataError
from molyneux.inversion.config import InversionConfig
from molyneux.pipeline.describe import names_used
from molyneux.pipeline.settings import TeachSettings
from molyneux.records import CONFIG, ENVIRONMENT, Environment, RunSettings, read_record
from molyneux.report.phrases import duration, percent
from molyneux.teaching.config import Edit, TeachingConfig

MOST_IMAGES = 10

LONGEST_DESCRIPTION = 1000
"""Characters that the page takes."""

_TRACE_EVERY = 5


class Measured(NamedTuple):
    """What one strength reached and cost, one concept at a time: shares of photos, from docs/numbers.md."""

    recall: float
    false_positives: float


@cache
def measured() -> dict[float, Measured]:
    """By strength, for `mini`."""
    text = (resources.files("molyneux") / "app" / "strengths.json").read_text(encoding="utf-8")
    return {float(strength): Measured(**one) for strength, one in json.loads(text)["strengths"].items()}


def photos() -> Path:
    """The folder of photos that come with Molyneux."""
    return Path(str(resources.files("molyneux") / "photos"))


def settings(
    folder: AppFolder,
    *,
    name: str,
    description: str,
    model: str,
    strength: float = Edit().strength,
    images: int = 0,
    running: Running | None = None,
) -> TeachSettings:
    """The run that `molyneux teach --show PHOTOS` would make, in the app's folder.

    Raises:
        ConceptError: if name or description cannot be used.
        ConfigError: if the strength is no number of at least 0.
        DataError: if there is no such model, or the number of images is too large.
    """
    for what, text in (("name", name), ("description", description)):
        if not text.strip():
            raise ConceptError(f"the {what} is empty: fill it in")
    if len(description) > LONGEST_DESCRIPTION:
        raise ConceptError(f"the description has {len(description):,} characters: expected at most 1,000")
    if not 0 <= images <= MOST_IMAGES:
        raise DataError(f"{images} images are asked for: expected 0 to {MOST_IMAGES}")
    concept = Concept(" ".join(name.split()), " ".join(description.split()))
    inversion = InversionConfig(images=images, trace_every=_TRACE_EVERY) if images else InversionConfig()
    return TeachSettings(
        concepts=(concept,),
        out=folder.run_folder(concept.name),
        model=folder.model(model),
        images_from="inversion" if images else None,
        inversion=inversion,
        teaching=TeachingConfig(edit=replace(Edit(), strength=strength)),
        show=photos(),
        running=running or Running(),
    )


def warning(concept: Concept) -> str:
    """What to say where the description holds the concept's name; empty where it does not."""
    used = [word for text in concept.descriptions for word in names_used(concept.name, text)]
    return f"The description says “{used[0]}”. It works better without the name." if used else ""


def cost(folder: AppFolder, model: str, strength: float, images: int) -> tuple[str, str]:
    """What a lesson of this kind costs: its time here, and its price on photos where that was measured."""
    return _time(folder, model, images), _price(model, strength)


def _time(folder: AppFolder, model: str, images: int) -> str:
    what = f"with {images} image{'' if images == 1 else 's'}" if images else "from words alone"
    for choice in folder.lessons():
        try:
            run = read_record(RunSettings, folder.root / choice.value / CONFIG)
            took = read_record(Environment, folder.root / choice.value / ENVIRONMENT).timings
        except DataError:
            continue
        made = int((run.inversion or {}).get("images", 0)) if run.images_from == "inversion" else 0  # type: ignore[arg-type]
        if (run.model, made) == (folder.model(model), images):
            return f"Time: the last lesson {what} with this model took {duration(sum(took.values()))}."
    return (
        f"Time: no lesson {what} was given to this model here yet. The first lesson with a model takes longest, since "
        "about two thousand known texts are read once."
    )


def _price(model: str, strength: float) -> str:
    found = measured().get(strength) if model == "mini" else None
    if found is None:
        expected = f"about {percent(Edit().price, 0)} of photos of known things at strength 1, judged by texts alone"
        return f"Price: not measured for this model; {expected}. Try photos of other things under Recognise."
    return (
        f"Price: at this strength, mini recognised {percent(found.recall, 0)} of photos of twelve new concepts, and "
        f"called {percent(found.false_positives)} of photos of other things by the new name. Yours will differ: ask "
        "about your own photos under Recognise."
    )
