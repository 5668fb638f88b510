"""A run waits while nobody answers, says so, and can be ended; what nobody else is troubled by is given up."""

import threading
import time

import pytest

from roc.endpoints import patience
from roc.endpoints.chat import EndpointDown, EndpointError
from roc.endpoints.patience import Patience


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(patience, "SHORTEST", 0.01)
    monkeypatch.setattr(patience, "LONGEST", 0.02)


def failing(times, status=None, *, timed_out=False):
    """Fails so many times, then answers."""
    left = [times]

    def ask():
        left[0] -= 1
        if left[0] >= 0:
            raise EndpointDown("nobody there", status, timed_out=timed_out)
        return "yes"

    return ask


def test_it_waits_until_somebody_answers_and_says_so(caplog, monkeypatch):
    monkeypatch.setattr(patience, "TELL", 0.05)
    assert Patience("chat:m", 10, threading.Event())(failing(12)) == "yes"
    told = [record.getMessage() for record in caplog.records]
    assert "chat:m does not answer (nobody there); waiting. Ctrl-C ends the run, nothing is lost" == told[0]
    assert 3 <= len(told) < 8 and "answers again, after" in told[-1]


def test_after_too_long_the_run_ends():
    with pytest.raises(ValueError, match=r"has not answered for 0 minutes \(--patience\).*goes on from here"):
        Patience("chat:m", 0.001, threading.Event())(failing(1000))


def test_a_run_that_is_to_end_does_not_wait():
    stopping, start = threading.Event(), time.monotonic()
    patience.SHORTEST = 30.0
    threading.Timer(0.05, stopping.set).start()
    with pytest.raises(EndpointDown):
        Patience("chat:m", 10, stopping)(failing(1000))
    assert time.monotonic() - start < 5


def test_a_question_that_only_itself_gets_no_answer_is_given_up():
    waiting = Patience("chat:m", 10, threading.Event())
    tries = failing(1000)

    def ask():
        waiting(lambda: "another one")
        return tries()

    with pytest.raises(EndpointError, match=r"nobody there \(3 tries\)"):
        waiting(ask)


def test_a_question_that_breaks_the_endpoint_is_given_up():
    with pytest.raises(EndpointError, match=r"\(5 tries\)"):
        Patience("chat:m", 10, threading.Event())(failing(1000, 500))
    assert Patience("chat:m", 10, threading.Event())(failing(9, 503)) == "yes"


def test_a_question_that_only_times_out_is_given_up_where_the_endpoint_has_answered():
    waiting = Patience("chat:m", 10, threading.Event())
    assert waiting(failing(7, timed_out=True)) == "yes"  # nobody was answered yet
    with pytest.raises(EndpointError, match=r"nobody there \(5 tries\)"):
        waiting(failing(1000, timed_out=True))
    assert waiting(failing(9)) == "yes"  # refused, as by an endpoint that is restarted


def test_an_endpoint_that_is_gone_for_an_hour_is_waited_for(monkeypatch, caplog):
    now = [1000.0]

    class Clock(threading.Event):
        def wait(self, timeout=None):
            now[0] += timeout
            return False

    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(patience, "SHORTEST", 1.0)
    monkeypatch.setattr(patience, "LONGEST", 60.0)

    def ask():
        if now[0] < 1000 + 3600:
            raise EndpointDown("nobody there", None)
        return "yes"

    assert Patience("chat:m", 120, Clock())(ask) == "yes"
    told = [record.getMessage() for record in caplog.records]
    assert len(told) > 55 and "does not answer for 59 min" in told[-2] and "answers again, after 36" in told[-1]
    now[0] = 1000.0
    with pytest.raises(ValueError, match=r"has not answered for 3\d minutes \(--patience\)"):
        Patience("chat:m", 30, Clock())(ask)
