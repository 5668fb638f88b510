"""The phase in which all judges see all edits, each in both orders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from roc.relative.agreement import HIGHEST
from roc.relative.changes import Heard
from roc.relative.judges import Judge, JudgeError, Judgement, Pair
from roc.relative.scorers import Checkpoint, Differences
from roc.relative.steps import Row, Step, Steps
from roc.scoring.sources import Source


class Judging:
    """Asks the judges, and remembers what they said.

    A judgement is known by the judge and the content of both pictures: a picture that was made anew is judged anew.

    Args:
        judges: All of them judge every pair.
        steps: What was done, and does the rest.
        out: Folder of the build, where the pictures are.
    """

    def __init__(self, judges: Sequence[Judge], steps: Steps, out: Path) -> None:
        self._judges, self._steps, self._out = judges, steps, out

    def judge(self, edits: Sequence[tuple[str, Row, Row]]) -> None:
        """Has every judge see every edit.

        Args:
            edits: Name, the row of the photo and that of the edit.
        """
        for judge in self._judges:
            if isinstance(judge, Differences):
                self._score(judge, edits)
            steps = []
            for name, photo, edit in edits:
                pair = self._pair(name, photo, edit)
                for swapped in (False, True):
                    work = partial(_judge_one, judge, pair, swapped)
                    steps.append(Step(_key(judge, photo, edit, swapped), work))
            self._steps.carry_out(steps, at_once=judge.at_once, unit=f"judgements of {judge.name}")

    def heard(self, photo: Row, edit: Row) -> dict[str, Heard] | str:
        """Combines what each judge says in both orders; what went wrong where one said nothing of use."""
        found = {}
        for judge in self._judges:
            rows = [self._steps.row(_key(judge, photo, edit, swapped)) or {} for swapped in (False, True)]
            if errors := [row.get("error", "it was not asked") for row in rows if "difference" not in row]:
                return f"{judge.name}: {errors[0]}"
            found[judge.name] = Heard.of(*(Judgement(row["difference"], row["words"], row["spread"]) for row in rows))
        return found

    def _pair(self, name: str, photo: Row, edit: Row) -> Pair:
        before, after = (str(self._out / path) for path in (photo["source"], edit["picture"]))
        return Pair(name, before, after, edit["instruction"], edit["category"], edit["known"])

    def _score(self, judge: Differences, edits: Iterable[tuple[str, Row, Row]]) -> None:
        """Has a checkpoint score all pictures, so that it can compare them."""
        pictures: dict[str, str] = {}
        for _, photo, edit in edits:
            pictures[photo["source"]] = photo["content"]
            pictures[edit["picture"]] = edit["content"]
        if not pictures:
            return
        identity = judge.checkpoint.identity
        keys = {path: f"score:{identity}:{content}" for path, content in pictures.items()}
        sources = {key: Source(path, str(self._out / path)) for path, key in keys.items()}
        score_pictures(judge.checkpoint, self._steps, sources)
        judge.scores = {str(self._out / path): self._steps.row(key) or {} for path, key in keys.items()}


def score_pictures(checkpoint: Checkpoint, steps: Steps, sources: dict[str, Source]) -> None:
    """Has a checkpoint score pictures that it did not score before.

    Args:
        checkpoint: Frees its memory afterwards.
        steps: Keeps the rows.
        sources: Key of the step -> picture.
    """
    steps.carry_out_together(
        list(sources),
        lambda todo: checkpoint.rows({key: sources[key] for key in todo}),
        unit=f"pictures scored by {checkpoint.name}",
    )
    checkpoint.free()


def _key(judge: Judge, photo: Row, edit: Row, swapped: bool) -> str:
    return f"judge:{judge.name}:{judge.identity}:{photo['content']}:{edit['content']}:{'ba' if swapped else 'ab'}"


def _judge_one(judge: Judge, pair: Pair, swapped: bool) -> Row:
    try:
        found = judge.judge(pair, swapped=swapped)
    except JudgeError as error:
        return {"error": str(error)}
    if not (math.isfinite(found.difference) and abs(found.difference) <= HIGHEST):
        return {"error": f"the difference is {found.difference:g}, expected a number in -{HIGHEST:g}..{HIGHEST:g}"}
    return {"difference": found.difference, "words": found.words, "spread": found.spread}
