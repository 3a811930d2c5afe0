"""`molyneux convert`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.show import print_json, print_next


def convert(
    model: Annotated[
        str,
        Parameter(help="A model as --model takes it elsewhere, or MedCLIP's published pytorch_model.bin or .zip."),
    ],
    /,
    *,
    out: Annotated[Path, Parameter(help="A new folder for the model.")],
    tokenizer: Annotated[
        Path | None, Parameter(help="MedCLIP's: the folder of its tokenizer, where that is not beside the weights.")
    ] = None,
    as_json: flags.AsJson = False,
) -> None:
    """Save a model as a folder with safetensors, from which nothing but numbers and text is read."""
    from molyneux.backends.digest import weights_digest
    from molyneux.backends.load import load

    loaded = load(_named(model, tokenizer))
    loaded.save(out)
    digest = weights_digest(loaded.native)
    if as_json:
        print_json({"model": model, "folder": str(out), "weights": f"sha256:{digest}"})
    else:
        print(f"{out}: {sum(value.numel() for value in loaded.native.parameters()):,} weights, SHA-256 {digest}")
        print_next("teach", "NAME", "--description", "TEXT", "--model", str(out), "--out", "FOLDER")


def _named(model: str, tokenizer: Path | None) -> str:
    published = Path(model).is_file() and Path(model).suffix in (".bin", ".zip", ".safetensors")
    if (published or tokenizer is not None) and not model.startswith("medclip:"):
        model = f"medclip:{model}"
    return model if tokenizer is None else f"{model}?tokenizer={tokenizer}"
