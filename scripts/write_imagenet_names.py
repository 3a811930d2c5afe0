"""Write `imagenet-1k.tsv`: WordNet id, OpenAI's name and WordNet's lemmas of each ImageNet class, in model order.

OpenAI's curated names come from open_clip (MIT licence), the ids and lemmas from timm's lists of synsets (WordNet).

    python scripts/write_imagenet_names.py
"""

from importlib import resources
from pathlib import Path

from open_clip import IMAGENET_CLASSNAMES

TARGET = Path(__file__).resolve().parents[1] / "src" / "molyneux" / "datasets" / "imagenet-1k.tsv"


def main() -> None:
    """Pair ids with names and lemmas and write the table."""
    info = resources.files("timm.data").joinpath("_info")
    ids = info.joinpath("imagenet_synsets.txt").read_text(encoding="utf-8").split()
    lines = info.joinpath("imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    lemmas = dict(line.split("\t") for line in lines)
    rows = [f"{wnid}\t{name}\t{lemmas[wnid]}\n" for wnid, name in zip(ids, IMAGENET_CLASSNAMES, strict=True)]
    TARGET.write_text("".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
