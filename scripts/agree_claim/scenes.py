"""Scenes whose leading attribute is known: what a picture is of decides which attribute its score leans on.

Each scene of the demo (`roc.demo.scenes`) is moved along all five attributes by independent amounts, -1..1. The place
it shows says which of them makes it better: in one place brighter is better, in another more saturated. The other four
count a little in the opposite direction, so that what helps photos of one place harms those of the others. Places are
unequally frequent, so that some attributes lead few scenes. The leading attribute of each scene is in `KIND_FILE`.

That is how the paper describes the difficulty; scenes drawn for it can show whether the method meets it, not whether
photos are so.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from roc.agree.attributes import ATTRIBUTES
from roc.agree.batches import as_image, as_tensor
from roc.agree.perturbations import PERTURBATIONS
from roc.data.rows import write_rows
from roc.demo.scenes import known_scene, render_scene
from roc.demo.things import PLACES
from roc.files import write_folder, write_json

LEARN_FILE, TEST_FILE, KIND_FILE = "learn.csv", "test.csv", "leading.json"

LEADS = dict(zip(PLACES, ATTRIBUTES, strict=True))
"""Place -> the attribute that its score leans on."""
SHARES = (0.32, 0.26, 0.20, 0.13, 0.09)
"""Share of each place among the scenes."""
LEADING, OTHERS = 0.8, -0.1
NOISE = 0.25
MIN_SCORE, MAX_SCORE = 1.0, 10.0

_STRENGTH = {"brightness": 0.5, "contrast": 0.6, "saturation": 0.8, "hue": 0.5, "blur": 0.8}
_SPREAD = 3.3
_BLURS = 4
_FULL_BLUR = 0.2
_FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000}


def draw(folder: Path, counts: dict[str, int], side: int, seed: int = 0) -> None:
    """Draws scenes and their scores into a folder, unless it is there.

    Args:
        folder: Gets `LEARN_FILE` (training and validation), `TEST_FILE`, `KIND_FILE` (id -> leading attribute) and the
            pictures.
        counts: Scenes of "train", "val" and "test".
        side: Of the pictures in pixels, at least 32.
        seed: Of scenes, amounts and noise.
    """
    if not folder.is_dir():
        write_folder(folder, lambda partial: _fill(partial, counts, side, seed))


def moved(picture: Tensor, amounts: dict[str, float]) -> Tensor:
    """Moves a picture along the attributes.

    Args:
        picture: (1, 3, H, W) in [0, 1].
        amounts: Attribute -> -1..1; more is brighter, stronger in contrast, more saturated, turned in hue, sharper.
    """
    for name in ("hue", "saturation", "contrast", "brightness"):
        change = amounts[name] * _STRENGTH[name]
        picture = PERTURBATIONS[name](picture, change) if change else picture
    sharper = amounts["blur"]
    if sharper > 0:
        return PERTURBATIONS["blur"](picture, -sharper * _STRENGTH["blur"])
    whole, rest = divmod(-sharper * _BLURS, 1)
    for change in [_FULL_BLUR] * int(whole) + [_FULL_BLUR * rest]:
        picture = PERTURBATIONS["blur"](picture, change) if change else picture
    return picture


def score_of(leading: str, amounts: dict[str, float], noise: float = 0.0) -> float:
    """Computes the score of a scene, on 1..10, from its leading attribute and the amounts of all."""
    quality = sum((LEADING if name == leading else OTHERS) * amount for name, amount in amounts.items())
    return float(np.clip(5.5 + _SPREAD * quality + noise, MIN_SCORE, MAX_SCORE))


def leading_of(folder: Path) -> dict[str, str]:
    """Reads the leading attribute of every scene, by id."""
    return json.loads((folder / KIND_FILE).read_text(encoding="utf-8"))


def _fill(folder: Path, counts: dict[str, int], side: int, seed: int) -> None:
    (folder / "images").mkdir(parents=True)
    leading: dict[str, str] = {}
    rows: dict[str, list[dict[str, object]]] = {LEARN_FILE: [], TEST_FILE: []}
    for split, count in counts.items():
        chosen = np.random.default_rng([seed, _FIRST[split]]).choice(PLACES, size=count, p=SHARES)
        index = {place: _FIRST[split] for place in PLACES}
        for number, place in enumerate(chosen):
            while known_scene(index[place], seed=seed).place != place:
                index[place] += 1
            name = f"{split}_{number}"
            rng = np.random.default_rng([seed, _FIRST[split] + number, 1])
            amounts = dict(zip(ATTRIBUTES, rng.uniform(-1, 1, len(ATTRIBUTES)).tolist(), strict=True))
            scene = render_scene(index[place], seed=seed, size=side)
            index[place] += 1
            with torch.no_grad():
                as_image(moved(as_tensor(scene.image), amounts)[0]).save(folder / "images" / f"{name}.png")
            leading[name] = LEADS[place]
            score = score_of(LEADS[place], amounts, NOISE * rng.standard_normal())
            row = {"id": name, "image": f"images/{name}.png", "score": round(score, 4), "split": split}
            rows[TEST_FILE if split == "test" else LEARN_FILE].append(row)
    for file, found in rows.items():
        write_rows(folder / file, found)
    write_json(folder / KIND_FILE, leading)
