"""Small training runs through the real command, and data for them."""

import json
from pathlib import Path
from unittest.mock import patch

from heads import picture

from roc.commands.finetune import main

ROOT = Path(__file__).parents[2]
TINY = ["--demo_train", "24", "--demo_val", "8", "--demo_test", "8", "--demo_size", "64", "--num_train_epochs", "2",
        "--per_device_train_batch_size", "8", "--threads", "1", "--check_answers", "0",
        "--logging_steps", "1"]  # fmt: skip
"""Settings of the demo's run that take seconds."""
QUICK = [
    "--max_steps",
    "1",
    "--per_device_train_batch_size",
    "2",
    "--report_to",
    "none",
    "--threads",
    "1",
    "--tiny_model",
    "demo",
]
"""Settings of one step on data of one's own."""

# The sample of the published training data, as it stands there.
AVA = {
    "image": "771257.jpg",
    "gt_score": 3.463414634146341,
    "conversations": [
        {"from": "human", "value": "<|image|>Could you evaluate the aesthetics of this image?"},
        {"from": "gpt", "value": "The aesthetic rate of the image is [SCORE]. "},
    ],
    "target": [0.15853658536585366, 0.10975609756097561, 0.2073170731707317, 0.2926829268292683, 0.16463414634146342,
               0.04878048780487805, 0.0, 0.0, 0.006097560975609756, 0.012195121951219513],
}  # fmt: skip


def finetune(*words, plots=False):
    """Runs the command in this process; without `plots`, whose drawing takes half of so small a run."""
    if plots:
        return main([*words])
    with patch("roc.evaluation.report.draw", return_value={}):
        return main([*words])


def demo(out, *words, plots=False):
    demo_file = str(ROOT / "configs" / "demo.yaml")
    return finetune(demo_file, *TINY, "--output_dir", str(out), *words, plots=plots)


def ratings(folder, rows, header="image,score,light"):
    for i in range(len(rows)):
        picture(i).save(folder / f"{i}.png")
    lines = [f"{i}.png,{row}" for i, row in enumerate(rows)]
    (folder / "r.csv").write_text("\n".join([header, *lines]) + "\n")
    return str(folder / "r.csv")


SPLITS = ["train"] * 4 + ["val", "test"]


def data_set(folder, scores, splits=SPLITS, name="r.csv", more=("", [])):
    """Writes a file of rated pictures; `more` is a further header and its cells by row."""
    folder.mkdir(exist_ok=True)
    header, cells = more
    lines = [f"image,score,split{header}"]
    for i, (score, split) in enumerate(zip(scores, splits, strict=True)):
        picture(i).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{score},{split}{cells[i] if cells else ''}")
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def ava_file(folder, count=6, **changes):
    samples = []
    for i in range(count):
        name = f"{i}.jpg" if i else AVA["image"]
        picture(i).save(folder / name)
        samples.append(AVA | {"image": name} | changes)
    (folder / "ava.json").write_text(json.dumps(samples))
    return folder / "ava.json"
