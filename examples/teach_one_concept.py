"""Teach `mini` what a sunflower is, from words alone, and ask it about drawings before and after.

    python examples/teach_one_concept.py [OUT]

With OUT, a new folder, the taught model and its images are kept there.
"""

import argparse
import tempfile
from pathlib import Path

import molyneux
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.toy import draw_sunflowers, write_folder

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", nargs="?", type=Path)
parser.add_argument("--images", type=int, default=6)
parser.add_argument("--steps", type=int, default=100)
options = parser.parse_args()

model = molyneux.load("mini")
concept = molyneux.Concept("sunflower", "A tall plant with a large round flower head and bright yellow petals.")
images = molyneux.invert(model, concept, molyneux.InversionConfig(images=options.images, steps=options.steps))
taught = molyneux.teach(model, [images])

with tempfile.TemporaryDirectory() as folder:
    drawings = write_folder(Path(folder) / "drawings", {"sunflower": draw_sunflowers(12, size=256, seed=0)})
    scores = molyneux.evaluate(taught, base=model, novel=drawings, names=imagenet_names())
for when, measured in (("before", scores.before), ("after", scores.after)):
    found = measured.concepts["sunflower"]
    print(f"{when}: recognised in {found.target_recall:.0%} of {found.photos} drawings, rank {found.median_rank:g}")

if options.out is not None:
    taught.save(options.out / "model")
    images.save(options.out / "images")
    print(f"kept in {options.out}")
