"""What is chosen by scores, and copied."""

from roc.scoring.selection import choose, copy_images, first_score
from roc.scoring.sources import Source

SCORES = {"a": 5.0, "b": 7.0, "c": None, "d": 7.0, "e": 6.0}


def rows():
    yield {"image": "gone", "error": "no such file"}
    for image, score in SCORES.items():
        yield {"image": image, "prediction": score, "std": 1.0, "prediction.light": 9.0}


def chosen(**settings):
    return [row["image"] for row in choose(rows, **settings)]


def test_the_best_come_first_and_of_equals_the_earlier():
    assert chosen() == ["b", "d", "e", "a"]
    assert chosen(top=2) == ["b", "d"] and chosen(at_least=6) == ["b", "d", "e"]
    assert chosen(top=9, at_least=7) == ["b", "d"] and chosen(at_least=8) == []


def test_the_first_attribute_asked_for_decides():
    assert first_score({"image": "a", "prediction.light": 2.0, "prediction.focus": 3.0}) == 2.0
    assert first_score({"image": "a", "error": "no such file"}) is None


def test_copies_are_named_by_rank_and_keep_what_is_there(tmp_path):
    sources = []
    for i in range(10):
        (tmp_path / f"{i}.jpg").write_bytes(bytes([i]))
        sources.append(Source(f"sub\\{i}.jpg", str(tmp_path / f"{i}.jpg")))
    copy_images(sources, tmp_path / "best")
    copy_images(sources, tmp_path / "best")
    assert sorted(path.name for path in (tmp_path / "best").iterdir())[::9] == ["01_0.jpg", "10_9.jpg"]
    assert (tmp_path / "best/03_2.jpg").read_bytes() == b"\x02"
