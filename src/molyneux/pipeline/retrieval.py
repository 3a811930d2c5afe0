"""`molyneux retrieve`: photos with captions in, how well each finds the other out."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.datasets.captioned import read_captioned
from molyneux.datasets.photos import check_headers
from molyneux.evaluation.retrieval import Retrieval, retrieve
from molyneux.evaluation.zero_shot import check_comparable
from molyneux.pipeline.settings import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveSettings:
    """A model to score, and on what."""

    model: str
    data: Path
    base: str | None = None
    split: str = "test"
    """Of Karpathy's lists, which name several; the other lists have no splits."""
    finished: Path | None = None
    """Where a model that judges pairs keeps its finished rows, to go on from."""
    running: Running = field(default_factory=Running)


def retrieve_folder(settings: RetrieveSettings, *, on_step: Progress | None = None) -> Retrieval:
    """Check the photos, load the models, score.

    Raises:
        DataError: if the folder, its list of captions or a photo cannot be read.
        ModelError: if a model cannot be loaded, or a caption is too long for it.
        OutputError: if finished rows cannot be kept, or are of something else.
    """
    photos = read_captioned(settings.data, settings.split)
    check_headers(photos.paths)
    running = asdict(settings.running)
    model = load(settings.model, **running)
    base = None if settings.base is None else load(settings.base, **running)
    check_comparable(model, base)
    return retrieve(model, photos, base=base, on_step=on_step, finished=settings.finished)
