"""The service without a model; tests/server/test_app.py tests it behind the routes."""

from serving import ServeOptions, in_thread

from roc.server.service import Service, default_readers


def test_default_readers():
    assert 2 <= default_readers("cpu") <= default_readers("cuda") + 1 <= 17


def test_a_folder_is_found_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    names = {name: Service(ServeOptions(checkpoint=name), in_thread).checkpoint for name in ("mine", "org/model")}
    assert names == {"mine": str(tmp_path / "mine"), "org/model": "org/model"}
