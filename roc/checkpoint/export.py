"""Handing a trained checkpoint on: merged, for vLLM, as the head alone, in the published layout, or to a hub.

    roc export ADAPTER --merge OUT               adapter + base -> one full checkpoint
    roc export CHECKPOINT --vllm-classify OUT    vLLM's classifier: probabilities of the levels, one pass, no text
    roc export CHECKPOINT --vllm-generate OUT    vLLM's generator: text; the head in a subfolder
    roc export CHECKPOINT --head-only OUT        the head's weight and what it means, for numpy
    roc export PUBLISHED --to-roc OUT            a published ROC4MLLM checkpoint in our layout
    roc export CHECKPOINT --to-published OUT     and back, of an mPLUG-Owl2, for the published code
    roc export CHECKPOINT --push_to_hub ORG/NAME the checkpoint as it is

vLLM turns any generative model into a classifier that has one linear layer `score` on the hidden state of the last
token. That is the score head under another name, so an export is a renamed tensor, a plain config, and the exact prompt
whose last token predicts `[SCORE]`. Weights are written under the names a stock `save_pretrained` gives them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roc.model.declaration import Declaration, declaration_of, declares_head

HEAD_FILE, HEAD_KEY = "score_head.safetensors", "score_head.weight"
ROC_FILE = "roc.json"

# What a run leaves beside its checkpoint; its report shows pictures of the data.
_NOT_FOR_HUBS = ("training/*", "scenes/*", "plots/*", "run.json", "metrics.txt", "predictions.csv", "report.html")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc export`.

    Args:
        argv: words after `roc export`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    words = [_with_underscores(word) for word in words]
    parser = argparse.ArgumentParser(
        prog="roc export",
        description="Writes a trained checkpoint in another form, and uploads it to a hub if asked to.",
        epilog="example: roc export checkpoints/mine --vllm-classify exported/mine",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint", help="folder or hub id of a full checkpoint or an adapter that roc wrote, or a published one"
    )
    forms = parser.add_mutually_exclusive_group()
    for name, (_, text) in FORMS.items():
        forms.add_argument(f"--{name}", metavar="OUT", help=text)
    parser.add_argument("--base", help="of an adapter: where its base lies now; without it, where it lay in training")
    parser.add_argument(
        "--push_to_hub",
        metavar="ORG/NAME",
        help="upload OUT (or, without OUT, the checkpoint folder) with the account that `hf auth login` stored",
    )
    parser.add_argument("--private", action="store_true", help="make the hub repository private if it is new")
    given = parser.parse_args(words)
    form = next((name for name in FORMS if getattr(given, name) is not None), None)
    try:
        if form is None and given.push_to_hub is None:
            raise ValueError(f"say what to make: --{', --'.join(FORMS)}, or --push_to_hub; see --help")
        if form is None and given.base is not None:
            raise ValueError("--base says nothing about a folder that is uploaded as it is")
        if given.private and given.push_to_hub is None:
            raise ValueError("--private says nothing without --push_to_hub")
        folder = Path(given.checkpoint if form is None else getattr(given, form))
        if form is None and not folder.is_dir():
            raise ValueError(f"only a folder can be uploaded as it is; {folder} is none")
        if form is None and not (folder / ROC_FILE).exists():
            _read_head(folder)  # refuses what roc did not write
        if form is not None:
            FORMS[form][0](given.checkpoint, folder, base=given.base)
            print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
        if given.push_to_hub is not None:
            print(push(folder, given.push_to_hub, private=given.private))
    except (ValueError, OSError, ImportError) as error:
        print(f"roc export: {error}", file=sys.stderr)
        return 2
    return 0


def merge(checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None) -> None:
    """Adds an adapter into its base and writes a full checkpoint.

    Args:
        checkpoint: folder or hub id of an adapter; a QLoRA adapter is merged into the unquantised base.
        out: new folder.
        base: where the base lies now; None = where it was when the adapter was trained.

    Raises:
        ValueError: for a full checkpoint, an `out` that is not empty, or a base that does not fit.
    """
    from roc.checkpoint.folder import save
    from roc.model.adapters import is_adapter

    _check_new(out)
    if not is_adapter(checkpoint):
        raise ValueError(
            f"{checkpoint} is no adapter, so there is nothing to merge: a full checkpoint can be used, copied and "
            "uploaded as it is."
        )
    model, processor = _load_plain(checkpoint, base)
    save(model, processor, out)
    _write_card(checkpoint, out, model.declaration)


def vllm_classify(
    checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None
) -> None:
    """Writes what vLLM serves as a classifier over the levels (`--runner pooling --convert classify`).

    A plain checkpoint with `num_labels` levels, and beside it the classifier's weight, under the name at which vLLM
    looks for it in this family. `roc.json` holds the levels and the prompt; README.md shows how to start vLLM and to
    turn its probabilities into scores. Where the prompt can be written as text that gives exactly the tokens the head
    was trained after, it is made the chat template of the folder, so that a request consists of the picture alone.

    Args:
        checkpoint: folder or hub id of a full checkpoint or an adapter.
        out: new folder.
        base: of an adapter, where its base lies now.

    Raises:
        ValueError: where the checkpoint carries no head, `out` is not empty, or the model is a prefix-LM.
    """
    from roc.model.families import family
    from roc.model.processing import save_processor

    _check_new(out)
    model, processor = _load_plain(checkpoint, base)
    row = family(model.config.model_type)
    if row.prefix_lm:
        raise ValueError(
            f"{checkpoint} is a prefix-LM ({model.config.model_type}): a server cannot be told where the prompt ends "
            "and the answer begins, and would give other scores; use roc.Assessment."
        )
    declaration, head = _take_head(model)
    levels = [f"{level:g}" for level in declaration.space.levels]
    # vLLM reads the number of labels from the one or the other, by version and family.
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
    _write_json(Path(out) / ROC_FILE, {**_meaning(declaration), **request})
    _write_card(checkpoint, out, declaration, usage=_classify_usage(declaration, request))


def vllm_generate(
    checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None
) -> None:
    """Writes the plain model, for text.

    vLLM refuses a checkpoint with tensors it does not know, so the head goes into the subfolder `score_head`, as
    `head_only` writes it.

    Args:
        checkpoint: folder or hub id of a full checkpoint or an adapter.
        out: new folder.
        base: of an adapter, where its base lies now.

    Raises:
        ValueError: where the checkpoint carries no head or `out` is not empty.
    """
    from roc.model.processing import save_processor

    _check_new(out)
    model, processor = _load_plain(checkpoint, base)
    declaration, head = _take_head(model)
    model.save_pretrained(out)
    save_processor(processor, out)
    _write_head(Path(out) / "score_head", declaration, head.weight)
    _write_card(checkpoint, out, declaration, usage=_GENERATE_USAGE)


def head_only(checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None) -> None:
    """Writes the head's weight (N, H) and what it means, without loading the model.

    Args:
        checkpoint: folder or hub id of a full checkpoint or an adapter.
        out: new folder; gets `score_head.safetensors`, `roc.json` and README.md.
        base: not needed; here so that all forms are called alike.

    Raises:
        ValueError: where the checkpoint carries no head or `out` is not empty.
    """
    _check_new(out)
    declaration, weight = _read_head(checkpoint)
    _write_head(Path(out), declaration, weight)
    _write_card(checkpoint, out, declaration, usage=_HEAD_USAGE)


def to_roc(checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None) -> None:
    """Writes a published ROC4MLLM checkpoint in our layout, tensor by tensor, in the dtypes of its files.

    The rows of the score levels become the head, in float32. What our layout has no place for is kept in
    `published_extras.safetensors`, so that `to_published` gives the same checkpoint again.

    Args:
        checkpoint: folder or hub id of a published checkpoint.
        out: new folder.
        base: not needed; here so that all forms are called alike.

    Raises:
        ValueError: where `checkpoint` is no published checkpoint, its files contradict each other, or `out` is not
            empty.
    """
    from huggingface_hub import save_torch_state_dict
    from transformers import GenerationConfig

    from roc.model.mplug_owl2 import published
    from roc.model.processing import load_processor, save_processor

    _check_new(out)
    converted = published.read(checkpoint)
    processor = load_processor(checkpoint)
    converted.config.save_pretrained(out)
    if _find(checkpoint, "generation_config.json"):
        GenerationConfig.from_pretrained(checkpoint).save_pretrained(out)
    save_torch_state_dict(converted.weights, out, metadata={"format": "pt"})
    published.write_extras(out, checkpoint, converted)
    save_processor(processor, out)
    _write_card(checkpoint, out, declaration_of(converted.config))


def to_published(
    checkpoint: str | os.PathLike, out: str | os.PathLike, *, base: str | os.PathLike | None = None
) -> None:
    """Writes an mPLUG-Owl2 that carries the head in the layout of the published code.

    What `to_roc` wrote becomes what it was, file by file. A model that was trained here has no extras: the level rows
    of its input embedding, which no input reads, are the mean row that the published code would start them with. Where
    the weights are in half precision, the head is rounded with them, and kept in full beside them for `roc.load`.

    The published code asks its own question, pads every picture and reads the first score of an answer only, whatever
    the checkpoint was taught here.

    Args:
        checkpoint: folder or hub id of a full checkpoint or an adapter.
        out: new folder.
        base: of an adapter, where its base lies now.

    Raises:
        ValueError: where the checkpoint carries no head, is no mPLUG-Owl2 or in the published layout already, or `out`
            is not empty.
    """
    from roc.checkpoint.folder import read_config
    from roc.model.adapters import is_adapter
    from roc.model.mplug_owl2 import published
    from roc.model.processing import load_processor

    _check_new(out)
    if published.published_config(checkpoint) is not None:
        raise ValueError(f"{checkpoint} is in the published layout already")
    model, processor = _load_plain(checkpoint, base) if is_adapter(checkpoint) else (None, None)
    config = read_config(checkpoint) if model is None else model.config
    if config.model_type != "mplug_owl2" or not declares_head(config):
        raise ValueError(f"{checkpoint} is no mPLUG-Owl2 with a score head, and the published code runs no other model")
    if model is None:
        weights, processor = published.read_weights(checkpoint).tensors, load_processor(checkpoint)
        published.write(out, config, weights, processor, source=checkpoint)
    else:
        published.write(out, config, model.state_dict(), processor)


def push(folder: str | os.PathLike, repo_id: str, *, private: bool = False) -> str:
    """Uploads a folder to a hub.

    Args:
        folder: of a checkpoint or an export; what a run left beside its checkpoint stays here.
        repo_id: `organisation/name`; made if it is not there.
        private: whether it is made private; says nothing about one that is there already.

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


FORMS = {
    "merge": (merge, "an adapter and its base -> one full checkpoint"),
    "vllm_classify": (vllm_classify, "for vLLM's pooling runner: probabilities of the levels"),
    "vllm_generate": (vllm_generate, "for vLLM's generation: the plain model; the head in a subfolder"),
    "head_only": (head_only, "the head's weight and its levels, to recompute scores with numpy"),
    "to_roc": (to_roc, "a published ROC4MLLM checkpoint in our layout; what that cannot hold is kept beside it"),
    "to_published": (to_published, "an mPLUG-Owl2 with the head in the layout of the published code"),
}


def _with_underscores(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


# --- reading ---------------------------------------------------------------------------------------------------------


def _check_new(out: str | os.PathLike) -> None:
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already and not empty; name a new folder")


def _load_plain(checkpoint: str | os.PathLike, base: str | os.PathLike | None) -> tuple[Any, Any]:
    """The model without any adapter, carrying the head, and its processor; an adapter is merged."""
    from roc.checkpoint.folder import load
    from roc.model.adapters import is_adapter, merged

    if not is_adapter(checkpoint):
        return load(checkpoint, base=base)
    model, processor = load(checkpoint, base=base, quantized=False)
    return merged(model), processor


def _take_head(model: Any) -> tuple[Declaration, Any]:
    """Makes `model` an instance of its own stock class again; returns its declaration and its head."""
    declaration, head = model.declaration, model.score_head
    del model.score_head, model.config.roc
    model.__class__ = model.roc_base_class
    return declaration, head


def _read_head(checkpoint: str | os.PathLike) -> tuple[Declaration, Any]:
    """Reads the declaration, and the (N, H) weight from the one file that holds it."""
    from safetensors import safe_open
    from transformers import AutoConfig

    from roc.checkpoint.folder import ADAPTER_FILE
    from roc.model.adapters import is_adapter
    from roc.model.mplug_owl2 import published

    if published.published_config(checkpoint) is not None:
        converted = published.read(checkpoint)
        return declaration_of(converted.config), converted.weights[HEAD_KEY]
    if is_adapter(checkpoint):
        section = _read_json(checkpoint, ADAPTER_FILE).get("roc")
        file = _find(checkpoint, "adapter_model.safetensors")
    else:
        section = getattr(AutoConfig.from_pretrained(checkpoint), "roc", None)
        shards = _read_json(checkpoint, "model.safetensors.index.json").get("weight_map", {})
        file = _find(checkpoint, shards.get(HEAD_KEY, "model.safetensors"))
    if file is not None and section is not None:
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():
                if key.endswith(HEAD_KEY):
                    return Declaration.from_dict(section), tensors.get_tensor(key)
    raise ValueError(f"{checkpoint} carries no score head; name a checkpoint or an adapter that roc trained.")


def _find(checkpoint: str | os.PathLike, name: str) -> str | None:
    """Path of one file of a folder or hub id, None where it has none."""
    from transformers.utils import cached_file

    return cached_file(checkpoint, name, _raise_exceptions_for_missing_entries=False)


def _read_json(checkpoint: str | os.PathLike, name: str) -> dict[str, Any]:
    """Content of one JSON file of a folder or hub id, empty where it has none."""
    file = _find(checkpoint, name)
    return {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))


def _meaning(declaration: Declaration) -> dict[str, Any]:
    return {"levels": declaration.space.levels, "roc": declaration.to_dict()}


def _request(processor: Any, declaration: Declaration) -> dict[str, Any]:
    """What has to be sent with a picture so that the tokens are exactly those the head is read after.

    Returns:
        `prompt`: text that gives them, tokenised without adding special tokens; None where no text does.
        `prompt_token_ids`: the tokens, one image mark for the picture, not expanded.
        `positions`: for each attribute, the token whose hidden state predicts its `[SCORE]`, counted from the end.
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
    ids = tokenizer(asked, add_special_tokens=not (bos and asked.startswith(bos)))["input_ids"] + prefix

    def gives_them(text: str) -> bool:
        encoded = processor(text=[text], images=[[picture]], add_special_tokens=False, return_tensors="pt")
        return encoded["input_ids"][0].tolist() == wanted

    # Prompt and answer were tokenised apart; some tokenizers need a space between them to find the same tokens, and
    # some swallow the space before an added token.
    texts = [
        start + asked + space + end for start in ("", bos) for space in ("", " ") for end in (begun, begun.rstrip())
    ]
    return {
        "prompt": next(filter(gives_them, dict.fromkeys(texts)), None),
        "prompt_token_ids": ids,
        "positions": dict(zip(declaration.attributes, [end - len(prefix) - 1 for end in ends], strict=True)),
    }


# --- writing ---------------------------------------------------------------------------------------------------------


def _add_tensor(folder: Path, name: str, weight: Any) -> None:
    """Adds a tensor to a saved checkpoint, in a file of its own: `save_pretrained` renames what it is given."""
    from safetensors.torch import save_file

    file, index = "score.safetensors", folder / "model.safetensors.index.json"
    save_file({name: weight.detach().cpu().contiguous()}, folder / file, metadata={"format": "pt"})
    if index.exists():  # a sharded checkpoint consists of the files its index names, others are not read
        content = json.loads(index.read_text(encoding="utf-8"))
        content["weight_map"][name] = file
        _write_json(index, content)


def _write_head(folder: Path, declaration: Declaration, weight: Any) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({HEAD_KEY: weight.detach().float().cpu().contiguous()}, folder / HEAD_FILE)
    _write_json(folder / ROC_FILE, _meaning(declaration))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_card(
    checkpoint: str | os.PathLike, out: str | os.PathLike, declaration: Declaration, usage: str | None = None
) -> None:
    """The card of an export; the scores are the checkpoint's, so its metrics hold."""
    from roc.checkpoint.card import write_card

    metrics = _read_json(checkpoint, "metrics.json")
    write_card(out, declaration, adapter=False, metrics=metrics if "srcc" in metrics else None, usage=usage)


_GENERATE_USAGE = """Text with vLLM; the score head is not asked, `[SCORE]` stays in the text where a score would stand:

```bash
vllm serve THIS_FOLDER
```

The head lies in `score_head/`: `score_head.safetensors` and `roc.json`."""

_HEAD_USAGE = """The weight (N, H) reads the input of the language-model head at the position that predicts `[SCORE]`:

```python
import json
import numpy as np
from safetensors.numpy import load_file

weight, about = load_file("score_head.safetensors")["score_head.weight"], json.load(open("roc.json"))
logits = hidden_states @ weight.T  # (..., H) -> (..., N), float32
probabilities = np.exp(logits - logits.max(-1, keepdims=True))
probabilities /= probabilities.sum(-1, keepdims=True)
scores = probabilities @ np.array(about["levels"])
```"""

_SERVE = """As a server; the chat template of this folder is the whole prompt, so a request consists of the picture:

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

_READ_ONE = """print(sum(p * level for p, level in zip({probs}, about["levels"])))"""
_READ_MANY = """for name, position in about["positions"].items():  # counted from the end
    print(name, sum(p * level for p, level in zip({probs}[position], about["levels"])))"""


def _classify_usage(declaration: Declaration, request: Mapping[str, Any]) -> str:
    """How to start vLLM and turn its probabilities into scores; several attributes need those of several tokens."""
    if len(declaration.attributes) == 1:
        where, read = "the last token of the prompt in `roc.json`", _READ_ONE
        served = {"option": "", "task": "", "path": "classify", "probs": 'reply["probs"]'}
        called = {"imports": "", "setting": "", "call": "llm.classify(prompt)", "probs": "output.probs"}
    else:
        where, read = "each token of the prompt in `roc.json`; those at `positions` are read", _READ_MANY
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
    parts = [
        f"vLLM gives the probability of each level at {where}. The next token there would be `[SCORE]`; the score is "
        "the mean of the levels. Should vLLM find no module for the tensor in `score.safetensors`, this family keeps "
        "its classifier elsewhere: rename the tensor to the name it offers."
    ]
    if declaration.image_aspect_ratio == "pad":
        parts.append("Pad pictures to a square first, as in training: `roc.data.augment.pad_to_square`.")
    if request["prompt"] is None:
        parts.append("No text gives exactly the tokens this head was trained after, so a server cannot be asked.")
    else:
        parts.append(_SERVE.format(**served, read=read.format(probs=served["probs"])))
    parts.append(_OFFLINE.format(**called, read=read.format(probs=called["probs"])))
    return "\n\n".join(parts)
