"""Exports for vLLM: a classifier over the score levels, or the plain model for text.

vLLM turns any generative model into a classifier with one linear layer `score` on the hidden state of the last token.
That is the score head under another name, so the export is a renamed tensor, a plain config, and the exact prompt whose
last token predicts `[SCORE]`. Weights are written under the names that a stock `save_pretrained` gives them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.checkpoint.export import check_new, load_merged, write_export_card
from roc.checkpoint.head_file import ROC_FILE, meaning, mirror_note, take_head, write_head
from roc.files import write_json
from roc.model.declaration import Declaration

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin


def vllm_classify(
    checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None
) -> None:
    """Writes what vLLM serves as a classifier over the levels (`--runner pooling --convert classify`).

    That is a plain checkpoint with `num_labels` levels, and beside it the classifier's weight, under the name at which
    vLLM looks for it in this family. `roc.json` holds the levels and the prompt; README.md shows how to start vLLM and
    how to turn its probabilities into scores. If some text gives exactly the prompt tokens that the head was trained
    after, it becomes the chat template of the folder, so that a request consists of the image alone.

    Args:
        checkpoint: Folder or hub id of a full checkpoint or an adapter.
        out: New folder.
        base: For an adapter, where its base lies now.

    Raises:
        ValueError: If the checkpoint carries no head, `out` is not empty, the model is a prefix-LM, or it has no
            language model.
    """
    from roc.model.families import family
    from roc.model.processing import save_processor

    check_new(out)
    model, processor = _load_language_model(checkpoint, base)
    row = family(model.config.model_type)
    if row.prefix_lm:
        raise ValueError(
            f"{checkpoint} is a prefix-LM ({model.config.model_type}): a server cannot be told where the prompt ends "
            "and the answer begins, and would give other scores; use roc.Assessment."
        )
    declaration, head = take_head(model)
    levels = [f"{level:g}" for level in declaration.space.levels]
    # By version and family, vLLM reads the number of labels from the whole configuration or from its text section.
    for config in {id(config): config for config in (model.config, model.config.get_text_config())}.values():
        config.num_labels = len(levels)
        config.id2label = dict(enumerate(levels))
        config.label2id = {level: i for i, level in enumerate(levels)}
        config.problem_type = "single_label_classification"  # softmax
    request = _request(processor, declaration)
    if request["prompt"] is not None:
        # json.dumps quotes a string as Jinja reads it.
        processor.chat_template = "{{ " + json.dumps(request["prompt"], ensure_ascii=False) + " }}"
    model.save_pretrained(out)
    save_processor(processor, out)
    _add_tensor(Path(out), row.vllm_score, head.weight)
    write_json(Path(out) / ROC_FILE, {**meaning(declaration), **request})
    write_export_card(checkpoint, out, declaration, usage=_classify_usage(declaration, request))


def vllm_generate(
    checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None
) -> None:
    """Writes the plain model, for text.

    vLLM refuses a checkpoint with tensors it does not know, so the head goes into the subfolder `score_head`, as
    `head_only` writes it.

    Args:
        checkpoint: Folder or hub id of a full checkpoint or an adapter.
        out: New folder.
        base: For an adapter, where its base lies now.

    Raises:
        ValueError: If the checkpoint carries no head, `out` is not empty, or the model has no language model.
    """
    from roc.model.processing import save_processor

    check_new(out)
    model, processor = _load_language_model(checkpoint, base)
    declaration, head = take_head(model)
    model.save_pretrained(out)
    save_processor(processor, out)
    write_head(Path(out) / "score_head", declaration, head.weight)
    write_export_card(checkpoint, out, declaration, usage=_GENERATE_USAGE)


def _load_language_model(
    checkpoint: str | os.PathLike, base: str | os.PathLike | None
) -> tuple[PreTrainedModel, ProcessorMixin]:
    model, processor = load_merged(checkpoint, base)
    if not model.can_generate():
        raise ValueError(
            f"{checkpoint} is a {model.config.model_type} without a language model, and vLLM serves language models; "
            "use roc serve."
        )
    return model, processor


def _request(processor: ProcessorMixin, declaration: Declaration) -> dict[str, Any]:
    """Finds what to send with an image so that the server sees exactly the tokens that the head is read after.

    Returns:
        `prompt`: Text that gives these tokens when no special tokens are added; None if no text does.
        `prompt_token_ids`: The tokens; the image mark stands once, not expanded.
        `positions`: For each attribute, the token whose hidden state predicts its `[SCORE]`, counted from the end.
    """
    from PIL import Image

    from roc.model.collator import RocCollator

    collator, tokenizer = RocCollator(processor, declaration), processor.tokenizer
    picture = Image.new("RGB", (64, 64), "gray")
    wanted = collator.scoring_batch([picture])["input_ids"][0].tolist()

    asked = collator.prompt(declaration.question)
    bos = tokenizer.bos_token or ""
    answer = collator.answer_ids
    ends = [i for i, token in enumerate(answer) if token == declaration.token_id]
    prefix = answer[: ends[-1]]
    begun = declaration.answer[: declaration.answer.rindex(declaration.token)]
    ids = collator.prompt_ids() + prefix

    def gives_them(text: str) -> bool:
        encoded = processor(text=[text], images=[[picture]], add_special_tokens=False, return_tensors="pt")
        return encoded["input_ids"][0].tolist() == wanted

    # Prompt and answer were tokenised apart. To give the same tokens, some tokenizers need a space between them, and
    # some drop the space before an added token.
    texts = [
        start + asked + space + end for start in ("", bos) for space in ("", " ") for end in (begun, begun.rstrip())
    ]
    return {
        "prompt": next(filter(gives_them, dict.fromkeys(texts)), None),
        "prompt_token_ids": ids,
        "positions": dict(zip(declaration.attributes, [end - len(prefix) - 1 for end in ends], strict=True)),
    }


def _add_tensor(folder: Path, name: str, weight: torch.Tensor) -> None:
    """Adds a tensor to a saved checkpoint, in a file of its own, since `save_pretrained` would rename it."""
    from safetensors.torch import save_file

    file, index = "score.safetensors", folder / "model.safetensors.index.json"
    save_file({name: weight.detach().cpu().contiguous()}, folder / file, metadata={"format": "pt"})
    if index.exists():  # of a sharded checkpoint only the files in the index are read
        content = json.loads(index.read_text(encoding="utf-8"))
        content["weight_map"][name] = file
        write_json(index, content)


_GENERATE_USAGE = """Text with vLLM; no score is read, and `[SCORE]` stays in the text where a score would stand:

```bash
vllm serve THIS_FOLDER
```

The head lies in `score_head/`: `score_head.safetensors` and `roc.json`."""


_SERVE = """As a server; the chat template of this folder is the whole prompt, so a request consists of the image:

```bash
vllm serve THIS_FOLDER --runner pooling --convert classify {option}--served-model-name scores
```

```python
import base64, json, requests

about = json.load(open("THIS_FOLDER/roc.json"))
picture = base64.b64encode(open("photo.jpg", "rb").read()).decode()
content = [{{"type": "image_url", "image_url": {{"url": f"data:image/jpeg;base64,{{picture}}"}}}}]
request = {{"model": "scores", "messages": [{{"role": "user", "content": content}}]{task}}}
reply = requests.post("http://localhost:8000/{path}", json=request).json()["data"][0]
{read}
```"""

_OFFLINE = """Without a server:

```python
import json
from PIL import Image
from vllm import LLM
{imports}
about = json.load(open("THIS_FOLDER/roc.json"))
llm = LLM("THIS_FOLDER", runner="pooling", convert="classify"{setting})
picture = Image.open("photo.jpg").convert("RGB")
prompt = {{"prompt_token_ids": about["prompt_token_ids"], "multi_modal_data": {{"image": picture}}}}
output = {call}[0].outputs
{read}
```"""

_READ_ONE = """print(sum(p * level for p, level in zip({probs}, {levels})))"""
_READ_MANY = """for name, position in about["positions"].items():  # counted from the end
    print(name, sum(p * level for p, level in zip({probs}[position], {levels})))"""


def _classify_usage(declaration: Declaration, request: Mapping[str, Any]) -> str:
    """Writes how to start vLLM and turn its probabilities into scores; each attribute is read at a token of its own."""
    if len(declaration.attributes) == 1:
        where, read = "the last token of the prompt in `roc.json`", _READ_ONE
        levels = 'about["levels"]'
        served = {"option": "", "task": "", "path": "classify", "probs": 'reply["probs"]'}
        called = {"imports": "", "setting": "", "call": "llm.classify(prompt)", "probs": "output.probs"}
    else:
        where, read = "each token of the prompt in `roc.json`; those at `positions` are read", _READ_MANY
        levels = 'about["attribute_levels"][name]' if declaration.space.attribute_ranges else 'about["levels"]'
        served = {
            "option": """--pooler-config '{"task": "token_classify"}' """,
            "task": ', "task": "token_classify"',
            "path": "pooling",
            "probs": 'reply["data"]',
        }
        called = {
            "imports": "from vllm.config import PoolerConfig\n",
            "setting": ', pooler_config=PoolerConfig(task="token_classify")',
            "call": 'llm.encode(prompt, pooling_task="token_classify")',
            "probs": "output.data.tolist()",
        }
    pads = declaration.image_aspect_ratio == "pad"
    parts = [
        f"vLLM gives the probability of each level at {where}. The next token there would be `[SCORE]`; the score is "
        "the mean of the levels. Should vLLM find no module for the tensor in `score.safetensors`, this family keeps "
        "its classifier elsewhere: rename the tensor to the name it offers."
    ]
    if declaration.max_pixels is not None:
        parts.append(
            f"Scale images of more than {declaration.max_pixels} pixels{' (padded)' if pads else ''} down first, as in "
            f"training: `image.resize(roc.data.augment.scaled_size(image.size, {declaration.max_pixels}"
            f"{', padded=True' if pads else ''}), Image.Resampling.BICUBIC)`."
        )
    if pads:
        parts.append("Pad images to a square first, as in training: `roc.data.augment.pad_to_square`.")
    if note := mirror_note(declaration):
        parts.append(note)
    if request["prompt"] is None:
        parts.append("No text gives exactly the tokens this head was trained after, so a server cannot be asked.")
    else:
        parts.append(_SERVE.format(**served, read=read.format(probs=served["probs"], levels=levels)))
    parts.append(_OFFLINE.format(**called, read=read.format(probs=called["probs"], levels=levels)))
    return "\n\n".join(parts)
