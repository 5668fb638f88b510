"""Loading and saving processors, with or without torchvision.

Processors of families that also take video (Qwen-VL, InternVL, SmolVLM, ...) ask for a video processor, and the video
processor asks for torchvision. Images alone need neither, so where torchvision is missing the processor is loaded as a
subclass without the video part. What such a processor saves still holds the original video settings, so that the folder
loads on a machine with torchvision too.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import types
from pathlib import Path

from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.processing_utils import PROCESSOR_NAME
from transformers.utils import is_torchvision_available

_VIDEO = "video_processor"


@functools.cache
def image_only(cls: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """`cls` without its video processor; `cls` itself where it has none.

    `transformers` derives a processor's parts from the names in its `__init__` (and reads them from the code object),
    so the subclass needs a real function with the same names less `video_processor`.
    """
    parameters = inspect.signature(cls.__init__).parameters
    if _VIDEO not in parameters:
        return cls
    named = [
        p
        for n, p in parameters.items()
        if n not in ("self", _VIDEO) and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    defaults = {p.name: p.default for p in named if p.default is not p.empty}
    head = ", ".join(f"{p.name}=_defaults[{p.name!r}]" if p.name in defaults else p.name for p in named)
    passed = ", ".join(f"{p.name}={p.name}" for p in named)
    scope = {"_defaults": defaults, "_base": cls, "_video": _VIDEO}
    exec(
        f"def __init__(self, {head}, **kwargs):\n    _base.__init__(self, {passed}, **{{_video: None}}, **kwargs)\n",
        scope,
    )
    # Some processors read settings of the video processor even for images; none of these values is used for an image.
    placeholder = types.SimpleNamespace(num_frames=1, fps=1, merge_size=1, model_input_names=[])
    return type(
        cls.__name__, (cls,), {"__init__": scope["__init__"], "__module__": cls.__module__, _VIDEO: placeholder}
    )


def load_processor(path: str | os.PathLike, **kwargs) -> ProcessorMixin:
    """The processor of a checkpoint, for images and text.

    Args:
        path: folder or hub id.
        **kwargs: passed to `from_pretrained` (`revision`, `token`, ...).

    Raises:
        ValueError: where the checkpoint has a tokenizer only, or no processor at all.
    """
    if not is_torchvision_available() and (found := _video_processor_class(path, **kwargs)) is not None:
        cls, processor_dict = found
        processor = image_only(cls).from_pretrained(path, **kwargs)
        processor.roc_video_settings = processor_dict.get(_VIDEO)
        return processor
    processor = AutoProcessor.from_pretrained(path, **kwargs)
    if isinstance(processor, PreTrainedTokenizerBase) or getattr(processor, "tokenizer", None) is None:
        raise ValueError(
            f"{path} holds a {type(processor).__name__}, not a processor for images and text; roc needs a multimodal "
            "checkpoint with processor_config.json or preprocessor_config.json beside its tokenizer."
        )
    return processor


def save_processor(processor: ProcessorMixin, path: str | os.PathLike) -> None:
    """Writes the processor so that it loads with and without torchvision."""
    processor.save_pretrained(path)
    video_settings = getattr(processor, "roc_video_settings", None)
    if video_settings is not None:
        file = Path(path) / PROCESSOR_NAME
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings.pop("roc_video_settings", None)
        settings[_VIDEO] = video_settings
        file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _video_processor_class(path: str | os.PathLike, **kwargs) -> tuple[type[ProcessorMixin], dict] | None:
    """The processor class that `path` names and its settings, if that class wants a video processor."""
    try:
        processor_dict, _ = ProcessorMixin.get_processor_dict(path, **kwargs)
    except OSError:
        processor_dict = {}
    name = processor_dict.get("processor_class")
    if name is None:
        name = AutoTokenizer.from_pretrained(path, **kwargs).init_kwargs.get("processor_class")
    cls = processor_class_from_name(name) if name else None
    if cls is None or _VIDEO not in inspect.signature(cls.__init__).parameters:
        return None
    return cls, processor_dict
