"""BIQ2021 (Ahmed, Asif, 2022): 12,000 photos of natural and deliberate distortions, rated for quality.

Layout, as in the authors' repository:

* `Train (Images and MOS).csv` and `Test (Images and MOS).csv`: columns "Image Name", "MOS" and two without a name;
  other versions of the repository have `Train.csv` and `Test.csv` with slightly other scores;
* `Images/<Image Name>`, such as "ss01 (10).jpg"; ss01, ss02, ss03 are the three subsets.

Native range: 0..1, higher is better: mean ratings ("very bad" .. "excellent") brought to 0..1. In the other tables a
few scores lie a little below 0; such rows are reported and left out. Published are means, no votes.

Split: the two tables (10,000 and 2,000 when complete).

Licence: none given.

Read in: nisarahmedrana/BIQ2021 (README.md of several versions, "Train (Images and MOS).csv", Train.csv).
"""

from __future__ import annotations

from roc.data.datasets.cells import number
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

LAYOUT = Layout(
    name="BIQ2021",
    tree="""Train (Images and MOS).csv    Image Name, MOS
Test (Images and MOS).csv     Image Name, MOS
Images/<Image Name>""",
    min_score=0,
    max_score=1,
    splits=("train", "test"),
)


def read(dataset: DatasetFolder) -> None:
    """Adds one record per row of the tables, test first."""
    files = {
        split: dataset.find(f"{word} (Images and MOS).csv", f"{word}.csv")
        for split, word in {"test": "Test", "train": "Train"}.items()
    }
    folders = dataset.image_folders("Images", "images")
    dataset.require()
    for split, name in files.items():
        for where, row in dataset.table(name, "Image Name", "MOS"):
            with dataset.row(where):
                dataset.add(folders, row["Image Name"], score=number(row["MOS"], "MOS"), split=split)
