"""FLICKR-AES (Ren, Shen, Lin, Mech, Foran, ICCV 2017): 40,988 Flickr photos, each rated by five of 210 workers.

Layout, of the authors' Google Drive:

* `FLICKR-AES_image_labeled_by_each_worker.csv`: columns worker, imagePair (the image's name), score (1..5), with spaces
  after the commas;
* `FLICKR-AES_image_score.txt`: "image score" per line, "the weighted average score for each image";
* `40K/<image>` (in the archive FLICKR-AES-001).

Native range: the workers' 1..5 in whole steps, higher is better. `--scores votes` (default): the mean of the workers'
scores with standard deviation, number of votes and histogram. `--scores published`: FLICKR-AES_image_score.txt as it
is, on 0..1, without votes, which are on another scale; how the workers are weighted is not published.

Split: none is published. The paper takes the photos of 37 workers as test set (4,737 photos), those of the other 173
for training, without naming the workers. Give every photo its split with `roc data split`.

Licence: Creative Commons photos of Flickr; none is given for the ratings.

Read in: alanspike/personalizedImageAesthetics (README.md); the Flower baseline FedPer and other public loaders (columns
of the workers' file, the folder 40K).

layout unverified: that the scores of FLICKR-AES_image_score.txt are on 0..1 was read second-hand only.
"""

from __future__ import annotations

from dataclasses import replace

from roc.data.datasets.reader import Layout, Reader, Unusable, number

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


def read(reader: Reader) -> None:
    """Adds one record per photo, in the order of the file."""
    if reader.layout is PUBLISHED:
        _read_published(reader)
    else:
        _read_votes(reader)


def _read_votes(reader: Reader) -> None:
    name = reader.find(_WORKERS, f"FLICKR-AES-001/{_WORKERS}")
    folders = reader.folders(*_FOLDERS)
    reader.require()
    votes: dict[str, list[int]] = {}
    for where, row in reader.table(name, "worker", "imagePair", "score"):
        with reader.row(where):
            level = reader.level(row["score"], "the score")
            votes.setdefault(row["imagePair"], [0] * LAYOUT.num_tokens)[level] += 1
    for image, counts in votes.items():
        with reader.row(f"{name}: {image}"):
            reader.add(folders, image, counts=counts)


def _read_published(reader: Reader) -> None:
    name = reader.find(_SCORES, f"FLICKR-AES-001/{_SCORES}")
    folders = reader.folders(*_FOLDERS)
    reader.require()
    for where, text in reader.lines(name):
        with reader.row(where):
            image, _, score = text.rpartition(" ")
            if not image:
                raise Unusable(f"{text!r} is no image with a score")
            reader.add(folders, image.strip(), score=number(score, "the score"))
