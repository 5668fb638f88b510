"""What the name of a checkpoint stands for: a folder with a model in it, or a model of a hub, asked for once.

Light, so that a wrong name is told before anything heavy is imported.
"""

from __future__ import annotations

import json
import logging
import os

from roc.model.personal import base_of, is_personal

logger = logging.getLogger(__name__)

_FILES = ("config.json", "adapter_config.json")

_WAIT = 10.0
"""Seconds that a hub has to answer."""


def check_exists(
    path: str | os.PathLike,
    advice: str = "look where you are, and at the spelling",
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> None:
    """Makes sure that a name stands for a folder with a model in it, or for a model that a hub gives or gave before.

    Where the hub cannot be reached and the model was downloaded before, nothing is asked of the hub any more.

    Args:
        path: Folder or hub id, or the file of a personal head.
        advice: Where such a folder comes from, for the message.
        revision, cache_dir: Of a model of the hub.

    Raises:
        FileNotFoundError: There is no such folder, and no hub can have a model of this name, or it has none, or it
            cannot be asked.
        ValueError: The folder holds no model.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        _check_folder(name)
        return
    if is_personal(name):
        base = base_of(name)
        try:
            check_exists(base, advice, revision=revision, cache_dir=cache_dir)
        except (OSError, ValueError) as error:
            raise type(error)(f"The checkpoint of the personal head {name} is not there: {error}") from error
        return
    if os.path.exists(name):
        raise ValueError(f"{name} is a file; name the folder of a checkpoint, or the file of a personal head (.json).")
    if not _may_be_hub_id(name):
        raise FileNotFoundError(f"There is no folder {name}: {advice}; a model of a hub is named organisation/model.")
    _check_hub(name, revision, cache_dir)


def _check_folder(folder: str) -> None:
    """Makes sure that a folder has a config.json of a model, or an adapter."""
    if os.path.isfile(os.path.join(folder, "adapter_config.json")):
        return
    file = os.path.join(folder, "config.json")
    if not os.path.isfile(file):
        raise ValueError(
            f"The folder {folder} holds no model: it has neither config.json nor adapter_config.json. Name the folder "
            "that roc wrote."
        )
    try:
        with open(file, encoding="utf-8") as content:
            config = json.load(content)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}. Copy the checkpoint again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ValueError(f"{file} is not that of a model: it names no model_type. Name the folder that roc wrote.")


def _may_be_hub_id(name: str) -> bool:
    """Tells whether a name has the form organisation/model, and its first half is no folder here."""
    organisation, slash, model = name.partition("/")
    if not slash or not organisation or not model or "/" in model or name.startswith((".", "~")) or "\\" in name:
        return False
    return not os.path.isdir(organisation)


def _check_hub(name: str, revision: str | None, cache_dir: str | os.PathLike | None) -> None:
    """Asks the hub for a model, once."""
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    no_folder = f"There is no folder {name}"
    try:
        kept = [try_to_load_from_cache(name, file, cache_dir=cache_dir, revision=revision) for file in _FILES]
        cached = any(isinstance(file, str) for file in kept)
        if not constants.HF_HUB_OFFLINE:
            get_hf_file_metadata(hf_hub_url(name, _FILES[0], revision=revision), timeout=_WAIT)
            return
        reason = "HF_HUB_OFFLINE is set"
    except errors.HFValidationError as error:
        raise FileNotFoundError(
            f"{no_folder}, and no hub can have a model of this name; there it is organisation/model."
        ) from error
    except errors.RepositoryNotFoundError as error:
        if cached:
            return
        raise FileNotFoundError(
            f"{no_folder}, and the hub has no such model, or not for you (`hf auth login`)."
        ) from error
    except errors.HfHubHTTPError:
        return  # an adapter without a config.json, or a hub in trouble; loading tells
    except Exception as error:  # the HTTP client's own, which differ between versions of the hub's package
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if not cached:
        raise FileNotFoundError(
            f"{no_folder} and no downloaded copy of a model of this name, and the hub cannot be asked: {reason}. Look "
            "at the spelling; without a network, name a folder."
        )
    if not constants.HF_HUB_OFFLINE:
        logger.warning("the hub cannot be asked for %s (%s); the downloaded copy is used", name, reason)
        constants.HF_HUB_OFFLINE = True  # else each file would be asked for again and again
