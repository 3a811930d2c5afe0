"""How each family's own library reads a saved folder; nothing here imports Molyneux, nor may it."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import log_softmax, normalize


@contextmanager
def quiet() -> Iterator[None]:
    """No reports of transformers on weights that its classes leave aside, and no bars."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@torch.no_grad()
def read_hugging_face(folder: Path, images: Tensor, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Images (bytes as floats in [0, 1], already of the right size) and texts to unit rows, by transformers alone.

    In double precision: rounding of small random towers differs from machine to machine.
    """
    import transformers

    with quiet():
        model = transformers.AutoModel.from_pretrained(folder).eval().double()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
    images = [(image * 255).round().to(torch.uint8) for image in images]
    padding = "max_length" if model.config.model_type.startswith("siglip") else True
    seen = model.get_image_features(**processor(images, return_tensors="pt").to(torch.float64))
    tokens = tokenizer(list(texts), padding=padding, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    read = model.get_text_features(**tokens)
    rows = (found if isinstance(found, Tensor) else found.pooler_output for found in (seen, read))
    first, second = (normalize(found, dim=1) for found in rows)
    return first, second


@torch.no_grad()
def read_sentence_transformers(folder: Path, images: Tensor, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The same by sentence-transformers alone. It pads SigLIP's texts only where it is told to."""
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    with quiet():
        model = SentenceTransformer(str(folder), device="cpu")
    if model[0].model.config.model_type == "siglip":
        model[0].processing_kwargs = {"text": {"padding": "max_length"}}
    photos = [Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()) for image in images]
    seen, read = (
        model.encode(given, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False)
        for given in (photos, list(texts))
    )
    return seen, read


@torch.no_grad()
def read_open_clip(folder: Path, images: Tensor, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], of the right size, and texts to unit rows, by open_clip alone, which stands in the folder."""
    with warnings.catch_warnings(), chdir(folder):
        warnings.simplefilter("ignore")
        import open_clip

        native, preprocess = open_clip.create_model_from_pretrained("local-dir:.")
        tokenizer = open_clip.get_tokenizer("local-dir:.")
    seen = native.eval().encode_image(torch.stack([preprocess.transforms[-1](image) for image in images]))
    return normalize(seen, dim=1), native.encode_text(tokenizer(list(texts)), normalize=True)


@torch.no_grad()
def read_vilt(folder: Path, images: Tensor, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The log-probability that each image matches the text beside it, and the words' logits, by transformers alone.

    One pair at a time, so that nothing is padded. None of transformers' classes has the head for matching; its
    matrix is read from the file. Patches are drawn in a random order, which changes sums in their last digits.
    """
    from transformers import BertTokenizerFast, ViltForMaskedLM, ViltImageProcessor, ViltModel

    with quiet():
        body, masked = (kind.from_pretrained(folder).eval() for kind in (ViltModel, ViltForMaskedLM))
    words, processor = BertTokenizerFast.from_pretrained(folder), ViltImageProcessor.from_pretrained(folder)
    head = load_file(folder / "model.safetensors")
    scores, filled = [], []
    for image, text in zip(images, texts, strict=True):
        given = words(text, return_tensors="pt") | processor(image, do_rescale=False, return_tensors="pt")
        logits = body(**given).pooler_output @ head["itm_score.fc.weight"].T + head["itm_score.fc.bias"]
        scores.append(log_softmax(logits, dim=1)[:, 1])
        filled.append(masked(**given).logits[0])
    return torch.cat(scores), torch.cat(filled)
