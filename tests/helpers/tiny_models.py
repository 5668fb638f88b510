"""Tiny random vision-language models, built in memory from their real config classes; nothing is downloaded.

Each builder returns `(model, processor)`: 0.1 to 0.3 M parameters, milliseconds a forward pass, weights from a seed.
All take `hidden_size` (of the language model), `vocab_padding` (spare rows of the vocabulary), `tied` (embeddings) and
`seed`. `BUILDERS` holds the two that every test runs on, `FAMILY_BUILDERS` all thirteen families.
"""

from __future__ import annotations

import json

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast
from transformers.utils import is_torchvision_available

from roc.model.processing import image_only, processor_class
from roc.prompts import QUESTIONS, answer

SENTENCES = [
    *QUESTIONS,
    answer(("overall", "composition", "light", "colour")),
    "The subject sits on a third and the light is soft, but the colours clash.",
    "A quiet scene with a clear subject and a low horizon.",
]
TURNS = ("<|user|>", "<|assistant|>")
_SQUARE = {"height": 28, "width": 28}
_PINPOINTS = [[28, 28], [28, 56], [56, 28]]
_QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
}


def tiny_tokenizer(class_name: str = "PreTrainedTokenizerFast", /, **extra_tokens: str) -> PreTrainedTokenizerFast:
    """Trains a BPE on a handful of sentences; `extra_tokens` become attributes such as `image_token`.

    It is byte-level by default; a tokenizer class brings its own normaliser, pre-tokenizer and decoder.
    """
    cls = getattr(transformers, class_name)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials, alphabet = ["<pad>", "<s>", "</s>", *TURNS, *extra_tokens.values()], pre_tokenizers.ByteLevel.alphabet()
    if cls is not PreTrainedTokenizerFast:
        empty = cls().backend_tokenizer
        tokenizer.pre_tokenizer = empty.pre_tokenizer
        if empty.model.byte_fallback:  # words with a mark for the space before them, and a token for each byte
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
            specials, alphabet = ["<unk>", *specials, *(f"<0x{byte:02X}>" for byte in range(256))], []
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    named = {"pad_token": "<pad>", "eos_token": "</s>", "extra_special_tokens": dict(extra_tokens)}
    if cls is PreTrainedTokenizerFast:
        return cls(tokenizer_object=tokenizer, bos_token="<s>", **named)
    learnt = json.loads(tokenizer.to_str())["model"]
    if not alphabet:
        named["bos_token"] = "<s>"
    unknown = "<pad>" if alphabet else "<unk>"
    return cls(vocab=learnt["vocab"], merges=[tuple(pair) for pair in learnt["merges"]], unk_token=unknown, **named)


def chat_template(image: str, *, bos: str = "", gap: str = "", end: str = "</s>") -> str:
    """Makes a Jinja template with marked turns.

    Args:
        image: Placeholder of an image.
        bos: Beginning of a conversation.
        gap: Text between the mark of a finished answer and its text, missing after the mark that asks for one.
        end: Closes an answer.
    """
    before = "{% if message['role'] == 'assistant' %}" + gap + "{% endif %}" if gap else ""
    return (
        bos + "{% for message in messages %}<|{{ message['role'] }}|>" + before +
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}"
        "{% endif %}{% endfor %}{% if message['role'] == 'assistant' %}" + end + "{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )  # fmt: skip


def tiny_llava(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = False, seed: int = 0):
    """LLaVA: CLIP tower on 28-pixel images, 16 image tokens, two-layer LLaMA."""
    tokenizer = tiny_tokenizer(image_token="<image>")
    processor = transformers.LlavaProcessor(
        _pictures("CLIPImageProcessor", size=_SQUARE, do_center_crop=False),
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template("<image>\n", bos="<s>"),
    )
    text = _text_config("llama", tokenizer, hidden_size, vocab_padding, tied)
    image = {"image_token_index": tokenizer.image_token_id, "image_seq_length": 16}
    return _build("llava", tokenizer, seed, text, _tower("clip_vision_model"), **image), processor


def tiny_llava_next(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = False, seed: int = 0):
    """LLaVA-NeXT: LLaVA with crops by aspect ratio, Mistral, and a tokenizer that puts a space before its text."""
    tokenizer = tiny_tokenizer("LlamaTokenizer", image_token="<image>")
    processor = transformers.LlavaNextProcessor(
        _pictures(
            "LlavaNextImageProcessor", size={"shortest_edge": 28}, crop_size=_SQUARE, image_grid_pinpoints=_PINPOINTS
        ),
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template("<image>\n", gap=" "),
    )
    text = _text_config("mistral", tokenizer, hidden_size, vocab_padding, tied)
    image = {"image_token_index": tokenizer.image_token_id, "image_grid_pinpoints": _PINPOINTS}
    return _build("llava_next", tokenizer, seed, text, _tower("clip_vision_model"), **image), processor


def tiny_llava_onevision(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = False, seed: int = 0):
    """LLaVA-OneVision: SigLIP tower, crops by aspect ratio, Qwen2."""
    tokenizer = tiny_tokenizer("Qwen2Tokenizer", image_token="<image>", video_token="<video>")
    processor = image_only(processor_class("LlavaOnevisionProcessor"))(
        _pictures("LlavaOnevisionImageProcessor", size=_SQUARE, image_grid_pinpoints=_PINPOINTS),
        tokenizer,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chat_template("<image>\n"),
    )
    text = _text_config("qwen2", tokenizer, hidden_size, vocab_padding, tied)
    image = {"image_token_index": tokenizer.image_token_id, "video_token_index": tokenizer.video_token_id}
    tower = _tower("siglip_vision_model", vision_use_head=False)
    return _build("llava_onevision", tokenizer, seed, text, tower, image_grid_pinpoints=_PINPOINTS, **image), processor


def tiny_qwen2_vl(*, hidden_size: int = 32, vocab_padding: int = 7, tied: bool = True, seed: int = 0):
    """Qwen2-VL: native-resolution tower, mrope."""
    tokenizer, processor = _qwen_processor("Qwen2VLProcessor")
    text = _text_config("qwen2_vl_text", tokenizer, hidden_size, vocab_padding, tied)
    tower = _qwen_tower(embed_dim=32, mlp_ratio=2, hidden_size=hidden_size)
    return _build("qwen2_vl", tokenizer, seed, text | _mrope(), tower, **_qwen_ids(tokenizer)), processor


def tiny_qwen2_5_vl(*, hidden_size: int = 32, vocab_padding: int = 7, tied: bool = True, seed: int = 0):
    """Qwen2.5-VL: window attention in the tower, mrope, and spare rows in the vocabulary as the real one."""
    tokenizer, processor = _qwen_processor("Qwen2_5_VLProcessor")
    text = _text_config("qwen2_5_vl_text", tokenizer, hidden_size, vocab_padding, tied)
    tower = _qwen_tower(out_hidden_size=hidden_size, window_size=28, fullatt_block_indexes=[1])
    return _build("qwen2_5_vl", tokenizer, seed, text | _mrope(), tower, **_qwen_ids(tokenizer)), processor


def tiny_qwen3_vl(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = True, seed: int = 0):
    """Qwen3-VL: features of the tower enter deeper layers too, interleaved mrope."""
    tokenizer, processor = _qwen_processor("Qwen3VLProcessor")
    text = _text_config("qwen3_vl_text", tokenizer, hidden_size, vocab_padding, tied) | {"head_dim": 16}
    tower = _qwen_tower(out_hidden_size=hidden_size, deepstack_visual_indexes=[0])
    text |= _mrope(mrope_interleaved=True)
    return _build("qwen3_vl", tokenizer, seed, text, tower, **_qwen_ids(tokenizer)), processor


def tiny_qwen3_5(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = True, seed: int = 0):
    """Qwen3.5: one layer of linear attention, one of full attention; a template that answers after thinking."""
    tokenizer, processor = _qwen_processor("Qwen3VLProcessor", "Qwen3_5Tokenizer")
    thinking = "{{ '<think>\n' }}{% if enable_thinking is false %}{{ '\n</think>\n\n' }}{% endif %}"
    asking = "{% if add_generation_prompt %}<|assistant|>"
    processor.chat_template = processor.chat_template.replace(asking, asking + thinking)
    text = _text_config("qwen3_5_text", tokenizer, hidden_size, vocab_padding, tied) | {
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": hidden_size // 2,
    }
    text |= _mrope(mrope_interleaved=True, partial_rotary_factor=1.0)
    tower = _qwen_tower(out_hidden_size=hidden_size)
    return _build("qwen3_5", tokenizer, seed, text, tower, **_qwen_ids(tokenizer)), processor


def tiny_internvl(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = False, seed: int = 0):
    """InternVL: pixel-shuffled tokens, Qwen2, a processor that pads on the left."""
    names = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>", "video": "<video>"}
    tokenizer = tiny_tokenizer("Qwen2Tokenizer", **{f"{name}_token": token for name, token in names.items()})
    processor = image_only(processor_class("InternVLProcessor"))(
        _pictures("GotOcr2ImageProcessor", size=_SQUARE, crop_to_patches=False),
        tokenizer,
        image_seq_length=4,
        chat_template=chat_template("<IMG_CONTEXT>\n"),
    )
    text = _text_config("qwen2", tokenizer, hidden_size, vocab_padding, tied)
    tower = _tower("internvl_vision", image_size=[28, 28], patch_size=[7, 7])
    image = {"image_token_id": tokenizer.context_image_token_id, "image_seq_length": 4}
    return _build("internvl", tokenizer, seed, text, tower, **image), processor


def tiny_idefics3(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = False, seed: int = 0):
    """Idefics3: SigLIP-like tower, pixel-shuffled tokens between tags, LLaMA."""
    tokenizer, processor = _idefics_processor("Idefics3Processor", "Idefics3ImageProcessor")
    text = _text_config("llama", tokenizer, hidden_size, vocab_padding, tied)
    tower = _tower("idefics3_vision")
    return _build("idefics3", tokenizer, seed, text, tower, image_token_id=processor.image_token_id), processor


def tiny_smolvlm(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = False, seed: int = 0):
    """SmolVLM: Idefics3 in small, with video."""
    tokenizer, processor = _idefics_processor("SmolVLMProcessor", "SmolVLMImageProcessor")
    text = _text_config("llama", tokenizer, hidden_size, vocab_padding, tied)
    tower = _tower("smolvlm_vision")
    return _build("smolvlm", tokenizer, seed, text, tower, image_token_id=processor.image_token_id), processor


def tiny_gemma3(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = True, seed: int = 0):
    """Gemma 3: SigLIP tower, image tokens that see each other, one layer of sliding and one of full attention."""
    tokenizer = tiny_tokenizer(
        "GemmaTokenizer", image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>"
    )
    processor = transformers.Gemma3Processor(
        _pictures("Gemma3ImageProcessor", size=_SQUARE),
        tokenizer,
        image_seq_length=4,
        chat_template=chat_template("<start_of_image>", bos="<s>"),
    )
    text = _text_config("gemma3_text", tokenizer, hidden_size, vocab_padding, tied)
    text |= {"head_dim": 16, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
    ids = {f"{name}_token_index": getattr(tokenizer, f"{name}_token_id") for name in ("image", "boi", "eoi")}
    tower = _tower("siglip_vision_model", vision_use_head=False)
    model = _build("gemma3", tokenizer, seed, text, tower, mm_tokens_per_image=4, **ids)
    # A random Gemma 3 is blind: this matrix starts at zero.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model.model.multi_modal_projector.mm_input_projection_weight.normal_(std=0.2)
    return model, processor


def tiny_paligemma(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = True, seed: int = 0):
    """PaliGemma: SigLIP tower, Gemma as a prefix-LM, a processor without a chat template."""
    tokenizer = tiny_tokenizer("GemmaTokenizer", image_token="<image>")
    images = _pictures("SiglipImageProcessor", size=_SQUARE)
    images.image_seq_length = 16
    processor = transformers.PaliGemmaProcessor(images, tokenizer)  # adds tokens, so it comes before the configuration
    text = _text_config("gemma", tokenizer, hidden_size, vocab_padding, tied) | {"head_dim": 16}
    sizes = {"image_token_index": tokenizer.image_token_id, "projection_dim": hidden_size, "hidden_size": hidden_size}
    tower = _tower("siglip_vision_model", vision_use_head=False)
    return _build("paligemma", tokenizer, seed, text, tower, **sizes), processor


def tiny_mistral3(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = False, seed: int = 0):
    """Mistral 3: Pixtral's native-resolution tower, merged patches with a break after each row."""
    tokenizer = tiny_tokenizer(image_token="[IMG]", image_break_token="[IMG_BREAK]", image_end_token="[IMG_END]")
    processor = image_only(processor_class("PixtralProcessor"))(
        _pictures("PixtralImageProcessor", patch_size=7, size={"longest_edge": 56}),
        tokenizer,
        patch_size=7,
        spatial_merge_size=2,
        chat_template=chat_template("[IMG]", bos="<s>"),
    )
    text = _text_config("mistral", tokenizer, hidden_size, vocab_padding, tied) | {"head_dim": 16}
    tower = _tower("pixtral", image_size=56)
    image = {"image_token_index": tokenizer.image_token_id, "spatial_merge_size": 2}
    return _build("mistral3", tokenizer, seed, text, tower, **image), processor


BUILDERS = {"llava": tiny_llava, "qwen2_5_vl": tiny_qwen2_5_vl}
FAMILY_BUILDERS = {
    **BUILDERS,
    "gemma3": tiny_gemma3,
    "idefics3": tiny_idefics3,
    "internvl": tiny_internvl,
    "llava_next": tiny_llava_next,
    "llava_onevision": tiny_llava_onevision,
    "mistral3": tiny_mistral3,
    "paligemma": tiny_paligemma,
    "qwen2_vl": tiny_qwen2_vl,
    "qwen3_5": tiny_qwen3_5,
    "qwen3_vl": tiny_qwen3_vl,
    "smolvlm": tiny_smolvlm,
}


def _pictures(class_name: str, **settings):
    """Returns the image processor that reloading gives: with Pillow if there is no torchvision."""
    return getattr(transformers, class_name if is_torchvision_available() else f"{class_name}Pil")(**settings)


def _text_config(model_type: str, tokenizer, hidden_size: int, vocab_padding: int, tied: bool) -> dict:
    return {
        "model_type": model_type,
        "vocab_size": len(tokenizer) + vocab_padding,
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": 2,
        "num_attention_heads": hidden_size // 16,
        "num_key_value_heads": hidden_size // 16,
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": tied,
    }


def _tower(model_type: str, **settings) -> dict:
    """Configures a vision tower of two layers on 28-pixel images in patches of 7."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {"model_type": model_type, "image_size": 28, "patch_size": 7, **sizes, **settings}


def _qwen_tower(**settings) -> dict:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "depth": 2, "num_heads": 2}
    return {"patch_size": 7, "spatial_merge_size": 2, "temporal_patch_size": 2, **sizes, **settings}


def _qwen_processor(class_name: str, tokenizer_class: str = "Qwen2Tokenizer"):
    """Makes tokenizer and processor of a Qwen-VL; 1 to 4 image tokens."""
    tokenizer = tiny_tokenizer(tokenizer_class, **_QWEN_TOKENS)
    images = _pictures(
        "Qwen2VLImageProcessor", patch_size=7, merge_size=2, size={"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    )
    template = chat_template("<|vision_start|><|image_pad|><|vision_end|>")
    return tokenizer, image_only(processor_class(class_name))(images, tokenizer, chat_template=template)


def _qwen_ids(tokenizer) -> dict:
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return dict(zip(names, tokenizer.convert_tokens_to_ids(list(_QWEN_TOKENS.values())), strict=True))


def _mrope(**settings) -> dict:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    return {"rope_parameters": {**rope, **settings}}


def _idefics_processor(class_name: str, images_class: str):
    """Makes tokenizer and processor of an Idefics3-like model; 4 image tokens."""
    names = ("fake_image", "image", "end_of_utterance", "global_image", "video")
    tags = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", "<video>")
    tokens = {f"{name}_token": tag for name, tag in zip(names, tags, strict=True)}
    places = {f"place_{i}{j}": f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)}
    tokenizer = tiny_tokenizer(**tokens, **places)
    tokenizer.eos_token = "<end_of_utterance>"
    processor = image_only(processor_class(class_name))(
        _pictures(
            images_class, size={"longest_edge": 28}, max_image_size={"longest_edge": 28}, do_image_splitting=False
        ),
        tokenizer,
        image_seq_len=4,
        chat_template=chat_template("<image>", gap=" ", end="<end_of_utterance>"),
    )
    return tokenizer, processor


def _build(model_type: str, tokenizer, seed: int, text: dict, vision: dict, **settings):
    """Builds the model of a family in eval mode, with weights from `seed`."""
    config = AutoConfig.for_model(
        model_type,
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=text["tie_word_embeddings"],
        **settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.eval()
