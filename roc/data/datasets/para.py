"""PARA (Yang, Xu, Li, Qie, Li, Zhang, Guo, CVPR 2022): 31,220 photos rated by 438 people, about 25 for each photo.

Layout, as in the authors' archive:

* `annotation/PARA-GiaaTrain.csv` and `annotation/PARA-GiaaTest.csv`: one photo per row: imageName, sessionId, semantic,
  how often each score was given (aestheticScore_1.0, _1.5, .. _5.0; compositionScore_1 .. _5 and so on), and the means
  and standard deviations (aestheticScore_mean, qualityScore_mean, compositionScore_mean, colorScore_mean,
  dofScore_mean, lightScore_mean, contentScore_mean, contentPreference_mean, willingnessToShare_mean, and ..._std);
* `annotation/PARA-Images.csv`: one rating per row: sessionId, imageName, userId, aestheticScore, ...;
* `annotation/PARA-UserInfo.csv`: the raters (not read);
* `imgs/<sessionId>/<imageName>`.

Native range: 1..5, higher is better; overall in half steps, so 9 levels. The score is the mean of the ratings of
PARA-Images.csv where that file is there, else of the counts of the Giaa tables; both are compared with the published
mean, and photos that differ by more than 0.01 are counted. Attributes are the published means.

Split: GiaaTrain and GiaaTest (28,220 and 3,000 when complete).

Licence: for research, from the authors' page (cv-datasets.institutecv.com); no text of a licence was read.

Read in: lwchen6309/aesthetics_transfer_learning (README.md, PARA_dataloader.py, PARA_PIAA_dataloader.py);
Dahat364/AGREE (Datasets_split/PARA/val.csv: the columns, whose means and standard deviations are those of the counts).
"""

from __future__ import annotations

from roc.data.datasets.cells import Unusable, number, statistics
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

ATTRIBUTES = {
    "quality": "qualityScore",
    "composition": "compositionScore",
    "colour": "colorScore",
    "depth_of_field": "dofScore",
    "light": "lightScore",
    "content": "contentScore",
    "content_preference": "contentPreference",
    "willingness_to_share": "willingnessToShare",
}

LAYOUT = Layout(
    name="PARA",
    tree="""annotation/PARA-GiaaTrain.csv    imageName, sessionId, counts and means of the ratings
annotation/PARA-GiaaTest.csv
annotation/PARA-Images.csv       single ratings: sessionId, imageName, aestheticScore (used if there)
imgs/<sessionId>/<imageName>""",
    min_score=1,
    max_score=5,
    num_tokens=9,
    attributes=tuple(ATTRIBUTES),
    splits=("train", "test"),
    remarks=("overall votes are in half steps: 9 levels, where the ready configuration has 10",),
)

_COUNTS = tuple(f"aestheticScore_{level:.1f}" for level in LAYOUT.space.levels)
_MEANS = {name: f"{column}_mean" for name, column in ATTRIBUTES.items()}


def read(dataset: DatasetFolder) -> None:
    """Adds one record per row of the Giaa tables, test first."""
    files = {
        "test": dataset.find("annotation/PARA-GiaaTest.csv", "annotation/ARA-GiaaTest.csv"),
        "train": dataset.find("annotation/PARA-GiaaTrain.csv"),
    }
    ratings = dataset.find("annotation/PARA-Images.csv", needed=False)
    folders = dataset.image_folders("imgs")
    dataset.require()
    votes = dataset.count_votes(ratings, "aestheticScore", ["sessionId", "imageName"]) if ratings else {}
    columns = ("imageName", "sessionId", "aestheticScore_mean", *_COUNTS, *_MEANS.values())
    differing = []
    for split, name in files.items():
        for where, row in dataset.table(name, *columns):
            with dataset.row(where):
                image = f"{row['sessionId']}/{row['imageName']}"
                published = number(row["aestheticScore_mean"], "aestheticScore_mean")
                counts = votes.get(image) or [_count(row[column], column) for column in _COUNTS]
                if abs(statistics(counts, LAYOUT.space.levels)[0] - published) > 0.01:
                    differing.append(image)
                attributes = {key: number(row[column], column) for key, column in _MEANS.items()}
                dataset.add(folders, image, counts=counts, attributes=attributes, split=split)
    dataset.warn_of_other_means(differing, "photos")


def _count(text: str, column: str) -> int:
    count = number(text, column)
    if not count.is_integer() or count < 0:
        raise Unusable(f"{column} is {count:g}; expected a number of votes")
    return int(count)
