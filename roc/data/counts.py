"""How many there are of a thing, in words: `1 photo`, `3 photos`."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """Gives a number with its noun, and with the verb that follows where the noun is not all.

    Args:
        count: How many.
        one: What one is called: "photo", or "photo was".
        many: What several, or none, are called; None adds an s: "photos". Needed where a verb follows: "photos were".

    Example:
        >>> counted(1, "photo was", "photos were")
        '1 photo was'
    """
    return f"{count} {one if count == 1 else many or one + 's'}"
