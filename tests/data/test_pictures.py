"""Pictures inside tables are read by whatever reads tables, and never printed."""

import io
import sys
import types

import pytest
from PIL import Image

from roc.data.check import check_data
from roc.data.pictures import Picture
from roc.data.reading import read_records
from roc.data.rows import DataError, Faults, read_rows, write_rows
from roc.data.split import split_data

pyarrow = pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def jpeg(colour):
    file = io.BytesIO()
    Image.new("RGB", (16, 12), colour).save(file, "JPEG")
    return file.getvalue()


def table(path, images, **columns):
    import pyarrow.parquet

    struct = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    cells = {"image": pyarrow.array(images, struct if isinstance(images[0], dict) else None)}
    pyarrow.parquet.write_table(pyarrow.table(cells | columns), path)
    return path


def inside(path, **columns):
    images = [
        {"bytes": jpeg("red"), "path": "red.jpg"},
        {"bytes": jpeg("lime"), "path": None},
        {"bytes": jpeg("blue"), "path": "red.jpg"},
    ]
    return table(path, images, **({"score": [1.0, 5.0, 9.0]} | columns))


def test_records_have_paths_that_can_be_opened_and_stable_names(tmp_path, cache):
    path = inside(tmp_path / "data.parquet")
    records = read_records(path, space=None)
    assert [record.id for record in records] == ["red.jpg", "data.parquet#2", "data.parquet#3"]
    assert [Image.open(record.images[0]).getpixel((0, 0)) for record in records] == [
        (254, 0, 0),
        (0, 255, 1),
        (0, 0, 254),
    ]
    assert all(record.images[0].startswith(f"{cache}/") for record in records)
    assert read_records(path, space=None) == records
    assert len([file for file in cache.rglob("*") if file.is_file()]) == 3


def test_bytes_without_a_struct_several_pictures_and_paths_without_bytes(tmp_path):
    (record,) = read_records(table(tmp_path / "a.parquet", [jpeg("red")], mos=[3]), space=None)
    assert record.id == "a.parquet#1"
    (record,) = read_records(table(tmp_path / "b.parquet", [[jpeg("red"), jpeg("blue")]], mos=[3]), space=None)
    assert record.id == "b.parquet#1|b.parquet#1.2" and len(set(record.images)) == 2
    Image.new("RGB", (8, 8)).save(tmp_path / "c.jpg")
    (record,) = read_records(table(tmp_path / "c.parquet", [{"bytes": None, "path": "c.jpg"}], mos=[3]), space=None)
    assert record.images == (str(tmp_path / "c.jpg"),)


def test_no_message_prints_bytes(tmp_path):
    path = table(
        tmp_path / "a.parquet", [{"bytes": b"no picture", "path": "a.jpg"}] * 2, thumb=[jpeg("red")] * 2, mos=["x", "y"]
    )
    with pytest.raises(DataError) as error:
        read_records(path, space=None)
    assert "\\x" not in str(error.value) and "no picture" not in str(error.value)
    assert "expected a number" in str(error.value) and "not an image" in str(error.value)
    assert repr(Picture("a.jpg", b"123")) == "<picture a.jpg, 3 bytes>" and str(Picture("a.jpg", b"")) == "a.jpg"
    with pytest.raises(ValueError, match=r"row 1, 'image': .csv cannot hold the picture a.jpg; write .parquet"):
        write_rows(tmp_path / "a.csv", [row for _, row in read_rows(path, Faults(path))])


def test_a_table_with_pictures_is_checked_and_split(tmp_path):
    path = inside(tmp_path / "data.parquet")
    report = check_data(path)
    assert report.records == report.opened == 3 and not report.faults
    before = [row for _, row in read_rows(path, Faults(path))]
    split_data(path, tmp_path / "splits", val=0, test=0.4)
    parts = [file for file in sorted((tmp_path / "splits").iterdir()) if file.stem in ("train", "val", "test")]
    after = [row for part in parts for _, row in read_rows(part, Faults(part))]
    assert {(row["image"].content, row["score"]) for row in after} == {
        (row["image"].content, row["score"]) for row in before
    }


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ROC_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"the picture red.jpg cannot be stored in .*ROC_CACHE"):
        read_records(inside(tmp_path / "data.parquet"), space=None)


# The `datasets` library: the real one where it is there, otherwise what is used of it.


class _Rows(list):
    def __init__(self, rows, features):
        super().__init__(rows)
        self.features = features

    def cast_column(self, name, feature):
        assert feature.decode is False
        return _Rows(self, self.features | {name: feature})


@pytest.fixture
def library(monkeypatch):
    """A stand-in for `datasets`."""

    class Feature:
        def __init__(self, decode=True):
            self.decode = decode

    rows = [{"image": {"bytes": jpeg("red"), "path": "a.jpg"}, "score": 2.0}]
    splits = {name: _Rows(rows, {"image": Feature(), "score": None}) for name in ("train", "test")}
    module = types.ModuleType("datasets")
    module.Image = Feature
    module.asked = []
    module.load_from_disk = lambda path: splits["train"]

    def load_dataset(*names, revision=None):
        module.asked.append((*names, revision))
        if names[0] == "no/where":
            raise FileNotFoundError("no such\ndata set")
        return splits

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_a_folder_of_the_library_is_a_table(tmp_path, library):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "state.json").touch()
    with pytest.raises(DataError, match="this is a folder"):
        read_records(folder, space=None)
    (folder / "dataset_info.json").touch()
    (record,) = read_records(folder, space=None)
    assert record.id == "a.jpg" and record.scores == {"overall": 2.0} and record.split is None


def test_a_data_set_of_the_hub_is_asked_for_by_name_and_has_splits(library):
    records = read_records("hf://datasets/me/photos@v1?config=small", space=None, check_images=False)
    assert [record.split for record in records] == ["train", "test"]
    assert library.asked[0] == ("me/photos", "small", "v1")
    with pytest.raises(DataError, match="no/where: the package datasets cannot load it: no such data set"):
        read_records("hf://datasets/no/where", space=None)


def test_without_the_library_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "dataset_dict.json").touch()
    with pytest.raises(
        DataError, match=r"needs the package datasets; install it by `pip install 'roc-mllm\[datasets\]'`"
    ):
        read_records(tmp_path, space=None)


@pytest.mark.parametrize("divided", [False, True])
def test_the_real_library(tmp_path, divided):
    datasets = pytest.importorskip("datasets")
    rows = {"image": [{"bytes": jpeg(colour), "path": f"{colour}.jpg"} for colour in ("red", "blue")], "mos": [1, 2]}
    one = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    (datasets.DatasetDict({"validation": one}) if divided else one).save_to_disk(str(tmp_path / "saved"))
    records = read_records(tmp_path / "saved", space=None)
    assert [record.id for record in records] == ["red.jpg", "blue.jpg"]
    assert [record.split for record in records] == ["val" if divided else None] * 2
    one.to_parquet(str(tmp_path / "data.parquet"))
    assert [record.scores for record in read_records(tmp_path / "data.parquet", space=None)] == [
        {"overall": 1},
        {"overall": 2},
    ]


def test_a_damaged_picture_in_a_table_is_named_by_file_and_row(tmp_path, cache):
    cells = [
        {"bytes": jpeg("red"), "path": "red.jpg"},
        {"bytes": jpeg("lime")[:300], "path": None},
        {"bytes": jpeg("blue")[:300], "path": "photos/blue sky.jpg"},
    ]
    path = table(tmp_path / "data.parquet", cells, score=[1.0, 5.0, 9.0])
    with pytest.raises(DataError) as error:
        read_records(path, space=None)
    assert str(cache) not in str(error.value)
    second, third = error.value.faults
    assert second.startswith(f"{path}:2: data.parquet#2: cannot be read")
    assert third.startswith(f"{path}:3: blue sky.jpg: cannot be read")
    assert str(cache) not in "\n".join(check_data(path).faults)
