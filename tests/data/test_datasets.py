"""Public data sets: a miniature of each published layout becomes records whose numbers can be redone on paper.

All of `roc/data/datasets/` is tested here, through the command `roc data convert`.
"""

import io
import json
import shlex
import shutil
from dataclasses import dataclass, field
from importlib import import_module
from math import sqrt

import pytest
from PIL import Image

from roc.commands.data import main
from roc.data.datasets.convert import DATASETS
from roc.data.reading import read_records
from roc.data.rows import read_rows
from roc.prompts import answer
from roc.settings import read_flags
from roc.training.config import SETTINGS, load_config


def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, "JPEG")
    return buffer.getvalue()


PICTURE = picture()


@dataclass
class Miniature:
    """A small copy of a published layout.

    files: path -> text; images: paths; expected: path of image -> fields of its record; attributes: their names;
    optional: files that need not be there.
    """

    files: dict
    images: list
    expected: dict
    attributes: tuple = ()
    optional: tuple = ()

    def build(self, root):
        for path, text in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        for path in self.images:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(PICTURE)
        return root


def sheet(rows):
    """Returns the bytes of an .xlsx with these rows."""
    from openpyxl import Workbook

    book, buffer = Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(buffer)
    return buffer.getvalue()


def shares(**levels):
    """Builds a histogram: h_5=0.5 -> 0.5 at the fifth place of ten."""
    size = levels.pop("of")
    return tuple(levels.get(f"h_{place}", 0.0) for place in range(1, size + 1))


AVA_FILES = {
    # 2 votes for 5 and 2 for 7; 4 votes for 1; one vote for each of 1 .. 10
    "AVA.txt": "1 10 0 0 0 0 2 0 2 0 0 0 1 15 9\n2 20 4 0 0 0 0 0 0 0 0 0 0 22 9\n3 30 1 1 1 1 1 1 1 1 1 1 0 0 9\n",
    "aesthetics_image_lists/generic_test.jpgl": "20\n",
}

AADB_WORDS = (
    *("BalacingElements", "ColorHarmony", "Content", "DoF", "Light", "MotionBlur", "Object", "Repetition"),
    *("RuleOfThirds", "Symmetry", "VividColor"),
)
AADB_FILES = {
    f"imgListFiles_label/imgList{part}Regression_{word}.txt": f"{image} {value}\n"
    for part, image in (("Train", "a.jpg"), ("Validation", "b.jpg"), ("TestNew", "c.jpg"))
    for word, value in {"score": 0.75, **dict.fromkeys(AADB_WORDS, 0), "Light": 1, "MotionBlur": -0.5}.items()
}
AADB_ATTRIBUTES = (
    *("balancing_elements", "colour_harmony", "content", "depth_of_field", "light", "motion_blur", "object"),
    *("repetition", "rule_of_thirds", "symmetry", "vivid_colour"),
)
AADB_SCORES = {"overall": 0.75, **dict.fromkeys(AADB_ATTRIBUTES, 0.0), "light": 1.0, "motion_blur": -0.5}

PARA_LEVELS = [f"aestheticScore_{level / 2:.1f}" for level in range(2, 11)]
PARA_MEANS = {
    "quality": "qualityScore",
    "composition": "compositionScore",
    "colour": "colorScore",
    "depth_of_field": "dofScore",
    "light": "lightScore",
    "content": "contentScore",
    "content_preference": "contentPreference",
    "willingness_to_share": "willingnessToShare",
}
PARA_HEAD = ",".join(
    ["imageName,sessionId,semantic", *PARA_LEVELS, "aestheticScore_mean", *(f"{c}_mean" for c in PARA_MEANS.values())]
)
# a: two votes, 3.5 and 4.5; b: four votes, 1, 1, 1 and 5
PARA_A = "a.jpg,session1,animal,0,0,0,0,0,1,0,1,0,4.0,3,3.1,3.2,3.3,3.4,3.5,3.6,3.7"
PARA_B = "b.jpg,session2,food,3,0,0,0,0,0,0,0,1,2.0,2,2.1,2.2,2.3,2.4,2.5,2.6,2.7"

LAPIS_HEAD = "image_id,mean_response,std_response,number of raters,image_filename,title"

MINIATURES = {
    "AVA": Miniature(
        files={**AVA_FILES, "tags.txt": "1 Abstract\n15 Nature\n22 Macro\n", "challenges.txt": "9 Self Portrait\n"},
        images=["images/10.jpg", "images/20.jpg", "images/30.jpg"],
        expected={
            "images/10.jpg": dict(
                scores={"overall": 6.0},
                std=1.0,
                n_votes=4,
                split="train",
                histograms={"overall": shares(of=10, h_5=0.5, h_7=0.5)},
            ),
            "images/20.jpg": dict(
                scores={"overall": 1.0},
                std=0.0,
                n_votes=4,
                split="test",
                histograms={"overall": shares(of=10, h_1=1.0)},
            ),
            "images/30.jpg": dict(
                scores={"overall": 5.5}, std=sqrt(8.25), n_votes=10, split="train", histograms={"overall": (0.1,) * 10}
            ),
        },
        optional=("tags.txt", "challenges.txt"),
    ),
    "AVA-Captions": Miniature(
        files={
            **AVA_FILES,
            "CLEAN_AVA_FULL_AFTER_SUBJECTIVE_CLEANING.json": json.dumps(
                {
                    "dataset": "AVA",
                    "images": [
                        {
                            "filename": "10.jpg",
                            "imgid": 10,
                            "split": "train",
                            "sentences": [
                                {
                                    "raw": "Lovely light,\n well seen!",
                                    "clean": "lovely light",
                                    "tokens": [["lovely", "JJ"]],
                                },
                                {"raw": "Too dark.", "clean": "too dark", "tokens": []},
                            ],
                        },
                        {"filename": "20.jpg", "imgid": 20, "split": "val", "sentences": [{"clean": "i like it"}]},
                    ],
                }
            ),
        },
        images=["images/10.jpg", "images/20.jpg"],
        expected={
            "images/10.jpg": dict(
                scores={"overall": 6.0}, std=1.0, n_votes=4, split="train", comment="Lovely light, well seen!"
            ),
            "images/20.jpg": dict(scores={"overall": 1.0}, split="val", comment="i like it"),
        },
        optional=("aesthetics_image_lists/generic_test.jpgl",),
    ),
    "AADB": Miniature(
        files=AADB_FILES,
        # a test image has its score in front of its name
        images=[
            "datasetImages_originalSize/a.jpg",
            "datasetImages_originalSize/b.jpg",
            "AADB_newtest_originalSize/0.750_c.jpg",
        ],
        expected={
            "AADB_newtest_originalSize/0.750_c.jpg": dict(scores=AADB_SCORES, split="test"),
            "datasetImages_originalSize/b.jpg": dict(scores=AADB_SCORES, split="val"),
            "datasetImages_originalSize/a.jpg": dict(scores=AADB_SCORES, split="train", histograms={}, std=None),
        },
        attributes=AADB_ATTRIBUTES,
    ),
    "TAD66K": Miniature(
        # with a byte order mark and the line ends of Windows
        files={
            "labels/merge/train.csv": "\ufeffimage,score\r\na.jpg,7.25\r\n",
            "labels/merge/test.csv": 'image,score\n"b,é.jpg",0\n',
        },
        images=["TAD66K/a.jpg", "TAD66K/b,é.jpg"],
        expected={
            "TAD66K/b,é.jpg": dict(scores={"overall": 0.0}, split="test"),
            "TAD66K/a.jpg": dict(scores={"overall": 7.25}, split="train"),
        },
    ),
    "PARA": Miniature(
        files={
            "annotation/PARA-GiaaTrain.csv": f"{PARA_HEAD}\n{PARA_A}\n",
            "annotation/PARA-GiaaTest.csv": f"{PARA_HEAD}\n{PARA_B}\n",
            "annotation/PARA-Images.csv": "sessionId,imageName,userId,aestheticScore\n"
            "session1,a.jpg,u1,3.5\nsession1,a.jpg,u2,4.5\n",
        },
        images=["imgs/session1/a.jpg", "imgs/session2/b.jpg"],
        expected={
            "imgs/session2/b.jpg": dict(
                scores={"overall": 2.0, **{name: round(2 + k / 10, 1) for k, name in enumerate(PARA_MEANS)}},
                std=sqrt(3),
                n_votes=4,
                split="test",
                histograms={"overall": shares(of=9, h_1=0.75, h_9=0.25)},
            ),
            "imgs/session1/a.jpg": dict(
                scores={"overall": 4.0, **{name: round(3 + k / 10, 1) for k, name in enumerate(PARA_MEANS)}},
                std=0.5,
                n_votes=2,
                split="train",
                histograms={"overall": shares(of=9, h_6=0.5, h_8=0.5)},
            ),
        },
        attributes=tuple(PARA_MEANS),
        optional=("annotation/PARA-Images.csv",),
    ),
    "ICAA17K": Miniature(
        files={
            "1train.csv": "ID,color,MOS,probability\ncomplementary/orange_blue/a.jpg,5.5,6.25,0.7\n",
            "1test.csv": "ID,color,MOS,probability\ntriad/b.jpg,2,3,0.7\n",
        },
        images=["ICAA17K/complementary/orange_blue/a.jpg", "ICAA17K/triad/b.jpg"],
        expected={
            "ICAA17K/triad/b.jpg": dict(scores={"overall": 3.0, "colour": 2.0}, split="test"),
            "ICAA17K/complementary/orange_blue/a.jpg": dict(scores={"overall": 6.25, "colour": 5.5}, split="train"),
        },
        attributes=("colour",),
    ),
    "LAPIS": Miniature(
        files={
            "annotation/LAPIS_GIAA_Trainsplit.csv": f"{LAPIS_HEAD}\n1,50,70.71,2,a.jpg,x\n",
            "annotation/LAPIS_GIAA_Valsplit.csv": f"{LAPIS_HEAD}\n2,44.125,24.4,24,b.jpg,\n",
            "annotation/LAPIS_GIAA_Testsplit.csv": f"{LAPIS_HEAD}\n3,0,0,3,c.jpg,\n",
            # two ratings of a, 0 and 100: mean 50, standard deviation 50 (the published one divides by n - 1)
            "annotation/LAPIS_PIAA.csv": "image_filename,participant_id,rating\na.jpg,1,0\na.jpg,2,100\n",
        },
        images=["images/a.jpg", "images/b.jpg", "images/c.jpg"],
        expected={
            "images/c.jpg": dict(scores={"overall": 0.0}, std=0.0, n_votes=3, split="test"),
            "images/b.jpg": dict(scores={"overall": 44.125}, std=24.4, n_votes=24, split="val"),
            "images/a.jpg": dict(scores={"overall": 50.0}, std=50.0, n_votes=2, split="train"),
        },
        optional=("annotation/LAPIS_PIAA.csv",),
    ),
    "FLICKR-AES": Miniature(
        files={
            "FLICKR-AES_image_labeled_by_each_worker.csv": " worker, imagePair, score\n"
            "w1, a.jpg, 1\nw2, a.jpg, 3\nw1, b.jpg, 4\nw3, a.jpg, 5\n",
            "FLICKR-AES_image_score.txt": " a.jpg 0.25\n b.jpg 0.5\n",
        },
        images=["40K/a.jpg", "40K/b.jpg"],
        expected={
            "40K/a.jpg": dict(
                scores={"overall": 3.0},
                std=sqrt(8 / 3),
                n_votes=3,
                split=None,
                histograms={"overall": (1 / 3, 0.0, 1 / 3, 0.0, 1 / 3)},
            ),
            "40K/b.jpg": dict(scores={"overall": 4.0}, std=0.0, n_votes=1),
        },
        optional=("FLICKR-AES_image_score.txt",),
    ),
    "EVA": Miniature(
        files={
            "data/votes_filtered.csv": '"image_id"="user_id"="score"="difficulty"="visual"="composition"="quality"'
            '="semantic"="vote_time"="1"="2"="3"="4"\n"10"="C1"=10=3=4=1=2=4=9.5=1=0=0=0\n"10"="C2"=4=1=1=1=3=4=3.1=0=0=0=1\n'
            '"20"="C1"=0=3=1=1==1=9.5=1=0=0=0\n'
        },
        images=["images/EVA_together/10.jpg", "images/EVA_together/20.jpg"],
        expected={
            "images/EVA_together/10.jpg": dict(
                scores={
                    "overall": 7.0,
                    "light_and_colour": 2.5,
                    "composition_and_depth": 1.0,
                    "quality": 2.5,
                    "semantic": 4.0,
                },
                std=3.0,
                n_votes=2,
                split=None,
                histograms={"overall": shares(of=11, h_5=0.5, h_11=0.5)},
            ),
            # quality was not rated
            "images/EVA_together/20.jpg": dict(
                scores={"overall": 0.0, "light_and_colour": 1.0, "composition_and_depth": 1.0, "semantic": 1.0}
            ),
        },
        attributes=("light_and_colour", "composition_and_depth", "quality", "semantic"),
    ),
    "KonIQ-10k": Miniature(
        files={
            "koniq10k_distributions_sets.csv": "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set\n"
            "a.jpg,0.0,0.0,0.333333333333,0.666666666667,0.0,3,77.38,0.577,training\n"
            "b.jpg,0.5,0.0,0.0,0.0,0.5,4,50.5,2.3,validation\nc.jpg,1,0,0,0,0,5,4.5,0,test\n"
        },
        images=["1024x768/a.jpg", "1024x768/b.jpg", "1024x768/c.jpg"],
        expected={
            "1024x768/a.jpg": dict(
                scores={"overall": 11 / 3},
                std=sqrt(2) / 3,
                n_votes=3,
                split="train",
                histograms={"overall": (0.0, 0.0, 1 / 3, 2 / 3, 0.0)},
            ),
            "1024x768/b.jpg": dict(scores={"overall": 3.0}, std=2.0, n_votes=4, split="val"),
            "1024x768/c.jpg": dict(scores={"overall": 1.0}, std=0.0, n_votes=5, split="test"),
        },
    ),
    "SPAQ": Miniature(
        files={
            "Annotations/MOS and Image attribute scores.xlsx": sheet(
                [
                    ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"],
                    ["00001.jpg", 34, 50.5, 44, 46, 32, 27.25],
                ]
            )
        },
        images=["TestImage/00001.jpg"],
        expected={
            "TestImage/00001.jpg": dict(
                scores={
                    "overall": 34.0,
                    "brightness": 50.5,
                    "colourfulness": 44.0,
                    "contrast": 46.0,
                    "noisiness": 32.0,
                    "sharpness": 27.25,
                },
                split=None,
            )
        },
        attributes=("brightness", "colourfulness", "contrast", "noisiness", "sharpness"),
    ),
    "KADID-10k": Miniature(
        files={
            "dmos.csv": "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.496\nI02_25_05.png,I02.png,1.0,0.0\n"
        },
        images=["images/I01_01_01.png", "images/I02_25_05.png", "images/I01.png"],
        expected={
            # higher is better, and var is the standard deviation already
            "images/I01_01_01.png": dict(scores={"overall": 4.57}, std=0.496, group="I01.png", split=None),
            "images/I02_25_05.png": dict(scores={"overall": 1.0}, std=0.0, group="I02.png"),
        },
    ),
    "BIQ2021": Miniature(
        files={
            "Train (Images and MOS).csv": "Image Name,MOS,,\nss03 (3753).jpg,0.8471,,\n",
            "Test (Images and MOS).csv": "Image Name,MOS,,\nss01 (1).jpg,0.2874,,\n",
        },
        images=["Images/ss03 (3753).jpg", "Images/ss01 (1).jpg"],
        expected={
            "Images/ss01 (1).jpg": dict(scores={"overall": 0.2874}, split="test"),
            "Images/ss03 (3753).jpg": dict(scores={"overall": 0.8471}, split="train"),
        },
    ),
}

every = pytest.mark.parametrize("name", MINIATURES)


def convert(words):
    """Runs `roc data convert`."""
    return main(["convert", *words])


def module(name):
    return import_module(f"roc.data.datasets.{DATASETS[name][0]}")


@dataclass
class Run:
    """The outcome of one call of the command."""

    status: int
    out: str
    err: str
    path: object
    root: object
    layout: object
    records: list = field(default_factory=list)


@pytest.fixture
def run(tmp_path, capsys):
    """run(NAME, *flags, change=None): builds the miniature, changes it, converts it, and reads what was written."""

    def call(name, *flags, change=lambda root: None, layout=None, build=True):
        root, path = tmp_path / "root", tmp_path / "out.csv"
        if build:
            root.mkdir(exist_ok=True)
            MINIATURES[name].build(root)
        change(root)
        capsys.readouterr()
        status = convert([name, "--root", str(root), "--out", str(path), *flags])
        said = capsys.readouterr()
        result = Run(status, said.out, said.err, path, root, layout or module(name).LAYOUT)
        if status < 2:
            result.records = read_records(path, root, space=result.layout.space)
        else:
            assert not path.exists()
        return result

    return call


def write(path, text, encoding="utf-8"):
    def change(root):
        (root / path).write_bytes(text.encode(encoding))

    return change


def test_every_data_set_has_its_miniature_and_its_row():
    assert list(MINIATURES) == list(DATASETS)
    for name, (file, _) in DATASETS.items():
        assert module(name).LAYOUT.name == name and module(name).__name__ == f"roc.data.datasets.{file}"


@every
def test_the_published_layout_becomes_records(name, run):
    result, mini = run(name), MINIATURES[name]
    assert (result.status, result.err) == (0, "") or name == "AVA-Captions"
    assert [record.id for record in result.records] == list(mini.expected)
    for record in result.records:
        assert record.images == (str(result.root / record.id),) and record.dataset == name
        expected = dict(mini.expected[record.id])
        assert record.scores == pytest.approx(expected.pop("scores"), abs=1e-12)
        assert list(record.scores) == [n for n in ("overall", *mini.attributes) if n in record.scores]
        histograms = expected.pop("histograms", record.histograms)
        assert list(record.histograms) == list(histograms)
        for attribute, histogram in histograms.items():
            assert record.histograms[attribute] == pytest.approx(histogram, abs=1e-12)
        for key, value in expected.items():
            given = getattr(record, key)
            assert given == (pytest.approx(value, abs=1e-12) if isinstance(value, float) else value), key


@every
def test_the_printed_command_trains_on_what_was_written(name, run):
    result = run(name)
    words = shlex.split(result.out.splitlines()[-1].partition("roc finetune ")[2])
    config = load_config(None, read_flags(words, SETTINGS)[1].values)
    assert (config.data_path, config.image_folder) == (str(result.path), str(result.root))
    assert config.attributes == ("overall", *MINIATURES[name].attributes)
    levels = {len(histogram) for record in result.records for histogram in record.histograms.values()}
    assert levels <= {config.num_tokens}
    assert read_records(result.path, result.root, space=config.score_space, num_levels=config.num_tokens)
    assert f"{len(result.records)} records of {name}: " in result.out
    assert all(split in result.out for split in result.layout.splits if split in {r.split for r in result.records})


@every
def test_another_folder_is_told_apart(name, run):
    result = run(name, build=False, change=lambda root: (root / "photos").mkdir(parents=True))
    assert result.status == 2
    assert f"this is not the folder of {name}; nothing of its layout is there" in result.err
    # every file that is needed is named, and how it should look
    needed = [path for path in MINIATURES[name].files if path not in MINIATURES[name].optional]
    missing = "".join(line for line in result.err.splitlines() if line.startswith("  missing: "))
    assert all(path.rpartition("/")[2].rpartition(".")[0] in missing for path in needed)
    assert all(line in result.err for line in module(name).LAYOUT.tree.splitlines())


@every
def test_a_missing_file_is_named(name, run, tmp_path):
    mini = MINIATURES[name]
    root = mini.build(tmp_path / "root")
    for path in [path for path in mini.files if path not in mini.optional]:
        content = (root / path).read_bytes()
        result = run(name, build=False, change=lambda root, path=path: (root / path).unlink())
        assert result.status == 2 and f"a part of {name} is missing" in result.err, path
        assert [path in line for line in result.err.splitlines() if line.startswith("  missing: ")] == [True], path
        (root / path).write_bytes(content)


@every
def test_what_need_not_be_there_need_not_be_there(name, run):
    result = run(name, change=lambda root: [(root / path).unlink() for path in MINIATURES[name].optional])
    assert result.status == 0 and len(result.records) == len(MINIATURES[name].expected)


@every
def test_missing_images_are_refused_and_left_out_on_request(name, run):
    gone, *rest = MINIATURES[name].expected
    listed = gone.rpartition("_")[2] if name == "AADB" else gone.rpartition("/")[2]
    result = run(name, change=lambda root: (root / gone).unlink())
    assert result.status == 2
    assert f"1 of the {len(rest) + 1} images that {name} lists are not there, first " in result.err
    assert listed in result.err and "--allow-missing" in result.err
    if not rest:
        return
    result = run(name, "--allow_missing", change=lambda root: (root / gone).unlink())
    assert result.status == 1 and [record.id for record in result.records] == rest
    report = result.path.with_name("out.csv.left_out.txt").read_text()
    assert listed in report and report.count("\n") == 1
    assert "1 row or image was left out, all listed in " in result.err


@pytest.mark.parametrize("name", ["a.jpg", "b.jpg"])
def test_a_missing_training_image_of_aadb_is_reported_in_the_training_folder(name, run):
    result = run("AADB", change=lambda root: (root / "datasetImages_originalSize" / name).unlink())
    assert f"are not there, first datasetImages_originalSize/{name};" in result.err
    result = run("AADB", change=lambda root: shutil.rmtree(root / "datasetImages_originalSize"))
    assert "first datasetImages_originalSize/b.jpg, datasetImages_originalSize/a.jpg;" in result.err
    result = run("AADB", change=lambda root: (root / "AADB_newtest_originalSize" / "0.750_c.jpg").unlink())
    assert "first AADB_newtest_originalSize/c.jpg;" in result.err or "0.750_c.jpg" in result.err


@every
def test_what_is_known_of_a_data_set_is_told(name, capsys):
    assert convert([name, "--layout"]) == 0
    told = capsys.readouterr().out
    assert all(f"\n{word}" in told for word in ("Layout", "Native range: ", "Split: ", "Licence: ", "Read in: "))
    # what could not be read stands in the docstring and in the constant
    layouts = [module(name).LAYOUT, getattr(module(name), "PUBLISHED", module(name).LAYOUT)]
    assert any(layout.unverified for layout in layouts) == ("layout unverified" in told)


@pytest.mark.parametrize(
    ("name", "path", "extra", "faults"),
    [
        (
            "AVA",
            "AVA.txt",
            "4 40 1 1\n5 50 0 0 0 0 0 0 0 0 0 0 0 0 9\n6 10 1 0 0 0 0 0 0 0 0 0 0 0 9\n"
            "7 ../x 1 0 0 0 0 0 0 0 0 0 0 0 9\n",
            [
                "AVA.txt:4: 4 cells, expected 15",
                "AVA.txt:5: the votes are 0, 0, 0, 0, 0, 0, 0, 0, 0, 0; expected at least one",
                "AVA.txt:6: '10.jpg' was listed before, in AVA.txt:1",
                "AVA.txt:7: 15 cells, expected 15 whole numbers",
            ],
        ),
        (
            "TAD66K",
            "labels/merge/test.csv",
            "c.jpg,high\nd.jpg\ne.jpg,10.5\nf.jpg,nan\n../g.jpg,5\n,5\nh.jpg,\n",
            [
                "labels/merge/test.csv:3: the score is 'high'; expected a number",
                "labels/merge/test.csv:4: 1 cells where the header has 2",
                "labels/merge/test.csv:5: the score is 10.5",
                "labels/merge/test.csv:6: the score is 'nan'; expected a number",
                "labels/merge/test.csv:7: the image is '../g.jpg'; expected a path inside of TAD66K/",
                "labels/merge/test.csv:8: the image is missing; expected a path",
                "labels/merge/test.csv:9: the score is missing; expected a number",
            ],
        ),
        (
            "BIQ2021",
            "Train (Images and MOS).csv",
            # the image is in the test set as well, which was read first and keeps it; a score below the range
            "ss01 (1).jpg,0.3,,\nss02 (1).jpg,-0.00468,,\n",
            [
                "Train (Images and MOS).csv:3: 'ss01 (1).jpg' was listed before, in Test (Images and MOS).csv:2",
                "Train (Images and MOS).csv:4: the score is -0.00468",
            ],
        ),
        (
            "AADB",
            "imgListFiles_label/imgListTrainRegression_score.txt",
            "d.jpg 0.5\nnothing\n",
            [
                "imgListTrainRegression_score.txt:2: d.jpg has no score for balancing_elements",
                "imgListTrainRegression_score.txt:3: 'nothing' is no image with a score",
            ],
        ),
        (
            "PARA",
            "annotation/PARA-Images.csv",
            "session1,a.jpg,u3,3.7\nsession1,a.jpg,u4,\n",
            ["PARA-Images.csv:4: aestheticScore is 3.7, none of the levels 1, 1.5, 2,", "PARA-Images.csv:5: "],
        ),
        (
            "FLICKR-AES",
            "FLICKR-AES_image_labeled_by_each_worker.csv",
            "w4, a.jpg, 6\nw4, a.jpg\n",
            ["worker.csv:6: score is 6, none of the levels 1, 2, 3, 4, 5", "worker.csv:7: 2 cells"],
        ),
        (
            "EVA",
            "data/votes_filtered.csv",
            '"10"="C3"=11=3=4=1=2=4=9.5=1=0=0=0\n"10"="C3"=10=3=0=1=2=4=9.5=1=0=0=0\n',
            [
                "votes_filtered.csv:5: score is 11, none of",
                "votes_filtered.csv:6: visual is 0; expected 1, 2, 3 or 4",
            ],
        ),
        (
            "KonIQ-10k",
            "koniq10k_distributions_sets.csv",
            "d.jpg,0.5,0,0,0,0,4,5,1,test\ne.jpg,1,0,0,0,0,4,5,1,exam\n",
            ["sets.csv:5: the shares 0.5, 0, 0, 0, 0 are not those of 4 votes", "sets.csv:6: the set is 'exam'"],
        ),
        (
            "LAPIS",
            "annotation/LAPIS_PIAA.csv",
            "a.jpg,3,101\n",
            ["LAPIS_PIAA.csv:4: the rating is 101; expected 0..100"],
        ),
        (
            "KADID-10k",
            "dmos.csv",
            "I03_01_01.png,,2.0,0.1\nI03_01_02.png,I03.png,2.0,-0.1\n",
            ["dmos.csv:4: ref_img is missing", "dmos.csv:5: the standard deviation is -0.1"],
        ),
        (
            "LAPIS",
            "annotation/LAPIS_GIAA_Valsplit.csv",
            "9,50,10,0,d.jpg,x\n",
            ["Valsplit.csv:3: the number of votes is 0; expected at least 1"],
        ),
    ],
)
def test_rows_that_cannot_be_used_are_reported(name, path, extra, faults, run):
    """The others are written; each fault names its file and line; the exit status says that something was left out."""

    def append(root):
        with (root / path).open("ab") as file:
            file.write(extra.encode())

    result = run(name, change=append)
    assert result.status == 1
    report = result.path.with_name("out.csv.left_out.txt").read_text().splitlines()
    assert len(report) == len(faults)
    for line, fault in zip(report, faults, strict=True):
        assert fault in line and line in result.err
    assert [record.id for record in result.records] == list(MINIATURES[name].expected)
    # a clean run takes the old report away
    assert run(name).status == 0
    assert not result.path.with_name("out.csv.left_out.txt").exists()


def test_a_table_with_other_columns_is_another_file(run):
    result = run("KADID-10k", change=write("dmos.csv", "image,mos\na.png,3\n"))
    assert result.status == 2
    assert "there is no column dist_img, ref_img, dmos, var, only image, mos; this is not the file" in result.err


def test_nothing_usable_is_an_error(run):
    result = run("KADID-10k", change=write("dmos.csv", "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,6,0.1\n"))
    assert (
        result.status == 2 and "there is nothing to write" in result.err and "dmos.csv:2: the score is 6" in result.err
    )


def test_a_folder_too_high_is_pointed_down(run, tmp_path):
    MINIATURES["KADID-10k"].build(tmp_path / "root" / "kadid10k")
    result = run("KADID-10k", build=False)
    assert result.status == 2 and f"give --root {tmp_path / 'root' / 'kadid10k'}" in result.err


def test_no_folder_at_all(run):
    result = run("SPAQ", build=False)
    assert result.status == 2 and "no such folder; --root has to be the folder of SPAQ" in result.err


def test_tags_of_ava_go_beside_the_records(run):
    result = run("AVA")
    tags = [row for _, row in read_rows(result.path.with_name("out.tags.csv"), None)]
    assert tags == [
        {"id": "images/10.jpg", "tag_1": "Abstract", "tag_2": "Nature", "challenge": "Self Portrait"},
        {"id": "images/20.jpg", "tag_1": None, "tag_2": "Macro", "challenge": "Self Portrait"},
        {"id": "images/30.jpg", "tag_1": None, "tag_2": None, "challenge": "Self Portrait"},
    ]


def test_comments_come_out_in_the_template(run):
    first = run("AVA-Captions").records[0]
    assert (
        answer(tuple(first.scores), first.comment)
        == "The aesthetic rate of the image is [SCORE]. Lovely light, well seen!"
    )


def test_attributes_come_out_in_the_template(run):
    record = run("ICAA17K").records[0]
    assert (
        answer(tuple(record.scores))
        == "The aesthetic rate of the image is [SCORE], the colour rate of the image is [SCORE]."
    )


def test_every_comment_on_request(run):
    result = run("AVA-Captions", "--captions", "all")
    assert [(record.id, record.comment) for record in result.records] == [
        ("images/10.jpg", "Lovely light, well seen!"),
        ("10.jpg#2", "Too dark."),
        ("images/20.jpg", "i like it"),
    ]


def test_an_image_of_several_comments_is_missing_once(run):
    result = run("AVA-Captions", "--captions", "all", change=lambda root: (root / "images/10.jpg").unlink())
    assert result.status == 2 and "1 of the 2 images that AVA-Captions lists are not there" in result.err


def test_the_test_images_of_ava_inside_ava_captions_are_counted(run):
    """20 is an official test image of AVA and in val here."""
    assert "1 image of AVA's official test set is in train or val here" in run("AVA-Captions").err


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"filename": "30.jpg", "split": "train", "sentences": []}, "30.jpg: there is no comment"),
        ({"filename": "30.jpg", "split": "dev", "sentences": [{"raw": "x"}]}, "30.jpg: the split is 'dev'"),
        ({"filename": "40.jpg", "split": "test", "sentences": [{"raw": "x"}]}, "40.jpg has no votes in AVA.txt"),
        ({"filename": "30.jpg", "split": "test", "sentences": [{"raw": "a [SCORE]"}]}, "the comment contains [SCORE]"),
        ({"split": "train"}, "there is no filename"),
    ],
)
def test_captions_that_cannot_be_used(entry, fault, run):
    name = "CLEAN_AVA_FULL_AFTER_SUBJECTIVE_CLEANING.json"
    content = json.loads(MINIATURES["AVA-Captions"].files[name])
    content["images"].append(entry)
    result = run("AVA-Captions", change=write(name, json.dumps(content)))
    assert result.status == 1 and f"{name}: image 3: {fault}" in result.err and len(result.records) == 2


@pytest.mark.parametrize("text", ['{"images": [{"filename": "10', '["a"]'])
def test_captions_cut_short(text, run):
    result = run("AVA-Captions", change=write("CLEAN_AVA_FULL_AFTER_SUBJECTIVE_CLEANING.json", text))
    assert result.status == 2 and "CLEANING.json: " in result.err


def test_ratings_that_are_not_those_of_the_table(run):
    """One more rating of 1 brings the mean from 4 to 3, which is what is taken."""
    ratings = MINIATURES["PARA"].files["annotation/PARA-Images.csv"] + "session1,a.jpg,u3,1\n"
    result = run("PARA", change=write("annotation/PARA-Images.csv", ratings))
    assert result.status == 0 and result.records[1].scores["overall"] == 3.0 and result.records[1].n_votes == 3
    assert "1 photos have a published mean that is not the mean of their ratings, first session1/a.jpg" in result.err


def test_without_single_ratings_the_published_statistics_are_taken(run):
    result = run("LAPIS", change=lambda root: (root / "annotation/LAPIS_PIAA.csv").unlink())
    assert (result.records[2].scores["overall"], result.records[2].std, result.records[2].n_votes) == (50.0, 70.71, 2)


def test_a_table_in_latin_1(run):
    def change(root):
        write("annotation/LAPIS_GIAA_Trainsplit.csv", f"{LAPIS_HEAD}\n1,50,70,2,rené.jpg,x\n", "latin-1")(root)
        (root / "images/rené.jpg").write_bytes(PICTURE)

    result = run("LAPIS", change=change)
    assert result.status == 0 and result.records[2].id == "images/rené.jpg"
    assert "LAPIS_GIAA_Trainsplit.csv is not UTF-8 and was read as Latin-1" in result.err


@pytest.mark.parametrize(
    ("name", "expected", "warned"),
    [
        ("KonIQ-10k", {"1024x768/a.jpg": 77.38, "1024x768/b.jpg": 50.5, "1024x768/c.jpg": 4.5}, ""),
        ("FLICKR-AES", {"40K/a.jpg": 0.25, "40K/b.jpg": 0.5}, "layout unverified: that the scores of"),
    ],
)
def test_published_scores_on_their_own_scale(name, expected, warned, run):
    result = run(name, "--scores", "published", layout=module(name).PUBLISHED)
    assert {record.id: record.scores["overall"] for record in result.records} == expected
    assert not any(record.histograms or record.std or record.n_votes for record in result.records)
    assert warned in result.err and bool(warned) == bool(result.err)
    assert f"--max_score {module(name).PUBLISHED.max_score:g} " in result.out


def test_the_table_of_koniq_without_a_split(run):
    def change(root):
        (root / "koniq10k_distributions_sets.csv").unlink()
        text = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,MOS_zscore\na.jpg,0,0,0.25,0.75,0,4,3.75,0.5,77.38\n"
        write("koniq10k_scores_and_distributions.csv", text)(root)

    result = run("KonIQ-10k", change=change)
    assert (result.records[0].scores["overall"], result.records[0].split) == (3.75, None)
    assert "has no split" in result.err


def test_kadid_calls_a_standard_deviation_var():
    """30 votes with mean 4.57 and spread 0.496: 17 fives and 13 fours. No 30 votes have that as their variance."""
    mean = (17 * 5 + 13 * 4) / 30
    assert round(mean, 2) == 4.57
    assert round(sqrt((17 * 5**2 + 13 * 4**2) / 30 - mean**2), 3) == 0.496
    variances = {round(squares / 30 - mean**2, 3) for squares in range(30 * 25 + 1)}
    unbiased = {round((squares - 30 * mean**2) / 29, 3) for squares in range(30 * 25 + 1)}
    assert 0.496 not in variances | unbiased


def test_spaq_saved_as_csv_needs_no_openpyxl(run):
    def change(root):
        (root / "Annotations/MOS and Image attribute scores.xlsx").unlink()
        head = "Image name,MOS,Brightness,Colorfulness,Contrast,Noisiness,Sharpness"
        write("Annotations/MOS_and_Image_attribute_scores.csv", f"{head}\n00001.jpg,34,50.5,44,46,32,27.25\n")(root)

    assert run("SPAQ", change=change).records[0].scores == MINIATURES["SPAQ"].expected["TestImage/00001.jpg"]["scores"]


def test_xlsx_without_openpyxl(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    result = run("SPAQ")
    assert result.status == 2 and "pip install 'roc-mllm[xlsx]'" in result.err


def test_a_row_of_an_xlsx_that_is_wider_than_the_header(run):
    head = ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"]
    rows = [head, ["00001.jpg", 1, 2, 3, 4, 5, 6], ["00002.jpg", 1, 2, 3, 4, 5, 6, "and more"]]
    name = "Annotations/MOS and Image attribute scores.xlsx"
    result = run("SPAQ", change=lambda root: (root / name).write_bytes(sheet(rows)))
    assert result.status == 1 and len(result.records) == 1
    assert f"{name}:3: 8 cells where the header has 7" in result.err


def test_a_damaged_xlsx(run):
    result = run("SPAQ", change=write("Annotations/MOS and Image attribute scores.xlsx", "Image name;MOS"))
    assert result.status == 2 and "this is no .xlsx, or a damaged one" in result.err


def test_a_table_with_an_open_quotation_mark(run):
    text = 'image,score\na.jpg,1\n"b.jpg,2\n' + "c.jpg,3\n" * 20000
    result = run("TAD66K", change=write("labels/merge/train.csv", text))
    assert result.status == 2 and "train.csv:3: cannot be read from here on" in result.err


def test_an_open_quotation_mark_swallows_no_rows(run):
    """Short tables, and the last cell of a row, too: the rest of the file would be one cell that nobody looks at."""
    files = MINIATURES["ICAA17K"].files
    path = "1train.csv"
    result = run("ICAA17K", change=write(path, files[path] + 'a.jpg,1,2,"0.1\nb.jpg,1,2,0.1\n'))
    line = files[path].count("\n") + 1
    assert result.status == 2 and f"{path}:{line}: cannot be read from here on" in result.err


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("TAD66K", "labels/merge/test.csv", "image,score\n"),
        ("AVA", "aesthetics_image_lists/generic_test.jpgl", "\n"),
    ],
)
def test_a_table_without_rows_is_not_a_whole_data_set(name, path, text, run):
    result = run(name, change=write(path, text))
    assert result.status == 2 and f"{path}: there is nothing in it" in result.err


def test_the_data_set_itself_is_not_written_over(tmp_path, capsys):
    root = MINIATURES["TAD66K"].build(tmp_path)
    before = (root / "labels/merge/test.csv").read_bytes()
    assert convert(["TAD66K", "--root", str(root), "--out", f"{root}/labels/../labels/merge/test.csv"]) == 2
    assert "is a file of the data set" in capsys.readouterr().err
    assert (root / "labels/merge/test.csv").read_bytes() == before


@pytest.mark.parametrize("there", ["folder", "broken link"])
def test_what_is_no_file_is_no_image(there, run):
    def change(root):
        (root / "TAD66K/a.jpg").unlink()
        if there == "folder":
            (root / "TAD66K/a.jpg").mkdir()
        else:
            (root / "TAD66K/a.jpg").symlink_to("annex")

    result = run("TAD66K", change=change)
    assert result.status == 2 and "1 of the 2 images that TAD66K lists are not there, first TAD66K/a.jpg" in result.err


def test_one_split_needs_only_its_images(run):
    result = run("TAD66K", "--split", "test", change=lambda root: (root / "TAD66K/a.jpg").unlink())
    assert result.status == 0 and [record.split for record in result.records] == ["test"]


def test_images_in_a_folder_of_another_name(run):
    result = run("KADID-10k", "--images=photos", change=lambda root: (root / "images").rename(root / "photos"))
    assert [record.id for record in result.records] == ["photos/I01_01_01.png", "photos/I02_25_05.png"]


def test_histograms_can_be_left_out(run):
    result = run("PARA", "--no-histograms")
    assert not any(record.histograms for record in result.records) and result.records[0].n_votes == 4
    assert "--num_tokens 10 " in result.out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["XYZ", "--root", ".", "--out", "x.csv"], "there is no data set 'XYZ'; known are AVA, AVA-Captions, "),
        (["AVA", "--out", "x.csv"], "--root DIR --out FILE"),
        (["AVA", "--root", ".", "--out", "x.csv", "--scores", "published"], "it has one score per image"),
        (["AVA", "--root", ".", "--out", "x.csv", "--captions", "all"], "captions is 'all', but AVA has no comments"),
        (["SPAQ", "--root", ".", "--out", "x.csv", "--split", "test"], "SPAQ has no split test; it publishes none"),
        (["AVA", "--root", ".", "--out", "x.csv", "--split", "val"], "AVA has no split val; it publishes train, test"),
    ],
)
def test_words_that_cannot_be_used(words, fault, capsys):
    assert convert(words) == 2
    assert fault in capsys.readouterr().err


def test_a_file_of_an_unknown_kind(tmp_path, capsys):
    root = MINIATURES["KADID-10k"].build(tmp_path)
    assert convert(["KADID-10k", "--root", str(root), "--out", str(tmp_path / "out.xml")]) == 2
    assert "'.xml' is not known" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["koniq10k", "KonIQ_10K", "KONIQ-10k"])
def test_capitals_and_dashes_do_not_matter(name, tmp_path):
    root = MINIATURES["KonIQ-10k"].build(tmp_path)
    assert convert([name, "--root", str(root), "--out", str(tmp_path / "out.jsonl")]) == 0
    assert len(read_records(tmp_path / "out.jsonl", root, space=module("KonIQ-10k").LAYOUT.space)) == 3


def test_help_shows_an_example_and_every_data_set(capsys):
    with pytest.raises(SystemExit) as end:
        convert(["--help"])
    told = capsys.readouterr().out
    assert end.value.code == 0 and "example: roc data convert PARA" in told and all(name in told for name in DATASETS)
