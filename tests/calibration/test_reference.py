import pytest

from roc.calibration.reference import _name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("a/travel",), "travel"),
        (("a/travel/1.jpg", "a/travel/2.jpg"), "travel"),
        (("a/travel/*.jpg",), "*.jpg"),
        (("s3://mine/travel/",), "travel"),
        (("/",), "photos"),
    ],
)
def test_a_set_is_named_by_what_was_given(words, name):
    assert _name(words) == name
