"""The published vision-language models at their real size, on the `meta` device: shapes and names, no weights, no hub.

The numbers are those of each model's own `config.json`; what is missing here is the default of its config class.
`PARAMETERS` are the totals of the published weights; a wrong number here would miss them.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PretrainedConfig, PreTrainedModel

import roc.model.mplug_owl2  # noqa: F401  the Auto classes know it from here on

QWEN2_7B = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4, "tie_word_embeddings": False}  # fmt: skip
SIGLIP_SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
                 "image_size": 384, "patch_size": 14}  # fmt: skip
CLIP_L_336 = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
              "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
              "projection_dim": 768}  # fmt: skip


def _mrope(*sections: int, theta: float, **more) -> dict:
    return {"rope_type": "default", "rope_theta": theta, "mrope_section": list(sections), **more}


CONFIGS = {
    "llava_1_5_7b": {
        "model_type": "llava",
        "image_token_index": 32000,
        "image_seq_length": 576,
        "vision_config": CLIP_L_336,
        "text_config": {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096,
                        "rms_norm_eps": 1e-5},
    },
    "qwen2_5_vl_7b": {
        "model_type": "qwen2_5_vl",
        "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
                          "out_hidden_size": 3584, "patch_size": 14, "window_size": 112,
                          "fullatt_block_indexes": [7, 15, 23, 31]},
        "text_config": {**QWEN2_7B, "model_type": "qwen2_5_vl_text", "vocab_size": 152064, "rms_norm_eps": 1e-6,
                        "max_position_embeddings": 128000, "rope_parameters": _mrope(16, 24, 24, theta=1e6)},
    },
    "qwen3_vl_8b": {
        "model_type": "qwen3_vl",
        "vision_config": {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16,
                          "out_hidden_size": 4096, "patch_size": 16, "num_position_embeddings": 2304,
                          "deepstack_visual_indexes": [8, 16, 24]},
        "text_config": {"model_type": "qwen3_vl_text", "vocab_size": 151936, "hidden_size": 4096,
                        "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
                        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262144,
                        "rope_parameters": _mrope(24, 20, 20, theta=5e6, mrope_interleaved=True)},
    },
    "internvl3_8b": {
        "model_type": "internvl",
        # The class would tie the embeddings unless told otherwise; the published weights have both.
        "tie_word_embeddings": False,
        "vision_config": {"model_type": "internvl_vision", "attention_bias": True, "hidden_size": 1024,
                          "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
                          "image_size": [448, 448], "patch_size": [14, 14]},
        "text_config": {**QWEN2_7B, "model_type": "qwen2", "vocab_size": 151674},
    },
    "smolvlm2_2b": {
        "model_type": "smolvlm",
        "image_token_id": 49190,
        "scale_factor": 3,
        "vision_config": {**SIGLIP_SO400M, "model_type": "smolvlm_vision"},
        "text_config": {"model_type": "llama", "vocab_size": 49280, "hidden_size": 2048, "intermediate_size": 8192,
                        "num_hidden_layers": 24, "num_attention_heads": 32, "num_key_value_heads": 32,
                        "max_position_embeddings": 8192, "pad_token_id": 2},
    },
    # Every number is the default of its config class.
    "mplug_owl2_7b": {"model_type": "mplug_owl2"},
}  # fmt: skip

OTHERS = {
    "smolvlm_256m": {
        "model_type": "smolvlm",
        "image_token_id": 49190,
        "scale_factor": 4,
        "tie_word_embeddings": False,
        "vision_config": {"model_type": "smolvlm_vision", "hidden_size": 768, "intermediate_size": 3072,
                          "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 512, "patch_size": 16},
        "text_config": {"model_type": "llama", "vocab_size": 49280, "hidden_size": 576, "intermediate_size": 1536,
                        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
                        "max_position_embeddings": 8192, "pad_token_id": 2, "tie_word_embeddings": False},
    },
}  # fmt: skip
"""Models without a file in `configs/models`."""

PARAMETERS = {
    "llava_1_5_7b": 7_063_427_072,
    "qwen2_5_vl_7b": 8_292_166_656,
    "qwen3_vl_8b": 8_767_123_696,
    "internvl3_8b": 7_944_373_760,
    "smolvlm2_2b": 2_246_784_880,
    "smolvlm_256m": 256_484_928,
    "mplug_owl2_7b": 8_197_859_328,
}
# Words of the tokenizer. The vocabularies of the first three have spare rows behind them, the others have none.
WORDS = {
    "llava_1_5_7b": 32_002,
    "qwen2_5_vl_7b": 151_665,
    "qwen3_vl_8b": 151_669,
    "internvl3_8b": 151_674,
    "smolvlm2_2b": 49_280,
    "smolvlm_256m": 49_280,
    "mplug_owl2_7b": 32_000,
}


def real_config(name: str) -> PretrainedConfig:
    """Makes the configuration of a model, as if read from its `config.json`."""
    return AutoConfig.for_model(**(CONFIGS | OTHERS)[name])


def real_model(name: str) -> PreTrainedModel:
    """Builds the model at its real size, without a head and without weights."""
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(real_config(name))


def real_processor(name: str) -> SimpleNamespace:
    """Makes as much of a processor as `attach` needs: a tokenizer of the real length."""
    return SimpleNamespace(tokenizer=Words(WORDS[name]))


class Words:
    """As much of a tokenizer as `attach` needs: it counts its words and accepts new ones."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.added: dict[str, int] = {}

    def __len__(self) -> int:
        return self.count + len(self.added)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.added)

    def add_tokens(self, words: list[str], special_tokens: bool = False) -> None:
        for word in words:
            self.added[word] = self.count + len(self.added)

    def convert_tokens_to_ids(self, word: str) -> int:
        return self.added[word]
