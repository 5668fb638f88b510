"""The page of thumbnails: one file, sorted, safe against any name."""

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from heads import picture
from PIL import Image

from roc.scoring import gallery
from roc.scoring.gallery import Shown, write_gallery
from roc.scoring.sources import Source, find_sources


class Page(HTMLParser):
    """Elements of a page: (tag, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]


def write(path, shown, **settings):
    count = write_gallery(path, shown, scale=(1, 10), attribute="overall", caption="scored by mine", **settings)
    return count, Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def sources(tmp_path):
    for i, size in enumerate([(900, 600), (60, 90), (400, 400)]):
        picture(i, size).save(tmp_path / f"{i} #%&.jpg")
    return find_sources([tmp_path]).sources


def test_thumbnails_in_the_order_given_and_nothing_from_outside(sources, tmp_path):
    shown = [Shown(source, score) for source, score in zip(sources, (9.5, 5.5, 1.0), strict=True)]
    count, page = write(tmp_path / "out/page.html", shown)
    assert count == 3
    assert [figure["data-score"] for figure in page.all("figure")] == ["9.5000", "5.5000", "1.0000"]
    assert [bar["style"] for bar in page.all("i")] == ["width:94.4%", "width:50.0%", "width:0.0%"]
    sizes = []
    for image in page.all("img"):
        data = base64.b64decode(image["src"].removeprefix("data:image/jpeg;base64,"))
        sizes.append(Image.open(io.BytesIO(data)).size)
        assert sizes[-1] == (int(image["width"]), int(image["height"]))
        assert "loading" not in image  # a lazy picture stays blank in a print
    assert sizes == [(320, 213), (60, 90), (320, 320)]
    assert page.all("link") == [] and not re.search(r"https?:", (tmp_path / "out/page.html").read_text())
    assert [link["href"] for link in page.all("a")] == [f"../{i}%20%23%25%26.jpg" for i in range(3)]


def test_names_and_texts_are_no_markup(sources, tmp_path):
    name = 'a"><script>alert(1)</script>.jpg'
    _, page = write(tmp_path / "page.html", [Shown(sources[0]._replace(name=name), 5.0, "<b>soft</b> light")])
    assert len(page.all("script")) == 1 and len(page.all("b")) == 1
    assert page.all("img")[0]["alt"] == name


def test_of_many_the_best_and_the_worst(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "MOST", 4)
    count, page = write(tmp_path / "page.html", [Shown(sources[1], 9 - i) for i in range(7)])
    assert count == 4
    assert [float(figure["data-score"]) for figure in page.all("figure")] == [9, 8, 4, 3]
    assert "the best 2 and the worst 2 of 7 images" in (tmp_path / "page.html").read_text()


def test_a_picture_that_has_gone_leaves_its_place(tmp_path):
    count, page = write(tmp_path / "page.html", [Shown(Source("gone.jpg", "gone.jpg"), 5.0)])
    assert count == 1 and page.all("img") == [] and page.all("figure")[0]["data-name"] == "gone.jpg"


def test_only_what_a_browser_can_open_is_linked(tmp_path):
    names = ["https://host/a b.jpg", "s3://bucket/a.jpg", "here.jpg"]
    found = [gallery._link(Source(name, name), tmp_path) for name in names]
    assert found[:2] == ["https://host/a b.jpg", None] and found[2].endswith("here.jpg")
    assert gallery._link(Source("a.tar/b.jpg", "a.tar", offset=512, size=9), tmp_path) is None
