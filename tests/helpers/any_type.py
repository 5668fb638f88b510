"""Tiny random models of any image-text-to-text type, made by shrinking the default configuration of the type.

`tiny_models` builds its thirteen families by hand; here one rule serves all types: sizes that every configuration calls
alike are made small, token ids are those of a tiny tokenizer, and what is left is said by the type's `Recipe` in
`type_recipes`. Nothing is downloaded.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import torch
import transformers
from tiny_models import chat_template, tiny_tokenizer
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available

from roc.model.processing import image_only, processor_class

WIDTH, IMAGE, PATCH = 32, 28, 7
_SIZES = {
    **dict.fromkeys(("hidden_size", "embed_dim", "d_model", "out_hidden_size", "text_hidden_size"), WIDTH),
    **dict.fromkeys(("encoder_hidden_size", "projector_hidden_size", "projection_hidden_size"), WIDTH),
    **dict.fromkeys(("projection_dim", "word_embed_proj_dim", "alignment_intermediate_size"), WIDTH),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "mlp_dim", "dense_intermediate_size"), 2 * WIDTH),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "depth", "layers", "num_layers", "n_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "attention_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k"), 2),
    **dict.fromkeys(("n_shared_experts", "moe_num_shared_experts", "n_group", "topk_group"), 1),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(("head_dim", "linear_key_head_dim", "linear_value_head_dim", "v_head_dim"), 16),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 8),
    "max_position_embeddings": 512,
    "image_size": IMAGE,
    "patch_size": PATCH,
    "num_query_tokens": 4,
}
# Derived from other fields by the configuration classes, so never carried over from the large ones.
_DERIVED = ("per_layer_config", "id2label", "label2id", "architectures", "transformers_version", "qk_head_dim")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the tiny model of a type needs beyond the common rule.

    Attributes:
        picture: What the chat template writes for a picture.
        tokens: Named tokens of the tokenizer (`image_token`, ...); a name that configurations use with `_id` or
            `_index` behind it fills that field.
        config: Fields of the configuration, nested as it is; a "<token>" in place of an id stands for that token's id.
        images: Settings of the image processor.
        processor: Settings of the processor.
        processor_name, images_name, videos_name: Their classes, where the mappings of `transformers` name none.
        parts: Further parts of the processor by name, as names of classes of `transformers` with their settings.
        tokenizer: Class of the tokenizer.
        unknown: Token that counts as the unknown one; empty = that of the tokenizer.
        template: Settings of `chat_template`; None = the processor has none, and gets one by `attach`.
        packages: Packages that the type needs beside torchvision.
        wide: Whether its weights are drawn as widely as their inputs ask for, because as the type draws them a model so
            small is blind.
    """

    picture: str
    tokens: dict[str, str]
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    images: dict[str, Any] = dataclasses.field(default_factory=dict)
    processor: dict[str, Any] = dataclasses.field(default_factory=dict)
    processor_name: str = ""
    images_name: str = ""
    videos_name: str = ""
    parts: dict[str, tuple[str, dict]] = dataclasses.field(default_factory=dict)
    tokenizer: str = "PreTrainedTokenizerFast"
    unknown: str = ""
    template: dict[str, str] = dataclasses.field(default_factory=dict)
    packages: tuple[str, ...] = ()
    wide: bool = False


def build(model_type: str, recipe: Recipe, *, seed: int = 0):
    """Builds `(model, processor)` of a type, in eval mode, with weights from `seed`."""
    tokenizer = tiny_tokenizer(recipe.tokenizer, **recipe.tokens)
    if recipe.unknown:
        tokenizer.unk_token = recipe.unknown
    processor = _processor(model_type, recipe, tokenizer)
    config = tiny_config(model_type, recipe, processor.tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        # Scales and gates that begin so small, or closed, that a random tower is blind.
        if name.endswith("gamma") or (re.search("gate|alpha", name) and not parameter.any()):
            parameter.data.fill_(0.5)
        elif recipe.wide and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=generator)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.eval(), processor


def tiny_config(model_type: str, recipe: Recipe, tokenizer):
    """Shrinks the default configuration of a type; the recipe has the last word."""
    fields = _shrunk(CONFIG_MAPPING[model_type]().to_dict(), tokenizer)
    fields = _merged(fields, _with_ids(recipe.config, tokenizer))
    fields.pop("model_type")
    return CONFIG_MAPPING[model_type](**fields)


def _shrunk(fields: dict[str, Any], tokenizer) -> dict[str, Any]:
    layers = fields.get("num_hidden_layers")
    small = {}
    for name, value in fields.items():
        if name in _DERIVED:
            continue
        token = name.removesuffix("_id").removesuffix("_index")
        if isinstance(value, dict):
            value = _shrunk(value, tokenizer) if name.endswith("_config") else value
        elif isinstance(value, list) and len(value) == layers and name not in _SIZES:
            value = [value[0], value[-1]]  # one entry per layer: the first and the last are of every kind there is
        elif name == "vocab_size" and layers != None and "patch_size" not in fields:  # noqa: E711
            value = len(tokenizer)
        elif name in ("deepstack_visual_indexes", "fullatt_block_indexes", "global_attn_indexes"):
            value = [1]
        elif token != name and getattr(tokenizer, token, None) is not None:
            value = getattr(tokenizer, f"{token}_id")
        elif name in _SIZES and value is not None:
            value = [_SIZES[name]] * len(value) if isinstance(value, list) else _SIZES[name]
        small[name] = value
    return small


def _merged(fields: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Puts nested fields over others; a value None takes a field away."""
    both = dict(fields)
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(both.get(name), dict) and name.endswith("_config"):
            # A part of another kind is not made of the fields of the default one.
            another = value.get("model_type", both[name].get("model_type")) != both[name].get("model_type")
            both[name] = value if another else _merged(both[name], value)
        else:
            both[name] = value
    return {name: value for name, value in both.items() if value is not None}


def _with_ids(value, tokenizer):
    if isinstance(value, dict):
        return {name: _with_ids(inner, tokenizer) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_ids(inner, tokenizer) for inner in value]
    if isinstance(value, str) and value in tokenizer.get_vocab():
        return tokenizer.convert_tokens_to_ids(value)
    if value == "len(tokenizer)":
        return len(tokenizer)
    return value


def _processor(model_type: str, recipe: Recipe, tokenizer):
    name = recipe.processor_name or PROCESSOR_MAPPING_NAMES[model_type]
    whole = processor_class(name)
    cls = whole if is_torchvision_available() else image_only(whole)
    parts: dict[str, Any] = {"tokenizer": tokenizer}
    names = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type, {})
    there = (names.get("torchvision") if is_torchvision_available() else None) or names.get("pil")
    images = recipe.images_name or there
    if images is None:
        raise ValueError(f"{name} has no image processor without torchvision")
    if recipe.images_name and not is_torchvision_available():
        images += "Pil" * hasattr(transformers, f"{images}Pil")
    parts["image_processor"] = getattr(transformers, images)(**recipe.images)
    video = recipe.videos_name or VIDEO_PROCESSOR_MAPPING_NAMES.get(model_type)
    if video and is_torchvision_available():
        video = video if isinstance(video, str) else video["torchvision"]
        settings = {"draw_on_frames": False} if "Ernie" in video else {}  # it would want a font
        parts["video_processor"] = getattr(transformers, video)(**settings)
    for part, (part_class, settings) in recipe.parts.items():
        parts[part] = getattr(transformers, part_class)(**settings)
    if model_type.startswith("instructblip"):
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *"?.,[]"]
        parts["qformer_tokenizer"] = transformers.BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    wanted = inspect.signature(cls.__init__).parameters
    parts = {part: value for part, value in parts.items() if part in wanted}
    template = chat_template(recipe.picture, **recipe.template)
    if "chat_template" in wanted:
        return cls(**parts, chat_template=template, **recipe.processor)
    processor = cls(**parts, **recipe.processor)
    processor.chat_template = template
    return processor
