"""Write `imagenet-1k.tsv`: WordNet id and name of each ImageNet class, in model order.

The names are OpenAI's curated ones as open_clip carries them (MIT licence), the ids timm's list of synsets.

    python scripts/write_imagenet_names.py
"""

from importlib import resources
from pathlib import Path

from open_clip import IMAGENET_CLASSNAMES

TARGET = Path(__file__).resolve().parents[1] / "src" / "molyneux" / "datasets" / "imagenet-1k.tsv"


def main() -> None:
    """Pair ids with names and write the table."""
    ids = resources.files("timm.data").joinpath("_info", "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    rows = [f"{wnid}\t{name}\n" for wnid, name in zip(ids, IMAGENET_CLASSNAMES, strict=True)]
    TARGET.write_text("".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
