"""Recipes of types that cut pictures of any size into patches."""

from __future__ import annotations

from any_type import Recipe
from recipe_parts import BOI, CLIP, PLAIN, SQUARE

_PIXTRAL = {**CLIP, "model_type": "pixtral", "image_size": 56, "head_dim": 16}
_QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
_QWEN_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
_PIXELS = {"patch_size": 7, "merge_size": 2, "size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}}
_XDROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2, 2]}
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


def _muse(config: dict | None = None, **more) -> Recipe:
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
            **(config or {}),
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


PATCH_RECIPES: dict[str, Recipe] = {
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
    "dots3_note": _qwen(
        {"layer_types": None, "mlp_layer_types": None},
        tokens={"image_token": "<|imgpad|>", "video_token": "<|video_pad|>", "audio_token": "<|audio_comp_pad|>"},
        picture="<|imgpad|>",
        parts={"feature_extractor": ("WhisperFeatureExtractor", {"feature_size": 16})},
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
    "fuyu": Recipe(
        "",
        {"image_token": "|SPEAKER|", "newline_token": "|NEWLINE|", "answer_token": "<0x04>"},
        {"image_token_id": "|SPEAKER|", "image_size": 28, "patch_size": 7},
        {"size": SQUARE, "patch_size": {"height": 7, "width": 7}},
    ),
    "gemma4": Recipe(
        "<image>",
        {**BOI, "video_token": "<|video|>", "audio_token": "<audio>", "boa_token": "<boa>", "eoa_token": "<eoa>"},
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
    "gemma4_unified": Recipe(
        "<image>",
        {**BOI, "video_token": "<|video|>", "audio_token": "<audio>", "boa_token": "<boa>", "eoa_token": "<eoa>"},
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
    "glm46v": _glm(),
    "glm4v": _glm(),
    "glm4v_moe": _glm(
        {"first_k_dense_replace": 1}, images_name="Glm4vImageProcessor", videos_name="Glm4vVideoProcessor"
    ),
    "glm5_next": _glm(
        {
            "rope_parameters": None,
            "layer_types": ["linear_attention", "indexed_attention"],
            "indexer_types": ["full", "full"],
            "qk_rope_head_dim": 0,
        }
    ),
    "glm_ocr": _glm(
        processor_name="Glm46VProcessor", images_name="Glm46VImageProcessor", videos_name="Glm46VVideoProcessor"
    ),
    "glmga": _glm(processor_name="Glm46VProcessor"),
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
            "text_config": {"rope_parameters": _XDROPE, "head_dim": 16},
            "vision_config": {
                "max_image_size": 64,
                "min_image_size": 28,
                "img_max_token_num": 64,
                "max_vit_seq_len": 64,
            },
        },
        _PIXELS,
    ),
    "hyperclovax_vision_v2": _qwen(),
    "inkling2": Recipe(
        "<image>",
        PLAIN,
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
    "kosmos-2.5": Recipe(
        "",
        BOI,
        {
            "latent_query_num": 4,
            "text_config": {"vocab_size": "len(tokenizer)"},
            "vision_config": {"patch_embed_hidden_size": 147, "max_num_patches": 4096},
        },
        {"patch_size": {"height": 7, "width": 7}, "max_patches": 16},
        {"num_image_tokens": 4},
        processor_name="Kosmos2_5Processor",
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
            "max_image_tokens": 16,
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
    "muse_glimmer": _muse(),
    "muse_spark": _muse(
        {"text_config": {"moe_hidden_size": 32}, "audio_config": {"hidden_sizes": [8, 16]}},
        parts={"feature_extractor": ("MuseSparkFeatureExtractor", {})},
    ),
    "paddleocr_vl": Recipe(
        _QWEN_PICTURE,
        _QWEN_TOKENS,
        {"text_config": {"rope_parameters": _MROPE}},
        _PIXELS,
    ),
    "qwen2_5_omni_thinker": _omni("Qwen2_5OmniProcessor"),
    "qwen3_5_moe": _qwen({"rope_parameters": _INTERLEAVED, "layer_types": _LINEAR}),
    "qwen3_omni_moe_thinker": _omni("Qwen3OmniMoeProcessor", deepstack_visual_indexes=[0]),
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
    "video_llama_3": _qwen({}, {}, images={**_PIXELS}, images_name=""),
}
