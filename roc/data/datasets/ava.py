"""AVA (Murray, Marchesotti, Perronnin, CVPR 2012): about 255,000 photos of dpchallenge.com with the votes on 1..10.

Layout, as in the authors' package of June 2012 with the images beside it:

* `AVA.txt`: one image per line, 15 numbers separated by spaces: index, image id, votes for 1 .. 10, two semantic tags
  (0 = none), challenge;
* `tags.txt`: number and name of the 66 tags; `challenges.txt`: of the challenges (neither is needed);
* `aesthetics_image_lists/generic_test.jpgl`: ids of the official test images, one per line;
* `images/<id>.jpg` (also `image/` or `ava_images/`): not in the package, the rights stay with the photographers.

Native range: 1..10, higher is better. The score is the mean of the votes; all ten counts go into the histogram.

Split: the 19,930 images of generic_test.jpgl are the test set, all others train. Other test sets go under the same name
(ILGnet's, TANet's 12,776, idealo's 25,551): numbers on them cannot be compared. There is no official validation part;
training holds out its own. Tags and challenge are no scores: they go into a table of their own beside the records,
`OUT.tags.csv` (id, tag_1, tag_2, challenge).

Licence: none given; "respect the copyright and refrain from redistributing images or data" (the package's README).

Read in: imfing/ava_downloader (AVA_dataset/README.txt, tags.txt, the lists); chaofengc/IQA-PyTorch
(scripts/process_ava.py, whose "official" split is this one).
"""

from __future__ import annotations

from roc.data.datasets.cells import Unusable
from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout

LAYOUT = Layout(
    name="AVA",
    tree="""AVA.txt                                     index, id, 10 counts of votes, 2 tags, challenge
aesthetics_image_lists/generic_test.jpgl    ids of the test images
images/<id>.jpg
tags.txt, challenges.txt                    names of the tags and challenges (not needed)""",
    min_score=1,
    max_score=10,
    num_tokens=10,
    splits=("train", "test"),
    remarks=("test = generic_test.jpgl (19,930 images when complete), train = all others",),
)

VOTES = ("AVA.txt", "AVA_dataset/AVA.txt")
TEST_LIST = ("aesthetics_image_lists/generic_test.jpgl", "AVA_dataset/aesthetics_image_lists/generic_test.jpgl")
IMAGE_FOLDERS = ("images", "image", "ava_images", "AVA_dataset/images", "AVA_dataset/image")


def read(dataset: DatasetFolder) -> None:
    """Adds one record per line of AVA.txt."""
    votes, tests = dataset.find(*VOTES), dataset.find(*TEST_LIST)
    tags = dataset.find("tags.txt", "AVA_dataset/tags.txt", needed=False)
    challenges = dataset.find("challenges.txt", "AVA_dataset/challenges.txt", needed=False)
    folders = dataset.image_folders(*IMAGE_FOLDERS)
    dataset.require()
    test_ids = test_images(dataset, tests)
    tag_names, challenge_names = names_of(dataset, tags), names_of(dataset, challenges)
    table = []
    for where, text in dataset.lines(votes):
        with dataset.row(where):
            image_id, counts, (*image_tags, challenge) = votes_of(text)
            split = "test" if image_id in test_ids else "train"
            before = len(dataset.rows)
            dataset.add(folders, f"{image_id}.jpg", counts=counts, split=split)
            if len(dataset.rows) > before and (any(image_tags) or challenge):
                named = [tag_names.get(tag, str(tag)) if tag else None for tag in image_tags]
                entry = {"id": dataset.rows[-1]["image"], "tag_1": named[0], "tag_2": named[1]}
                table.append(entry | {"challenge": challenge_names.get(challenge, str(challenge))})
    dataset.side_tables[".tags.csv"] = table


def votes_of(text: str) -> tuple[str, list[int], list[int]]:
    """Reads a line of AVA.txt: image id, votes for 1 .. 10, and two tags with the challenge."""
    cells = text.split()
    if len(cells) != 15 or not all(cell.isdigit() for cell in cells):
        raise Unusable(f"{len(cells)} cells, expected 15 whole numbers: index, id, 10 counts, 2 tags, challenge")
    return cells[1], [int(cell) for cell in cells[2:12]], [int(cell) for cell in cells[12:]]


def test_images(dataset: DatasetFolder, name: str) -> set[str]:
    """Reads the ids of the official test images."""
    return {text.split()[0].removesuffix(".jpg") for _, text in dataset.lines(name)}


def names_of(dataset: DatasetFolder, name: str) -> dict[int, str]:
    """Reads number -> name from a file of tags or challenges; empty without one."""
    names = {}
    for where, text in dataset.lines(name) if name else ():
        with dataset.row(where):
            first, _, rest = text.partition(" ")
            if not first.isdigit() or not rest:
                raise Unusable(f"{text!r} is no number with a name")
            names[int(first)] = rest.strip()
    return names
