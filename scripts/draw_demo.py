"""Draws docs/demo.png, the picture at the head of the README: demo test scenes with what the model and the raters say.

python scripts/draw_demo.py [CHECKPOINT]      default checkpoints/demo
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from roc import Assessment
from roc.data.reading import read_records

HUMAN, MODEL = "#4c72b0", "#dd8452"
COLUMNS = 6


def main(checkpoint: str) -> None:
    folder = Path(checkpoint) / "scenes"
    records = read_records(folder / "ratings.csv", space=None, split="test", check_images=False)
    records.sort(key=lambda record: record.scores["overall"])
    chosen = [records[round((i + 0.5) * len(records) / COLUMNS)] for i in range(COLUMNS)]  # from the worst to the best
    assessed = Assessment(checkpoint).describe([record.images[0] for record in chosen])
    figure, axes = plt.subplots(2, COLUMNS, figsize=(11, 3.6), height_ratios=(2, 1), layout="constrained")
    for record, one, (top, bottom) in zip(chosen, assessed, axes.T, strict=True):
        overall = one.scores["overall"]
        with Image.open(record.images[0]) as picture:
            top.imshow(picture)
        top.set_axis_off()
        top.set_title(f"{overall.value:.1f} ± {overall.std:.1f}   raters {record.scores['overall']:.1f}", fontsize=9)
        bottom.bar([level - 0.2 for level in overall.levels], overall.distribution, 0.4, color=MODEL)
        bottom.bar([level + 0.2 for level in overall.levels], record.histograms["overall"], 0.4, color=HUMAN)
        bottom.set_xticks([1, 4, 7, 10])
        bottom.set_yticks([])
        bottom.spines[["top", "left", "right"]].set_visible(False)
    axes[1][0].legend(["model", "raters"], fontsize=8, frameon=False, loc="upper right")
    Path("docs").mkdir(exist_ok=True)
    figure.savefig("docs/demo.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "checkpoints/demo")
