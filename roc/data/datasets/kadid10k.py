"""KADID-10k (Lin, Hosu, Saupe, QoMEX 2019): 81 photos, each distorted in 25 ways at 5 strengths, 10,125 images.

Layout, as in the authors' archive:

* `dmos.csv`: dist_img, ref_img, dmos, var;
* `images/<dist_img>`, `images/<ref_img>`.

Native range: 1..5, **higher is better**: the column is called dmos, but 5 means "imperceptible". `var` is no variance
but the standard deviation of 30 votes: 4.57 with 0.496 is what 17 fives and 13 fours give, and no 30 votes have mean
4.57 and variance 0.496. It becomes `std` as it is. The 81 references are not rated and give no records.

Split: none is published. All images of one reference belong on one side: `group` is the reference, and `roc data split`
keeps groups together. Published splits of others overlap each other's test sets.

Licence: none was read.

Read in: chaofengc/IQA-PyTorch (scripts/process_kadid10k.py, which takes `var` for the standard deviation too) and other
public loaders; the rows checked are I01_01_01.png (4.57, 0.496) and I01_01_02.png (4.33, 0.869).
"""

from __future__ import annotations

from roc.data.datasets.cells import Unusable, number
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

LAYOUT = Layout(
    name="KADID-10k",
    tree="""dmos.csv            dist_img, ref_img, dmos, var
images/<dist_img>""",
    min_score=1,
    max_score=5,
    remarks=("no split is published; group is the reference image: `roc data split` keeps groups together",),
)


def read(dataset: DatasetFolder) -> None:
    """Adds one record per distorted image."""
    name = dataset.find("dmos.csv")
    folders = dataset.image_folders("images")
    dataset.require()
    for where, row in dataset.table(name, "dist_img", "ref_img", "dmos", "var"):
        with dataset.row(where):
            if not row["ref_img"]:
                raise Unusable("ref_img is missing; expected the reference image")
            score, std = number(row["dmos"], "dmos"), number(row["var"], "var")
            dataset.add(folders, row["dist_img"], score=score, std=std, group=row["ref_img"])
