"""Random SAMs of a few thousand numbers, first and second."""

import torch

from molyneux.backends.hugging_face import quiet
from molyneux.backends.sam import Segmenter

SIDE = 64
DECODER = {
    "prompt_encoder_config": {"hidden_size": 16, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4},
    "mask_decoder_config": {
        "hidden_size": 16,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
        "num_hidden_layers": 1,
    },
}


def tiny_sam() -> Segmenter:
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 16,
            "output_channels": 16,
            "window_size": 2,
            "global_attn_indexes": [1],
            "num_pos_feats": 8,
            "mlp_dim": 32,
        },
        **DECODER,
    )
    images = SamImageProcessor(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
    return _segmenter("tiny-sam", SamModel, config, SamProcessor(images))


def tiny_sam2() -> Segmenter:
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [SIDE, SIDE],
                "blocks_per_stage": [1, 2, 1, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 1, 1],
                "window_size_per_stage": [2, 2, 2, 2],
                "global_attention_blocks": [2],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 16,
        },
        **DECODER,
    )
    images = Sam2ImageProcessor(size={"height": SIDE, "width": SIDE}, mask_size={"height": 16, "width": 16})
    return _segmenter("tiny-sam2", Sam2Model, config, Sam2Processor(images))


def _segmenter(name, model, config, processor) -> Segmenter:
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        return Segmenter(name, model(config), processor)
