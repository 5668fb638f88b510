"""Stars in sidecars: by percentile and by score, beside what other programs wrote, and never in a photo."""

import hashlib
import os
import shutil
import subprocess

import pytest
from heads import build, picture

from roc.checkpoint.folder import save
from roc.commands import score
from roc.data.sidecars import read_sidecar
from roc.data.stars import stars_to_file
from roc.data.xmp import new_packet
from roc.scoring.options import ScoreOptions
from roc.scoring.sources import Source, find_sources
from roc.scoring.stars import stars_of, write_stars

OTHERS = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/">\r\n<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<!-- by another program --><rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Label="Red"
  xmlns:darktable="http://darktable.sf.net/" darktable:history_end='3' xmp:Rating="0"><darktable:mask a="&#10;"/>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    for i in range(5):
        picture(i, (24, 16)).save(f"photos/{i}.jpg")
    return tmp_path / "photos"


def give(values=(1, 3, 5, 7, 9), sources=None, **asked):
    options = ScoreOptions(paths=("photos",), checkpoint="m", out="scores.csv", xmp="stars", **asked)
    sources = sources or find_sources(["photos"]).sources
    rows = [{"image": s.name, "prediction": v} for s, v in zip(sources, values, strict=True)]
    return write_stars(options, sources, lambda: iter(rows))


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}


def test_thresholds():
    assert stars_of([1, 2, 3, 4, 5], (10, 35, 65, 90), "percentile") == [2, 2, 3, 4, 5]
    assert (
        stars_of([3, 3, 3], (10, 35, 65, 90), "percentile") == [3, 3, 3] and stars_of([], (1, 2, 3, 4), "score") == []
    )
    assert stars_of([1.9, 2, 5, 9], (2, 4, 6, 8), "score") == [1, 2, 3, 5]


def test_new_sidecars_and_photos_untouched(photos):
    before = digests(photos)
    done = give(xmp_at=(2, 4, 6, 8), xmp_by="score")
    assert (done.stars, done.written, done.kept, done.faults) == ({1: 1, 2: 1, 3: 1, 4: 1, 5: 1}, 5, 0, [])
    assert {name: digest for name, digest in digests(photos).items() if name in before} == before
    assert [read_sidecar(photos / f"{i}.jpg.xmp").rating for i in range(5)] == [1, 2, 3, 4, 5]
    again = give(xmp_at=(2, 4, 6, 8), xmp_by="score")
    assert (again.stars.total(), again.written) == (5, 0)
    assert give(xmp_at=(1, 2, 3, 4), xmp_by="score").written == 4  # its own stars are given anew
    with pytest.raises(ValueError, match="5 with stars that roc gave"):
        stars_to_file("photos", "ratings.csv")


def test_other_programs_sidecars_keep_everything_else(photos):
    (photos / "0.jpg.xmp").write_bytes(OTHERS)
    (photos / "1.xmp").write_bytes(OTHERS)
    (photos / "1.xmp").chmod(0o640)
    (photos / "2.jpg.xmp").write_bytes(OTHERS.replace(b'Rating="0"', b'Rating="2"'))
    (photos / "3.jpg.xmp").write_bytes(b"<broken")
    picture(4, (24, 16)).save(photos / "4.jpg", xmp=OTHERS.replace(b'Rating="0"', b'Rating="-1"'))
    before = digests(photos)
    done = give(xmp_at=(2, 4, 6, 8), xmp_by="score")
    assert (done.written, done.kept, len(done.faults)) == (2, 2, 1) and "3.jpg.xmp is no XMP" in done.faults[0]["error"]
    assert (photos / "0.jpg.xmp").read_bytes() == OTHERS.replace(b'Rating="0"', b'Rating="1"')
    assert (photos / "1.xmp").read_bytes() == OTHERS.replace(b'Rating="0"', b'Rating="2"')
    assert (photos / "1.xmp").stat().st_mode & 0o777 == 0o640
    changed = {name for name, digest in digests(photos).items() if before.get(name) != digest}
    assert changed == {"0.jpg.xmp", "1.xmp"}
    done = give(xmp_at=(2, 4, 6, 8), xmp_by="score", xmp_overwrite=True)
    assert done.kept == 0 and read_sidecar(photos / "2.jpg.xmp").rating == 3
    assert read_sidecar(photos / "4.jpg.xmp").rating == 5 and (photos / "3.jpg.xmp").read_bytes() == b"<broken"


def test_names_of_new_sidecars(photos):
    (photos / "0.png").write_bytes(b"of the same name")
    (photos / "1.xmp").write_bytes(new_packet(1, "0"))
    sources = find_sources(["photos/*.jpg"]).sources
    done = give(sources=sources, xmp_name="stem")
    assert sorted(path.name for path in photos.glob("*.xmp")) == ["1.xmp", "2.xmp", "3.xmp", "4.xmp"]
    assert "0.xmp would belong to other files of that name too" in done.faults[0]["error"]
    (photos / "0.xmp").write_bytes(OTHERS)  # shared by 0.jpg and 0.png: neither's own
    assert give(sources=sources).faults == [] and (photos / "0.xmp").read_bytes() == OTHERS
    inside = Source("a.tar/0.jpg", "a.tar", offset=512, size=9)
    assert "it lies in a tar file" in give([1], [inside]).faults[0]["error"]


def test_the_command_and_what_exiftool_reads_back(photos, capfd):
    save(*build("llava")[:2], "model")
    words = ["photos", "--checkpoint", "model", "--out", "scores.csv", "--workers", "0", "--xmp", "stars"]
    (photos / "0.jpg.xmp").write_bytes(OTHERS)
    assert score.main(words) == 0
    out = capfd.readouterr().out
    assert "stars: 0 with 1, 2 with 2, 1 with 3, 1 with 4, 1 with 5; 5 sidecars written" in out
    (photos / "1.jpg.xmp").write_bytes(b"<broken")
    assert score.main(words) == 1 and "photos/1.jpg.xmp is no XMP" in capfd.readouterr().err
    (photos / "1.jpg.xmp").unlink()
    assert score.main(words) == 0
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not here to read it back")
    own = [read_sidecar(photos / f"{i}.jpg.xmp").rating for i in range(5)]
    told = ["exiftool", "-q", "-T", "-XMP-xmp:Rating", "-XMP-xmp:Label", *(f"photos/{i}.jpg.xmp" for i in range(5))]
    read = subprocess.run(told, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [float(line.split()[0]) for line in read] == own and read[0].split()[1] == "Red"
