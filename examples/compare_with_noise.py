"""The control: is it the description that teaches, or the lesson alone? The same lesson on noise tells.

    python examples/compare_with_noise.py [OUT]

With OUT, a new folder, the numbers are written to OUT/scores.json.
"""

import argparse
import json
from pathlib import Path

import torch

import molyneux
from molyneux.datasets.toy import as_tensor, draw_sunflowers

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", nargs="?", type=Path)
parser.add_argument("--images", type=int, default=6)
parser.add_argument("--steps", type=int, default=100)
options = parser.parse_args()

model = molyneux.load("mini")
concept = molyneux.Concept("sunflower", "A tall plant with a large round flower head and bright yellow petals.")
images = molyneux.invert(model, concept, molyneux.InversionConfig(images=options.images, steps=options.steps))
uniform = torch.rand(images.pixels.shape, generator=torch.Generator().manual_seed(0))
noise = molyneux.SyntheticImages(concept=concept, pixels=uniform, seed=0, source="noise", depicted="noise")
models = {"untaught": model, "noise": molyneux.teach(model, [noise]), "words": molyneux.teach(model, [images])}

drawings = as_tensor(draw_sunflowers(12, size=model.image_size, seed=0))
name = model.embed_texts(["a photo of a sunflower."])
cosines = {what: float((one.embed_images(drawings) @ name.T).mean()) for what, one in models.items()}
for what, cosine in cosines.items():
    print(f"{what:9} cosine of drawn sunflowers to the name: {cosine:.3f}")

if options.out is not None:
    options.out.mkdir(parents=True)
    (options.out / "scores.json").write_text(json.dumps(cosines, indent=2) + "\n")
