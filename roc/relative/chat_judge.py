"""A judge that is a model behind a chat endpoint: it sees both pictures and answers with reasons and a number."""

from __future__ import annotations

from roc.endpoints.chat import Chat, EndpointDown, EndpointError, Question
from roc.endpoints.patience import Patience
from roc.relative.judges import JudgeError, Judgement, Pair
from roc.relative.scorers import ATTEMPTS
from roc.relative.wording import JUDGE_QUESTION, VERSION, read_number, read_words


class ChatJudge:
    """A `Judge` behind a chat endpoint.

    Args:
        chat: The model.
        patience: Waits while the endpoint is down.
        at_once: Pairs at the same time.
    """

    def __init__(self, chat: Chat, patience: Patience, at_once: int) -> None:
        self.name = chat.name
        self.identity = f"wording {VERSION}, {chat.shown_as}"
        self.at_once = at_once
        self._chat, self._patience = chat, patience

    def judge(self, pair: Pair, *, swapped: bool) -> Judgement:
        """Judges a pair; see `Judge.judge`. It is not told what was done."""
        shown = (pair.after, pair.before) if swapped else (pair.before, pair.after)
        heard = ""
        try:
            for attempt in range(ATTEMPTS):
                asked = Question(JUDGE_QUESTION, shown, 0.0 if attempt == 0 else 1.0)
                reply = self._patience(lambda asked=asked: self._chat.ask(asked))
                heard, number = reply.text, None if reply.cut else read_number(reply.text)
                if number is not None:
                    return Judgement(number, read_words(heard))
        except EndpointDown:
            raise
        except EndpointError as error:
            raise JudgeError(str(error)) from error
        raise JudgeError(f"{ATTEMPTS} answers hold no number, the last one: {heard[:80]!r}")
