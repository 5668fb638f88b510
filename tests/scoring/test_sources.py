"""Paths become a list of images, in order, each with one name."""

import io
import os
import tarfile

import pytest
from PIL import Image

from roc.data.images import ImageError
from roc.data.rows import DataError, write_rows
from roc.scoring.sources import find_sources


def draw(path, colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 8), (colour, 40, 90)).save(path)


def tar_of(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for i, name in enumerate(names):
            data = io.BytesIO()
            if name.endswith(".png"):
                Image.new("RGB", (9, 8), (i, 40, 90)).save(data, "PNG")
            else:
                data.write(b"{}")
            member = tarfile.TarInfo(name)
            member.size = data.tell()
            data.seek(0)
            tar.addfile(member, data)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.jpg", "photos/a.PNG", "photos/sub/c.webp", "photos/.thumbs/t.jpg", "photos/._a.jpg"):
        draw(tmp_path / name)
    (tmp_path / "photos/notes.txt").write_text("nothing")
    return tmp_path


def names(*paths, **settings):
    return [source.name for source in find_sources(paths, **settings).sources]


IN_PHOTOS = ["photos/a.PNG", "photos/b.jpg", "photos/sub/c.webp"]


def test_folders_are_searched_by_name_without_what_is_hidden(photos):
    assert names("photos") == IN_PHOTOS
    assert names(photos / "photos") == [str(photos / name) for name in IN_PHOTOS]


def test_links_lead_in_no_circle_and_some_folders_are_left_out(photos):
    (photos / "photos/sub/up").symlink_to(photos / "photos")
    (*found, circle) = find_sources(["photos"]).sources
    assert [source.name for source in found] == IN_PHOTOS
    assert circle.name == "photos/sub/up" and "is searched already" in circle.fault
    assert names("photos", leave_out=[photos / "photos/sub"]) == IN_PHOTOS[:2]
    assert names("photos/**/*.webp") == [IN_PHOTOS[2], "photos/sub/up"]
    assert names("./photos/s*/**/*.webp", "photos/sub/*.webp")[::2] == ["./photos/sub/c.webp", IN_PHOTOS[2]]
    assert names("photos/sub/up/**/*.jpg") == ["photos/sub/up/b.jpg", "photos/sub/up/sub/up"]


def test_patterns(photos):
    assert names("photos/*.jpg") == ["photos/b.jpg"]
    assert names("photos/*") == IN_PHOTOS
    assert find_sources(["photos/**"]) == find_sources(["photos"])
    draw(photos / "photos/[1].jpg")
    assert names("photos/[1].jpg") == ["photos/[1].jpg"]
    with pytest.raises(ValueError, match="nothing matches"):
        find_sources(["photos/*.gif"])


def test_lists_and_tables(photos):
    (photos / "list.txt").write_text("photos/b.jpg\n\n  photos/sub/c.webp\n", encoding="utf-8")
    assert names("list.txt") == ["photos/b.jpg", "photos/sub/c.webp"]
    for suffix in ("csv", "jsonl", "parquet"):
        write_rows(
            photos / f"table.{suffix}", [{"image": "b.jpg", "file": "x.jpg"}, {"image": "gone.jpg", "file": "y"}]
        )
        found = find_sources([f"table.{suffix}"], image_folder="photos").sources
        assert [(source.name, source.path) for source in found] == [
            ("b.jpg", "photos/b.jpg"),
            ("gone.jpg", "photos/gone.jpg"),
        ]
        assert names(f"table.{suffix}", column="file") == ["x.jpg", "y"]
    found[0].open()
    with pytest.raises(ImageError, match=r"^no such file$"):
        found[1].open()


def test_tables_that_cannot_be_used(photos):
    write_rows(photos / "table.csv", [{"image": "b.jpg", "score": 1.0}, {"image": None, "score": 2.0}])
    with pytest.raises(DataError, match="table.csv:3: 'image' has to be the path"):
        find_sources(["table.csv"])
    with pytest.raises(DataError, match="no column 'file'; choose by --column one of image, score"):
        find_sources(["table.csv"], column="file")


def test_tar_files(photos):
    tar_of(photos / "shards/0.tar", ["1.png", "1.json", "deep/2.png", "._1.png"])
    found = find_sources(["shards"]).sources
    assert [source.name for source in found] == ["shards/0.tar/1.png", "shards/0.tar/deep/2.png"]
    assert [source.open().getpixel((0, 0))[0] for source in found] == [0, 2]
    assert found[1].read().startswith(b"\x89PNG")


def test_a_cut_tar_file_gives_what_it_has_and_a_fault(photos):
    tar_of(photos / "0.tar", ["1.png", "2.png"])
    whole = find_sources(["0.tar"]).sources
    os.truncate("0.tar", whole[1].offset + 20)
    first, second, fault = find_sources(["0.tar"]).sources
    first.open()
    for broken, words in ((second, "Truncated"), (fault, "damaged or cut short")):
        with pytest.raises(ImageError, match=words):
            broken.open()


def test_an_image_named_twice_is_listed_once(photos):
    sources, repeated, _ = find_sources(["photos/b.jpg", "photos"])
    assert [source.name for source in sources] == ["photos/b.jpg", "photos/a.PNG", "photos/sub/c.webp"]
    assert repeated == 1


def test_one_name_for_two_images_is_refused(photos):
    draw(photos / "other/b.jpg")
    for folder in ("photos", "other"):
        write_rows(photos / folder / "table.csv", [{"image": "b.jpg"}])
    with pytest.raises(ValueError, match="b.jpg stands for two images, photos/b.jpg and other/b.jpg"):
        find_sources(["photos/table.csv", "other/table.csv"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gone.jpg", "no such file or folder"),
        ("empty", "there is no image in it"),
        ("a.tar.gz", "unpack it"),
    ],
)
def test_refuses(photos, path, expected):
    (photos / "empty").mkdir()
    (photos / "a.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=expected):
        find_sources([path])


def test_a_name_that_is_not_utf8_is_a_fault_of_its_image(photos):
    (photos / "odd").mkdir()
    with open(os.fsencode(photos / "odd") + b"/\xff.jpg", "wb"):
        pass
    (source,) = find_sources(["odd"]).sources
    assert source.name == "odd/\\udcff.jpg"
    with pytest.raises(ImageError, match="not UTF-8"):
        source.open()


def test_what_a_damaged_header_hides_in_a_tar_file_is_told(photos):
    tar_of(photos / "a.tar", ["0.png", "1.png", "2.png"])
    whole = (photos / "a.tar").read_bytes()
    second = find_sources(["a.tar"]).sources[1].offset - 512
    damaged = {"header": whole[:second] + b"x" * 512 + whole[second + 512 :], "cut": whole[: second + 100]}
    damaged["two"] = whole + whole
    for kind, data in damaged.items():
        (photos / "a.tar").write_bytes(data)
        *good, last = find_sources(["a.tar"]).sources
        assert len(good) == (3 if kind == "two" else 1) and "what follows is lost" in last.fault, kind
    # Some programs leave out the blocks of zeros at the end.
    (photos / "a.tar").write_bytes(whole.rstrip(b"\0") + bytes(-len(whole.rstrip(b"\0")) % 512))
    assert len(names("a.tar")) == 3


def test_a_pipe_in_a_folder_is_a_fault_and_no_wait(photos):
    os.mkfifo(photos / "photos/d.jpg")
    assert "is no file" in find_sources(["photos"]).sources[2].fault
    assert names("photos") == [*IN_PHOTOS[:2], "photos/d.jpg", IN_PHOTOS[2]]


def test_a_list_has_a_path_in_every_line_whatever_its_letters(photos):
    (photos / "list.txt").write_text("a\u2028b.jpg\r\nc\x85d.jpg\n", encoding="utf-8", newline="")
    assert names("list.txt") == ["a\u2028b.jpg", "c\x85d.jpg"]


def test_pictures_inside_a_table_have_the_names_that_stand_beside_them(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setenv("ROC_CACHE", str(tmp_path / "cache"))
    file = io.BytesIO()
    Image.new("RGB", (8, 6)).save(file, "PNG")
    cells = [{"bytes": file.getvalue(), "path": "a.png"}, {"bytes": file.getvalue(), "path": None}]
    parquet.write_table(pyarrow.table({"Image": cells}), tmp_path / "t.parquet")
    found = find_sources([tmp_path / "t.parquet"]).sources
    assert [source.name for source in found] == ["a.png", "t.parquet#2"]
    assert [source.open().size for source in found] == [(8, 6)] * 2


def test_numbers_in_a_table_are_names(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "7", "PNG")
    (tmp_path / "t.jsonl").write_text('{"IMAGE": 7}\n')
    assert [source.path for source in find_sources([tmp_path / "t.jsonl"]).sources] == [str(tmp_path / "7")]


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("a.jpg", "'a.PNG' is there: its name ends in '.PNG'"),
        ("sub\\\\c.webp", "'sub/c.webp' is there: write '/' for"),
        ("/home/jane/photos/B.jpg", "'b.jpg' is there: leave 'home/jane/photos/' out of the paths"),
        ("nothing.jpg", None),
    ],
)
def test_a_path_in_a_table_that_is_nearly_right_gets_a_hint(photos, written, hint):
    (photos / "t.csv").write_text(f"image\n{written}\n".replace("\\\\", "\\"))
    (source,) = find_sources(["t.csv"], image_folder="photos").sources
    with pytest.raises(ImageError, match="no such file") as error:
        source.open()
    assert (hint or "no such file") in str(error.value) and (hint is not None) == (";" in str(error.value))


def test_a_path_that_is_nearly_right_gets_a_hint(photos):
    with pytest.raises(ValueError, match=r"photos/a.jpg: no such file or folder; 'a.PNG' is there: its name ends"):
        find_sources(["photos/a.jpg"])
