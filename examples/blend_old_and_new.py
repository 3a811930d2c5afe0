"""Between the old model and the taught one: how much is learned, and how far everything else moves.

    python examples/blend_old_and_new.py [OUT]

With OUT, a new folder, the half-way model is kept there.
"""

import argparse
from pathlib import Path

import molyneux
from molyneux.datasets.toy import SHAPES, as_tensor, draw_shapes, draw_sunflowers

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", nargs="?", type=Path)
parser.add_argument("--images", type=int, default=6)
parser.add_argument("--steps", type=int, default=100)
options = parser.parse_args()

model = molyneux.load("mini")
concept = molyneux.Concept("sunflower", "A tall plant with a large round flower head and bright yellow petals.")
images = molyneux.invert(model, concept, molyneux.InversionConfig(images=options.images, steps=options.steps))
taught = molyneux.teach(model, [images])

sunflowers = as_tensor(draw_sunflowers(12, size=model.image_size, seed=0))
others = as_tensor([shape for kind in SHAPES for shape in draw_shapes(kind, 2, size=model.image_size, seed=0)])
name, before = model.embed_texts(["a photo of a sunflower."]), model.embed_images(others)
for share in (0.0, 0.25, 0.5, 0.75, 1.0):
    blend = molyneux.interpolate(model, taught, share)
    learned = float((blend.embed_images(sunflowers) @ name.T).mean())
    moved = 1 - float((blend.embed_images(others) * before).sum(dim=1).mean())
    print(f"{share:4.0%} new: sunflowers to their name {learned:.3f}, other drawings moved by {moved:.3f}")

if options.out is not None:
    molyneux.interpolate(model, taught, 0.5).save(options.out)
    print(f"the half-way model is in {options.out}")
