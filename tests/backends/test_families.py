import importlib
import importlib.util
import json
import subprocess
import sys
from importlib import resources

import pytest
import transformers

from molyneux.backends.abilities import Captioner, Explainable, MaskedLM, Matcher
from molyneux.backends.base import DualEncoder
from molyneux.backends.families import FAMILIES, Family
from molyneux.backends.load import LOADERS, SHIPPED, TYPES

ABILITIES = {
    "embeds": DualEncoder,
    "matches": Matcher,
    "captions": Captioner,
    "fills masks": MaskedLM,
    "explains": Explainable,
}
BY_NAME = {family.name: family for family in FAMILIES}
TOKENS = {
    "CLIP": lambda: transformers.CLIPTextConfig().max_position_embeddings,
    "SigLIP": lambda: transformers.SiglipTextConfig().max_position_embeddings,
    "SigLIP 2": lambda: transformers.Siglip2TextConfig().max_position_embeddings,
    "CLIP (open_clip)": lambda: open_clip_config("ViT-B-32")["text_cfg"]["context_length"],
    "CoCa": lambda: open_clip_config("coca_ViT-L-14")["text_cfg"]["context_length"],
    "ViLT": lambda: transformers.ViltConfig().max_position_embeddings,
    "mini": lambda: shipped_config("mini")["text_cfg"]["context_length"],
    "drawn": lambda: shipped_config("drawn")["text_cfg"]["context_length"],
}
PIXELS = {
    "CLIP": lambda: transformers.CLIPVisionConfig().image_size,
    "SigLIP": lambda: transformers.SiglipVisionConfig().image_size,
    "CLIP (open_clip)": lambda: open_clip_config("ViT-B-32")["vision_cfg"]["image_size"],
    "CoCa": lambda: open_clip_config("coca_ViT-L-14")["vision_cfg"]["image_size"],
    "ViLT": lambda: transformers.ViltConfig().image_size,
    "mini": lambda: shipped_config("mini")["vision_cfg"]["image_size"],
    "drawn": lambda: shipped_config("drawn")["vision_cfg"]["image_size"],
}


def open_clip_config(name: str) -> dict:
    import open_clip

    return open_clip.get_model_config(name)


def shipped_config(name: str) -> dict:
    path = resources.files("molyneux") / "models" / name / "open_clip_config.json"
    return json.loads(path.read_text("utf-8"))["model_cfg"]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_abilities_are_those_of_the_class(family: Family):
    module, name = family.implementation.split(":")
    if importlib.util.find_spec(f"molyneux.backends.{module}") is None:
        pytest.skip(f"{module} is not there")
    implementation = getattr(importlib.import_module(f"molyneux.backends.{module}"), name, None)
    if implementation is None:
        pytest.skip(f"{name} is not there")
    assert set(family.abilities) == {word for word, kind in ABILITIES.items() if issubclass(implementation, kind)}


@pytest.mark.parametrize("name", TOKENS)
def test_the_token_limit_is_that_of_the_librarys_own_configuration(name):
    assert BY_NAME[name].token_limit == TOKENS[name]()


@pytest.mark.parametrize("name", PIXELS)
def test_the_librarys_own_size_of_images_is_among_those_listed(name):
    assert PIXELS[name]() in BY_NAME[name].image_size


def test_the_sizes_of_open_clips_clips_are_all_listed():
    import open_clip

    described = [open_clip_config(name) for name in open_clip.list_models()]
    clips = [
        one for one in described if "multimodal_cfg" not in one and one["text_cfg"].get("context_length", 77) == 77
    ]
    sizes = {one["vision_cfg"].get("image_size", 224) for one in clips}
    assert sorted(size for size in sizes if isinstance(size, int)) == list(BY_NAME["CLIP (open_clip)"].image_size)


def test_every_loader_has_a_family_and_every_family_a_loader():
    prefixes = {family.loader.partition(":")[0] for family in FAMILIES}
    # random stand-ins are of families that are listed already
    assert prefixes == {*SHIPPED, *LOADERS} - {"tiny"}
    modules = {family.implementation.partition(":")[0] for family in FAMILIES}
    assert {*TYPES.values()} <= modules


def test_names_are_distinct_and_nothing_is_left_blank():
    assert len(BY_NAME) == len(FAMILIES)
    assert all(family.weights and family.tested and family.abilities for family in FAMILIES)


def test_the_list_needs_no_torch():
    code = "import molyneux.backends.families, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
