"""What the frozen model is asked about each attribute, and the fixed sentences that need no photo.

The published prompts are not known; these are ours. "overall" stands for the photo as a whole.
"""

from __future__ import annotations

from roc.agree.attributes import ATTRIBUTES

OVERALL = "overall"

NAMES = (OVERALL, *ATTRIBUTES)
"""What has an anchor, in the order of the features in a file."""

QUESTIONS = {
    OVERALL: "Describe in one sentence how this photo looks as a whole.",
    "brightness": "Describe in one sentence only the brightness of this picture: what is light, what is dark.",
    "contrast": "Describe in one sentence only the contrast of this picture: where it is strong, where it is weak.",
    "saturation": "Describe in one sentence only the saturation of this picture: where its colours are vivid or pale.",
    "hue": "Describe in one sentence only the hues of this picture: which colours there are and how they go together.",
    "blur": "Describe in one sentence only the sharpness of this picture: what is in focus and what is blurred.",
}

SENTENCES = {
    OVERALL: "How beautiful this photo is as a whole.",
    "brightness": "How light or dark this photo is, from deep shadows to bright highlights.",
    "contrast": "How strong the contrast of this photo is, from flat and grey to crisp and bold.",
    "saturation": "How saturated the colours of this photo are, from pale and muted to vivid and rich.",
    "hue": "Which hues this photo has, warm or cool, in harmony or at odds.",
    "blur": "How sharp or blurred this photo is, from tack-sharp focus to soft and out of focus.",
}
