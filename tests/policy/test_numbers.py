"""Numbers in answers, against the recorded vectors."""

from roc.policy.numbers import read_number, read_number_as_published


def test_reference(vectors):
    entry = vectors["aes.parse"]
    texts = entry["inputs"]["texts"]
    assert [read_number(text) for text in texts] == entry["expected"]["safe"]
    assert [read_number_as_published(text) for text in texts] == entry["expected"]["as_coded"]


def test_a_number_out_of_range_is_none():
    assert read_number("<answer>7</answer>") is None
    assert read_number("<answer> 7 </answer>", 1, 10) == 7
