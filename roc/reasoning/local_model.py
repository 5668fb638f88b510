"""An author that is a vision-language model of `transformers` on this machine."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from roc.data.images import open_image
from roc.endpoints.chat import Reply
from roc.reasoning.authors import Request, temperature_of
from roc.reasoning.config import AuthorOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin


class LocalModel:
    """An `Author` that generates, one request at a time.

    Args:
        model: Any model for images and text with a chat template, in evaluation mode on its device.
        processor: Its processor.
        name: What it is called.
        options: `temperature`, `max_tokens`, `image_side`.
    """

    at_once = 1

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, name: str, options: AuthorOptions) -> None:
        self.name = name
        self._model, self._processor, self._options = model, processor, options
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str, options: AuthorOptions) -> LocalModel:
        """Loads a model and its processor from a folder or the hub.

        Raises:
            OSError: No such model.
            ValueError: A damaged checkpoint, no processor for images, or no chat template.
        """
        from transformers import AutoModelForImageTextToText

        from roc.checkpoint.names import check_exists
        from roc.checkpoint.weights import load_weights
        from roc.model.device import checked_device, number_format
        from roc.model.processing import load_processor

        check_exists(path)
        device = checked_device(options.device)
        processor = load_processor(path)
        if not getattr(processor, "chat_template", None):
            raise ValueError(
                f"{path} has no chat template, so it answers no questions; give an instruction-tuned model"
            )
        dtype = getattr(torch, number_format(None, device))
        model = load_weights(AutoModelForImageTextToText, path, dtype=dtype)
        return cls(model.to(device).eval(), processor, f"transformers:{path}", options)

    def ask(self, request: Request) -> Reply:
        """Answers a request; the same request gets the same words."""
        content: list[dict[str, Any]] = [{"type": "text", "text": request.text}]
        pictures = []
        if request.photo is not None:
            picture = open_image(request.photo.path)
            picture.thumbnail((self._options.image_side, self._options.image_side), Image.Resampling.LANCZOS)
            pictures = [picture]
            content.insert(0, {"type": "image"})
        with self._lock:
            return self._generate(content, pictures, request)

    def _generate(self, content: list[dict[str, Any]], pictures: list[Image.Image], request: Request) -> Reply:
        template = self._processor.chat_template or ""
        settings = {"enable_thinking": False} if "enable_thinking" in template else {}
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False, **settings
        )
        bos = getattr(self._processor.tokenizer, "bos_token", None)
        batch = self._processor(
            text=[prompt],
            images=pictures or None,
            return_tensors="pt",
            add_special_tokens=not (bos and prompt.startswith(bos)),
        ).to(self._model.device)
        batch = {
            name: value.to(self._model.dtype) if torch.is_floating_point(value) else value
            for name, value in batch.items()
        }
        length = batch["input_ids"].shape[1]
        temperature = temperature_of(request, self._options)
        sampling: dict[str, Any] = {"do_sample": temperature != 0}
        if temperature:
            sampling["temperature"] = temperature
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(_seed(request))
            written = self._model.generate(**batch, **sampling, max_new_tokens=self._options.max_tokens)[0, length:]
        text = self._processor.tokenizer.decode(written, skip_special_tokens=True).strip()
        ends = self._model.generation_config.eos_token_id
        ended = int(written[-1]) in (ends if isinstance(ends, list) else [ends])
        return Reply(text, length, len(written), cut=not ended and len(written) >= self._options.max_tokens)


def _seed(request: Request) -> int:
    photo = "" if request.photo is None else request.photo.id
    name = "\0".join([request.kind, photo, request.text, str(request.attempt)])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
