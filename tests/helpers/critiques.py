"""Rated pictures and authors for corpora: a data file of grey squares, and an author that says what it is told to."""

from __future__ import annotations

import threading

from chat_stand_in import CRITIQUE, answer
from PIL import Image

from roc.endpoints.chat import Reply
from roc.reasoning.authors import AuthorDown, AuthorError
from roc.reasoning.config import CorpusConfig

GOOD_TEXT = CRITIQUE + "All in all the photo is strong and succeeds."


def ratings(folder, scores, *, split=None):
    """Writes `0.png` .. and `ratings.csv` with these scores; returns its path."""
    for number, _ in enumerate(scores):
        Image.new("RGB", (8, 8), (number * 7 % 255,) * 3).save(folder / f"{number}.png")
    rows = [f"{number}.png,{score},{split or 'train'}" for number, score in enumerate(scores)]
    path = folder / "ratings.csv"
    path.write_text("\n".join(["image,score,split", *rows]) + "\n")
    return path


def nine(folder):
    """Three bad, three fair and three good photos on 1..10; scores that no text states by chance."""
    return ratings(folder, [1.31, 2.17, 3.49, 5.53, 6.11, 6.83, 7.91, 8.37, 9.73])


def options(data_path, **others):
    """Settings of a corpus beside its data file."""
    return CorpusConfig(**{"data_path": data_path, "out": data_path.parent / "corpus.jsonl", **others})


class Scripted:
    """An author that answers as the stand-in endpoint does, unless `says` has something else to say.

    Attributes:
        asked: The requests it was asked.
        most: It is interrupted after so many answers.
    """

    name, at_once = "scripted", 1

    def __init__(self, says=lambda request: None, *, most=None, at_once=1):
        self.says, self.most, self.at_once = says, most, at_once
        self.asked, self.lock = [], threading.Lock()

    def ask(self, request):
        with self.lock:
            if self.most is not None and len(self.asked) >= self.most:
                raise KeyboardInterrupt
            self.asked.append(request)
        said = self.says(request)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Reply):
            return said
        return Reply(answer(request.text) if said is None else said, 100, 20)

    def both(self):
        """Itself as writer and judge."""
        return {"writer": self, "judge": self}


def silent(items, total, done=0, *, unit="img"):
    """A progress bar that shows nothing."""
    return items


def failure(text="no answer", tokens_in=0, tokens_out=0):
    """An error that concerns one request."""
    return AuthorError(text, tokens_in, tokens_out)


def down():
    """What an author says that nobody answers for."""
    return AuthorDown("down")
