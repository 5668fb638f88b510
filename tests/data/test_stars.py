"""Stars of other programs as a data file: which are read, which left out, and when nothing is written."""

import os
import shlex
import shutil
import subprocess

import pytest
from PIL import Image

from roc.commands.data import main
from roc.data.reading import read_records
from roc.data.stars import stars_to_file
from roc.data.xmp import new_packet, with_rating
from roc.score_space import ScoreSpace

PACKET = with_rating(
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b"<rdf:Description/></rdf:RDF></x:xmpmeta>",
    1,
)


def rated(stars):
    return PACKET.replace(b'"1"', b'"%d"' % stars)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("photos/sub")
    return tmp_path / "photos"


def photo(path, stars=None):
    more = {"tiffinfo": {700: rated(stars or 0)}} if path.suffix == ".tif" else {"xmp": rated(stars or 0)}
    Image.new("RGB", (16, 12), "grey").save(path, **({} if stars is None else more))


def test_sidecars_first_then_what_is_inside(photos):
    inside = {"a.jpg": 4, "b.png": None, "c.tif": 2, "d.webp": 3, "e.jpg": 5, "f.jpg": None, "g.jpg": -1}
    for name, stars in inside.items():
        photo(photos / name, stars)
    photo(photos / "sub" / "ä.JPG")
    (photos / "sub" / "ä.XMP").write_bytes(rated(1))
    (photos / "e.jpg.xmp").write_bytes(rated(2))
    (photos / "a.xmp").write_bytes(rated(0))  # a sidecar without a rating: what is inside counts
    photo(photos / "h.jpg")
    (photos / "h.jpg.xmp").write_bytes(new_packet(5, "1"))
    found = stars_to_file("photos", "ratings.csv")
    records = read_records("ratings.csv", "photos", space=ScoreSpace(1, 5, 5))
    assert {os.path.relpath(one.images[0], "photos"): one.scores["overall"] for one in records} == {
        **{"a.jpg": 4, "c.tif": 2, "d.webp": 3, "e.jpg": 2},
        os.path.join("sub", "ä.JPG"): 1,
    }
    assert (found.photos, found.unrated, found.rejected, found.predicted, found.other_inside) == (9, 2, 1, 1, 1)
    assert stars_to_file("photos", "ratings.csv", rejected=0).stars[0] == 1


def test_what_cannot_be_read_is_left_out_and_named(photos, capsys):
    for name, stars in {"a.jpg": 1, "b.jpg": 2, "c.jpg": 3, "d.jpg": None, "e.jpg": 3}.items():
        photo(photos / name, stars)
    (photos / "c.jpg.xmp").write_bytes(b"<nonsense")
    (photos / "d.jpg.xmp").write_bytes(rated(3))
    (photos / "d.xmp").write_bytes(rated(4))
    (photos / "e.jpg").write_bytes(b"no picture")
    assert main(["from-xmp", "photos", "--out", "ratings.csv"]) == 1
    out, err = capsys.readouterr()
    assert "ratings.csv: 2 of 5 photos; stars: 1 with 1, 1 with 2" in out and "--image_folder photos" in out
    assert "3 photos could not be read" in err and f"photos{os.sep}c.jpg.xmp is no XMP" in err
    assert "d.jpg.xmp says 3, d.xmp says 4; correct one" in err and "e.jpg" in err


@pytest.mark.parametrize(
    ("stars", "words", "message"),
    [
        ([], "photos", "there is no photo in it"),
        ([None, None], "photos", "none of its 2 photos has a rating"),
        ([-1], "photos", "1 rejected"),
        ([3, 3, None], "photos", "all 2 rated photos have 3 stars"),
        ([3], "nowhere", "no such folder"),
        ([3], "photos/0.jpg", "is no folder"),
        ([3], "photos --out ratings.txt", "expected a file that ends in"),
        ([3], "photos --rejected 6", "rejected"),
    ],
)
def test_nothing_to_learn_from(photos, stars, words, message, capsys):
    for i, one in enumerate(stars):
        photo(photos / f"{i}.jpg", one)
    assert main(["from-xmp", "--out", "ratings.csv", *words.split()]) == 2
    assert message in capsys.readouterr().err and not os.path.exists("ratings.csv")


def test_raw_files_that_cannot_be_opened_are_counted(photos, monkeypatch, capsys):
    monkeypatch.setattr("roc.data.folders.can_read_raw", lambda: False)
    (photos / "a.NEF").write_bytes(b"raw")
    assert main(["from-xmp", "photos", "--out", "ratings.csv"]) == 2
    assert "no photo in it but 1 RAW file; to use RAW files, install roc-mllm[raw]" in capsys.readouterr().err
    for i, stars in enumerate([1, 2]):
        photo(photos / f"{i}.jpg", stars)
    photo(photos / "b.jpg")
    (photos / "b.nef").write_bytes(b"raw")  # the picture beside it is read
    assert main(["from-xmp", "photos", "--out", "ratings.csv"]) == 0
    assert "1 photo in RAW files, left out" in capsys.readouterr().out


def test_the_printed_flags_can_be_pasted(photos, capsys):
    own = photos / "Süd 2024"
    own.mkdir()
    for i, stars in enumerate([1, 2]):
        photo(own / f"{i}.jpg", stars)
    assert main(["from-xmp", str(own), "--out", "my stars.csv"]) == 0
    flags = shlex.split(capsys.readouterr().out.split("train on it:")[1])
    assert flags[:4] == ["--data_path", "my stars.csv", "--image_folder", str(own)]


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_what_exiftool_writes_is_read(photos):
    words = []
    for i, name in enumerate(["a.jpg", "b.png", "c.tif", "d.webp", "e.jpg"], start=1):
        photo(photos / name)
        to = ["-o", "photos/e.xmp"] if name == "e.jpg" else ["-overwrite_original"]
        words += [f"-XMP-xmp:Rating={i}", *to, f"photos/{name}", "-execute"]
    subprocess.run(["exiftool", "-q", *words[:-1]], check=True)
    assert stars_to_file("photos", "ratings.csv").stars == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}
