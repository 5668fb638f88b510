"""Instructions for editors that follow words: from a list, or from a chat model that looks at the photo.

The first instruction for a photo comes out of an analysis: what is weak, how good the photo is, what would mend it, and
one of that as a single sentence. The others ask for an edit of one kind, so that a group is diverse. The wording is
ours.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

from roc.data.records import hash_fraction
from roc.relative.scorers import ATTEMPTS

if TYPE_CHECKING:
    from roc.endpoints.chat import Chat
    from roc.endpoints.patience import Patience

Row = dict[str, Any]

MENDING = "mending"
"""Category of an instruction that comes out of an analysis."""

LIST: dict[str, tuple[str, ...]] = {
    "object_removal": (
        "Remove the least important object from the background.",
        "Take out whatever touches the edge of the frame.",
        "Remove people who do not belong to the subject.",
    ),
    "object_addition": (
        "Add one object that fits the scene and balances the frame.",
        "Put a bright object beside the subject that competes with it.",
        "Let some birds fly across the empty part of the photo.",
    ),
    "background": (
        "Replace the background by a plain, softly lit wall.",
        "Replace the background by a crowded street.",
        "Blur the background so that the subject stands out.",
    ),
    "lighting": (
        "Light the scene with low, warm sun from the side.",
        "Make the light flat and grey, as on an overcast noon.",
        "Light the subject from the front with a hard flash.",
    ),
    "colour": (
        "Grade the colours towards teal shadows and warm skin.",
        "Turn the colours pale and cold.",
        "Make two complementary colours carry the photo.",
    ),
    "composition": (
        "Move the subject to a third of the frame and leave room in front of it.",
        "Move the subject into a corner of the frame.",
        "Centre the subject and make the frame symmetrical around it.",
    ),
    "simplification": (
        "Clear the background of everything that distracts from the subject.",
        "Keep only the subject and one supporting element.",
        "Fill the empty parts of the frame with small details.",
    ),
    "subject": (
        "Make the subject larger in the frame.",
        "Make the subject smaller, nearly lost in its surroundings.",
        "Give the subject a livelier pose.",
    ),
    "style": (
        "Turn the photo into a watercolour painting.",
        "Give the photo the look of a faded print of the seventies.",
        "Turn the photo into high-contrast black and white.",
    ),
    "weather": (
        "Let mist lie over the scene.",
        "Let heavy rain fall on the scene.",
        "Set the scene under a clear evening sky.",
    ),
}
"""Category -> instructions that mend, and such that do not: both are needed."""

ANALYSIS = (
    "Look at this photo as a critic does. First write freely what works and what does not: composition, how clearly "
    "the subject stands out, whether the scene can be read, the relation of near and far, its mood and tension; leave "
    "technical values such as contrast or noise aside. Second, give one overall score from 0 to 10 with two decimals "
    "between <score> and </score>. Third, list edits that would mend the very weaknesses you found: prefer changes of "
    "what is in the frame and where (add, remove, replace, move, scale, rearrange objects; change colour, material, "
    "shape, pose or expression; change the background, the scene, the framing), each a concrete action, each "
    "different. Last, choose one of them and write it as a single sentence that an image editor can carry out, between "
    "<edit> and </edit>: the action alone, without a reason."
)

OF_A_KIND = (
    'Think of one edit of this photo of the kind "{category}". It must change this photo and not make another one, '
    "belong clearly and substantially to that kind, and be feasible; it may be inventive, and it may make the photo "
    "better or worse. Answer with one sentence that an image editor can carry out, between <edit> and </edit>, and "
    "nothing else."
)

_EDIT = re.compile(r"<edit>(.*?)</edit>", re.DOTALL)
_LONGEST = 400


def listed(photo: str, number: int, seed: int) -> Row:
    """Takes an instruction from the list, by the photo's name: the kinds of its edits differ until all were used.

    Args:
        photo: Id of the photo.
        number: Of the edit, from 1.
        seed: Another one gives other instructions.
    """
    draw = random.Random(int(hash_fraction(photo, f"instructions {seed}") * 2**53))
    kinds: list[str] = []
    while len(kinds) < number:
        kinds += draw.sample(list(LIST), len(LIST))
    category = kinds[number - 1]
    choose = random.Random(int(hash_fraction(f"{photo} {number}", f"instructions {seed}") * 2**53))
    return {"category": category, "instruction": choose.choice(LIST[category])}


def asked(chat: Chat, patience: Patience, picture: str, category: str) -> Row:
    """Has a chat model write an instruction for a photo.

    Args:
        chat: The model.
        patience: Waits while the endpoint is down.
        picture: The photo's file.
        category: `MENDING` for an analysis, else the kind of edit.

    Returns:
        `category` and `instruction`, and `text` with all that was said; or `error`.
    """
    from roc.endpoints.chat import EndpointDown, EndpointError, Question

    prompt = ANALYSIS if category == MENDING else OF_A_KIND.format(category=category.replace("_", " "))
    heard = ""
    try:
        for _ in range(ATTEMPTS):
            heard = patience(lambda: chat.ask(Question(prompt, (picture,), 1.0))).text
            found = _EDIT.findall(heard)
            instruction = " ".join(found[0].split()) if len(found) == 1 else ""
            if 0 < len(instruction) <= _LONGEST:
                return {"category": category, "instruction": instruction, "text": heard}
    except EndpointDown:
        raise
    except EndpointError as error:
        return {"error": str(error)}
    return {"error": f"{ATTEMPTS} answers hold no single instruction, the last one: {heard[:80]!r}"}


def kind_of(photo: str, number: int, seed: int) -> str:
    """Chooses the kind of edit that a chat model is asked for: an analysis first, then kinds that differ."""
    return MENDING if number == 1 else listed(photo, number - 1, seed)["category"]
