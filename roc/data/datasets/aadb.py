"""AADB (Kong, Shen, Lin, Mech, Fowlkes, ECCV 2016): 10,000 Flickr photos with an overall score and 11 attributes.

Layout, as on the authors' Google Drive:

* `imgListFiles_label/imgList<PART>Regression_<WHAT>.txt`: "image score" per line. PART is Train, Validation or TestNew
  (Test is an older test set, not used); WHAT is score or one of the attributes BalacingElements (spelt so),
  ColorHarmony, Content, DoF, Light, MotionBlur, Object, Repetition, RuleOfThirds, Symmetry, VividColor;
* `datasetImages_originalSize/` or `datasetImages_warp256/`: images of train and validation;
* `AADB_newtest_originalSize/` or `AADB_newtest/`: test images, whose names have the score in front
  ("0.500_farm1_487_....jpg") where the list has none.

Native range: overall 0..1, the attributes -1..1 (mean of -1, 0 and 1 for "against", "no matter" and "in favour"),
higher is better. The records hold both as they are; `attribute_ranges` tells training of it.

Split: that of the lists, Train 8,458, Validation 500, TestNew 1,000 images. Published are mean ratings, no votes.

Licence: "images are downloaded from flickr with Creative Commons license, so the dataset is for research purpose only".

Read in: aimerykong/deepImageAestheticsAnalysis (README.md, AADBstatistics.m); isaaccorley/deep-aesthetics-pytorch
(torch_aesthetics/aadb.py, the split); Graviti's tensorbay-python-sdk (opendataset/AADB: folders, names of test images).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from roc.data.datasets.cells import Unusable, image_and_score
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

# attribute -> names of its files; the first is misspelt in the original and corrected in copies
ATTRIBUTES = {
    "balancing_elements": ("BalacingElements", "BalancingElements"),
    "colour_harmony": ("ColorHarmony",),
    "content": ("Content",),
    "depth_of_field": ("DoF",),
    "light": ("Light",),
    "motion_blur": ("MotionBlur",),
    "object": ("Object",),
    "repetition": ("Repetition",),
    "rule_of_thirds": ("RuleOfThirds",),
    "symmetry": ("Symmetry",),
    "vivid_colour": ("VividColor",),
}

LAYOUT = Layout(
    name="AADB",
    tree="""imgListFiles_label/imgListTrainRegression_score.txt         "image score" per line
imgListFiles_label/imgListValidationRegression_score.txt    and so for the 11 attributes instead of score
imgListFiles_label/imgListTestNewRegression_score.txt
datasetImages_originalSize/ or datasetImages_warp256/       images of train and validation
AADB_newtest_originalSize/ or AADB_newtest/                 test images""",
    min_score=0,
    max_score=1,
    attributes=tuple(ATTRIBUTES),
    splits=("train", "val", "test"),
    attribute_ranges=dict.fromkeys(ATTRIBUTES, (-1.0, 1.0)),
)

_PARTS = {"test": "TestNew", "val": "Validation", "train": "Train"}


def read(dataset: DatasetFolder) -> None:
    """Adds one record per line of the lists of overall scores, test first."""
    files = {}
    for split, part in _PARTS.items():
        stem = f"imgListFiles_label/imgList{part}Regression_"
        files[split] = {
            name: dataset.find(*(f"{stem}{word}.txt" for word in words))
            for name, words in {"overall": ("score",), **ATTRIBUTES}.items()
        }
    folders = dataset.image_folders(
        *("AADB_newtest_originalSize", "AADB_newtest"),
        *("datasetImages_originalSize", "datasetImages_warp256", "datasetImages"),
    )
    dataset.require()
    for split, names in files.items():
        attributes = {name: dict(_scores(dataset, names[name])) for name in ATTRIBUTES}
        for where, text in dataset.lines(names["overall"]):
            with dataset.row(where):
                image, score = image_and_score(text)
                missing = [name for name, scores in attributes.items() if image not in scores]
                if missing:
                    raise Unusable(f"{image} has no score for {', '.join(missing)}")
                dataset.add(
                    _ordered(folders, split),
                    image,
                    score=score,
                    attributes={name: scores[image] for name, scores in attributes.items()},
                    split=split,
                    other_names=_test_names(image, score) if split == "test" else (),
                )


def _ordered(folders: Sequence[str], split: str) -> list[str]:
    """Puts the folder that a split's images belong in first: the one in which a missing image is reported."""
    test = [folder for folder in folders if folder.startswith("AADB_newtest")]
    others = [folder for folder in folders if folder not in test]
    if split == "test":
        return [*test, *others]
    return [*(others or ["datasetImages_originalSize"]), *test]


def _scores(dataset: DatasetFolder, name: str) -> Iterator[tuple[str, float]]:
    """Reads (image, score) of each line of a list."""
    for where, text in dataset.lines(name):
        with dataset.row(where):
            yield image_and_score(text)


def _test_names(image: str, score: float) -> tuple[str, ...]:
    """Gives the other names of a test image: its file has the score in front of the name, lists may or may not."""
    return f"{score:.3f}_{image}", re.sub(r"^\d\.\d{3}_", "", image)
