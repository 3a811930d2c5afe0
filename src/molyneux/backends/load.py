"""From a name to a model: `mini`, a family and where its weights are, or a folder."""

import json
from pathlib import Path

from molyneux.backends.base import VisionLanguageModel
from molyneux.errors import ModelError


def load(name: str | Path) -> VisionLanguageModel:
    """Load a model by name ("mini", "medclip:PATH", "vilt:PATH") or from a folder that holds a saved model.

    Raises:
        ModelError: if there is no such model, or it cannot be read.
    """
    if str(name) == "mini":
        from molyneux.backends.mini import load_mini

        return load_mini()
    family, named, rest = str(name).partition(":")
    if named and family == "medclip":
        from molyneux.backends.medclip import load_named as load_medclip_named

        return load_medclip_named(rest)
    if named and family == "vilt":
        from molyneux.backends.vilt import load_named as load_vilt_named

        return load_vilt_named(rest)
    folder = Path(name)
    if not folder.exists():
        raise ModelError(f"there is no model {str(name)!r}: expected 'mini' or a folder that holds a saved model")
    if not folder.is_dir():
        raise ModelError(f"{folder} is a file: expected 'mini' or the folder that holds a saved model")
    if (folder / "medclip_config.json").is_file():
        from molyneux.backends.medclip import load_medclip

        return load_medclip(folder)
    if _model_type(folder) == "vilt":
        from molyneux.backends.vilt import load_folder as load_vilt_folder

        return load_vilt_folder(folder)
    from molyneux.backends.open_clip import load_folder

    return load_folder(folder)


def _model_type(folder: Path) -> str:
    """What a Hugging Face configuration in the folder calls its model; empty if there is none that can be read."""
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, TypeError, LookupError):
        return ""
