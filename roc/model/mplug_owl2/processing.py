"""The processor of mPLUG-Owl2: images to pixels, conversations to token ids with all positions of images written out.

It also loads from a published folder, which has no `processor_config.json`; its content then comes from `config.json`.
Pixels are always computed with Pillow, so they do not depend on whether torchvision is installed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from transformers import BatchEncoding, BatchFeature, CLIPImageProcessorPil, ProcessorMixin
from transformers.image_utils import ImageInput, make_flat_list_of_images
from transformers.processing_utils import ProcessingKwargs

from roc.model.mplug_owl2.configuration import MplugOwl2Config
from roc.model.mplug_owl2.convert import is_published, tokens_of
from roc.model.mplug_owl2.tokenization import MplugOwl2Tokenizer

IMAGE_TOKEN = "<|image|>"

# Arguments of `from_pretrained` that say where a file is; all others are settings of the processor.
_WHERE = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")

# The published conversation format "v1". The only image of a question is put in front of it, as in training, wherever
# it was mentioned; several images stay in their places, because the text may refer to them.
CHAT_TEMPLATE = """\
{%- macro words(content) -%}
  {%- if content is string -%}
    {{- content -}}
  {%- else -%}
    {%- for part in content -%}
      {%- if part['type'] == 'text' -%}
        {{- part['text'] -}}
      {%- elif part['type'] != 'image' -%}
        {{- raise_exception('a part of a turn is of type ' + part['type'] + '; expected text or image') -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- macro question(content) -%}
  {%- set images = [] if content is string else content | selectattr('type', 'equalto', 'image') | list -%}
  {%- if not images -%}
    {{- words(content) -}}
  {%- elif images | length == 1 -%}
    {{- ('<|image|>\\n' + words(content) | trim) | trim -}}
  {%- else -%}
    {%- for part in content -%}
      {%- if part['type'] == 'image' -%}
        {{- '<|image|>' + ('\\n' if not loop.last and loop.nextitem['type'] == 'text' else '') -}}
      {%- else -%}
        {{- words([part]) | trim + ('' if loop.last else ' ') -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- if messages[0]['role'] == 'system' -%}
  {{- words(messages[0]['content']) + ' ' -}}
{%- else -%}
  {{- 'A chat between a curious user and an artificial intelligence assistant. ' -}}
  {{- "The assistant gives helpful, detailed, and polite answers to the user's questions. " -}}
{%- endif -%}
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}
    {{- 'USER: ' + question(message['content']) + ' ' -}}
  {%- elif message['role'] == 'assistant' -%}
    {{- 'ASSISTANT: ' + words(message['content']) + eos_token -}}
  {%- elif message['role'] != 'system' or not loop.first -%}
    {{- raise_exception('turn ' ~ loop.index ~ ' is from ' + message['role'] + '; expected user or assistant') -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- 'ASSISTANT:' -}}
{%- endif -%}
"""


class MplugOwl2Processor(ProcessorMixin):
    """Turns images and text into the inputs of the model.

    Args:
        image_processor: CLIP's.
        tokenizer: The family's own.
        image_seq_length: Number of positions of one image: its queries and the mark that ends them.
        image_token_id: Id at those positions of `input_ids`; no id of the tokenizer.
        image_token: Placeholder of an image in the text.
        chat_template: Jinja; None = the published conversation format.

    Attributes:
        verbatim_turns: Whether a conversation keeps its white space: published answers end in a space, which is a
            supervised token.
    """

    verbatim_turns = True

    def __init__(
        self,
        image_processor: CLIPImageProcessorPil,
        tokenizer: MplugOwl2Tokenizer,
        image_seq_length: int,
        image_token_id: int,
        image_token: str = IMAGE_TOKEN,
        chat_template: str | None = None,
    ) -> None:
        self.image_seq_length = image_seq_length
        self.image_token_id = image_token_id
        self.image_token = image_token
        super().__init__(
            image_processor, tokenizer, chat_template=CHAT_TEMPLATE if chat_template is None else chat_template
        )

    def __call__(
        self, images: ImageInput | None = None, text: str | Sequence[str] | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Makes the model's inputs for one or several texts.

        Every part of a text, before, between and after images, is tokenised separately and begins like a text of its
        own. The token that opens a text comes first, even if the text begins with an image; the published code puts it
        after such an image, where no training text has it.

        Args:
            images: For all texts, in the order in which they are mentioned; or a list for each text, which may be
                empty.
            text: With `image_token` at the place of each image.
            **kwargs: Arguments of tokenizer and image processor: `padding`, `return_tensors`, `add_special_tokens`, ...

        Returns:
            `input_ids`, `attention_mask` (B, T) and, if there are images, `pixel_values` (images, 3, S, S).

        Raises:
            ValueError: If images and their places in the texts do not match, or truncation would cut an image.
        """
        if images is None and text is None:
            raise ValueError("There is neither text nor image; give at least one of them.")
        merged = self._merge_kwargs(ProcessingKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        settings = merged["text_kwargs"]
        return_tensors = settings.pop("return_tensors", None)
        pictures = [] if images is None else make_flat_list_of_images(self.image_processor.fetch_images(images))
        data = {}
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            self._check_images(texts, images, len(pictures))
            data.update(self._encode(texts, **settings))
        if pictures:
            data.update(self.image_processor(pictures, **merged["images_kwargs"]))
        return BatchFeature(data, tensor_type=return_tensors)

    def _encode(
        self,
        texts: list[str],
        *,
        add_special_tokens: bool = True,
        truncation: bool | str = False,
        max_length: int | None = None,
        padding: bool | str = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        **unused: Any,
    ) -> BatchEncoding:
        asked = [name for name, value in unused.items() if name.startswith("return_") and value]
        if asked:
            raise ValueError(f"this processor does not know {', '.join(asked)}; leave it out.")
        rows = []
        for text in texts:
            ids = self._ids(text)
            row = self.tokenizer.prepare_for_model(
                ids,
                add_special_tokens=add_special_tokens,
                truncation=truncation,
                max_length=max_length,
                return_attention_mask=False,
            )["input_ids"]
            if row.count(self.image_token_id) != ids.count(self.image_token_id):
                raise ValueError(
                    f"A text of {len(ids)} tokens, {ids.count(self.image_token_id)} of them positions of images, does "
                    f"not fit into {max_length} without cutting an image; raise max_length or shorten the text."
                )
            rows.append(row)
        return self.tokenizer.pad(
            {"input_ids": rows},
            padding=padding,
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=padding_side,
            return_attention_mask=return_attention_mask,
        )

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = []
        for place, part in enumerate(text.split(self.image_token)):
            if place:
                ids += [self.image_token_id] * self.image_seq_length
            ids += self.tokenizer(part, add_special_tokens=False)["input_ids"]
        return ids

    def _check_images(self, texts: list[str], images: ImageInput | None, count: int) -> None:
        places = [text.count(self.image_token) for text in texts]
        lists = isinstance(images, list | tuple) and all(isinstance(row, list | tuple) for row in images)
        given = [len(row) for row in images] if lists else [count]
        if given != (places if lists else [sum(places)]):
            raise ValueError(
                f"There are {', '.join(map(str, given))} images for texts with {', '.join(map(str, places))} "
                f"{self.image_token}; write one {self.image_token} for each image into the text."
            )

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reads `processor_config.json`, or in a published folder derives its content from `config.json`."""
        where = {name: kwargs[name] for name in _WHERE if name in kwargs}
        settings, kwargs = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        if "image_seq_length" not in settings:
            config = MplugOwl2Config.from_pretrained(pretrained_model_name_or_path, **where)
            settings |= {"image_seq_length": config.image_seq_length, "image_token_id": config.image_token_id}
        return settings, kwargs

    @classmethod
    def _get_arguments_from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, processor_dict: dict | None = None, **kwargs: Any
    ) -> list[Any]:
        """Loads tokenizer and image processor in their own classes, whatever (older) classes the files name.

        The score levels are words in a published tokenizer; the model here has no such words.
        """
        path, where = pretrained_model_name_or_path, {name: kwargs[name] for name in _WHERE if name in kwargs}
        tokenizer = MplugOwl2Tokenizer.from_pretrained(path, **where)
        if "eos" in tokenizer.init_kwargs["special_tokens_pattern"].split("_"):
            raise ValueError(
                f"{path}: tokenizer_config.json has add_eos_token true, which closes a prompt with "
                f"{tokenizer.eos_token} before its answer begins; expected false, as everything published has it."
            )
        try:
            config, _ = MplugOwl2Config.get_config_dict(path, **where)
        except OSError:  # a folder of a processor alone
            config = {}
        if is_published(config):
            words = tokens_of(config, tokenizer.added_tokens_decoder)
            tokenizer = MplugOwl2Tokenizer.from_pretrained(path, added_tokens_decoder=words, **where)
        try:
            image_processor = CLIPImageProcessorPil.from_pretrained(path, **where)
        except OSError as error:
            raise ValueError(
                f"{path} has no preprocessor_config.json, which says how images become pixels. The published "
                "training writes none: copy that of the base model (MAGAer13/mplug-owl2-llama2-7b) into the folder."
            ) from error
        return [image_processor, tokenizer]
