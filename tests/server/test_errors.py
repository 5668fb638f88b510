"""Every error has one form."""

from serving import httpx  # noqa: F401  (skips where the server's libraries are missing)

from roc.server.errors import Refusal, unavailable


def test_the_form():
    error = Refusal(413, "too_large", "smaller, please", [{"index": 0}])
    assert error.body == {"error": {"code": "too_large", "message": "smaller, please", "details": [{"index": 0}]}}
    assert error.headers == {}


def test_headers_that_belong_to_a_status():
    assert unavailable("full", retry_after=7).headers == {"Retry-After": "7"}
    assert unavailable("full", retry_after=7).message == "full; try again in 7 s"
    assert Refusal(401, "unauthorized", "").headers == {"WWW-Authenticate": "Bearer"}
