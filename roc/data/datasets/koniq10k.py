"""KonIQ-10k (Hosu, Lin, Sziranyi, Saupe, TIP 2020): 10,073 photos with the votes of about 100 people on five levels.

Layout:

* `koniq10k_distributions_sets.csv` (also in `metadata/`): image_name, c1 .. c5 (share of the votes for 1 .. 5), c_total
  (number of votes), MOS, SD, set (training, validation or test);
* or, without a split, `koniq10k_scores_and_distributions.csv`: the same without `set`; its MOS is the mean on 1..5, its
  MOS_zscore what the other file calls MOS;
* `1024x768/<image_name>` or `512x384/<image_name>`.

Native range: the votes are on 1..5, higher is better. `--scores votes` (default): their mean, with standard deviation,
number and histogram. `--scores published`: the authors' MOS, computed from z-scores of reliable raters and brought to
0..100, without the votes, which are on another scale (so is the published SD: it is that of votes on 1..5).

Split: the column `set` (7,058 / 1,000 / 2,015 when complete).

Licence: CC BY 4.0 according to the data set's page on Zenodo, as quoted by public code; not read there.

Read in: subpic/koniq (README.md, metadata/koniq10k_distributions_sets.csv); chaofengc/IQA-PyTorch
(scripts/process_koniq10k.py); public loaders of koniq10k_scores_and_distributions.csv.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from roc.data.datasets.cells import Unusable, number
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

logger = logging.getLogger(__name__)

LAYOUT = Layout(
    name="KonIQ-10k",
    tree="""koniq10k_distributions_sets.csv              image_name, c1 .. c5, c_total, MOS, SD, set
or koniq10k_scores_and_distributions.csv     the same without set
1024x768/<image_name> or 512x384/<image_name>""",
    min_score=1,
    max_score=5,
    num_tokens=5,
    splits=("train", "val", "test"),
    remarks=("papers report on the authors' MOS on 0..100: --scores published",),
)

PUBLISHED = replace(LAYOUT, min_score=0, max_score=100, num_tokens=10, remarks=())

_SETS = {"training": "train", "validation": "val", "test": "test"}
_SHARES = ("c1", "c2", "c3", "c4", "c5")


def read(dataset: DatasetFolder) -> None:
    """Adds one record per row of the table."""
    places = ("koniq10k_distributions_sets.csv", "metadata/koniq10k_distributions_sets.csv")
    name = dataset.find(*places, "koniq10k_scores_and_distributions.csv")
    folders = dataset.image_folders("1024x768", "512x384", "koniq10k_1024x768/1024x768", "koniq10k_512x384/512x384")
    dataset.require()
    with_sets = name in places
    mos = "MOS" if with_sets else "MOS_zscore"
    if not with_sets:
        logger.warning("%s has no split; koniq10k_distributions_sets.csv has", name)
    for where, row in dataset.table(name, "image_name", *_SHARES, "c_total", mos, *(["set"] if with_sets else [])):
        with dataset.row(where):
            split = row["set"] if with_sets else None
            if split is not None and split not in _SETS:
                raise Unusable(f"the set is {split!r}; expected one of {', '.join(_SETS)}")
            if dataset.layout is PUBLISHED:
                scores = {"score": number(row[mos], mos)}
            else:
                scores = {"counts": _counts(row)}
            dataset.add(folders, row["image_name"], **scores, split=_SETS.get(split))


def _counts(row: dict[str, str]) -> list[int]:
    """Computes the votes for 1 .. 5: the published shares times their number are whole numbers."""
    total = number(row["c_total"], "c_total")
    votes = [number(row[column], column) * total for column in _SHARES]
    counts = [round(vote) for vote in votes]
    if sum(counts) != total or any(abs(vote - count) > 0.01 for vote, count in zip(votes, counts, strict=True)):
        raise Unusable(f"the shares {', '.join(row[column] for column in _SHARES)} are not those of {total:g} votes")
    return counts
