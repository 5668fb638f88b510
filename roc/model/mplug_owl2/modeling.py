"""mPLUG-Owl2 for conditional generation, as a model of `transformers`.

The processor writes one `config.image_token_id` into `input_ids` for every position of an image. The id is no row of
the embedding: the output of the abstractor takes its place, and it alone decides which weights a position is read with.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from roc.model.mplug_owl2.abstractor import MplugOwl2VisualAbstractor
from roc.model.mplug_owl2.configuration import MplugOwl2Config
from roc.model.mplug_owl2.language import MplugOwl2TextModel
from roc.model.mplug_owl2.vision import MplugOwl2VisionModel

# Published keys, as regular expressions, that need not be loaded: a parameter that no forward uses, and buffers that
# the published code recomputes.
UNUSED_KEYS = (
    r"^learned_weight$",
    r"^model\.(language_model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq$",
)
# Buffers that follow from the configuration if a checkpoint does not hold them.
OPTIONAL_KEYS = (r"^model\.visual_abstractor\.encoder\.layers\.\d+\.crossattention\.attention\.[qk]_pos_embed$",)


@dataclasses.dataclass
class MplugOwl2ModelOutputWithPast(BaseModelOutputWithPast):
    """The decoder's output, and the abstractor's as `image_hidden_states` (images, queries + 1, H)."""

    image_hidden_states: torch.Tensor | None = None


@dataclasses.dataclass
class MplugOwl2CausalLMOutputWithPast(CausalLMOutputWithPast):
    """The language-model head's output, and the abstractor's as `image_hidden_states`."""

    image_hidden_states: torch.Tensor | None = None


class MplugOwl2PreTrainedModel(PreTrainedModel):
    """Base of the two models below."""

    config_class = MplugOwl2Config
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["MplugOwl2VisionEmbeddings"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _keys_to_ignore_on_load_unexpected = list(UNUSED_KEYS)
    _keys_to_ignore_on_load_missing = list(OPTIONAL_KEYS)


class MplugOwl2Model(MplugOwl2PreTrainedModel):
    """Vision encoder, abstractor and language model, without the language-model head."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__(config)
        self.vision_model = MplugOwl2VisionModel._from_config(config.vision_config)
        self.visual_abstractor = MplugOwl2VisualAbstractor._from_config(
            config.abstractor_config, language_hidden_size=config.text_config.hidden_size
        )
        self.language_model = MplugOwl2TextModel._from_config(config.text_config)
        self.post_init()

    @can_return_tuple
    def get_image_features(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """Encodes (N, C, S, S) pixels; `pooler_output` holds the image tokens of the N images.

        Returns:
            `last_hidden_state` (N, 1 + patches, vision width), `pooler_output` (N, queries + 1, language width).
        """
        vision = self.vision_model(pixel_values, return_dict=True, **kwargs)
        return BaseModelOutputWithPooling(
            last_hidden_state=vision.last_hidden_state,
            pooler_output=self.visual_abstractor(vision.last_hidden_state),
            hidden_states=vision.hidden_states,
            attentions=vision.attentions,
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs,
    ) -> MplugOwl2ModelOutputWithPast:
        """Runs the model over text and images.

        Args:
            input_ids: (B, T), `config.image_token_id` at every position of an image.
            pixel_values: (N, C, S, S), the images of all rows one after the other; None = no row has one.
            attention_mask: (B, past + T), 0 = padding on either side.
            position_ids: (B, T); None = counted without padding.
            past_key_values: Keys and values of earlier positions.
            inputs_embeds: (B, T, H) instead of `input_ids`, with the output of `get_image_features` already in place.
            mm_token_type_ids: (B, T), 1 at the image positions of `inputs_embeds`; ignored beside `input_ids`.
            mm_encoder_outputs: `{"image": get_image_features(...)}` instead of `pixel_values`.

        Raises:
            ValueError: If the numbers of images and of image positions do not match.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give input_ids or inputs_embeds, one of the two.")
        images = (mm_encoder_outputs or {}).get("image")
        if pixel_values is not None:
            if images is not None:
                raise ValueError("Give pixel_values or mm_encoder_outputs, not both: each of them is the images.")
            images = self.get_image_features(pixel_values, return_dict=True)
        if inputs_embeds is None:
            at_image = input_ids == self.config.image_token_id  # (B, T)
            # The id is no row of the embedding; the row looked up instead is replaced below.
            inputs_embeds = self.get_input_embeddings()(input_ids.masked_fill(at_image, 0))
            image_rows = _indices(at_image)
            inputs_embeds = self._with_images(inputs_embeds, image_rows, images)
        elif images is not None:
            raise ValueError(
                "inputs_embeds take no images beside them: put get_image_features(...).pooler_output in at their "
                "positions and mark these with 1 in mm_token_type_ids."
            )
        else:
            image_rows = None if mm_token_type_ids is None else _indices(mm_token_type_ids == 1)

        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            image_rows=image_rows,
            **kwargs,
        )
        return MplugOwl2ModelOutputWithPast(
            **outputs, image_hidden_states=None if images is None else images.pooler_output
        )

    def _with_images(
        self, inputs_embeds: torch.Tensor, image_rows: torch.Tensor | None, images: BaseModelOutputWithPooling | None
    ) -> torch.Tensor:
        """Puts each image into its positions of the (B, T, H) embeddings."""
        features = None if images is None else torch.cat(list(images.pooler_output))  # (all image positions, H)
        wanted = 0 if image_rows is None else len(image_rows)
        given = 0 if features is None else len(features)
        if wanted != given:
            length = self.config.image_seq_length
            raise ValueError(
                f"input_ids hold {wanted} image positions, but the images given have {given} ({given // length} images "
                f"of {length} each); write image_token_id once for every position of every image, and give every image."
            )
        if features is None:
            return inputs_embeds
        features = features.to(inputs_embeds.device, inputs_embeds.dtype)
        return inputs_embeds.flatten(0, 1).index_copy(0, image_rows, features).view_as(inputs_embeds)


class MplugOwl2ForConditionalGeneration(MplugOwl2PreTrainedModel, GenerationMixin):
    """mPLUG-Owl2 with its language-model head."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__(config)
        self.model = MplugOwl2Model(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Loads as `transformers` does, but raises for missing or unknown keys instead of leaving weights untrained.

        With `output_loading_info` they are returned to the caller instead.

        Raises:
            ValueError: Naming the keys.
        """
        model, report = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        if output_loading_info:
            return model, report
        # A stock class that opens a checkpoint with a score head leaves the head out.
        surplus = [key for key in report["unexpected_keys"] if not key.startswith("score_head.")]
        faults = {"missing": report["missing_keys"], "not known": surplus}
        said = [f"{len(keys)} {what} ({', '.join(sorted(keys)[:8])})" for what, keys in faults.items() if keys]
        if said:
            raise ValueError(f"The weights of {model.name_or_path} do not fit config.json: {'; '.join(said)}.")
        return model

    def get_image_features(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """Encodes images; see `MplugOwl2Model.get_image_features`."""
        return self.model.get_image_features(pixel_values, **kwargs)

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: torch.Tensor | None = None, **kwargs
    ) -> tuple[torch.Tensor | None, dict[str, Any]]:
        """Repeats each row with all of its images, encoded or not; the stock method repeats some image by image."""
        pixel_values, encoded = kwargs.pop("pixel_values", None), kwargs.pop("mm_encoder_outputs", None) or {}
        images = {"pixel_values": pixel_values, **{name: output.pooler_output for name, output in encoded.items()}}
        if expand_size > 1 and any(value is not None for value in images.values()):
            at_image = input_ids == self.config.image_token_id
            counts = (at_image.sum(dim=1) // self.config.image_seq_length).tolist()
            for name, value in images.items():
                if value is not None:
                    rows = [row.repeat(expand_size, *[1] * (value.ndim - 1)) for row in value.split(counts)]
                    images[name] = torch.cat(rows)
        input_ids, kwargs = super()._expand_inputs_for_generation(expand_size, is_encoder_decoder, input_ids, **kwargs)
        kwargs["pixel_values"] = images.pop("pixel_values")
        kwargs["mm_encoder_outputs"] = {
            name: BaseModelOutputWithPooling(pooler_output=value) for name, value in images.items()
        }
        return input_ids, kwargs

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        mm_token_type_ids: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs,
    ) -> MplugOwl2CausalLMOutputWithPast:
        """Runs the model over text and images, to logits.

        Args:
            labels: (B, T) token ids, -100 where unsupervised; the loss is the mean cross-entropy of the next token.
            logits_to_keep: Number of last positions that get logits, 0 = all; or their indices.
            input_ids, pixel_values, attention_mask, position_ids, past_key_values, inputs_embeds, mm_token_type_ids,
                mm_encoder_outputs: As for `MplugOwl2Model`.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            mm_token_type_ids=mm_token_type_ids,
            mm_encoder_outputs=mm_encoder_outputs,
            return_dict=True,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.text_config.vocab_size, **kwargs)
        return MplugOwl2CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
        )


def _indices(mask: torch.Tensor) -> torch.Tensor | None:
    """Lists where a (B, T) mask is True, as indices into B * T; None if it is nowhere."""
    indices = mask.flatten().nonzero().squeeze(1)
    return indices if len(indices) else None
