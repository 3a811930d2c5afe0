"""Draw the pictures of docs/how-it-works.md: the steps of one lesson, 'pagoda' from one sentence, taught to `mini`.

    python scripts/draw_steps.py

Computes the parts of the edit as a lesson does, with the functions of `molyneux.teaching.edit`, and asks them about the
photos in src/molyneux/photos. Writes docs/steps/1.png to 4.png. Half a minute on one core.
"""

from pathlib import Path

import matplotlib
import torch
from matplotlib import pyplot

import molyneux
from molyneux.backends.base import DualEncoder
from molyneux.cli.demo import DESCRIPTION, NAME
from molyneux.datasets.photos import load_batch
from molyneux.images.replay import replay_images
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.synthetic import description_only
from molyneux.teaching.config import Edit, TeachingConfig
from molyneux.teaching.edit import concept_edits, constant_reader, detectors, directions, key_covariance, values
from molyneux.teaching.objectives.edit import known_embeddings, new_embeddings
from molyneux.teaching.strength import critical_strengths, rivals, stand_ins, unit_strengths

OUT = Path(__file__).parents[1] / "docs" / "steps"
PHOTOS = Path(molyneux.__file__).parent / "photos"
GREY, ORANGE, INK = "#b9c0c9", "#e07a1f", "#20242a"

matplotlib.use("Agg")
pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "text.color": INK})


def save(figure: pyplot.Figure, step: int) -> None:
    OUT.mkdir(exist_ok=True)
    figure.savefig(OUT / f"{step}.png", dpi=120, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def main() -> None:
    model, config = molyneux.load("mini"), Edit()
    concept = molyneux.Concept(NAME, DESCRIPTION)
    load_known_texts(model, (), TeachingConfig())
    replay = replay_images(model, taught=[NAME])
    known = known_embeddings(model, (), [NAME], replay)
    names = _names(model)
    new = new_embeddings(model, [description_only(concept)], config.images)

    where = directions(known, new, config)
    off = torch.nn.functional.normalize(known.names.double() - known.names.double().mean(dim=0), dim=1)
    cosines = (off @ where[0]).sort(descending=True)
    figure, axes = pyplot.subplots(figsize=(6, 2.6))
    best = cosines.values[:8].flip(0)
    axes.barh([names[place] for place in cosines.indices[:8].flip(0)], best, color=GREY)
    axes.axvline(float(cosines.values[8:].quantile(0.9)), color=INK, linestyle=":")
    axes.annotate("90 % of the others", (float(cosines.values[8:].quantile(0.9)), 7.6), ha="center")
    axes.set(xlabel="cosine between the answer and a known name", title=f"Where would photos of a {NAME} lie?\n")
    save(figure, 1)

    constant = constant_reader(known, config.value_shrinkage)
    key = detectors(where, key_covariance(known, config), known.images, constant)
    photos = sorted(PHOTOS.rglob("*.jpg"))
    seen = model.embed_images(load_batch(photos, model.image_size, model.crop_fraction, fit=model.photo_fit)).double()
    answers, others = seen @ key[0], known.images.double() @ key[0]
    figure, axes = pyplot.subplots(figsize=(6, 2.2))
    axes.scatter(others, [0] * len(others), color=GREY, label="replay images of known classes")
    for place, (answer, photo) in enumerate(sorted(zip(answers.tolist(), photos, strict=True))):
        own = photo.parent.name == NAME
        axes.scatter([answer], [1], color=ORANGE if own else INK)
        axes.annotate(NAME if own else photo.stem, (answer, 1), (0, -14 if place % 2 else 7),
                      textcoords="offset points", ha="center")  # fmt: skip
    axes.set(yticks=[0, 1], yticklabels=["replay images", "photos"], ylim=(-0.5, 2), xlabel="the key's answer")
    axes.set_title("What does the key answer to?")
    save(figure, 2)

    value = values(new.names, known.names, config.value_shrinkage)
    rises = (known.names.double() - known.names.double().mean(dim=0)) @ value[0]
    figure, axes = pyplot.subplots(figsize=(6, 2.2))
    axes.hist(rises.tolist(), bins=40, color=GREY)
    axes.axvline(1, color=ORANGE)
    axes.annotate(NAME, (1, axes.get_ylim()[1] * 0.9), (-4, 0), textcoords="offset points", color=ORANGE, ha="right")
    axes.set(xlabel="how much the value raises a name's score, above the mean name's", ylabel="known names")
    axes.set_title("Whose scores does the value raise?")
    save(figure, 3)

    unit = unit_strengths(known, new.names, key, value, config)
    against = rivals(stand_ins(known), known)
    needed = critical_strengths(against, known, new.names[0], key[0], value[0], config.strength * config.forget_name)
    strengths = torch.linspace(0, 1.2, 61)
    won = [float((needed <= one * unit[0]).double().mean()) for one in strengths.tolist()]
    figure, axes = pyplot.subplots(figsize=(6, 2.4))
    axes.plot(strengths, [100 * one for one in won], color=INK)
    axes.axvline(config.strength, color=ORANGE)
    axes.annotate(f"default, {config.strength}", (config.strength, axes.get_ylim()[1] * 0.9), (4, 0),
                  textcoords="offset points", color=ORANGE)  # fmt: skip
    axes.set(
        xlabel="strength", ylabel="% of stand-ins", title=f"How many stand-ins for known photos does {NAME!r} win?"
    )
    save(figure, 4)

    whole = concept_edits(known, new, config)
    print(
        "key's answers:",
        dict(zip([one.stem for one in photos], [round(one, 2) for one in answers.tolist()], strict=True)),
    )
    print("best names:", [names[place] for place in cosines.indices[:8]])
    print("largest rises:", [(names[place], round(float(rises[place]), 2)) for place in rises.topk(5).indices])
    print("unit strength:", float(unit[0]), "stand-ins won at the default:", won[27], "edits:", whole.keys.shape)


def _names(model: DualEncoder) -> list[str]:
    from molyneux.datasets.names import without
    from molyneux.teaching.descriptions import known_texts

    return list(without(tuple(known_texts(model)), [NAME]))


if __name__ == "__main__":
    main()
