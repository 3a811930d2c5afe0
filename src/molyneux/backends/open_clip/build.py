"""From a configuration to a model of the open_clip family with random weights."""

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from molyneux.backends.open_clip.coca import CoCaModel
from molyneux.backends.open_clip.model import OpenClipEncoder, OpenClipModel
from molyneux.backends.open_clip.texts import build_tokenizer

TEXT_FILES = {"hf_model_name": "config.json", "hf_tokenizer_name": "tokenizer.json"}
"""What a text configuration names, and a file that is there."""


def build(name: str, config: dict[str, Any], text_folder: Path | Mapping[str, Path] | None = None) -> OpenClipEncoder:
    """The architecture that `config` describes, with random weights.

    Args:
        name: what the model is to be called.
        config: as in `open_clip_config.json`: 'model_cfg' and 'preprocess_cfg'.
        text_folder: where a Hugging Face text tower's configuration and tokenizer lie: one folder, or one for
            'hf_model_name' and one for 'hf_tokenizer_name'; as `config` names them if None.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import open_clip

    model_config = copy.deepcopy(config["model_cfg"])
    text, vision = model_config["text_cfg"], model_config["vision_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if text_folder is not None:
        places = text_folder if isinstance(text_folder, Mapping) else dict.fromkeys(TEXT_FILES, text_folder)
        text |= {key: str(place) for key, place in places.items() if key in text}
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    custom = model_config.pop("custom_text", False) or "hf_model_name" in text
    if custom and "multimodal_cfg" in model_config:
        native = open_clip.CoCa(**model_config)
        # open_clip leaves this one as it finds it in memory
        nn.init.normal_(native.text_decoder.text_projection, std=native.text_decoder.width**-0.5)
        return CoCaModel(name, native, build_tokenizer(text), config)
    native = open_clip.CustomTextCLIP(**model_config) if custom else open_clip.CLIP(**model_config)
    return OpenClipModel(name, native, build_tokenizer(text), config)
