"""From a name to a model: `mini`, or a folder."""

from pathlib import Path

from molyneux.backends.base import VisionLanguageModel
from molyneux.errors import ModelError


def load(name: str | Path) -> VisionLanguageModel:
    """Load a model by name ("mini") or from a folder that Molyneux or open_clip saved.

    Raises:
        ModelError: if there is no such model, or it cannot be read.
    """
    if str(name) == "mini":
        from molyneux.backends.mini import load_mini

        return load_mini()
    folder = Path(name)
    if not folder.exists():
        raise ModelError(f"there is no model {str(name)!r}: expected 'mini' or a folder that holds a saved model")
    if not folder.is_dir():
        raise ModelError(f"{folder} is a file: expected 'mini' or the folder that holds a saved model")
    from molyneux.backends.open_clip import load_folder

    return load_folder(folder)
