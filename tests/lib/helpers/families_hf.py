"""Tiny random models of transformers' dual encoders, with tokenizers of the real classes."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import sentencepiece
import torch
import transformers
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece
from torch import nn

from helpers.vendors import read_hugging_face
from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.hugging_face import HuggingFaceModel, quiet

WORDS = re.findall(r"\S+", "a the of with photo ring circle hole round cross bars two that meet dark in on .")
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
MARKS = ".,!?;'-"
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PATCHES = {"image_size": 32, "patch_size": 8}
TEXT = VISION | {"max_position_embeddings": 40}


def awake(model: nn.Module, gain: float = 3.0) -> nn.Module:
    """Weights larger than the libraries' initial ones, so that images and texts differ in their embeddings."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and "conv" not in name and "probe" not in name:
                value.mul_(gain)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            nn.init.uniform_(layer.running_var, 0.05, 0.2)
    return model


def seeded(make: Callable[[], HuggingFaceModel]) -> Callable[[], HuggingFaceModel]:
    def build() -> HuggingFaceModel:
        with torch.random.fork_rng(), quiet():
            torch.manual_seed(0)
            return make()

    return build


def clip_tokenizer() -> transformers.PreTrainedTokenizerBase:
    """Byte-pair encoding over single letters and a few whole words."""
    units = [*LETTERS, *MARKS]
    vocabulary = {unit: number for number, unit in enumerate([*units, *(f"{unit}</w>" for unit in units)])}
    merges = [("r", "i"), ("n", "g</w>"), ("ri", "ng</w>")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    vocabulary |= {"<|startoftext|>": len(vocabulary), "<|endoftext|>": len(vocabulary) + 1}
    with TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary))
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges))
        return transformers.CLIPTokenizerFast.from_pretrained(folder, model_max_length=40)


def siglip_tokenizer() -> transformers.PreTrainedTokenizerBase:
    """A SentencePiece model of a few words, as SigLIP's own tokenizer reads it."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS), " ".join(LETTERS), *WORDS] * 4),
        model_writer=content,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "spiece.model"
        path.write_bytes(content.getvalue())
        return transformers.SiglipTokenizer(str(path), model_max_length=40, model_input_names=["input_ids"])


def siglip2_tokenizer() -> transformers.PreTrainedTokenizerBase:
    """Byte-pair encoding over letters, lower-cased, with the end token that the published files add."""
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    vocabulary = {unit: number for number, unit in enumerate([*marks, *LETTERS, *MARKS])}
    settings = {"model_max_length": 40, "padding_side": "right", "model_input_names": ["input_ids"]}
    if hasattr(transformers, "Siglip2Tokenizer"):
        tokenizer = transformers.Siglip2Tokenizer(vocab=vocabulary, merges=[], **settings)
    else:  # transformers 4 has no class of its own for it
        backend = Tokenizer(BPE(vocabulary, [], unk_token="<unk>", fuse_unk=True))
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
        named = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **named, **settings)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer


def bert_tokenizer() -> transformers.PreTrainedTokenizerBase:
    """WordPiece over a few words and the alphabet."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = dict.fromkeys([*marks, *WORDS, *MARKS, *LETTERS, *(f"##{letter}" for letter in LETTERS)])
    numbers = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(mark, numbers[mark]) for mark in ("[CLS]", "[SEP]")]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def clip() -> HuggingFaceModel:
    tokenizer = clip_tokenizer()
    text = TEXT | {
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION | PATCHES, projection_dim=12)
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=[0.5, 0.4, 0.3]
    )
    return HuggingFaceModel("clip", awake(transformers.CLIPModel(config)), tokenizer, images)


def siglip() -> HuggingFaceModel:
    tokenizer = siglip_tokenizer()
    text = TEXT | {"vocab_size": len(tokenizer), "projection_size": 16, "pad_token_id": 0, "bos_token_id": 0}
    config = transformers.SiglipConfig(
        text_config=text | {"eos_token_id": 1}, vision_config=VISION | PATCHES | {"model_type": "siglip_vision_model"}
    )
    images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    return HuggingFaceModel("siglip", awake(sigmoid(transformers.SiglipModel(config))), tokenizer, images)


def siglip2() -> HuggingFaceModel:
    tokenizer = siglip2_tokenizer()
    text = TEXT | {"vocab_size": len(tokenizer), "projection_size": 16, "pad_token_id": 0, "bos_token_id": 2}
    config = transformers.Siglip2Config(
        text_config=text | {"eos_token_id": 1}, vision_config=VISION | {"patch_size": 8, "num_patches": 16}
    )
    images = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    return HuggingFaceModel("siglip2", awake(sigmoid(transformers.Siglip2Model(config))), tokenizer, images)


def sigmoid(model: nn.Module) -> nn.Module:
    """The scale and bias that SigLIP's training begins with."""
    with torch.no_grad():
        model.logit_scale.fill_(2.3026)
        model.logit_bias.fill_(-10.0)
    return model


def dual(vision: transformers.PretrainedConfig) -> HuggingFaceModel:
    tokenizer = bert_tokenizer()
    text = transformers.BertConfig(**TEXT, vocab_size=len(tokenizer))
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=12)
    images = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    model = awake(transformers.VisionTextDualEncoderModel(config), 10.0)
    return HuggingFaceModel("dual", model, tokenizer, images)


def vit_bert() -> HuggingFaceModel:
    return dual(transformers.ViTConfig(**VISION, **PATCHES))


def swin_bert() -> HuggingFaceModel:
    return dual(
        transformers.SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
        )
    )


def resnet_bert() -> HuggingFaceModel:
    return dual(
        transformers.TimmWrapperConfig(
            architecture="resnet10t", hidden_size=64, model_args={"channels": [8, 16, 32, 64], "stem_width": 4}
        )
    )


FAMILIES: dict[str, Callable[[], VisionLanguageModel]] = {
    f"hf {make.__name__}": seeded(make) for make in (clip, siglip, siglip2, vit_bert, swin_bert, resnet_bert)
}


VENDOR = dict.fromkeys(FAMILIES, read_hugging_face)
