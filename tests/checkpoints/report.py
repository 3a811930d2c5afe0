"""What becomes of every published layout.

    PYTHONPATH=src:tests/lib python tests/checkpoints/report.py [--full] [NAME]

With --full open_clip's are made at their published size; NAME picks those whose names hold it.

The table says for each layout whether Molyneux loads it; whether the pixels of a photo and the embeddings of images and
texts are the vendor's; and whether the vendor's own library reads what Molyneux saved, after the folder was moved, and
sentence-transformers too.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import torch

from helpers.checkpoints import LAYOUTS, TEXTS, Layout, photo
from helpers.families import in_double, sample_images
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.backends.load import load
from molyneux.errors import MolyneuxError
from molyneux.framing import square

COLUMNS = ("pixels", "images", "texts", "reload: images", "reload: texts", "sentence-transformers")


def differences(layout: Layout, root: Path, *, full: bool = False) -> dict[str, float | None]:
    """For each column the largest difference from the vendor: of pixels in grey levels, of embeddings by dimension.

    None for pixels where the vendor cuts an image into patches of another number or cannot be run, and for
    sentence-transformers where it cannot read the layout.
    """
    (root / "published").mkdir(parents=True)
    layout.write(root / "published", full)
    model = dual_encoder(load(root / "published"), "a comparison")
    found: dict[str, float | None] = {"pixels": _pixels(layout, model, root / "published")}
    images = sample_images(model)
    model.save(root / "saved")
    moved = shutil.move(root / "saved", root / "moved")
    for column, folder in (("", root / "published"), ("reload: ", moved)):
        seen, read = layout.read(Path(folder), images, TEXTS)
        own = in_double(model, images) if seen.dtype == torch.float64 else model.embed_images(images)
        found[f"{column}images"] = float((seen - own).abs().max())
        found[f"{column}texts"] = float((read - model.embed_texts(TEXTS)).abs().max())
    found["sentence-transformers"] = None
    if layout.sentences is not None:
        seen, read = layout.sentences(Path(moved), images, TEXTS)
        pairs = ((seen, model.embed_images(images)), (read, model.embed_texts(TEXTS)))
        found["sentence-transformers"] = max(float((theirs - own).abs().max()) for theirs, own in pairs)
    return found


def _pixels(layout: Layout, model: DualEncoder, folder: Path) -> float | None:
    if layout.pixels is None:
        return None
    framed = square(photo(), model.image_size, model.crop_fraction, model.photo_fit)
    ours = torch.frombuffer(bytearray(framed.tobytes()), dtype=torch.uint8).view(*framed.size, 3).permute(2, 0, 1)
    theirs = layout.pixels(folder, photo())
    if theirs.shape != ours.shape:
        return None
    # the vendor normalises too: at most an affine map of each colour lies between the two
    pairs = zip(ours.double().flatten(1), theirs.double().flatten(1), strict=True)
    return max(_levels(own, other) for own, other in pairs)


def _levels(own: torch.Tensor, other: torch.Tensor) -> float:
    scale = (other.max() - other.min()) / (own.max() - own.min())
    return float(((other - other.mean()) / scale - (own - own.mean())).abs().max())


def main() -> None:
    print(f"| layout | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    full = "--full" in sys.argv
    wanted = [argument for argument in sys.argv[1:] if argument != "--full"]
    for name, layout in LAYOUTS.items():
        if (full and not name.startswith("open_clip")) or not all(part in name for part in wanted):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = differences(layout, Path(folder) / "layout", full=full)
                cells = ["" if (one := found[column]) is None else f"{one:.0e}" for column in COLUMNS]
            except MolyneuxError as error:
                cells = [str(error), *[""] * (len(COLUMNS) - 1)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
