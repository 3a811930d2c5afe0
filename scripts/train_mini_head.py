"""Train the alignment head of `mini` from folders of photos; writes `head.safetensors` and `training-data.json`.

    python scripts/train_mini_head.py --data ../shared/data --out src/molyneux/models/mini

The two towers stay as published. The head learns to place a photo where its text is:

- consensus: the vision tower's own ImageNet classifier answers a photo, at temperature 2; the target is the mean of the
  classes' texts, weighted by these answers. Each kind of text is centred by its own mean, and the sum is whitened
  halfway by the covariance of the names. So a photo of nothing that is known lies among its likes.
- distillation: cross-entropy between the classifier's answers and the soft-max over cosines to texts of the classes
  (name, prompt, definition, "A NAME is DEFINITION", the shipped description and its phrase, and random mixtures).
- captions: contrast between photos and their human captions.

Photos are mix-ups of any photos; most are pushed towards random classes so that all are seen, by up to their own
length. The head starts as a detector for each of 768 groups of classes (the classifier's rows), with its second layer
from ridge regression to the consensus.

The head sees features of 224-pixel and of 128-pixel images, and features at random scale (x 0.75 to 3.3): the
tower's features grow 2.6-fold when the image shrinks from 224 to 128 pixels, and a head that follows the length can be
climbed by length alone when images are inverted.

What the head never sees: any photo of `imagenet1k-sample` and of the novel concepts; Flickr8k's test half (see
`molyneux.datasets.captioned.half_of`); and any caption, photo or class text that names one of `NAMES`, the concepts of
`novel-concepts` and `novel-concepts-2`. One caption in five is enough to leave a photo out, and captions that hold a
word of `NEAR` are left out too. `training-data.json` lists what was read and what was left out.

Needs in --data: `flickr8k-1k/` (images/, captions.csv), `coco-mini/` (images/, annotations.json),
`tiny-imagenet-12k.tar` (or its unpacked folder) and `imagenet_classes.tsv`; see the README for layouts.
Seeded. Reading the features takes about twelve minutes of CPU time; the training, a few more.
"""

import argparse
import csv
import json
import math
import re
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, gelu, normalize
from torchvision import transforms

from molyneux.backends.mini import HEAD, VISION, build_towers, published_file
from molyneux.backends.open_clip import OpenClipModel
from molyneux.datasets.captioned import HALVES, half_of
from molyneux.datasets.imagenet import imagenet_descriptions, imagenet_wnids

RECORD = "training-data.json"
GROWTH = 2.6  # mean length of the features at 128 pixels, in units of that at 224
TEMPERATURE = 0.05
HIDDEN = 768

NAMES = {
    "okapi": r"okapis?",
    "octopus": r"octopus(?:es)?|octopi|octopod\w*",
    "helicopter": r"\w*copters?|heli|helis|helipads?|choppers?|rotorcrafts?|whirlybirds?",
    "scissors": r"scissors?|shears?|snips",
    "kangaroo": r"kangaroos?|wallaroos?|roos?|joeys?",
    "menorah": r"menorahs?|\w*candelabr\w*|hanuk\w*|chanuk\w*",
    "sunflower": r"sun[ -]?flowers?|helianthus",
    "pigeon": r"pigeons?|doves?|squabs?",
    "mandolin": r"mandolin\w*|mandolas?|bandolims?",
    "wheelchair": r"wheel[ -]?chairs?|invalid chairs?|rolling chairs?",
    "metronome": r"metronom\w*",
    "chandelier": r"chand[ea]?l[ie]+rs?|candeliers?|chandel\w*",
    "ceiling fan": r"(?:ceiling|overhead)[ -]fans?|fans?\b.*\bceilings?|ceilings?\b.*\bfans?",
    "minaret": r"minarets?",
    "headphones": r"(?:\w+-)?head[ -]?phones?|head[ -]?sets?|ear[ -]?(?:phone|bud|pod)s?|airpods?",
    "stapler": r"staplers?|stapl\w+|staple guns?",
    "stegosaurus": r"stegosaur\w*",
    "wrench": r"wrench\w*|spanners?",
    "buddha statue": r"buddh\w*",
    "lotus flower": r"lotus\w*|water[ -]?lil(?:y|ies)|lil(?:y|ies)[ -]?pads?",
    "ewer": r"ewers?",
    "joshua tree": r"joshua|yuccas?",
}
"""What is not to be learned, in any number, spelling and synonym."""

NEAR = {
    "kangaroo": r"wallab(?:y|ys|ies)|marsupials?",
    "scissors": r"clippers?|secateurs",
    "menorah": r"candlesticks?|candle[ -]?holders?",
    "mandolin": r"banjos?|ukuleles?|lutes?",
    "chandelier": r"light fixtures?|(?:pendant|hanging) (?:lamp|light)s?",
    "headphones": r"ear[ -]?(?:piece|muff)s?|walkmans?|discmans?|ipods?|mp3 players?",
    "stegosaurus": r"dinosaurs?",
    "ewer": r"pitchers?|jugs?|carafes?|flagons?|decanters?",
}
"""What looks alike, or comes with it: left out of captions only, for ImageNet has classes of that name."""

PHOTOS_LEFT_OUT = {"n03584254": "iPod, often with headphones", "n04560804": "water jug, which may be a ewer"}
"""Classes of tiny-imagenet whose photos are not read."""

_NAMES = {concept: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for concept, words in NAMES.items()}
_NEAR = {concept: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for concept, words in NEAR.items()}


def named(text: str, *, near: bool = False) -> str | None:
    """The first concept that a text names; with `near` also by words of what looks alike."""
    tables = (_NAMES, _NEAR) if near else (_NAMES,)
    return next((concept for table in tables for concept, words in table.items() if words.search(text)), None)


class Head(nn.Module):
    """What open_clip builds for `timm_proj: mlp`: 1280 -> 768 -> 384."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(1280, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, 384, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return normalize(self.fc2(gelu(self.fc1(features))), dim=-1)


@dataclass(frozen=True)
class Captioned:
    """Photos of one set, each seen in several crops, and their captions."""

    crops: list[Tensor]
    owners: Tensor
    """For each caption the index of its photo."""
    texts: Tensor


@dataclass(frozen=True)
class Classes:
    """The vision tower's own classifier, and texts of its classes."""

    weight: Tensor
    bias: Tensor
    tables: Tensor
    """(6, 1000, 384): names, prompts, definitions, names with definitions, descriptions, phrases."""
    allowed: Tensor
    """(6, 1000): whether a text may be read."""

    @property
    def directions(self) -> Tensor:
        """(1000, 1280): unit vectors in which a photo becomes one of the class."""
        return normalize(self.weight - self.weight.mean(dim=0), dim=1)


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


def captions_of(data: Path) -> dict[str, list[tuple[str, str]]]:
    """For each captioned set: file name and caption."""
    rows = csv.DictReader((data / "flickr8k-1k" / "captions.csv").open(encoding="utf-8"))
    coco = json.loads((data / "coco-mini" / "annotations.json").read_text(encoding="utf-8"))
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    return {
        "flickr8k-1k": [(row["image"], row["caption"]) for row in rows],
        "coco-mini": [(files[row["image_id"]], row["caption"]) for row in coco["captions"]],
    }


def labels_of(data: Path) -> list[tuple[str, str]]:
    """File name and category of everything that is marked in the COCO photos."""
    coco = json.loads((data / "coco-mini" / "annotations.json").read_text(encoding="utf-8"))
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    categories = {category["id"]: category["name"] for category in coco["categories"]}
    return [(files[mark["image_id"]], categories[mark["category_id"]]) for mark in coco["annotations"]]


def readable(data: Path) -> tuple[dict[str, list[tuple[str, str]]], dict[str, Any]]:
    """The captions that may be read, and the record of what was and what was not; marked categories count as said."""
    found, record = {}, {}
    for folder, entries in captions_of(data).items():
        said = entries + (labels_of(data) if folder == "coco-mini" else [])
        left_out = {name: concept for name, text in said if (concept := named(text, near=True)) is not None}
        names = sorted({name for name, _ in entries})
        half = [name for name in names if folder != "flickr8k-1k" or half_of(name) == HALVES[0]]
        read = [name for name in half if name not in left_out]
        found[folder] = [(name, text) for name, text in entries if name in set(read)]
        record[folder] = {
            "photos": len(names),
            **({"train-half": len(half), "test-half": len(names) - len(half)} if folder == "flickr8k-1k" else {}),
            "left_out": {name: left_out[name] for name in half if name in left_out},
            "read": read,
        }
    return found, record


def tiny_imagenet(data: Path, scratch: Path) -> list[Path]:
    """Every third photo of the 64-pixel set, without the classes that are left out."""
    folder = data / "tiny-imagenet-12k"
    if not folder.is_dir():
        with tarfile.open(data / "tiny-imagenet-12k.tar") as archive:
            archive.extractall(scratch, filter="data")
        folder = scratch / "tiny-imagenet-12k"
    return [path for path in sorted(folder.glob("*/*"))[::3] if path.parent.name not in PHOTOS_LEFT_OUT]


def read_classes(model: OpenClipModel, data: Path) -> tuple[Classes, dict[str, list[str]]]:
    """Classifier and class texts, and which texts are left out because they name a concept."""
    published = torch.load(published_file(*VISION), weights_only=True, map_location="cpu")
    weight, bias = list(published.values())[-2:]
    rows = [line.split("\t") for line in (data / "imagenet_classes.tsv").read_text("utf-8").splitlines()[1:]]
    if tuple(row[1] for row in rows) != imagenet_wnids():
        raise SystemExit("imagenet_classes.tsv does not hold the 1,000 classes in model order")
    names, definitions = [row[2] for row in rows], [row[4] for row in rows]
    texts = {
        "name": names,
        "prompt": [f"a photo of a {name}." for name in names],
        "definition": definitions,
        "name and definition": [f"A {name} is {text}" for name, text in zip(names, definitions, strict=True)],
        "description": [sentence for sentence, _ in imagenet_descriptions()],
        "phrase": [phrase for _, phrase in imagenet_descriptions()],
    }
    allowed = torch.tensor([[named(text) is None for text in table] for table in texts.values()])
    left_out = {kind: [text for text in table if named(text) is not None] for kind, table in texts.items()}
    tables = torch.stack([embed(model, table) for table in texts.values()])
    return Classes(weight, bias, tables, allowed), {kind: found for kind, found in left_out.items() if found}


@torch.no_grad()
def embed(model: OpenClipModel, texts: list[str]) -> Tensor:
    return torch.cat([model.embed_texts(texts[start : start + 100]) for start in range(0, len(texts), 100)])


def consensus_texts(classes: Classes) -> Tensor:
    """(1000, 384): prompt and 0.3 of the description, each kind centred, then whitened halfway by the prompts."""

    def centred(kind: int) -> Tensor:
        found = classes.tables[kind] - classes.tables[kind].mean(dim=0)
        return normalize(found, dim=1) * classes.allowed[kind, :, None]

    prompts = classes.tables[1] - classes.tables[1].mean(dim=0)
    values, vectors = torch.linalg.eigh(prompts.T @ prompts / len(prompts))
    whitening = vectors @ torch.diag((values + 0.1 * values.mean()).rsqrt()) @ vectors.T
    found = (centred(1) + 0.3 * centred(4)) @ whitening
    return found / found.norm(dim=1).mean()


def sample(photos: Tensor, classes: Classes, count: int) -> Tensor:
    """(count, 1280) features of mix-ups, seven in ten pushed towards a random class."""
    one, other = torch.randint(len(photos), (2, count))
    share = torch.distributions.Beta(0.4, 0.4).sample((count, 1))
    mixed = share * photos[one].float() + (1 - share) * photos[other].float()
    pushed = round(0.7 * count)
    reach = torch.rand(pushed, 1) * mixed[:pushed].norm(dim=1, keepdim=True)
    towards = classes.directions[torch.randint(len(classes.weight), (pushed,))]
    return torch.cat([(mixed[:pushed] + reach * towards).clamp(min=0), mixed[pushed:]])


def groups(directions: Tensor, count: int) -> Tensor:
    """(count, 1280) unit means of classes that lie near each other: ten rounds of spherical k-means."""
    means = directions[torch.randperm(len(directions))[:count]].clone()
    for _ in range(10):
        sums = torch.zeros_like(means).index_add_(0, (directions @ means.T).argmax(dim=1), directions)
        filled = sums.norm(dim=1) > 0
        means[filled] = normalize(sums[filled], dim=1)
    return means


@torch.no_grad()
def first_guess(head: Head, photos: Tensor, classes: Classes, targets: Tensor) -> None:
    """Fill the first layer with detectors for groups of classes, and fit the second to the consensus."""
    length = (classes.weight - classes.weight.mean(dim=0)).norm(dim=1).mean()
    photos = photos.float()
    spread = (photos @ classes.weight.T + classes.bias).std(dim=1, keepdim=True)
    # the detectors' threshold follows the spread of an image's logits, which is nearly linear in its features
    threshold = torch.linalg.lstsq(photos, spread).solution[:, 0]
    head.fc1.weight.copy_(4 * (length * groups(classes.directions, HIDDEN) - 1.5 * threshold))
    head.fc1.bias.zero_()
    seen = sample(photos, classes, 12_000)
    wanted = consensus(seen, classes, targets)
    hidden = gelu(head.fc1(seen))
    gram = hidden.T @ hidden
    gram += 0.01 * gram.diagonal().mean() * torch.eye(HIDDEN)
    head.fc2.weight.copy_(torch.linalg.solve(gram, hidden.T @ wanted).T)


def consensus(seen: Tensor, classes: Classes, targets: Tensor) -> Tensor:
    answers = ((seen @ classes.weight.T + classes.bias) / 2).softmax(dim=1)
    return normalize(answers @ targets, dim=1)


def distillation(embedded: Tensor, seen: Tensor, classes: Classes) -> Tensor:
    """Cross-entropy of the classifier's answers and the soft-max over random mixtures of the classes' texts."""
    kinds, count = classes.allowed.shape
    shares = torch.distributions.Dirichlet(torch.full((kinds,), 0.5)).sample((count,)) * classes.allowed.T
    texts = normalize(torch.einsum("ck,kcd->cd", shares, classes.tables), dim=1)
    answers = (seen @ classes.weight.T + classes.bias).softmax(dim=1)
    return -(answers * (embedded @ texts.T / TEMPERATURE).log_softmax(dim=1)).sum(dim=1).mean()


def contrast(head: Head, some: Captioned) -> Tensor:
    """Symmetric contrastive loss of 128 random captions and their photos; other captions of a photo are left out."""
    chosen = torch.randint(len(some.owners), (128,))
    owners = some.owners[chosen]
    seen = some.crops[int(torch.randint(len(some.crops), ()))][owners]
    logits = head(seen * random_scale(128)) @ some.texts[chosen].T / TEMPERATURE
    same = (owners[:, None] == owners) & ~torch.eye(128, dtype=torch.bool)
    logits = logits.masked_fill(same, -1e4)
    target = torch.arange(128)
    return 0.5 * (cross_entropy(logits, target) + cross_entropy(logits.T, target))


def random_scale(count: int) -> Tensor:
    return torch.empty(count, 1).uniform_(math.log(0.75), math.log(3.3)).exp()


def read(data: Path) -> tuple[Classes, list[Captioned], Tensor, dict[str, Any]]:
    """Class texts, captioned photos, features of all photos at half precision, and the record of what was read."""
    model = build_towers()
    captions, record = readable(data)
    classes, texts_left_out = read_classes(model, data)
    sets = []
    for folder, entries in captions.items():
        names = record[folder]["read"]
        index = {name: i for i, name in enumerate(names)}
        paths = [data / folder / "images" / name for name in names]
        crops = [features(model, paths, size, 0.4) for size in (224, 128)]
        owners = torch.tensor([index[name] for name, _ in entries])
        sets.append(Captioned(crops, owners, embed(model, [text for _, text in entries])))
        print(f"features of {len(paths)} photos of {folder}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        tiny = tiny_imagenet(data, Path(scratch))
        small = [features(model, tiny, 128, 0.5), features(model, tiny[::2], 224, 0.5)]
    print(f"features of {len(tiny)} small photos", flush=True)
    record["tiny-imagenet-12k"] = {"read": len(tiny), "left_out": PHOTOS_LEFT_OUT}
    record["class texts left out"] = texts_left_out
    return classes, sets, torch.cat([*(crop for one in sets for crop in one.crops), *small]).half(), record


def train(classes: Classes, sets: list[Captioned], photos: Tensor, steps: int) -> Head:
    targets = consensus_texts(classes)
    head = Head()
    first_guess(head, photos, classes, targets)
    optimiser = torch.optim.AdamW(head.parameters(), lr=2e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        seen = sample(photos, classes, 256)
        embedded = head(dropout(seen, 0.1) * random_scale(256))
        away = (1 - (embedded * consensus(seen, classes, targets)).sum(dim=1)).mean()
        loss = 10 * away + distillation(embedded, seen, classes)
        for some in sets:
            loss = loss + 0.3 * contrast(head, some)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 199:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}, consensus {away.item():.3f}", flush=True)
    return head


def write(head: Head, record: dict[str, Any], folder: Path) -> None:
    """The weights at half precision, and what they were learned from."""
    state = {f"visual.head.mlp.{key}": value.half().contiguous() for key, value in head.state_dict().items()}
    save_file(state, folder / HEAD)
    rule = "train-half: the first byte of the SHA-256 of the file name is even"
    text = json.dumps({"rule": rule, "names": NAMES, "near": NEAR, **record}, indent=1)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=800)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    classes, sets, photos, record = read(options.data)
    torch.manual_seed(options.seed)
    head = train(classes, sets, photos, options.steps)
    write(head, record, options.out)


if __name__ == "__main__":
    main()
