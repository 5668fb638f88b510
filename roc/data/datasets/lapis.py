"""LAPIS (Maerten, Chen, De Winter, Bossens, Wagemans, CVPR workshops 2025): 11,723 artworks, about 24 raters each.

Layout, as in the archive that the authors give on request:

* `annotation/LAPIS_GIAA_Trainsplit.csv`, `..._Valsplit.csv`, `..._Testsplit.csv`: one artwork per row: image_id,
  min_response, max_response, mean_response, std_response, "number of raters", image_filename, artist, title, genre,
  style, ..., mean_response_scaled (a tenth of mean_response);
* `annotation/LAPIS_PIAA.csv`: one rating per row: image_filename, participant_id, rating, ...;
* `images/<image_filename>`.

Native range: 0..100, a slider, higher is better. Papers that write 0..10 use mean_response_scaled. Mean, standard
deviation and number of votes are computed from LAPIS_PIAA.csv where that file is there, else taken as published.
Ratings on 101 steps make no histogram.

Split: the three tables. Tables may be Latin-1 (names with accents), and some images of such names lie under others.

Licence: none was read; access is granted on request by the authors.

Read in: Anne-SofieMaerten/LAPIS (README.md); Dahat364/AGREE (Datasets_split/LAPIS/val.csv: the columns);
lwchen6309/aesthetics_transfer_learning (README.md, LAPIS_PIAA_dataloader.py) and other public loaders of
LAPIS_PIAA.csv.
"""

from __future__ import annotations

import math

from roc.data.datasets.cells import Unusable, number
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

LAYOUT = Layout(
    name="LAPIS",
    tree="""annotation/LAPIS_GIAA_Trainsplit.csv    image_filename, mean_response, std_response, number of raters
annotation/LAPIS_GIAA_Valsplit.csv
annotation/LAPIS_GIAA_Testsplit.csv
annotation/LAPIS_PIAA.csv               single ratings: image_filename, rating (used if there)
images/<image_filename>""",
    min_score=0,
    max_score=100,
    splits=("train", "val", "test"),
    remarks=("scores are the slider's own 0..100; papers that write 0..10 divide them by 10",),
)


def read(dataset: DatasetFolder) -> None:
    """Adds one record per row of the GIAA tables, test first."""
    files = {
        split: dataset.find(f"annotation/LAPIS_GIAA_{word}split.csv")
        for split, word in {"test": "Test", "val": "Val", "train": "Train"}.items()
    }
    ratings = dataset.find("annotation/LAPIS_PIAA.csv", needed=False)
    folders = dataset.image_folders("images", "datasetImages_originalSize")
    dataset.require()
    votes = _votes(dataset, ratings) if ratings else {}
    columns = ("image_filename", "mean_response", "std_response", "number of raters")
    differing = []
    for split, name in files.items():
        for where, row in dataset.table(name, *columns):
            with dataset.row(where):
                image = row["image_filename"]
                score = number(row["mean_response"], "mean_response")
                if given := votes.get(image):
                    mean = math.fsum(given) / len(given)
                    if abs(mean - score) > 0.01:
                        differing.append(image)
                    std = math.sqrt(math.fsum((vote - mean) ** 2 for vote in given) / len(given))
                    score, n_votes = mean, len(given)
                else:
                    std, n_votes = (number(row[column], column) for column in columns[2:])
                dataset.add(folders, image, score=score, std=std, n_votes=int(n_votes), split=split)
    dataset.warn_of_other_means(differing, "artworks")


def _votes(dataset: DatasetFolder, name: str) -> dict[str, list[float]]:
    """Reads image -> its ratings."""
    votes: dict[str, list[float]] = {}
    for where, row in dataset.table(name, "image_filename", "rating"):
        with dataset.row(where):
            rating = number(row["rating"], "the rating")
            if not LAYOUT.min_score <= rating <= LAYOUT.max_score:
                raise Unusable(f"the rating is {rating:g}; expected 0..100")
            votes.setdefault(row["image_filename"], []).append(rating)
    return votes
