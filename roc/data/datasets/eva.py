"""EVA (Kang, Valenzise, Dufaux, ATQAM/MAST 2020): 4,070 photos of AVA with about 33 new votes each, four attributes.

Layout, as in the authors' repository:

* `data/votes_filtered.csv`: one vote per row, cells separated by "=": image_id, user_id, score, difficulty, visual,
  composition, quality, semantic, vote_time, 1, 2, 3, 4; the votes that the authors kept and use;
* `data/votes.csv`: all votes (not read); `data/users.csv`, `data/image_content_category.csv` (not read);
* `images/EVA_together/<image_id>.jpg`, one zip cut into seven files in the repository.

Native range: score 0..10 in whole steps, so 11 levels; the attributes 1..4, "very bad" to "very good"; higher is
better. `visual` is "light and colour", `composition` is "composition and depth". `difficulty` (1 = very difficult to
judge, 4 = very easy) says nothing about the photo and is left out.

Split: none is published. The photos are AVA's: a model trained on AVA has seen most of them.

Licence: CC0 according to public code that quotes the repository's LICENSE; the photos stay with their photographers.

Read in: kang-gnak/eva-dataset (readme.md of several versions); public loaders of votes_filtered.csv (the columns).
"""

from __future__ import annotations

from roc.data.datasets.cells import Unusable, number
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

ATTRIBUTES = {
    "light_and_colour": "visual",
    "composition_and_depth": "composition",
    "quality": "quality",
    "semantic": "semantic",
}

LAYOUT = Layout(
    name="EVA",
    tree="""data/votes_filtered.csv             image_id=user_id=score=...=visual=composition=quality=semantic=...
images/EVA_together/<image_id>.jpg""",
    min_score=0,
    max_score=10,
    num_tokens=11,
    attributes=tuple(ATTRIBUTES),
    attribute_ranges=dict.fromkeys(ATTRIBUTES, (1.0, 4.0)),
    remarks=("the photos are AVA's: do not report a model trained on AVA on them without a look at `roc data leaks`",),
)


def read(dataset: DatasetFolder) -> None:
    """Adds one record per photo, in the order of the votes."""
    name = dataset.find("data/votes_filtered.csv", "votes_filtered.csv")
    folders = dataset.image_folders("images/EVA_together", "EVA_together", "images")
    dataset.require()
    counts: dict[str, list[int]] = {}
    attributes: dict[str, dict[str, list[float]]] = {}
    for where, row in dataset.table(name, "image_id", "score", *ATTRIBUTES.values(), delimiter="="):
        with dataset.row(where):
            level = dataset.level_index(row["score"], "score")
            rated = {key: _rating(row[column], column) for key, column in ATTRIBUTES.items() if row[column]}
            image = row["image_id"]
            counts.setdefault(image, [0] * LAYOUT.num_tokens)[level] += 1
            for key, rating in rated.items():
                attributes.setdefault(image, {}).setdefault(key, []).append(rating)
    for image, votes in counts.items():
        with dataset.row(f"{name}: {image}"):
            given = attributes.get(image, {})
            means = {key: sum(given[key]) / len(given[key]) if key in given else None for key in ATTRIBUTES}
            dataset.add(folders, f"{image}.jpg", counts=votes, attributes=means)


def _rating(text: str, column: str) -> float:
    rating = number(text, column)
    if rating not in (1, 2, 3, 4):
        raise Unusable(f"{column} is {rating:g}; expected 1, 2, 3 or 4")
    return rating
