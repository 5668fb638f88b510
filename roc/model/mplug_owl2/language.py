"""The language model of mPLUG-Owl2: LLaMA with separate norms, keys and values for text and for images.

`image_rows` holds the positions of images, as indices into the batch flattened to one row; None = there are none. The
text weights are applied everywhere and the results at image positions then replaced, so that a decoding step costs as
much as LLaMA's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaMLP,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
    eager_attention_forward,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from roc.model.mplug_owl2.configuration import MplugOwl2TextConfig


class MplugOwl2Multiway(nn.Module):
    """Two modules of the same kind: the first for text, the second for images."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.multiway = nn.ModuleList([make(), make()])

    def forward(self, hidden_states: torch.Tensor, image_rows: torch.Tensor | None) -> torch.Tensor:
        """Maps (B, T, H) to (B, T, H')."""
        text, image = self.multiway
        result = text(hidden_states)
        if image_rows is None:
            return result
        replaced = image(hidden_states.flatten(0, 1).index_select(0, image_rows))
        return result.flatten(0, 1).index_copy(0, image_rows, replaced).view_as(result)


class MplugOwl2RMSNormWeight(nn.Module):
    """The weight of a norm, one factor per feature; `transformers` initialises it to one because of its name."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states * self.weight


class MplugOwl2MultiwayRMSNorm(MplugOwl2Multiway):
    """RMS norm whose weight depends on the modality; its mean does not."""

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__(lambda: MplugOwl2RMSNormWeight(hidden_size))
        self.eps = eps

    def forward(self, hidden_states: torch.Tensor, image_rows: torch.Tensor | None) -> torch.Tensor:
        """Normalises (B, T, H)."""
        return super().forward(
            nn.functional.rms_norm(hidden_states, hidden_states.shape[-1:], eps=self.eps), image_rows
        )


class MplugOwl2Attention(nn.Module):
    """LLaMA's attention with keys and values per modality."""

    def __init__(self, config: MplugOwl2TextConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = True

        def linear(in_features: int, out_features: int) -> nn.Linear:
            return nn.Linear(in_features, out_features, bias=config.attention_bias)

        query_width = config.num_attention_heads * self.head_dim
        key_width = config.num_key_value_heads * self.head_dim
        self.q_proj = linear(config.hidden_size, query_width)
        self.k_proj = MplugOwl2Multiway(lambda: linear(config.hidden_size, key_width))
        self.v_proj = MplugOwl2Multiway(lambda: linear(config.hidden_size, key_width))
        self.o_proj = linear(query_width, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        image_rows: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query = self._heads(self.q_proj(hidden_states))
        key = self._heads(self.k_proj(hidden_states, image_rows))
        value = self._heads(self.v_proj(hidden_states, image_rows))
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.attention_dropout if self.training else 0.0
        output, weights = attention(
            self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs
        )
        return self.o_proj(output.flatten(2)), weights

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:2], -1, self.head_dim).transpose(1, 2)


class MplugOwl2DecoderLayer(GradientCheckpointingLayer):
    """LLaMA's layer with norms per modality."""

    def __init__(self, config: MplugOwl2TextConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = MplugOwl2Attention(config, layer_idx)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = MplugOwl2MultiwayRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = MplugOwl2MultiwayRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states: torch.Tensor, image_rows: torch.Tensor | None = None, **kwargs) -> torch.Tensor:
        normed = self.input_layernorm(hidden_states, image_rows)
        attended, _ = self.self_attn(normed, image_rows=image_rows, **kwargs)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states, image_rows))


class MplugOwl2TextModel(PreTrainedModel):
    """The decoder without its language-model head."""

    config_class = MplugOwl2TextConfig
    supports_gradient_checkpointing = True
    _no_split_modules = ["MplugOwl2DecoderLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": MplugOwl2DecoderLayer, "attentions": MplugOwl2Attention}

    def __init__(self, config: MplugOwl2TextConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList([MplugOwl2DecoderLayer(config, index) for index in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        image_rows: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """Runs the decoder as LLaMA does.

        Args:
            input_ids: (B, T) without images; or `inputs_embeds` (B, T, H).
            attention_mask: (B, past + T), 0 = padding on either side, which positions do not count.
            position_ids: (B, T); None = from the mask, or without a mask counted from the cache.
            past_key_values: Keys and values of earlier positions.
            use_cache: Whether keys and values are kept; None = as configured.
            image_rows: (M,) indices of image positions into B * T; None = there are none.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give input_ids or inputs_embeds, one of the two.")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            position_ids = self._position_ids(inputs_embeds, attention_mask, past_key_values)
        causal_mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        position_embeddings = self.rotary_emb(inputs_embeds, position_ids=position_ids)
        hidden_states = inputs_embeds
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                image_rows=image_rows,
                attention_mask=causal_mask,
                position_embeddings=position_embeddings,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **kwargs,
            )
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values)

    @staticmethod
    def _position_ids(
        inputs_embeds: torch.Tensor, attention_mask: torch.Tensor | None, past_key_values: Cache | None
    ) -> torch.Tensor:
        """Counts positions: (B, T), or (1, T) if there is no mask."""
        length = inputs_embeds.shape[1]
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        if attention_mask is not None and attention_mask.ndim == 2:
            return (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, past : past + length]
        return torch.arange(past, past + length, device=inputs_embeds.device).unsqueeze(0)
