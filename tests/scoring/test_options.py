"""Options of a scoring run: what they refuse."""

import pytest

from roc.scoring.options import ScoreOptions
from roc.settings import ConfigError


def options(**values):
    return ScoreOptions(**{"paths": ["photos"], "checkpoint": "mine", **values})


def test_only_images_and_a_checkpoint_are_needed():
    given = options(paths=["a,b.jpg"], attributes=["overall,light"])
    assert given.paths == ("a,b.jpg",) and given.attributes == ("overall", "light")
    assert given.out is None and not given.chooses and options(out="a.csv", at_least=0).chooses


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"out": "scores.xls"}, "ends in .csv, .tsv, .jsonl, .parquet, .xlsx"),
        ({"out": "a.csv", "copy_to": "best"}, "add --top K, --at_least S or --group_by"),
        ({"gallery": "a.html", "overwrite": True}, "gallery needs --out\noverwrite needs --out"),
        ({"actors": 2}, "actors needs --engine ray"),
        ({"engine": "ray"}, "engine ray needs --out"),
        ({"engine": "ray", "out": "a.csv", "workers": 0}, "expected 1 or more with --engine ray"),
        ({"batch_size": 0}, "batch_size is 0, expected a whole number at least 1"),
        ({"xmp_at": [1, 2, 3, 4]}, "xmp_at needs --xmp stars"),
        ({"xmp": "stars"}, "xmp needs --out"),
        ({"xmp": "stars", "out": "a.csv", "xmp_at": [3, 2, 4, 5]}, "xmp_at is 3 2 4 5; expected four rising numbers"),
        ({"xmp": "stars", "out": "a.csv", "xmp_at": [1, 2]}, "expected four rising numbers"),
        ({"xmp": "stars", "out": "a.csv", "xmp_at": [1, 2, 3, 101]}, "expected percentiles, 0 to 100"),
        ({"xmp": "stars", "out": "a.csv", "xmp_by": "score"}, "needs the four scores"),
        ({"xmp": "stars", "out": "a.csv", "top": 3, "move_to": "best"}, "xmp and move_to exclude each other"),
        ({"dtype": "int4"}, "expected one of float32, bfloat16, float16, float8"),
    ],
)
def test_refuses(values, expected):
    with pytest.raises(ConfigError) as caught:
        options(**values)
    assert expected in str(caught.value)
