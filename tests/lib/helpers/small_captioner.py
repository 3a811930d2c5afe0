"""A random CoCa of six tokens, so that everything it could write can be listed."""

import torch

from molyneux.backends.open_clip import CoCaModel

PADDING, START, END, WORDS = 0, 4, 5, (1, 2, 3)


class Letters:
    """The tokenizer: 'a', 'b' and 'c' are the words."""

    context_length, sot_token_id, eot_token_id = 12, START, END

    def encode(self, text: str) -> list[int]:
        return ["_abc".index(letter) for letter in text if letter in "abc"]

    def decode(self, tokens: list[int]) -> str:
        return "".join("_abc"[token] for token in tokens)

    def __call__(self, texts: list[str]) -> torch.Tensor:
        rows = [[START, *self.encode(text), END] for text in texts]
        return torch.tensor([row + [PADDING] * (self.context_length - len(row)) for row in rows])


def build_letters(seed: int = 0, boldness: float = 6.0) -> CoCaModel:
    """`boldness` scales the logits, so that words differ in their probability."""
    import open_clip

    text = {"context_length": 12, "vocab_size": 6, "width": 16, "heads": 2, "layers": 1}
    model_config = {
        "embed_dim": 16,
        "vision_cfg": {
            "layers": 1,
            "width": 16,
            "head_width": 8,
            "patch_size": 8,
            "image_size": 16,
            "attentional_pool": True,
            "attn_pooler_queries": 3,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        "text_cfg": {**text, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": text,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        native = open_clip.CoCa(**model_config)
        torch.nn.init.normal_(native.text.token_embedding.weight)
        torch.nn.init.normal_(native.text.positional_embedding, std=0.5)
        torch.nn.init.normal_(native.text_decoder.text_projection, std=boldness / 16)
    config = {"model_cfg": model_config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.2] * 3}}
    return CoCaModel("letters", native, Letters(), config)
