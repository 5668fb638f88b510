"""SPAQ (Fang, Zhu, Zeng, Ma, Wang, CVPR 2020): 11,125 smartphone photos, rated for quality and five attributes.

Layout, as in the authors' archive:

* `Annotations/MOS and Image attribute scores.xlsx`: Image name, MOS, Brightness, Colorfulness, Contrast, Noisiness,
  Sharpness; the same saved as .csv is read as well (reading .xlsx needs openpyxl);
* `Annotations/Scene category labels.xlsx`, `Annotations/EXIF_tags.xlsx` (not read);
* `TestImage/<Image name>`.

Native range: 0..100 for all, a slider, higher is better. Whether a high `noisiness` means much or little noise was not
found in what was read: look at the sign of its correlation with the score before reading anything into it. Published
are means, no spreads or votes.

Split: none is published; the paper and others draw 80 % at random. Give every photo its split with `roc data split`.

Licence: none given.

Read in: h4nwei/SPAQ (README.md); chaofengc/IQA-PyTorch (scripts/process_spaq.py) and other public loaders (the
columns).
"""

from __future__ import annotations

from roc.data.datasets.cells import number
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

ATTRIBUTES = {
    "brightness": "Brightness",
    "colourfulness": "Colorfulness",
    "contrast": "Contrast",
    "noisiness": "Noisiness",
    "sharpness": "Sharpness",
}

LAYOUT = Layout(
    name="SPAQ",
    tree="""Annotations/MOS and Image attribute scores.xlsx (or .csv)    Image name, MOS, Brightness, ..., Sharpness
TestImage/<Image name>""",
    min_score=0,
    max_score=100,
    attributes=tuple(ATTRIBUTES),
    remarks=("whether a high noisiness means much or little noise is not documented where we looked",),
)


def read(dataset: DatasetFolder) -> None:
    """Adds one record per row of the sheet."""
    stem = "MOS and Image attribute scores"
    sheets = (f"{stem}.csv", f"{stem.replace(' ', '_')}.csv", f"{stem}.xlsx")
    name = dataset.find(*(f"Annotations/{sheet}" for sheet in sheets), *sheets)
    folders = dataset.image_folders("TestImage", "Test Images")
    dataset.require()
    for where, row in dataset.table(name, "Image name", "MOS", *ATTRIBUTES.values()):
        with dataset.row(where):
            attributes = {key: number(row[column], column) for key, column in ATTRIBUTES.items()}
            dataset.add(folders, row["Image name"], score=number(row["MOS"], "MOS"), attributes=attributes)
