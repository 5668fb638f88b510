"""Score heads for multimodal language models: a position token says that a score stands here, a head says which one.

The public names load on first use, so `import roc` is instant and needs no torch.
"""

from importlib import import_module

__version__ = "0.1.0"

# Public name -> file it lives in. No file or folder of the package may bear a public name: importing `roc/X.py` sets
# `roc.X` to the module, which would replace the function or class of that name.
_PUBLIC = {
    "Assessment": "scoring.assessment",
    "ScoreSpace": "score_space",
    "Record": "data.records",
    "RocCollator": "model.collator",
    "attach": "model.attachment",
    "load": "checkpoint.folder",
    "load_processor": "model.processing",
    "score_frame": "scoring.frame",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'roc' has no attribute {name!r}; its public names are {', '.join(_PUBLIC)}")
    value = getattr(import_module(f"roc.{_PUBLIC[name]}"), name)
    globals()[name] = value  # later look-ups no longer come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
