"""FLICKR-AES (Ren, Shen, Lin, Mech, Foran, ICCV 2017): 40,988 Flickr photos, each rated by five of 210 workers.

Layout, as on the authors' Google Drive:

* `FLICKR-AES_image_labeled_by_each_worker.csv`: columns worker, imagePair (the image's name), score (1..5), with spaces
  after the commas;
* `FLICKR-AES_image_score.txt`: "image score" per line, "the weighted average score for each image";
* `40K/<image>` (in the archive FLICKR-AES-001).

Native range: the workers' 1..5 in whole steps, higher is better. `--scores votes` (default): the mean of the workers'
scores with standard deviation, number of votes and histogram. `--scores published`: FLICKR-AES_image_score.txt as it
is, on 0..1, without the votes, which are on another scale; how the workers are weighted is not published.

Split: none is published. The paper takes the photos of 37 workers as test set (4,737 photos), those of the other 173
for training, without naming the workers. Give every photo its split with `roc data split`.

Licence: Creative Commons photos of Flickr; none is given for the ratings.

Read in: alanspike/personalizedImageAesthetics (README.md); the Flower baseline FedPer and other public loaders (columns
of the workers' file, the folder 40K).

layout unverified: that the scores of FLICKR-AES_image_score.txt are on 0..1 was read second-hand only.
"""

from __future__ import annotations

from dataclasses import replace

from roc.data.datasets.cells import image_and_score
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

_WORKERS = "FLICKR-AES_image_labeled_by_each_worker.csv"
_SCORES = "FLICKR-AES_image_score.txt"
_FOLDERS = ("40K", "FLICKR-AES-001/40K")

LAYOUT = Layout(
    name="FLICKR-AES",
    tree=f"""{_WORKERS}    worker, imagePair, score 1..5
40K/<image>
{_SCORES}                    published averages (for --scores published)""",
    min_score=1,
    max_score=5,
    num_tokens=5,
    remarks=("papers that report on FLICKR-AES may mean its published averages: --scores published",),
)

PUBLISHED = replace(
    LAYOUT,
    min_score=0,
    max_score=1,
    num_tokens=10,
    remarks=(),
    unverified=f"that the scores of {_SCORES} are on 0..1 was read second-hand only",
)


def read(dataset: DatasetFolder) -> None:
    """Adds one record per photo, in the order of the file."""
    if dataset.layout is PUBLISHED:
        _read_published(dataset)
    else:
        _read_votes(dataset)


def _read_votes(dataset: DatasetFolder) -> None:
    name = dataset.find(_WORKERS, f"FLICKR-AES-001/{_WORKERS}")
    folders = dataset.image_folders(*_FOLDERS)
    dataset.require()
    for image, counts in dataset.count_votes(name, "score", ["imagePair"], also=["worker"]).items():
        with dataset.row(f"{name}: {image}"):
            dataset.add(folders, image, counts=counts)


def _read_published(dataset: DatasetFolder) -> None:
    name = dataset.find(_SCORES, f"FLICKR-AES-001/{_SCORES}")
    folders = dataset.image_folders(*_FOLDERS)
    dataset.require()
    for where, text in dataset.lines(name):
        with dataset.row(where):
            image, score = image_and_score(text)
            dataset.add(folders, image, score=score)
