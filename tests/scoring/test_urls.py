"""Pictures behind a URL."""

import pytest
from PIL import Image

from roc.data.images import ImageError
from roc.scoring.sources import Source, find_sources
from roc.scoring.urls import files_below, is_url, open_url


@pytest.fixture
def url(tmp_path):
    for name in ("photos/b.png", "photos/sub/c.png", "photos/.thumbs/t.png", "photos/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8), (len(name), 40, 90)).save(path, "PNG")
    return f"file://{tmp_path}/photos"


def test_what_is_a_url():
    assert is_url("s3://bucket/a.jpg") and not is_url("photos/a.jpg") and not is_url("C:\\a.jpg")


def test_a_folder_is_searched_and_its_pictures_are_read(url, tmp_path):
    sources = find_sources([url]).sources
    assert [source.name for source in sources] == [f"{url}/b.png", f"{url}/sub/c.png"]
    assert sources[0].open().tobytes() == Image.open(tmp_path / "photos/b.png").convert("RGB").tobytes()
    assert sources[1].read() == (tmp_path / "photos/sub/c.png").read_bytes()
    (found,) = find_sources([f"{url}/b.png"]).sources
    assert found._replace(version=None) == Source(f"{url}/b.png", f"{url}/b.png") and found.version


def test_lists_may_hold_urls(url, tmp_path):
    (tmp_path / "list.txt").write_text(f"{url}/b.png\nphotos/b.png\n")
    first, second = find_sources([tmp_path / "list.txt"]).sources
    assert first.path == f"{url}/b.png" and second.path == str(tmp_path / "photos/b.png")


def test_what_is_not_there_says_so(url, tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        find_sources([f"{url}/gone"])
    with pytest.raises(ValueError, match="nowhere://a: "):
        list(files_below("nowhere://a"))
    with pytest.raises(ImageError, match="cannot be opened"):
        Source("gone", f"{url}/gone.png").open()
    (tmp_path / "photos/0.tar").write_bytes(b"")
    assert "tar files behind a URL" in find_sources([url]).sources[0].fault


def test_errors_of_a_storage_become_those_of_a_file(monkeypatch):
    import fsspec

    class Refusing(Exception):
        pass

    def refuse(self, *rest, **settings):
        raise Refusing("not today")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "open", refuse)
    with pytest.raises(OSError, match="Refusing: not today"):
        open_url("memory://a.png")
