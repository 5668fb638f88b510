"""The report is one page, complete in itself, and nothing in a user's file becomes part of its HTML."""

import re
from html.parser import HTMLParser

import pytest
from evaluations import make_metrics, make_rows
from PIL import Image

from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.report import WORST, report_html, write_report
from roc.evaluation.summary import evaluate_predictions

EVIL = '<script>alert("x")</script>&<img src=x onerror=y>'
PICTURES = {"scatter": b"light"}, {"scatter": b"dark"}


class Page(HTMLParser):
    """Parses a page: its tags, checked to be closed in order, and the text between them."""

    VOID = {"meta", "img", "source", "br", "line", "circle"}

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_complete_in_itself(tmp_path):
    pytest.importorskip("matplotlib")
    rows = make_rows(12)
    history = [{"step": step, "loss": 1 / step} for step in range(1, 5)]
    paths = write_report(tmp_path, rows, make_metrics(rows) | {"dataset": "Mine"}, history)
    names = ["scatter", "errors", "calibration", "coverage", "distribution", "spread", "training"]
    assert [path.name for path in paths] == [*(f"{name}.png" for name in names), "report.html"]
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    sources = [value for _, found in page.tags for name, value in found.items() if name in ("src", "srcset", "href")]
    assert len(sources) == 2 * len(names)  # each in light and in dark
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    text = " ".join(page.text)
    for expected in ("Mine", "SRCC", "votes in 80%", "Attributes", "Subsets", "night", "light", "All 11"):
        assert expected in text, expected


def test_names_from_a_file_are_text_and_nothing_else():
    rows = [
        EvaluatedRow(f"{EVIL}{n}", {"overall": n, EVIL: n}, {"overall": n * n, EVIL: 1.0}, subset=EVIL)
        for n in range(6)
    ]
    metrics = evaluate_predictions(rows, space=None, attributes=("overall", EVIL), n_resamples=0)
    metrics |= {"dataset": EVIL, "command": f"roc evaluate {EVIL}", "split": EVIL}
    html = report_html(rows, metrics, *PICTURES)
    page = Page(html)
    assert not [tag for tag, attributes in page.tags if tag == "script" or "onerror" in attributes]
    assert "<script" not in html and "onerror=y>" not in html
    assert sum(EVIL in text for text in page.text) >= 4  # title, attribute, subset, ids, command


def test_the_worst_rows_come_first_with_their_pictures(tmp_path):
    Image.new("RGB", (400, 200), "teal").save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    images = {29: "a.png", 28: "broken.png", 27: "missing.png"}
    rows = [
        EvaluatedRow(f"row{n}", {"overall": 0.0}, {"overall": float(-n)}, image=str(tmp_path / images.get(n, "a.png")))
        for n in range(30)
    ]
    html = report_html(rows, evaluate_predictions(rows, space=None, n_resamples=0), *PICTURES)
    cards = html.split('<div class="card">')[1:]
    assert [re.search("<code>(.*?)</code>", card)[1] for card in cards] == [
        f"row{n}" for n in range(29, 29 - WORST, -1)
    ]
    assert "data:image/jpeg" in cards[0]
    images = re.findall("<img[^>]*>", html)
    assert images and all('decoding="sync"' in image and "lazy" not in image for image in images)
    assert "no image:" in cards[1] and "no such file" in cards[2]
    assert str(tmp_path) not in "".join(cards)
    nowhere = [EvaluatedRow(row.id, row.scores, row.predictions) for row in rows]
    assert "no image given" in report_html(nowhere, evaluate_predictions(rows, space=None, n_resamples=0), *PICTURES)


def test_published_numbers_say_whether_they_may_be_compared():
    rows = make_rows()
    html = report_html(rows, make_metrics(rows, n_resamples=0) | {"test_set": "ava"}, *PICTURES)
    assert "<title>AVA, official test split</title>" in html
    assert "other rows: 24 were evaluated, this set has 19,930" in html
    assert "measured on its own 12,776 rows" in html
    assert "IQA-PyTorch" in html and "other scale" in html
    assert "Published on" not in report_html(rows, make_metrics(rows, n_resamples=0), *PICTURES)


def test_a_page_without_numbers_gives_the_reasons():
    rows = [EvaluatedRow("a", {"overall": 1.0}, {"overall": None})]
    html = report_html(rows, evaluate_predictions(rows, space=None), {}, {})
    assert "No row has a score, so there are none." in html
    assert "0 rows with a prediction, fewer than 3" in html
    assert "100.0%" in html
    Page(html)


def test_scores_of_the_worst_rows_have_as_many_decimals_each():
    def shown(scores, predictions):
        rows = [
            EvaluatedRow(str(n), {"overall": score}, {"overall": value}, std=1.0)
            for n, (score, value) in enumerate(zip(scores, predictions, strict=True))
        ]
        html = report_html(rows, evaluate_predictions(rows, space=None, n_resamples=0), *PICTURES)
        return [
            re.sub("<.*?>", " ", card).split("people ")[1].replace("  ", " ").split("  ")[0]
            for card in html.split('"card">')[1:]
        ]

    assert shown([2.0, 5.125], [10.0, 5.0]) == [
        "2.00, model 10.00 &plusmn; 1.00 +8.00",
        "5.12, model 5.00 &plusmn; 1.00 -0.12",
    ]
    assert shown([0.5, 0.25], [0.0, 0.125])[0] == "0.500, model 0.000 &plusmn; 1.000 -0.500"
    assert shown([2000.0, 0.0], [1234.5, 0.0])[0] == "2000.00, model 1234.50 &plusmn; 1.00 -765.50"


def test_pictures_of_an_earlier_evaluation_do_not_stay(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "plots").mkdir()
    for name in ("coverage.png", "mine.png"):
        (tmp_path / "plots" / name).write_bytes(b"old")
    rows = [EvaluatedRow(str(n), {"overall": n}, {"overall": n}) for n in range(3)]
    write_report(tmp_path, rows, evaluate_predictions(rows, space=None, n_resamples=0))
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert "coverage.png" not in names and {"mine.png", "scatter.png"} <= names


def test_the_calibration_of_a_run_stands_before_and_after():
    rows = make_rows(12)
    line, one = {"intercept": -45.0, "slope": 10.0}, {"read": "behind critiques", "srcc": 0.9}
    found = {"line": line, "n": 5, "of": 6, "fitted_on": "behind critiques"}
    found["rows"] = [{**one, "when": "before", "mae": 2.5}, {**one, "when": "after", "mae": 0.25}]
    text = " ".join(Page(report_html(rows, make_metrics(rows) | {"anchor_calibration": found}, *PICTURES)).text)
    assert "Fitted on 5 of 6 anchors" in text and "score = -45.000 + 10.000 x score" in text
    assert "before 0.900 - 2.500" in re.sub(r"\s+", " ", text) and "after 0.900 - 0.250" in re.sub(r"\s+", " ", text)
    none = found | {"line": None, "reason": "scores are equal", "rows": []}
    page = report_html(rows, make_metrics(rows) | {"anchor_calibration": none}, *PICTURES)
    assert "No line fits (scores are equal); scores stay as they are." in page
    assert "Calibration on anchors" not in report_html(rows, make_metrics(rows), *PICTURES)
