"""The model: encoder, mean over the feature map, one layer, a hidden state for each place of the answer.

Several attributes are several places. Each place shifts what the layer's units see by a learned amount of its own, so
that the same head reads another score there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from roc.model.backbone.configuration import BackboneConfig
from roc.model.backbone.encoder import build_encoder, feature_map
from roc.model.declaration import declaration_of


class Readout(nn.Module):
    """Turns the mean feature of a picture into a hidden state at each place: `gelu(W norm(f) + place + token)`.

    Args:
        config: Of the whole model.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.vision_channels)
        self.picture = nn.Linear(config.vision_channels, config.hidden_size)
        self.place = nn.Embedding(config.max_places, config.hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.picture.weight.dtype

    def forward(self, features: torch.Tensor, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Computes the hidden states (B, T, H).

        Args:
            features: (B, C).
            tokens: (B, T, H) embedded tokens.
            places: (B, T), 0 at the picture.
        """
        return nn.functional.gelu(self.picture(self.norm(features)).unsqueeze(1) + self.place(places) + tokens)


class BackboneForScoring(PreTrainedModel):
    """A vision encoder with a readout; it carries the score head once that is attached."""

    config_class = BackboneConfig
    base_model_prefix = ""
    _tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}
    # Its only attention is the encoder's, which says itself what it can do.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.vision_tower = build_encoder(config.vision_config)
        self.readout = Readout(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        # An answer ends with its last score; `generate` counts them.
        self.generation_config = GenerationConfig(pad_token_id=config.pad_token_id, eos_token_id=config.vocab_size - 1)
        # Some encoders claim to recompute layers and have none that can.
        layers = self.vision_tower.modules()
        self.supports_gradient_checkpointing = any(hasattr(layer, "gradient_checkpointing") for layer in layers)
        self._no_split_modules = list(self.vision_tower._no_split_modules or ())
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Readout):
            nn.init.normal_(module.picture.weight, std=module.picture.in_features**-0.5)
            nn.init.zeros_(module.picture.bias)
            nn.init.ones_(module.norm.weight)
            nn.init.zeros_(module.norm.bias)
            # As wide as what they shift, so that every place reads by other units.
            nn.init.normal_(module.place.weight)
        elif module is self.embed_tokens:
            nn.init.normal_(module.weight, std=0.02)

    def get_decoder(self) -> Readout:
        """Returns what stands in place of a language model."""
        return self.readout

    def picture_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Computes the mean (B, C) of each picture's feature map."""
        return feature_map(self.vision_tower, pixel_values).mean(dim=(2, 3))

    def forward(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """Computes logits over the vocabulary at each place.

        Args:
            input_ids: (B, T): the mark of the picture, then `[SCORE]` for each score before the next one.
            pixel_values: (B, 3, S, S), one picture for each row.
            attention_mask: (B, T), 0 at padding; None = there is none.
            features: (B, C) what `picture_features` gives, in place of `pixel_values`.
            **kwargs: What callers of language models also give, without effect (`use_cache`, ...).

        Raises:
            ValueError: If rows and pictures are not as many, or a row is too long.
        """
        features = self.picture_features(pixel_values) if features is None else features
        if len(features) != len(input_ids):
            raise ValueError(f"{len(features)} pictures for {len(input_ids)} rows; a backbone takes one for each row.")
        if input_ids.shape[1] > self.config.max_places:
            raise ValueError(
                f"A row has {input_ids.shape[1]} places and the model {self.config.max_places}; ask for fewer "
                "attributes."
            )
        if attention_mask is None:
            places = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        else:
            places = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
        hidden_states = self.readout(features, self.embed_tokens(input_ids), places)
        return CausalLMOutput(logits=self.lm_head(hidden_states))

    @torch.no_grad()
    def generate(self, input_ids: torch.Tensor, pixel_values: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Answers with the token of a score for each declared attribute; there are no words to choose from.

        Args:
            input_ids: (B, 1) the prompt.
            pixel_values: (B, 3, S, S).
            **kwargs: Settings of a generation, without effect.

        Returns:
            (B, 1 + K) ids.
        """
        declaration = declaration_of(self.config)
        features = self.picture_features(pixel_values)
        for _ in declaration.attributes:
            self(input_ids=input_ids, features=features)
            input_ids = torch.cat([input_ids, torch.full_like(input_ids[:, :1], declaration.token_id)], dim=1)
        return input_ids
