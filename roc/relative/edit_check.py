"""The check of an edit in the form of VIEScore: did it do what was asked and no more, and does the picture look right.

A model gives two marks for each, in two questions; `edit_quality` combines the lower ones. The wording is ours.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from roc.relative.agreement import edit_quality
from roc.relative.scorers import ATTEMPTS

if TYPE_CHECKING:
    from roc.endpoints.chat import Chat
    from roc.endpoints.patience import Patience
    from roc.relative.judges import Pair

_FORM = 'Answer with JSON alone: {"score": [A, B], "reasoning": "one sentence"}, each mark from 0 to 10.'

OBEDIENCE = (
    'The first picture was to be edited: "{instruction}" The second picture is what came of it. Mark A: how well the '
    "edit does what was asked, 0 not at all, 10 perfectly. Mark B: how little it changes beyond that, 0 another "
    "picture altogether, 10 nothing but what was asked. "
)

LOOK = (
    "Mark A: how natural this picture looks in distances, shadows, light and sense, 0 not at all, 10 as a photo. Mark "
    "B: how free it is of artefacts such as distortion, watermarks, scratches, broken faces or limbs, 0 full of them, "
    f"10 none. {_FORM}"
)

_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


def check_edit(chat: Chat, patience: Patience, pair: Pair) -> dict[str, Any]:
    """Has a chat model check an edit.

    Returns:
        `marks` (success, restraint, naturalness, cleanness) and `quality`, all in 0..10; or `error`.
    """
    from roc.endpoints.chat import EndpointDown, EndpointError, Question

    marks: list[float] = []
    try:
        for prompt, shown in (
            (OBEDIENCE.format(instruction=pair.instruction) + _FORM, (pair.before, pair.after)),
            (LOOK, (pair.after,)),
        ):
            heard = ""
            for attempt in range(ATTEMPTS):
                asked = Question(prompt, shown, 0.0 if attempt == 0 else 1.0)
                heard = patience(lambda asked=asked: chat.ask(asked)).text
                found = read_marks(heard)
                if found is not None:
                    marks += found
                    break
            else:
                return {"error": f"{ATTEMPTS} answers hold no two marks in 0..10, the last one: {heard[:80]!r}"}
    except EndpointDown:
        raise
    except EndpointError as error:
        return {"error": str(error)}
    return {"marks": marks, "quality": round(edit_quality(*marks), 4)}


def read_marks(text: str) -> list[float] | None:
    """Reads the two marks of an answer; None where they are not there, or outside 0..10."""
    found = _OBJECT.search(text)
    try:
        marks = json.loads(found[0])["score"] if found else None
        numbers = [float(mark) for mark in marks] if isinstance(marks, list) else []
    except (ValueError, TypeError, KeyError):
        return None
    return numbers if len(numbers) == 2 and all(math.isfinite(n) and 0 <= n <= 10 for n in numbers) else None
