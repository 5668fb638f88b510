"""ICAA17K (He, Ming, Li, Sun, Zheng, Ma, ICCV 2023): 17,000 photos with scores for the whole and for colour.

Layout, as in the authors' archive and code:

* `1train.csv` and `1test.csv` (in the code: `dataset/ICAA17K/`): columns `ID` (path of the image below the folder of
  images, such as complementary/orange_blue/x.jpg), `color`, `MOS`, `probability`;
* the images in `ICAA17K/` or `images/`.

Native range: 0..10 for both, higher is better (the authors divide by 10). `MOS` is the score, `color` the attribute
`colour`; the papers that report on this set do not all say which of the two they mean. Published are means, no votes.

Split: 1train.csv and 1test.csv. Some photos are listed under two colours with the same scores, as two files; they can
be on both sides of the split (`roc data leaks` finds them).

Licence: the repository carries Apache-2.0; none is given for photos and ratings.

Read in: woshidandan/Image-Color-Aesthetics-and-Quality-Assessment (README.md, ICAA17K_code/dataset.py and option.py,
ICAA17K_code/dataset/ICAA17K/1test.csv).
"""

from __future__ import annotations

from roc.data.datasets.cells import number
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

LAYOUT = Layout(
    name="ICAA17K",
    tree="""1train.csv    ID, color, MOS
1test.csv     ID, color, MOS
ICAA17K/<ID>""",
    min_score=0,
    max_score=10,
    attributes=("colour",),
    splits=("train", "test"),
    remarks=("the score is the column MOS, the attribute colour the column color; papers report either",),
)


def read(dataset: DatasetFolder) -> None:
    """Adds one record per row of the tables, test first."""
    places = ("", "dataset/ICAA17K/", "ICAA17K/", "ICAA17K_code/dataset/ICAA17K/")
    files = {split: dataset.find(*(f"{place}1{split}.csv" for place in places)) for split in ("test", "train")}
    folders = dataset.image_folders("ICAA17K", "images", "imgs")
    dataset.require()
    for split, name in files.items():
        for where, row in dataset.table(name, "ID", "color", "MOS"):
            with dataset.row(where):
                score, colour = number(row["MOS"], "MOS"), number(row["color"], "color")
                dataset.add(folders, row["ID"], score=score, attributes={"colour": colour}, split=split)
