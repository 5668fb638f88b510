"""A look at a corpus counts its texts, and shows some of each tier with what was rejected."""

import json

import pytest
from critiques import Scripted, nine, options, silent
from PIL import Image

from roc.data.rows import DataError
from roc.reasoning.corpus import write_corpus
from roc.reasoning.look import look_at, printed, write_page
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 10)


@pytest.fixture
def corpus(tmp_path):
    said = iter(["Short.", None])
    settings = options(nine(tmp_path))
    author = Scripted(lambda request: next(said, None) if request.kind == "write" else None)
    write_corpus(settings, silent, author.both())
    return tmp_path / "corpus.jsonl"


def test_it_counts(corpus):
    look = look_at(corpus, SPACE)
    assert look.tiers == {"bad": 3, "fair": 3, "good": 3} and look.reasons == {"form": 1} and look.odd == []
    assert look.different == 3
    lengths = [len(text.critique.split()) for text in look.texts]
    assert look.lengths() == (min(lengths), sorted(lengths)[4], max(lengths)) and look.lengths("bad")[0] > 30
    first, second = printed(look)
    assert "9 texts (bad 3, fair 3, good 3)" in first and second == "  rejected, form: 1"


def test_the_page_shows_some_of_each_tier(corpus, tmp_path):
    look = look_at(corpus, SPACE)
    assert write_page(tmp_path / "page.html", look, 6) == 6 + 1
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure>") == 7 == page.count("data:image/jpeg")
    assert page.count("<b>bad</b>") >= 2 and "form: 1 words" in page and "<td" in page
    assert write_page(tmp_path / "again.html", look, 6) and (tmp_path / "again.html").read_text() == page


def test_names_and_words_are_escaped_and_a_lost_picture_is_told(corpus, tmp_path):
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    rows[0]["id"] = "<script>"
    (tmp_path / rows[1]["image"]).unlink()
    corpus.write_text("\n".join(map(json.dumps, rows)))
    write_page(tmp_path / "page.html", look_at(corpus, SPACE))
    page = (tmp_path / "page.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "no image: no such file" in page


def test_records_of_another_form_are_named(corpus, tmp_path):
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    rows[0]["conversations"][1]["value"] = "The aesthetic rate of the image is [SCORE]."
    corpus.write_text("\n".join(map(json.dumps, rows)))
    look = look_at(corpus, SPACE)
    assert look.odd == [rows[0]["id"]] and "1 record is no critique" in printed(look)[-1]
    corpus.write_text(json.dumps(rows[0]))
    with pytest.raises(ValueError, match="so this is no corpus; roc reasoning corpus writes one"):
        look_at(corpus, SPACE)
    with pytest.raises(DataError, match="outside the range"):
        look_at(corpus, ScoreSpace(9, 10))


def test_pictures_may_lie_elsewhere(corpus, tmp_path):
    (tmp_path / "other").mkdir()
    for number in range(9):
        Image.new("RGB", (8, 8)).save(tmp_path / f"other/{number}.png")
    look = look_at(corpus, SPACE, str(tmp_path / "other"))
    assert look.texts[0].image.startswith(str(tmp_path / "other"))
