"""Configuration of mPLUG-Owl2: one section each for language model, vision encoder and visual abstractor.

The published `config.json` is flat: LLaMA's fields are at the top level, the two visual parts below `visual_config`.
Both forms are read; the form with sections is written.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig, PreTrainedConfig
from transformers.activations import ACT2FN

# Names of LLaMA's fields before `rope_parameters`.
_OLD_TEXT_FIELDS = ("rope_theta", "rope_scaling")
_TEXT_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    "num_key_value_heads",
)


@strict
class MplugOwl2TextConfig(LlamaConfig):
    """The language model: LLaMA's fields and defaults (LLaMA-2-7B)."""

    model_type = "mplug_owl2_text"
    base_config_key = "text_config"


@strict
class MplugOwl2VisionConfig(PreTrainedConfig):
    """The vision encoder: a CLIP-like ViT (ViT-L/14 at 448 pixels)."""

    model_type = "mplug_owl2_vision"
    base_config_key = "vision_config"

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 448
    patch_size: int = 14
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-6
    attention_dropout: float | int = 0.0
    initializer_range: float = 0.02


@strict
class MplugOwl2AbstractorConfig(PreTrainedConfig):
    """The visual abstractor: learned queries that attend to the patches.

    `grid_size` is the number of patches along one side of the image.
    """

    model_type = "mplug_owl2_abstractor"
    base_config_key = "abstractor_config"

    num_learnable_queries: int = 64
    hidden_size: int = 1024
    encoder_hidden_size: int = 1024
    intermediate_size: int = 2816
    num_hidden_layers: int = 6
    num_attention_heads: int = 16
    grid_size: int = 32
    layer_norm_eps: float = 1e-6
    attention_probs_dropout_prob: float | int = 0.0
    initializer_range: float = 0.02


@strict
class MplugOwl2Config(PreTrainedConfig):
    """The whole model.

    Args:
        text_config, vision_config, abstractor_config: The sections, as objects or dictionaries; None = 7B defaults.
        image_token_id: Id at every image position of `input_ids`; no row of the embedding.
        tie_word_embeddings: Whether input and output embeddings are one matrix.
        **kwargs: Further keys become attributes. With `visual_config` among them they are the flat published form.

    Raises:
        ValueError: If a value of a section is impossible, or the sections do not fit each other.
    """

    model_type = "mplug_owl2"
    sub_configs = {
        "text_config": MplugOwl2TextConfig,
        "vision_config": MplugOwl2VisionConfig,
        "abstractor_config": MplugOwl2AbstractorConfig,
    }

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    abstractor_config: dict | PreTrainedConfig | None = None
    image_token_id: int = -200
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if "visual_config" in kwargs:
            kwargs = self._read_published(kwargs)
        for name, section in self.sub_configs.items():
            values = getattr(self, name)
            if not isinstance(values, PreTrainedConfig):
                setattr(self, name, section(**_without_type(values or {})))
        super().__post_init__(**kwargs)
        self._check_values()
        self._check_fit()

    @property
    def image_seq_length(self) -> int:
        """Number of positions of one image: the queries and the mark that ends them."""
        return self.abstractor_config.num_learnable_queries + 1

    def _check_values(self) -> None:
        """Checks values that transformers does not check before it fails to build the model."""
        parts = {"language": self.text_config, "vision": self.vision_config, "abstractor": self.abstractor_config}
        for part, section in parts.items():
            activation = getattr(section, "hidden_act", "silu")
            if not isinstance(activation, str) or activation not in ACT2FN:
                raise ValueError(
                    f"The {part} hidden_act is {activation!r}; expected an activation that transformers knows, such as "
                    "quick_gelu, gelu or silu."
                )
            for name in _TEXT_SIZES if part == "language" else _own_names(type(section)):
                value, default = getattr(section, name), getattr(type(section), name, 1)
                if isinstance(default, float):
                    fits, expected = type(value) in (int, float) and value >= 0, "a number, 0 or above"
                else:
                    fits, expected = type(value) is int and value > 0, "a whole number above 0"
                if not fits and name != "hidden_act":
                    raise ValueError(f"The {part} {name} is {value!r}; expected {expected}.")
        theta = self.text_config.rope_parameters.get("rope_theta")
        if type(theta) not in (int, float) or not theta > 0:
            raise ValueError(f"rope_theta is {theta!r}; expected a number above 0.")

    def _check_fit(self) -> None:
        """Makes sure that vision encoder and abstractor agree in width and number of patches."""
        vision, abstractor = self.vision_config, self.abstractor_config
        widths = {vision.hidden_size, abstractor.hidden_size, abstractor.encoder_hidden_size}
        if len(widths) > 1:
            raise ValueError(
                "Queries and patches are joined in the abstractor, so their widths must agree: vision hidden_size "
                f"{vision.hidden_size}, abstractor hidden_size {abstractor.hidden_size}, abstractor "
                f"encoder_hidden_size {abstractor.encoder_hidden_size}."
            )
        for name, part in (("vision", vision), ("abstractor", abstractor)):
            if part.hidden_size % part.num_attention_heads:
                raise ValueError(
                    f"The {name} hidden_size {part.hidden_size} cannot be divided among {part.num_attention_heads} "
                    "attention heads; num_attention_heads must divide it."
                )
        side = vision.image_size // vision.patch_size
        if side != abstractor.grid_size:
            raise ValueError(
                f"An image of {vision.image_size} pixels in patches of {vision.patch_size} has {side} patches along a "
                f"side, but the abstractor's grid_size is {abstractor.grid_size}."
            )
        if 0 <= self.image_token_id < self.text_config.vocab_size:
            raise ValueError(
                f"image_token_id {self.image_token_id} is a row of the embedding (vocab_size "
                f"{self.text_config.vocab_size}); image positions need an id that no word has, such as -200."
            )

    def _read_published(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Sets the sections from the flat form and returns the keys that belong to none of them."""
        if any(getattr(self, name) is not None for name in self.sub_configs):
            raise ValueError(
                "A configuration has either visual_config (the published flat form) or sections, not both."
            )
        visual = kwargs.pop("visual_config")
        if not isinstance(visual, dict):
            raise ValueError(f"visual_config is {visual!r}; expected visual_model and visual_abstractor in it.")
        for name in ("visual_model", "visual_abstractor"):
            if name not in visual:
                raise ValueError(f"visual_config needs visual_model and visual_abstractor; {name} is missing.")
            if not isinstance(visual[name], dict):
                raise ValueError(f"{name} in visual_config is {visual[name]!r}; expected its settings by name.")
        check_rope_scaling(kwargs.get("rope_scaling"))
        self.vision_config = _own(MplugOwl2VisionConfig, visual["visual_model"])
        self.abstractor_config = _own(MplugOwl2AbstractorConfig, visual["visual_abstractor"])
        self.text_config = _own(MplugOwl2TextConfig, {**kwargs, "tie_word_embeddings": self.tie_word_embeddings})
        return {key: value for key, value in kwargs.items() if key not in self.text_config}


def check_rope_scaling(scaling: Any) -> None:
    """Makes sure that a flat `rope_scaling` is one that the published code knows.

    Raises:
        ValueError: If it is not.
    """
    if scaling is None:
        return
    kind = scaling.get("type", scaling.get("rope_type")) if isinstance(scaling, dict) else None
    factor = scaling.get("factor") if isinstance(scaling, dict) else None
    if kind != "default" and (kind not in ("linear", "dynamic") or type(factor) not in (int, float) or not factor >= 1):
        raise ValueError(
            f"rope_scaling is {scaling!r}; expected what the published code knows: null, or a type, linear or dynamic, "
            "and a factor of 1 or more."
        )


def own_values(section: PreTrainedConfig) -> dict[str, Any]:
    """Returns the values that a section itself declares, without those of every configuration of transformers."""
    return {name: getattr(section, name) for name in _own_names(type(section))}


def _own_names(section: type[PreTrainedConfig]) -> list[str]:
    common = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    return [field.name for field in dataclasses.fields(section) if field.name not in common]


def _own(section: type[PreTrainedConfig], values: dict[str, Any]) -> dict[str, Any]:
    """Selects the values that the section itself declares."""
    names = _own_names(section) + list(_OLD_TEXT_FIELDS if section is MplugOwl2TextConfig else ())
    return {key: value for key, value in values.items() if key in names}


def _without_type(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "model_type"}
