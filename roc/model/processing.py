"""Loading and saving processors, with or without torchvision.

Processors of families that also take video (Qwen-VL, InternVL, SmolVLM, ...) need a video processor, and the video
processor needs torchvision. Images need neither, so without torchvision the processor is loaded as a subclass without
the video part. Such a processor still saves the original video settings, so that the folder also loads on a machine
with torchvision.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import importlib
import importlib.util
import inspect
import os
import sys
from pathlib import Path

from jinja2 import Environment, TemplateSyntaxError, meta
from transformers import AutoConfig, AutoProcessor, PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.models.auto.video_processing_auto import get_video_processor_config
from transformers.utils import is_torchvision_available

from roc.model.personal import base_of

_VIDEO = "video_processor"


def processor_class(name: str) -> type[ProcessorMixin] | None:
    """Looks up a processor class of `transformers`, in the form that works for images here; None if there is none.

    Without torchvision it is the class without its video part. If the class itself needs torchvision, it is a
    placeholder that says so when it is used.
    """
    cls = processor_class_from_name(name)
    if cls is None or is_torchvision_available():
        return cls
    if getattr(cls, "is_dummy", False):
        return _with_pillow_helpers(cls)
    return image_only(cls)


def _with_pillow_helpers(placeholder: type) -> type[ProcessorMixin]:
    """Returns the class behind a placeholder, if importing its file is all that torchvision is needed for.

    Pixtral's processor imports one helper, arithmetic on sizes, from the file of its torchvision image processor. The
    file of its Pillow image processor has the same helper, so it stands in while the class is imported.
    """
    family = placeholder.__module__.rpartition("processing_")[2]
    package = f"transformers.models.{family}"
    pillow_file, torchvision_file = (f"{package}.image_processing_{name}" for name in (f"pil_{family}", family))
    if importlib.util.find_spec(pillow_file) is None:
        return placeholder
    sys.modules[torchvision_file] = importlib.import_module(pillow_file)
    try:
        module = importlib.import_module(f"{package}.processing_{family}")
    finally:
        del sys.modules[torchvision_file]
    cls = getattr(module, placeholder.__name__)
    copyreg.pickle(cls, _reduce)  # another process cannot import its file either
    return image_only(cls)


class _NoVideo:
    """In the place of a video processor: some processors read its settings even for images, without using them."""

    num_frames = fps = merge_size = 1
    model_input_names: tuple[str, ...] = ()
    slice_mode = False
    downsample_mode = ""
    font = ""  # copied beside a saved processor if there is such a file


class _WithoutVideo(ProcessorMixin):
    """Base of the classes of `image_only`: takes the parts that a processor hands on, and leaves the video part out.

    It stands right before `ProcessorMixin` in the order of classes. A processor hands its parts on by name or by
    position, in the order of its own parameters, so the positions are those of the class with its video part.
    """

    roc_parts: list[str]

    def __init__(self, *args, **kwargs) -> None:
        kwargs |= dict(zip(self.roc_parts, args, strict=False))
        kwargs.pop(_VIDEO, None)
        super().__init__(**kwargs)


@functools.cache
def image_only(cls: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """Makes a subclass of a processor class without the video processor; returns `cls` itself if it has none.

    `transformers` derives the parts of a processor from the parameter names of its `__init__`, which it reads from the
    code object, so the subclass needs a real function with the same names except `video_processor`.
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

    def to_dict(self) -> dict:
        settings = cls.to_dict(self)
        return {**settings, _VIDEO: self.roc_video_settings} if self.roc_video_settings else settings

    members = {
        "__init__": scope["__init__"],
        "__module__": cls.__module__,
        "to_dict": to_dict,
        "roc_video_settings": {},
        "roc_parts": cls.get_attributes(),
        _VIDEO: _NoVideo(),
    }
    made = type(cls.__name__, (cls, _WithoutVideo), members)
    copyreg.pickle(made, _reduce)
    return made


def _reduce(processor: ProcessorMixin) -> tuple:
    """Pickles a processor whose class another process has to make first, as spawned loader workers do."""
    return _empty, (type(processor).__name__,), processor.__dict__


def _empty(name: str) -> ProcessorMixin:
    cls = image_only(processor_class(name))
    return cls.__new__(cls)


def load_processor(path: str | os.PathLike, *, config: PreTrainedConfig | None = None, **kwargs) -> ProcessorMixin:
    """Loads the processor of a checkpoint, for images and text.

    With torchvision it is what `AutoProcessor` loads, video part included. Without torchvision, or where the checkpoint
    has no video settings, it is the same class for images alone.

    Args:
        path: Folder or hub id, or the file of a personal head, which has that of its checkpoint.
        config: The model's configuration, if it was read already; None = read here if it is needed.
        **kwargs: Passed to `from_pretrained` (`revision`, `token`, ...).

    Raises:
        ValueError: If the checkpoint has only a tokenizer or no processor at all, or its processor needs a package that
            is not installed.
    """
    import roc.model.mplug_owl2  # noqa: F401  the Auto classes know it from here on

    path = base_of(path)
    name = _class_name(path, config, **kwargs)
    kwargs["trust_remote_code"] = False  # asked otherwise, transformers waits for an answer on a terminal
    # Pixtral's passes whatever it is given on to its tokenizer, which would save it.
    kwargs = kwargs if config is None or name == "PixtralProcessor" else {**kwargs, "config": config}
    try:
        cls = processor_class(name) if name else None
        video_settings = get_video_processor_config(path, **kwargs)
        if cls is not None and not (is_torchvision_available() and video_settings):
            processor = image_only(cls).from_pretrained(path, **kwargs)
            if hasattr(cls, "roc_video_settings"):
                processor.roc_video_settings = video_settings
        else:
            processor = AutoProcessor.from_pretrained(path, **kwargs)
    except OSError:
        raise
    except Exception as error:  # transformers, tokenizers and huggingface_hub raise errors of many kinds
        if isinstance(error, ImportError) or "orchvision" in str(error):
            raise ValueError(_missing_package(path, name, error)) from error
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(
            f"The processor of {path} cannot be used: {reason.rstrip('.')}. roc runs no code out of a checkpoint; copy "
            "the processor's and the tokenizer's files again from where they were written."
        ) from error
    if isinstance(processor, PreTrainedTokenizerBase) or getattr(processor, "tokenizer", None) is None:
        raise ValueError(
            f"{path} holds a {type(processor).__name__}, not a processor for images and text; roc needs a multimodal "
            "checkpoint with processor_config.json or preprocessor_config.json beside its tokenizer."
        )
    if getattr(processor, "chat_template", None) is None:  # some classes write the file and do not read it
        with contextlib.suppress(OSError):
            processor.chat_template = ProcessorMixin.get_processor_dict(path, **kwargs)[0].get("chat_template")
    return processor


def read_chat_template(path: str | os.PathLike) -> str:
    """Reads a chat template from a file.

    Args:
        path: A Jinja file.

    Raises:
        ValueError: If it cannot be read, or is no template of a conversation.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        names = meta.find_undeclared_variables(Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text))
    except (OSError, UnicodeDecodeError, TemplateSyntaxError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"The chat template {path} cannot be read: {reason}; expected a Jinja file.") from error
    if "messages" not in names:
        raise ValueError(
            f"{path} is no chat template: it uses no `messages`. Expected a Jinja file that lays out the turns of a "
            "conversation, such as the chat_template.jinja of a checkpoint."
        )
    return text


def save_processor(processor: ProcessorMixin, path: str | os.PathLike) -> None:
    """Saves the processor so that it loads with and without torchvision."""
    processor.save_pretrained(path)


def _missing_package(path: object, name: str | None, error: Exception) -> str:
    hint = "torchvision must come from the index that torch came from. " if "orchvision" in str(error) else ""
    return f"The processor of {path} ({name}) needs a package that is not installed here. {hint}{str(error).strip()}"


def _class_name(path: str | os.PathLike, config: PreTrainedConfig | None, **kwargs) -> str | None:
    """Finds the name of the processor class in the places, and in the order, in which `AutoProcessor` looks."""
    for read in (ProcessorMixin.get_processor_dict, ImageProcessingMixin.get_image_processor_dict):
        try:
            settings, _ = read(path, **kwargs)
        except OSError:
            continue
        if settings.get("processor_class"):
            return settings["processor_class"]
    name = get_tokenizer_config(path, **kwargs).get("processor_class")
    if name:
        return name
    config = AutoConfig.from_pretrained(path, trust_remote_code=False, **kwargs) if config is None else config
    return PROCESSOR_MAPPING_NAMES.get(config.model_type)
