"""TAD66K (He, Zhang, Xie, Jiang, Ming, IJCAI 2022): 66,000 photos of 47 themes, each with at least 1,200 ratings.

Layout, as in the authors' archives:

* `labels/merge/train.csv` and `labels/merge/test.csv`: columns `image`, `score` (also found as `merge/`, and as
  `dataset/merge/` in the authors' code);
* `labels/unmerge/{train,test}/<theme>.csv`: the same by theme (not read);
* `TAD66K/<image>` (also `images/` or `imgs/`).

Native range: 0..10, higher is better (the authors divide by 10). Published are mean ratings, no votes.

Split: train.csv and test.csv of `merge`, which the authors' code trains and tests on. `unmerge` is another assignment:
public code that compares the two looks for images of its train part in the test part of `merge`.

Licence: the repository of the code carries Apache-2.0; none is given for photos and ratings.

Read in: woshidandan/TANet-image-aesthetics-and-quality-assessment (README.md, code/TAD66K/dataset.py and option.py);
public loaders for the place of `labels/merge` (Ry3nG/SSIRA).
"""

from __future__ import annotations

from roc.data.datasets.cells import number
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

LAYOUT = Layout(
    name="TAD66K",
    tree="""labels/merge/train.csv    image, score
labels/merge/test.csv     image, score
TAD66K/<image>""",
    min_score=0,
    max_score=10,
    splits=("train", "test"),
)


def read(dataset: DatasetFolder) -> None:
    """Adds one record per row of the merged tables, test first."""
    places = ("labels/merge", "merge", "dataset/merge")
    files = {split: dataset.find(*(f"{place}/{split}.csv" for place in places)) for split in ("test", "train")}
    folders = dataset.image_folders("TAD66K", "images", "imgs")
    dataset.require()
    for split, name in files.items():
        for where, row in dataset.table(name, "image", "score"):
            with dataset.row(where):
                dataset.add(folders, row["image"], score=number(row["score"], "the score"), split=split)
