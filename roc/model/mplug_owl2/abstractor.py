"""The visual abstractor of mPLUG-Owl2: learned queries attend to the patches and become the image's tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from roc.model.mplug_owl2.configuration import MplugOwl2AbstractorConfig


# Both are computed by numpy in float32, as the buffers in published checkpoints were.
def line_positions(places: np.ndarray, width: int) -> np.ndarray:
    """Computes sines, then cosines, of (L,) positions: (L, width)."""
    frequencies = 1.0 / 10000 ** (np.arange(width // 2, dtype=np.float32) / np.float32(width / 2))
    angles = np.outer(places.astype(np.float32), frequencies)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def grid_positions(side: int, width: int) -> np.ndarray:
    """Computes (1 + side^2, width): zeros for the class token, then the patches row by row, column before row."""
    rows, columns = np.divmod(np.arange(side * side), side)
    patches = np.concatenate([line_positions(columns, width // 2), line_positions(rows, width // 2)], axis=1)
    return np.concatenate([np.zeros((1, width), dtype=np.float32), patches])


def positions(config: MplugOwl2AbstractorConfig) -> dict[str, np.ndarray]:
    """Computes the position embeddings of queries and patches, by the names of their buffers."""
    return {
        "q_pos_embed": line_positions(np.arange(config.num_learnable_queries), config.hidden_size),
        "k_pos_embed": grid_positions(config.grid_size, config.hidden_size),
    }


class MplugOwl2AbstractorAttention(nn.Module):
    """Attention of the queries over queries and patches; positions are added for queries and keys, not for values.

    The position embeddings are buffers. They follow from the configuration, but a checkpoint in half precision was
    trained with rounded ones, so those in the file are used.
    """

    def __init__(self, config: MplugOwl2AbstractorConfig) -> None:
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = 1
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.register_buffer("q_pos_embed", torch.empty(config.num_learnable_queries, config.hidden_size))
        self.register_buffer("k_pos_embed", torch.empty(1 + config.grid_size**2, config.hidden_size))

    def forward(self, queries: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        query_places, patch_places = self.q_pos_embed.to(queries.dtype), self.k_pos_embed.to(queries.dtype)
        source = torch.cat([queries, patches], dim=1)
        query = self._heads(self.query(queries + query_places))
        key = self._heads(self.key(source + torch.cat([query_places, patch_places])))
        value = self._heads(self.value(source))
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.attention_probs_dropout_prob if self.training else 0.0
        output, _ = attention(self, query, key, value, None, scaling=self.scaling, dropout=dropout)
        return output.flatten(2)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:2], -1, self.head_dim).transpose(1, 2)


class MplugOwl2AbstractorMLP(nn.Module):
    """SwiGLU with a norm before its last layer."""

    def __init__(self, config: MplugOwl2AbstractorConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_ln = nn.LayerNorm(config.intermediate_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.w2(self.ffn_ln(nn.functional.silu(self.w1(hidden_states)) * self.w3(hidden_states)))


class MplugOwl2AbstractorOutput(nn.Module):
    """The output projection and the MLP, each with a residual connection."""

    def __init__(self, config: MplugOwl2AbstractorConfig) -> None:
        super().__init__()
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm2 = nn.LayerNorm(config.hidden_size)
        self.mlp = MplugOwl2AbstractorMLP(config)

    def forward(self, attended: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        queries = queries + self.out_proj(attended)
        return queries + self.mlp(self.norm2(queries))


class MplugOwl2AbstractorCrossAttention(nn.Module):
    """Cross-attention and MLP. The residual stream starts from the normed queries; this norm has the default eps."""

    def __init__(self, config: MplugOwl2AbstractorConfig) -> None:
        super().__init__()
        self.attention = MplugOwl2AbstractorAttention(config)
        self.output = MplugOwl2AbstractorOutput(config)
        self.norm1 = nn.LayerNorm(config.hidden_size)
        self.normk = nn.LayerNorm(config.hidden_size)

    def forward(self, queries: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        queries = self.norm1(queries)
        return self.output(self.attention(queries, self.normk(patches)), queries)


class MplugOwl2AbstractorLayer(GradientCheckpointingLayer):
    """One layer, named as in the published keys."""

    def __init__(self, config: MplugOwl2AbstractorConfig) -> None:
        super().__init__()
        self.crossattention = MplugOwl2AbstractorCrossAttention(config)

    def forward(self, queries: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        return self.crossattention(queries, patches)


class MplugOwl2AbstractorEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: MplugOwl2AbstractorConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([MplugOwl2AbstractorLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, queries: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            queries = layer(queries, patches)
        return queries


class MplugOwl2VisualAbstractor(PreTrainedModel):
    """Turns patches (N, 1 + patches, H) into image tokens (N, queries + 1, language width); the last marks the end."""

    config_class = MplugOwl2AbstractorConfig
    supports_gradient_checkpointing = True
    _no_split_modules = ["MplugOwl2AbstractorLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MplugOwl2AbstractorConfig, language_hidden_size: int) -> None:
        super().__init__(config)
        self.query_embeds = nn.Parameter(torch.empty(1, config.num_learnable_queries, config.hidden_size))
        self.encoder = MplugOwl2AbstractorEncoder(config)
        self.visual_fc = nn.Linear(config.hidden_size, language_hidden_size)
        self.vit_eos = nn.Parameter(torch.empty(1, 1, language_hidden_size))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.normal_(self.query_embeds, std=self.config.initializer_range)
            init.normal_(self.vit_eos, std=self.config.initializer_range)
        if isinstance(module, MplugOwl2AbstractorAttention):
            for name, places in positions(module.config).items():
                init.copy_(getattr(module, name), torch.tensor(places))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        queries = self.encoder(self.query_embeds.expand(len(patches), -1, -1), patches)
        return torch.cat([self.visual_fc(queries), self.vit_eos.expand(len(patches), -1, -1)], dim=1)
