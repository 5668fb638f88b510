"""A text travels beside the rows of a Parquet file."""

import pytest

from roc.data.parquet import NoParquet, about_of, iter_parquet, write_parquet


def test_a_text_is_kept_beside_the_rows(tmp_path):
    path, rows = tmp_path / "t.parquet", [{"id": "1", "s": 0.5}, {"id": "2"}]
    write_parquet(path, rows, ("id", "s"), about='{"made by": "Zoë"}')
    assert about_of(path) == '{"made by": "Zoë"}'
    assert list(iter_parquet(path, ("id", "s"))) == [{"id": "1", "s": 0.5}, {"id": "2", "s": None}]
    write_parquet(path, rows, ("id",))
    assert about_of(path) is None
    path.write_bytes(b"something else")
    with pytest.raises(NoParquet, match="this is not a Parquet file"):
        about_of(path)
