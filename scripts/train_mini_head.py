"""Train the alignment head of `mini` from folders of photos; writes `head.safetensors`.

    python scripts/train_mini_head.py --data ../shared/data --out src/molyneux/models/mini/head.safetensors

The two towers stay as published. The head learns to place a photo where its text is, by two signals:

- distillation: the soft-max of the vision tower's own ImageNet classifier, on mix-ups of any photos, and on
  the same pushed towards random classes so that all classes are seen; the targets are texts of the classes
  (name, prompt, definition, "A NAME is DEFINITION", and random mixtures of the four).
- captions: contrast between photos and their human captions.

Two things make the head fit for inversion: it sees features of 224-pixel and of 128-pixel images, and
features at random scale (x 0.75 to 3.3), because the tower's features grow 2.6-fold when the image
shrinks from 224 to 128 pixels, and a head that follows the length can be climbed by length alone.

Needs in --data: `flickr8k-1k/` (images/, captions.csv), `coco-mini/` (images/, annotations.json),
`tiny-imagenet-12k.tar` (or its unpacked folder) and `imagenet_classes.tsv`; see the README for layouts.
Seeded; about ten minutes on two cores. Photos of `imagenet1k-sample` and `novel-concepts` are not read.
"""

import argparse
import csv
import json
import math
import tarfile
import tempfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, gelu, normalize
from torchvision import transforms

from molyneux.backends.mini import VISION, build_towers, published_file
from molyneux.backends.open_clip import OpenClipModel

GROWTH = 2.6  # mean length of the features at 128 pixels, in units of that at 224
TEMPERATURE = 0.05


class Head(nn.Module):
    """What open_clip builds for `timm_proj: mlp`: 1280 -> 768 -> 384."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(1280, 768)
        self.fc2 = nn.Linear(768, 384, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return normalize(self.fc2(gelu(self.fc1(features))), dim=-1)


@torch.no_grad()
def features(model: OpenClipModel, paths: list[Path], size: int, smallest: float) -> Tensor:
    """Features of one random crop of each photo, at `size` pixels, divided by the growth at that size."""
    crop = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, (smallest, 1), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )
    found = []
    for start in range(0, len(paths), 50):
        images = torch.stack([crop(Image.open(path).convert("RGB")) for path in paths[start : start + 50]])
        found.append(model.features(images))
    return torch.cat(found) / (GROWTH if size == 128 else 1.0)


def captioned(data: Path) -> list[tuple[list[Path], Tensor, list[str]]]:
    """For each captioned set: photos, the photo of each caption, the captions."""
    rows = list(csv.DictReader((data / "flickr8k-1k" / "captions.csv").open(encoding="utf-8")))
    coco = json.loads((data / "coco-mini" / "annotations.json").read_text(encoding="utf-8"))
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    pairs = {
        "flickr8k-1k": [(row["image"], row["caption"]) for row in rows],
        "coco-mini": [(files[row["image_id"]], row["caption"]) for row in coco["captions"]],
    }
    found = []
    for folder, entries in pairs.items():
        names = sorted({name for name, _ in entries})
        index = {name: i for i, name in enumerate(names)}
        paths = [data / folder / "images" / name for name in names]
        found.append((paths, torch.tensor([index[name] for name, _ in entries]), [text for _, text in entries]))
    return found


def tiny_imagenet(data: Path, scratch: Path) -> list[Path]:
    """Every third photo of the 64-pixel set."""
    folder = data / "tiny-imagenet-12k"
    if not folder.is_dir():
        with tarfile.open(data / "tiny-imagenet-12k.tar") as archive:
            archive.extractall(scratch, filter="data")
        folder = scratch / "tiny-imagenet-12k"
    return sorted(folder.glob("*/*"))[::3]


def classifier() -> tuple[Tensor, Tensor]:
    """Weight and bias of the vision tower's own ImageNet classifier."""
    weights = torch.load(published_file(*VISION), weights_only=True, map_location="cpu")
    weight, bias = list(weights.values())[-2:]
    return weight, bias


def class_texts(model: OpenClipModel, data: Path) -> list[Tensor]:
    """Four (1000, 384) tables of texts of the ImageNet classes."""
    rows = [line.split("\t") for line in (data / "imagenet_classes.tsv").read_text("utf-8").splitlines()[1:]]
    names, definitions = [row[2] for row in rows], [row[4] for row in rows]
    both = [f"A {name} is {text}" for name, text in zip(names, definitions, strict=True)]
    return [model.embed_texts(t) for t in (names, [f"a photo of a {n}." for n in names], definitions, both)]


def contrast(head: Head, seen: Tensor, texts: Tensor, owners: Tensor) -> Tensor:
    """Symmetric contrastive loss of 128 random captions and their photos; other captions of a photo are left out."""
    chosen = torch.randint(len(owners), (128,))
    logits = head(seen[owners[chosen]] * random_scale(128)) @ texts[chosen].T / TEMPERATURE
    same = (owners[chosen][:, None] == owners[chosen]) & ~torch.eye(128, dtype=torch.bool)
    logits = logits.masked_fill(same, -1e4)
    target = torch.arange(128)
    return 0.5 * (cross_entropy(logits, target) + cross_entropy(logits.T, target))


def random_scale(count: int) -> Tensor:
    return torch.empty(count, 1).uniform_(math.log(0.75), math.log(3.3)).exp()


def train(data: Path, seed: int, steps: int) -> Head:
    torch.manual_seed(seed)
    model = build_towers()
    weight, bias = classifier()
    texts = class_texts(model, data)
    sets = []
    for paths, owners, captions in captioned(data):
        crops = [features(model, paths, size, 0.4) for size in (224, 224, 128, 128)]
        sets.append((crops, owners, model.embed_texts(captions)))
        print(f"features of {len(paths)} captioned photos", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        tiny = tiny_imagenet(data, Path(scratch))
        small = [features(model, tiny, size, 0.5) for size in (224, 128)]
    print(f"features of {len(tiny)} small photos", flush=True)
    photos = torch.cat([*(crop for crops, _, _ in sets for crop in crops), *small])
    push = normalize(weight - weight.mean(dim=0), dim=1)
    head = Head()
    optimiser = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        one, other = torch.randint(len(photos), (2, 256))
        share = torch.distributions.Beta(0.4, 0.4).sample((256, 1))
        mixed = share * photos[one] + (1 - share) * photos[other]
        towards = push[torch.randint(1000, (128,))] * (1.2 * torch.rand(128, 1)) * mixed[:128].norm(dim=1, keepdim=True)
        mixed = torch.cat([(mixed[:128] + towards).clamp(min=0), mixed[128:]])
        answers = (mixed @ weight.T + bias).softmax(dim=1)
        shares = torch.distributions.Dirichlet(torch.full((4,), 0.5)).sample((1000,))
        targets = normalize(sum(shares[:, i, None] * table for i, table in enumerate(texts)), dim=1)
        logits = head(dropout(mixed, 0.1) * random_scale(256)) @ targets.T / TEMPERATURE
        loss = -(answers * logits.log_softmax(dim=1)).sum(dim=1).mean()
        for crops, owners, captions in sets:
            loss = loss + 0.15 * contrast(head, crops[int(torch.randint(4, ()))], captions, owners)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 199:
            print(f"step {step + 1} of {steps}: loss {float(loss):.3f}", flush=True)
    return head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2400)
    options = parser.parse_args()
    head = train(options.data, options.seed, options.steps)
    state = {f"visual.head.mlp.{key}": value.half().contiguous() for key, value in head.state_dict().items()}
    save_file(state, options.out)


if __name__ == "__main__":
    main()
