"""A chat endpoint is asked through its client library: what is sent, and what becomes of every kind of bad answer."""

import base64
import io
import sys
import time

import pytest

openai = pytest.importorskip("openai")

import httpx  # noqa: E402
from chat_stand_in import ChatStandIn  # noqa: E402
from PIL import Image  # noqa: E402

from roc.data.images import ImageError  # noqa: E402
from roc.endpoints.chat import Chat, EndpointDown, EndpointError, Pace, Question, told_error  # noqa: E402
from roc.endpoints.options import EndpointOptions  # noqa: E402


def chat(url, key=None, **options):
    return Chat("m", url, key=key, options=EndpointOptions(**{"timeout": 20, **options}))


def test_pictures_come_before_the_words_in_their_order(tmp_path):
    for name, width in (("a", 300), ("b", 100)):
        Image.new("RGB", (width, 100), "red").save(tmp_path / f"{name}.png")
    pictures = tuple(str(tmp_path / f"{name}.png") for name in "ab")
    with ChatStandIn() as server:
        chat(server.url, "secret", image_side=150).ask(Question("bad, fair or good", pictures, 0.5))
    (body,) = server.bodies
    *shown, words = body["messages"][0]["content"]
    data = [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in shown]
    assert [Image.open(io.BytesIO(one)).size for one in data] == [(150, 50), (100, 100)]
    assert words["text"] == "bad, fair or good" and body["temperature"] == 0.5


def test_a_busy_and_a_broken_endpoint_are_asked_again():
    with ChatStandIn(429, 500, 429, 503) as server:
        assert chat(server.url, retries=4).ask(Question("a weak text: bad, fair or good")).text == "bad"
    assert len(server.bodies) == 5


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (429, "429"),
        (500, "500"),
        (400, "400"),
        ("slow", "imed out"),
        ("html", "the answer holds no text"),
        ("no choices", "the answer holds no text"),
        ("empty", r"the answer holds no text \(stop\)"),
        ("no json", "chat:m: "),
    ],
)
def test_an_answer_that_cannot_be_used_concerns_one_request(fault, told):
    with ChatStandIn(fault) as server:
        one = chat(server.url, retries=0, timeout=0.4 if fault == "slow" else 20)
        with pytest.raises(EndpointError, match=told) as error:
            one.ask(Question("text"))
        assert isinstance(error.value, EndpointDown) == (fault in (429, 500, "slow"))
        assert one.ask(Question("bad, fair or good: weak")).text == "bad"


@pytest.mark.parametrize("fault", ["empty", "no choices"])
def test_what_an_answer_without_text_costs_is_known(fault):
    with ChatStandIn(fault) as server, pytest.raises(EndpointError) as error:
        chat(server.url).ask(Question("text"))
    assert (error.value.tokens_in, error.value.tokens_out) == (100, 20)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_name_ends_the_run(status):
    with ChatStandIn(status) as server, pytest.raises(ValueError, match=f"refuses chat:m.*{status}.*OPENAI_API_KEY"):
        chat(server.url).ask(Question("text"))


def test_nobody_there_concerns_the_request():
    with ChatStandIn() as server:
        url = server.url
    with pytest.raises(EndpointDown, match="onnection"):
        chat(url, retries=0).ask(Question("text"))


def test_a_cut_answer_is_marked():
    with ChatStandIn("cut") as server:
        assert chat(server.url).ask(Question("text")).cut


def test_settings_of_other_endpoints():
    with ChatStandIn() as server:
        chat(server.url, max_tokens_field="max_completion_tokens").ask(Question("text"))
    assert "temperature" not in server.bodies[0] and "max_tokens" not in server.bodies[0]
    assert server.bodies[0]["max_completion_tokens"] == 1024


def test_a_picture_that_cannot_be_opened_is_not_sent(tmp_path):
    with ChatStandIn() as server, pytest.raises(ImageError, match="no such file"):
        chat(server.url).ask(Question("text", (str(tmp_path / "gone.png"),)))
    assert server.bodies == []


def test_the_pace_is_kept():
    pace, start = Pace(1200), time.monotonic()
    for _ in range(4):
        pace.wait()
    assert 0.15 <= time.monotonic() - start < 1.0
    start = time.monotonic()
    for _ in range(100):
        Pace(None).wait()
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_a_timeout_is_told_by_whatever_library_the_client_uses(library):
    exceptions = pytest.importorskip(library)
    for name, late in (("ConnectTimeout", False), ("ReadTimeout", True)):
        error = openai.APITimeoutError(httpx.Request("POST", "http://127.0.0.1/v1"))
        error.__cause__ = getattr(exceptions, name)("no")
        assert told_error(openai, error, "chat:m", "http://127.0.0.1", "KEY").timed_out == late


def test_an_error_is_told_where_the_client_comes_without_httpx(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with ChatStandIn(503) as server, pytest.raises(EndpointDown, match="503"):
        chat(server.url, retries=0).ask(Question("text"))


@pytest.mark.parametrize(
    ("cause", "status", "late"),
    [(httpx.ReadTimeout, None, True), (httpx.ConnectTimeout, None, False), (httpx.ConnectError, None, False),
     (None, 504, True), (None, 503, False), (None, 429, False)],
)  # fmt: skip
def test_what_timed_out_is_told_from_what_never_arrived(cause, status, late):
    request = httpx.Request("POST", "http://127.0.0.1/v1")
    if status is not None:
        error = openai.APIStatusError("no", response=httpx.Response(status, request=request), body=None)
    elif issubclass(cause, httpx.TimeoutException):
        error = openai.APITimeoutError(request)
    else:
        error = openai.APIConnectionError(request=request)
    error.__cause__ = cause and cause("no")
    found = told_error(openai, error, "chat:m", "http://127.0.0.1", "KEY")
    assert isinstance(found, EndpointDown) and found.timed_out == late
