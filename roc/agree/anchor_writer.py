"""A frozen multimodal LLM that describes pictures, and the hidden states behind its words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from roc.checkpoint.fingerprint import config_fingerprint, processor_fingerprint, weights_fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin


NO_STATE = "the hidden state behind its words is no number, or zero; try --dtype float32"


class Described(NamedTuple):
    """What was said of a picture.

    Attributes:
        text: The sentence.
        feature: (H,) float32 of length 1: the mean of the last hidden states that its words came from; None where that
            is no number, or zero.
    """

    text: str
    feature: Tensor | None


class AnchorWriter:
    """A frozen model.

    The states are read where every family has them: at the input of the language-model head. The state of a word is the
    one that it was chosen by.

    Args:
        model: Any model for images and text, in evaluation mode on its device.
        processor: Its processor, with a chat template.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        self.model, self.processor = model, processor

    @classmethod
    def load(cls, path: str, device: torch.device, dtype: str) -> AnchorWriter:
        """Loads a model from a folder or the hub; of a checkpoint of roc, the model that carries the head.

        Raises:
            OSError: No such model.
            ValueError: A damaged checkpoint, no processor for images, or no chat template.
        """
        from transformers import AutoModelForImageTextToText

        from roc.checkpoint.folder import is_adapter, load, read_config
        from roc.checkpoint.names import check_exists
        from roc.checkpoint.weights import load_weights
        from roc.model.declaration import declares_head
        from roc.model.processing import load_processor

        check_exists(path)
        if is_adapter(path) or declares_head(read_config(path)):
            model, processor = load(path, dtype=dtype)
        else:
            processor = load_processor(path)
            model = load_weights(AutoModelForImageTextToText, path, dtype=getattr(torch, dtype))
        if not getattr(processor, "chat_template", None):
            raise ValueError(
                f"{path} has no chat template, so it cannot be asked about pictures; give an instruction-tuned model"
            )
        return cls(model.to(device).eval(), processor)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the features, JSON values by name."""
        return {
            "weights": weights_fingerprint(self.model),
            "config": config_fingerprint(self.model.config),
            "processor": processor_fingerprint(self.processor),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def describe(self, pictures: Sequence[Image.Image], question: str, max_new_tokens: int) -> list[Described]:
        """Answers one question about several pictures, with the likeliest words.

        Args:
            pictures: RGB, at least one.
            question: What is asked of each.
            max_new_tokens: Longest answer.
        """
        tokenizer, side = self.processor.tokenizer, self.processor.tokenizer.padding_side
        prompt = self._prompt(question)
        tokenizer.padding_side = "left"
        try:
            batch = self.processor(
                text=[prompt] * len(pictures),
                images=[[picture] for picture in pictures],
                padding=True,
                return_tensors="pt",
                add_special_tokens=not self._begins_with_bos(prompt),
            )
        finally:
            tokenizer.padding_side = side
        batch = self._placed(batch)
        with torch.inference_mode(), self._states() as seen:
            written = self.model.generate(**batch, do_sample=False, num_beams=1, max_new_tokens=max_new_tokens)
        words = written[:, batch["input_ids"].shape[1] :]  # (B, S)
        states = torch.stack([one[:, -1] for one in seen[-words.shape[1] :]], dim=1).float()  # (B, S, H)
        kept = self._spoken(words)
        texts = tokenizer.batch_decode(words, skip_special_tokens=True)
        means = (states * kept[..., None]).sum(dim=1) / kept.sum(dim=1, keepdim=True)
        return [Described(text.strip(), _direction(mean)) for text, mean in zip(texts, means, strict=True)]

    def encode(self, sentence: str) -> Tensor:
        """Reads a sentence, without a picture.

        Returns:
            (H,) float32 of length 1: the mean of the last hidden states at its tokens.

        Raises:
            ValueError: A state is no number, or the sentence is empty.
        """
        batch = self.processor.tokenizer(sentence, return_tensors="pt", return_special_tokens_mask=True)
        special = batch.pop("special_tokens_mask")[0].bool()
        if special.all():
            raise ValueError(f"the sentence {sentence!r} has no words")
        with torch.inference_mode(), self._states() as seen:
            self.model(**self._placed(batch), use_cache=False)
        feature = _direction(seen[-1][0].float()[~special.to(seen[-1].device)].mean(dim=0))
        if feature is None:
            raise ValueError(f"the sentence {sentence!r}: {NO_STATE}")
        return feature

    def _prompt(self, question: str) -> str:
        settings = {"enable_thinking": False} if "enable_thinking" in self.processor.chat_template else {}
        content = [{"type": "image"}, {"type": "text", "text": question}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False, **settings
        )

    def _begins_with_bos(self, prompt: str) -> bool:
        bos = getattr(self.processor.tokenizer, "bos_token", None)
        return bool(bos and prompt.startswith(bos))

    def _placed(self, batch: Any) -> dict[str, Tensor]:
        return {
            name: value.to(self.model.device, self.model.dtype if value.is_floating_point() else None)
            for name, value in batch.items()
        }

    def _spoken(self, words: Tensor) -> Tensor:
        """Marks the words before the end of each answer, (B, S); of an empty answer, its first place."""
        ends = self.model.generation_config.eos_token_id
        ended = torch.zeros_like(words, dtype=torch.bool)
        for end in ends if isinstance(ends, list) else [ends]:
            if end is not None:
                ended |= words == end
        kept = ended.cumsum(dim=1) == 0
        kept[:, 0] |= ~kept.any(dim=1)
        return kept

    @contextlib.contextmanager
    def _states(self) -> Iterator[list[Tensor]]:
        """Collects the input of the language-model head at every pass, (B, T, H) each."""
        seen: list[Tensor] = []
        head = self.model.get_output_embeddings()
        handle = head.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
        try:
            yield seen
        finally:
            handle.remove()


def _direction(state: Tensor) -> Tensor | None:
    """Brings a state to length 1, on the CPU; None for one that is no number, or zero."""
    length = state.norm()
    return (state / length).cpu() if length.isfinite() and length >= 1e-8 else None
