"""No answer is paid for twice, each is counted, and an endpoint that is down is not asked for ever."""

import dataclasses
import os
import threading
import time

import pytest
from critiques import Scripted, down, failure, nine, options, silent

from roc.reasoning import replies as replies_module
from roc.reasoning.authors import AuthorError, Reply, Request
from roc.reasoning.config import AuthorOptions
from roc.reasoning.corpus import read_photos, write_corpus
from roc.reasoning.replies import MOST_FAILURES, MOST_REFUSALS, NotAsked, Replies
from roc.scoring.journal import Journal

PRICES = AuthorOptions(price_in=2.0, price_out=10.0, judge_price_out=20.0)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "j.jsonl", {"corpus": 1}, key="reply") as journal:
        yield journal


def test_an_answer_is_remembered(journal):
    author = Scripted()
    replies = Replies(journal, author.both(), PRICES)
    with pytest.raises(NotAsked):
        replies.ask("judge", Request.tone("a weak text", 0), remembered=True)
    first = replies.ask("judge", Request.tone("a weak text", 0))
    assert first == Reply("bad", 100, 20) == replies.ask("judge", Request.tone("a weak text", 0), remembered=True)
    assert len(author.asked) == 1 == replies.asked
    for role, request in (("writer", Request.tone("a weak text", 0)), ("judge", Request.tone("a weak text", 1))):
        replies.ask(role, request)
    assert len(author.asked) == 3
    later = Replies(journal, author.both(), PRICES)
    assert later.ask("judge", Request.tone("a weak text", 0)) == first and later.asked == 0


def test_another_question_is_another_answer(journal):
    author = Scripted()
    replies = Replies(journal, author.both(), PRICES)
    replies.ask("writer", Request.tone("text", 0))
    longer = dataclasses.replace(PRICES, max_tokens=99)
    Replies(journal, author.both(), longer).ask("writer", Request.tone("text", 0))
    other = Scripted()
    other.name = "other"
    Replies(journal, other.both(), PRICES).ask("writer", Request.tone("text", 0))
    assert len(author.asked) == 2 and len(other.asked) == 1


def test_the_cost_is_that_of_all_runs(journal):
    replies = Replies(journal, Scripted().both(), PRICES)
    replies.ask("writer", Request.tone("text", 0))
    for number in range(2):
        replies.ask("judge", Request.tone("text", number))
    for usage in (replies.usage, Replies(journal, Scripted().both(), PRICES).usage):
        assert [usage[role].requests for role in ("writer", "judge")] == [1, 2]
        assert usage["judge"].tokens_in == 200 and usage["judge"].tokens_out == 40
        assert usage["writer"].cost == pytest.approx((100 * 2 + 20 * 10) / 1e6)
        assert usage["judge"].cost == pytest.approx(2 * (100 * 2 + 20 * 20) / 1e6)


def test_an_endpoint_that_is_down_ends_the_run(journal):
    faults = iter([*[down()] * (MOST_FAILURES - 1), None, *[down()] * MOST_FAILURES])
    replies = Replies(journal, Scripted(lambda request: next(faults)).both(), PRICES)
    number = 0
    for number in range(2 * MOST_FAILURES - 1):
        if number == MOST_FAILURES - 1:
            replies.ask("judge", Request.tone("a weak text", number))  # one answer, and the count begins anew
            continue
        with pytest.raises(AuthorError, match="down"):
            replies.ask("judge", Request.tone("text", number))
    with pytest.raises(ValueError, match=f"{MOST_FAILURES} requests in a row.*down.*same command goes on"):
        replies.ask("judge", Request.tone("text", number + 1))


def test_requests_that_are_refused_end_nothing_and_show_that_somebody_is_there(journal, caplog):
    faults = [*[failure("refused")] * 2 * MOST_FAILURES, *[down()] * (MOST_FAILURES - 1), failure("refused"), down()]
    given = iter(faults)
    replies = Replies(journal, Scripted(lambda request: next(given)).both(), PRICES)
    for number in range(len(faults)):
        with pytest.raises(AuthorError):
            replies.ask("judge", Request.tone("text", number))
    assert caplog.text.count("refused") == 1  # somebody who has set something wrong sees it at once


def refused(replies, role, number):
    for attempt in range(number):
        with pytest.raises(AuthorError):
            replies.ask(role, Request.tone("text", attempt))


@pytest.mark.parametrize("tokens", [0, 20])
def test_an_endpoint_that_refuses_everything_ends_the_run(journal, tokens):
    author = Scripted(lambda request: failure("400: unknown field max_tokens", 0, tokens))
    replies = Replies(journal, author.both(), PRICES)
    refused(replies, "judge", MOST_REFUSALS - 1)
    refused(replies, "writer", 1)  # each role has settings of its own
    with pytest.raises(ValueError, match=f"{MOST_REFUSALS} requests to the judge .*refused.*unknown field"):
        replies.ask("judge", Request.tone("the last one", 0))
    assert replies.usage["judge"].requests == (MOST_REFUSALS if tokens else 0)  # what was paid for is kept


def test_where_a_role_has_answered_refusals_end_nothing(journal):
    author = Scripted(lambda request: None if "weak" in request.text else failure("400: no such photos"))
    replies = Replies(journal, author.both(), PRICES)
    refused(replies, "judge", MOST_REFUSALS - 1)
    replies.ask("judge", Request.tone("a weak text", 0))
    for later in (replies, Replies(journal, author.both(), PRICES)):
        refused(later, "judge", MOST_REFUSALS + 1)
    with pytest.raises(ValueError, match="requests to the writer"):
        refused(replies, "writer", MOST_REFUSALS + 1)


def test_an_answer_without_text_is_paid_for_once(journal):
    author = Scripted(lambda request: failure("no text (content_filter)", 100, 20))
    for _ in range(2):
        replies = Replies(journal, author.both(), PRICES)
        for remembered in (False, True):
            with pytest.raises(AuthorError, match=r"no text \(content_filter\)"):
                replies.ask("judge", Request.tone("text", 0), remembered=remembered)
        assert replies.usage["judge"].requests == len(author.asked) == 1
        assert replies.usage["judge"].cost == pytest.approx((100 * 2 + 20 * 20) / 1e6)


def test_another_picture_of_the_same_size_is_another_question(journal, tmp_path):
    author = Scripted()
    path = nine(tmp_path)
    (photo, *_) = read_photos(options(path))
    replies = Replies(journal, author.both(), PRICES)
    for content, asked in ((b"one", 1), (b"one", 1), (b"two", 2)):
        with open(photo.path, "wb") as file:
            file.write(content)
        os.utime(photo.path, ns=(asked, asked))
        replies.ask("writer", Request.write(photo, (1, 10), 0))
        assert len(author.asked) == asked


def test_only_pictures_that_were_asked_about_are_hashed_to_remember(journal, tmp_path, monkeypatch):
    author, hashed = Scripted(), []
    digest = replies_module.picture_digest
    monkeypatch.setattr(replies_module, "picture_digest", lambda path: hashed.append(path) or digest(path))
    first, second, *_ = (Request.write(photo, (1, 10), 0) for photo in read_photos(options(nine(tmp_path))))
    Replies(journal, author.both(), PRICES).ask("writer", first)
    assert hashed == [first.photo.path]
    replies = Replies(journal, author.both(), PRICES)
    replies.ask("writer", first, remembered=True)
    with pytest.raises(NotAsked):
        replies.ask("writer", second, remembered=True)
    assert hashed == [first.photo.path] * 2


class Counted(Scripted):
    """An author that knows how many requests it had at once."""

    def __init__(self, at_once):
        super().__init__(at_once=at_once)
        self.inside = self.most_inside = 0
        self.counting = threading.Lock()

    def ask(self, request):
        with self.counting:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        time.sleep(0.02)
        with self.counting:
            self.inside -= 1
        return super().ask(request)


def test_no_author_is_asked_more_at_once_than_it_takes(tmp_path):
    writer, judge = Counted(1), Counted(4)
    write_corpus(options(nine(tmp_path), balance="none"), silent, {"writer": writer, "judge": judge})
    assert len(writer.asked) == 9 and writer.most_inside == 1


def test_one_author_in_both_roles_takes_no_more_than_one_alone(tmp_path):
    author = Counted(2)
    write_corpus(options(nine(tmp_path), balance="none"), silent, author.both())
    assert author.most_inside == 2


def test_text_that_utf_8_cannot_hold_is_kept_as_far_as_it_can(journal):
    replies = Replies(journal, Scripted(lambda request: "half \ud83d a pair").both(), PRICES)
    request = Request.tone("text", 0)
    assert replies.ask("judge", request).text == "half ? a pair" == replies.ask("judge", request).text
