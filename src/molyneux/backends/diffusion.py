"""Images from a text-to-image model: the baseline that inversion is measured against (paper, 6.4)."""

import hashlib
import re
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from molyneux.backends.hub import quiet_hub
from molyneux.backends.load import named_device
from molyneux.backends.options import SDXL, TINY_SDXL, Generation, Precision
from molyneux.errors import ModelError
from molyneux.shapes import Images


def check_generator(name: str) -> None:
    """Raise ModelError where diffusers is not installed, or `name` can be no model of it."""
    if find_spec("diffusers") is None:
        raise ModelError("diffusers is not installed, which generates images: pip install 'molyneux[sdxl]'")
    if name == TINY_SDXL:
        return
    here = (Path(name) / "model_index.json").is_file()
    if not here and (Path(name).exists() or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name)):
        raise ModelError(f"{name!r} is no text-to-image model: expected a folder that diffusers saved, or {SDXL!r}")


class ImageGenerator:
    """Stable Diffusion XL through diffusers: words in, images out. Its weights are never changed."""

    def __init__(self, name: str, native: Any) -> None:
        self.name = name
        self.native = native

    @classmethod
    def load(cls, name: str = SDXL, *, device: str = "cpu", precision: Precision = "fp32") -> "ImageGenerator":
        """From the hub by its name, or from a folder that diffusers saved; safetensors alone are read.

        Raises:
            ModelError: if diffusers is not installed, or holds no such model.
        """
        check_generator(name)
        place = named_device(device)
        if name == TINY_SDXL:
            from molyneux.backends.tiny import tiny_sdxl

            native = tiny_sdxl()
            native.set_progress_bar_config(disable=True)
            return cls(name, native.to(place))
        from diffusers import StableDiffusionXLPipeline

        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        try:
            with warnings.catch_warnings(), quiet_hub():
                warnings.simplefilter("ignore", FutureWarning)  # of `torch_dtype`, the name that all releases know
                native = StableDiffusionXLPipeline.from_pretrained(
                    name,
                    torch_dtype=kind,
                    use_safetensors=True,
                    local_files_only=Path(name).is_dir(),
                    trust_remote_code=False,
                )
        except (OSError, ValueError) as error:
            reason = shorten(" ".join(str(error).split()), 200, placeholder=" …")
            raise ModelError(
                f"cannot load {name!r} as Stable Diffusion XL: {reason}; expected a folder that diffusers saved, "
                "or a name on the hub"
            ) from error
        native.set_progress_bar_config(disable=True)
        return cls(name, native.to(place))

    def check_text(self, text: str) -> None:
        """Raise ModelError if the text does not fit, for what exceeds would be cut silently."""
        for tokenizer in (self.native.tokenizer, self.native.tokenizer_2):
            count, limit = len(tokenizer(text).input_ids), tokenizer.model_max_length
            if count > limit:
                raise ModelError(f"{text!r} has {count} tokens: {self.name!r} reads {limit}; shorten it")

    def generate(
        self,
        texts: Sequence[str],
        config: Generation,
        *,
        seed: int,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Images:
        """`config.images` images of the texts in turn, (n, 3, h, w) in [0, 1] on the CPU, each from its own seed.

        Image k is the same however many there are.

        Raises:
            ModelError: if a text does not fit.
        """
        for text in texts:
            self.check_text(text)
        side = config.size or None
        images = []
        for index in range(config.images):
            made = self.native(
                prompt=texts[index % len(texts)],
                height=side,
                width=side,
                num_inference_steps=config.steps,
                guidance_scale=config.guidance,
                generator=torch.Generator().manual_seed(_seed(seed, index)),
                output_type="pt",
            )
            images.append(made.images.float().cpu().clamp(0, 1))
            if on_step is not None:
                on_step(index + 1, config.images)
        return torch.cat(images)


def _seed(seed: int, index: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:8], "big") >> 1
