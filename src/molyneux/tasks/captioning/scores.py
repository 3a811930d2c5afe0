"""All scores of a set of captions, and what changed between two sets of the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from molyneux.errors import DataError
from molyneux.tasks.captioning.java import NOT_ASKED, Score, meteor, spice
from molyneux.tasks.captioning.metrics import ORDERS, bleu, cider, rouge_l
from molyneux.tasks.captioning.record import CaptionChange, CaptionMetrics, Gain, MeanGain, MeteorGain
from molyneux.tasks.captioning.tokens import tokenize, tokenize_all
from molyneux.tasks.classification.metrics import bootstrap_interval
from molyneux.tasks.classification.results import BOOTSTRAP_SEED, LEVEL, RESAMPLES

BLEU = tuple(f"bleu_{order}" for order in range(1, ORDERS + 1))

WORDS = "lower case, Penn Treebank style, without punctuation; Molyneux's own tokenizer"
"""What is compared."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaptionScores:
    """How captions compare with what people wrote."""

    images: int
    bleu: tuple[float, float, float, float]
    """BLEU@1 to BLEU@4, in [0, 1]."""
    rouge_l: float
    """In [0, 1]."""
    cider: float
    """CIDEr-D in [0, 10]; papers often print it times 100."""
    cider_interval: tuple[float, float]
    """Of its mean over images, from a bootstrap; how rare phrases are stays as it is."""
    meteor: Score
    spice: Score
    each: Mapping[str, Tensor]
    """For each image, in order: 'rouge_l', 'cider', and 'meteor' and 'spice' where they were computed."""

    @property
    def metrics(self) -> CaptionMetrics:
        """For JSON."""
        return CaptionMetrics(
            images=self.images,
            **dict(zip(BLEU, self.bleu, strict=True)),
            rouge_l=self.rouge_l,
            cider=self.cider,
            cider_interval=self.cider_interval,
            meteor=self.meteor.measured,
            spice=self.spice.measured,
        )


def score_captions(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    java: bool = False,
    corenlp: Path | None = None,
) -> CaptionScores:
    """Score sentences as people write them, by image; `references` may hold more images, which do not count.

    With `java`, METEOR is computed by its authors' program where Java and pycocoevalcap are installed, and SPICE
    where `corenlp` is the folder of its parser.

    Raises:
        ConfigError: if `corenlp` holds no such parser.
        DataError: if there are no captions, or an image has no references.
    """
    missing = next((name for name in captions if not references.get(name)), None)
    if missing is not None:
        raise DataError(f"no references for {missing!r}: expected at least one sentence for each caption")
    own = [tokenize(caption) for caption in captions.values()]
    others = [tokenize_all(references[name]) for name in captions]
    consensus, overlap = cider(own, others), rouge_l(own, others)
    programs = {
        "meteor": meteor(own, others) if java else Score(reason=NOT_ASKED),
        "spice": spice(own, others, corenlp) if java else Score(reason=NOT_ASKED),
    }
    return CaptionScores(
        images=len(own),
        bleu=bleu(own, others),
        rouge_l=float(overlap.mean()),
        cider=float(consensus.mean()),
        cider_interval=bootstrap_interval(consensus, BOOTSTRAP_SEED, LEVEL, RESAMPLES),
        **programs,
        each={
            "rouge_l": overlap,
            "cider": consensus,
            **{name: torch.tensor(score.each, dtype=torch.float64) for name, score in programs.items() if score.each},
        },
    )


def caption_change(before: CaptionScores, after: CaptionScores) -> CaptionChange:
    """By how much each score rose; where it is a mean over images, with a bootstrap interval over these, paired.

    METEOR is no such mean; by how much its mean rose is added under `over_images`.
    """
    found: dict[str, Any] = {
        name: Gain(value=new - old) for name, old, new in zip(BLEU, before.bleu, after.bleu, strict=True)
    }
    for name in (name for name in after.each if name in before.each):
        gains = after.each[name] - before.each[name]
        interval = bootstrap_interval(gains, BOOTSTRAP_SEED, LEVEL, RESAMPLES)
        found[name] = MeanGain(value=float(gains.mean()), interval=interval)
    if after.meteor.value is not None and before.meteor.value is not None:
        found["meteor"] = MeteorGain(value=after.meteor.value - before.meteor.value, over_images=found["meteor"])
    return CaptionChange(**found)
