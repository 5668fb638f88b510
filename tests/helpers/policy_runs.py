"""A tiny model that has learnt to write critiques with a score, photos to reinforce it on, and short runs."""

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from tiny_models import BUILDERS

from roc.checkpoint.folder import save
from roc.data.reading import read_records
from roc.data.records import Record
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.reasoned import reasoned_answer
from roc.policy.config import PolicyConfig
from roc.score_space import ScoreSpace
from roc.training.config import load_config
from roc.training.data import RunData

QUESTION = "Think about the light, then rate the image."
SPACE = ScoreSpace(1, 10, 10)
WORDS = ("dark", "soft light", "bright light")
QUICK = {
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_generations": 4, "max_steps": 2,
    "reasoning_tokens": 24, "learning_rate": 1e-3, "bf16": False, "report_to": "none", "eval_strategy": "no",
    "save_strategy": "no", "threads": 1, "seed": 3, "spread_floor": 0.0,
}  # fmt: skip
"""Settings of two steps of two pictures."""


def brightness(level, size=(30, 24)):
    noise = np.random.default_rng(level).integers(-20, 20, (size[1], size[0], 3))
    return Image.fromarray(np.clip(level + noise, 0, 255).astype(np.uint8))


def score_of(level):
    return 1 + 9 * level / 255


def cold_started(folder, family="llava", steps=160, **settings):
    """Saves a checkpoint that writes three critiques, mostly in their form, and scores by brightness, roughly."""
    answers = [reasoned_answer(words).replace("[SCORE]", " ") for words in WORDS]
    with patch("tiny_models.SENTENCES", [QUESTION, *answers] * 3):  # so that an answer takes few tokens
        model, processor = BUILDERS[family]()
    attach(model, processor, SPACE, reasoning=QUESTION, **settings)
    collator = RocCollator(processor, model.declaration)
    levels = [20, 60, 100, 140, 180, 220]
    samples = []
    for i, level in enumerate(levels * 2):
        turns = (("user", f"<|image|>{QUESTION}"), ("assistant", reasoned_answer(WORDS[i % 3])))
        record = Record(str(i), (str(i),), scores={"overall": score_of(level)}, conversations=turns)
        samples.append((record, [brightness(level)]))
    batch = collator(samples)
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        model.train()(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save(model.eval(), processor, folder)
    return str(folder)


def photos(folder, count=8, val=4, **columns):
    """Writes photos with their scores; `columns` are lists with a value for each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(count + val):
        level = int(15 + 225 * (i + 0.5) / (count + val))
        brightness(level, (30, 24) if i % 2 else (24, 40)).save(folder / f"{i}.png")
        row = {"id": str(i), "image": f"{i}.png", "score": score_of(level), "split": "train" if i < count else "val"}
        lines.append(row | {name: values[i] for name, values in columns.items() if i < len(values)})
    file = folder / "photos.jsonl"
    file.write_text("\n".join(json.dumps({k: v for k, v in line.items() if v is not None}) for line in lines) + "\n")
    return str(file)


def corpus(file, data, said=WORDS, count=None):
    """Writes critiques about the photos of a file, the first `count` of them; each says one of `said` in turn."""
    lines = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()][:count]
    for i, line in enumerate(lines):
        turns = [("human", "<|image|>Rate it."), ("gpt", reasoned_answer(said[i % len(said)]))]
        line["conversations"] = [{"from": who, "value": words} for who, words in turns]
        line["gt_score"], line["image"] = line.pop("score"), str(Path(data).with_name(line["image"]))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(file)


def settings(checkpoint, data, out, **more):
    own = {"model_name_or_path": checkpoint, "data_path": data, "output_dir": str(out)}
    return load_config(None, {**QUICK, **own, **more}, group=PolicyConfig)


def build(config, change=lambda record: record):
    """Builds the trainer as the command does, of changed records where they are to be; nothing is written."""
    from roc.policy.build import as_declared, load_policy, read_declaration
    from roc.policy.critiques import read_critiques
    from roc.policy.job import PolicyJob, build_trainer, policy_arguments

    declaration = read_declaration(config, None)
    declared = as_declared(config, declaration)
    records = read_records(config.data_path, space=declaration.space, num_levels=declared.num_tokens)
    split = {name: [change(one) for one in records if one.split == name] for name in ("train", "val")}
    critiques = read_critiques(declared) if config.critiques_path else ()
    model, processor = load_policy(config, declaration)
    arguments = policy_arguments(config)
    validation = PolicyJob(config, "reasoning train").validation
    return build_trainer(config, RunData(test=[], **split), arguments, model, processor, validation, critiques)


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def run_file(out):
    return json.loads((Path(out) / "run.json").read_text())
