"""Whether a critique gives its score away: states it, states any other rating, or tells that one was known.

`stated_score` is strict on purpose, for a corpus that is being written: a text that is thrown away costs one more
request, one that states its score teaches a model to copy numbers. So "f/2.8" in the critique of a photo rated 2.8
counts too. A whole number is a rating only where the sentence makes it one: "a solid seven." does, "seven people" does
not.

`plain_verdict` is for critiques that are there already, of which one refuses a whole run: it finds only what can hardly
be anything but the rating of the photo.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from roc.score_space import ScoreSpace

WINDOW = 6
"""Words between a number and a rating word within which the number is a rating."""

_WORDS = "zero|two|three|four|five|six|seven|eight|nine|ten"
_NUMBER = rf"(?:\d+(?:[.,]\d+)?|{_WORDS})"
_NUMBER_OR_ONE = rf"(?:{_NUMBER}|one)"  # "one" stands for other things too, so few places take it for a number
_RATING = (
    r"(?:scor(?:es?|ed|ing)|rat(?:es?|ed|ing|ings)|grad(?:es?|ed)|marks?|points?|stars?|mos|quality|aesthetics?|level)"
)
_CLEAR_RATING = r"(?:scor(?:es?|ed|ing)|rat(?:es?|ed|ing|ings)|graded?|stars?)"
_KNOWN = r"(?:hidden|given|provided|assigned|secret|private|confidential|known|actual|true|target|official|stated)"
_MARKS = (
    rf"\b{_NUMBER}\s*/\s*(?:5|10|100)\b",
    rf"\b{_NUMBER}\s+out\s+of\b",
    r"\bout\s+of\s+(?:a\s+possible\s+|a\s+)?(?:\d+|five|ten|hundred)\b",
    rf"\b{_NUMBER}\s*(?:%|percent\b|per\s+cent\b)",
    rf"\b{_NUMBER}[- ]stars?\b",
)
_HINTS = (
    rf"\b{_KNOWN}\s+(?:\w+\s+)?(?:score|rating|grade|tier|label|assessment)s?\b",
    r"\b(?:score|rating|grade|tier|assessment)s?\b(?:\s+\w+){0,3}\s+(?:given|told|provided|assigned|hidden|known)\b",
    r"\b(?:I|we)(?:\s+was|\s+were|\s+am|\s+have\s+been|['’]ve\s+been)\s+(?:given|told|asked|instructed|informed)\b",
    r"\b(?:according\s+to|based\s+on|reflects?|justif(?:y|ies)|matches|in\s+line\s+with)\s+(?:the|its|this|that)\s+"
    r"(?:score|rating|grade)\b",
    r"\bas\s+(?:instructed|requested|told)\b",
    r"\bground[- ]truth\b",
    r"\bmean\s+opinion\b",
)
"""Words that tell of a score that was known, without a number."""

# What may follow a number that is a rating. "a 2.8 lens", "a 16:9 frame", "a six-pack", "two thirds" go on otherwise.
_END = (
    r"(?=\s*(?:$|[.,:](?!\d)|[;!?)\]\"”»…–—]|-(?!\w))|\s+(?:overall|because|though|although|at\s+(?:best|most|least)|"
    r"in\s+(?:my|our)\b|from\s+(?:me|us)\b|for\s+(?:me|us|its|this)\b))"
)
_TO_ANOTHER = rf"(?:\s*(?:-|–|\bor\b|\bto\b)\s*{_NUMBER}|\s+and\s+a\s+half)?"
_RATED = rf"(?P<number>{_NUMBER}){_TO_ANOTHER}{_END}"
_RATED_ONE = rf"(?P<number>{_NUMBER_OR_ONE}){_TO_ANOTHER}{_END}"
_PHOTO = r"(?:it|this|(?:the|this)\s+(?:photo|photograph|picture|image|shot|work))"
# "a boat or two", "a group of three", "cut in two" and "a number 7" count or name something.
_COUNTING = "of|or|and|in|into|by|at|to|for|with|on|plus|than|the|number"
_ADJECTIVE = rf"(?:(?!(?:{_COUNTING}|numeral|figure|digit|size)\b)[a-z][a-z'’-]*,?\s+)"
_VERDICTS = (
    rf"\ban?\s+(?:{_ADJECTIVE}{{0,2}}{_RATED}|one{_END})",
    rf"\b(?:I|we)(?:\s+(?:would|could|can|will|might)|['’](?:d|ll))?\s+(?:\w+\s+)?"
    rf"(?:give|award|assign|grade|rate|rank|score|call|say|put)\b(?:\s+\w+){{0,3}}?\s+{_RATED_ONE}",
    rf"\b(?:deserves?|merits?|earns?|warrants?|scores?|rates?)\s+(?:only\s+|just\s+)?{_RATED_ONE}",
    rf"\b(?:scores?|ratings?|grades?|marks?|rated|scored|graded|rates?)\b(?:\s+(?:of|is|was|would|be|at|as|only|just|"
    rf"{_PHOTO}|an?))*\s*[:=]?\s*{_RATED_ONE}",
    rf"\b{_PHOTO}(?:\s+is|['’]s|\s+would\s+be|(?:\s+would|\s+could)?\s+(?:gets?|receives?))\s+{_RATED}",
    rf"\b(?:verdict|answer|conclusion|judge?ment|estimate)\s+(?:is|was|would\s+be)\s+{_RATED_ONE}",
    rf"\bsomewhere\s+(?:between|around|near)\s+(?P<number>{_NUMBER})(?:\s+and\s+{_NUMBER})?{_END}",
    rf"\b(?P<number>{_NUMBER})\s+(?:overall(?=\s*(?:$|[.,;:!?]))|on\s+(?:the|a|my|this|that|your)\s+(?:rating\s+)?scale\b)",
    rf"\b(?P<number>{_NUMBER})[- ]point\s+(?:photo|photograph|picture|image|shot|work)\b",
    rf"\b(?:overall|all\s+in\s+all|verdict|conclusion|judge?ment|total|result)\s*[:,=–—-]?\s*{_RATED}",
    rf"(?:^|[.!?:;–—](?!(?<=\d.)\d))\s*(?P<number>{_NUMBER})\s*[.!]?\s*$",  # no boundary in "16:9" and "f/5.6"
    rf"\b(?:I|we)(?:['’]d|['’]ll|\s+(?:would|will|can|could|might))?\s+(?:\w+\s+)?"
    rf"(?:arrive|land|settle|end\s+up|come\s+out|go)\s+(?:at|on|with|for)\s+(?:\w+\s+)?{_RATED}",
    rf"\b(?P<number>{_NUMBER})\s+of\s+(?:a\s+possible\s+)?(?:5|10|100|five|ten|(?:a|one)\s+hundred){_END}",
)
"""Sentences that make a whole number a rating, where it lies on the scale, or on that up to 10."""

_SO = rf"\s+(?:(?!(?:{_COUNTING})\b)[a-z][a-z'’-]*\s+){{0,3}}?"
_GRADED = rf"{_SO}(?P<number>{_NUMBER_OR_ONE}){_TO_ANOTHER}(?:\s+(?:points|stars))?{_END}"
_PLAIN_VERDICTS = (
    rf"(?<![\w.,/])(?!1\s*/)(?P<number>{_NUMBER})\s*/\s*(?:10|(?:5|100){_END})(?!\w|[.,]\d|\s*(?:of|s|sec|seconds?)\b)",
    rf"(?<![\w.,/])(?P<number>{_NUMBER})\s+out\s+of\s+(?:a\s+possible\s+)?"
    rf"(?:5|10|100|five|ten|(?:a|one)\s+hundred)(?:\s+(?:points|stars))?{_END}",
    rf"\b(?:I|we)(?:\s+(?:would|could|can|will|might)|['’](?:d|ll))?\s+(?:\w+ly\s+)?"
    rf"(?:give|award|grade|rate|rank|score)\s+{_PHOTO}{_GRADED}",
    rf"\b{_PHOTO}(?:\s+(?:would|could|might))?\s+(?:(?:only|just)\s+)?"
    rf"(?:deserves?|merits?|earns?|warrants?|scores?|rates?|gets?|receives?|is\s+(?:rated|scored)){_GRADED}",
    rf"\b(?:score|rating|verdict)\s+(?:of|is|was|would\s+be){_GRADED}",
    rf"\b(?:score|rating|verdict|overall)\s*[:=]{_GRADED}",
)
"""Those that can hardly be anything but the rating of the photo."""

_SOME_NUMBER = re.compile(rf"\d|\b(?:{_WORDS}|one|hundred)\b", re.IGNORECASE)
_HINT = [re.compile(pattern, re.IGNORECASE) for pattern in _HINTS]
_MARK = [re.compile(pattern, re.IGNORECASE) for pattern in _MARKS]
_VERDICT = [re.compile(pattern, re.IGNORECASE) for pattern in _VERDICTS]
_PLAIN_VERDICT = [re.compile(pattern, re.IGNORECASE) for pattern in _PLAIN_VERDICTS]
_DECIMAL = re.compile(r"(?<![\d.,])\d+[.,]\d+(?![.,]?\d)")
_NUMBER_WORD, _RATING_WORD, _CLEAR_RATING_WORD = map(re.compile, (_NUMBER, _RATING, _CLEAR_RATING))
_WORD = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]+")


def plain_verdict(critique: str, score: float, space: ScoreSpace) -> str | None:
    """Looks for the score to two decimals, and for verdicts that name a rating of the photo.

    Args and return value are those of `stated_score`, which finds all of this and more.
    """
    if not _SOME_NUMBER.search(critique):
        return None
    return _decimals(critique, f"{score:.2f}") or _verdict(_PLAIN_VERDICT, critique, space)


def stated_score(critique: str, score: float, space: ScoreSpace) -> str | None:
    """Looks for the score, any other rating in numbers, and words that tell of one that was known.

    Args:
        critique: The text.
        score: The photo's score on the native scale.
        space: That scale.

    Returns:
        The words at fault; None where there are none.
    """
    hint = _first(_HINT, critique)
    if hint is not None or not _SOME_NUMBER.search(critique):
        return hint
    near = [f"{value:.{digits}f}" for value in (score, space.to_unit(score)) for digits in (1, 2)]
    return (
        _first(_MARK, critique)
        or _decimals(critique, *near)
        or _verdict(_VERDICT, critique, space)
        or _near_a_rating(critique)
        or _verdict(_PLAIN_VERDICT, critique, space)
    )


def _first(patterns: Iterable[re.Pattern[str]], critique: str) -> str | None:
    return next((found[0] for pattern in patterns if (found := pattern.search(critique))), None)


def _decimals(critique: str, *wanted: str) -> str | None:
    """Finds the first of some decimal numbers, whether written with a point or a comma."""
    return next((found for found in _DECIMAL.findall(critique) if found.replace(",", ".") in wanted), None)


def _verdict(patterns: Iterable[re.Pattern[str]], critique: str, space: ScoreSpace) -> str | None:
    """Finds the first verdict whose number, if it is in digits, lies on the scale or on that up to 10."""
    highest = max(10.0, space.max_score)
    for pattern in patterns:
        for found in pattern.finditer(critique):
            number = found["number"]
            if number is None or not number[0].isdigit() or float(number.replace(",", ".")) <= highest:
                return found[0].strip()
    return None


def _near_a_rating(critique: str) -> str | None:
    """Finds a number with a word of rating among the `WINDOW` words on either side of it."""
    words = _WORD.findall(critique.lower())
    for place, word in enumerate(words):
        if not _NUMBER_WORD.fullmatch(word):
            continue
        rating = _RATING_WORD if word[0].isdigit() else _CLEAR_RATING_WORD
        near = words[max(0, place - WINDOW) : place + WINDOW + 1]
        rated = next((other for other in near if rating.fullmatch(other)), None)
        if rated:
            return f"{word} near {rated!r}"
    return None
