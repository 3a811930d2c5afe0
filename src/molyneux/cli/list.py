"""`molyneux list models`."""

from cyclopts import App

from molyneux.cli import flags
from molyneux.cli.show import print_json

MODELS = {
    "mini": "EfficientNet-Lite0 and all-MiniLM-L6-v2, aligned on the names of ImageNet's 1,000 classes; "
    "comes with the package",
    "FOLDER": "a model that 'molyneux teach' or open_clip saved",
}

app = App(name="list", help="List what can be named on the command line.")


@app.command
def models(*, as_json: flags.AsJson = False) -> None:
    """What --model takes."""
    if as_json:
        print_json(MODELS)
        return
    for name, about in MODELS.items():
        print(f"{name:8}{about}")
