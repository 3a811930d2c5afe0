"""By which rule should `recognise` say "none of these"? Photos of known classes against photos of unnamed things.

    python bench/none_of_these.py --data ../shared/data

The names are ImageNet's. Known photos are one of each class; the others are of `novel-concepts` and `novel-concepts-2`,
whose names are left out. A rule gives each photo a number, high where a name fits. A row for each rule:

- ROC area: the probability that a known photo's number is above another's; 0.5 is chance.
- caught: the share of the others below the number that one of ten known photos is below. That takes photos to set.
- by text: the share of known photos and of the others below the number that half of the stand-ins are below, which are
  descriptions of known classes (`tasks.recognition.limit`).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from molyneux import load
from molyneux.backends.base import dual_encoder
from molyneux.datasets.folders import read_folder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.names import without
from molyneux.tasks.classification.features import photo_features
from molyneux.tasks.recognition.limit import stand_ins
from molyneux.teaching.texts import NAME_PROMPT

KNOWN, OTHERS = "imagenet1k-sample", ("novel-concepts", "novel-concepts-2")
COSTS = 0.1


def rules(temperature: float) -> dict[str, Callable[[Tensor], Tensor]]:
    """From cosines, a row for each photo and a column for each name, to a number for each photo."""

    def entropy(cosines: Tensor) -> Tensor:
        shares = (cosines / temperature).softmax(dim=1)
        return (shares * shares.clamp_min(1e-12).log()).sum(dim=1)

    return {
        "probability of the best name (used)": lambda cosines: (cosines / temperature).softmax(dim=1).amax(dim=1),
        "entropy of the probabilities": entropy,
        "best cosine less the mean of all": lambda cosines: cosines.amax(dim=1) - cosines.mean(dim=1),
        "best cosine": lambda cosines: cosines.amax(dim=1),
        "best cosine less the second": lambda cosines: -cosines.topk(2, dim=1).values.diff(dim=1)[:, 0],
    }


def roc_area(high: Tensor, low: Tensor) -> float:
    """The probability that a number of `high` is above one of `low`; equal ones count half.

    >>> roc_area(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0]))
    0.75
    """
    apart = high[:, None] - low[None]
    return float((apart > 0).float().mean() + (apart == 0).float().mean() / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    options = parser.parse_args()
    model = dual_encoder(load(options.model), "this bench")
    names = without(imagenet_names(), ())
    texts = model.embed_texts([NAME_PROMPT.format(name) for name in names])

    def cosines(folder: Path) -> Tensor:
        features = photo_features(model, read_folder(folder)).features
        with torch.no_grad():
            return model.project(features) @ texts.T

    known, others = cosines(options.data / KNOWN), [cosines(options.data / name) for name in OTHERS]
    described = model.embed_texts(stand_ins(model, names)) @ texts.T
    print(
        f"| rule | {' | '.join(f'ROC area, {len(one)} photos | caught' for one in others)} | by text: known | others |"
    )
    print("|---|" + "---|" * (2 * len(others) + 2))
    for title, rule in rules(model.temperature).items():
        fits, limit = rule(known), rule(described).median()
        cells = []
        for one in others:
            found = rule(one)
            cells += [f"{roc_area(fits, found):.2f}", f"{float((found < fits.quantile(COSTS)).float().mean()):.2f}"]
        cells.append(f"{float((fits < limit).float().mean()):.2f}")
        cells.append(", ".join(f"{float((rule(one) < limit).float().mean()):.2f}" for one in others))
        print(f"| {title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
