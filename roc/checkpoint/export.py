"""Other forms of a trained checkpoint: merged, the head alone, the published layout and back; and upload to a hub.

The forms for vLLM stand in `roc.checkpoint.vllm`; `roc export` makes them all.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from roc.checkpoint.head_file import ROC_FILE, mirror_note, read_extensions, read_head, refuse_extensions, write_head
from roc.model.declaration import Declaration, declaration_of, declares_head
from roc.model.personal import base_of, is_personal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

logger = logging.getLogger(__name__)

# What a run leaves beside its checkpoint; its report shows images of the data.
_NOT_FOR_HUBS = ("training/*", "scenes/*", "plots/*", "run.json", "metrics.txt", "predictions.csv", "report.html")

_HEAD_USAGE = """The weight (N, H) reads the input of the language-model head at the position that predicts `[SCORE]`:

```python
import json
import numpy as np
from safetensors.numpy import load_file

weight, about = load_file("score_head.safetensors")["score_head.weight"], json.load(open("roc.json"))
logits = hidden_states @ weight.T  # (..., H) -> (..., N), float32
probabilities = np.exp(logits - logits.max(-1, keepdims=True))
probabilities /= probabilities.sum(-1, keepdims=True)
scores = probabilities @ np.array({levels})
```"""
_OWN_LEVELS = 'about["attribute_levels"][NAME]'
"""Levels of the attribute called NAME, where attributes have ranges of their own."""


def merge(checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None) -> None:
    """Adds an adapter, or a personal head, into its base and writes a full checkpoint.

    Args:
        checkpoint: Folder or hub id of an adapter, or the file of a personal head; a QLoRA adapter is merged into the
            unquantised base.
        out: New folder.
        base: Where the base lies now; None = where it was when the adapter was trained.

    Raises:
        ValueError: If `checkpoint` is a full checkpoint, `out` is not empty, or the base does not fit.
    """
    from roc.checkpoint.folder import is_adapter, save

    check_new(out)
    if not is_adapter(checkpoint) and not is_personal(checkpoint):
        raise ValueError(
            f"{checkpoint} is neither an adapter nor a personal head, so there is nothing to merge: a full checkpoint "
            "can be used, copied and uploaded as it is."
        )
    model, processor = load_merged(checkpoint, base)
    save(model, processor, out)
    write_export_card(checkpoint, out, model.declaration)


def head_only(checkpoint: str | os.PathLike, out: str | os.PathLike) -> None:
    """Writes the head's weight (N, H) and what it means, without loading the model.

    Args:
        checkpoint: Folder or hub id of a full checkpoint or an adapter.
        out: New folder; gets `score_head.safetensors`, `roc.json` and README.md.

    Raises:
        ValueError: If the checkpoint carries no head, has an extension, or `out` is not empty.
    """
    check_new(out)
    declaration, weight = read_head(checkpoint)
    refuse_extensions(read_extensions(checkpoint))
    write_head(out, declaration, weight)
    levels = _OWN_LEVELS if declaration.space.attribute_ranges else 'about["levels"]'
    parts = (_HEAD_USAGE.replace("{levels}", levels), mirror_note(declaration))
    write_export_card(checkpoint, out, declaration, usage="\n\n".join(filter(None, parts)))


def to_roc(checkpoint: str | os.PathLike, out: str | os.PathLike) -> None:
    """Writes a published ROC4MLLM checkpoint in roc's layout, tensor by tensor, in the dtypes of its files.

    The rows of the score levels become the head, in float32. What roc's layout has no place for is kept in
    `published_extras.safetensors`, so that `to_published` gives the same checkpoint again.

    Args:
        checkpoint: Folder or hub id of a published checkpoint.
        out: New folder.

    Raises:
        ValueError: If `checkpoint` is no published checkpoint, its files contradict each other, or `out` is not empty.
    """
    from huggingface_hub import save_torch_state_dict
    from transformers import GenerationConfig

    from roc.model.mplug_owl2 import published
    from roc.model.processing import load_processor, save_processor

    check_new(out)
    converted = published.read(checkpoint)
    processor = load_processor(checkpoint)
    converted.config.save_pretrained(out)
    if published.find(checkpoint, "generation_config.json"):
        GenerationConfig.from_pretrained(checkpoint).save_pretrained(out)
    save_torch_state_dict(converted.weights, out, metadata={"format": "pt"})
    published.write_extras(out, checkpoint, converted)
    save_processor(processor, out)
    write_export_card(checkpoint, out, declaration_of(converted.config))


def to_published(
    checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None
) -> None:
    """Writes an mPLUG-Owl2 that carries the head in the layout of the published code.

    What `to_roc` wrote becomes what it was, file by file. A model that was trained here has no extras: the level rows
    of its input embedding, which no input reads, are the mean row that the published code would start them with. Where
    the weights are in half precision, the head is rounded with them, and kept in full beside them for `roc.load`.

    The published code asks its own question, pads every image, reads no mirror image and only the first score of an
    answer, whatever the checkpoint was trained on here.

    Args:
        checkpoint: Folder or hub id of a full checkpoint or an adapter.
        out: New folder.
        base: For an adapter, where its base lies now.

    Raises:
        ValueError: If the checkpoint carries no head, is no mPLUG-Owl2 or in the published layout already, or `out` is
            not empty.
    """
    from roc.checkpoint.folder import is_adapter, read_config
    from roc.model.mplug_owl2 import published
    from roc.model.processing import load_processor

    check_new(out)
    if published.published_config(checkpoint) is not None:
        raise ValueError(f"{checkpoint} is in the published layout already")
    model, processor = (
        load_merged(checkpoint, base) if is_adapter(checkpoint) or is_personal(checkpoint) else (None, None)
    )
    config = read_config(checkpoint) if model is None else model.config
    if config.model_type != "mplug_owl2" or not declares_head(config):
        raise ValueError(f"{checkpoint} is no mPLUG-Owl2 with a score head, and the published code runs no other model")
    calibration = declaration_of(config).calibration
    if calibration is not None and calibration.moves_scores:
        raise ValueError(
            f"{checkpoint} is calibrated with a temperature or onto another rating scale, for which the published "
            "layout has no place; export it before it is calibrated"
        )
    if declaration_of(config).score_flip:
        logger.warning(
            "%s scores photo and mirror image; the published code reads the photo alone, so its scores will differ",
            checkpoint,
        )
    if model is None:
        weights, processor = published.read_weights(checkpoint).tensors, load_processor(checkpoint, config=config)
        published.write(out, config, weights, processor, source=checkpoint)
    else:
        published.write(out, config, model.state_dict(), processor)


def check_uploadable(folder: str | os.PathLike) -> None:
    """Makes sure that a folder can be uploaded as it is.

    Raises:
        ValueError: If it is no folder, or neither a checkpoint nor an export of roc.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"only a folder can be uploaded as it is; {folder} is none")
    if not (folder / ROC_FILE).exists():
        read_head(folder)


def push(folder: str | os.PathLike, repo_id: str, *, private: bool = False) -> str:
    """Uploads a folder to a hub.

    Args:
        folder: A checkpoint or an export; what a training run left beside its checkpoint is not uploaded.
        repo_id: `organisation/name`; made if it is not there.
        private: Whether a new repository is private; an existing one stays as it is.

    Returns:
        Address of the repository.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    repo = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(
        repo_id=repo.repo_id,
        folder_path=folder,
        ignore_patterns=list(_NOT_FOR_HUBS),
        commit_message="Upload a checkpoint of roc",
    )
    return str(repo)


def check_new(out: str | os.PathLike) -> None:
    """Makes sure that an export goes into a new or empty folder.

    Raises:
        ValueError: If it does not.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already and not empty; name a new folder")


def load_merged(
    checkpoint: str | os.PathLike, base: str | os.PathLike | None
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Loads the model that carries the head, an adapter merged into its base, and its processor."""
    from roc.checkpoint.folder import is_adapter, load
    from roc.model.adapters import merged

    if not is_adapter(base if is_personal(checkpoint) and base else base_of(checkpoint)):
        return load(checkpoint, base=base)
    model, processor = load(checkpoint, base=base, quantized=False)
    return merged(model), processor


def write_export_card(
    checkpoint: str | os.PathLike, out: str | os.PathLike, declaration: Declaration, usage: str | None = None
) -> None:
    """Writes the card of an export; it scores as the checkpoint does, so the checkpoint's metrics hold."""
    from roc.checkpoint.card import write_card
    from roc.model.mplug_owl2.published import read_json

    metrics = {} if is_personal(checkpoint) else read_json(checkpoint, "metrics.json") or {}
    write_card(out, declaration, adapter=False, metrics=metrics if "srcc" in metrics else None, usage=usage)
