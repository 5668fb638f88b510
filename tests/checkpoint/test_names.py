"""What the name of a checkpoint stands for, told at once and with the hub asked once at most."""

import logging
import time

import pytest
from hub_stand_in import HubStandIn
from huggingface_hub import constants

from roc.checkpoint.names import check_exists


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, config in (
        ("photos", None),
        ("plain", "{}"),
        ("broken", "{"),
        ("list", "[]"),
        ("good", '{"model_type": "x"}'),
    ):
        (tmp_path / name).mkdir()
        if config is not None:
            (tmp_path / name / "config.json").write_text(config)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    (tmp_path / "file.jpg").touch()
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    """A hub behind which nobody listens, counted."""
    import huggingface_hub

    asked = []

    def unreachable(url, **_):
        asked.append(url)
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return asked


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nope", "There is no folder nope"),
        ("./nope", "There is no folder ./nope"),
        ("../nope", "There is no folder ../nope"),
        ("a/b/c", "There is no folder a/b/c"),
        ("photos/nope", "There is no folder photos/nope"),
        ("/nope", "There is no folder /nope"),
        ("nope/", "There is no folder nope/"),
        ("~/nope", "There is no folder ~/nope"),
        ("", "There is no folder"),
        ("org/no pe", "no hub can have a model of this name"),
        ("file.jpg", "is a file"),
        ("photos", "holds no model"),
        ("plain", "names no model_type"),
        ("list", "names no model_type"),
        ("broken", "cannot be read"),
    ],
)
def test_a_name_that_can_be_no_model_is_refused_without_a_network(here, no_network, name, says):
    with pytest.raises((FileNotFoundError, ValueError), match=says):
        check_exists(name)
    assert no_network == []


def test_folders_of_models_and_adapters(here, no_network):
    check_exists("good")
    check_exists("adapter")
    check_exists(str(here / "good") + "/")
    assert no_network == []


def test_a_hub_that_cannot_be_reached_is_asked_once(here, no_network):
    with pytest.raises(
        FileNotFoundError, match="no folder org/nope and no downloaded copy.*no route.*without a network"
    ):
        check_exists("org/nope")
    assert len(no_network) == 1


def test_a_downloaded_copy_is_used_where_the_hub_cannot_be_reached(here, no_network, monkeypatch, caplog):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: "/somewhere/config.json")
    with caplog.at_level(logging.WARNING, "roc"):
        check_exists("org/name")
    assert "the downloaded copy is used" in caplog.text and constants.HF_HUB_OFFLINE is True


def test_without_a_network_by_choice(here, no_network, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set"):
        check_exists("org/nope")
    assert no_network == []


def test_a_hub_that_has_no_such_model(here, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HubStandIn() as hub:
        hub.repos["org/name"] = {"config.json": b"{}"}
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        start = time.monotonic()
        check_exists("org/name")
        with pytest.raises(FileNotFoundError, match="the hub has no such model"):
            check_exists("org/nope")
        assert time.monotonic() - start < 5
