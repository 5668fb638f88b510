"""Recipes of types that read pictures through queries or cross-attention, or as codes of a vocabulary."""

from __future__ import annotations

from any_type import Recipe
from recipe_parts import BOI, PLAIN, SQUARE

_LETTERS = ["".join(chr(ord("A") + int(digit)) for digit in str(i)) for i in range(64)]
_VISUAL = [f"<|visual token {i:06d}|>" for i in range(64)]


QUERY_RECIPES: dict[str, Recipe] = {
    "aria": Recipe(
        "<image>",
        PLAIN,
        {
            "vision_config": {"image_size": 980, "patch_size": 140},
            "projector_patch_to_query_dict": {49: 4},
            "text_config": {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1},
            "image_token_index": "<image>",
        },
        {},
        {"size_conversion": {980: 4}},
    ),
    "blip-2": Recipe(
        "",
        {},
        {"image_token_index": "<image>"},
        {"size": SQUARE},
        {"num_query_tokens": 4},
    ),
    "chameleon": Recipe(
        "<image>",
        {**BOI, **{f"picture_{c}": f"IMGIMG{c}Z" for c in _LETTERS}},
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
    "emu3": Recipe(
        "<image>",
        {
            **BOI,
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
                "codebook_size": 64,
                "base_channels": 32,
                "channel_multiplier": [1, 1, 1, 1],
                "num_res_blocks": 1,
                "hidden_size": 32,
                "attn_resolutions": [],
            },
        },
        {"min_pixels": 16 * 16, "max_pixels": 48 * 48},
    ),
    "idefics": Recipe(
        "",
        {"image_token": "<image>", "fake_token": "<fake_token_around_image>"},
        {"perceiver_config": {"resampler_n_latents": 4}},
        {"image_size": 28},
    ),
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
        {"size": SQUARE},
        {"num_query_tokens": 4},
        wide=True,
    ),
    "janus": Recipe(
        "<image>",
        BOI,
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
        {"size": SQUARE, "min_size": 7},
        {"num_image_tokens": 16},
    ),
    "kosmos-2": Recipe(
        "",
        {"boi_token": "<image>", "eoi_token": "</image>"},
        {"latent_query_num": 64, "text_config": {"vocab_size": "len(tokenizer)"}},
        {"size": SQUARE, "crop_size": SQUARE},
        {"num_patch_index_tokens": 4},
        processor_name="Kosmos2Processor",
        tokenizer="LlamaTokenizer",
        unknown="</s>",  # pictures take the ids behind it, which must not hold the padding
        wide=True,
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
        {"size": SQUARE, "max_image_tiles": 2},
    ),
}
