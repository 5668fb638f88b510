"""Recipes of `any_type` for the types of `transformers` beside the thirteen families of `tiny_models`."""

from __future__ import annotations

from any_type import Recipe

_SQUARE = {"height": 28, "width": 28}
_PINPOINTS = [[28, 28], [28, 56], [56, 28]]
_LETTERS = ["".join(chr(ord("A") + int(digit)) for digit in str(i)) for i in range(16)]
_VISUAL = [f"<|visual token {i:06d}|>" for i in range(16)]
_INDICATORS = ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
_PLAIN = {"image_token": "<image>"}
_WITH_VIDEO = {"image_token": "<image>", "video_token": "<video>"}
_BOI = {"image_token": "<image>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
_CLIP = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2, "image_size": 28, "patch_size": 7}  # fmt: skip
_SIGLIP = {**_CLIP, "model_type": "siglip_vision_model", "vision_use_head": False}
_PIXTRAL = {**_CLIP, "model_type": "pixtral", "image_size": 56, "head_dim": 16}

_QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
_QWEN_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
_PIXELS = {"patch_size": 7, "merge_size": 2, "size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}}
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
_INTERLEAVED = {**_MROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
_LINEAR = ["linear_attention", "full_attention"]

_GLM_TOKENS = {
    "image_token": "<|image|>",
    "video_token": "<|video|>",
    "image_start_token": "<|begin_of_image|>",
    "image_end_token": "<|end_of_image|>",
    "video_start_token": "<|begin_of_video|>",
    "video_end_token": "<|end_of_video|>",
}
_GLM_PICTURE = "<|begin_of_image|><|image|><|end_of_image|>"


def _qwen(text: dict | None = None, vision: dict | None = None, **more) -> Recipe:
    config = {"text_config": text or {}, "vision_config": vision or {}}
    recipe = {"picture": _QWEN_PICTURE, "tokens": _QWEN_TOKENS, "config": config, "images": _PIXELS}
    return Recipe(**{**recipe, "images_name": "Qwen2VLImageProcessor", **more})


def _glm(text: dict | None = None, **more) -> Recipe:
    text = {"rope_parameters": {**_MROPE, "partial_rotary_factor": 1.0}, **(text or {})}
    recipe = {"picture": _GLM_PICTURE, "tokens": _GLM_TOKENS, "config": {"text_config": text}, "images": _PIXELS}
    return Recipe(**{**recipe, **more})


def _llava(**more) -> Recipe:
    strategy = {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    recipe = {
        "picture": "<image>\n",
        "tokens": _WITH_VIDEO,
        "config": {"vision_config": _CLIP},
        "images": {"size": _SQUARE, "crop_size": _SQUARE},
        "processor": strategy,
    }
    return Recipe(**{**recipe, **more})


_DEEPSEEK_VL = {
    "picture": "<image>",
    "tokens": _PLAIN,
    "images": {"size": _SQUARE},
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


def _minicpm(**more) -> Recipe:
    names = ("image", "video", "image_start", "image_end", "slice_start", "slice_end", "image_id_start", "image_id_end")
    recipe = {
        "picture": "<image>",
        "tokens": {f"{name}_token": f"<{name}>" for name in names},
        "config": {
            "insert_layer_id": 0,
            "vision_config": {"insert_layer_id": 0, "image_size": 56},
            "text_config": {"layer_types": _LINEAR, "rope_parameters": _INTERLEAVED},
        },
        "images": {"patch_size": 7, "scale_resolution": 56, "slice_mode": False},
    }
    return Recipe(**{**recipe, **more})


def _muse(**more) -> Recipe:
    tokens = {
        "image_token": "<|patch|>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "video_token": "<|video|>",
        "video_sep_token": "<|vid_frame_separator|>",
        "video_start_token": "<|vid_start|>",
        "video_end_token": "<|vid_end|>",
        "audio_token": "<|audio|>",
        "audio_start_token": "<|soft_audio_start|>",
        "audio_end_token": "<|soft_audio_end|>",
    }
    recipe = {
        "picture": "<|patch|>",
        "tokens": tokens,
        "config": {
            "out_hidden_size": 128,
            "vision_config": {"pos_emb_height": 8, "pos_emb_width": 8, "max_position_embeddings": 64},
        },
        "images": {"patch_size": 7, "max_image_tokens": 16},
    }
    return Recipe(**{**recipe, **more})


def _omni(name: str, **vision) -> Recipe:
    tokens = {
        "image_token": "<|IMAGE|>",
        "video_token": "<|VIDEO|>",
        "audio_token": "<|AUDIO|>",
        "vision_bos_token": "<|vision_bos|>",
        "vision_eos_token": "<|vision_eos|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
    }
    audio = {
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "num_mel_bins": 16,
        "output_dim": 32,
        "downsample_hidden_size": 8,
    }
    return _qwen(
        {"rope_parameters": _INTERLEAVED},
        vision,
        picture="<|vision_bos|><|IMAGE|><|vision_eos|>",
        tokens=tokens,
        processor_name=name,
        videos_name="Qwen2VLVideoProcessor",
        config={
            "vision_start_token_id": "<|vision_bos|>",
            "audio_config": audio,
            "vision_config": vision,
            "text_config": {"rope_parameters": _INTERLEAVED},
        },
        parts={"feature_extractor": ("WhisperFeatureExtractor", {"feature_size": 16})},
    )


RECIPES: dict[str, Recipe] = {
    "aria": Recipe(
        "<image>",
        _PLAIN,
        {
            "vision_config": {"image_size": 980, "patch_size": 140},
            "projector_patch_to_query_dict": {49: 4},
            "text_config": {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1},
            "image_token_index": "<image>",
        },
        {},
        {"size_conversion": {980: 4}},
    ),
    "aya_vision": Recipe(
        "<image>",
        {
            **_PLAIN,
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
        {"size": _SQUARE, "crop_to_patches": True, "max_patches": 2},
        {"patch_size": 7, "img_size": 28, "downsample_factor": 2},
    ),
    "blip-2": Recipe(
        "",
        {},
        {"image_token_index": "<image>"},
        {"size": _SQUARE},
        {"num_query_tokens": 4},
    ),
    "chameleon": Recipe(
        "<image>",
        {**_BOI, **{f"picture_{c}": f"IMGIMG{c}Z" for c in _LETTERS}},
        {
            "vocabulary_map": {"<image>": "<image>", **{f"IMGIMG{c}Z": f"IMGIMG{c}Z" for c in _LETTERS}},
            "vq_config": {
                "embed_dim": 16,
                "num_embeddings": 16,
                "latent_channels": 16,
                "base_channels": 32,
                "channel_multiplier": [1, 1],
                "num_res_blocks": 1,
                "resolution": 8,
                "attn_resolutions": [],
            },
        },
        {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}},
        {"image_seq_length": 16},
    ),
    "cohere2_vision": Recipe(
        "<image>",
        {**_BOI, "img_line_break_token": "<break>"},
        {"vision_config": _SIGLIP},
        {"size": _SQUARE, "patch_size": 2, "max_patches": 2},
    ),
    "cohere_compass": Recipe(
        "<|VISION_START|><|IMAGE_PAD|><|VISION_END|>",
        {name: token.upper() for name, token in _QWEN_TOKENS.items()},
        {
            "text_config": {
                "layer_types": ["sliding_attention", "full_attention"],
                "rope_parameters": {"sliding_attention": _INTERLEAVED, "full_attention": None},
            }
        },
        _PIXELS,
    ),
    "cosmos3_edge": _qwen({"rope_parameters": _MROPE}, {"num_patches": 16}, images_name="", images=_PIXELS),
    "cosmos3_omni": _qwen({"rope_parameters": _INTERLEAVED}, processor_name="Qwen3VLProcessor"),
    "deepseek_vl": Recipe(**_DEEPSEEK_VL, config={"vision_config": _SIGLIP}),
    "deepseek_vl_hybrid": Recipe(
        **{**_DEEPSEEK_VL, "images": {"size": _SQUARE, "high_res_size": {"height": 56, "width": 56}}},
        images_name="DeepseekVLHybridImageProcessor",
        config={
            "vision_config": _SIGLIP,
            "high_res_vision_config": {"image_size": 56, "output_channels": 16, "window_size": 2},
        },
    ),
    "emu3": Recipe(
        "<image>",
        {
            **_BOI,
            "image_wrapper_token": "<img>",
            "eof_token": "<eof>",
            "line_token": "<|extra_200|>",
            **{f"visual_{i}": token for i, token in enumerate(_VISUAL)},
        },
        {
            "vocabulary_map": {
                "<image>": "<image>",
                "<|extra_200|>": "<|extra_200|>",
                **{token: token for token in _VISUAL},
            },
            "vq_config": {
                "codebook_size": 16,
                "base_channels": 32,
                "channel_multiplier": [1, 1, 1, 1],
                "num_res_blocks": 1,
                "hidden_size": 32,
                "attn_resolutions": [],
            },
        },
        {"min_pixels": 16 * 16, "max_pixels": 64 * 64},
    ),
    "ernie4_5_vl_moe": Recipe(
        "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>",
        {
            "image_token": "<|IMAGE_PLACEHOLDER|>",
            "image_start_token": "<|IMAGE_START|>",
            "image_end_token": "<|IMAGE_END|>",
            "video_token": "<|VIDEO_PLACEHOLDER|>",
            "video_start_token": "<|VIDEO_START|>",
            "video_end_token": "<|VIDEO_END|>",
        },
        {"text_config": {"moe_intermediate_size": [32, 32], "rope_parameters": {**_MROPE, "mrope_section": [3, 3, 2]}}},
        _PIXELS,
    ),
    "exaone4_5": _qwen(),
    "fast_vlm": _llava(
        config={"vision_config": {"architecture": "fastvit_t8", "hidden_size": 768}, "image_seq_length": 1},
        processor={"patch_size": 28, "vision_feature_select_strategy": "full", "num_additional_image_tokens": 0},
        processor_name="LlavaProcessor",
        images_name="CLIPImageProcessor",
        packages=("timm",),
        wide=True,
    ),
    "fuyu": Recipe(
        "",
        {"image_token": "|SPEAKER|", "newline_token": "|NEWLINE|", "answer_token": "<0x04>"},
        {"image_token_id": "|SPEAKER|", "image_size": 28, "patch_size": 7},
        {"size": _SQUARE, "patch_size": {"height": 7, "width": 7}},
    ),
    "gemma3n": Recipe(
        "<image>",
        {**_BOI, "audio_token": "<audio>", "boa_token": "<boa>", "eoa_token": "<eoa>"},
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
        {"size": _SQUARE},
        {"image_seq_length": 256},
        parts={"feature_extractor": ("Gemma3nAudioFeatureExtractor", {})},
        packages=("timm",),
    ),
    "gemma4": Recipe(
        "<image>",
        {**_BOI, "video_token": "<|video|>", "audio_token": "<audio>", "boa_token": "<boa>", "eoa_token": "<eoa>"},
        {
            "text_config": {
                "vocab_size_per_layer_input": "len(tokenizer)",
                "hidden_size_per_layer_input": 8,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            "vision_config": {
                "pooling_kernel_size": 2,
                "position_embedding_size": 64,
                "model_type": "gemma4_vision",
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "patch_size": 7,
            },
            "audio_config": None,
        },
        {"patch_size": 7, "pooling_kernel_size": 2, "max_soft_tokens": 70},
        parts={"feature_extractor": ("Gemma4AudioFeatureExtractor", {})},
    ),
    "glm46v": _glm(),
    "glm4v": _glm(),
    "glm4v_moe": _glm(
        {"first_k_dense_replace": 1}, images_name="Glm4vImageProcessor", videos_name="Glm4vVideoProcessor"
    ),
    "glm_ocr": _glm(
        processor_name="Glm46VProcessor", images_name="Glm46VImageProcessor", videos_name="Glm46VVideoProcessor"
    ),
    "glmga": _glm(processor_name="Glm46VProcessor"),
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
        _PLAIN,
        {
            "vision_config": {**_CLIP, "hidden_size": 64},
            "image_grid_pinpoints": _PINPOINTS,
            "spatial_target_layers": [0, 1, 0, 1],
            "deepstack_layer_map": [[-1, 0]],
            "text_config": {"num_hidden_layers": 2},
            "downsample_rate": "1/2",
            "qformer_config": {"num_hidden_layers": 1},
        },
        {"size": {"shortest_edge": 28}, "crop_size": _SQUARE, "image_grid_pinpoints": _PINPOINTS},
        {
            "patch_size": 7,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
            "downsample_rate": "1/2",
        },
    ),
    "hyperclovax_vision_v2": _qwen(),
    "idefics2": Recipe(
        "<image>",
        {"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"},
        {
            "perceiver_config": {
                "resampler_n_latents": 4,
                "resampler_depth": 1,
                "resampler_n_heads": 2,
                "resampler_head_dim": 16,
            }
        },
        {"size": {"shortest_edge": 14, "longest_edge": 28}},
        {"image_seq_len": 4},
        wide=True,
    ),
    "instructblip": Recipe(
        "",
        {},
        {"image_token_index": "<image>"},
        {"size": _SQUARE},
        {"num_query_tokens": 4},
        wide=True,
    ),
    "janus": Recipe(
        "<image>",
        _BOI,
        {
            "vision_config": {"num_image_tokens": 16, "hidden_act": "gelu", "projection_dim": 32},
            "vq_config": {
                "embed_dim": 8,
                "num_embeddings": 16,
                "latent_channels": 16,
                "base_channels": 32,
                "channel_multiplier": [1, 1],
                "num_res_blocks": 1,
                "num_patches": 4,
                "image_token_embed_dim": 32,
                "projection_dim": 32,
            },
        },
        {"size": _SQUARE, "min_size": 7},
        {"num_image_tokens": 16},
    ),
    "kimi_k25": Recipe(
        "<|media_pad|>",
        {
            "image_token": "<|media_pad|>",
            "video_token": "<|video|>",
            "vision_start_token": "<vs>",
            "vision_end_token": "<ve>",
        },
        {
            "text_config": {"first_k_dense_replace": 1, "head_dim": 8, "num_nextn_predict_layers": 0},
            "vision_config": {"pos_emb_height": 8, "pos_emb_width": 8},
        },
        {"patch_size": 7, "size": {"max_height": 56, "max_width": 56}},
    ),
    "kosmos-2": Recipe(
        "",
        {"boi_token": "<image>", "eoi_token": "</image>"},
        {"latent_query_num": 64, "text_config": {"vocab_size": "len(tokenizer)"}},
        {"size": _SQUARE, "crop_size": _SQUARE},
        {"num_patch_index_tokens": 4},
        processor_name="Kosmos2Processor",
        tokenizer="LlamaTokenizer",
        unknown="</s>",  # pictures take the ids behind it, which must not hold the padding
        wide=True,
    ),
    "lfm2_vl": Recipe(
        "<image>",
        {
            "image_token": "<image>",
            "image_start_token": "<|image_start|>",
            "image_end_token": "<|image_end|>",
            "image_thumbnail_token": "<|img_thumbnail|>",
        },
        {
            "vision_config": {"num_patches": 16, "vision_use_head": False},
            "text_config": {"layer_types": ["conv", "full_attention"], "full_attn_idxs": None},
        },
        {
            "encoder_patch_size": 7,
            "tile_size": 28,
            "min_image_tokens": 1,
            "max_image_tokens": 4,
            "max_tiles": 2,
            "do_image_splitting": False,
        },
    ),
    "lfm3_vl": _qwen({"layer_types": ["conv", "full_attention"]}, {"layer_types": None}),
    "lighton_ocr": Recipe(
        "<image>",
        {"image_token": "<image>", "image_break_token": "<break>", "image_end_token": "<end>"},
        {"vision_config": _PIXTRAL},
        {"patch_size": 7, "size": {"longest_edge": 56}},
        {"patch_size": 7, "spatial_merge_size": 2},
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
        {"size": _SQUARE, "max_patches": 2},
        {"patch_size": 7},
    ),
    "llava_next_video": _llava(
        config={"vision_config": _CLIP, "image_grid_pinpoints": _PINPOINTS},
        images={"size": {"shortest_edge": 28}, "crop_size": _SQUARE, "image_grid_pinpoints": _PINPOINTS},
    ),
    "mllama": Recipe(
        "<|image|>",
        {"image_token": "<|image|>", "python_token": "<|python_tag|>", "spare": "<|reserved_special_token_0|>"},
        {
            "vision_config": {
                "num_global_layers": 1,
                "attention_heads": 2,
                "vision_output_dim": 64,
                "intermediate_layers_indices": [0],
                "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
                "max_num_tiles": 2,
            },
            "text_config": {"num_hidden_layers": 3, "cross_attention_layers": [1]},
        },
        {"size": _SQUARE, "max_image_tiles": 2},
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
        {"size": _SQUARE},
        {"image_seq_length": 4},
    ),
    "paddleocr_vl": Recipe(
        _QWEN_PICTURE,
        _QWEN_TOKENS,
        {"text_config": {"rope_parameters": _MROPE}},
        _PIXELS,
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
        {"size": _SQUARE, "tile_size": 28, "max_num_tiles": 2},
        {"patch_size": 7, "pooling_ratio": 2},
        packages=("timm",),
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
        {"size": _SQUARE, "crop_to_patches": False},
        {"image_seq_length": 4},
    ),
    "qwen3_5_moe": _qwen({"rope_parameters": _INTERLEAVED, "layer_types": _LINEAR}),
    "qwen3_vl_moe": _qwen({"rope_parameters": _INTERLEAVED}, images_name="Qwen2VLImageProcessor"),
    "qwen4_exp": _qwen(
        {
            "rope_parameters": _INTERLEAVED,
            "layer_types": ["linear_attention", "indexed_attention"],
            "indexer_n_heads": 2,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 16,
            "indexer_budget": 16,
            "indexer_compress_ratio": 4,
        }
    ),
    "shieldgemma2": Recipe(
        "<boi>",
        _BOI,
        {"vision_config": _SIGLIP, "mm_tokens_per_image": 4},
        {"size": _SQUARE},
        {"image_seq_length": 4},
    ),
    "video_llama_3": _qwen({}, {}, images={**_PIXELS}, images_name=""),
    "video_llava": _llava(images_name="VideoLlavaImageProcessor"),
    "vipllava": _llava(
        config={"vision_config": _CLIP, "vision_feature_layer": [-2, -1]}, images_name="CLIPImageProcessor"
    ),
    "deepseek_ocr2": Recipe(
        "<image>\n",
        _PLAIN,
        {**_DEEPSEEK_OCR, "text_config": {"mlp_layer_types": ["dense", "sparse"], "num_experts_per_tok": 2}},
        {"size": {"height": 64, "width": 64}, "crop_to_patches": False},
        wide=True,
    ),
    "dots3_note": _qwen(
        {"layer_types": None, "mlp_layer_types": None},
        tokens={"image_token": "<|imgpad|>", "video_token": "<|video_pad|>", "audio_token": "<|audio_comp_pad|>"},
        picture="<|imgpad|>",
        parts={"feature_extractor": ("WhisperFeatureExtractor", {"feature_size": 16})},
    ),
    "gemma4_unified": Recipe(
        "<image>",
        {**_BOI, "video_token": "<|video|>", "audio_token": "<audio>", "boa_token": "<boa>", "eoa_token": "<eoa>"},
        {
            "text_config": {"layer_types": ["sliding_attention", "full_attention"]},
            "vision_config": {
                "model_type": "gemma4_unified_vision",
                "patch_size": 7,
                "pooling_kernel_size": 2,
                "mm_embed_dim": 32,
                "mm_posemb_size": 64,
                "output_proj_dims": 32,
            },
            "audio_config": None,
        },
        {"patch_size": 7, "pooling_kernel_size": 2, "max_soft_tokens": 70},
        parts={"feature_extractor": ("Gemma4UnifiedAudioFeatureExtractor", {})},
    ),
    "git": Recipe("", {"cls_token": "[CLS]"}, {}, {"size": _SQUARE, "crop_size": _SQUARE}),
    "glm5_next": _glm({"rope_parameters": None, "layer_types": None, "qk_rope_head_dim": 0}),
    "granite_docling": Recipe(
        "<image>",
        {
            "image_token": "<image>",
            "fake_token": "<fake_token_around_image>",
            "global_token": "<global-img>",
            **{f"place_{i}{j}": f"<row_{i}_col_{j}>" for i in range(1, 5) for j in range(1, 5)},
        },
        {"vision_config": {"scale_factor": 2, "deepstack_visual_indexes": [0], "use_fine_route": False}},
        {"size": _SQUARE, "crop_to_patches": False},
        {"image_seq_len": 4},
    ),
    "hunyuan_vl": Recipe(
        "<img><image></img>",
        {
            "image_token": "<image>",
            "image_start_token": "<img>",
            "image_end_token": "</img>",
            "line_token": "<newline>",
        },
        {
            "im_start_id": "<img>",
            "im_end_id": "</img>",
            "im_newline_id": "<newline>",
            "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "head_dim": 16},
            "vision_config": {
                "max_image_size": 64,
                "min_image_size": 28,
                "img_max_token_num": 64,
                "max_vit_seq_len": 64,
            },
        },
        _PIXELS,
    ),
    "idefics": Recipe(
        "",
        {"image_token": "<image>", "fake_token": "<fake_token_around_image>"},
        {"perceiver_config": {"resampler_n_latents": 4}},
        {"image_size": 28},
    ),
    "inkling2": Recipe(
        "<image>",
        _PLAIN,
        {
            "text_config": {
                "swa_num_attention_heads": 2,
                "swa_num_key_value_heads": 2,
                "swa_head_dim": 16,
                "d_rel": 4,
                "rel_extent": 16,
                "sliding_window_size": 16,
                "n_layers_per_attn_res_block": 1,
                "unpadded_vocab_size": "len(tokenizer)",
            },
            "vision_config": {"projection_hidden_dim": 32, "posemb_grid_size": 8},
        },
        {"size": {"height": 14, "width": 14}},
    ),
    "inkling_mm_model": Recipe(
        "<image>",
        {
            "image_token": "<image>",
            "audio_token": "<audio>",
            "image_bos_token": "<|content_image|>",
            "audio_bos_token": "<|content_audio_input|>",
        },
        {
            "text_config": {
                "swa_num_attention_heads": 2,
                "swa_num_key_value_heads": 2,
                "swa_head_dim": 16,
                "d_rel": 4,
                "rel_extent": 16,
                "sliding_window_size": 16,
            }
        },
        {"size": {"height": 7, "width": 7}},
        parts={"feature_extractor": ("InklingFeatureExtractor", {})},
    ),
    "kosmos-2.5": Recipe(
        "",
        _BOI,
        {
            "latent_query_num": 4,
            "text_config": {"vocab_size": "len(tokenizer)"},
            "vision_config": {"patch_embed_hidden_size": 147, "max_num_patches": 4096},
        },
        {"patch_size": {"height": 7, "width": 7}, "max_patches": 16},
        {"num_image_tokens": 4},
        processor_name="Kosmos2_5Processor",
    ),
    "minicpm_ocr": _minicpm(),
    "minicpmv4_6": _minicpm(),
    "minicpmv4_7": _minicpm(videos_name="MiniCPMV4_6VideoProcessor"),
    "minimax_m3_vl": Recipe(
        "]<]image[>[",
        {
            "image_token": "]<]image[>[",
            "video_token": "]<]video[>[",
            "start_token": "]<]start of image[>[",
            "end_token": "]<]end of image[>[",
        },
        {
            "merged_hidden_size": 128,
            "text_config": {
                "rotary_dim": 8,
                "index_n_heads": 2,
                "index_head_dim": 16,
                "index_block_size": 8,
                "index_topk_blocks": 2,
            },
        },
        _PIXELS,
    ),
    "mistral_large4": Recipe(
        "[IMG]",
        {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"},
        {
            "vision_config": _PIXTRAL,
            "text_config": {"index_n_heads": 2, "index_head_dim": 16, "kv_source_layers": [0, 1]},
        },
        {"patch_size": 7, "size": {"longest_edge": 56}},
        {"patch_size": 7, "spatial_merge_size": 2},
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
        {"size": _SQUARE, "patch_size": 7, "max_crops": 1, "overlap_margins": [1, 1]},
        wide=True,
    ),
    "muse_glimmer": _muse(),
    "muse_spark": _muse(parts={"feature_extractor": ("MuseSparkFeatureExtractor", {})}),
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
    "qwen2_5_omni_thinker": _omni("Qwen2_5OmniProcessor"),
    "qwen3_omni_moe_thinker": _omni("Qwen3OmniMoeProcessor", deepstack_visual_indexes=[0]),
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
        "<image>\n", _PLAIN, _DEEPSEEK_OCR, {"size": {"height": 64, "width": 64}, "crop_to_patches": False}, wide=True
    ),
}
