"""What can be told without photos: how a model reads fresh inverted images, and those of known classes."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from molyneux.backends.abilities import Matcher
from molyneux.backends.base import DualEncoder, frozen
from molyneux.records import Pair, RankPair, Reading, SharePair, TextOnly
from molyneux.synthetic import SyntheticImages, resized
from molyneux.tasks.classification.features import name_embeddings, name_texts
from molyneux.tasks.classification.matches import match_names
from molyneux.tasks.classification.metrics import ScoreMatrix, captured, median_rank, ranks

Written = Float[Tensor, "m d"] | list[list[str]]
"""What stands for names: their embeddings, or the texts beside which a model judges an image."""

Seen = Float[Tensor, "n d"] | list[Tensor]
"""What a model makes of images by themselves: their embeddings, or the images where it has none."""

FRESH = 4
"""Fresh images of a concept."""

NO_REPLAY = "not computed: no replay images"

MEANING = (
    "read on fresh inverted images, from the same words and another seed: "
    "it says that the lesson carries over to them, not that photos are recognised"
)


@final
class TextReader:
    """How one model reads fresh images; what it makes of the replay images is computed once."""

    def __init__(
        self, model: DualEncoder | Matcher, known: Sequence[str], replay: Sequence[SyntheticImages] = ()
    ) -> None:
        self._model, self._known = model, known
        self._replay = _seen(model, replay) if replay else None

    def read(self, fresh: SyntheticImages) -> dict[str, float | None]:
        """Similarity and median rank of the concept's name, and the share of replay images that it captures."""
        names = (*self._known, fresh.concept.name)
        written = name_texts(names) if isinstance(self._model, Matcher) else name_embeddings(self._model, names)
        scores = self._scores(_seen(self._model, [fresh]), written)
        others = None if self._replay is None else self._scores(self._replay, written)
        last = torch.full((len(scores),), scores.shape[1] - 1)
        return {
            "similarity": float(scores[:, -1].mean()),
            "median_rank": median_rank(ranks(scores, last)),
            "replay_captured": None
            if others is None
            else float(captured(others[:, :-1], others[:, -1]).double().mean()),
        }

    def _scores(self, seen: Seen, written: Written) -> ScoreMatrix:
        if isinstance(seen, Tensor) and isinstance(written, Tensor):
            return seen @ written.T
        assert isinstance(self._model, Matcher)
        assert not isinstance(written, Tensor)
        return torch.cat([match_names(self._model, images, written) for images in seen])


def read_from_text(
    base: TextReader,
    taught: TextReader,
    controls: Mapping[str, TextReader],
    fresh: SyntheticImages,
    replay: Sequence[SyntheticImages],
) -> TextOnly:
    """How the concept's name does on its fresh images, and the share of replay images that it captures.

    Similarity (a cosine, or the log-probability of a match), median rank and share have a `before` and an `after`, and
    for each control an `after`; without replay images the share is None.
    """
    before, after = base.read(fresh), taught.read(fresh)
    return TextOnly(
        **_pairs(after, before),
        images=len(fresh),
        replay_images=sum(len(one) for one in replay),
        means=MEANING,
        controls={control: Reading(**_pairs(reader.read(fresh))) for control, reader in controls.items()},
    )


def _pairs(after: Mapping[str, float | None], before: Mapping[str, float | None] | None = None) -> dict[str, Any]:
    found: dict[str, Pair] = {}
    for key, kind in (("similarity", Pair), ("median_rank", RankPair), ("replay_captured", SharePair)):
        values: dict[str, Any] = {} if before is None else {"before": before[key]}
        if after[key] is None:
            values["reason"] = NO_REPLAY
        found[key] = kind(after=after[key], **values)
    return found


@torch.no_grad()
def _seen(model: DualEncoder | Matcher, synthetic: Sequence[SyntheticImages]) -> Seen:
    sized = (resized(one.pixels.to(model.device), model.image_size) for one in synthetic)
    if isinstance(model, Matcher):
        return list(sized)
    with frozen(model.native):
        return torch.cat([model.embed_images(images).float().cpu() for images in sized])
