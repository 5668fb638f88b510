"""Numbers with their nouns."""

import pytest

from roc.data.counts import counted


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (1, ("photo",), "1 photo"),
        (0, ("photo",), "0 photos"),
        (2, ("photo was", "photos were"), "2 photos were"),
        (1, ("photo was", "photos were"), "1 photo was"),
    ],
)
def test_a_noun_follows_its_number(count, words, text):
    assert counted(count, *words) == text
