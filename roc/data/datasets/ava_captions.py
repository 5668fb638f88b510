"""AVA-Captions (Ghosal, Rana, Smolic, ICCV workshops 2019): about 230,000 AVA photos with filtered comments of users.

Layout: the authors' file beside those of AVA, from which the votes come:

* `CLEAN_AVA_FULL_AFTER_SUBJECTIVE_CLEANING.json`: {"dataset": "AVA", "images": [...]}, each image with `filename`
  ("<id>.jpg"), `imgid`, `split` (train, val or test) and `sentences`: a list of {"raw": as written, "clean": in small
  letters without marks, "tokens": ...};
* `AVA.txt` and `images/<id>.jpg` as in `ava.py`.

Native range: 1..10, higher is better; histograms from AVA.txt.

Text: the comment is the sentence as the user wrote it ("raw"). In the answer that is trained on it follows the sentence
with the scores. `--captions one` takes one comment per image, the first: ROC4MLLM has one too, and does not say which.
`--captions all` makes a record of each, with ids "<image>#2", "<image>#3", ...

Split: as the file says, by image and drawn at random by its authors. It is not AVA's: images of AVA's official test set
are trained on here, so a model trained on this data must not be reported on that set. Their number is logged if AVA's
list is there.

Licence: none given; the photos stay with their photographers, the comments with their writers.

Read in: V-Sense/Aesthetic-Image-Captioning-ICCVW-2019 (README.MD; clean_comment_json.py and
clean_using_subjectivity.py, which write the file).
"""

from __future__ import annotations

import json
import logging
from typing import Any

from roc.data.counts import counted
from roc.data.datasets.ava import IMAGE_FOLDERS, TEST_LIST, VOTES, test_images, votes_of
from roc.data.datasets.cells import Unusable
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout
from roc.data.rows import DataError

logger = logging.getLogger(__name__)

_FILE = "CLEAN_AVA_FULL_AFTER_SUBJECTIVE_CLEANING.json"

LAYOUT = Layout(
    name="AVA-Captions",
    tree=f"""{_FILE}    images with filename, split, sentences
AVA.txt                                          votes of AVA
images/<id>.jpg""",
    min_score=1,
    max_score=10,
    num_tokens=10,
    splits=("train", "val", "test"),
    remarks=("the split is AVA-Captions' own: do not report a model trained on it on AVA's official test set",),
)

_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


def read(dataset: DatasetFolder) -> None:
    """Adds one record per image, or one per comment."""
    captions = dataset.find(_FILE)
    votes, tests = dataset.find(*VOTES), dataset.find(*TEST_LIST, needed=False)
    folders = dataset.image_folders(*IMAGE_FOLDERS)
    dataset.require()
    counts_of = {}
    for where, text in dataset.lines(votes):
        with dataset.row(where):
            image_id, counts, _ = votes_of(text)
            counts_of[image_id] = counts
    for place, entry in enumerate(_images(dataset, captions), start=1):
        with dataset.row(f"{captions}: image {place}"):
            name, split, comments = _checked(entry)
            if name.removesuffix(".jpg") not in counts_of:
                raise Unusable(f"{name} has no votes in {votes}")
            for number, comment in enumerate(comments if dataset.captions == "all" else comments[:1], start=1):
                dataset.add(
                    folders,
                    name,
                    counts=counts_of[name.removesuffix(".jpg")],
                    split=_SPLITS[split],
                    comment=comment,
                    id=None if number == 1 else f"{name}#{number}",
                )
    if tests:
        official = test_images(dataset, tests)
        shared = {row["image"] for row in dataset.rows if row["split"] != "test" and _id(row["image"]) in official}
        what = counted(len(shared), "image of AVA's official test set is", "images of AVA's official test set are")
        logger.warning("%s in train or val here", what)


def _images(dataset: DatasetFolder, name: str) -> list[Any]:
    try:
        with (dataset.root / name).open(encoding="utf-8-sig") as file:
            content = json.load(file, object_hook=_slim)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError([f"{dataset.root / name}: this is not JSON, or cut short: {error}"]) from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise DataError([f"{dataset.root / name}: expected an object with a list 'images'"])
    return content["images"]


def _slim(entry: dict[str, Any]) -> dict[str, Any]:
    """Drops what is not used from each object: the tokens of a million comments take gigabytes."""
    return {key: entry[key] for key in ("images", "filename", "split", "sentences", "raw", "clean") if key in entry}


def _checked(entry: Any) -> tuple[str, str, list[str]]:
    name, split, sentences = (
        entry.get(key) if isinstance(entry, dict) else None for key in ("filename", "split", "sentences")
    )
    if not isinstance(name, str) or not name:
        raise Unusable("there is no filename")
    if split not in _SPLITS:
        raise Unusable(f"{name}: the split is {split!r}; expected one of {', '.join(_SPLITS)}")
    sentences = sentences if isinstance(sentences, list) else []
    texts = [text for sentence in sentences if (text := _text(sentence))]
    if not texts:
        raise Unusable(f"{name}: there is no comment")
    return name, split, texts


def _text(sentence: Any) -> str:
    text = (sentence.get("raw") or sentence.get("clean")) if isinstance(sentence, dict) else None
    return " ".join(text.split()) if isinstance(text, str) else ""


def _id(image: str) -> str:
    return image.rpartition("/")[2].removesuffix(".jpg")
