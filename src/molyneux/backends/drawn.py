"""A small CLIP of our own, trained by contrast alone on drawn scenes: `scripts/train_drawn.py` makes it."""

import json
from importlib import resources

from molyneux.backends.open_clip import CONFIG, WEIGHTS, OpenClipModel, build, load_weights
from molyneux.errors import ModelError


def load_drawn() -> OpenClipModel:
    """Build `drawn` from the package: open_clip's own towers, a vision transformer and a text transformer.

    Raises:
        ModelError: if a file of it is missing, or cannot be read.
    """
    with resources.as_file(resources.files("molyneux") / "models" / "drawn") as folder:
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            model = build("drawn", config, folder)
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(f"the model 'drawn' cannot be read ({error}): install molyneux again") from error
        load_weights(model, folder / WEIGHTS)
    assert isinstance(model, OpenClipModel)
    return model
