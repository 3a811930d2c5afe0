"""`molyneux retrieve`: photos with captions in, how well each finds the other out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.datasets.captioned import read_captioned
from molyneux.datasets.photos import check_headers
from molyneux.errors import ConfigError
from molyneux.runs.options import Progress
from molyneux.runs.text_cache import cache_folder
from molyneux.tasks.retrieval.scores import Reranking, Retrieval, retrieve


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveSettings:
    """A model to score, and on what."""

    model: str
    data: Path
    """A list of captions, or a folder that holds one: see `read_captioned`."""
    images: Path | None = None
    """The folder of the photos, where it is not beside the list."""
    base: str | None = None
    """A model to show as 'before'."""
    controls: Mapping[str, str] = field(default_factory=dict)
    """Models taught on what cannot help, such as noise, by what that is; scored in the same way."""
    split: str = "test"
    """Of Karpathy's lists, which name several; of the other lists 'train-half' or 'test-half', else all photos."""
    rerank_with: str | None = None
    """A model of the other kind; the one that embeds chooses each query's best, the other puts them in order."""
    top: int = 64
    """How many are put in order."""
    by_logit: bool = False
    """Rank pairs by the logit of a match alone, as ViLT's published retrieval does, not by its probability."""
    finished: Path | None = None
    """Where a model that judges pairs keeps its finished rows, to go on from; else in the cache folder."""
    running: Running = field(default_factory=Running)

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ConfigError(f"the number of candidates to put in order is {self.top}: expected at least 1")


def retrieve_folder(settings: RetrieveSettings, *, on_step: Progress | None = None) -> Retrieval:
    """Check the photos, load the models, score.

    Raises:
        ConfigError: if the settings contradict each other.
        DataError: if the folder, its list of captions or a photo cannot be read.
        ModelError: if a model cannot be loaded, a caption is too long for it, or the models do not go together.
        OutputError: if finished rows cannot be kept.
    """
    photos = read_captioned(settings.data, settings.split, settings.images)
    check_headers(photos.paths)
    running = asdict(settings.running)
    model = load(settings.model, **running)
    base = None if settings.base is None else load(settings.base, **running)
    controls = {name: load(one, **running) for name, one in settings.controls.items()}
    second = None if settings.rerank_with is None else load(settings.rerank_with, **running)
    return retrieve(
        model,
        photos,
        base=base,
        controls=controls,
        reranking=None if second is None else Reranking(model=second, top=settings.top),
        by_logit=settings.by_logit,
        on_step=on_step,
        finished=settings.finished or cache_folder() / "retrieval",
    )
