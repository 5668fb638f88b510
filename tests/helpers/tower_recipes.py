"""Recipes of types that bring pictures, or their tiles, to the size of a vision tower."""

from __future__ import annotations

from any_type import Recipe
from recipe_parts import BOI, CLIP, PLAIN, SQUARE

_PINPOINTS = [[28, 28], [28, 56], [56, 28]]
_INDICATORS = ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
_WITH_VIDEO = {"image_token": "<image>", "video_token": "<video>"}
_SIGLIP = {**CLIP, "model_type": "siglip_vision_model", "vision_use_head": False}


def _llava(**more) -> Recipe:
    strategy = {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    recipe = {
        "picture": "<image>\n",
        "tokens": _WITH_VIDEO,
        "config": {"vision_config": CLIP},
        "images": {"size": SQUARE, "crop_size": SQUARE},
        "processor": strategy,
    }
    return Recipe(**{**recipe, **more})


_DEEPSEEK_VL = {
    "picture": "<image>",
    "tokens": PLAIN,
    "images": {"size": SQUARE},
    "processor": {"num_image_tokens": 16},
}
_DEEPSEEK_OCR = {
    "vision_config": {
        "sam_config": {
            "hidden_size": 32,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "window_size": 2,
            "global_attn_indexes": [1],
            "mlp_dim": 64,
            "downsample_channels": [16, 32],
        },
        "encoder_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
        },
    },
    "text_config": {"mlp_layer_types": None, "num_experts_per_tok": 2, "layer_types": None},
}


TOWER_RECIPES: dict[str, Recipe] = {
    "aya_vision": Recipe(
        "<image>",
        {
            **PLAIN,
            "start_token": "<|START_OF_IMG|>",
            "end_token": "<|END_OF_IMG|>",
            "patch_token": "<|IMG_PATCH|>",
            "break_token": "<|IMG_LINE_BREAK|>",
        },
        {
            "vision_config": _SIGLIP,
            "downsample_factor": 2,
            "adapter_layer_norm_eps": 1e-6,
            "image_token_index": "<|IMG_PATCH|>",
        },
        {"size": SQUARE, "crop_to_patches": True, "max_patches": 2},
        {"patch_size": 7, "img_size": 28, "downsample_factor": 2},
    ),
    "cohere2_vision": Recipe(
        "<image>",
        {**BOI, "img_line_break_token": "<break>"},
        {"vision_config": _SIGLIP},
        {"size": SQUARE, "patch_size": 2, "max_patches": 2},
    ),
    "deepseek_vl": Recipe(**_DEEPSEEK_VL, config={"vision_config": _SIGLIP}),
    "deepseek_vl_hybrid": Recipe(
        **{**_DEEPSEEK_VL, "images": {"size": SQUARE, "high_res_size": {"height": 56, "width": 56}}},
        images_name="DeepseekVLHybridImageProcessor",
        config={
            "vision_config": _SIGLIP,
            "high_res_vision_config": {"image_size": 56, "output_channels": 16, "window_size": 2},
        },
    ),
    "fast_vlm": _llava(
        config={"vision_config": {"architecture": "fastvit_t8", "hidden_size": 768}, "image_seq_length": 4},
        images={"size": {"height": 56, "width": 56}, "crop_size": {"height": 56, "width": 56}},
        processor={"patch_size": 28, "vision_feature_select_strategy": "full", "num_additional_image_tokens": 0},
        processor_name="LlavaProcessor",
        images_name="CLIPImageProcessor",
        packages=("timm",),
        wide=True,
    ),
    "gemma3n": Recipe(
        "<image>",
        {**BOI, "audio_token": "<audio>", "boa_token": "<boa>", "eoa_token": "<eoa>"},
        {
            "vision_config": {"architecture": "mobilenetv5_base", "hidden_size": 2048},
            "audio_config": {
                "conf_num_hidden_layers": 1,
                "conf_num_attention_heads": 2,
                "input_feat_size": 32,
                "sscp_conv_channel_size": [8, 8],
            },
            "text_config": {
                "intermediate_size": [64, 64],
                "activation_sparsity_pattern": [0.0, 0.0],
                "layer_types": ["sliding_attention", "full_attention"],
                "num_kv_shared_layers": 0,
                "vocab_size_per_layer_input": "len(tokenizer)",
                "hidden_size_per_layer_input": 8,
                "laurel_rank": 8,
            },
        },
        {"size": SQUARE},
        {"image_seq_length": 256},
        parts={"feature_extractor": ("Gemma3nAudioFeatureExtractor", {})},
        packages=("timm",),
    ),
    "git": Recipe("", {"cls_token": "[CLS]"}, {}, {"size": SQUARE, "crop_size": SQUARE}),
    "got_ocr2": Recipe(
        "<img><imgpad></img>\n",
        {"image_token": "<imgpad>", "start_token": "<img>", "end_token": "</img>"},
        {
            "vision_config": {
                "image_size": 256,
                "output_channels": 16,
                "window_size": 4,
                "patch_size": 4,
                "global_attn_indexes": [],
            },
        },
        {"size": {"height": 256, "width": 256}},
        wide=True,
    ),
    "granite4_vision": Recipe(
        "<image>",
        PLAIN,
        {
            "vision_config": {**CLIP, "hidden_size": 64},
            "image_grid_pinpoints": _PINPOINTS,
            "spatial_target_layers": [0, 1, 0, 1],
            "deepstack_layer_map": [[-1, 0]],
            "text_config": {"num_hidden_layers": 2},
            "downsample_rate": "1/2",
            "qformer_config": {"num_hidden_layers": 1},
        },
        {"size": {"shortest_edge": 28}, "crop_size": SQUARE, "image_grid_pinpoints": _PINPOINTS},
        {
            "patch_size": 7,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
            "downsample_rate": "1/2",
        },
    ),
    "granite_docling": Recipe(
        "<image>",
        {
            "image_token": "<image>",
            "fake_token": "<fake_token_around_image>",
            "global_token": "<global-img>",
            **{f"place_{i}{j}": f"<row_{i}_col_{j}>" for i in range(1, 5) for j in range(1, 5)},
        },
        {"vision_config": {"scale_factor": 2, "deepstack_visual_indexes": [0], "use_fine_route": False}},
        {"size": SQUARE, "crop_to_patches": False},
        {"image_seq_len": 4},
    ),
    "llama4": Recipe(
        "<|image|>",
        {
            "fake_token": "<|image|>",
            "boi_token": "<|image_start|>",
            "eoi_token": "<|image_end|>",
            "image_token": "<|patch|>",
            "tile_x_token": "<|tile_x_separator|>",
            "tile_y_token": "<|tile_y_separator|>",
        },
        {
            "vision_config": {
                "vision_output_dim": 32,
                "projector_input_dim": 32,
                "projector_output_dim": 32,
                "intermediate_size": 128,
                "pixel_shuffle_ratio": 0.5,
            },
            "text_config": {"intermediate_size_mlp": 64, "moe_layers": [1]},
        },
        {"size": SQUARE, "max_patches": 2},
        {"patch_size": 7},
    ),
    "llava_next_video": _llava(
        config={"vision_config": CLIP, "image_grid_pinpoints": _PINPOINTS},
        images={"size": {"shortest_edge": 28}, "crop_size": SQUARE, "image_grid_pinpoints": _PINPOINTS},
    ),
    "molmo2": Recipe(
        "<|image|>",
        {
            "image_token": "<|image|>",
            "video_token": "<|video|>",
            "spare": "|<EXTRA_TOKENS_0>|",
            **{
                name: f"<{name}>"
                for name in (
                    "im_patch",
                    "im_col",
                    "im_start",
                    "low_res_im_start",
                    "frame_start",
                    "im_end",
                    "frame_end",
                    "im_low",
                )
            },
        },
        {
            "image_start_token_id": "<im_start>",
            "low_res_image_start_token_id": "<low_res_im_start>",
            "image_end_token_id": "<im_end>",
            "image_patch_id": "<im_patch>",
            "frame_start_token_id": "<frame_start>",
            "frame_end_token_id": "<frame_end>",
            "vision_config": {"num_position_embeddings": 16, "image_size": [28, 28]},
            "adapter_config": {"vision_feature_layer": [-1], "text_hidden_size": 32},
            "text_config": {"additional_vocab_size": 16},
        },
        {"size": SQUARE, "patch_size": 7, "max_crops": 1, "overlap_margins": [1, 1]},
        wide=True,
    ),
    "ovis2": Recipe(
        "<image>",
        {
            "placeholder_token": "<image>",
            "image_token": "<IMG_ATOM>",
            **{f"indicator_{i}": token for i, token in enumerate(_INDICATORS)},
        },
        {
            "visual_indicator_token_ids": _INDICATORS,
            "vision_config": {"vocab_size": 32, "hidden_stride": 2},
        },
        {"size": SQUARE},
        {"image_seq_length": 4},
    ),
    "perception_lm": Recipe(
        "<image>",
        _WITH_VIDEO,
        {
            "projector_pooling_ratio": 2,
            "vision_use_cls_token": True,
            "vision_config": {
                "architecture": "vit_tiny_patch16_224",
                "do_pooling": False,
                "model_args": {
                    "embed_dim": 32,
                    "depth": 2,
                    "num_heads": 2,
                    "img_size": 28,
                    "patch_size": 7,
                    "global_pool": "",
                },
            },
        },
        {"size": SQUARE, "tile_size": 28, "max_num_tiles": 2},
        {"patch_size": 7, "pooling_ratio": 2},
        packages=("timm",),
    ),
    "pp_chart2table": Recipe(
        "<img>" + "<imgpad>" * 256 + "</img>\n",
        {"image_token": "<imgpad>", "start_token": "<img>", "end_token": "</img>"},
        {
            "vision_config": {
                "image_size": 256,
                "output_channels": 16,
                "window_size": 4,
                "patch_size": 4,
                "global_attn_indexes": [],
            },
        },
        {"size": {"height": 256, "width": 256}},
        wide=True,
    ),
    "qianfan_ocr": Recipe(
        "<image>",
        {
            "placeholder_token": "<image>",
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
        },
        {"image_token_id": "<IMG_CONTEXT>", "image_seq_length": 4},
        {"size": SQUARE, "crop_to_patches": False},
        {"image_seq_length": 4},
    ),
    "shieldgemma2": Recipe(
        "<boi>",
        BOI,
        {"vision_config": _SIGLIP, "mm_tokens_per_image": 4},
        {"size": SQUARE},
        {"image_seq_length": 4},
    ),
    "step3p7": Recipe(
        "<im_patch>",
        {"image_token": "<im_patch>"},
        {
            "vision_config": {"max_position_embeddings": 64},
            "text_config": {"share_expert_dim": 32, "num_sliding_attention_heads": 2, "sliding_window": 16},
        },
        {"size": {"height": 28, "width": 28}, "patch_size": 28, "vision_patch_size": 7, "downsampler_stride": 4},
    ),
    "unlimited_ocr": Recipe(
        "<image>\n", PLAIN, _DEEPSEEK_OCR, {"size": {"height": 64, "width": 64}, "crop_to_patches": False}, wide=True
    ),
    "video_llava": _llava(images_name="VideoLlavaImageProcessor"),
    "vipllava": _llava(
        config={"vision_config": CLIP, "vision_feature_layer": [-2, -1]}, images_name="CLIPImageProcessor"
    ),
}
