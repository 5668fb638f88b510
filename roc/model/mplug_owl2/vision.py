"""The vision encoder of mPLUG-Owl2: a ViT that passes all patches and the class token on to the abstractor."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward
from transformers.utils.output_capturing import capture_outputs

from roc.model.mplug_owl2.configuration import MplugOwl2VisionConfig


class MplugOwl2VisionEmbeddings(nn.Module):
    """Turns pixels (B, C, S, S) into normed embeddings (B, 1 + patches, H), class token first."""

    def __init__(self, config: MplugOwl2VisionConfig) -> None:
        super().__init__()
        self.image_size = config.image_size
        num_patches = (config.image_size // config.patch_size) ** 2
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.position_embedding = nn.Parameter(torch.empty(1, num_patches + 1, config.hidden_size))
        self.patch_embed = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size, bias=False
        )
        self.pre_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        if pixel_values.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"The vision encoder takes images of {self.image_size} x {self.image_size} pixels; got "
                f"{pixel_values.shape[-2]} x {pixel_values.shape[-1]}."
            )
        patches = self.patch_embed(pixel_values.to(self.patch_embed.weight.dtype)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return self.pre_layernorm(tokens + self.position_embedding)


class MplugOwl2VisionAttention(nn.Module):
    """Self-attention; `query_key_value` holds queries, keys and values of a head side by side."""

    def __init__(self, config: MplugOwl2VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = 1
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> tuple[torch.Tensor, torch.Tensor | None]:
        batch, length, _ = hidden_states.shape
        mixed = self.query_key_value(hidden_states).view(batch, length, self.num_heads, 3, self.head_dim)
        query, key, value = mixed.permute(3, 0, 2, 1, 4)  # (B, heads, T, head_dim) each
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.attention_dropout if self.training else 0.0
        output, weights = attention(self, query, key, value, None, scaling=self.scaling, dropout=dropout, **kwargs)
        return self.dense(output.reshape(batch, length, -1)), weights


class MplugOwl2VisionMLP(nn.Module):
    """Two layers with the configured activation between them."""

    def __init__(self, config: MplugOwl2VisionConfig) -> None:
        super().__init__()
        self.act = ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(hidden_states)))


class MplugOwl2VisionLayer(GradientCheckpointingLayer):
    """One pre-norm transformer layer."""

    def __init__(self, config: MplugOwl2VisionConfig) -> None:
        super().__init__()
        self.self_attn = MplugOwl2VisionAttention(config)
        self.mlp = MplugOwl2VisionMLP(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
        attended, _ = self.self_attn(self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class MplugOwl2VisionEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: MplugOwl2VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([MplugOwl2VisionLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
        for layer in self.layers:
            hidden_states = layer(hidden_states, **kwargs)
        return hidden_states


class MplugOwl2VisionModel(PreTrainedModel):
    """Encodes pixels to the normed last hidden state of the class token and every patch."""

    config_class = MplugOwl2VisionConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["MplugOwl2VisionEmbeddings", "MplugOwl2VisionLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": MplugOwl2VisionLayer, "attentions": MplugOwl2VisionAttention}

    def __init__(self, config: MplugOwl2VisionConfig) -> None:
        super().__init__(config)
        self.embeddings = MplugOwl2VisionEmbeddings(config)
        self.encoder = MplugOwl2VisionEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.patch_embed

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MplugOwl2VisionEmbeddings):
            init.normal_(module.cls_token, std=self.config.initializer_range)
            init.normal_(module.position_embedding, std=self.config.initializer_range)

    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutput:
        """Encodes (N, C, S, S) pixels to `last_hidden_state` (N, 1 + patches, H)."""
        hidden_states = self.encoder(self.embeddings(pixel_values), **kwargs)
        return BaseModelOutput(last_hidden_state=self.post_layernorm(hidden_states))
