"""Does an edit cost what it is expected to? Known classes are taught as if they were new, and judged on real photos.

    python bench/edits/price.py --model mini --known ../shared/data/imagenet1k-sample
    python bench/edits/price.py --model drawn

A class is left out of all that is known, and taught from its description under a made-up name. Its false positives are
counted on photos of the other classes (for `drawn`, on fresh scenes). A line for each price that was asked for: what
was counted, its spread over classes, and how far the strength that stand-ins ask for goes with the one that photos ask
for (correlation of logarithms over classes). No new concept of the other benches takes part.
"""

import argparse
import random
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from molyneux import load
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.datasets.drawn import KNOWN, draw_designs, parse_design
from molyneux.datasets.folders import read_folder
from molyneux.images.config import ReplayConfig
from molyneux.images.replay import depicted, replay_images
from molyneux.inversion.invert import invert_each
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.tasks.classification.features import photo_features
from molyneux.teaching.config import Edit, TeachingConfig
from molyneux.teaching.descriptions import known_texts
from molyneux.teaching.edit import New, concept_edits, description_weight
from molyneux.teaching.strength import Known, critical_strengths, rivals, stand_ins
from molyneux.teaching.texts import NAME_PROMPT

PRICES = (0.002, 0.005, 0.01, 0.02)
_STARTS, _VOWELS, _ENDS = (
    ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z"],
    ["a", "e", "i", "o", "u", "oo", "ee"],
    ["b", "d", "g", "k", "l", "m", "n", "p", "t", "x"],
)


def made_up(count: int) -> list[str]:
    """Distinct names that mean nothing."""
    draw, found = random.Random(0), set[str]()
    while len(found) < count:
        found.add(
            draw.choice(_STARTS) + draw.choice(_VOWELS) + draw.choice(_ENDS) + draw.choice(("", "et", "o", "le", "in"))
        )
    return sorted(found)


@torch.no_grad()
def read(model: DualEncoder, photos: Path | None) -> tuple[Known, Float[Tensor, "n d"], Int[Tensor, " n"]]:
    """What the model knows, and unit embeddings of photos with the place of their class among the known names."""
    looks = () if photos else {name: f"a {text}." for name, text in KNOWN.items()}
    load_known_texts(model, looks, TeachingConfig())
    texts = known_texts(model, looks)
    names = list(texts)
    if photos is None:
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))[: ReplayConfig().count]
        shown = [depicted(names[place]) for place in order]
        replay = list(invert_each(model, shown, ReplayConfig().inversion, seed=0))
        scenes = [draw_designs([parse_design(text)] * 40, seed=7 + place) for place, text in enumerate(KNOWN.values())]
        seen = torch.cat([model.embed_images(part) for part in scenes])
        labels = torch.arange(len(KNOWN)).repeat_interleave(40)
    else:
        replay = list(replay_images(model))
        folder = photo_features(model, read_folder(photos))
        place = {name.casefold(): row for row, name in enumerate(names)}
        labels = torch.tensor([place.get(folder.names[label].casefold(), -1) for label in folder.labels.tolist()])
        seen, labels = normalize(model.project(folder.features[labels >= 0]), dim=1), labels[labels >= 0]
    known = Known(
        names=model.embed_texts([pair[0] for pair in texts.values()]),
        descriptions=model.embed_texts([pair[1] for pair in texts.values()]),
        images=torch.cat([model.embed_images(one.pixels) for one in replay]),
    )
    return known, seen, labels


def measured(model: DualEncoder, photos: Path | None, count: int) -> None:
    known, seen, labels = read(model, photos)
    classes = torch.randperm(len(known.names), generator=torch.Generator().manual_seed(1))[:count].tolist()
    names = model.embed_texts([NAME_PROMPT.format(name) for name in made_up(len(classes))])
    weight = description_weight(known, Edit())
    against = rivals(seen.double() - known.images.double().mean(dim=0), known)
    foreseen, needed = [], []
    counted: dict[float, list[float]] = {price: [] for price in PRICES}
    for place, own in enumerate(classes):
        kept = torch.arange(len(known.names)) != own
        others = known._replace(names=known.names[kept], descriptions=known.descriptions[kept])
        new = New(names=names[place : place + 1], descriptions=known.descriptions[own : own + 1])
        photos_of_others = seen[labels != own].double()
        for price in PRICES:
            edits = concept_edits(others, new, Edit(price=price, description=weight))
            moved = photos_of_others + photos_of_others @ edits.keys.T @ edits.values
            best = (moved @ centred_names(others).T).amax(dim=1)
            won = moved @ (new.names[0].double() - others.names.double().mean(dim=0)) > best
            counted[price].append(float(won.double().mean()))
        config = Edit(forget_name=0.0, description=weight)
        edits = concept_edits(others, new, config)
        forget = (edits.keys[0], edits.values[0])
        asked = critical_strengths(against, known, new.names[0], *forget, 0.0, own)[labels != own]
        stood = critical_strengths(rivals(stand_ins(others), others), others, new.names[0], *forget, 0.0)
        needed.append(asked.quantile(0.01))
        foreseen.append(stood.quantile(0.01))
    logs = torch.stack([torch.stack(rows).clamp_min(1e-9).log() for rows in (needed, foreseen)])
    logs = logs[:, logs.isfinite().all(dim=0)]  # without those that no strength teaches
    print(f"{model.name}: {len(classes)} known classes as if new, {len(seen)} photos")
    print("\n| price asked for | false positives, mean | median | 10 % to 90 % of the classes |\n|---|---|---|---|")
    for price, values in counted.items():
        rows = torch.tensor(values)
        low, middle, high = rows.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
        print(f"| {price:g} | {rows.mean():.4f} | {middle:.4f} | {low:.4f} to {high:.4f} |")
    print(f"\nStrengths by stand-ins and by photos, correlation of logarithms: {torch.corrcoef(logs)[0, 1]:.2f}")


def centred_names(known: Known) -> Float[Tensor, "n d"]:
    """Names less their mean, in double precision; the new name is measured from the same mean."""
    return known.names.double() - known.names.double().mean(dim=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--known", type=Path, help="photos of ImageNet's classes; without them, drawn scenes")
    parser.add_argument("--classes", type=int, default=100)
    options = parser.parse_args()
    measured(dual_encoder(load(options.model), "this benchmark"), options.known, options.classes)


if __name__ == "__main__":
    main()
